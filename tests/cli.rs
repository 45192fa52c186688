//! The words and exit codes that a user of the program sees.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder with a Dockerfile, and the program run in it with no variables but those that are given.
struct Here(TempDir);

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("loaders")).expect("made");
        fs::write(folder.path().join("loaders/os_opendata.Dockerfile"), "FROM scratch\nCOPY . /\n").expect("written");
        Self(folder)
    }

    fn run(&self, line: &str, vars: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_locus-push"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .envs(vars.iter().copied())
            .output()
            .expect("the program runs")
    }

    /// Runs the program, which must refuse with these words and say nothing on stdout.
    #[track_caller]
    fn refuses(&self, line: &str, vars: &[(&str, &str)], words: &str) {
        let output = self.run(line, vars);
        assert_eq!(stderr(&output), words, "{line}");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert_eq!(stdout(&output), "", "{line}");
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_version_is_the_answer() {
    let output = Here::new().run("version", &[]);
    assert_eq!(stdout(&output), format!("locus-push {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("", Some(0)));
}

#[test]
fn help_is_an_answer_and_no_arguments_are_a_usage_error() {
    let here = Here::new();
    let help = here.run("--help", &[]);
    assert!(stdout(&help).contains("Examples:\n  locus-push loaders/os_opendata.Dockerfile"));
    assert_eq!(help.status.code(), Some(0));
    let nothing = here.run("", &[]);
    assert_eq!((stdout(&nothing).as_str(), nothing.status.code()), ("", Some(2)));
    assert!(stderr(&nothing).contains("Usage: locus-push [OPTIONS] DOCKERFILE..."));
}

#[test]
fn completions_are_for_each_shell_and_offer_only_what_exists() {
    let here = Here::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let text = stdout(&here.run(&format!("completions {shell}"), &[]));
        assert!(text.contains("build") && text.contains("registry-endpoint"), "{shell}");
        assert!(!text.contains("cpu-period") && !text.contains("inspect"), "{shell}");
    }
}

#[test]
fn bash_completes_a_command_and_a_flag() {
    let here = Here::new();
    let script = stdout(&here.run("completions bash", &[]));
    let complete = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let asked = format!(
            "{script}\nCOMP_WORDS=({}) COMP_CWORD={}\n_locus__push locus-push '{last}' '{before}'\necho \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &asked]).output().expect("bash is there");
        stdout(&output).trim().to_owned()
    };
    assert_eq!(complete(&["locus-push", "bui"]), "build");
    assert_eq!(complete(&["locus-push", "build", "--iid"]), "--iidfile");
    assert_eq!(complete(&["locus-push", "cache", "pru"]), "prune");
}

#[test]
fn help_is_there_by_topic_and_by_command() {
    let here = Here::new();
    for (line, words) in [
        ("help exit-codes", "  124             our own --timeout\n"),
        ("help environment", "  LOCUS_PUSH_HOME "),
        ("help config", "In [loaders.NAME]:\n  dockerfile "),
        ("help progress", "  step_done      stage, number, millis, layer\n"),
        ("help build", "--build-arg"),
        ("help", "help exit-codes|environment|config|progress|dockerfile"),
    ] {
        let output = here.run(line, &[]);
        assert!(stdout(&output).contains(words), "{line}: {}", stdout(&output));
        assert_eq!((stderr(&output).as_str(), output.status.code()), ("", Some(0)), "{line}");
    }
    here.refuses(
        "help exit-code",
        &[],
        "error: there is no help on `exit-code`\nhint: did you mean `locus-push help exit-codes`?\n",
    );
}

#[test]
fn a_missing_dockerfile_is_told_with_the_nearest() {
    Here::new().refuses(
        "loaders/os_opndata.Dockerfile",
        &[],
        "error: there is no Dockerfile loaders/os_opndata.Dockerfile\n\
         hint: did you mean loaders/os_opendata.Dockerfile?\n",
    );
}

#[test]
fn a_missing_variable_is_told_before_anything_is_done() {
    let here = Here::new();
    here.refuses(
        "loaders/os_opendata.Dockerfile",
        &[("SECURITYGROUP", "sg-1")],
        "error: no subnet for the task: SUBNET1 is not set\n\
         hint: export SUBNET1, or write --subnet ID, or `subnets` in locus.toml\nhint: --local needs none of it\n",
    );
    fs::write(here.0.path().join("locus.toml"), "region = 'eu-west-1'\nsubnets = ['${SUBNET1}']\n").expect("written");
    here.refuses(
        "loaders/os_opendata.Dockerfile",
        &[("SECURITYGROUP", "sg-1")],
        "error: the variable SUBNET1 is not set\n  --> locus.toml:2:13\n   |\n \
         2 | subnets = ['${SUBNET1}']\n   |             ^^^^^^^^^^\n\
         hint: export the variable, or write the value into the file\n",
    );
    assert!(!here.0.path().join(".cache").exists(), "nothing was written");
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
    let here = Here::new();
    fs::write(here.0.path().join("locus.toml"), "[loaders.os_opendata]\nmemroy = 512\n").expect("written");
    here.refuses(
        "--local loaders/os_opendata.Dockerfile",
        &[],
        "error: unknown key `loaders.os_opendata.memroy`; did you mean `memory`?\n  --> locus.toml:2:1\n   |\n \
         2 | memroy = 512\n   | ^^^^^^\n",
    );
}

#[test]
fn a_documents_fault_is_told_with_its_line() {
    let here = Here::new();
    let toml = "[loaders.os_opendata]\ntask_definition = 'task.json'\n";
    fs::write(here.0.path().join("locus.toml"), toml).expect("written");
    let refuses = |json: &str, words: &str| {
        fs::write(here.0.path().join("task.json"), json).expect("written");
        here.refuses("plan --secret-env DB=env:X loaders/os_opendata.Dockerfile", &[], words);
    };
    refuses(
        "{\n  \"familly\": \"a\"\n}",
        "error: unknown field `familly`; did you mean `family`?\n  --> task.json:2:3\n   |\n \
         2 |   \"familly\": \"a\"\n   |   ^^^^^^^^^\n",
    );
    refuses(
        "{\n  \"family\": \"$NOBODY\"\n}",
        "error: the variable NOBODY is not set\n  --> task.json:2:14\n   |\n 2 |   \"family\": \"$NOBODY\"\n   |              ^^^^^^^\n\
         hint: export the variable, or write the value into the file\n",
    );
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let here = Here::new();
    here.refuses(
        "inspect image.tar",
        &[],
        "error: `inspect` is not there yet\nhint: if a Dockerfile of that name is meant, write `./inspect`\n",
    );
    here.refuses("build --squash .", &[], "error: `--squash` is not supported yet\n");
}

#[test]
fn a_secret_on_the_command_line_is_not_repeated() {
    let here = Here::new();
    let output = here.run("--json --local --secret DB=hunter2 loaders/os_opendata.Dockerfile", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!stdout(&output).contains("hunter2") && !stderr(&output).contains("hunter2"));
}

#[test]
fn with_json_a_failure_is_an_answer_that_names_its_phase() {
    let here = Here::new();
    for (line, phase) in [
        ("--json missing.Dockerfile", "configuration"),
        ("--json plan", "arguments"),
        ("--json --bad-flag x", "arguments"),
        ("build --json --load .", "arguments"),
    ] {
        let output = here.run(line, &[]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect(line);
        assert_eq!((&json["error"]["phase"], &json["error"]["exit_code"]), (&phase.into(), &2.into()), "{line}");
        assert!(stderr(&output).starts_with("error: "), "{line}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = Command::new(env!("CARGO_BIN_EXE_locus-push")).arg("version").stdout(full).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: the answer could not be written to stdout: "));
}

#[test]
fn a_registry_for_others_than_this_machine_is_told_what_it_lacks() {
    let here = Here::new();
    let hint = "hint: --user with --password-file asks for a login, --tls-cert with --tls-key gives TLS; --insecure does \
                without\n";
    let open = "without a login and TLS whoever reaches it may read, write and overhear all";
    here.refuses(
        "serve --listen 0.0.0.0:0",
        &[],
        &format!("error: cannot start the embedded registry: 0.0.0.0:0 is not a loopback address, and {open}\n{hint}"),
    );
    fs::write(here.0.path().join("password"), "secret\n").expect("written");
    let clear = "without TLS the password is sent in clear text";
    here.refuses(
        "serve --listen [::]:0 --user team --password-file password",
        &[],
        &format!("error: cannot start the embedded registry: [::]:0 is not a loopback address, and {clear}\n{hint}"),
    );
}
