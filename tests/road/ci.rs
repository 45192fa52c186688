//! The recipes of `examples/ci` and the action in `.github`: their shell parts, read out of them by `tests/ci/recipe.py`
//! and run as whom and with what the recipe's machine gives them, against the cloud on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::small_in;
use crate::cloud::Cloud;
use crate::container::Container;
use crate::place::{Place, Ran, world};
use crate::programs::said_by;

/// What the image of the recipes has, of what they use: Debian's essential packages and curl.
const IN_THE_IMAGE: [&str; 12] =
    ["sh", "bash", "curl", "tar", "gzip", "sha256sum", "mktemp", "cat", "sed", "id", "env", "sysctl"];

const TOKEN: &str = "eyJhbGciOi.J9-canary-hunter2.sig_";

/// A recipe, and the machine that its service gives it.
struct Job {
    cloud: Cloud,
    place: Place,
    name: String,
    checksum: String,
}

/// A container as Docker makes it, whose root the job is, with nothing but what the image has.
fn in_an_image() -> Place {
    let mut place = Place::in_container(Container::Docker);
    let bin = place.beside("bin");
    std::fs::create_dir(&bin).expect("it is ours");
    for tool in IN_THE_IMAGE {
        let found = said_by("which", &[tool]);
        symlink(found.trim_end(), bin.join(tool)).expect("it is ours");
    }
    place.var("PATH", bin.display());
    place
}

impl Job {
    fn new(place: Place) -> Self {
        let cloud = Cloud::shared();
        let (mut place, name) = small_in(cloud.exported_to(place), "test \"$(cat /built)\" = 'of the build' && exit 7");
        // The recipes' loader.
        let dockerfile = std::fs::read(place.path("loaders/x.Dockerfile")).expect("it was just written");
        place.write("loaders/os_opendata.Dockerfile", dockerfile);
        let (release, home) = (place.beside("release"), place.beside("home").display().to_string());
        let folder = release.join("locus-push-0.1.0-x86_64-linux/bin");
        std::fs::create_dir_all(&folder).expect("it is ours");
        // The program itself would take seconds to compress.
        let program = format!("#!/bin/sh\nexec '{}' \"$@\"\n", place.program().display());
        std::fs::write(folder.join("locus-push"), program).expect("it is ours");
        let tar = release.join("locus-push-0.1.0-x86_64-linux.tar.gz").display().to_string();
        said_by("chmod", &["755", &folder.join("locus-push").display().to_string()]);
        said_by("tar", &["-czf", &tar, "-C", &release.display().to_string(), "locus-push-0.1.0-x86_64-linux"]);
        let checksum = said_by("sha256sum", &[&tar]).split(' ').next().expect("the sum comes first").to_owned();
        place.var("LOCUS_PUSH_FROM", format!("file://{}", release.display())).var("LOCUS_PUSH_SHA256", &checksum);
        place.var("TMPDIR", home);
        Self { cloud, place, name, checksum }
    }

