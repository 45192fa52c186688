//! Identity and Access Management: the two roles of a task.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{self as sdk, Tag};
use serde_json::Value;

use super::{AwsError, Caller, Kind};

/// The calls of IAM for roles and their inline policies.
#[derive(Clone, Debug)]
pub struct Iam {
    client: Client,
    who: Arc<Caller>,
}

/// A role that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub arn: String,
    /// Who may take the role.
    pub trust: Value,
    pub tags: Vec<(String, String)>,
}

/// What a simulation says of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub action: String,
    pub allowed: bool,
    /// A statement forbids it, whatever others allow.
    pub forbidden: bool,
    /// A condition asks for something that was not told.
    pub in_doubt: bool,
}

impl Iam {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    pub async fn role(&self, name: &str) -> Result<Option<Role>, AwsError> {
        const CALL: &str = "iam:GetRole";
        match self.client.get_role().role_name(name).send().await {
            Ok(answer) => answer.role().map(|role| self.read(CALL, role)).transpose(),
            Err(error) => or_none(AwsError::new(CALL, Some(self.who.clone()), error)),
        }
    }

    pub async fn create_role(
        &self,
        name: &str,
        trust: &Value,
        description: &str,
        tags: &[(&str, &str)],
    ) -> Result<Role, AwsError> {
        const CALL: &str = "iam:CreateRole";
        let answer = self
            .client
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust.to_string())
            .description(description)
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let made = answer.role().ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "role"))?;
        self.read(CALL, made)
    }

    pub async fn set_trust(&self, role: &str, trust: &Value) -> Result<(), AwsError> {
        self.client
            .update_assume_role_policy()
            .role_name(role)
            .policy_document(trust.to_string())
            .send()
            .await
            .map_err(|error| AwsError::new("iam:UpdateAssumeRolePolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn tag_role(&self, role: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        self.client
            .tag_role()
            .role_name(role)
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new("iam:TagRole", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// An inline policy of a role.
    pub async fn role_policy(&self, role: &str, policy: &str) -> Result<Option<Value>, AwsError> {
        const CALL: &str = "iam:GetRolePolicy";
        match self.client.get_role_policy().role_name(role).policy_name(policy).send().await {
            Ok(answer) => self.document(CALL, Some(answer.policy_document())).map(Some),
            Err(error) => or_none(AwsError::new(CALL, Some(self.who.clone()), error)),
        }
    }

    pub async fn put_role_policy(&self, role: &str, policy: &str, document: &Value) -> Result<(), AwsError> {
        self.client
            .put_role_policy()
            .role_name(role)
            .policy_name(policy)
            .policy_document(document.to_string())
            .send()
            .await
            .map_err(|error| AwsError::new("iam:PutRolePolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn delete_role_policy(&self, role: &str, policy: &str) -> Result<(), AwsError> {
        self.client
            .delete_role_policy()
            .role_name(role)
            .policy_name(policy)
            .send()
            .await
            .map_err(|error| AwsError::new("iam:DeleteRolePolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The names of a role's inline policies, and the ARNs of those that are attached to it.
    pub async fn policies_of(&self, role: &str) -> Result<(Vec<String>, Vec<String>), AwsError> {
        const CALLS: [&str; 2] = ["iam:ListRolePolicies", "iam:ListAttachedRolePolicies"];
        let inline = self.client.list_role_policies().role_name(role).into_paginator().items().send();
        let inline = inline.try_collect().await;
        let inline = inline.map_err(|error| AwsError::new(CALLS[0], Some(self.who.clone()), error))?;
        let attached = self.client.list_attached_role_policies().role_name(role).into_paginator().items().send();
        let attached: Vec<sdk::AttachedPolicy> =
            attached.try_collect().await.map_err(|error| AwsError::new(CALLS[1], Some(self.who.clone()), error))?;
        Ok((inline, attached.iter().filter_map(|policy| policy.policy_arn().map(str::to_owned)).collect()))
    }

    pub async fn detach(&self, role: &str, policy_arn: &str) -> Result<(), AwsError> {
        self.client
            .detach_role_policy()
            .role_name(role)
            .policy_arn(policy_arn)
            .send()
            .await
            .map_err(|error| AwsError::new("iam:DetachRolePolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// It must have no policy any more.
    pub async fn delete_role(&self, name: &str) -> Result<(), AwsError> {
        let call = self.client.delete_role().role_name(name);
        call.send().await.map_err(|error| AwsError::new("iam:DeleteRole", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// What the policies of a user or role say of these actions on one resource; those of the resource itself are not
    /// asked. `context` is what conditions are told.
    pub async fn simulated(
        &self,
        principal: &str,
        actions: &[&str],
        resource: &str,
        context: &[(&str, &str)],
    ) -> Result<Vec<Permission>, AwsError> {
        let entry = |(key, value): &(&str, &str)| {
            let kind = sdk::ContextKeyTypeEnum::String;
            sdk::ContextEntry::builder()
                .context_key_name(*key)
                .context_key_type(kind)
                .context_key_values(*value)
                .build()
        };
        let answer = self
            .client
            .simulate_principal_policy()
            .policy_source_arn(principal)
            .set_action_names(Some(actions.iter().map(|&action| action.to_owned()).collect()))
            .resource_arns(resource)
            .set_context_entries(Some(context.iter().map(entry).collect()))
            .send()
            .await
            .map_err(|error| AwsError::new("iam:SimulatePrincipalPolicy", Some(self.who.clone()), error))?;
        let permission = |result: &sdk::EvaluationResult| Permission {
            action: result.eval_action_name().to_owned(),
            allowed: *result.eval_decision() == sdk::PolicyEvaluationDecisionType::Allowed,
            forbidden: *result.eval_decision() == sdk::PolicyEvaluationDecisionType::ExplicitDeny,
            in_doubt: !result.missing_context_values().is_empty(),
        };
        Ok(answer.evaluation_results().iter().map(permission).collect())
    }

    /// The role that a service of AWS's works with in an account; that it is there already is no error.
    pub async fn create_service_linked_role(&self, service: &str) -> Result<(), AwsError> {
        match self.client.create_service_linked_role().aws_service_name(service).send().await {
            Ok(_) => Ok(()),
            Err(error) => match AwsError::new("iam:CreateServiceLinkedRole", Some(self.who.clone()), error) {
                error if error.message.contains("has been taken") => Ok(()),
                error => Err(error),
            },
        }
    }

    fn read(&self, call: &'static str, role: &sdk::Role) -> Result<Role, AwsError> {
        let trust = self.document(call, role.assume_role_policy_document())?;
        let tags = role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        Ok(Role { arn: role.arn().to_owned(), trust, tags })
    }

    /// IAM sends its documents URL-encoded (RFC 3986), and the SDK hands them on as they come.
    fn document(&self, call: &'static str, text: Option<&str>) -> Result<Value, AwsError> {
        text.and_then(percent_decoded)
            .and_then(|text| serde_json::from_slice(&text).ok())
            .ok_or_else(|| AwsError::garbled(call, Some(self.who.clone()), "policy document in JSON"))
    }
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<Tag> {
    let tag = |(key, value): &(&str, &str)| {
        Tag::builder().key(*key).value(*value).build().expect("a key and a value are all that a tag needs")
    };
    tags.iter().map(tag).collect()
}

pub(super) fn or_none<T>(error: AwsError) -> Result<Option<T>, AwsError> {
    if error.kind == Kind::NotFound { Ok(None) } else { Err(error) }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            decoded.push(first);
            rest = after;
            continue;
        }
        let (hex, after) = after.split_at_checked(2)?;
        let hex = std::str::from_utf8(hex).ok().filter(|hex| !hex.starts_with('+'))?;
        decoded.push(u8::from_str_radix(hex, 16).ok()?);
        rest = after;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_decoded_and_a_broken_one_is_none() {
        assert_eq!(percent_decoded("%7B%22a%22%3A%20%22%2B+%22%7D").as_deref(), Some(br#"{"a": "++"}"#.as_slice()));
        assert_eq!(percent_decoded("{\"a\":1}").as_deref(), Some(br#"{"a":1}"#.as_slice()));
        for broken in ["%", "%7", "%zz", "%+1"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }
}
