//! Registries that mean well and are slow, busy, or Amazon's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use locus_push::build::Sink;
use locus_push::event::Event;
use locus_push::image::{Digest, Platform, Reference};
use locus_push::registry::{ExchangeError, Presence, PullError, PushError, Pusher, Registry};

use crate::place::{Place, credential, endpoints, reference, words};
use crate::scripted::{Asked, Says, Scripted, hangs_up, says};

/// A registry that has nothing and takes everything.
pub fn takes_all(asked: &Asked) -> Says {
    match asked.method.as_str() {
        "POST" => says(202).with("Location", "/v2/a/blobs/uploads/1?state=x"),
        "PUT" => says(201),
        _ => says(404),
    }
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    let here = Place::new();
    let json = here.image(&["x"]).manifest.to_json();
    let server = Scripted::start(move |asked| match asked.number {
        0 => says(429).with("Retry-After", 1),
        1 => says(503),
        2 => hangs_up(),
        _ => says(200).with("Docker-Content-Digest", Digest::of(&json)),
    })
    .await;
    let started = std::time::Instant::now();
    assert!(here.client().resolve(&reference(server.address, "a")).await.unwrap().is_some());
    assert!(started.elapsed().as_secs() >= 1);
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn a_registry_that_asks_for_an_hour_is_not_waited_for() {
    const NOW: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    for asked in ["3600", "Wed, 21 Oct 2015 08:28:00 GMT"] {
        let server = Scripted::start(move |_| says(429).with("Retry-After", asked).with("Date", NOW)).await;
        let error = Place::new().client().resolve(&reference(server.address, "a")).await.unwrap_err();
        let shown = words(&error, error.hint());
        assert!(shown.contains("asks to wait 3600 s") && shown.contains("--registry-endpoint"), "{shown}");
        assert_eq!(server.lines().len(), 1);
    }
}

#[tokio::test]
async fn an_upload_that_was_cut_begins_anew_and_whole() {
    let here = Place::new();
    let puts = AtomicUsize::new(0);
    let server = Scripted::start(move |asked| match asked.method.as_str() {
        "PUT" if asked.path.contains("/uploads/") && puts.fetch_add(1, Ordering::Relaxed) == 0 => hangs_up(),
        _ => takes_all(asked),
    })
    .await;
    let image = here.image(&[]);
    let pushed = Pusher::new(&here.client(), reference(server.address, "a")).finish(&image, &[], &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 1);
    let digest = image.manifest.config.digest.to_string().replace(':', "%3A");
    let upload = format!("PUT /v2/a/blobs/uploads/1?state=x&digest={digest}");
    let open = "POST /v2/a/blobs/uploads/".to_owned();
    let uploads: Vec<String> = server.lines().into_iter().filter(|line| line.contains("/uploads/")).collect();
    assert_eq!(uploads, [open.clone(), upload.clone(), open, upload]);
    let bodies: Vec<Vec<u8>> =
        server.asked().into_iter().filter(|a| a.path.contains("digest=")).map(|a| a.body).collect();
    assert!(bodies.iter().all(|body| *body == image.config_json));
}

#[tokio::test]
async fn a_blob_that_was_damaged_on_our_disk_is_found_out() {
    let server = Scripted::start(takes_all).await;
    let here = Place::new();
    let image = here.image(&["x"]);
    let layer = image.manifest.layers[0].digest;
    std::fs::write(here.store.blob_path(&layer), vec![0; image.manifest.layers[0].size as usize]).unwrap();
    let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
    let mut only = image.clone();
    only.manifest.config = image.manifest.layers[0].clone();
    let error = pusher.finish(&only, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PushError::Damaged { digest } if digest == layer), "{error}");
    assert_eq!(here.store.blob_size(&layer), None);
}

#[tokio::test]
async fn ecr_may_answer_201_or_202_and_need_not_mount() {
    let server = Scripted::start(|asked| match asked.method.as_str() {
        "PUT" if asked.path.contains("/uploads/") => says(202),
        _ => takes_all(asked),
    })
    .await;
    let here = Place::new();
    let image = here.image(&["base", "own"]);
    let base = image.manifest.layers[0].clone();
    let sources = [(reference(server.address, "bases/x"), base.clone())];
    let pushed =
        Pusher::new(&here.client(), reference(server.address, "a")).finish(&image, &sources, &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 3);
    let mount = format!("mount={}&from=bases%2Fx", base.digest.to_string().replace(':', "%3A"));
    assert_eq!(server.lines().iter().filter(|line| line.contains(&mount)).count(), 1);
    // The 202 to the mount opened an upload, which is used.
    assert_eq!(server.asked().iter().filter(|asked| asked.method == "POST").count(), 3);
}

