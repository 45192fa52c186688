//! Images in: the manifest for a platform, its config, and blobs into the store, each verified by its digest.

use std::io::{self, Write};

use reqwest::{Method, StatusCode};

use super::arrival::Arrival;
use super::client::Registry;
use super::endpoint::Endpoint;
use super::error::PullError;
use super::exchange::{Answer, Question};
use crate::build::{BaseImage, Download, FetchError, Source, Tap};
use crate::event::{BlobOutcome, Direction, Event};
use crate::image::{Descriptor, Digest, Document, Image, ImageConfig, Manifest, MediaType, Platform, Reference};
use crate::store::StoreError;

/// The largest manifest and the largest config that are read, in bytes.
pub(super) const DOCUMENT_LIMIT: usize = 4 << 20;

/// How often bytes of a wrong digest are asked for.
pub(super) const LOOKS: u32 = 3;

/// How deep indexes may point at indexes.
const DEPTH: u32 = 4;

/// A manifest as it came, and where from.
struct Found {
    digest: Digest,
    document: Document,
}

impl Source for Registry {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, FetchError> {
        Ok(self.pull_image(reference, platform).await?)
    }

    async fn fetch(&self, from: &Reference, blob: &Descriptor, tap: Option<Tap>) -> Result<(), FetchError> {
        Ok(self.bring_in(from, blob, tap).await?)
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
        let failed = |source| PullError::Exchange { reference: reference.clone().into(), source };
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

    /// Whether a repository says that it has no such blob. One that cannot be asked may have it: whoever fetches the blob
    /// is told what is wrong.
    pub async fn lacks(&self, from: &Reference, blob: &Digest) -> bool {
        let (endpoint, scope) = (self.endpoint(from), pull_scope(from));
        let path = format!("{}/blobs/{blob}", from.repository());
        let answer = self.ask(&Question::new(&endpoint, Method::HEAD, &path, &scope)).await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::NOT_FOUND)
    }

