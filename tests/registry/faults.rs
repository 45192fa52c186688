//! Builds and pushes over a network that goes wrong all the time, and single misfortunes that must cost no more than
//! they have to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use locus_push::build::{Built, Source};
use locus_push::image::{Descriptor, Digest, Image, MediaType, Reference};
use locus_push::registry::{ExchangeError, PullError, PushError, Pushed, Pusher, Registry, Retries};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::misbehaving::{Deck, Fault, Misbehaving};
use crate::place::{Place, credential, endpoints, reference};
use crate::quirks::takes_all;
use crate::scripted::{Asked, Says, Scripted, hangs_up, says};

/// COPY wants to know what is below it, so that the base is downloaded; the second image wants its name alone, so that
/// its layers go from registry to registry.
const DOCKERFILES: [&str; 2] =
    ["FROM bases.test/base:1\nCOPY data /data\nCOPY more /more\nENV A=1\n", "FROM bases.test/base:1\nENV A=1\n"];

/// Two registries with a base in the first, and a context.
struct World {
    bases: Place,
    context: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let context = tempfile::tempdir().unwrap();
        std::fs::write(context.path().join("data"), noise(1, 400_000)).unwrap();
        std::fs::write(context.path().join("more"), noise(2, 90_000)).unwrap();
        Self { bases: Place::new(), context }
    }

    async fn base(&self, registry: &Registry) -> Image {
        let texts: Vec<String> = (3..9).map(|seed| hex(&noise(seed, 100_000))).collect();
        let image = self.bases.image(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let base = reference("bases.test", "base");
        Pusher::new(registry, base).finish(&image, &[], &["1".into()]).await.unwrap();
        image
    }

    /// Builds it from nothing and pushes it.
    async fn make(&self, client: &Registry, here: &Place, text: &str) -> Result<(Built, Reference), String> {
        let destination = reference("there.test", "team/loader");
        client.may_push(&destination).await.map_err(|error| error.to_string())?;
        let pusher = Pusher::new(client, destination);
        let built = here.build(client, self.context.path(), text, &pusher).await.map_err(|error| error.to_string())?;
        let layers = built.snapshot.layers.iter();
        let base: Vec<_> = layers.filter_map(|layer| Some((layer.from.clone()?, layer.blob.clone()))).collect();
        let pushed = pusher.finish(&built.image, &base, &["latest".into()]).await;
        let pushed = pushed.map_err(|error| error.to_string())?;
        Ok((built, pushed.reference))
    }
}

async fn builds_and_pushes(times: u64) {
    let world = World::new();
    let server = world.bases.serve().await;
    let plain = |place: &Place, bases, there| {
        let mut options = place.options();
        options.endpoints = endpoints(&format!("bases.test=http://{bases},there.test=http://{there}"));
        // Eight in a hundred requests of a kind fail; a row of ten of them does not come.
        options.retries = Retries { attempts: 10, ..options.retries };
        Registry::new(options).unwrap()
    };
    world.base(&plain(&world.bases, server.address(), server.address())).await;
    let mut wanted = Vec::new();
    for text in DOCKERFILES {
        let (here, there) = (Place::new(), Place::new());
        let to = there.serve().await;
        let built = world.make(&plain(&here, server.address(), to.address()), &here, text).await.unwrap();
        wanted.push(built.0.image.digest());
    }
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();
    let mut requests = 0;
    let deck = Deck::new(1);
    for time in 0..times {
        let (here, there) = (Place::new(), Place::new());
        let to = there.serve().await;
        let bases = Misbehaving::start(server.address(), 3000 + time, 15, &deck).await;
        let front = Misbehaving::start(to.address(), 4000 + time, 15, &deck).await;
        let client = plain(&here, bases.address, front.address);
        let which = time as usize % DOCKERFILES.len();
        let (built, pushed) = world
            .make(&client, &here, DOCKERFILES[which])
            .await
            .unwrap_or_else(|error| panic!("number {time}: {error}; {:?} {:?}", bases.faults(), front.faults()));
        assert_eq!((built.image.digest(), pushed.digest()), (wanted[which], Some(&wanted[which])), "number {time}");
        // Asked of the registry itself, and each blob read.
        let direct = plain(&Place::new(), server.address(), to.address());
        let tag = reference("there.test", "team/loader:latest");
        assert_eq!(direct.resolve(&tag).await.unwrap(), Some(wanted[which]), "number {time}");
        for blob in built.image.manifest.layers.iter().chain([&built.image.manifest.config]) {
            assert_eq!(there.store.read_blob(&blob.digest, blob.size).unwrap().len() as u64, blob.size);
        }
        for proxy in [&bases, &front] {
            requests += proxy.requests();
            proxy.faults().into_iter().for_each(|(fault, count)| *faults.entry(fault).or_default() += count);
        }
    }
    let all: usize = faults.values().sum();
    assert!(all as u64 * 100 >= requests * 10, "{all} of {requests} requests: {faults:?}");
    assert!(faults.len() as u64 >= times.min(8), "of each kind there was one: {faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_builds_and_pushes_over_a_bad_network_end_with_the_right_digest() {
    builds_and_pushes(10).await;
}

mod slow {
    #[tokio::test(flavor = "multi_thread")]
    async fn fifty_builds_and_pushes_over_a_bad_network_end_with_the_right_digest() {
        super::builds_and_pushes(50).await;
    }
}

/// Fetches a blob of these bytes from a registry that says this.
async fn fetch(bytes: &[u8], script: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> (Scripted, PulledBlob) {
    let server = Scripted::start(script).await;
    let here = Place::new();
    let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), Digest::of(bytes), bytes.len() as u64);
    let result = impatient(&here).pull_blob(&reference(server.address, "a"), &blob).await;
    let kept = here.store.read_blob(&blob.digest, blob.size).ok();
    (server, result.map(|()| kept.unwrap()))
}

