//! Images in: the manifest for a platform, its config, and blobs into the store, each verified by its digest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::{Method, StatusCode};

use super::client::Registry;
use super::endpoint::Endpoint;
use super::error::{ExchangeError, PullError};
use super::exchange::{Answer, Question};
use crate::build::{BaseImage, Download, FetchError, Source};
use crate::event::{BlobOutcome, Direction, Event};
use crate::image::{Descriptor, Digest, Document, Image, ImageConfig, Index, Manifest, MediaType, Platform, Reference};
use crate::store::StoreError;

/// The largest manifest and the largest config that are read, in bytes.
pub(super) const DOCUMENT_LIMIT: usize = 4 << 20;

/// After how many bytes the next [`Event::Transfer`] is due.
const TELL_EVERY: u64 = 1 << 20;

/// One lock for each blob that is being fetched, so that stages on one base fetch it once.
pub(super) type Fetching = Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>;

/// A manifest as it came, and where from.
struct Found {
    digest: Digest,
    document: Document,
}

impl Source for Registry {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, FetchError> {
        Ok(self.pull_image(reference, platform).await?)
    }

    async fn fetch(&self, from: &Reference, blob: &Descriptor) -> Result<(), FetchError> {
        Ok(self.pull_blob(from, blob).await?)
    }

    async fn download(&self, url: &str) -> Result<Download, FetchError> {
        self.fetch_url(url).await
    }
}