    /// The image for a platform: its manifest and config, no layers.
    pub async fn pull_image(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PullError> {
        let (digest, manifest) = self.manifest_for(reference, platform).await?;
        let image = self.image_of(reference, manifest).await?;
        let offered = image.config.platform();
        // An image may leave its platform out; then there is nothing to compare.
        if !(offered.os.is_empty() || offered.serves(platform)) {
            let (reference, wanted) = (reference.clone().into(), platform.clone());
            return Err(PullError::NoSuchPlatform { reference, wanted, offered: vec![offered] });
        }
        Ok(BaseImage { reference: reference.clone(), digest, image })
    }

    /// The platform's manifest, through as many indexes as may lie above it.
    async fn manifest_for(&self, reference: &Reference, platform: &Platform) -> Result<(Digest, Manifest), PullError> {
        let mut found = self.document(reference).await?;
        for _ in 0..DEPTH {
            let index = match found.document {
                Document::Manifest(manifest) => return Ok((found.digest, manifest)),
                Document::Index(index) => index,
            };
            let entry = index.select(platform).ok_or_else(|| PullError::NoSuchPlatform {
                reference: reference.clone().into(),
                wanted: platform.clone(),
                offered: index.platforms(),
            })?;
            found = self.document(&reference.at(entry.descriptor.digest)).await?;
        }
        Err(PullError::Nested { reference: reference.clone().into() })
    }

    async fn image_of(&self, reference: &Reference, manifest: Manifest) -> Result<Image, PullError> {
        let blob = &manifest.config;
        if blob.size > DOCUMENT_LIMIT as u64 {
            let source = crate::image::ConfigError::TooLarge(usize::try_from(blob.size).unwrap_or(usize::MAX));
            return Err(PullError::Config { reference: reference.clone().into(), source });
        }
        self.pull_blob(reference, blob).await?;
        let config_json = self.0.options.store.read_blob(&blob.digest, blob.size)?;
        let config = ImageConfig::from_json(&config_json)
            .map_err(|source| PullError::Config { reference: reference.clone().into(), source })?;
        if let Some(layer) = manifest.layers.iter().find(|layer| layer.media_type.layer_compression().is_none()) {
            let (digest, media_type) = (layer.digest, layer.media_type.clone());
            return Err(PullError::LayerType { reference: reference.clone().into(), digest, media_type });
        }
        let (diff_ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if diff_ids != layers {
            return Err(PullError::LayerCount { reference: reference.clone().into(), diff_ids, layers });
        }
        Ok(Image { manifest, config, config_json })
    }

    /// A manifest or index. One that was pinned by digest and is in the store needs no registry.
    async fn document(&self, reference: &Reference) -> Result<Found, PullError> {
        let store = &self.0.options.store;
        let wrong = |source| PullError::Manifest { reference: reference.clone().into(), source };
        if let Some(digest) = reference.digest()
            && let Ok(bytes) = store.read_blob(digest, DOCUMENT_LIMIT as u64)
        {
            return Ok(Found { digest: *digest, document: Document::parse(&bytes, None).map_err(wrong)? });
        }
        let shared = &self.0.options.shared;
        let (digest, bytes, header) = shared.manifest(reference, || self.manifest(reference)).await?;
        let document = Document::parse(&bytes, header.as_deref()).map_err(wrong)?;
        store.keep_blob(&bytes)?;
        Ok(Found { digest, document })
    }

    /// Digest, bytes and media type of what the registry has under this reference.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Digest, Vec<u8>, Option<String>), PullError> {
        let endpoint = self.endpoint(reference);
        let scope = pull_scope(reference);
        let failed = |source| PullError::Exchange { reference: reference.clone().into(), source };
        let question = manifest_question(&endpoint, reference, &scope, Method::GET).whole(DOCUMENT_LIMIT);
        let mut attempt = 1;
        loop {
            let answer = self.ask(&question).await.map_err(failed)?;
            if !answer.status().is_success() {
                let asked = question.url.to_string();
                return Err(match is_no_image(&endpoint, &answer) {
                    true => PullError::NoImage { reference: reference.clone().into(), asked, said: answer.said },
                    false => failed(answer.refusal()),
                });
            }
            let header = answer.header("content-type").map(str::to_owned);
            let promised = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
            let got = Digest::of(&answer.body);
            match reference.digest().copied().or(promised) {
                Some(asked) if asked != got && attempt < LOOKS => attempt += 1,
                Some(asked) if asked != got => {
                    return Err(PullError::DigestMismatch { asked_of: endpoint.to_string(), asked, got });
                }
                _ => return Ok((got, answer.body, header)),
            }
        }
    }

    /// Sees to it that a blob is in the store, verified.
    pub async fn pull_blob(&self, from: &Reference, blob: &Descriptor) -> Result<(), PullError> {
        self.bring_in(from, blob, None).await
    }

    async fn bring_in(&self, from: &Reference, blob: &Descriptor, mut tap: Option<Tap>) -> Result<(), PullError> {
        let _alone = self.alone_with(&blob.digest).await;
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
            // What began with wrong bytes is not begun again at the tap.
            match self.take_in(from, blob, tap.take()).await {
                // A bit that turned on the way; one that turns each time is somebody's doing.
                Err(PullError::DigestMismatch { .. }) if attempt < LOOKS => attempt += 1,
                result => break result?,
            }
        }
        done(BlobOutcome::Fetched);
        Ok(())
    }

    /// Waits until nobody else is fetching this blob.
    pub(super) async fn alone_with(&self, digest: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        self.0.options.shared.alone_with(digest).await
    }

    /// Brings a blob into the store, once.
    async fn take_in(&self, from: &Reference, blob: &Descriptor, tap: Option<Tap>) -> Result<(), PullError> {
        let mut arrival = Arrival::new(self, from, blob).telling();
        let mut writer = self.0.options.store.blob_writer()?;
        while let Some(piece) = arrival.piece().await? {
            writer.write_all(&piece).map_err(|error| self.unwritten(&blob.digest, error))?;
            if let Some(tap) = &tap {
                // Whoever has read enough of it does not keep the rest from coming.
                let _ = tap.send(piece).await;
            }
        }
        drop(tap);
        let wanted = blob.digest;
        // Committing waits for the disk.
        let kept = tokio::task::spawn_blocking(move || writer.commit(Some(&wanted))).await;
        match kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(_) => Ok(()),
            Err(StoreError::Mismatch { wanted: _, got }) => Err(arrival.mismatch(got)),
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

impl From<PullError> for FetchError {
    fn from(error: PullError) -> Self {
        Self { hint: error.hint(), source: Box::new(error) }
    }
}
