//! Secrets Manager.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::Tag;

use super::{AwsError, Caller, Kind};
use crate::secret::Secret;

/// The calls of Secrets Manager. A value goes in and never comes out.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
    who: Arc<Caller>,
}

/// A secret that is there; not its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFound {
    /// With its six random characters: it can be found out, never made up.
    pub arn: String,
    /// A customer's own key, as its ARN or id; `None` is the key that AWS keeps.
    pub kms_key: Option<String>,
    /// It waits for its deletion: nothing can be read from it or written to it.
    pub deleted: bool,
}

impl Secrets {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    /// By name or ARN.
    pub async fn secret(&self, id: &str) -> Result<Option<SecretFound>, AwsError> {
        const CALL: &str = "secretsmanager:DescribeSecret";
        match self.client.describe_secret().secret_id(id).send().await {
            Ok(answer) => {
                let arn = answer.arn().ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "ARN"))?;
                Ok(Some(SecretFound {
                    arn: arn.to_owned(),
                    kms_key: answer.kms_key_id().filter(|key| !key.contains("alias/aws/")).map(str::to_owned),
                    deleted: answer.deleted_date().is_some(),
                }))
            }
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// The tags of a secret; `None` where it is not there, or on its way out.
    pub async fn tags(&self, id: &str) -> Result<Option<Vec<(String, String)>>, AwsError> {
        const CALL: &str = "secretsmanager:DescribeSecret";
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        match self.client.describe_secret().secret_id(id).send().await {
            Ok(answer) if answer.deleted_date().is_some() => Ok(None),
            Ok(answer) => Ok(Some(answer.tags().iter().map(|tag| (text(tag.key()), text(tag.value()))).collect())),
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// For thirty days it can be brought back.
    pub async fn delete(&self, id: &str) -> Result<(), AwsError> {
        let call = self.client.delete_secret().secret_id(id).recovery_window_in_days(30);
        call.send()
            .await
            .map_err(|error| AwsError::new("secretsmanager:DeleteSecret", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// Returns the ARN.
    pub async fn create(&self, name: &str, value: &Secret, tags: &[(&str, &str)]) -> Result<String, AwsError> {
        const CALL: &str = "secretsmanager:CreateSecret";
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build());
        let answer = self
            .client
            .create_secret()
            .name(name)
            .secret_string(text(value))
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let arn = answer.arn().ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "ARN"))?;
        Ok(arn.to_owned())
    }

    /// The value now, where it has one and it is text.
    pub async fn value(&self, id: &str) -> Result<Option<Secret>, AwsError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        match self.client.get_secret_value().secret_id(id).send().await {
            Ok(answer) => Ok(answer.secret_string().map(Secret::new)),
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Each call makes a version; AWS asks for no more than one in ten minutes.
    pub async fn put(&self, id: &str, value: &Secret) -> Result<(), AwsError> {
        self.client
            .put_secret_value()
            .secret_id(id)
            .secret_string(text(value))
            .send()
            .await
            .map_err(|error| AwsError::new("secretsmanager:PutSecretValue", Some(self.who.clone()), error))?;
        Ok(())
    }
}

/// The SDK takes an owned string; it marks it sensitive and does not print it.
fn text(value: &Secret) -> &str {
    value.expose_str().expect("a secret's value is checked to be UTF-8 where it is read")
}
