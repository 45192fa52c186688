//! A client with a store of its own, and small images to send about.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locus_push::build::{
    self, BuildError, Built, Context, Epochs, Folder, Imports, NoCache, Pinning, Plan, RunOptions, Sink, Workshop,
};
use locus_push::dockerfile;
use locus_push::event::{Event, Events};
use locus_push::graph;
use locus_push::image::{Compression, Descriptor, Digest, Image, ImageConfig, MediaType, Platform, Reference};
use locus_push::registry::{
    Credential, CredentialSource, Credentials, Endpoints, Options, Registry, Retries, Server, ServerOptions,
};
use locus_push::sandbox::Stopper;
use locus_push::secret::Secret;
use locus_push::store::Store;

pub struct Place {
    pub home: tempfile::TempDir,
    pub store: Store,
    pub events: Arc<Mutex<Vec<Event>>>,
}

impl Place {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        Self { home, store, events: Arc::default() }
    }

    /// What a client in this place is made of: no credentials, and no patience.
    pub fn options(&self) -> Options {
        let heard = self.events.clone();
        let events = Events::new(move |event| heard.lock().unwrap().push(event));
        let mut options = Options::new(self.store.clone(), events);
        options.credentials = Credentials::none();
        options.retries = Retries {
            attempts: 4,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
            patience: Duration::from_secs(5),
            silence: Duration::from_secs(5),
        };
        options
    }

    pub fn client(&self) -> Registry {
        Registry::new(self.options()).unwrap()
    }

    /// A client that reaches `host` at `address`.
    pub fn client_of(&self, host: &str, address: SocketAddr) -> Registry {
        let mut options = self.options();
        options.endpoints = endpoints(&format!("{host}=http://{address}"));
        Registry::new(options).unwrap()
    }

    pub async fn serve(&self) -> Server {
        self.serve_as(|_| ()).await
    }

    /// The same with options set.
    pub async fn serve_as(&self, set: impl FnOnce(&mut ServerOptions)) -> Server {
        let mut options = ServerOptions::at("127.0.0.1:0".parse().unwrap());
        set(&mut options);
        Server::start(self.store.clone(), &self.home.path().join("registry"), options).await.unwrap()
    }

    /// A layer in the store: a gzipped tar of one file.
    pub fn layer(&self, text: &str) -> (Descriptor, Digest) {
        self.layer_of("file", text, MediaType::OCI_LAYER_GZIP)
    }

    /// The same, under another name and compressed as the media type says.
    pub fn layer_of(&self, name: &str, text: &str, media_type: &str) -> (Descriptor, Digest) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let blob = match MediaType::new(media_type).layer_compression() {
            Some(Compression::Gzip) => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&tar).unwrap();
                gzip.finish().unwrap()
            }
            // One frame of one raw block (RFC 8878, sections 3.1.1.1 and 3.1.1.2), without a checksum.
            Some(Compression::Zstd) => {
                let size = tar.len() as u32;
                let block = (size << 3 | 1).to_le_bytes();
                [&[0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000], &size.to_le_bytes()[..], &block[..3], &tar].concat()
            }
            Some(Compression::None) => tar.clone(),
            None => panic!("{media_type} is no layer"),
        };
        let digest = self.store.keep_blob(&blob).unwrap();
        (Descriptor::new(MediaType::new(media_type), digest, blob.len() as u64), Digest::of(&tar))
    }

    /// An image of such layers.
    pub fn image(&self, texts: &[&str]) -> Image {
        self.image_for(&Platform::linux_amd64(), texts)
    }

    pub fn image_for(&self, platform: &Platform, texts: &[&str]) -> Image {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        };
        let (layers, diff_ids) = texts.iter().map(|text| self.layer(text)).unzip();
        config.rootfs.diff_ids = diff_ids;
        Image::new(config, layers, BTreeMap::new())
    }

    /// Builds a Dockerfile with what a client fetches.
    pub async fn build(
        &self,
        client: &Registry,
        context: &Path,
        text: &str,
        sink: &impl Sink,
    ) -> Result<Built, BuildError> {
        let options = graph::Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::linux_amd64(),
            build_args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            contexts: graph::Contexts::default(),
        };
        let graph = graph::plan(&dockerfile::parse(text).unwrap(), &options).unwrap();
        let context =
            Context::Folder(Folder { directory: context.to_owned(), dockerfile: None, preserve_modes: false });
        let run = RunOptions::default();
        let annotations = BTreeMap::new();
        let (epochs, no_cache, pinning) = (Epochs::default(), NoCache::None, Pinning::default());
        let plan = Plan {
            graph,
            context,
            epochs,
            no_cache,
            shown: String::new(),
            explain: false,
            run,
            pinning,
            annotations,
            imports: Imports::default(),
            inline: false,
            all_travel: false,
        };
        let workshop = Workshop::new(self.store.clone(), client.clone(), Events::silent(), Stopper::new());
        build::build(&plan, Arc::new(workshop), sink).await
    }

    pub fn heard(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

pub fn reference(registry: impl std::fmt::Display, rest: &str) -> Reference {
    format!("{registry}/{rest}").parse().unwrap()
}

pub fn endpoints(text: &str) -> Endpoints {
    let mut endpoints = Endpoints::default();
    endpoints.add_list(text).unwrap();
    endpoints
}

/// `user:PASSWORD` for one registry; counts how often it is asked for.
pub fn credential(registry: &str, passwords: &'static [&'static str]) -> (Credentials, Arc<Mutex<usize>>) {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let source: CredentialSource = Arc::new(move || {
        let mut count = count.lock().unwrap();
        let password = passwords[(*count).min(passwords.len() - 1)];
        *count += 1;
        Box::pin(async move { Ok(Credential::Basic { username: "user".into(), password: Secret::new(password) }) })
    });
    (Credentials::none().with_source(registry, source), asked)
}

/// The words and the hint, as a user meets them.
pub fn words(error: impl std::fmt::Display, hint: Option<String>) -> String {
    format!("{error}\nhint: {}", hint.unwrap_or_default())
}
