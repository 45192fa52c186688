//! What other people made, and how it ends with the test: docker-registry to push to, skopeo and podman to read with.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

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

/// A registry in front of another one, which holds one answer back.
pub struct Front {
    pub address: SocketAddr,
}

impl Front {
    /// Whatever is asked for by a path with `held` in it is passed on only when `is_time`. It ends with the tests.
    pub fn start(behind: SocketAddr, held: String, is_time: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let rule = Arc::new((held, is_time));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let rule = rule.clone();
                thread::spawn(move || {
                    let (held, is_time) = &*rule;
                    // Whoever hangs up has no further wishes.
                    let _ = pass_on(client, behind, |asked| {
                        if asked.contains(held.as_str()) {
                            eventually("the time to pass it on", is_time);
                        }
                    });
                });
            }
        });
        Self { address }
    }
}

/// One question without a body and its answer, after which both connections end.
fn pass_on(mut client: TcpStream, behind: SocketAddr, before: impl FnOnce(&str)) -> io::Result<()> {
    let (mut asked, mut buffer) = (String::new(), [0; 4096]);
    while !asked.ends_with("\r\n\r\n") {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            read => asked += &String::from_utf8_lossy(&buffer[..read]),
        }
    }
    before(&asked);
    let mut registry = TcpStream::connect(behind)?;
    let closing = asked.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    registry.write_all(closing.as_bytes())?;
    io::copy(&mut registry, &mut client).map(drop)
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
