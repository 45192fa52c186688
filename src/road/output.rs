//! Where a built image goes, if not to a registry.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::build::{self, Built};
use crate::event::{Event, Events};
use crate::image::{Digest, Flavor, Image, LayoutError, OpenBlob, Reference, stream_tar, write_folder, write_tar};
use crate::layer::{Content, ExportError, Exported, OpenTar, Times, Tree, WriteError, export, write_layer};
use crate::store::Store;

use super::{House, RoadError};

/// Where a built image goes.
#[derive(Debug)]
pub enum Output {
    /// An OCI layout in a tar.
    Archive(Target, Flavor),
    /// An OCI layout as a folder.
    Folder(PathBuf, Flavor),
    /// What a container would see, as one tar.
    Files(Target),
    /// What a container would see, in a folder; it may hold things already.
    Directory(PathBuf),
    /// To what its tags name.
    Registry,
}

/// Where a tar goes.
pub enum Target {
    File(PathBuf),
    Stream(Box<dyn Write + Send>),
}

/// All places of one image, under these names.
#[derive(Debug, Default)]
pub struct Outputs {
    pub places: Vec<Output>,
    pub tags: Vec<Reference>,
}

/// Why a built image did not come to the place where it was wanted.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("cannot write {place}: {source}")]
    Write { place: String, source: io::Error },
    #[error("cannot write the image's files to {place}: {source}")]
    Files { place: String, source: WriteError },
    #[error("writing to {}: {source}", folder.display())]
    Export { folder: PathBuf, source: ExportError },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Brings an image to one of its places, a registry excepted.
pub(super) async fn write(
    place: Output,
    built: &Built,
    tags: &[Reference],
    house: &House,
    events: &Events,
) -> Result<(), RoadError> {
    let job = match place {
        Output::Registry => return Ok(()),
        Output::Archive(target, flavor) => {
            house.workshop.fetch_all(&built.snapshot).await?;
            Job::Archive { target, flavor, layout: Layout::of(built, tags) }
        }
        Output::Folder(path, flavor) => {
            house.workshop.fetch_all(&built.snapshot).await?;
            Job::Folder { path, flavor, layout: Layout::of(built, tags) }
        }
        Output::Files(target) => Job::Files { target, tree: build::flattened(built, &house.workshop).await? },
        Output::Directory(path) => Job::Directory { path, tree: build::flattened(built, &house.workshop).await? },
    };
    let (store, events) = (house.store.clone(), events.clone());
    // Files are read and written for seconds: not on a thread that others wait for.
    let work = tokio::task::spawn_blocking(move || job.run(&store, &events)).await;
    Ok(work.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

/// One place's work, with all that it needs.
enum Job {
    Archive { target: Target, flavor: Flavor, layout: Layout },
    Folder { path: PathBuf, flavor: Flavor, layout: Layout },
    Files { target: Target, tree: Tree<Content> },
    Directory { path: PathBuf, tree: Tree<Content> },
}

struct Layout {
    image: Image,
    names: Vec<String>,
}

impl Layout {
    fn of(built: &Built, tags: &[Reference]) -> Self {
        Self { image: built.image.clone(), names: tags.iter().map(Reference::to_string).collect() }
    }
}

impl Job {
    fn run(self, store: &Store, events: &Events) -> Result<(), OutputError> {
        let blob = |digest: &Digest| {
            let blob = store.open_blob(digest).map_err(io::Error::other)?;
            Ok(Box::new(blob) as Box<dyn Read>)
        };
        let tar = |diff_id: &Digest| File::open(store.tar_path(diff_id));
        let path = match self {
            Self::Archive { target, flavor, layout } => archive(target, flavor, &layout, &blob)?,
            Self::Folder { path, flavor, layout: Layout { image, names } } => {
                write_folder(&path, &image, &names, flavor, &blob)?;
                Some(path)
            }
            Self::Files { target, tree } => files(target, &tree, &tar)?,
            Self::Directory { path, tree } => {
                directory(&path, &tree, &tar, events)?;
                Some(path)
            }
        };
        if let Some(path) = path {
            events.emit(Event::Wrote { path: path.display().to_string() });
        }
        Ok(())
    }
}

fn archive(
    target: Target,
    flavor: Flavor,
    Layout { image, names }: &Layout,
    open: &OpenBlob<'_>,
) -> Result<Option<PathBuf>, OutputError> {
    match target {
        Target::File(path) => {
            write_tar(&path, image, names, flavor, open)?;
            Ok(Some(path))
        }
        Target::Stream(mut out) => {
            stream_tar(&mut out, image, names, flavor, open).map_err(unwritten("the image"))?;
            Ok(None)
        }
    }
}

/// Each file with its own time, as it would be seen.
fn files(target: Target, tree: &Tree<Content>, open: &OpenTar<'_>) -> Result<Option<PathBuf>, OutputError> {
    let write = |place: &str, out: &mut dyn Write| {
        let failed = |source| OutputError::Files { place: place.to_owned(), source };
        let mut out = BufWriter::with_capacity(256 << 10, out);
        write_layer(tree, Times::Keep, open, &mut out).map_err(failed)?;
        out.flush().map_err(unwritten(place))
    };
    match target {
        Target::Stream(mut out) => write("a stream", &mut out).map(|()| None),
        Target::File(path) => {
            let place = path.display().to_string();
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut temp = tempfile::NamedTempFile::new_in(parent).map_err(unwritten(&place))?;
            write(&place, temp.as_file_mut())?;
            // Temporary files are made for their owner alone.
            let readable = temp.as_file().set_permissions(Permissions::from_mode(0o644));
            readable.and_then(|()| temp.as_file().sync_all()).map_err(unwritten(&place))?;
            temp.persist(&path).map_err(|error| unwritten(&place)(error.error))?;
            Ok(Some(path))
        }
    }
}

fn directory(path: &Path, tree: &Tree<Content>, open: &OpenTar<'_>, events: &Events) -> Result<(), OutputError> {
    let failed = |source| OutputError::Export { folder: path.to_owned(), source };
    let exported = export(tree, open, path).map_err(failed)?;
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let Exported { devices_left_out, set_ids_dropped } = exported;
    if devices_left_out > 0 {
        events.emit(Event::Note(format!("left out {}", counted(devices_left_out, "device"))));
    }
    if set_ids_dropped > 0 {
        let files = counted(set_ids_dropped, "file");
        events.emit(Event::Note(format!("left out the set-id bit of {files}, which would be yours here")));
    }
    Ok(())
}

fn unwritten(place: &str) -> impl FnOnce(io::Error) -> OutputError {
    let place = place.to_owned();
    move |source| OutputError::Write { place, source }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Stream(_) => f.write_str("a stream"),
        }
    }
}
