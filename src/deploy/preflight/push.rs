//! The repository: whether it is there, lets us in, and lets its tags be moved. Nothing is uploaded.

use futures_util::future::join_all;

use super::check::Check;
use crate::aws::{AwsError, Cloud, Kind};
use crate::deploy::error::DeployError;
use crate::deploy::loader::{Loader, may_move};
use crate::deploy::present::{Present, PresentRepository};
use crate::image::Digest;

pub(super) fn repository(loader: &Loader, found: &Result<Option<PresentRepository>, DeployError>) -> Check {
    let name = "repository";
    match found {
        Err(error) => Check::ng(name, error.to_string(), error.hint()).stopping(),
        Ok(None) => Check::ok(name, format!("there is no {} yet, and it is made", loader.repository)),
        Ok(Some(repository)) => Check::ok(name, repository.found.uri.clone()),
    }
}

/// Asks for what a push begins with: a token, and whether a layer is there.
pub(super) async fn login(cloud: &Cloud, found: &Result<Option<PresentRepository>, DeployError>) -> Check {
    let name = "registry";
    let refused = |error: &AwsError| match error.kind {
        Kind::Denied => Check::ng(name, error.to_string(), error.hint()).stopping(),
        _ => Check::unknown(name, error.to_string(), error.hint()),
    };
    if let Err(error) = cloud.ecr.login().await {
        return refused(&error);
    }
    let Ok(Some(repository)) = found else { return Check::ok(name, "its token is ours") };
    let nothing = Digest::of(b"");
    let asked = cloud.ecr.layers_there(&repository.found.account, cloud_name(repository), &[nothing]).await;
    match asked {
        Ok(_) => Check::ok(name, "its token is ours, and it answers what layers it has"),
        Err(error) => refused(&error),
    }
}

fn cloud_name(repository: &PresentRepository) -> &str {
    repository.found.uri.split_once('/').map_or("", |(_, name)| name)
}

/// A line for each tag of the user's that may not be moved and is taken: a build that comes to another image could not
/// be tagged.
pub(super) async fn tags(cloud: &Cloud, loader: &Loader, present: &Present) -> Vec<Check> {
    if present.repository.is_none() {
        return Vec::new();
    }
    let fixed = loader.tags.iter().filter(|tag| !may_move(present.mutability(loader), tag));
    let checks = fixed.map(|tag| async move {
        let name = format!("tag {tag}");
        match cloud.ecr.tagged(&loader.repository, tag).await {
            Ok(None) => Check::ok(name, "it is free"),
            Ok(Some(digest)) => {
                let says =
                    format!("it names {digest} and may not be moved: an image that is another cannot be tagged so");
                Check::ng(name, says, Some("choose another tag, or image_tag_mutability_exclusions".to_owned()))
            }
            Err(error) => Check::unknown(name, error.to_string(), error.hint()),
        }
    });
    join_all(checks).await
}
