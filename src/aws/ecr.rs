//! Elastic Container Registry: the repository, and the credential to push with.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{self as sdk, ImageTagMutability, LayerAvailability, Tag};
use serde_json::Value;

use super::{AwsError, Caller, Kind};
use crate::image::Digest;
use crate::secret::Secret;

/// How many layers `BatchCheckLayerAvailability` may be asked about at a time.
const BATCH: usize = 100;

/// The calls of ECR for private registries, in the session's account and region.
#[derive(Clone, Debug)]
pub struct Ecr {
    client: Client,
    who: Arc<Caller>,
}

/// A repository that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub uri: String,
    pub arn: String,
    /// The account that it is in.
    pub account: String,
    pub mutability: Mutability,
}

/// An image of a repository, and its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedImage {
    pub digest: Digest,
    pub tags: BTreeSet<String>,
}

/// Whether a tag may be moved to another image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mutability {
    #[default]
    Mutable,
    Immutable,
    /// All but those that one of these patterns fits.
    ImmutableExcept(BTreeSet<String>),
    /// A setting that this version does not know.
    Other(String),
}

impl Mutability {
    fn read(found: &sdk::Repository) -> Self {
        match found.image_tag_mutability() {
            None | Some(ImageTagMutability::Mutable) => Self::Mutable,
            Some(ImageTagMutability::Immutable) => Self::Immutable,
            Some(ImageTagMutability::ImmutableWithExclusion) => {
                let filters = found.image_tag_mutability_exclusion_filters();
                Self::ImmutableExcept(filters.iter().map(|filter| filter.filter().to_owned()).collect())
            }
            Some(other) => Self::Other(other.as_str().to_owned()),
        }
    }

    fn to_sdk(&self) -> (ImageTagMutability, Option<Vec<sdk::ImageTagMutabilityExclusionFilter>>) {
        let filter = |filter: &String| {
            sdk::ImageTagMutabilityExclusionFilter::builder()
                .filter_type(sdk::ImageTagMutabilityExclusionFilterType::Wildcard)
                .filter(filter)
                .build()
                .expect("a kind and a pattern are all that a filter needs")
        };
        match self {
            Self::Mutable => (ImageTagMutability::Mutable, None),
            Self::Immutable => (ImageTagMutability::Immutable, None),
            Self::ImmutableExcept(filters) => {
                (ImageTagMutability::ImmutableWithExclusion, Some(filters.iter().map(filter).collect()))
            }
            Self::Other(word) => (ImageTagMutability::from(word.as_str()), None),
        }
    }
}

