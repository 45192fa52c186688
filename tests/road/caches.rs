//! Build caches in a registry, in a folder and in an image: what another machine takes from them, and how little it
//! fetches for it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use locus_push::registry::{Server, ServerOptions};
use locus_push::store::Store;

use crate::place::{Place, Ran, world};

/// A stage whose files the image takes, with some of a base's own; and a command over both.
const DOCKERFILE: &str = "FROM busybox AS made\nCOPY data /data\nRUN wc -c /data/one > /sizes\n\
                          FROM busybox\nCOPY --from=made /sizes /etc/passwd /\nRUN cat /sizes > /twice\n";

/// A registry of our own.
pub struct Registry {
    pub address: SocketAddr,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let (runtime, folder) = (tokio::runtime::Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(&folder.path().join("store")).unwrap();
        let data = folder.path().join("data");
        let server =
            runtime.block_on(Server::start(store, &data, ServerOptions::at(([127, 0, 0, 1], 0).into()))).unwrap();
        Self { address: server.address(), _server: server, _runtime: runtime, folder }
    }

    /// The layers that it has.
    pub fn layers(&self) -> Vec<PathBuf> {
        let blobs = fs::read_dir(self.folder.path().join("store/blobs/sha256")).unwrap();
        blobs
            .map(|blob| blob.unwrap().path())
            .filter(|blob| fs::read(blob).unwrap().starts_with(&[0x1f, 0x8b]))
            .collect()
    }
}

/// Stands before a registry, and knows what it was asked.
struct Overheard {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Overheard {
    fn before(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let heard: Arc<Mutex<Vec<String>>> = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, heard) = (TcpStream::connect(&upstream).unwrap(), Arc::clone(&heard));
                let (mut back, mut answers) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
                std::thread::spawn(move || pass(client, upstream, &heard));
            }
        });
        Self { address, asked }
    }

    /// The blobs that were fetched since the last time this was asked.
    fn fetched(&self) -> usize {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter().filter(|line| line.starts_with("GET ") && line.contains("/blobs/sha256:")).count()
    }
}

fn pass(mut client: TcpStream, mut upstream: TcpStream, heard: &Mutex<Vec<String>>) {
    let mut piece = [0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut piece) {
        // A question's first line comes at the front of a piece.
        let line = piece[..read].split(|&byte| byte == b'\r').next().unwrap_or_default();
        if line.ends_with(b" HTTP/1.1") {
            heard.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        }
        if upstream.write_all(&piece[..read]).is_err() {
            return;
        }
    }
    // Whoever asked has gone, and waits for no answer.
    let _ = upstream.shutdown(std::net::Shutdown::Both);
}

/// A machine with the context.
fn machine() -> Place {
    let place = Place::new();
    place.write("Dockerfile", DOCKERFILE).write("data/one", "1".repeat(70_000)).write("data/two", "22");
    place
}

/// How many steps were done, and how many were found done.
fn steps(ran: &Ran) -> (usize, usize) {
    let count = |word: &str| ran.stderr.lines().filter(|line| line.trim_start().starts_with(word)).count();
    (count("Building ["), count("Cached ["))
}

mod sandbox {
    use super::*;

    #[test]
    fn another_machine_does_nothing_and_fetches_nothing() {
        let registry = Registry::start();
        let (bases, own) =
            (Overheard::before(&world("LOCUS_TEST_BASES")), Overheard::before(&registry.address.to_string()));
        let line = |cache: &str| {
            format!("build -t {0}/app:1 --push {cache} .", own.address)
                .replace("REF", &format!("{}/cache:c", own.address))
        };
        let first = machine().run(&line("--cache-to type=registry,ref=REF,mode=max"));
        let digest = first.ok().to_owned();
        assert_eq!(steps(&first), (4, 0), "{first}");
        own.fetched();

        let mut other = machine();
        other.var("LOCUS_REGISTRY_ENDPOINTS", format!("docker.io=http://{}", bases.address));
        let second = other.run(&line("--cache-from type=registry,ref=REF --cache-to REF"));
        assert_eq!((second.ok(), steps(&second)), (digest.as_str(), (0, 4)), "{second}");
        assert_eq!((bases.fetched(), own.fetched()), (1, 1), "two configs, and no layer\n{second}");

        // What reads files has them fetched: those of the image, and not those of the stage.
        let (_, layout) = other.layout();
        let third = other.run(&format!("build -o {layout} --cache-from {}/cache:c .", own.address));
        assert_eq!(steps(&third), (0, 4), "{third}");
        assert_eq!((bases.fetched(), own.fetched()), (1, 2), "{third}");
    }

    #[test]
    fn of_other_stages_min_keeps_what_they_gave_and_only_what_is_new_is_done() {
        let registry = Registry::start();
        let cache = format!("{}/cache", registry.address);
        machine().run(&format!("build --cache-to type=registry,ref={cache}:min .")).ok();
        machine().run(&format!("build --cache-to type=registry,ref={cache}:max,mode=max .")).ok();
        let same = machine().run(&format!("build --cache-from {cache}:min ."));
        same.ok();
        assert_eq!(steps(&same), (0, 4), "{same}");

        let changed = |tag: &str| {
            let place = machine();
            place.write(
                "Dockerfile",
                DOCKERFILE.replace("\nFROM busybox\n", "\nRUN cat /sizes /data/two\nFROM busybox\n"),
            );
            let ran = place.run(&format!("build --cache-from {cache}:{tag} ."));
            ran.ok();
            ran
        };
        let max = changed("max");
        assert_eq!(steps(&max).0, 1, "the new one\n{max}");
        max.not_said("warning");
        let min = changed("min");
        min.said("RUN cat /sizes /data/two");
        min.said("knows no more than what they gave, and their files are wanted");
    }

