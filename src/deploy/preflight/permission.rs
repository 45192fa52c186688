//! What an identity may do, asked of IAM's simulator: nothing is tried.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>

use std::time::Duration;

use futures_util::future::join_all;

use super::check::Check;
use crate::aws::{AwsError, Caller, Cloud, Permission};
use crate::deploy::change::{Action, Change};
use crate::deploy::loader::Loader;
use crate::deploy::policy::Scope;
use crate::deploy::present::Present;
use crate::deploy::schedule::GROUP;

/// A simulator that fails is asked again by the SDK, and so long is waited for in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Actions on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub actions: Vec<String>,
    pub resource: String,
    /// What conditions are told.
    context: Vec<(&'static str, String)>,
}

impl Need {
    pub fn new(actions: Vec<String>, resource: String) -> Self {
        Self { actions, resource, context: Vec::new() }
    }

    fn of(actions: &[&str], resource: String) -> Self {
        Self::new(actions.iter().map(|&action| action.to_owned()).collect(), resource)
    }

    fn told(mut self, key: &'static str, value: String) -> Self {
        self.context.push((key, value));
        self
    }
}

/// Whether the caller may do what the road does after the build, in three lines.
pub(super) async fn of_caller(cloud: &Cloud, loader: &Loader, present: &Present, changes: &[Change]) -> Vec<Check> {
    let scope = &present.scope;
    let all = [
        ("permission to push", push(scope, loader)),
        ("permission to create", creation(scope, loader, changes)),
        ("permission to run", run(scope, loader, present)),
    ];
    let all = all.into_iter().filter(|(_, needs)| !needs.is_empty());
    let principal = match principal(cloud).await {
        Ok(Some(principal)) => principal,
        Ok(None) => {
            let root = |(name, _)| Check::ok(name, "the account's root may do everything");
            return all.map(root).collect();
        }
        Err(why) => {
            let doubt = |(name, _): (&str, Vec<Need>)| Check::unknown(name, why.says.clone(), why.mend.clone());
            return all.map(doubt).collect();
        }
    };
    join_all(all.map(|(name, needs)| {
        let principal = &principal;
        async move { simulated(cloud, name, principal, &needs).await }
    }))
    .await
}

/// What the policies of a user or role say of what is needed.
pub(super) async fn simulated(cloud: &Cloud, name: &str, principal: &str, needs: &[Need]) -> Check {
    let asked = needs.iter().map(|need| async {
        let actions: Vec<&str> = need.actions.iter().map(String::as_str).collect();
        let context: Vec<(&str, &str)> = need.context.iter().map(|(key, value)| (*key, value.as_str())).collect();
        cloud.iam.simulated(principal, &actions, &need.resource, &context).await
    });
    let Ok(said) = tokio::time::timeout(PATIENCE, join_all(asked)).await else {
        return Check::unknown(name, format!("IAM's simulator does not answer within {} s", PATIENCE.as_secs()), None);
    };
    match said.into_iter().collect::<Result<Vec<Vec<Permission>>, AwsError>>() {
        Ok(said) => judge(name, principal, needs, &said),
        Err(error) => Check::unknown(name, error.to_string(), error.hint()),
    }
}

fn judge(name: &str, principal: &str, needs: &[Need], said: &[Vec<Permission>]) -> Check {
    let all = || needs.iter().zip(said).flat_map(|(need, said)| said.iter().map(move |one| (need, one)));
    let refused: Vec<(&Need, &Permission)> =
        all().filter(|(_, one)| one.forbidden || !(one.allowed || one.in_doubt)).collect();
    if !refused.is_empty() {
        let words = |(need, one): &(&Need, &Permission)| {
            let forbidden = if one.forbidden { ", which a policy forbids" } else { "" };
            format!("{} on {}{forbidden}", one.action, need.resource)
        };
        let words = refused.iter().map(words).collect::<Vec<_>>().join("; ");
        let check = Check::ng(name, format!("{principal} may not {words}"), Some(format!("allow it to {principal}")));
        // Elsewhere a resource's own policy may allow what no policy of the identity does.
        let alone = |action: &str| action.starts_with("ecs:") || action.starts_with("iam:");
        let certain = refused.iter().any(|(_, one)| alone(&one.action) && !one.in_doubt);
        return if certain { check.stopping() } else { check };
    }
    let doubtful: Vec<&str> = all().filter(|(_, one)| !one.allowed).map(|(_, one)| one.action.as_str()).collect();
    if !doubtful.is_empty() {
        let says = format!("conditions that cannot be told from here decide on {}", doubtful.join(", "));
        return Check::unknown(name, says, None);
    }
    let count: usize = needs.iter().map(|need| need.actions.len()).sum();
    if all().count() < count {
        return Check::unknown(name, "IAM's simulator did not speak of everything", None);
    }
    Check::ok(name, format!("{count} actions are allowed"))
}