impl Ecr {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    pub async fn repository(&self, name: &str) -> Result<Option<Repository>, AwsError> {
        const CALL: &str = "ecr:DescribeRepositories";
        match self.client.describe_repositories().repository_names(name).send().await {
            Ok(answer) => answer.repositories().first().map(|found| self.read(CALL, found)).transpose(),
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    pub async fn create_repository(
        &self,
        name: &str,
        mutability: &Mutability,
        tags: &[(&str, &str)],
    ) -> Result<Repository, AwsError> {
        const CALL: &str = "ecr:CreateRepository";
        let (mutability, filters) = mutability.to_sdk();
        let answer = self
            .client
            .create_repository()
            .repository_name(name)
            .image_tag_mutability(mutability)
            .set_image_tag_mutability_exclusion_filters(filters)
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let made = answer.repository().ok_or_else(|| self.garbled(CALL, "repository"))?;
        self.read(CALL, made)
    }

    pub async fn set_mutability(&self, name: &str, mutability: &Mutability) -> Result<(), AwsError> {
        let (mutability, filters) = mutability.to_sdk();
        self.client
            .put_image_tag_mutability()
            .repository_name(name)
            .image_tag_mutability(mutability)
            .set_image_tag_mutability_exclusion_filters(filters)
            .send()
            .await
            .map_err(|error| AwsError::new("ecr:PutImageTagMutability", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn lifecycle(&self, name: &str) -> Result<Option<Value>, AwsError> {
        const CALL: &str = "ecr:GetLifecyclePolicy";
        match self.client.get_lifecycle_policy().repository_name(name).send().await {
            Ok(answer) => {
                let policy = answer.lifecycle_policy_text().and_then(|text| serde_json::from_str(text).ok());
                policy.map(Some).ok_or_else(|| self.garbled(CALL, "lifecyclePolicyText in JSON"))
            }
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    pub async fn put_lifecycle(&self, name: &str, policy: &Value) -> Result<(), AwsError> {
        self.client
            .put_lifecycle_policy()
            .repository_name(name)
            .lifecycle_policy_text(policy.to_string())
            .send()
            .await
            .map_err(|error| AwsError::new("ecr:PutLifecyclePolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn tags(&self, repository: &Repository) -> Result<Vec<(String, String)>, AwsError> {
        let answer = self
            .client
            .list_tags_for_resource()
            .resource_arn(&repository.arn)
            .send()
            .await
            .map_err(|error| AwsError::new("ecr:ListTagsForResource", Some(self.who.clone()), error))?;
        Ok(answer.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    pub async fn tag(&self, repository: &Repository, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        self.client
            .tag_resource()
            .resource_arn(&repository.arn)
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new("ecr:TagResource", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The images of a repository that have a tag; none where there is no repository.
    pub async fn tagged_images(&self, name: &str) -> Result<Vec<TaggedImage>, AwsError> {
        const CALL: &str = "ecr:DescribeImages";
        let filter = sdk::DescribeImagesFilter::builder().tag_status(sdk::TagStatus::Tagged).build();
        let (mut images, mut token): (Vec<TaggedImage>, Option<String>) = (Vec::new(), None);
        loop {
            let call = self.client.describe_images().repository_name(name).filter(filter.clone());
            let answer = match call.set_next_token(token.clone()).send().await {
                Ok(answer) => answer,
                Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                    error if error.kind == Kind::NotFound => return Ok(images),
                    error => return Err(error),
                },
            };
            for found in answer.image_details() {
                let digest = found.image_digest().and_then(|digest| digest.parse().ok());
                let digest = digest.ok_or_else(|| self.garbled(CALL, "imageDigest"))?;
                let tags: BTreeSet<String> = found.image_tags().iter().cloned().collect();
                if !tags.is_empty() {
                    images.push(TaggedImage { digest, tags });
                }
            }
            match answer.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(images),
            }
        }
    }

    /// Takes tags away, and with its last one the image. One that is not there is no error.
    pub async fn untag(&self, name: &str, tags: &BTreeSet<String>) -> Result<(), AwsError> {
        const CALL: &str = "ecr:BatchDeleteImage";
        let tags: Vec<&String> = tags.iter().collect();
        for some in tags.chunks(BATCH) {
            let ids = some.iter().map(|tag| sdk::ImageIdentifier::builder().image_tag(*tag).build()).collect();
            let answer = self.client.batch_delete_image().repository_name(name).set_image_ids(Some(ids)).send().await;
            let answer = answer.map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
            let failed = answer
                .failures()
                .iter()
                .find(|failure| !matches!(failure.failure_code(), Some(sdk::ImageFailureCode::ImageNotFound)));
            if let Some(failed) = failed {
                let code = failed.failure_code().map_or("Failure", |code| code.as_str());
                let refused = AwsError::refused(CALL, code, failed.failure_reason().unwrap_or("no reason given"));
                return Err(AwsError { who: Some(self.who.clone()), ..refused });
            }
        }
        Ok(())
    }

    /// With every image in it.
    pub async fn delete_repository(&self, name: &str) -> Result<(), AwsError> {
        let call = self.client.delete_repository().repository_name(name).force(true);
        call.send().await.map_err(|error| AwsError::new("ecr:DeleteRepository", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// What a registry is pushed to with: base64 of `AWS:<password>`, which follows `Authorization: Basic` as it came.
    /// Good for twelve hours. Ask just before it is used: a long build may outlive it, and it touches no disk.
    pub async fn login(&self) -> Result<Secret, AwsError> {
        const CALL: &str = "ecr:GetAuthorizationToken";
        let answer = self
            .client
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let data = answer.authorization_data().first().ok_or_else(|| self.garbled(CALL, "authorizationData"))?;
        let token = data.authorization_token().ok_or_else(|| self.garbled(CALL, "authorizationToken"))?;
        Ok(Secret::new(token))
    }

    /// Which of these layers a repository of this account has.
    pub async fn layers_there(
        &self,
        account: &str,
        repository: &str,
        layers: &[Digest],
    ) -> Result<BTreeSet<Digest>, AwsError> {
        const CALL: &str = "ecr:BatchCheckLayerAvailability";
        let mut there = BTreeSet::new();
        for some in layers.chunks(BATCH) {
            let answer = self
                .client
                .batch_check_layer_availability()
                .registry_id(account)
                .repository_name(repository)
                .set_layer_digests(Some(some.iter().map(Digest::to_string).collect()))
                .send()
                .await
                .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
            let available = answer
                .layers()
                .iter()
                .filter(|layer| layer.layer_availability() == Some(&LayerAvailability::Available));
            there.extend(available.filter_map(|layer| layer.layer_digest()?.parse::<Digest>().ok()));
        }
        Ok(there)
    }

    /// The image that a tag names, where there is one.
    pub async fn tagged(&self, repository: &str, tag: &str) -> Result<Option<String>, AwsError> {
        let id = sdk::ImageIdentifier::builder().image_tag(tag).build();
        match self.client.describe_images().repository_name(repository).image_ids(id).send().await {
            Ok(answer) => Ok(answer.image_details().iter().find_map(|found| found.image_digest().map(str::to_owned))),
            Err(error) => match AwsError::new("ecr:DescribeImages", Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound || error.code.as_deref() == Some("ImageNotFoundException") => {
                    Ok(None)
                }
                error => Err(error),
            },
        }
    }

    fn read(&self, call: &'static str, found: &sdk::Repository) -> Result<Repository, AwsError> {
        match (found.repository_uri(), found.repository_arn(), found.registry_id()) {
            (Some(uri), Some(arn), Some(account)) => {
                let (uri, arn, account) = (uri.to_owned(), arn.to_owned(), account.to_owned());
                Ok(Repository { uri, arn, account, mutability: Mutability::read(found) })
            }
            _ => Err(self.garbled(call, "repositoryUri, repositoryArn and registryId")),
        }
    }

    fn garbled(&self, call: &'static str, what: &str) -> AwsError {
        AwsError::garbled(call, Some(self.who.clone()), what)
    }
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<Tag> {
    let tag = |(key, value): &(&str, &str)| {
        Tag::builder().key(*key).value(*value).build().expect("a key and a value are all that a tag needs")
    };
    tags.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::testing::{ask, says};

    #[tokio::test]
    async fn only_layers_that_are_available_are_there() {
        let layers = [b"1", b"2", b"3"].map(|text| Digest::of(text));
        let [one, two, three] = layers;
        let answer = format!(
            r#"{{"layers":[{{"layerDigest":"{one}","layerAvailability":"AVAILABLE","layerSize":1}},
            {{"layerDigest":"{two}","layerAvailability":"UNAVAILABLE"}},{{"layerAvailability":"AVAILABLE"}}],
            "failures":[{{"layerDigest":"{three}","failureCode":"MissingLayerDigest"}}]}}"#
        );
        let who = Arc::new(Caller::parse("arn:aws:iam::123456789012:user/ann", "123456789012").unwrap());
        let question = async |config| Ecr::new(&config, &who).layers_there("210987654321", "team/a", &layers).await;
        let (there, asked) = ask(&says("200 OK", &answer), question).await;
        assert_eq!(there.unwrap(), BTreeSet::from([one]));
        assert!(asked.contains("BatchCheckLayerAvailability") && asked.contains(r#""registryId":"210987654321""#));
        assert!(layers.iter().all(|layer| asked.contains(&layer.to_string())), "{asked}");
    }
}
