//! Words for what loaders stand on.

use serde_json::json;

use super::checks::{Check, Verdict, facts, lines, width};
use super::order::PreflightOrder;
use super::{Done, Kind, tasks};
use crate::road;

/// What could still keep a task from its work.
const NOT_LOOKED_AT: [&str; 3] = ["network ACLs", "the repository's own policy", "policies of KMS keys"];

pub(super) async fn preflight(order: PreflightOrder) -> Done {
    let PreflightOrder { loaders, session } = order;
    let names: Vec<String> = loaders.iter().map(|loader| loader.name().to_owned()).collect();
    let road::Preflight { who, loaders } = road::preflight(&tasks::at(session), &loaders).await;
    let own = |checks: Vec<crate::deploy::Check>| checks.into_iter().map(Check::from).collect::<Vec<_>>();
    let (who, all): (Vec<Check>, Vec<Vec<Check>>) = (own(who), loaders.into_iter().map(own).collect());
    answer(&who, &names.into_iter().zip(all).collect::<Vec<_>>())
}

fn answer(who: &[Check], loaders: &[(String, Vec<Check>)]) -> Done {
    let all = || who.iter().chain(loaders.iter().flat_map(|(_, checks)| checks));
    let width = width(all());
    let mut text = vec![lines(who, width)];
    for (name, checks) in loaders {
        if loaders.len() > 1 {
            text.push(format!("\n{name}"));
        }
        text.push(lines(checks, width));
    }
    let of = |verdict| all().filter(|check| check.verdict == verdict).count();
    let (ng, unknown) = (of(Verdict::Ng), of(Verdict::Unknown));
    text.push(match (ng, unknown) {
        (0, 0) => "All of this is well".to_owned(),
        (0, unknown) => format!("Nothing is wrong; unknown: {unknown}"),
        (ng, unknown) => format!("Wrong: {ng}; unknown: {unknown}"),
    });
    text.push(format!("Not looked at: {}", NOT_LOOKED_AT.join(", ")));
    let told = |(name, checks): &(String, Vec<Check>)| json!({ "loader": name, "checks": facts(checks) });
    let json = json!({
        "ok": ng == 0,
        "identity": facts(who),
        "loaders": loaders.iter().map(told).collect::<Vec<_>>(),
        "not_looked_at": NOT_LOOKED_AT,
    });
    let mut done = Done::new(text.join("\n"), json);
    if ng > 0 {
        done.exit_code = Kind::Difference.exit_code();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_how_it_is_and_what_would_mend_it() {
        let who = [Check::ok("region", "eu-west-1".into())];
        let checks = vec![
            Check::ng("egress", "sg-1 lets nothing out".into(), "allow it".into()),
            Check::unknown("route of subnet-1", "tgw-1\u{1b}".into()),
        ];
        let done = answer(&who, &[("a".to_owned(), checks)]);
        assert_eq!(
            done.text,
            "OK  region             eu-west-1\n\
             NG  egress             sg-1 lets nothing out\n\
             \x20                      mend: allow it\n\
             ??  route of subnet-1  tgw-1\\x1b\n\
             Wrong: 1; unknown: 1\n\
             Not looked at: network ACLs, the repository's own policy, policies of KMS keys"
        );
        assert_eq!((done.exit_code(), &done.json["ok"]), (1, &json!(false)));
        assert_eq!(done.json["loaders"][0]["checks"][0]["mend"], "allow it");
        let done = answer(&who, &[("a".to_owned(), vec![]), ("b".to_owned(), vec![])]);
        assert_eq!(done.exit_code(), 0);
        assert!(
            done.text.contains("\n\nb\n") && done.text.contains("\nAll of this is well\nNot looked"),
            "{}",
            done.text
        );
    }
}