    /// The keys of the cloud's go; there is a role that a token of the service's gives.
    fn with_a_role_alone(mut self) -> Self {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            self.place.vars.remove(name);
        }
        let name = &self.name;
        let trust = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%22*%22%2C%22Action%22%3A\
                     %22sts%3AAssumeRoleWithWebIdentity%22%7D%5D%7D";
        let all = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22*%22%2C%22Resource%22%3A\
                   %22*%22%7D%5D%7D";
        self.cloud.iam(&format!("Action=CreateRole&RoleName={name}-ci&AssumeRolePolicyDocument={trust}"));
        self.cloud.iam(&format!("Action=PutRolePolicy&RoleName={name}-ci&PolicyName=p&PolicyDocument={all}"));
        let role = format!("arn:aws:iam::123456789012:role/{name}-ci");
        self.place.var("LOADER_ROLE", &role);
        self
    }

    fn run(&mut self, recipe: &str, inputs: &[&str]) -> Ran {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = format!("{}/venv/bin/python", world("LOCUS_TEST_STACK"));
        let (reader, recipe) = (here.join("tests/ci/recipe.py"), here.join(recipe));
        let (reader, recipe) = (reader.display().to_string(), recipe.display().to_string());
        let read: Value =
            serde_json::from_str(&said_by(&python, &[&[&reader[..], &recipe], inputs].concat())).expect("JSON");
        for (name, value) in read["variables"].as_object().expect("an object") {
            self.place.var(name, value.as_str().expect("variables are text"));
        }
        let script = self.place.beside("script");
        std::fs::write(&script, read["script"].as_str().expect("text")).expect("it is ours");
        let script = script.display().to_string();
        let shell = read["shell"].as_array().expect("a list");
        let words: Vec<&str> = shell.iter().filter_map(Value::as_str).chain([script.as_str()]).collect();
        self.place.run_shell(&words)
    }

    /// The whole road was walked: the task's exit code is the script's, and nothing of the identity was told.
    #[track_caller]
    fn loaded(&self, ran: &Ran) {
        assert_eq!(ran.code, Some(7), "{ran}");
        ran.said("Stopped exit code 7");
        ran.not_said("hunter2");
        let tagged =
            serde_json::json!({ "repositoryName": "locus_data_loaders", "imageIds": [{ "imageTag": self.name }] });
        let images = self.cloud.ask("AmazonEC2ContainerRegistry_V20150921.DescribeImages", tagged);
        let digest = images["imageDetails"][0]["imageDigest"].as_str().unwrap_or_else(|| panic!("{images}"));
        ran.said(digest);
    }
}

/// Answers every question with this document, and remembers what was asked.
fn answering(document: String) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, heard) = (listener.local_addr().expect("it is bound"), Arc::<Mutex<String>>::default());
    let hears = heard.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            hears.lock().expect("nobody panics while holding it").push_str(&head);
            let length = document.len();
            let kind = "Content-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{document}");
        }
    });
    (address, heard)
}

/// All at once: most of the time of each is that in which it waits for the last line of its task's log.
#[test]
fn every_recipe_walks_the_whole_road_without_privileges_as_the_role_that_its_service_gives() {
    std::thread::scope(|scope| {
        for recipe in [gitlab, bitbucket, jenkins, codebuild, github] {
            scope.spawn(recipe);
        }
    });
}

fn gitlab() {
    let mut job = Job::new(in_an_image()).with_a_role_alone();
    job.place.var("LOADER_ID_TOKEN", TOKEN);
    let ran = job.run("examples/ci/gitlab-ci.yml", &[]);
    job.loaded(&ran);
    ran.said("Sandbox chroot");
}

fn bitbucket() {
    let mut job = Job::new(in_an_image()).with_a_role_alone();
    job.place.var("BITBUCKET_STEP_OIDC_TOKEN", TOKEN);
    let ran = job.run("examples/ci/bitbucket-pipelines.yml", &[]);
    job.loaded(&ran);
}

fn jenkins() {
    let mut job = Job::new(in_an_image()).with_a_role_alone();
    // The plugin's file.
    let token = job.place.beside("home/token");
    std::fs::write(&token, TOKEN).expect("it is ours");
    job.place.var("AWS_WEB_IDENTITY_TOKEN_FILE", token.display());
    let ran = job.run("examples/ci/Jenkinsfile", &[]);
    job.loaded(&ran);
}

/// The project's own role, which its container is given.
fn codebuild() {
    let mut job = Job::new(in_an_image());
    let mut key = |name: &str| job.place.vars.remove(name).expect("the cloud's");
    let (address, heard) = answering(format!(
        r#"{{"AccessKeyId":"{}","SecretAccessKey":"{}","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#,
        key("AWS_ACCESS_KEY_ID"),
        key("AWS_SECRET_ACCESS_KEY")
    ));
    job.place.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/role"));
    let ran = job.run("examples/ci/buildspec.yml", &[]);
    job.loaded(&ran);
    assert!(heard.lock().expect("nobody panics while holding it").starts_with("GET /role "));
}

