//! The client against the embedded registry.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use locus_push::build::{Sink, Source};
use locus_push::event::{BlobOutcome, Event};
use locus_push::image::{Digest, Flavor, Image, Layout, MediaType, Platform, write_folder};
use locus_push::registry::{PullError, PushError, Pushed, Pusher, Server, ServerOptions};

use crate::place::{Place, reference, words};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_back_as_it_went() {
    let (here, there, elsewhere) = (Place::new(), Place::new(), Place::new());
    let server = there.serve().await;
    let image = here.image(&["one", "two"]);
    let destination = reference(server.address(), "team/loader");
    let pusher = Pusher::new(&here.client(), destination.clone());
    image.manifest.layers.iter().for_each(|layer| pusher.layer(layer));
    let pushed = pusher.finish(&image, &[], &["latest".into(), "v1".into()]).await.unwrap();
    let blobs = image.manifest.layers.iter().chain([&image.manifest.config]);
    let wanted = Pushed {
        reference: destination.at(image.digest()),
        already_there: false,
        uploaded: 3,
        bytes: blobs.map(|blob| blob.size).sum(),
    };
    assert_eq!(pushed, wanted);

    let client = elsewhere.client();
    let base = client.pull_image(&destination.tagged("v1").unwrap(), &Platform::linux_amd64()).await.unwrap();
    assert_eq!((base.digest, &base.image), (image.digest(), &image));
    for layer in &image.manifest.layers {
        client.fetch(&destination, layer, None).await.unwrap();
        let sent = here.store.read_blob(&layer.digest, layer.size).unwrap();
        assert_eq!(elsewhere.store.read_blob(&layer.digest, layer.size).unwrap(), sent);
    }
    assert_eq!(client.resolve(&destination).await.unwrap(), Some(image.digest()));
    assert_eq!(client.resolve(&destination.tagged("v2").unwrap()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_push_asks_for_the_manifest_and_sends_nothing() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    let image = here.image(&["one"]);
    let destination = reference(server.address(), "loader");
    let push = async || Pusher::new(&here.client(), destination.clone()).finish(&image, &[], &["x".into()]).await;
    assert!(!push().await.unwrap().already_there);
    here.events.lock().unwrap().clear();
    let again = push().await.unwrap();
    assert_eq!((again.already_there, again.uploaded, again.bytes), (true, 0, 0));
    assert_eq!(here.heard(|event| matches!(event, Event::Blob { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_built_on_this_machine_sends_its_manifest_alone() {
    let here = Place::new();
    let server = here.serve().await;
    let pusher = Pusher::new(&here.client(), reference(server.address(), "loader"));
    let pushed = pusher.finish(&here.image(&["one"]), &[], &["latest".into()]).await.unwrap();
    assert_eq!((pushed.already_there, pushed.uploaded), (false, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_go_out_before_the_image_is_whole() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    let image = here.image(&["one"]);
    let pusher = Pusher::new(&here.client(), reference(server.address(), "loader"));
    pusher.layer(&image.manifest.layers[0]);
    let sent = |event: &Event| matches!(event, Event::Blob { outcome: BlobOutcome::Sent, .. });
    for _ in 0..500 {
        if here.heard(sent) > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(here.heard(sent), 1);
    assert!(there.store.blob_size(&image.manifest.layers[0].digest).is_some());
    assert_eq!(pusher.finish(&image, &[], &[]).await.unwrap().uploaded, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_is_mounted_where_it_can_be_and_passed_on_where_it_must() {
    let (maker, here, there, base_place) = (Place::new(), Place::new(), Place::new(), Place::new());
    let (server, bases) = (there.serve().await, base_place.serve().await);
    let base = maker.image(&["base"]);
    let from = reference(bases.address(), "library/base");
    Pusher::new(&maker.client(), from.clone()).finish(&base, &[], &["latest".into()]).await.unwrap();
    let mut image = here.image(&["own"]);
    let own = image.manifest.layers.clone();
    image.manifest.layers.insert(0, base.manifest.layers[0].clone());
    let sources = [(from, base.manifest.layers[0].clone())];
    let destination = reference(server.address(), "loader");
    let pushed = Pusher::new(&here.client(), destination.clone()).finish(&image, &sources, &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 3);
    // It went from one registry to the other and touched no disk of ours.
    let layer = &base.manifest.layers[0];
    assert_eq!(there.store.blob_size(&layer.digest), Some(layer.size));
    assert_eq!(here.store.blob_size(&layer.digest), None);
    // Where another place will want it too, it is kept.
    let next = Place::new();
    let server_of_next = next.serve().await;
    let pusher = Pusher::new(&here.client(), reference(server_of_next.address(), "loader")).keeping_base_layers();
    assert_eq!(pusher.finish(&image, &sources, &[]).await.unwrap().uploaded, 3);
    assert_eq!(here.store.blob_size(&layer.digest), Some(layer.size));
    // A layer that the registry has is never downloaded for the sake of a push.
    let third = Place::new();
    let mut other = third.image(&["other"]);
    other.manifest.layers.insert(0, own[0].clone());
    let sources = [(destination, own[0].clone())];
    let elsewhere = reference(server.address(), "other");
    assert_eq!(Pusher::new(&third.client(), elsewhere).finish(&other, &sources, &[]).await.unwrap().uploaded, 2);
    assert_eq!(third.store.blob_size(&own[0].digest), None);
}

/// A layout of the image whose manifest somebody else wrote.
fn layout_of(maker: &Place, image: &Image, manifest: &[u8]) -> Layout {
    let folder = maker.home.path().join(format!("layout-{}", Digest::of(manifest).short()));
    let open = |digest: &Digest| {
        let blob = maker.store.open_blob(digest).map_err(std::io::Error::other)?;
        Ok(Box::new(blob) as Box<dyn Read>)
    };
    write_folder(&folder, image, &[], Flavor::Oci, &open).unwrap();
    std::fs::write(folder.join("blobs/sha256").join(Digest::of(manifest).hex()), manifest).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": MediaType::OCI_MANIFEST,
        "digest": Digest::of(manifest), "size": manifest.len()}]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    Layout::open(&folder).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_pushed_as_it_is_unless_it_hides_its_type() {
    let (maker, here, there) = (Place::new(), Place::new(), Place::new());
    let server = there.serve().await;
    let image = maker.image(&["one"]);
    let mut document: serde_json::Value = serde_json::from_slice(&image.manifest.to_json()).unwrap();
    let spaced = serde_json::to_vec_pretty(&document).unwrap();
    document.as_object_mut().unwrap().remove("mediaType");
    let untyped = document.to_string().into_bytes();
    for (manifest, wanted) in [(&spaced, Digest::of(&spaced)), (&untyped, image.digest())] {
        let layout = layout_of(&maker, &image, manifest);
        let (found, written) = layout.image_as_written(&Platform::linux_amd64()).unwrap();
        let pusher = Pusher::new(&here.client(), reference(server.address(), "a")).from_layout(layout, written);
        let pushed = pusher.finish(&found, &[], &["latest".into()]).await.unwrap();
        assert_eq!(pushed.reference.digest(), Some(&wanted));
        let resolved = here.client().resolve(&reference(server.address(), "a")).await.unwrap();
        assert_eq!(resolved, Some(wanted));
        assert_eq!(here.store.blob_size(&image.manifest.layers[0].digest), None, "it was sent from where it lies");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_layout_is_found_out_before_it_is_there() {
    let (maker, here, there) = (Place::new(), Place::new(), Place::new());
    let server = there.serve().await;
    let image = maker.image(&["one"]);
    let layer = &image.manifest.layers[0];
    for damage in [vec![0; layer.size as usize], vec![], vec![0; 1 << 20]] {
        let layout = layout_of(&maker, &image, &image.manifest.to_json());
        let folder = maker.home.path().join(format!("layout-{}", image.digest().short()));
        std::fs::write(folder.join("blobs/sha256").join(layer.digest.hex()), &damage).unwrap();
        let pusher = Pusher::new(&here.client(), reference(server.address(), "a")).from_layout(layout, None);
        let error = pusher.finish(&image, &[], &[]).await.unwrap_err();
        let found = matches!(&error, PushError::Damaged { digest } | PushError::WrongSize { digest, .. } if *digest == layer.digest);
        assert!(found, "{error}");
        assert_eq!(there.store.blob_size(&layer.digest), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_every_compression_are_read_and_passed_on_as_they_are() {
    let (maker, here, there) = (Place::new(), Place::new(), Place::new());
    let (bases, server) = (maker.serve().await, there.serve().await);
    let types = [
        MediaType::OCI_LAYER,
        MediaType::OCI_LAYER_GZIP,
        MediaType::OCI_LAYER_ZSTD,
        MediaType::DOCKER_LAYER,
        MediaType::DOCKER_LAYER_GZIP,
        MediaType::DOCKER_LAYER_ZSTD,
    ];
    let layers = types.iter().enumerate().map(|(n, media_type)| maker.layer_of(&n.to_string(), media_type, media_type));
    let (layers, diff_ids): (Vec<_>, Vec<_>) = layers.unzip();
    let mut base = maker.image(&[]);
    base.config.rootfs.diff_ids = diff_ids;
    let base = Image::new(base.config, layers, BTreeMap::new());
    let from = reference(bases.address(), "base");
    Pusher::new(&maker.client(), from.clone()).finish(&base, &[], &["latest".into()]).await.unwrap();
    let context = tempfile::tempdir().unwrap();
    let copies: String = (0..types.len()).map(|n| format!("COPY --from={from} /{n} /copied/\n")).collect();
    let pusher = Pusher::new(&here.client(), reference(server.address(), "a"));
    let text = format!("FROM {from}\n{copies}");
    let built = here.build(&here.client(), context.path(), &text, &pusher).await.unwrap();
    assert_eq!(built.image.manifest.layers[..types.len()], base.manifest.layers);
    let sources: Vec<_> = base.manifest.layers.iter().map(|layer| (from.clone(), layer.clone())).collect();
    pusher.finish(&built.image, &sources, &[]).await.unwrap();
    for (layer, media_type) in built.image.manifest.layers[types.len()..].iter().zip(types) {
        let mut tar = Vec::new();
        let packed = there.store.read_blob(&layer.digest, layer.size).unwrap();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
        assert!(String::from_utf8_lossy(&tar).contains(media_type), "{media_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_is_chosen_from_an_index_and_its_absence_told() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    let destination = reference(server.address(), "base");
    let arm = Platform::new("linux", "arm64", None);
    let images = [Platform::linux_amd64(), arm.clone()].map(|platform| (here.image_for(&platform, &["x"]), platform));
    let mut entries = Vec::new();
    for (image, platform) in &images {
        Pusher::new(&here.client(), destination.clone()).finish(image, &[], &[]).await.unwrap();
        let found = image.manifest.descriptor();
        entries.push(serde_json::json!({"mediaType": found.media_type, "digest": found.digest, "size": found.size,
            "platform": {"os": platform.os, "architecture": platform.architecture}}));
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries});
    let url = format!("http://{}/v2/base/manifests/multi", server.address());
    let put = plain().put(url).header("content-type", MediaType::OCI_INDEX).body(index.to_string());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let (elsewhere, multi) = (Place::new(), destination.tagged("multi").unwrap());
    let client = elsewhere.client();
    for (image, platform) in &images {
        assert_eq!(client.pull_image(&multi, platform).await.unwrap().digest, image.digest());
    }
    let error = client.pull_image(&multi, &"linux/s390x".parse().unwrap()).await.unwrap_err();
    let wanted = format!("no image `{multi}` for linux/s390x; it is there for linux/amd64, linux/arm64");
    assert_eq!(error.to_string(), wanted);
    let one = destination.at(images[1].0.digest());
    let error = client.pull_image(&one, &Platform::linux_amd64()).await.unwrap_err();
    assert!(matches!(error, PullError::NoSuchPlatform { ref offered, .. } if offered == &[arm]), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_base_that_is_in_the_store_needs_no_registry() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    let destination = reference(server.address(), "base");
    let image = there.image(&["x"]);
    Pusher::new(&there.client(), destination.clone()).finish(&image, &[], &[]).await.unwrap();
    let pinned = destination.at(image.digest());
    here.client().pull_image(&pinned, &Platform::linux_amd64()).await.unwrap();
    drop(server);
    here.client().pull_image(&pinned, &Platform::linux_amd64()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_we_may_push_leaves_nothing_behind() {
    let (here, there) = (Place::new(), Place::new());
    let server = there.serve().await;
    here.client().may_push(&reference(server.address(), "loader")).await.unwrap();
    assert_eq!(std::fs::read_dir(there.store.root().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_tag_that_is_none_is_refused_before_anything_is_sent() {
    let here = Place::new();
    let pusher = Pusher::new(&here.client(), reference("127.0.0.1:1", "loader"));
    let error = pusher.finish(&here.image(&["x"]), &[], &["a b".into()]).await.unwrap_err();
    assert!(matches!(error, PushError::BadTag(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_base_is_told_with_the_address_that_was_asked() {
    let there = Place::new();
    let server = there.serve().await;
    let here = Place::new();
    let client = here.client_of("docker.io", server.address());
    let error = client.image(&"nod:12".parse().unwrap(), &Platform::linux_amd64()).await.unwrap_err();
    let wanted = format!(
        "no image `docker.io/library/nod:12` (asked http://{}/v2/library/nod/manifests/12: MANIFEST_UNKNOWN: \
         there is no such manifest)\nhint: check the name and the tag at \
         https://hub.docker.com/r/library/nod/tags; a private image needs `docker login`",
        server.address()
    );
    assert_eq!(words(&error, error.hint.clone()), wanted);
}

#[tokio::test]
async fn the_server_listens_on_loopback_alone_unless_it_is_told_who_may_come_in() {
    let here = Place::new();
    let data = here.home.path().join("registry");
    let options = ServerOptions::at("0.0.0.0:0".parse().unwrap());
    let error = Server::start(here.store.clone(), &data, options).await.err().unwrap().to_string();
    let wanted = "0.0.0.0:0 is not a loopback address, and without a login and TLS whoever reaches it may read, write \
                  and overhear all";
    assert_eq!(error, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_takes_nothing_on_trust() {
    let there = Place::new();
    let server = there.serve().await;
    let base = format!("http://{}/v2", server.address());
    let image = Place::new().image(&["x"]);
    let manifest = |version: String, body: Vec<u8>| {
        plain()
            .put(format!("{base}/a/manifests/{version}"))
            .header("content-type", MediaType::OCI_MANIFEST)
            .body(body)
            .send()
    };
    let json = image.manifest.to_json();
    refused(manifest("x".into(), json.clone()).await, 404, "MANIFEST_BLOB_UNKNOWN").await;
    let image = there.image(&["x"]);
    there.store.keep_blob(&image.config_json).unwrap();
    refused(manifest(Digest::of(b"").to_string(), json.clone()).await, 400, "DIGEST_INVALID").await;
    refused(manifest("x".into(), b"{}".to_vec()).await, 400, "MANIFEST_INVALID").await;
    refused(manifest("x".into(), vec![b' '; 5 << 20]).await, 413, "SIZE_INVALID").await;
    let wrong = format!("{base}/a/blobs/uploads/?digest={}", Digest::of(b"other"));
    refused(plain().post(wrong).body("bytes").send().await, 400, "DIGEST_INVALID").await;
    assert_eq!(there.store.blob_size(&Digest::of(b"bytes")), None);
    refused(plain().delete(format!("{base}/a/manifests/x")).send().await, 405, "UNSUPPORTED").await;
    refused(plain().get(format!("{base}/a/tags/list")).send().await, 404, "NAME_UNKNOWN").await;
    refused(
        plain().put(format!("{base}/a/blobs/uploads/none?digest={}", Digest::of(b""))).send().await,
        404,
        "BLOB_UPLOAD_UNKNOWN",
    )
    .await;
    let rebound = plain().get(format!("{base}/")).header("host", "evil.com").send().await;
    refused(rebound, 421, "UNSUPPORTED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_to_the_end_of_a_refused_body_still_reads_why() {
    let there = Place::new();
    let server = there.serve().await;
    let address = server.address();
    let asked = move || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(address)?;
        let size = 24 << 20;
        write!(stream, "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: {address}\r\nContent-Length: {size}\r\n\r\n")?;
        stream.write_all(&vec![b' '; size])?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = tokio::task::spawn_blocking(asked).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("SIZE_INVALID"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_takes_a_blob_in_one_piece_or_several_and_gives_it_in_parts() {
    let there = Place::new();
    let server = there.serve().await;
    let base = format!("http://{}", server.address());
    let whole = Digest::of(b"whole");
    let post = plain().post(format!("{base}/v2/a/blobs/uploads/?digest={whole}")).body("whole").send().await.unwrap();
    assert_eq!(post.status(), 201);

    let open = plain().post(format!("{base}/v2/a/blobs/uploads/")).send().await.unwrap();
    let location = format!("{base}{}", open.headers()["location"].to_str().unwrap());
    let patch = |range: &'static str, body: &'static str| {
        plain().patch(&location).header("content-range", range).body(body).send()
    };
    assert_eq!(patch("0-4", "01234").await.unwrap().status(), 202);
    assert_eq!(patch("9-9", "9").await.unwrap().status(), 416);
    let status = plain().get(&location).send().await.unwrap();
    assert_eq!((status.status().as_u16(), &status.headers()["range"]), (204, &"0-4".parse().unwrap()));
    let digest = Digest::of(b"0123456789");
    let put = plain().put(format!("{location}?digest={digest}")).body("56789").send().await.unwrap();
    assert_eq!(put.status(), 201);

    let blob = format!("{base}/v2/b/blobs/{digest}");
    let part = plain().get(&blob).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!((part.status().as_u16(), part.text().await.unwrap()), (206, "234".to_owned()));
    let past = plain().get(&blob).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!(past.status(), 416);
    let head = plain().head(&blob).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_in_order_and_in_pages_and_outlive_the_server() {
    let there = Place::new();
    let image = there.image(&["x"]);
    let tags = ["c", "a", "b"].map(str::to_owned);
    let server = there.serve().await;
    Pusher::new(&there.client(), reference(server.address(), "team/a")).finish(&image, &[], &tags).await.unwrap();
    drop(server);
    let server = there.serve().await;
    let list = async |query: &str| {
        let url = format!("http://{}/v2/team/a/tags/list{query}", server.address());
        plain().get(url).send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(list("").await, r#"{"name":"team/a","tags":["a","b","c"]}"#);
    assert_eq!(list("?n=2").await, r#"{"name":"team/a","tags":["a","b"]}"#);
    assert_eq!(list("?n=2&last=b").await, r#"{"name":"team/a","tags":["c"]}"#);
}

#[track_caller]
fn plain() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn refused(answer: reqwest::Result<reqwest::Response>, status: u16, code: &str) {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), status, "{code}");
    let body = answer.text().await.unwrap();
    assert!(body.contains(code), "{body}");
}
