//! Pushes to ECR's rules, as `tests/stack/ecr_front.py` knows them, with our own registry behind it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use locus_push::image::Image;
use locus_push::registry::{Credential, CredentialSource, Credentials, PushError, Pushed, Pusher, Registry, Server};
use locus_push::secret::Secret;

use crate::place::{Place, endpoints, reference};
use crate::scripted::{Scripted, says};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// Base64 of `AWS:token`.
const TOKEN: &str = "QVdTOnRva2Vu";

struct Ecr {
    front: Child,
    address: SocketAddr,
    there: Place,
    _registry: Server,
    _aws: Scripted,
}

impl Ecr {
    /// A registry with the repository `loaders`, whose tags are this mutable.
    async fn start(mutability: &'static str, flags: &[&str]) -> Self {
        let aws =
            Scripted::start(move |asked| match asked.headers["x-amz-target"].rsplit('.').next() {
                Some("GetAuthorizationToken") => says(200)
                    .body(serde_json::json!({"authorizationData": [{"authorizationToken": TOKEN}]}).to_string()),
                _ if String::from_utf8_lossy(&asked.body).contains("\"loaders\"") => says(200)
                    .body(serde_json::json!({"repositories": [{"imageTagMutability": mutability}]}).to_string()),
                _ => says(400),
            })
            .await;
        let there = Place::new();
        let registry = there.serve().await;
        for _ in 0..5 {
            // Free at this moment; should another process be quicker, the next one is tried.
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack/ecr_front.py");
            let mut command = Command::new("python3");
            command.arg(script).args(["--listen", &address.to_string(), "--aws", &aws.url("")]);
            command.args(["--registry", &format!("http://{}", registry.address())]).args(flags);
            let mut front = command.stderr(Stdio::null()).spawn().expect("tests/setup installs python3");
            while front.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { front, address, there, _registry: registry, _aws: aws };
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("ecr_front.py did not start five times");
    }

    fn client(&self, here: &Place) -> Registry {
        let source: CredentialSource =
            std::sync::Arc::new(|| Box::pin(async { Ok(Credential::EncodedBasic(Secret::new(TOKEN))) }));
        let mut options = here.options();
        options.endpoints = endpoints(&format!("{HOST}=http://{}", self.address));
        options.credentials = Credentials::none().with_source(HOST, source);
        Registry::new(options).unwrap()
    }

    async fn push(&self, here: &Place, image: &Image) -> Result<Pushed, PushError> {
        let client = self.client(here);
        client.may_push(&reference(HOST, "loaders")).await?;
        Pusher::new(&client, reference(HOST, "loaders")).finish(image, &[], &["a".into(), "b".into()]).await
    }
}

impl Drop for Ecr {
    fn drop(&mut self) {
        // It is gone already, or it goes now.
        let _ = self.front.kill();
        let _ = self.front.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ecr_takes_what_we_push_however_it_quirks() {
    let quirks: [&[&str]; 4] = [&["--patch-quirk"], &["--throttle", "3"], &["--cut", "1"], &["--cut", "3"]];
    for flags in quirks {
        let (ecr, here) = (Ecr::start("MUTABLE", flags).await, Place::new());
        let image = here.image(&["one", "two", "three"]);
        let pushed = ecr.push(&here, &image).await.unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        assert_eq!((pushed.reference.digest(), pushed.uploaded), (Some(&image.digest()), 4), "{flags:?}");
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            assert!(ecr.there.store.read_blob(&blob.digest, blob.size).is_ok(), "{flags:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ecr_with_immutable_tags_takes_an_image_once_and_again() {
    let (ecr, here) = (Ecr::start("IMMUTABLE", &[]).await, Place::new());
    let image = here.image(&["one"]);
    assert!(!ecr.push(&here, &image).await.unwrap().already_there);
    assert!(ecr.push(&here, &image).await.unwrap().already_there);
    let other = here.image(&["two"]);
    let error = ecr.push(&here, &other).await.unwrap_err().to_string();
    assert!(error.contains(&image.digest().to_string()) && error.contains(&other.digest().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ecr_that_takes_no_token_of_ours_or_has_no_repository_is_told_of() {
    let (ecr, here) = (Ecr::start("MUTABLE", &["--expire"]).await, Place::new());
    let error = ecr.push(&here, &here.image(&["one"])).await.unwrap_err().to_string();
    assert!(error.starts_with("not allowed to push") && error.contains("has expired"), "{error}");
    let ecr = Ecr::start("MUTABLE", &[]).await;
    let error = ecr.client(&here).may_push(&reference(HOST, "other")).await.unwrap_err();
    assert!(matches!(error, PushError::NoRepository { .. }), "{error}");
}
