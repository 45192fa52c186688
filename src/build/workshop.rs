//! What every step works with: the store, the places where images come from, the sandbox, and what is known of the
//! layers so far.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::future::Future;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::event::{Event, Events};
use crate::image::{Compression, Digest, Hasher};
use crate::layer::{Content, InTar, Index, LayerPath, Limits, Packing, View, decompress, index};
use crate::sandbox::{self, Emulation, Launcher, Sandbox, Stopper};
use crate::store::Store;

use super::owner::Accounts;
use super::snapshot::{Layer, Snapshot, chains};
use super::tapped::Tapped;
use super::{BuildError, Pinning, Pins, Problem, Source};

/// How many layers are fetched and read at a time.
pub(super) const AT_A_TIME: usize = 4;

/// The tools of a build; shared by all of its steps.
pub struct Workshop<S> {
    pub store: Store,
    pub source: S,
    pub events: Events,
    pub stopper: Stopper,
    /// How our layers are compressed.
    pub packing: Packing,
    /// How many threads compress.
    pub threads: usize,
    sandbox: OnceLock<Sandbox>,
    /// Who runs the programs of an architecture.
    pub(super) emulations: Mutex<BTreeMap<String, Emulation>>,
    views: Mutex<HashMap<Digest, Arc<View>>>,
    /// The tars whose bytes are known to be those of their digests.
    whole_tars: Mutex<HashSet<Digest>>,
    /// The layers that this build wrote as they are, by their diff_ids: their bytes were hashed on their way.
    pub(super) written: Mutex<HashSet<Digest>>,
    /// Files such as /etc/passwd, which every RUN asks for.
    small_files: Mutex<HashMap<InTar, Vec<u8>>>,
    /// What names from outside are held to.
    pub(super) pinning: Mutex<Pinning>,
    /// What they have meant so far.
    pub(super) found: Mutex<Pins>,
}