type PulledBlob = Result<Vec<u8>, PullError>;

/// A client that waits for nobody longer than a fifth of a second.
fn impatient(here: &Place) -> Registry {
    let mut options = here.options();
    options.retries.silence = Duration::from_millis(200);
    Registry::new(options).unwrap()
}

/// The n-th request of a kind, from 0.
fn counter() -> impl Fn() -> usize + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move || count.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test]
async fn a_download_that_was_cut_goes_on_where_it_ended() {
    let (server, blob) = fetch(b"bytes", |asked| match asked.number {
        0 => says(200).body("by").promising(5),
        1 => says(503),
        2 => says(206).with("Content-Range", "bytes 2-4/5").body("t").promising(3),
        _ => says(206).with("Content-Range", "bytes 3-4/5").body("es"),
    })
    .await;
    assert_eq!(blob.unwrap(), b"bytes");
    let ranges: Vec<_> = server.asked().into_iter().map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some("bytes=2-".into()), Some("bytes=2-".into()), Some("bytes=3-".into())]);
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_is_read_from_the_start() {
    let (server, blob) = fetch(b"bytes", |asked| match asked.number {
        0 => says(200).body("by").promising(5),
        _ => says(200).body("bytes"),
    })
    .await;
    assert_eq!((blob.unwrap().as_slice(), server.lines().len()), (&b"bytes"[..], 2));
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_not_taken() {
    let (_, blob) = fetch(b"bytes", |asked| match asked.number {
        0 => says(200).body("by").promising(5),
        _ => says(206).with("Content-Range", "bytes 1-4/5").body("ytes"),
    })
    .await;
    assert!(blob.unwrap_err().to_string().contains("another part than was asked for"));
}

#[tokio::test]
async fn a_download_that_stalls_is_noticed_and_goes_on() {
    let (server, blob) = fetch(b"bytes", |asked| match asked.number {
        0 => says(0).and_stalls(),
        1 => says(200).body("by").promising(5).and_stalls(),
        _ => says(206).with("Content-Range", "bytes 2-4/5").body("tes"),
    })
    .await;
    assert_eq!((blob.unwrap().as_slice(), server.lines().len()), (&b"bytes"[..], 3));
}

#[tokio::test]
async fn e10_a_drop_now_and_then_is_no_transfer() {
    let bytes = vec![b'x'; 5000];
    let (server, blob) = fetch(&bytes, |asked| match asked.headers.get("range") {
        None => says(200).body(vec![b'x'; 5000]).dripping(),
        Some(range) => {
            let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
            let range = format!("bytes {from}-4999/5000");
            says(206).with("Content-Range", range).body(vec![b'x'; 5000 - from]).dripping()
        }
    })
    .await;
    let error = blob.unwrap_err();
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::Stalled { .. }, .. }), "{error}");
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn a_bit_that_turned_on_the_way_is_asked_for_again() {
    let (_, blob) = fetch(b"bytes", |asked| says(200).body(if asked.number == 0 { "bxtes" } else { "bytes" })).await;
    assert_eq!(blob.unwrap(), b"bytes");
}

