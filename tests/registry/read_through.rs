//! The embedded registry as a cache of another.

use locus_push::event::Event;
use locus_push::image::{Digest, Platform};
use locus_push::registry::{Pusher, Server, Upstream};

use crate::place::{Place, reference};

/// A registry that keeps what another has.
async fn keeping(place: &Place, other: &Server) -> Server {
    let upstream = Upstream::new(place.client(), &other.address().to_string());
    place.serve_as(|options| options.upstream = Some(upstream)).await
}

async fn get(server: &Server, path: &str) -> reqwest::Response {
    // Another's process may have installed it, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{}/v2/{path}", server.address())).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_once_is_given_when_nobody_answers_any_more() {
    let (maker, far, near) = (Place::new(), Place::new(), Place::new());
    let upstream = far.serve().await;
    let image = maker.image(&["one", "two"]);
    let pusher = Pusher::new(&maker.client(), reference(upstream.address(), "team/a"));
    pusher.finish(&image, &[], &["x".into(), "y".into()]).await.unwrap();
    let cache = keeping(&near, &upstream).await;
    let wanted = reference(cache.address(), "team/a:x");
    let pull = async || {
        let here = Place::new();
        let base = here.client().pull_image(&wanted, &Platform::linux_amd64()).await?;
        for layer in &base.image.manifest.layers {
            here.client().pull_blob(&wanted, layer).await?;
        }
        Ok::<_, locus_push::registry::PullError>(base.digest)
    };
    assert_eq!(pull().await.unwrap(), image.digest());
    assert!(image.manifest.layers.iter().all(|layer| near.store.blob_size(&layer.digest) == Some(layer.size)));
    drop(upstream);
    assert_eq!(pull().await.unwrap(), image.digest());
    assert!(
        near.heard(|event| matches!(event, Event::Warning { message, .. } if message.contains("as it was kept"))) > 0
    );
    // The tags that are known, of which one was asked for.
    assert_eq!(get(&cache, "team/a/tags/list").await.text().await.unwrap(), r#"{"name":"team/a","tags":["x"]}"#);
    let unknown = get(&cache, "team/a/manifests/y").await;
    assert_eq!(unknown.status(), 502, "nobody knows whether it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_asked_for_anew() {
    let (maker, far, near) = (Place::new(), Place::new(), Place::new());
    let upstream = far.serve_as(|options| options.may_delete = true).await;
    let cache = keeping(&near, &upstream).await;
    let push = async |text: &str| {
        let image = maker.image(&[text]);
        let pusher = Pusher::new(&maker.client(), reference(upstream.address(), "a"));
        pusher.finish(&image, &[], &["x".into()]).await.unwrap();
        image.digest()
    };
    let resolve = async || Place::new().client().resolve(&reference(cache.address(), "a:x")).await.unwrap();
    assert_eq!(resolve().await, None);
    let first = push("one").await;
    assert_eq!(resolve().await, Some(first));
    let second = push("two").await;
    assert_eq!(resolve().await, Some(second));
    assert_eq!(get(&cache, "a/tags/list").await.text().await.unwrap(), r#"{"name":"a","tags":["x"]}"#);
    // By its digest the first is had still; a tag that is gone is gone.
    assert_eq!(get(&cache, &format!("a/manifests/{first}")).await.status(), 200);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v2/a/manifests/x", upstream.address());
    assert_eq!(client.delete(url).send().await.unwrap().status(), 202);
    assert_eq!(resolve().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_passes_through_whole_in_part_or_not_at_all() {
    let (far, near) = (Place::new(), Place::new());
    let upstream = far.serve().await;
    let cache = keeping(&near, &upstream).await;
    // Longer than what passes in one piece, or waits for its reader.
    let long: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = far.store.keep_blob(&long).unwrap();
    let path = format!("a/blobs/{digest}");
    let found = get(&cache, &path).await;
    assert_eq!(found.headers()["content-length"], long.len().to_string());
    assert_eq!(Digest::of(&found.bytes().await.unwrap()), digest);
    for _ in 0..500 {
        if near.store.blob_size(&digest).is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(near.store.blob_size(&digest), Some(long.len() as u64));

    let short = far.store.keep_blob(b"0123456789").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v2/a/blobs/{short}", cache.address());
    let head = client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));
    assert_eq!(near.store.blob_size(&short), None, "a question fetches nothing");
    let part = client.get(&url).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap()), (206, "234".to_owned()));

    assert_eq!(get(&cache, &format!("a/blobs/{}", Digest::of(b"none"))).await.status(), 404);
    // What the registry has, and is not what it is called, is not kept.
    let wrong = far.store.keep_blob(b"right").unwrap();
    std::fs::write(far.store.blob_path(&wrong), b"wrong").unwrap();
    let damaged = client.get(format!("http://{}/v2/a/blobs/{wrong}", cache.address())).send().await;
    let whole = async { damaged?.bytes().await };
    assert!(whole.await.is_err(), "the connection ends before the blob does");
    assert_eq!(near.store.blob_size(&wrong), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pushed_to_what_only_keeps() {
    let (far, near) = (Place::new(), Place::new());
    let upstream = far.serve().await;
    let cache = keeping(&near, &upstream).await;
    let pusher = Pusher::new(&near.client(), reference(cache.address(), "a"));
    let error = pusher.finish(&near.image(&["x"]), &[], &[]).await.unwrap_err().to_string();
    assert!(error.contains(&format!("this registry keeps what {} has; push there", upstream.address())), "{error}");
}