/// Whose policies are asked; `None` is the account's root, who needs none.
async fn principal(cloud: &Cloud) -> Result<Option<String>, Check> {
    let doubt = |says: String, mend| Check::unknown("", says, mend);
    match Principal::of(&cloud.caller) {
        Principal::Root => Ok(None),
        Principal::User => Ok(Some(cloud.caller.arn.clone())),
        // A session's ARN lacks the role's path, which AWS's own roles have.
        Principal::Session(role) => match cloud.iam.role(&role).await {
            Ok(Some(role)) => Ok(Some(role.arn)),
            Ok(None) => Err(doubt(format!("there is no role {role} in this account"), None)),
            Err(error) => Err(doubt(error.to_string(), error.hint())),
        },
        Principal::Other => Err(doubt(format!("IAM's simulator does not know {}", cloud.caller.arn), None)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Principal {
    Root,
    User,
    /// Of this role.
    Session(String),
    Other,
}

impl Principal {
    fn of(caller: &Caller) -> Self {
        let resource = caller.arn.splitn(6, ':').nth(5).unwrap_or_default();
        match resource.split('/').collect::<Vec<_>>()[..] {
            ["root"] => Self::Root,
            ["user", ..] => Self::User,
            ["assumed-role", role, _] => Self::Session(role.to_owned()),
            _ => Self::Other,
        }
    }
}

fn push(scope: &Scope, loader: &Loader) -> Vec<Need> {
    let actions = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
    ];
    vec![
        Need::of(&["ecr:GetAuthorizationToken"], "*".to_owned()),
        Need::of(&actions, scope.arn("ecr", &format!("repository/{}", loader.repository))),
    ]
}

fn run(scope: &Scope, loader: &Loader, present: &Present) -> Vec<Need> {
    let cluster = scope.arn("ecs", &format!("cluster/{}", loader.cluster));
    // Whichever revision it will be.
    let revision = scope.arn("ecs", &format!("task-definition/{}:1", loader.name));
    let pass = |role: String| {
        Need::of(&["iam:PassRole"], role).told("iam:PassedToService", "ecs-tasks.amazonaws.com".to_owned())
    };
    let arn = |found: Option<&crate::deploy::present::PresentRole>, name: &str| {
        found.map_or_else(|| role(scope, name), |found| found.arn.clone())
    };
    vec![
        Need::of(&["ecs:RegisterTaskDefinition"], "*".to_owned()),
        Need::of(&["ecs:RunTask"], revision).told("ecs:cluster", cluster),
        pass(arn(present.execution_role.as_ref(), &loader.execution_role)),
        pass(arn(present.task_role.as_ref(), &loader.task_role)),
    ]
}

fn role(scope: &Scope, name: &str) -> String {
    format!("arn:{}:iam::{}:role/{name}", scope.partition, scope.account)
}

/// What is made or changed before the task is registered.
fn creation(scope: &Scope, loader: &Loader, changes: &[Change]) -> Vec<Need> {
    let repository = || scope.arn("ecr", &format!("repository/{}", loader.repository));
    let log_group = || scope.arn("logs", &format!("log-group:{}", loader.log_group));
    let schedule = || scope.arn("scheduler", &format!("schedule/{GROUP}/{}", loader.name));
    let of_role = |kind: crate::deploy::RoleKind| match kind {
        crate::deploy::RoleKind::Execution => role(scope, &loader.execution_role),
        crate::deploy::RoleKind::Task => role(scope, &loader.task_role),
        crate::deploy::RoleKind::Schedule => role(scope, &loader.schedule_role),
    };
    let need = |change: &Change| {
        let (actions, resource): (&[&str], String) = match &change.action {
            Action::CreateRepository => (&["ecr:CreateRepository"], repository()),
            Action::SetMutability => (&["ecr:PutImageTagMutability"], repository()),
            Action::CreateLifecycle | Action::ReplaceLifecycle => (&["ecr:PutLifecyclePolicy"], repository()),
            Action::CreateCluster => (&["ecs:CreateCluster"], scope.arn("ecs", &format!("cluster/{}", change.name))),
            Action::CreateLogGroup => (&["logs:CreateLogGroup", "logs:PutRetentionPolicy"], log_group()),
            Action::SetRetention => (&["logs:PutRetentionPolicy"], log_group()),
            Action::CreateSecret { .. } => {
                (&["secretsmanager:CreateSecret"], scope.arn("secretsmanager", &format!("secret:{}", change.name)))
            }
            Action::CreateRole(kind) => (&["iam:CreateRole"], of_role(*kind)),
            Action::ReplaceTrust(kind) => (&["iam:UpdateAssumeRolePolicy"], of_role(*kind)),
            Action::CreatePolicy(kind) | Action::ReplacePolicy(kind) => (&["iam:PutRolePolicy"], of_role(*kind)),
            Action::DeletePolicy(kind) => (&["iam:DeleteRolePolicy"], of_role(*kind)),
            Action::CreateScheduleGroup => {
                (&["scheduler:CreateScheduleGroup"], scope.arn("scheduler", &format!("schedule-group/{GROUP}")))
            }
            Action::CreateSchedule => (&["scheduler:CreateSchedule"], schedule()),
            Action::ReplaceSchedule => (&["scheduler:UpdateSchedule"], schedule()),
            // What goes stays where it may not go, and no task fails for it. The ARN of a secret that is there has six characters more, and what is adopted, its tags alone; of
            // revisions `run` speaks.
            Action::Remove(_)
            | Action::UpdateSecret { .. }
            | Action::Adopt(_)
            | Action::Register
            | Action::Deregister => return None,
        };
        Some(Need::of(actions, resource))
    };
    changes.iter().filter_map(need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::testing::{Script, os_opendata, scope};

    fn permission(action: &str, allowed: bool, forbidden: bool, in_doubt: bool) -> Permission {
        Permission { action: action.to_owned(), allowed, forbidden, in_doubt }
    }

    #[track_caller]
    fn check(said: Permission, words: &str, stops: bool) {
        let needs = [Need::of(&[&said.action], "arn:x".into())];
        let check = judge("p", "arn:me", &needs, &[vec![said]]);
        assert!(format!("{:?} {}", check.verdict, check.says).starts_with(words), "{check:?}");
        assert_eq!(check.stops, stops);
    }

    #[test]
    fn only_what_nothing_else_could_allow_stops_the_road() {
        check(permission("ecs:RunTask", true, false, false), "Ok 1 actions are allowed", false);
        check(permission("ecs:RunTask", false, false, false), "Ng arn:me may not ecs:RunTask on arn:x", true);
        check(permission("ecs:RunTask", false, false, true), "Unknown conditions that cannot be told", false);
        check(permission("ecr:PutImage", false, false, false), "Ng arn:me may not ecr:PutImage on arn:x", false);
        let words = "Ng arn:me may not iam:PassRole on arn:x, which a policy forbids";
        check(permission("iam:PassRole", false, true, false), words, true);
        let silent = judge("p", "arn:me", &[Need::of(&["a:B"], "*".into())], &[vec![]]);
        assert_eq!(silent.says, "IAM's simulator did not speak of everything");
    }

    #[test]
    fn whose_policies_are_asked_is_read_from_the_callers_arn() {
        for (arn, wanted) in [
            ("arn:aws:iam::123456789012:root", Principal::Root),
            ("arn:aws:iam::123456789012:user/team/ann", Principal::User),
            ("arn:aws:sts::123456789012:assumed-role/deployer/ci:1", Principal::Session("deployer".into())),
            ("arn:aws:sts::123456789012:federated-user/ann", Principal::Other),
        ] {
            let caller = Caller { arn: arn.into(), account: "123456789012".into(), partition: "aws".into() };
            assert_eq!(Principal::of(&caller), wanted, "{arn}");
        }
    }

    #[test]
    fn what_is_made_asks_for_what_makes_it() {
        let change = |action: Action, name: &str| Change {
            action,
            name: name.into(),
            why: String::new(),
            fields: vec![],
            adopts: false,
        };
        let changes = [
            change(Action::CreateCluster, "c"),
            change(Action::CreateRole(crate::deploy::RoleKind::Task), "r"),
            change(Action::Register, "d"),
        ];
        let said = |need: &Need| format!("{} on {}", need.actions.join(" "), need.resource);
        let needs: Vec<String> = creation(&scope(), &os_opendata(), &changes).iter().map(said).collect();
        assert_eq!(
            needs,
            [
                "ecs:CreateCluster on arn:aws:ecs:eu-west-1:123456789012:cluster/c",
                "iam:CreateRole on arn:aws:iam::123456789012:role/os_opendata-task-role",
            ]
        );
    }

    #[tokio::test]
    async fn the_simulator_is_asked_and_who_may_not_ask_is_told_so() {
        let member = "<EvaluationResults><member><EvalActionName>iam:PassRole</EvalActionName>\
            <EvalResourceName>arn:r</EvalResourceName><EvalDecision>implicitDeny</EvalDecision></member></EvaluationResults>";
        let played = Script::default().xml("SimulatePrincipalPolicy", member).play().await;
        let needs = [Need::of(&["iam:PassRole"], "arn:r".into()).told("iam:PassedToService", "ecs-tasks".into())];
        let check = simulated(&played.cloud, "p", "arn:me", &needs).await;
        assert_eq!(check.says, "arn:me may not iam:PassRole on arn:r");
        let asked = played.asked_for("SimulatePrincipalPolicy")[0].to_string();
        assert!(
            asked.contains("ContextKeyName=iam%3APassedToService") && asked.contains("ResourceArns.member.1=arn%3Ar")
        );
        let denied = Script::default().xml_error("SimulatePrincipalPolicy", 403, "AccessDenied").play().await;
        let check = simulated(&denied.cloud, "p", "arn:me", &needs).await;
        let mend = check.mend.expect("a hint");
        assert!(mend.starts_with("allow iam:SimulatePrincipalPolicy to "), "{mend}");
    }
}
