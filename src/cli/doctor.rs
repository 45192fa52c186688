//! Words for what this machine can do, and whom it reaches.

use serde_json::json;

use super::checks::{Check, Verdict, facts, lines, width};
use super::screen::bytes;
use super::{Done, Kind};
use crate::deploy;
use crate::road::Diagnosis;
use crate::sandbox::{RungKind, Tried};

/// With less than this a build of any size ends in the middle.
const LITTLE: u64 = 1 << 30;

/// A line a check, those that decide first; exit code 1 where no RUN can be executed.
pub(super) fn answer(found: &Diagnosis, reached: Vec<deploy::Check>) -> Done {
    let chosen = found.chosen();
    let mut checks = vec![match &chosen {
        Ok(rung) => Check::ok("RUN", format!("{}: {}", rung.name(), rung.why())),
        Err(none) => Check::ng("RUN", none.to_string(), none.hint()),
    }];
    let kind = chosen.as_ref().ok().map(|rung| rung.kind());
    checks.extend(found.ladder.iter().map(|tried| rung(tried, kind)));
    checks.push(match chosen.as_ref().map(|rung| rung.copied_since()) {
        Ok(None) => Check::ok("layers", "laid over one another in place".into()),
        Ok(Some(since)) => Check::ok("layers", format!("copied for each RUN, which takes longer, since {since}")),
        Err(_) => Check::unknown("layers", "no RUN, no layers to lay over one another".into()),
    });
    checks.extend(found.emulations.iter().map(|(platform, by)| {
        let name = format!("RUN for {platform}");
        match by {
            Ok(by) => {
                Check::ok(name, by.by().map_or("its programs run here".to_owned(), |by| format!("emulated by {by}")))
            }
            Err(none) => Check::ng(name, none.to_string(), none.hint().unwrap_or_default()),
        }
    }));
    checks.push(match &found.space {
        None => Check::unknown("disk", "how much of it is free cannot be told".into()),
        Some(space) => {
            let says = format!("{} free of {}", bytes(space.free), bytes(space.size));
            match space.free < LITTLE {
                true => Check::ng("disk", says, "locus-push cache prune; or LOCUS_PUSH_HOME on another disk".into()),
                false => Check::ok("disk", says),
            }
        }
    });
    checks.extend(reached.into_iter().map(Check::from));
    let mut done = Done::new(
        lines(&checks, width(&checks)),
        json!({
            "run": chosen.is_ok(),
            "rung": kind.map(RungKind::name),
            "isolated": kind.map(|kind| kind != RungKind::Chroot),
            "checks": facts(&checks),
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
        Ok(_) if Some(tried.kind) == chosen => Check::ok(name, "usable, and the best here".into()),
        Ok(_) => Check::ok(name, "usable".into()),
        Err(error) if error.is_for_others() => {
            Check { name: name.into(), verdict: Verdict::Other, says: error.to_string(), mend: None }
        }
        Err(error) => Check::ng(name, error.to_string(), error.hint()),
    }
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
        let done = answer(&found, Vec::new());
        assert_eq!(done.exit_code, 1);
        let shown: Vec<&str> = done.text.lines().map(|line| line.split("  ").next().unwrap_or_default()).collect();
        assert_eq!(shown[..2], ["NG", ""], "{}", done.text);
        assert!(done.text.contains("mend: or sudo sysctl -w user.max_user_namespaces=15000"), "{}", done.text);
        assert!(done.text.contains("\n--  root "), "{}", done.text);
        assert_eq!(done.json["run"], false);
        assert_eq!(done.json["checks"][1]["verdict"], "not for this user");
    }
}
