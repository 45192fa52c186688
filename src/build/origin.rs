//! Images, named contexts and files of the network, made into what COPY and FROM can stand on.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::dockerfile::credentials::hidden;
use crate::event::Event;
use crate::graph::{Copy, Origin, Source as From};
use crate::image::{Digest, ImageConfig, Layout, Platform, Reference, Which};
use crate::layer::{ArchiveKind, Content, Decompressed, Entry, HostFile, Kind, LayerPath, Limits, index};

use super::context::{Folder, Listing};
use super::files::Found;
use super::pick::Arrived;
use super::snapshot::{Layer, Snapshot};
use super::workshop::{Workshop, blocking, inside};
use super::{BuildError, Download, GitAccess, Problem, Source};

/// The name of the file of a context that is a URL, as BuildKit has it.
const CONTEXT_FILE: &[u8] = b"context";

/// ADD's mode of a file from the network.
const DOWNLOAD_MODE: u32 = 0o600;

impl<S: Source> Workshop<S> {
    /// Fetches what ADD names by URL. A file whose digest is known is fetched once.
    pub(super) async fn arrive(&self, copy: &Copy, access: &GitAccess) -> Result<Arrived, BuildError> {
        let mut arrived = Arrived::default();
        for source in &copy.sources {
            match source {
                From::Url { url, name: _, checksum } => {
                    arrived.files.insert(url.clone(), self.download(url, checksum.as_ref()).await?);
                }
                From::Git(git) => {
                    let checkout = self.checkout(git, access).await?;
                    let listing = blocking(move || Listing::of_archive(&checkout.index)).await?;
                    arrived.repositories.insert(git.clone(), listing);
                }
                From::Path { .. } | From::Parents { .. } | From::Inline { .. } => {}
            }
        }
        Ok(arrived)
    }

    async fn download(&self, url: &str, checksum: Option<&Digest>) -> Result<Found, BuildError> {
        let pinned = match checksum {
            Some(_) => None,
            None => self.pinned_url(url)?,
        };
        let known = checksum.or(pinned.as_ref()).and_then(|digest| Some((*digest, self.store.blob_size(digest)?)));
        let (digest, size) = match (known, checksum) {
            (Some(known), _) => known,
            (None, Some(_)) => self.at_url(url).await.map(|download| (download.digest, download.size))?,
            (None, None) => self.fetch_url(url).await.map(|download| (download.digest, download.size))?,
        };
        if let Some(wanted) = checksum.filter(|wanted| **wanted != digest) {
            let url = hidden(url).into_owned();
            return Err(Problem::Checksum { url, wanted: *wanted, got: digest }.into());
        }
        self.blob_file(digest, size)
    }

    /// A blob of the store, as a file.
    fn blob_file(&self, digest: Digest, size: u64) -> Result<Found, BuildError> {
        let path = self.store.blob_path(&digest);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let root = File::open(folder).map_err(|e| inside("opening the store", e))?;
        let file = HostFile {
            root: Arc::new(OwnedFd::from(root)),
            path: LayerPath::parse(digest.hex().as_bytes())?,
            seen: None,
        };
        let kind = Kind::File { size, content: Content::Host(file) };
        Ok(Found::alone(Entry::new(kind, DOWNLOAD_MODE)))
    }

    /// A context of one file: what a URL gave.
    pub(super) fn of_download(&self, digest: Digest, size: u64) -> Result<Listing, BuildError> {
        Listing::of_file(CONTEXT_FILE, self.blob_file(digest, size)?)
    }

    /// The file at a URL, fetched anew, which must be the one that it is pinned to.
    pub(super) async fn fetch_url(&self, url: &str) -> Result<Download, BuildError> {
        let pinned = self.pinned_url(url)?;
        let download = self.at_url(url).await?;
        if let Some(wanted) = pinned.filter(|pinned| *pinned != download.digest) {
            return Err(Problem::Moved { url: hidden(url).into_owned(), wanted, got: download.digest }.into());
        }
        self.url_found(url, download.digest);
        Ok(download)
    }

    async fn at_url(&self, url: &str) -> Result<Download, BuildError> {
        let failed = |source| Problem::Download { url: hidden(url).into_owned(), source };
        Ok(self.source.download(url).await.map_err(failed)?)
    }