#[tokio::test]
async fn a_mount_that_works_sends_nothing() {
    let server = Scripted::start(|asked| match asked.path.contains("mount=") {
        true => says(201),
        false => takes_all(asked),
    })
    .await;
    let here = Place::new();
    let mut image = here.image(&["base"]);
    let base = image.manifest.layers.remove(0);
    image.manifest.layers.push(base.clone());
    here.store.forget_blob(&base.digest);
    let sources = [(reference(server.address, "bases/x"), base)];
    let pushed =
        Pusher::new(&here.client(), reference(server.address, "a")).finish(&image, &sources, &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 1);
}

const IMMUTABLE: &str = "The image tag 'v1' already exists in the 'a' repository and cannot be overwritten because the repository is immutable.";

/// ECR with a repository whose tag `v1` is at this digest for good.
fn immutable(there: Digest) -> impl Fn(&Asked) -> Says + Send + Sync + 'static {
    move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("HEAD", "/v2/a/manifests/v1") => says(200).with("Docker-Content-Digest", there),
        ("PUT", "/v2/a/manifests/v1") => says(400).error("TAG_INVALID", IMMUTABLE),
        _ => takes_all(asked),
    }
}

#[tokio::test]
async fn an_immutable_tag_of_the_same_digest_is_left_alone() {
    let here = Place::new();
    let image = here.image(&["x"]);
    let server = Scripted::start(immutable(image.digest())).await;
    let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
    pusher.finish(&image, &[], &["v1".into()]).await.unwrap();
    assert!(!server.lines().contains(&"PUT /v2/a/manifests/v1".to_owned()));
}

