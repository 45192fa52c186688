//! What somebody meets who has read the README, on a machine without settings or credentials. Each try is a transcript in
//! `testdata/transcripts`: what was typed behind `$` (and `>`), what was said, and the exit code where it is not 0.
//! `{…}` stands for what is another each time. With `LOCUS_WRITE_TRANSCRIPTS=1` they are written anew from their commands.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cloud::sts_that_knows_nobody;
use crate::place::{Place, world};

/// A shell in a place, and what of its world has another name each time.
struct Newcomer {
    place: Place,
    /// The name in a transcript, and what it stands for.
    marks: Vec<(&'static str, String)>,
    /// Done before the first command.
    before: String,
    servers: Vec<Child>,
}

impl Newcomer {
    fn new() -> Self {
        let mut place = Place::new();
        // What the README says is the default.
        place.vars.remove("LOCUS_PUSH_HOME");
        let bin = place.beside("bin");
        std::fs::create_dir(&bin).expect("it is ours");
        symlink(env!("CARGO_BIN_EXE_locus-push"), bin.join("locus-push")).expect("it is ours");
        let path = format!("{}:{}", bin.display(), place.vars["PATH"]);
        place.var("PATH", path);
        let marks = vec![
            ("{home}", place.beside("home").display().to_string()),
            ("{here}", place.path("").display().to_string().trim_end_matches('/').to_owned()),
            ("{bases}", world("LOCUS_TEST_BASES")),
        ];
        Self { place, marks, before: String::new(), servers: Vec::new() }
    }

    /// A registry, which the transcript calls `{registry}`.
    fn with_registry(mut self, flags: &str) -> Self {
        let data = self.place.beside("registry");
        self.place.var("LOCUS_PUSH_HOME", data.display());
        let mut child = self.place.start(&format!("serve --listen 127.0.0.1:0 {flags}"));
        self.place.vars.remove("LOCUS_PUSH_HOME");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        self.servers.push(child);
        let said = lines.find_map(|line| line.split_once("http://").map(|(_, rest)| rest.to_owned()));
        let said = said.expect("it says where it listens");
        self.marks.push(("{registry}", said.split(',').next().unwrap_or_default().to_owned()));
        self
    }

    /// A disk of its own for what is kept, as large as `mount` takes it.
    fn with_disk(mut self, size: &str) -> Self {
        let store = "\"$HOME/.cache/locus-push\"";
        self.before += &format!("mkdir -p {store} && mount -t tmpfs -o size={size} none {store} || exit 99\n");
        self
    }

    /// Types what the transcript says, and compares what comes.
    #[track_caller]
    fn tries(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/transcripts").join(name);
        let kept = std::fs::read_to_string(&path).expect("there is such a transcript");
        let commands = commands(&kept);
        assert!(!commands.is_empty(), "{name} types nothing");
        let said = self.typed(&commands);
        if std::env::var_os("LOCUS_WRITE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, &said).expect("the repository can be written");
        }
        let kept = std::fs::read_to_string(&path).expect("it was there");
        assert!(kept == said, "{} is another now:\n{said}", path.display());
    }

    /// One shell types them all, so that what one exports the next has.
    fn typed(&self, commands: &[String]) -> String {
        let mut script = self.before.clone();
        for command in commands {
            let command = self.marks.iter().fold(command.clone(), |text, (mark, is)| text.replace(mark, is));
            script += &format!("{command}\nprintf '\\001%s\\n' $?\n");
        }
        // stdout and stderr in the order in which a terminal shows them.
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut shell = if self.before.is_empty() { Command::new("sh") } else { Command::new("unshare") };
        if !self.before.is_empty() {
            shell.args(["--mount", "sh"]);
        }
        shell.arg("-c").arg(&script).current_dir(self.place.path(".")).env_clear().envs(&self.place.vars);
        shell.stdin(Stdio::null()).stdout(writer.try_clone().expect("a second handle")).stderr(writer);
        let mut child = shell.spawn().expect("there is a shell");
        // It holds our ends of the pipe.
        drop(shell);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("words are UTF-8");
        child.wait().expect("a child of ours");
        let mut answers = said.split('\x01');
        let mut words = answers.next().unwrap_or_default();
        let mut out = String::new();
        for command in commands {
            let after = answers.next().unwrap_or_else(|| panic!("the shell ended before `{command}` did:\n{said}"));
            let (code, rest) = after.split_once('\n').expect("the code has a line");
            out += &format!("$ {}\n{}", command.replace('\n', "\n> "), self.still(words));
            if code != "0" {
                out += &format!("[{code}]\n");
            }
            words = rest;
        }
        out
    }

