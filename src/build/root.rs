//! An image's file system, ready for a container to run in.

use crate::image::ContainerConfig;
use crate::layer::{Content, Tree};
use crate::sandbox::{Ids, Layers};
use crate::store::WorkFolder;

use super::run::overlay;
use super::{BuildError, Built, Source, Workshop};

/// What a container of an image stands in, and who it is there.
#[derive(Debug)]
pub struct Root {
    pub layers: Layers,
    pub config: ContainerConfig,
    pub user: Ids,
    pub home: String,
    /// What the container writes; to be removed by the sandbox afterwards.
    pub folder: WorkFolder,
}

/// All that an image shows, as one tree. Nothing is unpacked: its files are in the layers' tars, which are in the store
/// then.
pub async fn flattened<S: Source>(built: &Built, workshop: &Workshop<S>) -> Result<Tree<Content>, BuildError> {
    workshop.index_all(&built.snapshot).await?;
    workshop.tars(&built.snapshot.layers).await?;
    Ok(workshop.view(&built.snapshot)?.flattened())
}

/// Unpacks an image, with a throw-away layer on top.
pub async fn root<S: Source>(built: &Built, workshop: &Workshop<S>) -> Result<Root, BuildError> {
    let config = built.image.config.config.clone();
    let person = workshop.accounts(&built.snapshot).await?.person(&config.user)?;
    let lower = workshop.unpacked(&built.snapshot).await?;
    let folder = workshop.store.work_folder()?;
    let layers = overlay(&workshop.store, &folder, "", lower)?;
    Ok(Root { layers, config, user: person.ids, home: person.home, folder })
}
