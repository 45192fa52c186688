use std::fs;

use super::super::locus_toml::LocusToml;
use super::*;
use crate::event::Events;

const TASK: &str = r#"{
  "family": "places",
  "cpu": "512", "memory": "2048",
  "containerDefinitions": [{
    "name": "places", "image": "$REPOSITORYURI:latest",
    "environment": [{ "name": "FILTER", "value": "a \"quoted\" \u0007 place" }],
    "secrets": [
      { "name": "DBCONNECTION", "valueFrom": "$SECRETSRESOURCEARN" },
      { "name": "TOKEN", "valueFrom": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf" }
    ]
  }]
}"#;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below")).expect("ours");
        fs::write(path, text).expect("ours");
    }
    folder
}

/// The text, which is a right locus.toml.
fn text(files: &[(&str, &str)], env: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let done = init(folder.path(), &Environment::of(env), true, &Events::silent()).expect("there is a Dockerfile");
    LocusToml::parse(NAME, folder.path().into(), &done.text).expect("what we write, we read");
    assert!(!folder.path().join(NAME).exists());
    done.text
}

#[test]
fn each_dockerfile_is_a_loader() {
    let text = text(
        &[
            ("loaders/places.Dockerfile", "FROM scratch"),
            ("loaders/places.Dockerfile.dockerignore", "*"),
            ("other/Dockerfile", "FROM scratch"),
            ("Dockerfile-roads", "FROM scratch"),
            ("node_modules/x/Dockerfile", "FROM scratch"),
            (".git/Dockerfile", "FROM scratch"),
            ("notes.json", "{}"),
        ],
        &[],
    );
    let tables: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(tables, ["[loaders.other]", "[loaders.places]", "[loaders.roads]"]);
    assert!(text.contains("dockerfile = \"loaders/places.Dockerfile\"\n"));
    assert!(text.contains("\n# subnets = ["), "nothing that is not known is said: {text}");
}

#[test]
fn what_a_task_definition_of_the_aws_cli_says_is_taken_over() {
    for task in ["places-task.json", "tasks/any.json"] {
        let text =
            text(&[("places.Dockerfile", "FROM scratch"), ("roads.Dockerfile", "FROM scratch"), (task, TASK)], &[]);
        let (places, roads) = text.split_once("[loaders.roads]").expect("the second of two");
        assert!(
            places.contains(&format!("# As {task} has it:\ncpu = 512    # 1024 are one CPU\nmemory = 2048 ")),
            "{places}"
        );
        assert!(places.contains("environment = { FILTER = \"a \\\"quoted\\\" \\u0007 place\" }"), "{places}");
        assert!(
            places.contains(
                "secrets = { DBCONNECTION = \"DBCONNECTION\", TOKEN = \
                 \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf\" }"
            ),
            "{places}"
        );
        assert!(roads.contains("cpu = 256 ") && roads.contains("# secrets ="), "{roads}");
    }
}

#[test]
fn variables_that_are_exported_are_named() {
    let env =
        [("REGION", "eu-west-2"), ("SUBNET1", "subnet-1"), ("SECURITYGROUP", "sg-1"), ("DB_CONNECTION_STRING", "x")];
    let text = text(&[("Dockerfile.places", "FROM scratch")], &env);
    for line in [
        "region = \"${REGION}\"",
        "subnets = [\"${SUBNET1}\"]",
        "security_groups = [\"${SECURITYGROUP}\"]",
        "secrets = [\"DBCONNECTION\"]",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn a_name_that_aws_would_refuse_is_told_and_two_of_one_name_too() {
    let long = format!("{}.Dockerfile", "n".repeat(60));
    let text = text(&[(&long, ""), ("a/x.Dockerfile", ""), ("b/x.Dockerfile", "")], &[]);
    assert!(text.contains(&format!("# {long} has no table here: ")), "{text}");
    assert!(text.contains("# b/x.Dockerfile has no table here: x is another's name already"), "{text}");
    assert!(text.contains("dockerfile = \"a/x.Dockerfile\""), "{text}");
}

#[test]
fn a_file_that_is_there_stays_and_a_folder_without_a_dockerfile_is_told_so() {
    let env = Environment::of(&[]);
    let there = folder(&[("Dockerfile.x", ""), (NAME, "region = 'eu-west-1'")]);
    let failure = init(there.path(), &env, false, &Events::silent()).expect_err("it is there");
    assert!(failure.message.ends_with("locus.toml: it is there already"), "{}", failure.message);
    assert_eq!(fs::read_to_string(there.path().join(NAME)).expect("it stayed"), "region = 'eu-west-1'");
    let failure = init(folder(&[("x.txt", "")]).path(), &env, false, &Events::silent()).expect_err("no Dockerfile");
    assert!(failure.message.starts_with("there is no Dockerfile in "), "{}", failure.message);
    let new = folder(&[("Dockerfile.x", "")]);
    assert_eq!(init(new.path(), &env, false, &Events::silent()).expect("it is written").text, NAME);
    assert!(fs::read_to_string(new.path().join(NAME)).expect("written").contains("[loaders.x]"));
}
