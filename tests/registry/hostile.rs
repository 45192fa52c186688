//! Registries that are up to no good. Each is a listener that counts what reaches it.

use locus_push::image::{Descriptor, Digest, Image, MediaType, Platform};
use locus_push::registry::{ExchangeError, PullError, PushError, Pusher, Registry};

use crate::place::{Place, credential, reference, words};
use crate::scripted::{Says, Scripted, hangs_up, says};

/// Pulls `a:latest` from a registry that says this.
async fn pull(script: impl Fn(&crate::scripted::Asked) -> Says + Send + Sync + 'static) -> (Scripted, PullError) {
    let server = Scripted::start(script).await;
    let here = Place::new();
    let mut options = here.options();
    options.credentials = credential(&server.address.to_string(), &["hunter2"]).0;
    let client = Registry::new(options).unwrap();
    let error = client.pull_image(&reference(server.address, "a"), &Platform::linux_amd64()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    (server, error)
}

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::new(MediaType::OCI_LAYER), Digest::of(bytes), bytes.len() as u64)
}

/// Fetches a blob of these bytes from a registry that says this.
async fn fetch(
    bytes: &[u8],
    script: impl Fn(&crate::scripted::Asked) -> Says + Send + Sync + 'static,
) -> (Scripted, Place, Result<(), PullError>) {
    let server = Scripted::start(script).await;
    let here = Place::new();
    let mut options = here.options();
    options.credentials = credential(&server.address.to_string(), &["hunter2"]).0;
    let client = Registry::new(options).unwrap();
    let result = client.pull_blob(&reference(server.address, "a"), &blob(bytes)).await;
    (server, here, result)
}

#[tokio::test]
async fn e1_a_token_is_not_asked_for_on_another_host() {
    let thief = Scripted::start(|_| says(200).body(r#"{"token":"x"}"#)).await;
    let realm = format!(r#"Bearer realm="{}",service="s""#, thief.url("/token"));
    let (_, error) = pull(move |_| says(401).with("WWW-Authenticate", &realm)).await;
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::Realm { .. }, .. }), "{error}");
    assert!(words(&error, error.hint()).contains("which is not its token server"), "{error}");
    assert_eq!(thief.lines(), [""; 0]);
}

#[tokio::test]
async fn e2_a_token_is_not_asked_for_at_the_metadata_service() {
    for realm in ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "https://169.254.169.254/"] {
        let header = format!(r#"Bearer realm="{realm}""#);
        let (_, error) = pull(move |_| says(401).with("WWW-Authenticate", &header)).await;
        assert!(matches!(error, PullError::Exchange { source: ExchangeError::Realm { .. }, .. }), "{error}");
    }
}