impl<S: Source> Workshop<S> {
    pub fn new(store: Store, source: S, events: Events, stopper: Stopper) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, Into::into);
        Self {
            store,
            source,
            events,
            stopper,
            packing: Packing::default(),
            threads,
            sandbox: OnceLock::new(),
            emulations: Mutex::default(),
            views: Mutex::default(),
            whole_tars: Mutex::default(),
            written: Mutex::default(),
            small_files: Mutex::default(),
            pinning: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// The best rung of this machine, found when the first RUN needs one.
    pub fn sandbox(&self) -> Result<&Sandbox, BuildError> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        let launcher = Launcher::this_program()
            .map_err(|e| Problem::Inside { doing: "copying our own program into memory", why: e.to_string() })?;
        let work = self.store.work_folder()?;
        let rung = sandbox::probe(&launcher, work.path());
        // Probing leaves nothing behind that is not ours to remove.
        let _ = std::fs::remove_dir_all(work.path());
        let rung = rung?;
        self.events.emit(Event::Rung { name: rung.name(), why: rung.why() });
        let sandbox = Sandbox::new(launcher, rung);
        self.forget_layers_of_another_boot(&sandbox)?;
        for left in self.store.abandoned()? {
            // What cannot be removed is tried again by the next build.
            let _ = sandbox.remove(left.path());
        }
        Ok(self.sandbox.get_or_init(|| sandbox))
    }

    /// Unpacked layers are written without fsync, which would take longer than most steps. What a crash leaves of one
    /// has its name and need not be whole, so none is believed that was there before the machine started; they are
    /// unpacked again from their blobs, which are verified.
    fn forget_layers_of_another_boot(&self, sandbox: &Sandbox) -> Result<(), BuildError> {
        const BOOT: &str = "boot";
        // Without a /proc there is no sandbox either.
        let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return Ok(()) };
        let failed = |e| inside("looking at the unpacked layers", e);
        let _lock = self.store.lock("unpack")?;
        let mark = self.store.layers_path().join(BOOT);
        if std::fs::read(&mark).is_ok_and(|known| known == boot) {
            return Ok(());
        }
        for entry in std::fs::read_dir(self.store.layers_path()).map_err(failed)? {
            sandbox.remove(&entry.map_err(failed)?.path()).map_err(|e| failed(io::Error::other(e)))?;
        }
        std::fs::write(&mark, boot).map_err(failed)
    }

    /// Sees to it that the layer's blob is in the store.
    pub(super) async fn fetch(&self, layer: &Layer) -> Result<(), BuildError> {
        if self.store.blob_size(&layer.blob.digest).is_some() {
            return Ok(());
        }
        match &layer.from {
            Some(from) => Ok(self.source.fetch(from, &layer.blob, None).await.map_err(Problem::BaseLayer)?),
            // Ours, and gone: the step's record was believed a moment ago.
            None => {
                let path = self.store.blob_path(&layer.blob.digest);
                let source = io::Error::from(io::ErrorKind::NotFound);
                Err(crate::store::StoreError::Io { doing: "open", path, source }.into())
            }
        }
    }

    /// Sees to it that every blob of the snapshot is in the store.
    pub async fn fetch_all(&self, snapshot: &Snapshot) -> Result<(), BuildError> {
        self.each(&snapshot.layers, |layer| self.fetch(layer)).await
    }

    /// Does something for several layers at a time: while one is on its way, another is read.
    async fn each<'a, F>(&'a self, layers: &'a [Layer], work: impl Fn(&'a Layer) -> F) -> Result<(), BuildError>
    where
        F: Future<Output = Result<(), BuildError>>,
    {
        stream::iter(layers.iter().map(work)).buffer_unordered(AT_A_TIME).try_collect().await
    }

    /// Sees to it that the paths of every layer are on record; what is missing is fetched and read once.
    pub(super) async fn index_all(&self, snapshot: &Snapshot) -> Result<(), BuildError> {
        self.each(&snapshot.layers, |layer| self.put_on_record(layer)).await
    }

    /// Sees to it that the paths of a layer are on record. One that has to be fetched is read while it comes.
    pub(super) async fn put_on_record(&self, layer: &Layer) -> Result<(), BuildError> {
        let known = || self.store.tree_path(&layer.diff_id).exists();
        if known() {
            return Ok(());
        }
        let (store, wanted) = (self.store.clone(), layer.clone());
        if let (Some(from), None) = (&layer.from, store.blob_size(&layer.blob.digest)) {
            let (tap, bytes) = Tapped::new();
            let compression = compression(layer)?;
            let reading = tokio::task::spawn_blocking(move || index(decompress(bytes, compression, Limits::default())));
            self.source.fetch(from, &layer.blob, Some(tap)).await.map_err(Problem::BaseLayer)?;
            // The blob is verified by now; and so is what was read of it, if it has the layer's diff_id.
            if let Ok(Ok(found)) = reading.await
                && found.diff_id == layer.diff_id
            {
                return Ok(store.keep_tree(&layer.diff_id, &found)?);
            }
            // Another step fetched it, or it came in two halves, or it is not what it should be: which is told by the
            // blob itself.
            if known() {
                return Ok(());
            }
        }
        self.fetch(layer).await?;
        blocking(move || index_blob(&store, &wanted)).await.map(drop)
    }

    /// What the stack of layers shows. Its trees must be on record: [`Workshop::index_all`].
    pub(super) fn view(&self, snapshot: &Snapshot) -> Result<Arc<View>, BuildError> {
        let chains = chains(&snapshot.layers);
        let (next, mut view) = self.nearest_view(&snapshot.layers, &chains);
        for layer in &snapshot.layers[next..] {
            Arc::make_mut(&mut view).apply(&self.index(layer)?)?;
        }
        self.views().insert(snapshot.chain(), Arc::clone(&view));
        Ok(view)
    }

    /// The view of the most layers from the bottom on, and how many those are. One whose top layer is ours is taken
    /// away: the next step of its stage grows it, and copying it would take as long as the base is large. One of a base
    /// alone stays for other stages.
    fn nearest_view(&self, layers: &[Layer], chains: &[Digest]) -> (usize, Arc<View>) {
        let mut views = self.views();
        let nearest = (0..chains.len()).rev().find(|&at| views.contains_key(&chains[at]));
        let view = nearest.and_then(|at| match layers[at].from {
            Some(_) => views.get(&chains[at]).cloned(),
            None => views.remove(&chains[at]),
        });
        match (nearest, view) {
            (Some(at), Some(view)) => (at + 1, view),
            _ => (0, Arc::default()),
        }
    }

    fn views(&self) -> MutexGuard<'_, HashMap<Digest, Arc<View>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, layer: &Layer) -> Result<Index, BuildError> {
        match self.store.tree::<Index>(&layer.diff_id).filter(|index| index.diff_id == layer.diff_id) {
            Some(index) => Ok(index),
            None => index_blob(&self.store, layer),
        }
    }

    /// The uncompressed tars of layers, for reading single files out of them.
    pub(super) async fn tars(&self, layers: &[Layer]) -> Result<(), BuildError> {
        for layer in layers {
            let known = || self.whole_tars.lock().unwrap_or_else(PoisonError::into_inner);
            if known().contains(&layer.diff_id) {
                continue;
            }
            let ours = self.is_written(layer) && !self.store.tar_path(&layer.diff_id).exists();
            if ours && self.store.keep_blob_as_tar(&layer.blob.digest) {
                known().insert(layer.diff_id);
                continue;
            }
            let (store, diff_id) = (self.store.clone(), layer.diff_id);
            // Files are read out of the middle, where nothing tells bytes that were changed from others.
            if !blocking(move || Ok(store.has_whole_tar(&diff_id)?)).await? {
                self.fetch(layer).await?;
                let (store, layer) = (self.store.clone(), layer.clone());
                blocking(move || keep_tar(&store, &layer)).await?;
            }
            known().insert(layer.diff_id);
        }
        Ok(())
    }

    /// The image's own account files.
    pub(super) async fn accounts(&self, snapshot: &Snapshot) -> Result<Accounts, BuildError> {
        self.index_all(snapshot).await?;
        let view = self.view(snapshot)?;
        Ok(Accounts {
            passwd: self.small_file(snapshot, &view, "etc/passwd").await?,
            group: self.small_file(snapshot, &view, "etc/group").await?,
        })
    }

    /// A small file of an image; empty where there is none.
    pub(super) async fn small_file(
        &self,
        snapshot: &Snapshot,
        view: &View,
        file: &'static str,
    ) -> Result<Vec<u8>, BuildError> {
        const LIMIT: u64 = 8 << 20;
        let refuse = |why| Problem::Accounts { file, why };
        let Some(node) = view.resolve(file.as_bytes(), true)?.node.cloned() else { return Ok(Vec::new()) };
        let crate::layer::Kind::File { size, content: InTar { diff_id, offset } } = node.kind else {
            return Err(refuse("it is not a regular file").into());
        };
        if size > LIMIT {
            return Err(refuse("it is larger than 8 MiB").into());
        }
        let place = InTar { diff_id, offset };
        let files = || self.small_files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files().get(&place) {
            return Ok(known.clone());
        }
        let holder = snapshot.layers.iter().find(|layer| layer.diff_id == diff_id).cloned();
        let layer = holder.ok_or_else(|| refuse("it is in no layer of the image"))?;
        self.fetch(&layer).await?;
        let store = self.store.clone();
        let bytes = blocking(move || {
            let mut bytes = Vec::new();
            let mut tar: Box<dyn Read> = match File::open(store.tar_path(&diff_id)) {
                Ok(mut file) => {
                    file.seek(SeekFrom::Start(offset)).map_err(|e| inside("reading a layer", e))?;
                    Box::new(file)
                }
                // A file at the front of a layer does not need all of it uncompressed on disk.
                Err(_) => {
                    let mut tar = uncompressed(&store, &layer)?;
                    io::copy(&mut tar.by_ref().take(offset), &mut io::sink())
                        .map_err(|e| inside("reading a layer", e))?;
                    Box::new(tar)
                }
            };
            tar.by_ref().take(size).read_to_end(&mut bytes).map_err(|e| inside("reading a layer", e))?;
            Ok(bytes)
        })
        .await?;
        files().insert(place, bytes.clone());
        Ok(bytes)
    }

    /// Opens what a file's content stands for.
    pub(super) fn open(&self, content: &Content) -> io::Result<Box<dyn Read>> {
        open(&self.store, content)
    }
}

