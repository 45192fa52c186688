//! What `docker login` left, well or badly, as the program itself meets it; and where a credential may be found later,
//! which is nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use locus_push::image::{Flavor, write_folder};

use crate::place::Place;
use crate::quirks::takes_all;
use crate::scripted::{Scripted, says};

/// Pushes an image to a registry that wants to know who asks, with this `config.json` and these helpers.
struct Login {
    here: Place,
    server: Scripted,
    output: Output,
}

/// `user:canary-5e1f` in base64.
const CANARY: (&str, &str) = ("canary-5e1f", "dXNlcjpjYW5hcnktNWUxZg==");

async fn login(config: Option<&str>, helpers: &[(&str, &str)], takes: bool) -> Login {
    let server = Scripted::start(move |asked| match asked.headers.get("authorization") {
        Some(_) if takes => takes_all(asked),
        Some(sent) => says(403).error("DENIED", &format!("you sent {sent}")),
        None => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let here = Place::new();
    let folder = here.home.path();
    let layout = folder.join("layout");
    let open = |digest: &_| {
        let blob = here.store.open_blob(digest).map_err(std::io::Error::other)?;
        Ok(Box::new(blob) as Box<dyn std::io::Read>)
    };
    write_folder(&layout, &here.image(&["x"]), &[], Flavor::Oci, &open).unwrap();
    let [docker, bin] = ["docker", "bin"].map(|name| folder.join(name));
    for made in [&docker, &bin] {
        fs::create_dir(made).unwrap();
    }
    if let Some(config) = config {
        fs::write(docker.join("config.json"), config.replace("HOST", &server.address.to_string())).unwrap();
    }
    for (name, script) in helpers {
        let path = bin.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nhost=$(cat)\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_locus-push"));
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    command.env("HOME", folder).env("DOCKER_CONFIG", docker).env("LOCUS_PUSH_HOME", folder.join("kept"));
    command.arg("push").arg(&layout).arg(format!("{}/a:v1", server.address));
    let output = command.output().await.unwrap();
    Login { here, server, output }
}

impl Login {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The credentials that reached the registry, each once.
    fn sent(&self) -> Vec<String> {
        let asked = self.server.asked();
        let mut sent: Vec<String> =
            asked.iter().filter_map(|asked| asked.headers.get("authorization").cloned()).collect();
        sent.dedup();
        sent
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e14_a_registry_that_no_login_names_is_asked_as_anybody_would() {
    let nobody = "echo 'credentials not found in native keychain'; exit 1";
    for (config, helpers, warned) in [
        (None, &[][..], None),
        (Some("{}"), &[], None),
        (Some(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"":{"auth":"dTpw"}}}"#), &[], None),
        (Some(r#"{"credsStore":"none"}"#), &[("none", nobody)], None),
        (Some(r#"{"credHelpers":{"other.test":"x"}}"#), &[("x", "touch $0.ran")], None),
        (Some(r#"{"credsStore":"gone"}"#), &[], Some("its credential helper cannot be started")),
        (Some(r#"{"credsStore":"odd"}"#), &[("odd", "echo canary-5e1f")], Some("something else than a credential")),
        (
            Some(r#"{"credsStore":"bad"}"#),
            &[("bad", "echo canary-5e1f >&2; exit 3")],
            Some("`docker-credential-bad get` failed"),
        ),
        (Some(r#"{"auths":{"HOST":{"auth":"canary-5e1f"}}}"#), &[], Some("is not `user:password` in base64")),
        (Some(r#"{"auths":"canary-5e1f"}"#), &[], Some("it is not JSON of the form")),
        (Some("canary-5e1f"), &[], Some("it is not JSON of the form")),
    ] {
        let login = login(config, helpers, true).await;
        let stderr = login.stderr();
        assert_eq!(login.sent(), [""; 0], "{config:?}: {stderr}");
        assert_eq!(login.output.status.code(), Some(4), "{config:?}: {stderr}");
        assert!(stderr.contains("not allowed to push"), "{config:?}: {stderr}");
        assert!(!stderr.contains("canary"), "{config:?}: {stderr}");
        match warned {
            Some(words) => {
                assert!(stderr.contains(words) && stderr.contains("without a credential"), "{config:?}: {stderr}")
            }
            None => assert!(!stderr.contains("warning"), "{config:?}: {stderr}"),
        }
        assert!(!login.here.home.path().join("bin/docker-credential-x.ran").exists(), "the helper of another host ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_helper_are_used_for_the_host_that_they_name() {
    // It knows no host but those of this machine.
    let helper =
        r#"case "$1 $host" in "get 127.0.0.1:"*) echo '{"Username":"user","Secret":"canary-5e1f"}';; *) exit 1;; esac"#;
    for (config, helpers) in [
        (r#"{"auths":{"HOST":{"auth":"dXNlcjpjYW5hcnktNWUxZg=="}}}"#, vec![]),
        (r#"{"auths":{"HOST":{"username":"user","password":"canary-5e1f"}}}"#, vec![]),
        (r#"{"credHelpers":{"HOST":"x"},"credsStore":"gone"}"#, vec![("x", helper)]),
        (r#"{"credsStore":"x"}"#, vec![("x", helper)]),
    ] {
        let login = login(Some(config), &helpers, true).await;
        assert!(login.output.status.success(), "{config}: {}", login.stderr());
        assert_eq!(login.sent(), [format!("Basic {}", CANARY.1)], "{config}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_a_credential_is_seen_nowhere_afterwards() {
    let config = format!(r#"{{"auths":{{"HOST":{{"auth":"{}"}}}}}}"#, CANARY.1);
    for takes in [true, false] {
        let login = login(Some(&config), &[], takes).await;
        assert_eq!(login.output.status.success(), takes, "{}", login.stderr());
        assert_eq!(login.sent().len(), 1);
        let found = |text: &[u8]| {
            let holds = |word: &str| text.windows(word.len()).any(|window| window == word.as_bytes());
            holds(CANARY.0) || holds(CANARY.1)
        };
        assert!(!found(&login.output.stdout) && !found(&login.output.stderr), "{}", login.stderr());
        let mut files = Vec::new();
        walk(&login.here.home.path().join("kept"), &mut files);
        assert!(!takes || !files.is_empty());
        for file in files {
            assert!(!found(&fs::read(&file).unwrap()), "{}", file.display());
        }
    }
}

fn walk(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, into) } else { into.push(path) }
    }
}