    /// The words without what is another each time: digests, times, sizes, ids, and where this place is.
    fn still(&self, said: &str) -> String {
        let said = self.marks.iter().fold(said.to_owned(), |text, (mark, is)| text.replace(is, mark));
        let mut lines: Vec<String> = said.lines().filter(|line| !is_the_machines(line)).map(still_line).collect();
        // Blobs travel beside the steps and each other.
        let of_blobs = |line: &String| BLOBS.iter().any(|label| line.trim_start().starts_with(label));
        let mut blobs: Vec<String> = lines.extract_if(.., |line| of_blobs(line)).collect();
        blobs.sort_by_key(|line| (line.contains("Fetched"), line.clone()));
        let until = lines.iter().position(|line| line.starts_with("   Summary") || line.starts_with("    Pushed"));
        let until = until.unwrap_or(lines.len().min(1));
        lines.splice(until..until, blobs);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // One that has ended by itself needs nothing more.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

const BLOBS: [&str; 4] = ["Fetched ", "Present ", "Sent ", "Mounted "];

/// Who runs RUN is the machine's affair.
fn is_the_machines(line: &str) -> bool {
    line.trim_start().starts_with("Sandbox ") || line.trim_start().starts_with("warning: RUN")
}

fn still_line(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| "(),;".contains(c));
        let number = bare.trim_end_matches('s').parse::<f64>().is_ok();
        let digest =
            bare.split(['@', ':', '/']).any(|part| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit()));
        match () {
            () if digest && bare.contains("127.0.0.1") => "{reference}".to_owned(),
            () if digest && bare.contains('@') => word.replace(bare.rsplit('@').next().unwrap_or_default(), "{digest}"),
            () if digest => "{digest}".to_owned(),
            () if number && bare.contains('.') => word.replace(bare, "{n}"),
            () => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// What a transcript types.
fn commands(transcript: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in transcript.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
            (Some(command), ..) => commands.push(command.to_owned()),
            (None, Some(more), Some(command)) => *command += &format!("\n{more}"),
            _ => {}
        }
    }
    commands
}

#[test]
fn a_first_build_says_what_it_did_and_a_second_that_nothing_was_to_do() {
    Newcomer::new().tries("build.txt");
}

#[test]
fn a_first_push_says_where_the_image_is_and_a_second_that_it_was_there() {
    Newcomer::new().with_registry("").tries("push.txt");
}

#[test]
fn a_beginner_is_led_from_an_empty_folder_to_a_settings_file() {
    Newcomer::new().tries("beginning.txt");
}

#[test]
fn a_dockerfile_with_faults_is_met_with_all_of_them() {
    Newcomer::new().tries("broken.txt");
}

#[test]
fn files_beside_the_dockerfile_with_faults_are_met_with_all_of_them() {
    Newcomer::new().tries("broken_files.txt");
}

#[test]
fn a_registry_that_wants_a_login_is_met_with_where_one_comes_from() {
    let newcomer = Newcomer::new();
    newcomer.place.write("password", "open sesame\n");
    newcomer.with_registry("--user ann --password-file password").tries("login.txt");
}

#[test]
fn aws_credentials_that_are_missing_wrong_or_expired_are_met_with_what_to_do() {
    let mut newcomer = Newcomer::new();
    newcomer.place.var("AWS_ENDPOINT_URL", format!("http://{}", sts_that_knows_nobody()));
    newcomer.tries("credentials.txt");
}

mod sandbox {
    use super::*;

    #[test]
    fn the_whole_road_on_this_machine_ends_with_the_tasks_code() {
        Newcomer::new().tries("local.txt");
    }

    #[test]
    fn a_run_that_fails_is_met_with_its_line_and_its_last_words() {
        Newcomer::new().tries("failing_run.txt");
    }

    #[test]
    fn a_full_disk_is_met_with_how_to_make_room() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not root: no small disk can be mounted");
            return;
        }
        Newcomer::new().with_disk("12m").tries("full_disk.txt");
    }
}
