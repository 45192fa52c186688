//! The two roles of a task: who may take them, and whether they allow what the loader needs.

use serde_json::Value;

use super::Found;
use super::check::Check;
use super::permission::{self, Need};
use crate::aws::Cloud;
use crate::deploy::change::{Action, Change, RoleKind};
use crate::deploy::loader::Loader;
use crate::deploy::present::Present;

impl RoleKind {
    fn title(self) -> &'static str {
        match self {
            Self::Execution => "execution role",
            Self::Task => "task role",
            Self::Schedule => "schedule role",
        }
    }
}

/// `changes` may be empty, where they are not known.
pub(super) fn judge(kind: RoleKind, name: &str, found: Found<'_>, changes: &[Change]) -> Check {
    let title = kind.title();
    let changed = changes.iter().any(|change| match change.action {
        Action::ReplaceTrust(of) | Action::CreatePolicy(of) | Action::ReplacePolicy(of) | Action::DeletePolicy(of) => {
            of == kind
        }
        _ => false,
    });
    match found {
        Err(error) => Check::ng(title, error.to_string(), error.hint()).stopping(),
        Ok(None) => Check::ok(title, format!("there is no {name} yet, and it is made")),
        Ok(Some(_)) if changed => {
            Check::ok(title, format!("{name} is there, and its policies are set as they should be"))
        }
        Ok(Some(role)) if role.ours => Check::ok(title, format!("{name} is as locus-push made it")),
        Ok(Some(_)) => Check::ok(title, format!("{name} was made by others, and ECS tasks may take it")),
    }
}

/// Whether roles that others made allow what the road would have put into its own.
pub(super) async fn allow(cloud: &Cloud, loader: &Loader, present: &Present) -> Vec<Check> {
    let both = [RoleKind::Execution, RoleKind::Task].map(|kind| async move {
        let (name, _, found) = kind.of(loader, present);
        let role = found.filter(|role| !(role.ours || loader.adopt))?;
        let document = kind.document(loader, present)?;
        let title = format!("what {name} allows");
        Some(permission::simulated(cloud, &title, &role.arn, &needs(&document)).await)
    });
    futures_util::future::join_all(both)
        .await
        .into_iter()
        .flatten()
        .map(|check| Check { stops: false, ..check })
        .collect()
}

/// The statements of a policy as what is to be allowed.
fn needs(document: &Value) -> Vec<Need> {
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    };
    let statements = document["Statement"].as_array().into_iter().flatten();
    let allowing = statements.filter(|statement| statement["Effect"] == "Allow");
    allowing
        .flat_map(|statement| {
            let actions: Vec<String> =
                texts(&statement["Action"]).into_iter().filter(|action| !action.contains('*')).collect();
            // In the place of the ARN of a secret that is yet to be made stand words.
            let real = |text: &String| text == "*" || text.starts_with("arn:");
            let resources = texts(&statement["Resource"]).into_iter().filter(real);
            resources.map(move |resource| Need::new(actions.clone(), resource)).collect::<Vec<_>>()
        })
        .filter(|need| !need.actions.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::error::DeployError;
    use crate::deploy::present::PresentRole;

    #[test]
    fn a_policys_statements_are_what_is_needed() {
        let document = json!({ "Statement": [
            { "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*" },
            { "Effect": "Allow", "Action": ["a:B", "a:C", "a:*"], "Resource": ["arn:x", "(ARN of the new secret y)"] },
            { "Effect": "Deny", "Action": "a:D", "Resource": "*" },
        ] });
        let said = |need: &Need| format!("{} on {}", need.actions.join(" "), need.resource);
        let needs: Vec<String> = needs(&document).iter().map(said).collect();
        assert_eq!(needs, ["ecr:GetAuthorizationToken on *", "a:B a:C on arn:x"]);
    }

    #[test]
    fn a_role_is_told_as_it_is() {
        let [ours, others] =
            [true, false].map(|ours| PresentRole { arn: "arn".into(), trust: Value::Null, policy: None, ours });
        let trust = DeployError::Trust { role: "r".into(), who: "ECS tasks", service: "ecs-tasks.amazonaws.com" };
        for (found, words, stops) in [
            (Ok(None), "there is no r yet, and it is made", false),
            (Ok(Some(&ours)), "r is as locus-push made it", false),
            (Ok(Some(&others)), "r was made by others, and ECS tasks may take it", false),
            (Err(&trust), "the role r may not be taken by ECS tasks", true),
        ] {
            let check = judge(RoleKind::Execution, "r", found, &[]);
            assert!(check.says.starts_with(words) && check.stops == stops, "{check:?}");
        }
    }
}