/// The inputs of the action, for the loader of the recipes.
fn inputs(job: &Job, command: &str, checksum: &str, role: &str) -> Vec<String> {
    let from = job.place.vars["LOCUS_PUSH_FROM"].clone();
    let arguments = format!("{command} --progress plain loaders/os_opendata.Dockerfile");
    [
        ("arguments", arguments.as_str()),
        ("version", "0.1.0"),
        ("sha256", checksum),
        ("from", &from),
        ("role", role),
        ("region", "eu-west-1"),
    ]
    .map(|(name, value)| format!("{name}={value}"))
    .to_vec()
}

/// A machine of GitHub's, where the job is an ordinary user with sub-ids.
fn on_a_runner() -> Job {
    let mut job = Job::new(Place::of_user());
    for name in ["GITHUB_PATH", "GITHUB_ENV", "GITHUB_OUTPUT"] {
        let file = job.place.beside(name);
        std::fs::write(&file, "").expect("it is ours");
        said_by("chmod", &["666", &file.display().to_string()]);
        job.place.var(name, file.display());
    }
    // The stack's own folder is its root's.
    let roots = job.place.beside("ca.pem");
    std::fs::copy(&job.place.vars["SSL_CERT_FILE"], &roots).expect("it can be read");
    said_by("chmod", &["644", &roots.display().to_string()]);
    job.place.var("SSL_CERT_FILE", roots.display());
    job
}

fn github() {
    const ACTION: &str = ".github/actions/locus-push/action.yml";
    let mut job = on_a_runner().with_a_role_alone();
    let role = job.place.vars["LOADER_ROLE"].clone();
    let (address, heard) = answering(format!(r#"{{"count":1,"value":"{TOKEN}"}}"#));
    job.place.var("ACTIONS_ID_TOKEN_REQUEST_URL", format!("http://{address}/token?api-version=2"));
    job.place.var("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job");
    let given = inputs(&job, "", &job.checksum, &role);
    let ran = job.run(ACTION, &given.iter().map(String::as_str).collect::<Vec<_>>());
    job.loaded(&ran);
    ran.said("Sandbox sub-ids");
    let heard = heard.lock().expect("nobody panics while holding it").clone();
    assert!(heard.starts_with("GET /token?api-version=2&audience=sts.amazonaws.com "), "{heard}");
    assert!(heard.contains("bearer of-the-job"), "{heard}");
    // The task failed, and so did the step: there is no answer. One that ends well has it.
    assert_eq!(std::fs::read_to_string(job.place.beside("GITHUB_OUTPUT")).expect("it is ours"), "");
    let given = inputs(&job, "deploy", &job.checksum, &role);
    job.run(ACTION, &given.iter().map(String::as_str).collect::<Vec<_>>()).ended(0);
    let answer = std::fs::read_to_string(job.place.beside("GITHUB_OUTPUT")).expect("it is ours");
    assert!(answer.starts_with("image=") && answer.contains("/locus_data_loaders@sha256:"), "{answer}");
}

#[test]
fn a_tarball_with_another_checksum_is_not_unpacked() {
    let mut job = Job::new(in_an_image());
    let other = "0".repeat(64);
    job.place.var("LOCUS_PUSH_SHA256", &other);
    for recipe in ["gitlab-ci.yml", "buildspec.yml", "bitbucket-pipelines.yml", "Jenkinsfile"] {
        let ran = job.run(&format!("examples/ci/{recipe}"), &[]);
        assert_eq!(ran.code, Some(1), "{recipe}: {ran}");
        ran.not_said("Reading");
    }
    let mut job = on_a_runner();
    let given = inputs(&job, "", &other, "");
    let ran = job.run(".github/actions/locus-push/action.yml", &given.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.not_said("Reading");
}
