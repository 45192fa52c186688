//! Words for what the road would do.

use serde_json::{Value, json};

use super::{Done, escape};
use crate::deploy::{Change, Field, Plan};
use crate::event::CloudOutcome;

/// What a change does to the thing that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Create,
    Change,
    Delete,
}

impl Effect {
    fn of(change: &Change) -> Self {
        match change.action.outcome() {
            CloudOutcome::Created | CloudOutcome::Registered => Self::Create,
            CloudOutcome::Changed | CloudOutcome::Exists | CloudOutcome::Unchanged => Self::Change,
            CloudOutcome::Removed => Self::Delete,
        }
    }

    fn of_field(field: &Field) -> Self {
        match (&field.is, &field.wanted) {
            (None, _) => Self::Create,
            (Some(_), Some(_)) => Self::Change,
            (Some(_), None) => Self::Delete,
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Delete => '-',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// The plans of all loaders, one below the other; `of` so many that were asked for.
pub(super) fn answer(plans: &[(String, Plan)], of: usize) -> Done {
    let text: Vec<String> = plans.iter().map(|(name, plan)| words(name, plan)).collect();
    let mut json: Vec<Value> = plans.iter().map(|(name, plan)| fact(name, plan)).collect();
    let json = if of == 1 && json.len() == 1 { json.remove(0) } else { json!({ "loaders": json }) };
    Done::new(text.join("\n\n"), json)
}

fn words(name: &str, plan: &Plan) -> String {
    let (mut lines, changes) = (lines(name, plan), &plan.changes);
    lines.push(match changes.len() {
        0 => "Nothing to do, unless the image becomes another: known after build".to_owned(),
        _ => {
            let count = |effect| changes.iter().filter(|change| Effect::of(change) == effect).count();
            let [create, change, delete] = [Effect::Create, Effect::Change, Effect::Delete].map(count);
            format!("To create: {create}; to change: {change}; to delete: {delete}")
        }
    });
    lines.join("\n")
}

/// Each change with its fields, and what stays.
pub(super) fn lines(name: &str, plan: &Plan) -> Vec<String> {
    let Plan { account, region, changes, kept } = plan;
    let mut lines = vec![format!("{name} in account {account}, {region}")];
    for change in changes {
        let (kind, name) = (change.action.kind(), escape::text(&change.name));
        let adopts = if change.adopts { " (not made by locus-push)" } else { "" };
        lines.push(format!("  {} {kind} {name}{adopts}: {}", Effect::of(change).sign(), escape::text(&change.why)));
        for field in &change.fields {
            lines.push(format!("      {} {}", Effect::of_field(field).sign(), escape::text(&field.to_string())));
        }
    }
    lines.extend(kept.iter().map(|kept| format!("  = {}", escape::text(kept))));
    lines
}

pub(super) fn fact(name: &str, plan: &Plan) -> Value {
    let Plan { account, region, changes, kept } = plan;
    let field = |Field { name, is, wanted }: &Field| json!({ "field": name, "is": is, "wanted": wanted });
    let change = |change: &Change| {
        json!({
            "effect": Effect::of(change).word(),
            "kind": change.action.kind(),
            "name": change.name,
            "why": change.why,
            "fields": change.fields.iter().map(field).collect::<Vec<_>>(),
            "adopts": change.adopts,
        })
    };
    json!({
        "loader": name,
        "account": account,
        "region": region,
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "kept": kept,
        "nothing_to_do": changes.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::Action;

    fn change(action: Action, name: &str, why: &str, fields: Vec<Field>) -> Change {
        Change { action, name: name.into(), why: why.into(), fields, adopts: false }
    }

    fn field(name: &str, is: Option<&str>, wanted: Option<&str>) -> Field {
        Field { name: name.into(), is: is.map(str::to_owned), wanted: wanted.map(str::to_owned) }
    }

    fn plan(changes: Vec<Change>) -> Vec<(String, Plan)> {
        let (account, region) = ("123456789012".into(), "eu-west-1".into());
        vec![("a".to_owned(), Plan { account, region, changes, kept: vec!["the role r stays".into()] })]
    }

    #[test]
    fn each_change_is_told_with_its_reason_and_field_by_field() {
        let changes = vec![
            change(Action::CreateCluster, "a_cluster", "there is none", vec![]),
            Change {
                adopts: true,
                ..change(
                    Action::SetRetention,
                    "a",
                    "it keeps its lines for ever",
                    vec![field("retention", Some("for ever"), Some("30 days"))],
                )
            },
            change(
                Action::Register,
                "a",
                "a:3 runs another task",
                vec![field("environment X", Some("1"), None), field("image", Some("i"), Some("(known after build)"))],
            ),
            change(Action::Deregister, "a:1", "10 revisions are kept", vec![]),
        ];
        let done = answer(&plan(changes), 1);
        assert_eq!(
            done.text,
            "a in account 123456789012, eu-west-1\n\
             \x20 + cluster a_cluster: there is none\n\
             \x20 ~ log group a (not made by locus-push): it keeps its lines for ever\n\
             \x20     ~ retention: for ever -> 30 days\n\
             \x20 + task definition a: a:3 runs another task\n\
             \x20     - environment X: 1 -> nothing\n\
             \x20     ~ image: i -> (known after build)\n\
             \x20 - task definition a:1: 10 revisions are kept\n\
             \x20 = the role r stays\n\
             To create: 2; to change: 1; to delete: 1"
        );
        assert_eq!(done.exit_code(), 0);
        assert_eq!(done.json["changes"][1]["adopts"], true);
        assert_eq!(
            done.json["changes"][2]["fields"][0],
            json!({ "field": "environment X", "is": "1", "wanted": null })
        );
    }

    #[test]
    fn nothing_to_do_is_said() {
        let done = answer(&plan(vec![]), 1);
        assert!(done.text.ends_with("\nNothing to do, unless the image becomes another: known after build"));
        assert_eq!(done.json["nothing_to_do"], true);
    }
}