impl Registry {
    /// The digest that a reference stands for at this moment; `None` where the registry has no such manifest.
    pub async fn resolve(&self, reference: &Reference) -> Result<Option<Digest>, PullError> {
        let endpoint = self.endpoint(reference);
        let scope = pull_scope(reference);
        let failed = |source| PullError::Exchange { reference: reference.clone(), source };
        let answer = self.ask(&manifest_question(&endpoint, reference, &scope, Method::HEAD)).await.map_err(failed)?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(failed(answer.refusal())),
        }
        if let Some(digest) = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok()) {
            return Ok(Some(digest));
        }
        // The header is no duty of a registry's: the bytes say it too.
        self.manifest(reference).await.map(|(digest, ..)| Some(digest))
    }

    /// The image for a platform: its manifest and config, no layers.
    pub async fn pull_image(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PullError> {
        let found = self.document(reference).await?;
        let (digest, manifest) = match found.document {
            Document::Manifest(manifest) => (found.digest, manifest),
            Document::Index(index) => self.of_index(reference, &index, platform).await?,
        };
        let image = self.image_of(reference, manifest).await?;
        let offered = image.config.platform();
        // An image may leave its platform out; then there is nothing to compare.
        if !(offered.os.is_empty() || offered.serves(platform)) {
            let (reference, wanted) = (reference.clone(), platform.clone());
            return Err(PullError::NoSuchPlatform { reference, wanted, offered: vec![offered] });
        }
        Ok(BaseImage { reference: reference.clone(), digest, image })
    }

    async fn of_index(
        &self,
        reference: &Reference,
        index: &Index,
        platform: &Platform,
    ) -> Result<(Digest, Manifest), PullError> {
        let entry = index.select(platform).ok_or_else(|| PullError::NoSuchPlatform {
            reference: reference.clone(),
            wanted: platform.clone(),
            offered: index.platforms(),
        })?;
        let found = self.document(&reference.at(entry.descriptor.digest)).await?;
        match found.document {
            Document::Manifest(manifest) => Ok((found.digest, manifest)),
            Document::Index(_) => Err(PullError::Nested { reference: reference.clone() }),
        }
    }

    async fn image_of(&self, reference: &Reference, manifest: Manifest) -> Result<Image, PullError> {
        let blob = &manifest.config;
        if blob.size > DOCUMENT_LIMIT as u64 {
            let source = crate::image::ConfigError::TooLarge(usize::try_from(blob.size).unwrap_or(usize::MAX));
            return Err(PullError::Config { reference: reference.clone(), source });
        }
        self.pull_blob(reference, blob).await?;
        let config_json = self.0.options.store.read_blob(&blob.digest, blob.size)?;
        let config = ImageConfig::from_json(&config_json)
            .map_err(|source| PullError::Config { reference: reference.clone(), source })?;
        let (diff_ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if diff_ids != layers {
            return Err(PullError::LayerCount { reference: reference.clone(), diff_ids, layers });
        }
        Ok(Image { manifest, config, config_json })
    }

    /// A manifest or index. One that was pinned by digest and is in the store needs no registry.
    async fn document(&self, reference: &Reference) -> Result<Found, PullError> {
        let store = &self.0.options.store;
        let wrong = |source| PullError::Manifest { reference: reference.clone(), source };
        if let Some(digest) = reference.digest()
            && let Ok(bytes) = store.read_blob(digest, DOCUMENT_LIMIT as u64)
        {
            return Ok(Found { digest: *digest, document: Document::parse(&bytes, None).map_err(wrong)? });
        }
        let (digest, bytes, header) = self.manifest(reference).await?;
        let document = Document::parse(&bytes, header.as_deref()).map_err(wrong)?;
        store.keep_blob(&bytes)?;
        Ok(Found { digest, document })
    }

    /// Digest, bytes and media type of what the registry has under this reference.
    async fn manifest(&self, reference: &Reference) -> Result<(Digest, Vec<u8>, Option<String>), PullError> {
        let endpoint = self.endpoint(reference);
        let scope = pull_scope(reference);
        let failed = |source| PullError::Exchange { reference: reference.clone(), source };
        let question = manifest_question(&endpoint, reference, &scope, Method::GET);
        let asked = question.url.clone();
        let answer = self.ask(&question).await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(match is_no_image(&endpoint, &answer) {
                true => PullError::NoImage { reference: reference.clone(), asked: asked.into(), said: answer.said },
                false => failed(answer.refusal()),
            });
        }
        let header = answer.header("content-type").map(str::to_owned);
        let promised = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let bytes = answer.document(DOCUMENT_LIMIT).await.map_err(failed)?;
        let got = Digest::of(&bytes);
        match reference.digest().copied().or(promised) {
            Some(asked) if asked != got => {
                Err(PullError::DigestMismatch { asked_of: endpoint.to_string(), asked, got })
            }
            _ => Ok((got, bytes, header)),
        }
    }

    /// Sees to it that a blob is in the store, verified.
    pub async fn pull_blob(&self, from: &Reference, blob: &Descriptor) -> Result<(), PullError> {
        let lock = {
            let mut fetching = self.0.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.entry(blob.digest).or_default().clone()
        };
        let _only_one = lock.lock().await;
        let done = |outcome| {
            let (digest, bytes) = (blob.digest, blob.size);
            self.0.options.events.emit(Event::Blob { direction: Direction::Pull, digest, bytes, outcome });
        };
        match self.0.options.store.blob_size(&blob.digest) {
            Some(got) if got == blob.size => {
                done(BlobOutcome::AlreadyThere);
                return Ok(());
            }
            // The digest is right, so the manifest is wrong; or the file was cut, and is had anew.
            Some(_) => self.0.options.store.forget_blob(&blob.digest),
            None => {}
        }
        let mut attempt = 1;
        loop {
            match self.pull_blob_once(from, blob).await {
                Ok(()) => break,
                Err(error) if is_cut(&error) => match self.0.options.retries.pause(attempt) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
        done(BlobOutcome::Fetched);
        Ok(())
    }

    async fn pull_blob_once(&self, from: &Reference, blob: &Descriptor) -> Result<(), PullError> {
        let endpoint = self.endpoint(from);
        let scope = pull_scope(from);
        let failed = |source| PullError::Exchange { reference: from.clone(), source };
        let path = format!("{}/blobs/{}", from.repository(), blob.digest);
        let question = Question::new(&endpoint, Method::GET, &path, &scope);
        let asked = question.url.to_string();
        let mut answer = self.ask(&question).await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(PullError::NoBlob { reference: from.clone(), digest: blob.digest, asked });
            }
            _ => return Err(failed(answer.refusal())),
        }
        let wrong_size =
            |got| PullError::Size { asked_of: endpoint.to_string(), digest: blob.digest, promised: blob.size, got };
        let mut writer = self.0.options.store.blob_writer()?;
        let mut told = 0;
        while let Some(piece) = answer.piece().await.map_err(failed)? {
            if writer.bytes() + piece.len() as u64 > blob.size {
                return Err(wrong_size(writer.bytes() + piece.len() as u64));
            }
            writer.write_all(&piece).map_err(|error| self.unwritten(&blob.digest, error))?;
            if writer.bytes() - told >= TELL_EVERY || writer.bytes() == blob.size {
                told = writer.bytes();
                let (digest, done, total) = (blob.digest, told, blob.size);
                self.0.options.events.emit(Event::Transfer { direction: Direction::Pull, digest, done, total });
            }
        }
        if writer.bytes() != blob.size {
            return Err(wrong_size(writer.bytes()));
        }
        let wanted = blob.digest;
        // Committing waits for the disk.
        let kept = tokio::task::spawn_blocking(move || writer.commit(Some(&wanted))).await;
        match kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(_) => Ok(()),
            Err(StoreError::Mismatch { wanted, got }) => {
                Err(PullError::DigestMismatch { asked_of: endpoint.to_string(), asked: wanted, got })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn unwritten(&self, digest: &Digest, source: io::Error) -> StoreError {
        let path = self.0.options.store.blob_path(digest);
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
            _ => StoreError::Io { doing: "write", path, source },
        }
    }

    pub(super) fn endpoint(&self, reference: &Reference) -> Endpoint {
        self.0.options.endpoints.of(reference.registry())
    }
}

pub(super) fn pull_scope(reference: &Reference) -> String {
    format!("repository:{}:pull", reference.repository())
}

pub(super) fn manifest_question<'a>(
    endpoint: &'a Endpoint,
    reference: &Reference,
    scope: &'a str,
    method: Method,
) -> Question<'a> {
    let path = format!("{}/manifests/{}", reference.repository(), reference.version());
    Question::new(endpoint, method, &path, scope).accept(MediaType::MANIFESTS)
}

/// Docker Hub says 401 of a repository that does not exist, as of one that we may not see.
fn is_no_image(endpoint: &Endpoint, answer: &Answer) -> bool {
    match answer.status() {
        StatusCode::NOT_FOUND => true,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => endpoint.registry() == "docker.io",
        _ => false,
    }
}

/// A transfer that ended early may end well the next time; wrong bytes come again.
fn is_cut(error: &PullError) -> bool {
    match error {
        PullError::Exchange { source, .. } => {
            matches!(source, ExchangeError::Broken { .. } | ExchangeError::Stalled { .. })
        }
        PullError::Size { promised, got, .. } => got < promised,
        _ => false,
    }
}

impl From<PullError> for FetchError {
    fn from(error: PullError) -> Self {
        Self { hint: error.hint(), source: Box::new(error) }
    }
}
