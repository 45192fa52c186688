//! `lock`: what a build takes from outside, pinned; obeyed, refused, and asked for anew.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::image::Image;
use crate::place::Place;
use crate::programs::DockerRegistry;

/// A file on loopback whose content can be changed.
struct Served {
    url: String,
    content: Arc<Mutex<String>>,
}

impl Served {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://u:hunter2@{}/data", listener.local_addr().expect("it has an address"));
        let content = Arc::new(Mutex::new("one".to_owned()));
        let served = Arc::clone(&content);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let body = served.lock().expect("nobody panicked").clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                // The client may have gone, which is its right.
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { url, content }
    }

    fn set(&self, content: &str) {
        content.clone_into(&mut self.content.lock().expect("nobody panicked"));
    }
}

/// The files of what a build with these flags makes.
#[track_caller]
fn built(place: &Place, flags: &[&str]) -> Vec<String> {
    let (layout, output) = place.layout();
    place.run_args(&[&["build", "-f", "loaders/x.Dockerfile", "-o", &output], flags, &["."]].concat()).ok();
    let files = Image::of_folder(&layout).files(0);
    files.values().map(|entry| String::from_utf8_lossy(&entry.content).into_owned()).filter(|c| !c.is_empty()).collect()
}

#[test]
fn a_build_takes_what_is_pinned_until_the_lock_is_updated() {
    let (place, served) = (Place::new(), Served::new());
    let registry = DockerRegistry::start(&place.beside("."));
    let base = format!("{}/team/base:1", registry.address);
    let push = |content: &str| {
        place.write("base/Dockerfile", "FROM scratch\nCOPY f /f\n").write("base/f", content);
        place.run_args(&["build", "-t", &base, "--push", "base"]).ok();
    };
    push("first");
    let url = &served.url;
    place.write("loaders/x.Dockerfile", format!("FROM {base} AS a\nADD {url} /data\nCOPY --from={base} /f /g\n"));

    let lock = "lock loaders/x.Dockerfile";
    let locked = place.run(lock);
    assert_eq!(locked.ok().lines().filter(|line| line.starts_with("pinned ")).count(), 2, "{locked}");
    let text = std::fs::read_to_string(place.path("loaders/locus.lock")).expect("it is there");
    assert!(text.contains(&format!("[dockerfiles.\"x.Dockerfile\".images.\"{base}\"]")), "{text}");
    assert!(text.contains("\"linux/amd64\" = \"sha256:") && !text.contains("hunter2"), "{text}");
    assert_eq!(place.run(lock).ok(), "unchanged  loaders/locus.lock");

    push("second");
    assert_eq!(built(&place, &["--locked"]), ["one", "first", "first"]);
    served.set("two");
    // Another machine has to fetch it.
    let elsewhere = Place::new();
    elsewhere.copy(&place.path("loaders"), "loaders/");
    let moved = elsewhere.run("build -f loaders/x.Dockerfile .");
    assert_eq!(moved.ended(3), "");
    moved.said("as the lock file says");
    moved.said("hint: `locus-push lock --update DOCKERFILE` takes what is there now");

    let update = place.run("lock --update loaders/x.Dockerfile");
    assert_eq!(update.ok().lines().filter(|line| line.starts_with("moved ") && line.contains(" → ")).count(), 2);
    assert_eq!(built(&place, &[]), ["two", "second", "second"]);
}

#[test]
fn what_is_not_pinned_is_refused_with_locked_and_only_then() {
    let place = Place::new();
    place.write("loaders/x.Dockerfile", "FROM busybox\n");
    let ran = place.run("build --locked -f loaders/x.Dockerfile .");
    assert_eq!(ran.ended(2), "");
    ran.said("error: there is no lock file loaders/locus.lock");
    place.run("lock --lockfile all.lock loaders/x.Dockerfile").ok();
    place.run("verify --locked --lockfile all.lock loaders/x.Dockerfile").ok();
    place.write("loaders/x.Dockerfile", "FROM busybox AS a\nFROM alpine\nCOPY --from=a /bin /bin\n");
    let ran = place.run("build --locked --lockfile all.lock -f loaders/x.Dockerfile .");
    assert_eq!(ran.ended(2), "");
    ran.said(
        "error: the lock file all.lock needs to be updated but --locked was passed: docker.io/library/alpine:latest",
    );
    ran.said("  --> loaders/x.Dockerfile:2");
    place.run("build --lockfile all.lock -f loaders/x.Dockerfile .").ok();
    place.write("all.lock", "version = 1\n[dockerfiles.x.pictures]\n");
    let ran = place.run("build --lockfile all.lock -f loaders/x.Dockerfile .");
    assert_eq!(ran.ended(2), "");
    ran.said("error: the lock file all.lock: unknown key `pictures`");
    ran.said("  --> all.lock:2");
}
