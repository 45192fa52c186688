//! What the distribution spec asks of a registry (version 1.1, spec.md), section by section, over bare HTTP.
//!
//! Each test is a section; each row of it one requirement: what is sent, and what must come back.

use locus_push::image::{Digest, MediaType};
use locus_push::registry::{Login, Server};
use locus_push::secret::Secret;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::place::Place;

/// A registry with nothing in it, and one who asks it.
struct Bare {
    server: Server,
    place: Place,
    client: reqwest::Client,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Bare {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(set: impl FnOnce(&mut locus_push::registry::ServerOptions)) -> Self {
        let place = Place::new();
        let server = place.serve_as(set).await;
        // Another's process may have installed it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { server, place, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// One request; the path may be a `Location`.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("http://{}{path}", self.server.address());
        let mut request = self.client.request(method.parse::<Method>().unwrap(), url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// A blob in a repository, by a single POST.
    async fn blob(&self, repository: &str, bytes: &'static str) -> Digest {
        let digest = Digest::of(bytes.as_bytes());
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.ask("POST", &path, &[], bytes).await.is(201);
        digest
    }

    /// A manifest with an empty config and no layers, and what else it says.
    async fn manifest(&self, repository: &str, version: Option<&str>, more: Value) -> (Digest, Answer) {
        let config = self.blob(repository, "{}").await;
        let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2});
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": []});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bytes = manifest.to_string();
        let digest = Digest::of(bytes.as_bytes());
        let version = version.map_or(digest.to_string(), str::to_owned);
        let path = format!("/v2/{repository}/manifests/{version}");
        let answer = self.ask("PUT", &path, &[("content-type", MediaType::OCI_MANIFEST)], bytes).await;
        (digest, answer)
    }

    /// Where a new upload goes to.
    async fn upload(&self) -> String {
        self.ask("POST", "/v2/a/blobs/uploads/", &[], "").await.is(202).header("location").to_owned()
    }

    async fn referrers(&self, subject: &Digest, query: &str) -> (Vec<Value>, Answer) {
        let answer = self.get(&format!("/v2/a/referrers/{subject}{query}")).await;
        answer.is(200).has("content-type", MediaType::OCI_INDEX);
        let index = answer.json();
        assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
        (index["manifests"].as_array().unwrap().clone(), answer)
    }
}

impl Answer {
    #[track_caller]
    fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A refusal in the form of the section "Error Codes".
    #[track_caller]
    fn refuses(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        let error = &self.json()["errors"][0];
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].is_string(), "{error}");
        self
    }

    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is no {name}: {:?}", self.headers)).to_str().unwrap()
    }

    #[track_caller]
    fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.header(name), value, "{name}");
        self
    }

    fn lacks(&self, name: &str) -> &Self {
        assert!(!self.headers.contains_key(name), "{name}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn digests(descriptors: &[Value]) -> Vec<&str> {
    descriptors.iter().map(|descriptor| descriptor["digest"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn determining_support() {
    let bare = Bare::new().await;
    bare.get("/v2/").await.is(200);
    bare.ask("POST", "/v2/", &[], "").await.refuses(405, "UNSUPPORTED");
    bare.get("/v3/").await.refuses(404, "UNSUPPORTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_manifests() {
    let bare = Bare::new().await;
    let (digest, put) = bare.manifest("a", Some("x"), json!({})).await;
    put.is(201);
    for version in ["x".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{version}");
        let found = bare.get(&path).await;
        found.is(200).has("docker-content-digest", &digest.to_string()).has("content-type", MediaType::OCI_MANIFEST);
        assert_eq!(Digest::of(&found.body), digest, "the bytes are those that were pushed");
        // Checking if content exists in the registry.
        let head = bare.ask("HEAD", &path, &[], "").await;
        head.is(200).has("docker-content-digest", &digest.to_string());
        head.has("content-length", &found.body.len().to_string());
    }
    for path in ["/v2/a/manifests/y", "/v2/none/manifests/x", &format!("/v2/a/manifests/{}", Digest::of(b""))] {
        bare.get(path).await.refuses(404, "MANIFEST_UNKNOWN");
        bare.ask("HEAD", path, &[], "").await.is(404);
    }
    // `<reference>` is a digest or a tag, `<name>` is of the grammar.
    bare.get("/v2/a/manifests/.x").await.refuses(400, "TAG_INVALID");
    bare.get(&format!("/v2/a/manifests/{}", "x".repeat(129))).await.refuses(400, "TAG_INVALID");
    bare.get("/v2/a/manifests/sha256:x").await.refuses(400, "DIGEST_INVALID");
    bare.get("/v2/A/manifests/x").await.refuses(400, "NAME_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_blobs() {
    let bare = Bare::new().await;
    let digest = bare.blob("a", "0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    let found = bare.get(&path).await;
    found.is(200).has("docker-content-digest", &digest.to_string()).has("content-length", "10");
    assert_eq!(found.body, b"0123456789");
    let head = bare.ask("HEAD", &path, &[], "").await;
    head.is(200).has("content-length", "10").has("docker-content-digest", &digest.to_string());
    let none = format!("/v2/a/blobs/{}", Digest::of(b"none"));
    bare.get(&none).await.refuses(404, "BLOB_UNKNOWN");
    bare.ask("HEAD", &none, &[], "").await.is(404);
    bare.get("/v2/a/blobs/sha256:x").await.refuses(400, "DIGEST_INVALID");
    // A registry should support `Range`, as RFC 9110 has it.
    for (range, status, wanted, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=8-", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=2-99", 206, "23456789", Some("bytes 2-9/10")),
        ("lines=1-2", 200, "0123456789", None),
    ] {
        let part = bare.ask("GET", &path, &[("range", range)], "").await;
        assert_eq!(String::from_utf8_lossy(&part.body), wanted, "{range}");
        match content_range {
            Some(value) => part.is(status).has("content-range", value),
            None => part.is(status).lacks("content-range"),
        };
    }
    bare.ask("GET", &path, &[("range", "bytes=10-")], "").await.refuses(416, "RANGE_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_blob_monolithically() {
    let bare = Bare::new().await;
    // POST then PUT.
    let digest = Digest::of(b"one");
    let location = bare.upload().await;
    let put = bare.ask("PUT", &format!("{location}?digest={digest}"), &[], "one").await;
    assert_eq!(bare.get(put.is(201).header("location")).await.is(200).body, b"one");
    bare.ask("PUT", &format!("{location}?digest={digest}"), &[], "one").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let location = bare.upload().await;
    bare.ask("PUT", &location, &[], "two").await.refuses(400, "DIGEST_INVALID");
    bare.ask("PUT", &format!("{location}?digest={digest}"), &[], "two").await.refuses(400, "DIGEST_INVALID");
    // Single POST.
    let digest = Digest::of(b"two");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let post = bare.ask("POST", &path, &[("content-type", "application/octet-stream")], "two").await;
    assert_eq!(bare.get(post.is(201).header("location")).await.is(200).body, b"two");
    bare.ask("POST", &path, &[], "three").await.refuses(400, "DIGEST_INVALID");
    // Not in another's name.
    let location = bare.upload().await.replace("/v2/a/", "/v2/b/");
    bare.ask("PUT", &format!("{location}?digest={digest}"), &[], "two").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_a_blob_in_chunks() {
    let bare = Bare::new().await;
    let digest = Digest::of(b"0123456789");
    let opened = bare.ask("POST", "/v2/a/blobs/uploads/", &[("content-length", "0")], "").await;
    // We ask for no least size: a chunk of one byte is taken.
    opened.is(202).lacks("oci-chunk-min-length");
    let mut location = opened.header("location").to_owned();
    for (range, body, status, so_far) in [
        ("1-1", "1", 416, "0-0"),
        ("0-0", "0", 202, "0-0"),
        ("1-4", "1234", 202, "0-4"),
        ("1-4", "1234", 416, "0-4"),
        ("6-6", "6", 416, "0-4"),
        ("5-9", "567", 400, "0-4"),
        ("five-6", "56", 416, "0-4"),
        ("5-6", "56", 202, "0-6"),
    ] {
        let patched = bare.ask("PATCH", &location, &[("content-range", range)], body).await;
        assert_eq!(patched.status, status, "{range}: {}", String::from_utf8_lossy(&patched.body));
        if status == 202 {
            location = patched.has("range", so_far).header("location").to_owned();
        }
        let told = bare.get(&location).await;
        told.is(204).has("range", so_far);
        assert_eq!(told.header("location"), location);
    }
    let close = format!("{location}?digest={digest}");
    bare.ask("PUT", &close, &[("content-range", "9-9")], "9").await.refuses(416, "BLOB_UPLOAD_INVALID");
    let closed = bare.ask("PUT", &close, &[("content-range", "7-9")], "789").await;
    assert_eq!(bare.get(closed.is(201).header("location")).await.is(200).body, b"0123456789");
    bare.get(&location).await.refuses(404, "BLOB_UPLOAD_UNKNOWN");

    // Streamed, as Docker does: no range is told, and the length only at the end.
    let location = bare.upload().await;
    let pieces = ["01234", "56789"].map(|piece| Ok::<_, std::io::Error>(piece.as_bytes().to_vec()));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    bare.ask("PATCH", &location, &[], body).await.is(202).has("range", "0-9");
    bare.ask("PUT", &format!("{location}?digest={digest}"), &[], "").await.is(201);

    // An upload that is not wanted any more is forgotten.
    let location = bare.upload().await;
    bare.ask("DELETE", &location, &[], "").await.is(204);
    bare.ask("DELETE", &location, &[], "").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
    bare.ask("PATCH", &location, &[], "x").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(std::fs::read_dir(bare.place.store.root().join("tmp")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_cut_off_is_gone_on_with() {
    use std::io::Write;
    let bare = Bare::new().await;
    let (location, address) = (bare.upload().await, bare.server.address());
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "PATCH {location} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 10\r\n\r\n01234").unwrap();
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    for _ in 0..500 {
        let told = bare.get(&location).await;
        if told.status == 204 && told.header("range") == "0-4" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bare.ask("PATCH", &location, &[("content-range", "5-9")], "56789").await.is(202).has("range", "0-9");
    let close = format!("{location}?digest={}", Digest::of(b"0123456789"));
    bare.ask("PUT", &close, &[], "").await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn mounting_a_blob_from_another_repository() {
    let bare = Bare::new().await;
    let digest = bare.blob("a", "one").await;
    for query in [format!("mount={digest}&from=a"), format!("mount={digest}")] {
        let mounted = bare.ask("POST", &format!("/v2/b/blobs/uploads/?{query}"), &[], "").await;
        mounted.is(201).has("docker-content-digest", &digest.to_string());
        assert_eq!(bare.get(mounted.header("location")).await.is(200).body, b"one");
    }
    // What cannot be mounted is to be uploaded.
    let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::of(b"two"));
    let location = bare.ask("POST", &path, &[], "").await.is(202).header("location").to_owned();
    let close = format!("{location}?digest={}", Digest::of(b"two"));
    bare.ask("PUT", &close, &[], "two").await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_manifests() {
    let bare = Bare::new().await;
    let (digest, put) = bare.manifest("a", Some("x"), json!({})).await;
    put.is(201).has("docker-content-digest", &digest.to_string()).lacks("oci-subject");
    assert_eq!(Digest::of(&bare.get(put.header("location")).await.is(200).body), digest);
    let (_, put) = bare.manifest("b", None, json!({})).await;
    put.is(201);
    let (_, wrong) = bare.manifest("a", Some(&Digest::of(b"").to_string()), json!({})).await;
    wrong.refuses(400, "DIGEST_INVALID");
    // A registry may refuse a manifest whose blobs or manifests it does not have; then so.
    let layer = json!({"mediaType": MediaType::OCI_LAYER_GZIP, "digest": Digest::of(b"none"), "size": 4});
    let (_, without) = bare.manifest("a", Some("y"), json!({"layers": [layer]})).await;
    without.refuses(404, "MANIFEST_BLOB_UNKNOWN");
    let put = async |version: &str, media_type: &str, body: String| {
        bare.ask("PUT", &format!("/v2/a/manifests/{version}"), &[("content-type", media_type)], body).await
    };
    let entry = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(b"none"), "size": 4});
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry]}).to_string();
    put("y", MediaType::OCI_INDEX, index).await.refuses(404, "MANIFEST_BLOB_UNKNOWN");
    // But not those that must not be in a registry (image spec, layer.md, "Non-Distributable Layers").
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let layer = json!({"mediaType": foreign, "digest": Digest::of(b"none"), "size": 4, "urls": ["https://h/l"]});
    bare.manifest("a", Some("y"), json!({"layers": [layer]})).await.1.is(201);
    // The media type is the one it was pushed with, without its parameters.
    let untyped = json!({"schemaVersion": 2, "manifests": []}).to_string();
    put("z", &format!("{}; charset=utf-8", MediaType::OCI_INDEX), untyped).await.is(201);
    bare.get("/v2/a/manifests/z").await.has("content-type", MediaType::OCI_INDEX);
    put("z", MediaType::OCI_MANIFEST, "not JSON".to_owned()).await.refuses(400, "MANIFEST_INVALID");
    // Four megabytes are to be taken, and what is more is answered with 413.
    let padded = |size: usize| {
        let empty = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [],
            "annotations": {"a": ""}});
        let missing = size - empty.to_string().len();
        empty.to_string().replace("\"a\":\"\"", &format!("\"a\":\"{}\"", "x".repeat(missing)))
    };
    put("z", MediaType::OCI_INDEX, padded(4 << 20)).await.is(201);
    put("z", MediaType::OCI_INDEX, padded((4 << 20) + 1)).await.refuses(413, "SIZE_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_manifests_with_subject_and_listing_referrers() {
    let bare = Bare::with(|options| options.may_delete = true).await;
    let subject = Digest::of(b"what comes later");
    let (none, answer) = bare.referrers(&subject, "").await;
    assert!(none.is_empty(), "an unknown subject has no referrers, and is no 404");
    answer.lacks("oci-filters-applied").lacks("link");
    bare.get("/v2/a/referrers/sha256:x").await.refuses(400, "DIGEST_INVALID");

    // The subject need not be there.
    let points = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 7});
    let sbom = json!({"artifactType": "test/sbom", "subject": points, "annotations": {"k": "v"}});
    let (sbom, put) = bare.manifest("a", None, sbom).await;
    put.is(201).has("oci-subject", &subject.to_string());
    let (signature, put) = bare.manifest("a", Some("signature"), json!({"subject": points})).await;
    put.is(201).has("oci-subject", &subject.to_string());
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [], "subject": points});
    let path = format!("/v2/a/manifests/{}", Digest::of(index.to_string().as_bytes()));
    let put = bare.ask("PUT", &path, &[("content-type", MediaType::OCI_INDEX)], index.to_string()).await;
    put.is(201).has("oci-subject", &subject.to_string());
    bare.manifest("b", None, json!({"subject": points, "artifactType": "test/other-repository"})).await.1.is(201);

    let (all, _) = bare.referrers(&subject, "").await;
    assert_eq!(all.len(), 3);
    let of = |digest: &Digest| all.iter().find(|descriptor| descriptor["digest"] == digest.to_string()).unwrap();
    assert_eq!(of(&sbom)["artifactType"], "test/sbom");
    assert_eq!(of(&sbom)["annotations"], json!({"k": "v"}));
    assert_eq!(of(&sbom)["mediaType"], MediaType::OCI_MANIFEST);
    let size = bare.get(&format!("/v2/a/manifests/{sbom}")).await.body.len();
    assert_eq!(of(&sbom)["size"], size);
    assert_eq!(of(&signature)["artifactType"], "application/vnd.oci.empty.v1+json", "the config's type");
    let index = of(&Digest::of(index.to_string().as_bytes()));
    assert!(index.get("artifactType").is_none(), "{index}");

    let (found, answer) = bare.referrers(&subject, "?artifactType=test%2Fsbom").await;
    answer.has("oci-filters-applied", "artifactType");
    assert_eq!(digests(&found), [sbom.to_string()]);
    let (found, answer) = bare.referrers(&subject, "?artifactType=test/none").await;
    answer.has("oci-filters-applied", "artifactType");
    assert!(found.is_empty());

    // What is deleted refers to nothing.
    bare.ask("DELETE", &format!("/v2/a/manifests/{sbom}"), &[], "").await.is(202);
    assert_eq!(bare.referrers(&subject, "").await.0.len(), 2);
    // A subject that is no descriptor is no manifest's.
    let wrong = json!({"subject": {"digest": "sha256:../../x"}});
    bare.manifest("a", Some("x"), wrong).await.1.refuses(400, "MANIFEST_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_more_referrers_than_one_manifest_holds() {
    let bare = Bare::new().await;
    let points = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(b"x"), "size": 1});
    let mut wanted = Vec::new();
    for letter in ["a", "b", "c"] {
        let long = json!({"subject": points, "artifactType": "test/a&b", "annotations": {"x": letter.repeat(2 << 20)}});
        let (digest, put) = bare.manifest("a", None, long).await;
        put.is(201);
        wanted.push(digest.to_string());
    }
    wanted.sort();
    let (mut found, mut next) = (Vec::new(), format!("/v2/a/referrers/{}?artifactType=test/a%26b", Digest::of(b"x")));
    for page in 0..3 {
        let answer = bare.get(&next).await;
        answer.is(200).has("oci-filters-applied", "artifactType");
        assert!(answer.body.len() <= 4 << 20);
        found.extend(digests(answer.json()["manifests"].as_array().unwrap()).into_iter().map(str::to_owned));
        if page == 2 {
            answer.lacks("link");
        } else {
            let (link, rel) = answer.header("link").split_once(';').unwrap();
            assert_eq!(rel.trim(), "rel=\"next\"");
            next = link.trim_matches(['<', '>']).to_owned();
        }
    }
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_tags() {
    let bare = Bare::new().await;
    bare.get("/v2/team/a/tags/list").await.refuses(404, "NAME_UNKNOWN");
    bare.manifest("team/a", None, json!({})).await.1.is(201);
    assert_eq!(bare.get("/v2/team/a/tags/list").await.is(200).json(), json!({"name": "team/a", "tags": []}));
    for tag in ["c", "a", "d", "b"] {
        bare.manifest("team/a", Some(tag), json!({})).await.1.is(201);
    }
    for (query, wanted, next) in [
        ("", json!(["a", "b", "c", "d"]), None),
        ("?n=9", json!(["a", "b", "c", "d"]), None),
        ("?n=4", json!(["a", "b", "c", "d"]), None),
        ("?n=3", json!(["a", "b", "c"]), Some("n=3&last=c")),
        ("?n=2&last=a", json!(["b", "c"]), Some("n=2&last=c")),
        ("?n=2&last=b", json!(["c", "d"]), None),
        // It need not be there.
        ("?last=bb", json!(["c", "d"]), None),
        ("?n=2&last=z", json!([]), None),
        ("?n=0", json!([]), None),
    ] {
        let answer = bare.get(&format!("/v2/team/a/tags/list{query}")).await;
        assert_eq!(answer.is(200).json(), json!({"name": "team/a", "tags": wanted}), "{query}");
        match next {
            Some(next) => answer.has("link", &format!("</v2/team/a/tags/list?{next}>; rel=\"next\"")),
            None => answer.lacks("link"),
        };
    }
    bare.get("/v2/team/a/tags/list?n=two").await.refuses(400, "PAGINATION_NUMBER_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_management() {
    let bare = Bare::with(|options| options.may_delete = true).await;
    let delete = async |path: String| bare.ask("DELETE", &path, &[], "").await;
    let (digest, _) = bare.manifest("a", Some("x"), json!({})).await;
    for tag in ["y", "z"] {
        bare.manifest("a", Some(tag), json!({})).await.1.is(201);
    }
    let (other, _) = bare.manifest("a", Some("other"), json!({"annotations": {"k": "v"}})).await;
    let config = Digest::of(b"{}");

    // Deleting tags: the manifest and its other tags stay.
    delete("/v2/a/manifests/x".into()).await.is(202);
    bare.get("/v2/a/manifests/x").await.refuses(404, "MANIFEST_UNKNOWN");
    delete("/v2/a/manifests/x".into()).await.refuses(404, "MANIFEST_UNKNOWN");
    bare.get(&format!("/v2/a/manifests/{digest}")).await.is(200);
    bare.get("/v2/a/manifests/y").await.is(200);

    // Deleting manifests: the tags that stand for it go with it, and no others.
    delete(format!("/v2/a/manifests/{digest}")).await.is(202);
    for version in [digest.to_string(), "y".into(), "z".into()] {
        bare.get(&format!("/v2/a/manifests/{version}")).await.refuses(404, "MANIFEST_UNKNOWN");
    }
    bare.get("/v2/a/manifests/other").await.is(200);
    delete(format!("/v2/none/manifests/{digest}")).await.refuses(404, "MANIFEST_UNKNOWN");

    // Deleting blobs: none that a manifest of any repository needs.
    let path = format!("/v2/b/blobs/{config}");
    delete(path.clone()).await.refuses(405, "DENIED");
    delete(format!("/v2/a/manifests/{other}")).await.is(202);
    delete(path.clone()).await.is(202);
    bare.get(&path).await.refuses(404, "BLOB_UNKNOWN");
    delete(path).await.refuses(404, "BLOB_UNKNOWN");
    assert_eq!(bare.get("/v2/a/tags/list").await.json()["tags"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_management_is_off_unless_it_is_allowed() {
    let bare = Bare::new().await;
    let (digest, _) = bare.manifest("a", Some("x"), json!({})).await;
    for path in ["manifests/x".into(), format!("manifests/{digest}"), format!("blobs/{}", Digest::of(b"{}"))] {
        let path = format!("/v2/a/{path}");
        bare.ask("DELETE", &path, &[], "").await.refuses(405, "UNSUPPORTED");
        bare.get(&path).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_asked_for_before_anything_is_told() {
    let login = Login::new("user", &Secret::new("secret")).unwrap();
    let bare = Bare::with(|options| options.login = Some(login)).await;
    let paths = ["/v2/", "/v2/a/tags/list", "/v2/a/manifests/x", "/v3/"];
    // `user:secret` and `user:wrong`.
    for authorization in [None, Some("Basic dXNlcjp3cm9uZw=="), Some("Bearer dXNlcjpzZWNyZXQ=")] {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        for path in paths {
            let answer = bare.ask("GET", path, &headers, "").await;
            answer.refuses(401, "UNAUTHORIZED").has("www-authenticate", "Basic realm=\"locus-push\"");
        }
        let post = bare.ask("POST", "/v2/a/blobs/uploads/", &headers, "").await;
        post.refuses(StatusCode::UNAUTHORIZED.as_u16(), "UNAUTHORIZED");
    }
    let known = [("authorization", "Basic dXNlcjpzZWNyZXQ=")];
    bare.ask("GET", "/v2/", &known, "").await.is(200);
    bare.ask("POST", "/v2/a/blobs/uploads/", &known, "").await.is(202);
    // With a login the name that it is asked by is of no account: a proxy may stand before it.
    bare.ask("GET", "/v2/", &[known[0], ("host", "registry.test")], "").await.is(200);
}