#[tokio::test]
async fn an_immutable_tag_of_another_digest_is_told_with_both() {
    let here = Place::new();
    let (image, other) = (here.image(&["x"]), Digest::of(b"other"));
    let server = Scripted::start(immutable(other)).await;
    let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
    let error = pusher.finish(&image, &[], &["v1".into()]).await.unwrap_err();
    let wanted = format!(
        "the tag `v1` of `{}/a` cannot be moved: it is {other}, this image is {}",
        server.address,
        image.digest()
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn ecrs_expired_token_is_asked_for_once_more() {
    let server = Scripted::start(|asked| match asked.headers.get("authorization").map(String::as_str) {
        // user:new
        Some("Basic dXNlcjpuZXc=") => takes_all(asked),
        Some(_) => says(403).error("DENIED", "Your authorization token has expired. Reauthenticate and try again."),
        None => says(401).with("WWW-Authenticate", r#"Basic realm="https://1/",service="ecr.amazonaws.com""#),
    })
    .await;
    let here = Place::new();
    let mut options = here.options();
    let (credentials, asked) = credential(&server.address.to_string(), &["old", "new"]);
    options.credentials = credentials;
    let client = Registry::new(options).unwrap();
    // The first question gets the old one, the second finds it expired.
    client.may_push(&reference(server.address, "a")).await.unwrap_err();
    client.may_push(&reference(server.address, "a")).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn many_questions_ask_for_one_token() {
    let server = Scripted::start(|asked| {
        if asked.path.starts_with("/token") {
            return says(200).body(r#"{"token":"t0ken","expires_in":300}"#);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some("Bearer t0ken") => takes_all(asked),
            _ => says(401).with(
                "WWW-Authenticate",
                format!(r#"Bearer realm="http://{}/token",service="s""#, asked.headers["host"]),
            ),
        }
    })
    .await;
    let here = Place::new();
    let image = here.image(&["1", "2", "3", "4", "5", "6"]);
    let pushed = Pusher::new(&here.client(), reference(server.address, "a")).finish(&image, &[], &[]).await.unwrap();
    assert_eq!(pushed.uploaded, 7);
    let tokens: Vec<String> = server.lines().into_iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens, ["GET /token?service=s&scope=repository%3Aa%3Apull%2Cpush"]);
}

#[tokio::test]
async fn who_can_say_what_is_there_at_once_is_asked_instead() {
    let server = Scripted::start(takes_all).await;
    let here = Place::new();
    let image = here.image(&["1", "2"]);
    let all: BTreeSet<Digest> =
        image.manifest.layers.iter().chain([&image.manifest.config]).map(|b| b.digest).collect();
    let known = all.clone();
    let pusher = Pusher::new(&here.client(), reference(server.address, "a")).with_presence(Arc::new(move |asked| {
        assert_eq!(asked.iter().copied().collect::<BTreeSet<_>>(), known);
        let known = known.clone();
        Box::pin(async move { Some(known) })
    }));
    assert_eq!(pusher.finish(&image, &[], &[]).await.unwrap().uploaded, 0);
    assert_eq!(all.len(), 3);
    let digest = image.digest();
    assert_eq!(server.lines(), [format!("HEAD /v2/a/manifests/{digest}"), format!("PUT /v2/a/manifests/{digest}")]);
}

#[tokio::test]
async fn who_cannot_say_what_is_there_at_once_is_not_missed() {
    let server = Scripted::start(takes_all).await;
    let here = Place::new();
    let image = here.image(&["1", "2"]);
    let cannot: Presence = Arc::new(|_| Box::pin(std::future::ready(None)));
    let pusher = Pusher::new(&here.client(), reference(server.address, "a")).with_presence(cannot);
    assert_eq!(pusher.finish(&image, &[], &[]).await.unwrap().uploaded, 3);
    // One that is known to be under way is not asked about.
    let rest: Presence = Arc::new(|asked| Box::pin(std::future::ready(Some(asked.into_iter().collect()))));
    let pusher = Pusher::new(&here.client(), reference(server.address, "a")).with_presence(rest);
    pusher.layer(&image.manifest.layers[0]);
    assert_eq!(pusher.finish(&image, &[], &[]).await.unwrap().uploaded, 1);
}

#[tokio::test]
async fn who_may_not_push_is_told_which_repository() {
    for (says_it, wanted) in [
        (says(403).error("DENIED", "no"), "not allowed to push to `HOST/a`: DENIED: no"),
        (says(404).error("NAME_UNKNOWN", "none"), "there is no repository `HOST/a`: NAME_UNKNOWN: none"),
        (says(401), "not allowed to push to `HOST/a`"),
    ] {
        let server = Scripted::start(move |_| says_it.clone()).await;
        let error = Place::new().client().may_push(&reference(server.address, "a")).await.unwrap_err();
        assert_eq!(error.to_string(), wanted.replace("HOST", &server.address.to_string()));
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn the_first_failure_ends_a_push() {
    let server = Scripted::start(|asked| match asked.method.as_str() {
        "POST" => says(403).error("DENIED", "no"),
        _ => says(404),
    })
    .await;
    let here = Place::new();
    let texts: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let image = here.image(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let error = Pusher::new(&here.client(), reference(server.address, "a")).finish(&image, &[], &[]).await.unwrap_err();
    assert!(matches!(error, PushError::Denied { .. }), "{error}");
    assert!(server.asked().iter().filter(|asked| asked.method == "POST").count() < 20);
    assert!(server.asked().iter().all(|asked| asked.method != "PUT"));
}

#[tokio::test]
async fn docker_hub_says_401_of_an_image_that_does_not_exist() {
    let server = Scripted::start(|_| says(401).error("UNAUTHORIZED", "authentication required")).await;
    let client = Place::new().client_of("docker.io", server.address);
    let nod: Reference = "nod:12".parse().unwrap();
    let error = client.pull_image(&nod, &Platform::linux_amd64()).await.unwrap_err();
    assert!(error.to_string().starts_with("no image `docker.io/library/nod:12` (asked http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let error = Place::new().client().resolve(&"127.0.0.1:1/a".parse().unwrap()).await.unwrap_err();
    let shown = words(&error, error.hint());
    assert!(shown.contains("cannot connect to http://127.0.0.1:1/v2/a/manifests/latest"), "{shown}");
    assert!(shown.contains("refused") && shown.contains("--registry-endpoint"), "{shown}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_named_with_what_to_do() {
    let server = Scripted::start(|_| says(200)).await;
    let here = Place::new();
    let mut options = here.options();
    options.endpoints = endpoints(&format!("r.test=https://{}", server.address));
    let error = Registry::new(options).unwrap().resolve(&reference("r.test", "a")).await.unwrap_err();
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::Tls { .. }, .. }), "{error:?}");
    assert!(words(&error, error.hint()).contains("--ca-file"));
}

#[tokio::test]
async fn an_address_of_the_users_gets_the_credential_and_this_is_said() {
    let server = Scripted::start(|asked| match asked.headers.contains_key("authorization") {
        true => takes_all(asked),
        false => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let here = Place::new();
    let mut options = here.options();
    options.endpoints = endpoints(&format!("r.test=http://{}", server.address));
    options.credentials = credential("r.test", &["p"]).0;
    let client = Registry::new(options).unwrap();
    client.may_push(&reference("r.test", "a")).await.unwrap();
    client.may_push(&reference("r.test", "b")).await.unwrap();
    let wanted = format!("http://{} gets the credential of r.test", server.address);
    assert_eq!(here.heard(|event| *event == Event::Note(wanted.clone())), 1);
}
