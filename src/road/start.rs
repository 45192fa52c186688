//! An image that could not start where it is sent is not sent.

use std::io::Read;

use crate::build::{Built, OpenHere, Unstartable, check_start, layers_of};
use crate::image::{Digest, Image, Layout};

use super::{House, RoadError};

/// An image that was built here. Of its base only what the build fetched is looked at.
pub(super) async fn check_built(built: &Built, house: &House) -> Result<(), RoadError> {
    let (store, events) = (house.store.clone(), house.workshop.events.clone());
    let (config, layers) = (built.image.config.clone(), built.snapshot.layers.clone());
    away(move || {
        let open = |digest: &Digest| -> Option<Box<dyn Read>> {
            store.blob_size(digest)?;
            Some(Box::new(store.open_blob(digest).ok()?))
        };
        check_start(&config, &layers, &store, &open, &events)
    })
    .await
}

/// The image of a layout, which is given back.
pub(super) async fn check_layout(layout: Layout, image: &Image, house: &House) -> Result<Layout, RoadError> {
    let (store, events) = (house.store.clone(), house.workshop.events.clone());
    let (config, layers) = (image.config.clone(), layers_of(image));
    away(move || {
        let open: &OpenHere<'_> = &|digest| Some(layout.blob(digest).ok()?);
        check_start(&config, &layers, &store, open, &events)?;
        Ok(layout)
    })
    .await
}

/// Layers are read for a while: not on a thread that others wait for.
async fn away<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unstartable> + Send + 'static,
) -> Result<T, RoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}
