//! What other people made: Debian's docker-registry as a server; skopeo, podman and buildah as clients.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use locus_push::image::{Image, Platform};
use locus_push::registry::{ExchangeError, Identity, Login, PushError, Pusher, Registry, Server, Upstream};
use locus_push::secret::Secret;
use tokio::io::AsyncWriteExt;

use crate::place::{Place, credential, endpoints, reference, words};

/// A docker-registry that ends with the test.
struct DockerRegistry {
    address: SocketAddr,
    process: Child,
}

impl DockerRegistry {
    async fn start(folder: &Path, more: serde_json::Value) -> Self {
        for _ in 0..5 {
            // The port is free at this moment; should another process be quicker, the next one is tried.
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Some(started) = Self::at(address, folder, &more).await {
                return started;
            }
        }
        panic!("docker-registry did not start five times; its words are in {}/log", folder.display());
    }

    async fn at(address: SocketAddr, folder: &Path, more: &serde_json::Value) -> Option<Self> {
        let mut config = serde_json::json!({
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": address.to_string()},
        });
        if let Some(tls) = more.get("tls") {
            config["http"]["tls"] = tls.clone();
        }
        if let Some(auth) = more.get("auth") {
            config["auth"] = auth.clone();
        }
        // JSON is YAML.
        let file = folder.join("config.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(find("docker-registry"));
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut started = Self { address, process };
        for _ in 0..200 {
            if started.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(started);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It is gone already, or it goes now; a test that fails here would hide why it failed before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The tests of this file prove nothing without these programs, so they do not pass without them.
fn find(program: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("`{program}` is not installed; the README's setup for the tests installs it"))
}

async fn skopeo(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(find("skopeo"));
    let output = command.arg("--insecure-policy").args(arguments).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A certificate for 127.0.0.1, and the authority that signed it.
struct Certified {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certified {
    fn in_folder(folder: &Path) -> Self {
        let [ca_key, authority, key, certificate] =
            ["ca.key", "ca.pem", "key.pem", "cert.pem"].map(|name| folder.join(name));
        let make = |key: &Path, certificate: &Path, more: &[&OsStr]| {
            let mut command = Command::new(find("openssl"));
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            command.args(["-days", "2", "-keyout"]).arg(key).arg("-out").arg(certificate).args(more);
            let made = command.output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        make(&ca_key, &authority, &["-subj", "/CN=Test Authority"].map(OsStr::new));
        let mut signed = ["-subj", "/CN=r.test", "-addext", "subjectAltName=IP:127.0.0.1"].map(OsStr::new).to_vec();
        signed.extend(["-addext", "basicConstraints=critical,CA:FALSE"].map(OsStr::new));
        signed.extend([OsStr::new("-CA"), authority.as_os_str(), OsStr::new("-CAkey"), ca_key.as_os_str()]);
        make(&key, &certificate, &signed);
        Self { authority, certificate, key }
    }
}

/// A registry of ours with a login, over TLS, and the folder with the authority that it is known by.
async fn certified(there: &Place) -> (Server, PathBuf) {
    let Certified { authority, certificate, key } = Certified::in_folder(there.home.path());
    let pem = std::fs::read(&certificate).unwrap();
    let identity = Identity::from_pem(&pem, &Secret::new(std::fs::read(&key).unwrap())).unwrap();
    let login = Login::new("user", &Secret::new("secret")).unwrap();
    let server = there
        .serve_as(|options| (options.login, options.identity, options.may_delete) = (Some(login), Some(identity), true))
        .await;
    let trusted = there.home.path().join("trusted");
    std::fs::create_dir(&trusted).unwrap();
    std::fs::copy(&authority, trusted.join("ca.crt")).unwrap();
    (server, trusted)
}

async fn push(here: &Place, client: &Registry, registry: &str) -> (Image, bool) {
    let image = here.image(&["one", "two"]);
    let pusher = Pusher::new(client, reference(registry, "team/loader"));
    let pushed = pusher.finish(&image, &[], &["v1".into()]).await.unwrap();
    (image, pushed.already_there)
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_takes_what_we_push_and_skopeo_reads_it() {
    let here = Place::new();
    let registry = DockerRegistry::start(here.home.path(), serde_json::json!({})).await;
    let name = registry.address.to_string();
    here.client().may_push(&reference(&name, "team/loader")).await.unwrap();
    let (image, already_there) = push(&here, &here.client(), &name).await;
    assert!(!already_there);
    assert!(push(&here, &here.client(), &name).await.1);
    let inspected = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}/team/loader:v1")]).await;
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.digest().to_string());
    let layers: Vec<String> = image.manifest.layers.iter().map(|layer| layer.digest.to_string()).collect();
    assert_eq!(inspected["Layers"], serde_json::json!(layers));

    let elsewhere = Place::new();
    let base =
        elsewhere.client().pull_image(&reference(&name, "team/loader:v1"), &Platform::linux_amd64()).await.unwrap();
    assert_eq!(base.image, image);
    let error = here.client().pull_image(&reference(&name, "nod:12"), &Platform::linux_amd64()).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("no image `{name}/nod:12` (asked http://{name}/v2/nod/")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_mounts_a_base_from_another_repository() {
    let (here, maker) = (Place::new(), Place::new());
    let registry = DockerRegistry::start(here.home.path(), serde_json::json!({})).await;
    let name = registry.address.to_string();
    let (base, _) = push(&maker, &maker.client(), &name).await;
    let layer = base.manifest.layers[0].clone();
    let mut image = here.image(&["own"]);
    image.manifest.layers.insert(0, layer.clone());
    let sources = [(reference(&name, "team/loader:v1"), layer.clone())];
    let pusher = Pusher::new(&here.client(), reference(&name, "other"));
    assert_eq!(pusher.finish(&image, &sources, &[]).await.unwrap().uploaded, 2);
    assert_eq!(here.store.blob_size(&layer.digest), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_with_a_password_knows_us_and_nobody_else() {
    let here = Place::new();
    let file = here.home.path().join("htpasswd");
    // user:secret
    std::fs::write(&file, "user:$2b$04$pbPnAzw..dlCa16jxwQ5.eQHrFuHTuCyDWVffOJVHBGmRybN81OCm\n").unwrap();
    let auth = serde_json::json!({"auth": {"htpasswd": {"realm": "test", "path": file}}});
    let registry = DockerRegistry::start(here.home.path(), auth).await;
    let name = registry.address.to_string();
    let mut options = here.options();
    options.credentials = credential(&name, &["secret"]).0;
    push(&here, &Registry::new(options).unwrap(), &name).await;
    let mut options = here.options();
    options.credentials = credential(&name, &["wrong"]).0;
    for client in [here.client(), Registry::new(options).unwrap()] {
        let error = client.may_push(&reference(&name, "team/loader")).await.unwrap_err();
        assert!(matches!(error, PushError::Denied { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{name}/team/loader")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companys_own_authority_is_believed_when_it_is_named() {
    let here = Place::new();
    let folder = here.home.path();
    let Certified { authority, certificate, key } = Certified::in_folder(folder);
    let tls = serde_json::json!({"tls": {"certificate": certificate, "key": key}});
    let registry = DockerRegistry::start(folder, tls).await;
    let options = |ca_file| {
        let mut options = here.options();
        options.endpoints = endpoints(&format!("r.test=https://{}", registry.address));
        options.ca_file = ca_file;
        Registry::new(options).unwrap()
    };
    push(&here, &options(Some(authority)), "r.test").await;
    let error = options(None).may_push(&reference("r.test", "team/loader")).await.unwrap_err();
    assert!(matches!(error, PushError::Exchange { source: ExchangeError::Tls { .. }, .. }), "{error:?}");
    let shown = words(&error, error.hint());
    assert!(shown.contains(&registry.address.to_string()) && shown.contains("--ca-file"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_into_our_registry_and_out_of_it() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    let (image, _) = push(&here, &here.client(), &server.address().to_string()).await;
    let ours = format!("docker://{}", server.address());
    let layout = format!("oci:{}:v1", here.home.path().join("layout").display());
    skopeo(&["copy", "--src-tls-verify=false", &format!("{ours}/team/loader:v1"), &layout]).await;
    let index = std::fs::read_to_string(here.home.path().join("layout/index.json")).unwrap();
    assert!(index.contains(&image.digest().to_string()), "{index}");

    // Into a registry whose store has none of it.
    let empty = Place::new();
    let other = empty.serve().await;
    let theirs = format!("docker://{}/copied/loader:v2", other.address());
    skopeo(&["copy", "--dest-tls-verify=false", &layout, &theirs]).await;
    let found = Place::new().client().resolve(&reference(other.address(), "copied/loader:v2")).await.unwrap();
    assert_eq!(found, Some(image.digest()));
    for layer in &image.manifest.layers {
        assert_eq!(empty.store.blob_size(&layer.digest), Some(layer.size));
    }
    let tags =
        skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{}/copied/loader", other.address())]).await;
    assert!(tags.contains("v2"), "{tags}");

    // Docker's own manifest type, from and to us.
    let docker = format!("docker://{}/copied/docker:v1", other.address());
    skopeo(&["copy", "--format", "v2s2", "--dest-tls-verify=false", &layout, &docker]).await;
    let (third, copied) = (Place::new(), reference(other.address(), "copied/docker:v1"));
    let base = third.client().pull_image(&copied, &Platform::linux_amd64()).await.unwrap();
    assert_eq!(base.image.config.rootfs, image.config.rootfs);
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_logs_in_to_our_registry_over_tls_and_strangers_do_not() {
    let there = Place::new();
    let (server, trusted) = certified(&there).await;
    let authority = trusted.join("ca.crt");
    let trusted = trusted.to_str().unwrap();

    // Ours goes in over TLS, with what `docker login` would have left.
    let here = Place::new();
    let client = |password| {
        let mut options = here.options();
        options.credentials = credential("r.test", password).0;
        options.endpoints = endpoints(&format!("r.test=https://{}", server.address()));
        options.ca_file = Some(authority.clone());
        Registry::new(options).unwrap()
    };
    let (image, _) = push(&here, &client(&["secret"]), "r.test").await;
    let error = client(&["wrong"]).may_push(&reference("r.test", "team/loader")).await.unwrap_err();
    assert!(matches!(error, PushError::Denied { .. }), "{error}");

    // So does skopeo, out, in, and once more to delete.
    let ours = format!("docker://{}/team/loader", server.address());
    let layout = format!("oci:{}:v1", here.home.path().join("layout").display());
    skopeo(&["copy", "--src-cert-dir", trusted, "--src-creds", "user:secret", &format!("{ours}:v1"), &layout]).await;
    skopeo(&["copy", "--dest-cert-dir", trusted, "--dest-creds", "user:secret", &layout, &format!("{ours}:v2")]).await;
    let tags = skopeo(&["list-tags", "--cert-dir", trusted, "--creds", "user:secret", &ours]).await;
    assert!(tags.contains("v1") && tags.contains("v2"), "{tags}");
    skopeo(&["delete", "--cert-dir", trusted, "--creds", "user:secret", &format!("{ours}:v2")]).await;
    assert_eq!(client(&["secret"]).resolve(&reference("r.test", "team/loader:v2")).await.unwrap(), None);
    assert!(there.store.blob_size(&image.manifest.layers[0].digest).is_some());

    // Who has no password, or does not speak TLS, is let in nowhere.
    for arguments in [
        ["inspect", "--cert-dir", trusted, "--creds", "user:wrong", &format!("{ours}:v1")],
        ["inspect", "--cert-dir", trusted, "--no-creds", "--raw", &format!("{ours}:v1")],
    ] {
        let mut command = tokio::process::Command::new(find("skopeo"));
        let refused = command.arg("--insecure-policy").args(arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.to_lowercase().contains("auth"), "{said}");
    }
    let plain = here.client_of("r.test", server.address()).may_push(&reference("r.test", "team/loader")).await;
    assert!(plain.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_and_umoci_read_what_our_registry_keeps_of_another() {
    let (maker, far, near) = (Place::new(), Place::new(), Place::new());
    let upstream = far.serve().await;
    let (image, _) = push(&maker, &maker.client(), &upstream.address().to_string()).await;
    let keeps = Upstream::new(near.client(), &upstream.address().to_string());
    let cache = near.serve_as(|options| options.upstream = Some(keeps)).await;
    let layout = near.home.path().join("layout");
    let from = format!("docker://{}/team/loader:v1", cache.address());
    skopeo(&["copy", "--src-tls-verify=false", &from, &format!("oci:{}:v1", layout.display())]).await;
    let mut command = tokio::process::Command::new(find("umoci"));
    let listed = command.args(["stat", "--image"]).arg(format!("{}:v1", layout.display())).output().await.unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(image.manifest.layers.iter().all(|layer| near.store.blob_size(&layer.digest) == Some(layer.size)));
}

/// podman or buildah, with what they keep in a folder of their own.
struct Containers {
    program: PathBuf,
    folder: PathBuf,
    /// Certificates of authorities.
    trusted: PathBuf,
}

impl Containers {
    fn of(program: PathBuf, folder: &Path, trusted: &Path) -> Self {
        std::fs::write(folder.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
        Self { program, folder: folder.to_owned(), trusted: trusted.to_owned() }
    }

    /// What it said on stdout; what it said on stderr where it failed.
    async fn run(&self, verb: &str, arguments: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = tokio::process::Command::new(&self.program);
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.folder.join(name));
        }
        command.args(["--storage-driver", "vfs", verb, "--authfile"]).arg(self.folder.join("auth.json"));
        command.arg("--cert-dir").arg(&self.trusted);
        if verb != "login" {
            command.arg("--signature-policy").arg(self.folder.join("policy.json"));
        }
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have ended before it read anything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_and_buildah_log_in_to_our_registry_pull_and_push() {
    let (there, here) = (Place::new(), Place::new());
    let (server, trusted) = certified(&there).await;
    let host = server.address().to_string();
    let mut options = here.options();
    options.credentials = credential("r.test", &["secret"]).0;
    options.endpoints = endpoints(&format!("r.test=https://{host}"));
    options.ca_file = Some(trusted.join("ca.crt"));
    let client = Registry::new(options).unwrap();
    let (image, _) = push(&here, &client, "r.test").await;
    // podman has buildah's library in it; the program itself is tried where it is.
    let buildah = Path::new("/usr/bin/buildah");
    for program in [find("podman")].into_iter().chain(buildah.is_file().then(|| buildah.to_owned())) {
        let folder = tempfile::tempdir().unwrap();
        let containers = Containers::of(program, folder.path(), &trusted);
        let (login, ours) = (["--username", "user", "--password-stdin", &host], format!("{host}/team/loader:v1"));
        let refused = containers.run("pull", &["--quiet", &ours], "").await.unwrap_err();
        assert!(refused.contains("auth"), "{refused}");
        containers.run("login", &login, "wrong").await.unwrap_err();
        containers.run("login", &login, "secret").await.unwrap();
        let pulled = containers.run("pull", &["--quiet", &ours], "").await.unwrap();
        let config = image.manifest.config.digest.hex();
        assert!(pulled.ends_with(&config), "{pulled} is not {config}");
        let theirs = format!("{host}/theirs/loader:v2");
        containers.run("push", &["--quiet", &ours, &format!("docker://{theirs}")], "").await.unwrap();
        let pushed = reference("r.test", "theirs/loader:v2");
        let found = client.pull_image(&pushed, &Platform::linux_amd64()).await.unwrap().image;
        assert_eq!(found.config.rootfs, image.config.rootfs);
        let (trusted, theirs) = (trusted.to_str().unwrap(), format!("docker://{theirs}"));
        skopeo(&["delete", "--cert-dir", trusted, "--creds", "user:secret", &theirs]).await;
        let gone = containers.run("pull", &["--quiet", &theirs], "").await.unwrap_err();
        assert!(gone.contains("manifest unknown"), "{gone}");
    }
}
