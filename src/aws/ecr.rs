//! Elastic Container Registry: the repository, and the credential to push with.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{self as sdk, ImageTagMutability, Tag};

use super::{AwsError, Caller, Kind};
use crate::secret::Secret;

#[derive(Clone, Debug)]
pub struct Ecr {
    client: Client,
    who: Arc<Caller>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub uri: String,
    pub arn: String,
    /// The account that it is in.
    pub account: String,
}

/// What a registry is pushed to with, good for twelve hours.
#[derive(Debug)]
pub struct RegistryLogin {
    /// The registry's host, without a scheme.
    pub host: String,
    /// Base64 of `AWS:<password>`: what follows `Authorization: Basic`, as it came.
    pub basic: Secret,
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

    /// Tags can be moved (`latest` has to be), and tasks run by digest anyway.
    pub async fn create_repository(&self, name: &str, tags: &[(&str, &str)]) -> Result<Repository, AwsError> {
        const CALL: &str = "ecr:CreateRepository";
        let tags = tags.iter().map(|(key, value)| {
            Tag::builder().key(*key).value(*value).build().expect("a key and a value are all that a tag needs")
        });
        let answer = self
            .client
            .create_repository()
            .repository_name(name)
            .image_tag_mutability(ImageTagMutability::Mutable)
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let made = answer.repository().ok_or_else(|| self.garbled(CALL, "repository"))?;
        self.read(CALL, made)
    }

    /// Ask just before it is used: a long build may outlive it, and it touches no disk.
    pub async fn login(&self) -> Result<RegistryLogin, AwsError> {
        const CALL: &str = "ecr:GetAuthorizationToken";
        let answer = self
            .client
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let data = answer.authorization_data().first().ok_or_else(|| self.garbled(CALL, "authorizationData"))?;
        let token = data.authorization_token().ok_or_else(|| self.garbled(CALL, "authorizationToken"))?;
        let endpoint = data.proxy_endpoint().ok_or_else(|| self.garbled(CALL, "proxyEndpoint"))?;
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).trim_end_matches('/');
        Ok(RegistryLogin { host: host.to_owned(), basic: Secret::new(token) })
    }

    fn read(&self, call: &'static str, found: &sdk::Repository) -> Result<Repository, AwsError> {
        match (found.repository_uri(), found.repository_arn(), found.registry_id()) {
            (Some(uri), Some(arn), Some(account)) => {
                Ok(Repository { uri: uri.to_owned(), arn: arn.to_owned(), account: account.to_owned() })
            }
            _ => Err(self.garbled(call, "repositoryUri, repositoryArn and registryId")),
        }
    }

    fn garbled(&self, call: &'static str, what: &str) -> AwsError {
        AwsError::garbled(call, Some(self.who.clone()), what)
    }
}
