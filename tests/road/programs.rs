//! What other people made, and how it ends with the test: docker-registry to push to, skopeo and podman to read with.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::place::eventually;

/// A docker-registry that ends with the test.
pub struct DockerRegistry {
    pub address: SocketAddr,
    process: Child,
}

impl DockerRegistry {
    pub fn start(folder: &Path) -> Self {
        // Free at this moment; nobody else takes ports of the kernel's choosing by number.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let config = serde_json::json!({
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.join("registry")}},
            "http": {"addr": address.to_string()},
        });
        // JSON is YAML.
        let file = folder.join("registry.yml");
        std::fs::write(&file, config.to_string()).expect("it is ours");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self { address, process: command.spawn().expect("tests/setup installs docker-registry") };
        eventually("an answer of docker-registry", || TcpStream::connect(address).is_ok());
        started
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It is gone already, or it goes now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// podman with a storage of its own, which ends with the test.
pub struct Podman {
    // podman refuses a runroot whose path is longer than 50 characters.
    state: tempfile::TempDir,
}

impl Podman {
    pub fn new() -> Self {
        Self { state: tempfile::Builder::new().prefix("pod").tempdir_in("/tmp").expect("a folder in /tmp") }
    }

    /// What it says when all goes well.
    #[track_caller]
    pub fn said(&self, args: &[&str]) -> String {
        let [root, run] = ["root", "run"].map(|name| self.state.path().join(name).display().to_string());
        said_by("podman", &[&["--root", &root, "--runroot", &run, "--storage-driver", "vfs"], args].concat())
    }
}

/// What `program` says when all goes well.
#[track_caller]
pub fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}`: {error}; tests/setup installs it"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

/// `skopeo inspect` of an image in a plain registry.
#[track_caller]
pub fn inspected(image: &str, more: &[&str]) -> Value {
    let image = format!("docker://{image}");
    let mut args = vec!["inspect", "--tls-verify=false"];
    args.extend(more);
    args.push(&image);
    serde_json::from_str(&said_by("skopeo", &args)).expect("skopeo speaks JSON")
}
