//! Words for what this machine can do.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::screen::bytes;
use super::{Done, Kind, escape};
use crate::road::Diagnosis;
use crate::sandbox::{RungKind, Tried};

/// With less than this a build of any size ends in the middle.
const LITTLE: u64 = 1 << 30;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Ng,
    Unknown,
    /// It is for somebody else, and nobody's fault.
    Other,
}

/// One thing that was looked at.
struct Check {
    name: Cow<'static, str>,
    verdict: Verdict,
    says: String,
    /// What would make it OK.
    mend: Option<String>,
}

/// A line a check, those that decide first; exit code 1 where no RUN can be executed.
pub(super) fn answer(found: &Diagnosis) -> Done {
    let chosen = found.chosen();
    let mut checks = vec![match &chosen {
        Ok(rung) => ok("RUN", format!("{}: {}", rung.name(), rung.why())),
        Err(none) => ng("RUN", none.to_string(), none.hint()),
    }];
    let kind = chosen.as_ref().ok().map(|rung| rung.kind());
    checks.extend(found.ladder.iter().map(|tried| rung(tried, kind)));
    checks.push(match chosen.as_ref().map(|rung| rung.copied_since()) {
        Ok(None) => ok("layers", "laid over one another in place".into()),
        Ok(Some(since)) => ok("layers", format!("copied for each RUN, which takes longer, since {since}")),
        Err(_) => unknown("layers", "no RUN, no layers to lay over one another".into()),
    });
    checks.extend(found.emulations.iter().map(|(platform, by)| {
        let name = format!("RUN for {platform}");
        match by {
            Ok(by) => ok(name, by.by().map_or("its programs run here".to_owned(), |by| format!("emulated by {by}"))),
            Err(none) => ng(name, none.to_string(), none.hint().unwrap_or_default()),
        }
    }));
    checks.push(match &found.space {
        None => unknown("disk", "how much of it is free cannot be told".into()),
        Some(space) => {
            let says = format!("{} free of {}", bytes(space.free), bytes(space.size));
            match space.free < LITTLE {
                true => ng("disk", says, "locus-push cache prune; or LOCUS_PUSH_HOME on another disk".into()),
                false => ok("disk", says),
            }
        }
    });
    let mut done = Done::new(
        checks.iter().map(line).collect::<Vec<_>>().join("\n"),
        json!({
            "run": chosen.is_ok(),
            "rung": kind.map(RungKind::name),
            "isolated": kind.map(|kind| kind != RungKind::Chroot),
            "checks": checks.iter().map(fact).collect::<Vec<_>>(),
        }),
    );
    if chosen.is_err() {
        done.exit_code = Kind::Difference.exit_code();
    }
    done
}

/// A rung of the ladder.
fn rung(tried: &Tried, chosen: Option<RungKind>) -> Check {
    let name = tried.kind.name();
    match &tried.result {
        Ok(_) if Some(tried.kind) == chosen => ok(name, "usable, and the best here".into()),
        Ok(_) => ok(name, "usable".into()),
        Err(error) if error.is_for_others() => {
            Check { name: name.into(), verdict: Verdict::Other, says: error.to_string(), mend: None }
        }
        Err(error) => ng(name, error.to_string(), error.hint()),
    }
}

fn ok(name: impl Into<Cow<'static, str>>, says: String) -> Check {
    Check { name: name.into(), verdict: Verdict::Ok, says, mend: None }
}

fn ng(name: impl Into<Cow<'static, str>>, says: String, mend: String) -> Check {
    Check { name: name.into(), verdict: Verdict::Ng, says, mend: Some(mend) }
}

fn unknown(name: impl Into<Cow<'static, str>>, says: String) -> Check {
    Check { name: name.into(), verdict: Verdict::Unknown, says, mend: None }
}

fn line(check: &Check) -> String {
    let Check { name, verdict, says, mend } = check;
    let verdict = match verdict {
        Verdict::Ok => "OK",
        Verdict::Ng => "NG",
        Verdict::Unknown => "??",
        Verdict::Other => "--",
    };
    let mut line = format!("{verdict}  {name:WIDTH$}  {}", escape::text(says));
    for mend in mend.iter().flat_map(|mend| mend.lines()) {
        line += &format!("\n    {:WIDTH$}  mend: {}", "", escape::text(mend));
    }
    line
}

/// The longest name.
const WIDTH: usize = "root without a user namespace".len();

fn fact(check: &Check) -> Value {
    let Check { name, verdict, says, mend } = check;
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Ng => "ng",
        Verdict::Unknown => "unknown",
        Verdict::Other => "not for this user",
    };
    json!({ "name": name, "verdict": verdict, "says": says, "mend": mend })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::NoRung;

    #[test]
    fn where_no_rung_holds_the_exit_code_is_1_and_the_setting_is_named() {
        let failed = |kind, error| Tried { kind, result: Err(error) };
        let setting = "user.max_user_namespaces";
        let found = Diagnosis {
            ladder: vec![
                failed(RungKind::Root, NoRung::NotRoot),
                failed(RungKind::SubIds, NoRung::NoMapper { tool: "newuidmap" }),
                failed(RungKind::OneId, NoRung::SwitchedOff { setting, value: "0".into() }),
            ],
            emulations: Vec::new(),
            space: None,
        };
        let done = answer(&found);
        assert_eq!(done.exit_code, 1);
        let shown: Vec<&str> = done.text.lines().map(|line| line.split("  ").next().unwrap_or_default()).collect();
        assert_eq!(shown[..2], ["NG", ""], "{}", done.text);
        assert!(done.text.contains("mend: or sudo sysctl -w user.max_user_namespaces=15000"), "{}", done.text);
        assert!(done.text.contains("\n--  root "), "{}", done.text);
        assert_eq!(done.json["run"], false);
        assert_eq!(done.json["checks"][1]["verdict"], "not for this user");
    }
}
