//! What `.ci/release` packs; `tests/packages` tries all of it by hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::image::Image;
use crate::place::Place;

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_programs_own_image_has_the_program_and_whom_it_trusts_and_nothing_else() {
    let place = Place::new();
    place.write("program/locus-push", "the program").write("roots/ca-certificates.crt", "roots").write("other", "");
    let dockerfile = here("Dockerfiles/locus-push.Dockerfile").display().to_string();
    let (layout, output) = place.layout();
    let contexts = ["--build-context", "program=program", "--build-context", "roots=roots"];
    place.run_args(&[&["build", "-f", &dockerfile, "-o", &output][..], &contexts, &["."]].concat()).ok();
    let image = Image::of_folder(&layout);
    let files = image.files(0);
    assert_eq!(files["/usr/bin/locus-push"].content, b"the program");
    assert_eq!(files["/usr/bin/locus-push"].meta, "0755 0:0");
    assert_eq!(files["/etc/ssl/certs/ca-certificates.crt"].meta, "0644 0:0");
    assert_eq!(files.values().filter(|entry| !entry.content.is_empty()).count(), 2);
    assert_eq!(image.config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/locus-push"]));
}

#[test]
fn what_the_deb_lists_is_what_a_release_stages() {
    let manifest: toml::Table = fs::read_to_string(here("Cargo.toml")).expect("it is there").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let script = fs::read_to_string(here(".ci/release")).expect("it is there");
    let mut sources = BTreeSet::new();
    for asset in assets {
        let source = asset[0].as_str().expect("a path");
        match source.strip_prefix("target/package/share/") {
            Some(staged) => {
                let staged = staged.trim_end_matches("/*");
                assert!(script.contains(&format!("\"$SHARE/{staged}\"")), "{staged} is not made by .ci/release");
            }
            None => assert!(source == "target/release/locus-push" || here(source).exists(), "{source}"),
        }
        sources.insert(source);
    }
    assert_eq!(sources.len(), 6);
}

#[test]
fn the_recipes_ask_for_the_version_that_this_is() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, line) in [
        ("examples/ci/gitlab-ci.yml", format!("LOCUS_PUSH_VERSION: \"{version}\"")),
        ("examples/ci/buildspec.yml", format!("LOCUS_PUSH_VERSION: \"{version}\"")),
        ("examples/ci/bitbucket-pipelines.yml", format!("LOCUS_PUSH_VERSION={version}")),
        ("examples/ci/Jenkinsfile", format!("LOCUS_PUSH_VERSION = '{version}'")),
        ("examples/ci/github/load.yml", format!("version: {version}")),
    ] {
        let text = fs::read_to_string(here(path)).expect("it is there");
        assert!(text.contains(&line), "{path} does not have `{line}`");
    }
}
