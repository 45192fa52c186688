//! The checks of a Dockerfile: the rules, case by case, and the words and exit codes of `build --check`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use locus_push::dockerfile::ignore::Ignore;
use locus_push::dockerfile::lint::{Around, Grammar, check};
use locus_push::dockerfile::parse;
use locus_push::image::{Platform, Reference};
use tempfile::TempDir;

/// What is said of a file, one warning a line.
fn said(text: &str) -> String {
    let predefined = ["TARGETPLATFORM", "BUILDPLATFORM"].map(|name| (name.to_owned(), "linux/amd64".to_owned()));
    let platform = |text: &str| text.parse().ok().map(|platform: Platform| (platform.os, platform.architecture));
    let around = Around {
        text,
        build_args: &BTreeMap::new(),
        predefined: BTreeMap::from(predefined),
        stages: None,
        bases: BTreeMap::new(),
        ignore: &Ignore::default(),
        grammar: Grammar { is_reference: |text| text.parse::<Reference>().is_ok(), platform },
    };
    let report = check(&parse(text).expect("it parses"), &around).expect("its options are right");
    let line = |span: locus_push::dockerfile::Span| match span.line == span.last_line {
        true => span.line.to_string(),
        false => format!("{}-{}", span.line, span.last_line),
    };
    report.warnings.iter().map(|w| format!("{} {}: {}\n", line(w.span), w.rule, w.detail)).collect()
}

/// `NAME.Dockerfile` and beside it `NAME.said`.
#[test]
fn each_file_is_said_what_stands_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/lint");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|ending| ending == "Dockerfile") {
            let text = fs::read_to_string(&path).expect("text");
            let wanted = fs::read_to_string(path.with_extension("said")).expect("it has one");
            assert_eq!(said(&text), wanted, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 10, "{files} files");
}

/// The program in a folder with this Dockerfile.
fn run(dockerfile: &str, line: &str) -> (TempDir, Output) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("Dockerfile"), dockerfile).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_locus-push"))
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .output()
        .expect("the program runs");
    (folder, output)
}

#[track_caller]
fn tells(dockerfile: &str, line: &str, stdout: &str, stderr: &str, code: i32) {
    let (_, output) = run(dockerfile, line);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{line}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr, "{line}");
    assert_eq!(output.status.code(), Some(code), "{line}");
}

const WARNED: &str = "\
warning: JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
  --> Dockerfile:2
   |
 2 | CMD echo hello
   | ^^^^^^^^^^^^^^
   = JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals
   = https://docs.docker.com/go/dockerfile/rule/json-args-recommended/

Check complete, 1 warning has been found!
";

#[test]
fn a_violation_is_told_at_its_place_and_is_exit_code_1() {
    tells("FROM scratch\nCMD echo hello\n", "build --check .", WARNED, "", 1);
    tells("FROM scratch\nCMD echo hello\n", "build --call check .", WARNED, "", 1);
    tells("FROM scratch\nCMD [\"x\"]\n", "build --check .", "Check complete, no warnings found.\n", "", 0);
}

#[test]
fn a_check_builds_nothing_and_writes_nothing() {
    let (folder, _) = run("FROM scratch\nCOPY Dockerfile /\n", "build --check .");
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left, ["Dockerfile"]);
}

#[test]
fn warnings_come_before_what_a_build_would_fail_at() {
    let text = "FROM --platform=$BULIDPLATFORM scratch\n";
    let (_, output) = run(text, "build --check .");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"), "{stdout}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn an_error_that_the_file_asks_for_ends_a_build_before_it_begins() {
    let text = "# check=error=true\nFROM scratch\nCMD echo hello\n";
    let (_, output) = run(text, "build .");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let warned = "warning: Dockerfile:3: JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended \
                  behavior related to OS signals\nerror: lint violation found for rules: JSONArgsRecommended\n";
    assert!(stderr.ends_with(warned), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    let (_, output) = run(text, "build --check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all .");
    assert_eq!(output.status.code(), Some(0));
    let (_, output) = run(text, "build --check .");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr, "error: lint violation found for rules: JSONArgsRecommended\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn json_has_the_keys_of_buildkit() {
    let (_, output) = run("FROM scratch\nCMD a \\\n  b\n", "build --check --json .");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let warning = &json["warnings"][0];
    assert_eq!(warning["ruleName"], "JSONArgsRecommended");
    assert_eq!(warning["location"]["ranges"][0], serde_json::json!({ "start": { "line": 2 }, "end": { "line": 3 } }));
}

const TAKES: &str = "\
# VERSION of the release
ARG VERSION=1
# build compiles
FROM scratch AS build
ARG VERSION
RUN --mount=type=secret,id=token,required --mount=type=cache,id=npm,target=/c x
FROM build
";

#[test]
fn what_a_file_takes_is_listed_for_programs_as_buildkit_lists_it() {
    let json = |line: &str| {
        let (_, output) = run(TAKES, line);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let at = |line: usize| serde_json::json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    assert_eq!(
        json("build --json --call outline --target build ."),
        serde_json::json!({
            "name": "build",
            "description": "compiles",
            "args": [{ "name": "VERSION", "description": "of the release", "value": "1", "location": at(2) }],
            "secrets": [{ "name": "token", "required": true, "location": at(6) }],
            "cache": [{ "ID": "npm" }],
        })
    );
    assert_eq!(
        json("build --json --call targets ."),
        serde_json::json!({ "targets": [
            { "name": "build", "description": "compiles", "base": "scratch", "location": at(4) },
            { "default": true, "base": "build", "location": at(7) },
        ]})
    );
}

#[test]
fn what_a_file_takes_is_listed() {
    tells(
        TAKES,
        "build --call outline --target build .",
        "TARGET: build\nDESCRIPTION: compiles\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       of the release\n\n\
         SECRET   REQUIRED\ntoken    true\n\nCACHE MOUNT\nnpm\n",
        "",
        0,
    );
    tells(
        TAKES,
        "build --call targets .",
        "TARGET                DESCRIPTION\nbuild                 compiles\n(no name) (default)\n",
        "",
        0,
    );
}

#[test]
fn what_does_not_go_with_a_check_is_refused() {
    let refused = |line: &str, words: &str| tells("FROM scratch\n", line, "", words, 2);
    refused("build --check --push .", "error: --push does not go with --check, which builds nothing\n");
    refused("build --call targets -t x .", "error: --tag does not go with --call, which builds nothing\n");
    refused(
        "build --call lint .",
        "error: --call lint: the methods are build, check, outline and targets\nhint: the answer as JSON is --json\n",
    );
    let options = "# check=skp=all\nFROM scratch\n";
    tells(
        options,
        "build --check .",
        "",
        "error: failed to parse check options: invalid check option \"skp\"\n\
         hint: write skip=RULE,…|all, experimental=RULE,…|all and error=true, with `;` between them, behind `# check=` \
         or --build-arg BUILDKIT_DOCKERFILE_CHECK=\n",
        3,
    );
}