/// Opens what a file's content stands for.
pub(super) fn open(store: &Store, content: &Content) -> io::Result<Box<dyn Read>> {
    match content {
        Content::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
        Content::Host(file) => Ok(Box::new(file.open()?)),
        Content::InTar(InTar { diff_id, offset }) => {
            let mut file = File::open(store.tar_path(diff_id))?;
            file.seek(SeekFrom::Start(*offset))?;
            Ok(Box::new(BufReader::new(file)))
        }
    }
}

/// Runs something that blocks, away from the threads that must not.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::Worker.into()))
}

pub(super) fn inside(doing: &'static str, error: io::Error) -> BuildError {
    Problem::Inside { doing, why: error.to_string() }.into()
}

pub(super) fn compression(layer: &Layer) -> Result<Compression, BuildError> {
    Ok(layer.blob.media_type.layer_compression().ok_or_else(|| Problem::LayerType {
        blob: layer.blob.digest.to_string(),
        media_type: layer.blob.media_type.to_string(),
    })?)
}

fn uncompressed(store: &Store, layer: &Layer) -> Result<impl Read + use<>, BuildError> {
    let blob = store.open_blob(&layer.blob.digest)?;
    Ok(decompress(blob, compression(layer)?, Limits::default()))
}

pub(super) fn check_diff_id(layer: &Layer, got: Digest) -> Result<(), BuildError> {
    if got == layer.diff_id {
        return Ok(());
    }
    let (blob, wanted) = (layer.blob.digest.to_string(), layer.diff_id.to_string());
    Err(Problem::DiffId { blob, wanted, got: got.to_string() }.into())
}