#[tokio::test]
async fn e4_a_token_server_that_redirects_is_not_followed() {
    let thief = Scripted::start(|_| says(200).body(r#"{"token":"x"}"#)).await;
    for status in [301, 302, 303, 307, 308] {
        let location = thief.url("/");
        let (_, error) = pull(move |asked| match asked.path.starts_with("/token") {
            true => says(status).with("Location", &location),
            false => {
                says(401).with("WWW-Authenticate", format!(r#"Bearer realm="http://{}/token""#, asked.headers["host"]))
            }
        })
        .await;
        assert!(error.to_string().contains("with a redirect"), "{error}");
    }
    assert_eq!(thief.lines(), [""; 0]);
}

#[tokio::test]
async fn e5_a_redirect_leaves_the_credential_at_home() {
    let away = Scripted::start(|_| says(401).with("WWW-Authenticate", r#"Basic realm="x""#)).await;
    let location = away.url("/blob?X-Amz-Signature=signed");
    let (server, _, result) = fetch(b"x", move |asked| match asked.headers.get("authorization") {
        Some(_) => says(307).with("Location", &location),
        None => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains(&away.address.to_string()) && !error.contains("signed"), "{error}");
    assert!(!away.asked().is_empty());
    assert!(away.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    assert_eq!(server.asked().last().unwrap().headers["authorization"], "Basic dXNlcjpodW50ZXIy");
}

#[tokio::test]
async fn e5_a_blob_may_be_elsewhere() {
    let away = Scripted::start(|_| says(200).body("bytes")).await;
    let location = away.url("/blob?sig=1");
    let (_, here, result) = fetch(b"bytes", move |_| says(307).with("Location", &location)).await;
    result.unwrap();
    assert_eq!(here.store.blob_size(&Digest::of(b"bytes")), Some(5));
    assert_eq!(away.lines(), ["GET /blob?sig=1"]);
}

#[tokio::test]
async fn e5_a_redirect_does_not_lead_inward_nor_in_a_circle() {
    for location in ["http://169.254.169.254/x", "http://0xa9fea9fe/", "http://u:p@127.0.0.1/", "file:///etc/passwd"] {
        let (server, _, result) = fetch(b"x", move |_| says(302).with("Location", location)).await;
        assert!(result.unwrap_err().to_string().contains("redirects to"), "{location}");
        assert_eq!(server.lines().len(), 1, "{location}");
    }
    let (server, _, result) = fetch(b"x", |_| says(302).with("Location", "/again")).await;
    assert!(result.unwrap_err().to_string().contains("without an end"));
    assert_eq!(server.lines().len(), 6);
}

#[tokio::test]
async fn e7_an_upload_does_not_go_to_another_host() {
    let thief = Scripted::start(|_| says(201)).await;
    for location in [thief.url("/upload"), "http://169.254.169.254/".into(), "//evil.test/x".into()] {
        let server = Scripted::start(move |asked| match asked.method.as_str() {
            "POST" => says(202).with("Location", &location),
            _ => says(404),
        })
        .await;
        let here = Place::new();
        let pusher = Pusher::new(&here.client(), reference(server.address, "a"));
        let error = pusher.finish(&here.image(&["x"]), &[], &[]).await.unwrap_err();
        assert!(matches!(error, PushError::UploadElsewhere { .. }), "{error}");
        assert!(here.client().may_push(&reference(server.address, "a")).await.is_err());
    }
    assert_eq!(thief.lines(), [""; 0]);
}

#[tokio::test]
async fn e8_a_digest_that_is_a_path_is_none() {
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"sha256:../../x","size":2}},"layers":[]}}"#,
        MediaType::OCI_CONFIG
    );
    let (server, error) =
        pull(move |_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(manifest.clone())).await;
    assert!(matches!(error, PullError::Manifest { .. }), "{error}");
    assert_eq!(server.lines(), ["GET /v2/a/manifests/latest"]);
}

#[tokio::test]
async fn e9_a_document_that_could_be_read_two_ways_is_refused() {
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, MediaType::OCI_INDEX);
    let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_owned();
    for body in [index, both] {
        let (_, error) =
            pull(move |_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(body.clone())).await;
        assert!(matches!(error, PullError::Manifest { .. }), "{error}");
    }
}

#[tokio::test]
async fn e10_what_is_too_long_is_an_error() {
    let (_, error) = pull(|_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(vec![b' '; 5 << 20])).await;
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::TooLong { .. }, .. }), "{error}");
    let (_, error) = pull(|asked| match asked.path.starts_with("/token") {
        true => says(200).body(vec![b' '; 1 << 20]),
        false => {
            says(401).with("WWW-Authenticate", format!(r#"Bearer realm="http://{}/token""#, asked.headers["host"]))
        }
    })
    .await;
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::TooLong { .. }, .. }), "{error}");
    let (_, error) = pull(|_| says(400).error("X", &"long ".repeat(1 << 20))).await;
    assert!(error.to_string().len() < 1000);
    let (_, error) = pull(|_| (0..500).fold(says(200), |says, n| says.with(&format!("X-{n}"), n))).await;
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::Broken { .. }, .. }), "{error}");
}

#[tokio::test]
async fn e13_nothing_signed_and_no_escape_reaches_an_error() {
    let (_, error) = pull(|asked| match asked.headers.get("authorization") {
        Some(header) => {
            says(403).error("\u{1b}[2JX", &format!("you sent {header} to https://s3/x?X-Amz-Signature=signed"))
        }
        None => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let shown = words(&error, error.hint());
    assert!(!shown.contains("dXNlcjpodW50ZXIy") && !shown.contains("signed") && !shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test]
async fn bytes_of_another_digest_are_not_kept() {
    let (server, here, result) = fetch(b"right", |_| says(200).body("wrong")).await;
    assert!(matches!(result, Err(PullError::DigestMismatch { .. })));
    assert_eq!(server.lines().len(), 1);
    for digest in [Digest::of(b"right"), Digest::of(b"wrong")] {
        assert_eq!(here.store.blob_size(&digest), None);
    }
    let (_, _, result) = fetch(b"short", |_| says(200).body("much longer than it says")).await;
    assert!(matches!(result, Err(PullError::Size { promised: 5, .. })));
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused() {
    let here = Place::new();
    let image = here.image(&["x"]);
    let json = image.manifest.to_json();
    let server =
        Scripted::start(move |_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(json.clone())).await;
    let pinned = reference(server.address, "a").at(Digest::of(b"other"));
    let error = here.client().pull_image(&pinned, &Platform::linux_amd64()).await.unwrap_err();
    assert!(matches!(error, PullError::DigestMismatch { got, .. } if got == image.digest()), "{error}");
}

#[tokio::test]
async fn an_image_whose_config_and_manifest_disagree_is_refused() {
    let here = Place::new();
    let mut image: Image = here.image(&["x"]);
    image.manifest.layers.clear();
    here.store.keep_blob(&image.config_json).unwrap();
    let json = image.manifest.to_json();
    let server =
        Scripted::start(move |_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(json.clone())).await;
    let error = here.client().pull_image(&reference(server.address, "a"), &Platform::linux_amd64()).await.unwrap_err();
    assert!(matches!(error, PullError::LayerCount { diff_ids: 1, layers: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_only_hangs_up_is_told_of() {
    let (server, error) = pull(|_| hangs_up()).await;
    assert!(matches!(error, PullError::Exchange { source: ExchangeError::Broken { .. }, .. }), "{error}");
    assert_eq!(server.lines().len(), 4);
}