    #[test]
    fn a_folder_is_a_cache_and_what_was_changed_in_it_is_done_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().display();
        let first = machine().run(&format!("build --cache-to type=local,dest={cache},mode=max ."));
        let from = format!("build --cache-from type=local,src={cache} .");
        let second = machine().run(&from);
        assert_eq!((second.ok(), steps(&second)), (first.ok(), (0, 4)), "{second}");
        for blob in fs::read_dir(folder.path().join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().path()) {
            if fs::read(&blob).unwrap().starts_with(&[0x1f, 0x8b]) {
                fs::write(&blob, "no layer").unwrap();
            }
        }
        let third = machine().run(&from);
        assert_eq!((third.ok(), steps(&third)), (first.ok(), (4, 0)), "{third}");
        third.said("of a build cache is passed over");
    }

    #[test]
    fn a_layer_that_is_not_what_the_cache_says_is_done_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().display();
        let first = machine().run(&format!("build --cache-to type=local,dest={cache},mode=max ."));
        // Every layer is what some other one should be.
        let layout = folder.path();
        let read =
            |path: &std::path::Path| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let blob = |digest: &serde_json::Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
        let mut index = read(&layout.join("index.json"));
        let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
        manifest["layers"].as_array_mut().unwrap().rotate_left(1);
        let text = manifest.to_string();
        let digest = serde_json::Value::from(crate::image::sha256(text.as_bytes()));
        fs::write(blob(&digest), &text).unwrap();
        index["manifests"][0]["digest"] = digest;
        index["manifests"][0]["size"] = text.len().into();
        fs::write(layout.join("index.json"), index.to_string()).unwrap();

        let place = machine();
        let (_, output) = place.layout();
        place.write("Dockerfile", format!("{DOCKERFILE}RUN cat /twice\n"));
        let ran = place.run(&format!("build -o {output} --cache-from type=local,src={cache} ."));
        ran.ok();
        ran.said("what --cache-from gave cannot be used");
        place.write("Dockerfile", DOCKERFILE);
        assert_eq!(place.run("build .").ok(), first.ok(), "{ran}");
    }

    #[test]
    fn a_layer_that_has_vanished_from_a_cache_is_made_again() {
        let registry = Registry::start();
        let cache = format!("{}/cache:c", registry.address);
        let push = format!("build -t {}/app:1 --push", registry.address);
        let to = format!("--cache-to type=registry,ref={cache},mode=max");
        let first = machine().run(&format!("{push} {to} ."));
        first.ok();
        let whole = registry.layers().len();
        registry.layers().into_iter().for_each(|layer| fs::remove_file(layer).unwrap());
        let line = format!("{push} --cache-from {cache}").replace("/app:1", "/other:1");
        let digest = |ran: &Ran| ran.ok().split_once('@').map(|(_, digest)| digest.to_owned());
        let second = machine().run(&format!("{line} {to} ."));
        assert_eq!((digest(&second), steps(&second).0), (digest(&first), 4), "{second}");
        second.said("(and 3 more), which is no longer there");
        assert_eq!(registry.layers().len(), whole, "of the cache, and of the base");
        let third = machine().run(&format!("{line} ."));
        assert_eq!((third.ok(), steps(&third)), (second.ok(), (0, 4)), "{third}");
        third.not_said("no longer there");
    }

    #[test]
    fn an_image_that_carries_its_cache_is_the_same_whatever_of_it_was_cached() {
        let registry = Registry::start();
        let image = format!("{}/app:1", registry.address);
        let line = format!("build -t {image} --push --cache-to type=inline");
        let first = machine().run(&format!("{line} ."));
        let other = machine();
        let second = other.run(&format!("{line} --cache-from {image} ."));
        assert_eq!(second.ok(), first.ok());
        // The stage that is no part of the image is done, and then all is known.
        assert_eq!(steps(&second), (2, 2), "{second}");
        assert_eq!(other.run(&format!("{line} .")).ok(), first.ok());
    }

    #[test]
    fn a_cache_that_cannot_be_read_or_written_is_told() {
        let registry = Registry::start();
        let at = registry.address;
        let first = machine().run(&format!("build -t {at}/app:1 --push --cache-from {at}/none:1 ."));
        first.ok();
        first.said(&format!("warning: --cache-from {at}/none:1: "));
        let plain = machine().run(&format!("build --cache-from {at}/app:1 ."));
        plain.ok();
        plain.said("it is an image that carries no build cache");

        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let to = format!("build --cache-to type=registry,ref={nobody}/c:1");
        let failed = machine().run(&format!("{to} ."));
        assert_eq!(failed.code, Some(4), "{failed}");
        failed.said(&format!("error: --cache-to {nobody}/c:1: "));
        let warned = machine().run(&format!("{to},ignore-error=true ."));
        warned.ok();
        warned.said(&format!("warning: --cache-to {nobody}/c:1: "));
    }
}