fn index_blob(store: &Store, layer: &Layer) -> Result<Index, BuildError> {
    let found = index(uncompressed(store, layer)?)?;
    check_diff_id(layer, found.diff_id)?;
    store.keep_tree(&layer.diff_id, &found)?;
    Ok(found)
}

fn keep_tar(store: &Store, layer: &Layer) -> Result<(), BuildError> {
    if compression(layer)? == Compression::None {
        // The blob is the tar, and verified by whoever reads it to the end.
        check_diff_id(layer, layer.blob.digest)?;
        io::copy(&mut store.open_blob(&layer.blob.digest)?, &mut io::sink())
            .map_err(|e| inside("reading a layer", e))?;
        if store.keep_blob_as_tar(&layer.blob.digest) {
            return Ok(());
        }
    }
    let mut tar = uncompressed(store, layer)?;
    let mut file = store.tar_writer()?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match tar.read(&mut buffer).map_err(|e| inside("reading a layer", e))? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                file.write_all(&buffer[..read]).map_err(|e| inside("uncompressing a layer", e))?;
            }
        }
    }
    check_diff_id(layer, hasher.finish())?;
    Ok(store.keep_tar(file, &layer.diff_id)?)
}

/// A path that we wrote ourselves.
pub(super) fn layer_path(text: &str) -> Result<LayerPath, BuildError> {
    Ok(LayerPath::parse(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::build::{BaseImage, Download, FetchError, Tap};
    use crate::image::{Descriptor, MediaType, Platform, Reference};

    /// A registry that gives a layer's bytes to whoever reads them while they come, waits until they were read, and
    /// only then says that it is done.
    struct Slow {
        store: Store,
        tapped: Vec<u8>,
        kept: Option<Vec<u8>>,
    }

    impl Source for Slow {
        async fn image(&self, _: &Reference, _: &Platform) -> Result<BaseImage, FetchError> {
            unreachable!("only layers are asked for")
        }

        async fn fetch(&self, _: &Reference, _: &Descriptor, tap: Option<Tap>) -> Result<(), FetchError> {
            let Some(tap) = tap else { return Ok(()) };
            for piece in self.tapped.chunks(100) {
                // Whoever found out that it is no tar reads no further.
                let _ = tap.send(Bytes::copy_from_slice(piece)).await;
            }
            let read = async {
                while tap.capacity() < tap.max_capacity() && !tap.is_closed() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("it is read while it comes");
            if let Some(blob) = &self.kept {
                self.store.keep_blob(blob).unwrap();
            }
            Ok(())
        }

        async fn download(&self, _: &str) -> Result<Download, FetchError> {
            unreachable!("only layers are asked for")
        }
    }

    fn tar(text: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, "file", text.as_bytes()).unwrap();
        tar.into_inner().unwrap()
    }

    /// Whether the layer of that tar is on record, when so much came by the tap and that is in the store.
    async fn on_record(tapped: &[u8], kept: Option<&[u8]>) -> Result<bool, BuildError> {
        let layer = tar("right");
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let source = Slow { store: store.clone(), tapped: tapped.to_vec(), kept: kept.map(<[u8]>::to_vec) };
        let workshop = Workshop::new(store.clone(), source, Events::silent(), Stopper::new());
        let digest = Digest::of(&layer);
        let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), digest, layer.len() as u64);
        let layer = Layer { diff_id: digest, blob, from: Some("r.test/a".parse().unwrap()), tar_size: None };
        workshop.put_on_record(&layer).await?;
        Ok(store.tree::<Index>(&digest).is_some_and(|index| index.diff_id == digest))
    }

    #[tokio::test]
    async fn a_layer_is_read_while_it_comes() {
        let right = tar("right");
        // Were it read from the store, it would not be found.
        assert!(on_record(&right, None).await.unwrap());
    }

    #[tokio::test]
    async fn what_did_not_come_whole_or_right_is_read_from_the_store() {
        let right = tar("right");
        for tapped in [&right[..700], &tar("other"), b"no tar at all".repeat(500).as_slice(), b""] {
            assert!(on_record(tapped, Some(&right)).await.unwrap());
            assert!(on_record(tapped, None).await.is_err());
        }
    }
}
