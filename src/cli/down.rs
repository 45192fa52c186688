//! Words for what `down` removes, and the question whether to.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use serde_json::json;
use tokio::sync::watch;

use super::order::DownOrder;
use super::words::failure;
use super::{Done, Failure, plan, tasks};
use crate::deploy::Plan;
use crate::event::Events;
use crate::road;

pub(super) async fn down(order: DownOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let DownOrder { session, doomed, yes, may_ask } = order;
    let found = road::down(&tasks::at(session), &doomed).await.map_err(|error| failure(error, "", ""))?;
    let plan = found.plan();
    if plan.changes.is_empty() {
        return Ok(answer(&doomed.name, plan, false));
    }
    let yes = yes || (may_ask && agreed(&doomed.name, plan));
    if !yes {
        let refused = Failure::usage("nothing was removed").hint("--yes removes what is listed");
        return Ok(Done { failure: Some(refused), ..answer(&doomed.name, plan, false) });
    }
    found.take_down(events, &interrupt).await.map_err(|error| failure(error, "", ""))?;
    Ok(answer(&doomed.name, plan, true))
}

fn answer(name: &str, plan: &Plan, removed: bool) -> Done {
    let mut json = plan::fact(name, plan);
    json["removed"] = json!(removed);
    Done::new(words(name, plan, removed), json)
}

fn words(name: &str, plan: &Plan, removed: bool) -> String {
    let mut lines = plan::lines(name, plan);
    lines.push(match (plan.changes.len(), removed) {
        (0, _) => "Nothing to remove".to_owned(),
        (count, false) => format!("To remove: {count}"),
        (count, true) => format!("Removed: {count}"),
    });
    lines.join("\n")
}

/// Asked only where somebody can answer.
fn agreed(name: &str, plan: &Plan) -> bool {
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        return false;
    }
    eprint!("{}\nRemove all this? [y/N] ", words(name, plan, false));
    // Nobody is left to be asked when the stream is gone.
    let _ = stderr().flush();
    let mut line = String::new();
    let read = std::io::Read::take(stdin().lock(), 100).read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::{Action, Change, Removal};

    #[test]
    fn what_goes_and_what_stays_is_told_with_its_reason() {
        let change = |removal, name: &str, why: &str| Change {
            action: Action::Remove(removal),
            name: name.into(),
            why: why.into(),
            fields: Vec::new(),
            adopts: false,
        };
        let plan = Plan {
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            changes: vec![
                change(Removal::Schedule, "a", "it runs the loader: rate(1 day) UTC"),
                change(Removal::Role, "a-task-role", "it is tagged locus-push:loader=a"),
            ],
            kept: vec!["the repository r stays: other loaders may use it".into()],
        };
        assert_eq!(
            words("a", &plan, false),
            "a in account 123456789012, eu-west-1\n\
             \x20 - schedule a: it runs the loader: rate(1 day) UTC\n\
             \x20 - role a-task-role: it is tagged locus-push:loader=a\n\
             \x20 = the repository r stays: other loaders may use it\n\
             To remove: 2"
        );
        let done = answer("a", &plan, true);
        assert!(done.text.ends_with("\nRemoved: 2"));
        assert_eq!((&done.json["removed"], &done.json["changes"][0]["effect"]), (&json!(true), &json!("delete")));
    }
}
