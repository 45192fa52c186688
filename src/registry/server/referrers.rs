//! Which manifests refer to a manifest: signatures, lists of materials and their like (distribution spec 1.1, "Listing
//! Referrers").

use std::collections::BTreeMap;

use hyper::header::{HeaderName, LINK};
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use super::reply::{self, Refusal, Reply, with};
use super::route::{Repository, Wanted};
use crate::image::{Digest, MediaType};

pub(super) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(super) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A page of descriptors is a manifest, and so bounded as one; this leaves room for what is around them.
const PAGE: usize = 3 << 20;

/// What a manifest says of itself and not of its parts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Face {
    pub media_type: Option<String>,
    subject: Option<Subject>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
    config: Option<Config>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    digest: Digest,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

impl Face {
    pub(super) fn subject(&self) -> Option<Digest> {
        self.subject.as_ref().map(|subject| subject.digest)
    }

    /// What stands for the manifest in the list of its subject's referrers.
    pub(super) fn descriptor(&self, digest: &Digest, size: usize, media_type: &str) -> Value {
        let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        let own = self.artifact_type.as_ref().filter(|own| !own.is_empty());
        if let Some(artifact_type) = own.or(self.config.as_ref().map(|config| &config.media_type)) {
            descriptor["artifactType"] = json!(artifact_type);
        }
        if let Some(annotations) = &self.annotations {
            descriptor["annotations"] = json!(annotations);
        }
        descriptor
    }
}

/// An index of the referrers, also where there are none and no such subject.
pub(super) fn list(
    state: &State,
    repository: &Repository,
    subject: &Digest,
    wanted: &Wanted,
) -> Result<Reply, Refusal> {
    let Wanted { artifact_type, after } = wanted;
    let is_wanted = |descriptor: &Value| {
        artifact_type.as_ref().is_none_or(|wanted| descriptor["artifactType"].as_str() == Some(wanted))
    };
    let mut found = state.shelf.referrers(repository, subject)?;
    found.retain(|(digest, descriptor)| after.is_none_or(|after| *digest > after) && is_wanted(descriptor));
    let fit = how_many_fit(found.iter().map(|(_, descriptor)| descriptor.to_string().len()), PAGE);
    let more = fit < found.len();
    found.truncate(fit);
    let last = found.last().map(|(digest, _)| *digest);
    let manifests: Vec<Value> = found.into_iter().map(|(_, descriptor)| descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests});
    let mut reply = reply::document(MediaType::OCI_INDEX, index.to_string().into_bytes());
    if artifact_type.is_some() {
        reply = with(reply, FILTERS_APPLIED, "artifactType");
    }
    match last.filter(|_| more) {
        Some(last) => {
            let mut query = reqwest::Url::parse("http://localhost/").expect("this is a URL");
            query.query_pairs_mut().append_pair("last", &last.to_string());
            if let Some(artifact_type) = artifact_type {
                query.query_pairs_mut().append_pair("artifactType", artifact_type);
            }
            let path = format!("/v2/{}/referrers/{subject}", repository.as_str());
            let link = format!("<{path}?{}>; rel=\"next\"", query.query().unwrap_or_default());
            Ok(with(reply, LINK, &link))
        }
        None => Ok(reply),
    }
}

/// At least one, so that a list comes to its end.
fn how_many_fit(sizes: impl Iterator<Item = usize>, page: usize) -> usize {
    let mut sum = 0;
    sizes
        .take_while(|size| {
            let first = sum == 0;
            sum += size;
            first || sum <= page
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_what_fits_and_never_nothing() {
        for (sizes, wanted) in [(&[][..], 0), (&[5], 1), (&[50], 1), (&[4, 4, 4], 2), (&[10, 1], 1), (&[50, 1], 1)] {
            assert_eq!(how_many_fit(sizes.iter().copied(), 10), wanted, "{sizes:?}");
        }
    }

    #[test]
    fn an_artifact_is_of_its_own_type_else_of_its_configs_and_an_index_of_none() {
        let digest = Digest::of(b"");
        for (manifest, wanted) in [
            (json!({"artifactType": "a/b", "config": {"mediaType": "c/d"}}), json!("a/b")),
            (json!({"artifactType": "", "config": {"mediaType": "c/d"}}), json!("c/d")),
            (json!({"config": {"mediaType": "c/d"}}), json!("c/d")),
            (json!({"manifests": []}), Value::Null),
        ] {
            let face: Face = serde_json::from_value(manifest.clone()).unwrap();
            assert_eq!(face.descriptor(&digest, 2, "m")["artifactType"], wanted, "{manifest}");
        }
    }
}
