//! Images in.

use super::client::Registry;
use super::error::PullError;
use crate::build::{BaseImage, FetchError, Source};
use crate::image::{Descriptor, Digest, Platform, Reference};

impl Registry {
    /// The digest that a reference stands for at this moment; `None` where the registry has no such manifest.
    pub async fn resolve(&self, _reference: &Reference) -> Result<Option<Digest>, PullError> {
        todo!()
    }
}

impl Source for Registry {
    async fn image(&self, _reference: &Reference, _platform: &Platform) -> Result<BaseImage, FetchError> {
        todo!()
    }

    async fn fetch(&self, _from: &Reference, _blob: &Descriptor) -> Result<(), FetchError> {
        todo!()
    }
}

impl From<PullError> for FetchError {
    fn from(error: PullError) -> Self {
        Self { hint: error.hint(), source: Box::new(error) }
    }
}