/// A registry whose n-th upload goes like this; it has what was put.
fn uploads(says_of: impl Fn(usize) -> Says + Send + Sync + 'static) -> impl Fn(&Asked) -> Says + Send + Sync + 'static {
    let (count, has) = (counter(), AtomicBool::new(false));
    move |asked| match asked.method.as_str() {
        "PUT" if asked.path.contains("/uploads/") => {
            has.store(true, Ordering::Relaxed);
            says_of(count())
        }
        "HEAD" if asked.path.contains("/blobs/") && has.load(Ordering::Relaxed) => says(200),
        _ => takes_all(asked),
    }
}

async fn push(script: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> (Scripted, Result<Pushed, PushError>) {
    let server = Scripted::start(script).await;
    let here = Place::new();
    let pusher = Pusher::new(&impatient(&here), reference(server.address, "a"));
    let result = pusher.finish(&here.image(&[]), &[], &[]).await;
    (server, result)
}

fn puts(server: &Scripted) -> usize {
    server.lines().iter().filter(|line| line.starts_with("PUT") && line.contains("/uploads/")).count()
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_and_not_sent_again() {
    for lost in [|| hangs_up(), || says(504), || says(0).and_stalls()] {
        let (server, pushed) = push(uploads(move |_| lost())).await;
        assert_eq!(pushed.unwrap().uploaded, 1);
        assert_eq!(puts(&server), 1);
    }
}

/// The same, of a registry that has nothing of what it did not answer for.
async fn second_try(first: Says) {
    let count = counter();
    let (server, pushed) = push(move |asked| match asked.path.contains("digest=") && count() == 0 {
        true => first.clone(),
        false => takes_all(asked),
    })
    .await;
    assert_eq!(pushed.unwrap().uploaded, 1);
    assert_eq!(puts(&server), 2);
}

#[tokio::test]
async fn an_upload_that_failed_in_passing_is_sent_again() {
    for first in [
        hangs_up(),
        says(0).and_stalls(),
        says(503),
        // What was sent was right: it changed on the way, or the registry lost the upload.
        says(400).error("DIGEST_INVALID", "provided digest did not match uploaded content"),
        says(404).error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    ] {
        second_try(first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_bytes_nobody_takes_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Reads a question's head, and nothing of a body.
    let serving = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 8];
            stream.read_exact(&mut head).await.unwrap();
            let answer: &[u8] = match &head[..4] {
                b"POST" => b"HTTP/1.1 202 Accepted\r\nLocation: /u\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                b"PUT " => b"",
                _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            };
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
    });
    let here = Place::new();
    // More than the buffers of two sockets hold.
    let (layer, _) = here.layer_of("file", &"x".repeat(24 << 20), MediaType::OCI_LAYER);
    let mut image = here.image(&[]);
    image.manifest.layers.push(layer);
    let mut options = here.options();
    options.retries = Retries { attempts: 2, silence: Duration::from_millis(100), ..options.retries };
    let pusher = Pusher::new(&Registry::new(options).unwrap(), reference(address, "a"));
    let error = pusher.finish(&image, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PushError::Exchange { source: ExchangeError::Stalled { .. }, .. }), "{error}");
    serving.abort();
}

#[tokio::test]
async fn an_upload_that_is_refused_is_not_sent_again() {
    let (server, pushed) = push(uploads(|_| says(413).error("SIZE", "too large"))).await;
    assert!(pushed.unwrap_err().to_string().contains("413"));
    assert_eq!(puts(&server), 1);
}

#[tokio::test]
async fn a_token_that_runs_out_during_an_upload_is_renewed() {
    let expired = || says(403).error("DENIED", "Your authorization token has expired. Reauthenticate and try again.");
    let over = AtomicBool::new(false);
    let server = Scripted::start(move |asked| match asked.headers.get("authorization").map(String::as_str) {
        None => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
        // user:old
        Some("Basic dXNlcjpvbGQ=") => {
            over.fetch_or(asked.path.contains("digest="), Ordering::Relaxed);
            if over.load(Ordering::Relaxed) { expired() } else { takes_all(asked) }
        }
        Some(_) => takes_all(asked),
    })
    .await;
    let here = Place::new();
    let mut options = here.options();
    let (credentials, asked) = credential(&server.address.to_string(), &["old", "new"]);
    options.credentials = credentials;
    let pusher = Pusher::new(&Registry::new(options).unwrap(), reference(server.address, "a"));
    assert_eq!(pusher.finish(&here.image(&[]), &[], &[]).await.unwrap().uploaded, 1);
    assert_eq!((*asked.lock().unwrap(), puts(&server)), (2, 2));
}

#[tokio::test]
async fn an_immutable_tag_that_we_moved_ourselves_with_a_lost_answer_is_ours() {
    let here = Place::new();
    let image = here.image(&["x"]);
    let (ours, count) = (image.digest(), counter());
    let moved = AtomicBool::new(false);
    let server = Scripted::start(move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/v2/a/manifests/v1") if count() == 0 => {
            moved.store(true, Ordering::Relaxed);
            hangs_up()
        }
        ("PUT", "/v2/a/manifests/v1") => says(400).error("TAG_INVALID", "the repository is immutable"),
        ("HEAD", "/v2/a/manifests/v1") if moved.load(Ordering::Relaxed) => {
            says(200).with("Docker-Content-Digest", ours)
        }
        ("HEAD", path) if path.contains("/blobs/") => says(200),
        ("PUT", _) => says(201),
        _ => says(404),
    })
    .await;
    let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
    pusher.finish(&image, &[], &["v1".into()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_passes_through_is_whole_or_not_there() {
    let (maker, here) = (Place::new(), Place::new());
    let image = maker.image(&["base"]);
    let layer = image.manifest.layers[0].clone();
    let right = maker.store.read_blob(&layer.digest, layer.size).unwrap();
    for wrongs in [1, 2, usize::MAX] {
        let there = Place::new();
        let server = there.serve().await;
        let (count, right) = (counter(), right.clone());
        let bases = Scripted::start(move |_| match count() {
            n if n < wrongs => says(200).body(right.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()),
            _ => says(200).body(right.clone()),
        })
        .await;
        let from = [(reference(bases.address, "base"), layer.clone())];
        let pusher = Pusher::new(&here.client(), reference(server.address(), "a"));
        let pushed = pusher.finish(&image, &from, &[]).await;
        match wrongs {
            usize::MAX => {
                let error = pushed.unwrap_err().to_string();
                assert!(error.contains("fetching a layer of the base") && error.contains("digest"), "{error}");
                assert_eq!(there.store.blob_size(&layer.digest), None);
            }
            _ => assert_eq!(
                there.store.read_blob(&layer.digest, layer.size).unwrap().len(),
                pushed.map(|_| layer.size as usize).unwrap()
            ),
        }
        assert_eq!(here.store.blob_size(&layer.digest), None);
    }
}

#[tokio::test]
async fn a_bit_that_turned_after_uploads_that_failed_is_asked_for_again() {
    let (maker, here) = (Place::new(), Place::new());
    let layer = maker.image(&["base"]).manifest.layers[0].clone();
    let image = maker.image(&["base"]);
    let right = maker.store.read_blob(&layer.digest, layer.size).unwrap();
    let looks = counter();
    let bases = Scripted::start(move |_| match looks() {
        2 => says(200).body(right.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()),
        _ => says(200).body(right.clone()),
    })
    .await;
    let (digest, puts) = (format!("digest={}", layer.digest), counter());
    let server = Scripted::start(move |asked| {
        let is_layers = asked.path.replace("%3A", ":").contains(&digest);
        if is_layers && puts() < 2 { says(503) } else { takes_all(asked) }
    })
    .await;
    let from = [(reference(bases.address, "base"), layer)];
    let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
    pusher.finish(&image, &from, &[]).await.unwrap();
    assert_eq!(bases.lines().len(), 4, "twice in vain, once wrong, once right");
}

#[tokio::test]
async fn a_file_of_the_network_is_fetched_through_passing_failures() {
    let server = Scripted::start(|asked| match asked.number {
        0 => says(503),
        1 => hangs_up(),
        2 => says(200).body("fi").promising(4),
        _ => says(200).body("file"),
    })
    .await;
    let here = Place::new();
    assert_eq!(here.client().download(&server.url("/f")).await.unwrap().digest, Digest::of(b"file"));
    let gone = Scripted::start(|_| says(404)).await;
    assert!(here.client().download(&gone.url("/f")).await.unwrap_err().to_string().contains("404"));
    assert_eq!(gone.lines().len(), 1);
}

/// Bytes that no compressor makes less of, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64 / 32 + 1)
        .flat_map(|block| Digest::of(format!("{seed} {block}").as_bytes()).hex().into_bytes())
        .collect::<Vec<u8>>()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .take(length)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
