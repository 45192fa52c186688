//! Layers that go out while they are made.

use std::io::Write;

use locus_push::build::Sink;
use locus_push::image::{Descriptor, Digest, Image, MediaType};
use locus_push::registry::{Pushed, Pusher};
use locus_push::store::BlobFile;

use crate::place::{Place, reference};
use crate::quirks::takes_all;
use crate::scripted::{Asked, Says, Scripted, hangs_up, says};

/// Enough to be worth it.
const HALF: usize = 5 << 20;

const OTHER_PLACE: &str = "/v2/a/blobs/uploads/1?state=y";

/// As registries do, each under a state of its own.
fn streams(asked: &Asked) -> Says {
    match asked.method.as_str() {
        "PATCH" => says(202).with("Location", OTHER_PLACE),
        _ => takes_all(asked),
    }
}

/// A layer that comes in two halves, and what is asked of the registry meanwhile and for the image that it is of.
struct Push {
    here: Place,
    server: Scripted,
    pusher: Pusher,
}

impl Push {
    async fn to(script: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> Self {
        let (here, server) = (Place::new(), Scripted::start(script).await);
        let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
        Self { here, server, pusher }
    }

    fn begin(&self, bytes: &[u8]) -> BlobFile {
        let mut blob = self.here.store.blob_file().unwrap();
        self.pusher.growing(blob.growing().unwrap());
        blob.write_all(bytes).unwrap();
        blob
    }

    async fn is_asked(&self, method: &str) {
        while !self.server.lines().iter().any(|line| line.starts_with(method)) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Keeps the layer, and pushes an image of it.
    async fn end(self, blob: BlobFile, bytes: &[u8]) -> (Place, Scripted, Pushed, Digest) {
        let digest = Digest::of(bytes);
        blob.keep(&digest).unwrap();
        let layer = Descriptor::new(MediaType::new(MediaType::OCI_LAYER_GZIP), digest, bytes.len() as u64);
        self.pusher.layer(&layer);
        let mut image: Image = self.here.image(&[]);
        image.manifest.layers.push(layer);
        let Self { here, server, pusher } = self;
        let pushed = pusher.finish(&image, &[], &[]).await.unwrap();
        (here, server, pushed, digest)
    }
}

fn bytes() -> Vec<u8> {
    (0..2 * HALF as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The requests that carried the layer, or ended what carried it: their first lines and how long their bodies were.
fn carried(server: &Scripted, digest: &Digest) -> Vec<(String, String, usize)> {
    let asked = server.asked().into_iter();
    asked
        .filter(|asked| asked.method == "PATCH" || asked.path.contains(&digest.to_string()[8..]))
        .map(|asked| (asked.method, asked.path, asked.body.len()))
        .filter(|(method, ..)| method != "HEAD")
        .collect()
}

#[tokio::test]
async fn a_layer_goes_out_while_it_is_made() {
    let push = Push::to(streams).await;
    let bytes = bytes();
    let mut blob = push.begin(&bytes[..HALF]);
    // It is not whole, and nobody knows yet what it is.
    push.is_asked("POST").await;
    blob.write_all(&bytes[HALF..]).unwrap();
    let (_here, server, pushed, digest) = push.end(blob, &bytes).await;
    let end = format!("{OTHER_PLACE}&digest=sha256%3A{}", digest.hex());
    let wanted = [("PATCH", "/v2/a/blobs/uploads/1?state=x", bytes.len()), ("PUT", end.as_str(), 0)];
    assert_eq!(carried(&server, &digest), wanted.map(|(method, path, length)| (method.into(), path.into(), length)));
    let patch = server.asked().into_iter().find(|asked| asked.method == "PATCH").unwrap();
    assert!(patch.body == bytes && !patch.headers.contains_key("content-range"), "{:?}", patch.headers);
    assert_eq!((pushed.uploaded, pushed.bytes > bytes.len() as u64), (2, true), "with the config");
}

#[tokio::test]
async fn a_registry_that_takes_no_stream_gets_the_layer_whole() {
    for refusal in [
        || says(405).error("UNSUPPORTED", "no"),
        || says(401),
        || hangs_up(),
        || says(202),
        || says(202).with("Location", "http://192.0.2.1/v2/a/blobs/uploads/1"),
    ] {
        let push = Push::to(move |asked| if asked.method == "PATCH" { refusal() } else { takes_all(asked) }).await;
        let bytes = bytes();
        let mut blob = push.begin(&bytes[..HALF]);
        push.is_asked("POST").await;
        blob.write_all(&bytes[HALF..]).unwrap();
        let (_here, server, pushed, digest) = push.end(blob, &bytes).await;
        let whole: Vec<_> = carried(&server, &digest).into_iter().filter(|(method, ..)| method == "PUT").collect();
        assert!(matches!(&whole[..], [(_, _, length)] if *length == bytes.len()), "{whole:?}");
        assert_eq!(pushed.uploaded, 2);
    }
}

#[tokio::test]
async fn a_stream_that_the_registry_cannot_end_is_sent_whole() {
    let push = Push::to(|asked| match asked.method.as_str() {
        "PUT" if asked.path.contains("state=y") => says(400).error("DIGEST_INVALID", "a bit turned on the way"),
        _ => streams(asked),
    })
    .await;
    let bytes = bytes();
    let blob = push.begin(&bytes);
    push.is_asked("POST").await;
    let (_here, server, pushed, digest) = push.end(blob, &bytes).await;
    let lengths: Vec<_> = carried(&server, &digest).into_iter().map(|(_, _, length)| length).collect();
    assert_eq!((lengths, pushed.uploaded), (vec![bytes.len(), 0, bytes.len()], 2));
}

#[tokio::test]
async fn a_layer_that_the_registry_has_is_taken_back() {
    let push = Push::to(|asked| match asked.method.as_str() {
        "HEAD" if asked.path.contains("/blobs/") => says(200),
        "DELETE" => says(204),
        _ => streams(asked),
    })
    .await;
    let bytes = bytes();
    let blob = push.begin(&bytes);
    push.is_asked("POST").await;
    let (_here, server, pushed, _) = push.end(blob, &bytes).await;
    assert_eq!(pushed.uploaded, 0);
    let lines = server.lines();
    assert!(lines.contains(&"DELETE /v2/a/blobs/uploads/1?state=x".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("PUT") && line.contains("/blobs/")), "{lines:?}");
}

#[tokio::test]
async fn a_small_layer_waits_until_it_is_whole() {
    let push = Push::to(streams).await;
    let blob = push.begin(b"small");
    let (_here, server, pushed, digest) = push.end(blob, b"small").await;
    assert!(matches!(&carried(&server, &digest)[..], [(method, _, 5)] if method == "PUT"), "{:?}", server.lines());
    assert_eq!(pushed.uploaded, 2);
}

#[tokio::test]
async fn a_layer_that_is_given_up_is_never_ended() {
    let push = Push::to(streams).await;
    let blob = push.begin(&bytes()[..HALF]);
    push.is_asked("POST").await;
    drop(blob);
    let Push { here, server, pusher } = push;
    let pushed = pusher.finish(&here.image(&[]), &[], &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 1, "the config alone");
    let lines = server.lines();
    assert!(!lines.iter().any(|line| line.contains("state=y")), "{lines:?}");
}