    /// The files of a named context that is no image.
    pub(super) async fn listing_of(
        &self,
        origin: &Origin,
        preserve_modes: bool,
        access: &GitAccess,
    ) -> Result<Listing, BuildError> {
        match origin {
            Origin::Folder(directory) => {
                let folder = Folder::named(directory.clone(), preserve_modes);
                blocking(move || folder.list()).await
            }
            Origin::Url(url) => {
                let Download { digest, size, last_modified: _ } = self.fetch_url(url).await?;
                self.of_download(digest, size)
            }
            Origin::Git(git) => {
                let checkout = self.checkout(git, access).await?;
                blocking(move || Listing::of_archive(&checkout.index)).await
            }
            // Images are snapshots.
            Origin::Scratch | Origin::Image(_) | Origin::Layout { .. } => Err(Problem::Worker.into()),
        }
    }

    /// The time of the newest file of an archive; nothing where it is none.
    pub(super) async fn newest_in(&self, archive: Digest) -> Result<Option<i64>, BuildError> {
        let store = self.store.clone();
        blocking(move || {
            let open = || store.open_blob(&archive).map_err(BuildError::from);
            let mut prefix = Vec::new();
            let read = open()?.take(ArchiveKind::PREFIX as u64).read_to_end(&mut prefix);
            read.map_err(|e| inside("reading an archive", e))?;
            let Some(kind) = ArchiveKind::sniff(&prefix) else { return Ok(None) };
            let Ok(index) = index(Decompressed::of(open()?, kind, Limits::default())) else { return Ok(None) };
            Ok(index.newest())
        })
        .await
    }

    /// An image from outside: its config, and its layers, which are not fetched yet.
    pub(super) async fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Snapshot, ImageConfig), BuildError> {
        let asked = self.pinned_image(reference, platform)?;
        let base = self.source.image(&asked, platform).await.map_err(Problem::Base)?;
        self.image_found(reference, platform, base.digest);
        let (manifest, mut config) = (base.image.manifest, base.image.config);
        let offered = config.platform();
        if !offered.serves(platform) {
            let (offered, wanted) = (offered.to_string(), platform.to_string());
            return Err(Problem::WrongPlatform { image: reference.to_string(), offered, wanted }.into());
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Problem::LayersDisagree { image: reference.to_string(), layers, diff_ids }.into());
        }
        config.settle_history();
        self.events.emit(Event::Base { reference: reference.to_string(), digest: base.digest });
        let layers = manifest.layers.into_iter().zip(&config.rootfs.diff_ids).map(|(blob, diff_id)| Layer {
            diff_id: *diff_id,
            blob,
            from: Some(reference.clone()),
            tar_size: None,
        });
        Ok((Snapshot { layers: layers.collect() }, config))
    }

    /// The image of a layout, its layers taken into the store.
    pub(super) async fn layout(
        &self,
        path: &Path,
        name: &Which,
        platform: &Platform,
    ) -> Result<(Snapshot, ImageConfig), BuildError> {
        let (path, name, platform) = (path.to_owned(), name.clone(), platform.clone());
        let store = self.store.clone();
        blocking(move || {
            let failed = |source| Problem::Layout { path: path.clone(), source };
            let layout = Layout::open(&path).map_err(failed)?;
            let mut image = layout.image_of(&name, &platform).map_err(failed)?.0;
            let (layers, diff_ids) = (image.manifest.layers.len(), image.config.rootfs.diff_ids.len());
            if layers != diff_ids {
                return Err(Problem::LayersDisagree { image: path.display().to_string(), layers, diff_ids }.into());
            }
            image.config.settle_history();
            let mut snapshot = Snapshot::default();
            for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
                if store.blob_size(&blob.digest).is_none() {
                    let mut writer = store.blob_writer()?;
                    std::io::copy(&mut layout.blob(&blob.digest).map_err(failed)?, &mut writer)
                        .map_err(|e| inside("reading a layout", e))?;
                    writer.commit(Some(&blob.digest))?;
                }
                snapshot.layers.push(Layer { diff_id: *diff_id, blob: blob.clone(), from: None, tar_size: None });
            }
            Ok((snapshot, image.config))
        })
        .await
    }
}
