//! Registries that are up to no good. Each is a listener that counts what reaches it.

use std::sync::Arc;

use locus_push::image::{Descriptor, Digest, Image, MediaType, Platform};
use locus_push::registry::{
    Credential, CredentialSource, Credentials, ExchangeError, PullError, PushError, Pusher, Registry,
};
use locus_push::secret::Secret;

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
async fn e4_an_identity_token_is_not_posted_where_the_token_server_redirects_to() {
    let thief = Scripted::start(|_| says(200).body(r#"{"token":"x"}"#)).await;
    for status in [301, 302, 303, 307, 308] {
        let location = thief.url("/");
        let server = Scripted::start(move |asked| match asked.path.starts_with("/token") {
            true => says(status).with("Location", &location),
            false => {
                says(401).with("WWW-Authenticate", format!(r#"Bearer realm="http://{}/token""#, asked.headers["host"]))
            }
        })
        .await;
        let here = Place::new();
        let mut options = here.options();
        let source: CredentialSource =
            Arc::new(|| Box::pin(async { Ok(Credential::IdentityToken(Secret::new("hunter2"))) }));
        options.credentials = Credentials::none().with_source(&server.address.to_string(), source);
        let error = Registry::new(options).unwrap().resolve(&reference(server.address, "a")).await.unwrap_err();
        assert!(error.to_string().contains("with a redirect"), "{error}");
        assert!(server.asked().iter().any(|asked| asked.method == "POST"));
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

/// A registry of one image, by these layers as its manifest has them.
async fn registry_of(layers: serde_json::Value, config: &[u8]) -> Scripted {
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": {"mediaType": MediaType::OCI_CONFIG, "digest": Digest::of(config), "size": config.len()},
        "layers": layers,
    });
    let (manifest, config) = (manifest.to_string(), config.to_vec());
    Scripted::start(move |asked| match asked.path.contains("/manifests/") {
        true => says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(manifest.clone()),
        false if asked.path.contains(&Digest::of(&config).to_string()) => says(200).body(config.clone()),
        false => says(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await
}

fn config_of(diff_ids: &[Digest]) -> Vec<u8> {
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
    serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).to_string().into_bytes()
}

#[tokio::test]
async fn e6_the_address_in_a_layer_is_not_asked_for_it() {
    let thief = Scripted::start(|_| says(200).body("x")).await;
    let layer = serde_json::json!([{"mediaType": MediaType::OCI_LAYER, "digest": Digest::of(b"x"), "size": 1,
        "urls": [thief.url("/layer")]}]);
    let server = registry_of(layer, &config_of(&[Digest::of(b"x")])).await;
    let here = Place::new();
    let mut options = here.options();
    options.credentials = credential(&server.address.to_string(), &["hunter2"]).0;
    let (client, from) = (Registry::new(options).unwrap(), reference(server.address, "a"));
    let base = client.pull_image(&from, &Platform::linux_amd64()).await.unwrap();
    assert!(client.pull_blob(&from, &base.image.manifest.layers[0]).await.is_err());
    assert_eq!(thief.lines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_layer_that_is_not_the_one_of_the_config_leaves_nothing() {
    let (maker, here) = (Place::new(), Place::new());
    let (layer, diff_id) = maker.layer("x");
    let blob = maker.store.read_blob(&layer.digest, layer.size).unwrap();
    // The blob is the one that the manifest names; the tar in it is another than the config says.
    let config = config_of(&[Digest::of(b"another")]);
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "layers": [layer],
        "config": {"mediaType": MediaType::OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()}})
    .to_string();
    // A descriptor of ours has our names for its fields.
    let manifest = manifest.replace("media_type", "mediaType");
    let named = layer.digest.to_string();
    let server = Scripted::start(move |asked| match asked.path.contains("/manifests/") {
        true => says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(manifest.clone()),
        false if asked.path.contains(&named) => says(200).body(blob.clone()),
        false => says(200).body(config.clone()),
    })
    .await;
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("file"), "x").unwrap();
    let text = format!("FROM {}/a\nCOPY file /\n", server.address);
    let built = here.build(&here.client(), context.path(), &text, &None::<Pusher>).await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains(&diff_id.to_string()) && error.contains(&Digest::of(b"another").to_string()), "{error}");
    for folder in ["trees", "layers", "steps", "tars", "work", "tmp"] {
        assert_eq!(std::fs::read_dir(here.store.root().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_history_that_lies_of_the_layers_builds_an_image_that_does_not() {
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("file"), "x").unwrap();
    for lines in [0, 1, 3] {
        let (there, here) = (Place::new(), Place::new());
        let server = there.serve().await;
        let mut base = there.image(&["one", "two"]);
        base.config.history = vec![Default::default(); lines];
        let base = Image::new(base.config, base.manifest.layers, Default::default());
        let at = reference(server.address(), "base");
        Pusher::new(&there.client(), at).finish(&base, &[], &["latest".into()]).await.unwrap();
        let text = format!("FROM {}/base\nCOPY file /\n", server.address());
        let built = here.build(&here.client(), context.path(), &text, &None::<Pusher>).await.unwrap();
        let config = built.image.config;
        let told = config.history.iter().filter(|line| !line.empty_layer).count();
        assert_eq!((config.rootfs.diff_ids.len(), built.image.manifest.layers.len()), (3, 3), "{lines}");
        assert_eq!(told, 3, "{lines}");
    }
}

#[tokio::test]
async fn f4_layers_that_nobody_can_read_are_refused_by_name() {
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "text/plain",
    ] {
        let layer = serde_json::json!([{"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1}]);
        let server = registry_of(layer, &config_of(&[Digest::of(b"x")])).await;
        let from = reference(server.address, "a");
        let error = Place::new().client().pull_image(&from, &Platform::linux_amd64()).await.unwrap_err();
        let wanted = format!("its layer {} is of the type `{media_type}`", Digest::of(b"x"));
        assert!(error.to_string().ends_with(&wanted), "{error}");
    }
}

#[tokio::test]
async fn e7_an_upload_does_not_go_to_another_host() {
    let thief = Scripted::start(|_| says(201)).await;
    let elsewhere = ["http://169.254.169.254/", "http://10.0.0.1/", "//evil.test/x", "http://u:p@127.0.0.1/"];
    for location in [thief.url("/upload")].into_iter().chain(elsewhere.map(str::to_owned)) {
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
async fn f2_a_config_that_lies_of_its_size_or_digest_is_refused() {
    let right = config_of(&[]);
    for (size, body) in
        [(right.len() - 1, right.clone()), (right.len() + 1, right.clone()), (right.len(), vec![b' '; right.len()])]
    {
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "layers": [],
            "config": {"mediaType": MediaType::OCI_CONFIG, "digest": Digest::of(&right), "size": size}})
        .to_string();
        let (_, error) = pull(move |asked| match asked.path.contains("/manifests/") {
            true => says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(manifest.clone()),
            false => says(200).body(body.clone()),
        })
        .await;
        assert!(matches!(error, PullError::Size { .. } | PullError::DigestMismatch { .. }), "{error}");
    }
}

#[tokio::test]
async fn f5_a_config_of_a_million_labels_is_not_read() {
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "layers": [],
        "config": {"mediaType": MediaType::OCI_CONFIG, "digest": Digest::of(b"x"), "size": 40 << 20}})
    .to_string();
    let (server, error) =
        pull(move |_| says(200).with("Content-Type", MediaType::OCI_MANIFEST).body(manifest.clone())).await;
    assert!(error.to_string().contains("at most 4194304 are read"), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_a_base_whose_user_is_nonsense_is_refused_by_name() {
    let context = tempfile::tempdir().unwrap();
    let cases = [
        "../../x",
        "-1",
        "4294967295",
        "99999999999",
        "root\n0",
        "0:-1",
        ":4294967296",
        "a b",
        "\u{1b}[2J",
        "0x0",
        "\0",
    ];
    for user in cases {
        let (there, here) = (Place::new(), Place::new());
        let server = there.serve().await;
        let mut base = there.image(&["x"]);
        base.config.config.user = user.to_owned();
        let base = Image::new(base.config, base.manifest.layers, Default::default());
        let at = reference(server.address(), "base");
        Pusher::new(&there.client(), at).finish(&base, &[], &["latest".into()]).await.unwrap();
        let text = format!("FROM {}/base\nWORKDIR /w\n", server.address());
        let error = here.build(&here.client(), context.path(), &text, &None::<Pusher>).await.unwrap_err().to_string();
        assert!(error.contains("in the image's /etc/"), "{user:?}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

/// Indexes within indexes, the image at the bottom, from a registry that has them all.
async fn nested(depth: usize, platform: Option<serde_json::Value>) -> Result<Digest, PullError> {
    let config = config_of(&[]);
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "layers": [],
        "config": {"mediaType": MediaType::OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()}});
    let mut all = vec![(MediaType::OCI_MANIFEST, manifest.to_string())];
    for _ in 0..depth {
        let (media_type, below) = all.last().unwrap();
        let mut entry =
            serde_json::json!({"mediaType": media_type, "digest": Digest::of(below.as_bytes()), "size": below.len()});
        if let Some(platform) = &platform {
            entry["platform"] = platform.clone();
        }
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry]});
        all.push((MediaType::OCI_INDEX, index.to_string()));
    }
    let server = Scripted::start(move |asked| {
        let top = all.last().unwrap();
        let named = |text: &String| asked.path.contains(&Digest::of(text.as_bytes()).to_string());
        match all.iter().find(|(_, text)| named(text)).or(asked.path.ends_with("/latest").then_some(top)) {
            Some((media_type, text)) => says(200).with("Content-Type", media_type).body(text.clone()),
            None => says(200).body(config.clone()),
        }
    })
    .await;
    let here = Place::new();
    Ok(here.client().pull_image(&reference(server.address, "a"), &Platform::linux_amd64()).await?.digest)
}

#[tokio::test]
async fn f3_an_index_leads_to_an_image_or_to_an_end() {
    let amd64 = || Some(serde_json::json!({"os": "linux", "architecture": "amd64"}));
    assert_eq!(nested(3, amd64()).await.unwrap(), nested(0, None).await.unwrap());
    assert!(nested(1, None).await.is_ok());
    assert!(matches!(nested(10, amd64()).await, Err(PullError::Nested { .. })));
    let unknown = Some(serde_json::json!({"os": "unknown", "architecture": "unknown"}));
    let error = nested(1, unknown).await.unwrap_err().to_string();
    assert!(error.ends_with("it is there for no platform that is named"), "{error}");
    let arm = Some(serde_json::json!({"os": "linux", "architecture": "arm64"}));
    let error = nested(1, arm).await.unwrap_err().to_string();
    assert!(error.ends_with("it is there for linux/arm64"), "{error}");
}

#[tokio::test]
async fn f3_an_index_that_a_registry_gives_for_its_own_entry_is_found_out() {
    let entry = serde_json::json!([{"mediaType": MediaType::OCI_INDEX, "digest": Digest::of(b"itself"), "size": 6,
        "platform": {"os": "linux", "architecture": "amd64"}}]);
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entry});
    let (server, error) =
        pull(move |_| says(200).with("Content-Type", MediaType::OCI_INDEX).body(index.to_string())).await;
    assert!(matches!(error, PullError::DigestMismatch { .. }), "{error}");
    assert_eq!(server.lines().len(), 4);
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
    // A bit may turn on the way; the same wrong bytes again are not asked for a fourth time.
    assert_eq!(server.lines().len(), 3);
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
