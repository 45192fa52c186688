//! Words for what is told of a Dockerfile without building it: `--check`, `--call outline`, `--call targets`.

use serde_json::{Value, json};

use super::words::failure;
use super::{Done, Failure, Kind, Paint, Phase, Place, escape};
use crate::dockerfile::lint::{Outline, Required, Target, Warning};
use crate::road::Checked;

/// How the checks are told what to do.
pub(super) const OPTIONS: &str = "write skip=RULE,…|all, experimental=RULE,…|all and error=true, with `;` between them, \
     behind `# check=` or --build-arg BUILDKIT_DOCKERFILE_CHECK=";

/// The warnings, each at its place; then what fails, if something does.
pub(super) fn warnings(checked: Checked, shown: &str, text: &str) -> Done {
    let Checked { report, fault } = checked;
    let mut words: String = report.warnings.iter().map(|warning| warned(warning, shown, text) + "\n").collect();
    words += &match report.warnings.len() {
        0 => "Check complete, no warnings found.".to_owned(),
        1 => "Check complete, 1 warning has been found!".to_owned(),
        count => format!("Check complete, {count} warnings have been found!"),
    };
    let json: Vec<Value> = report.warnings.iter().map(fact).collect();
    let mut done = Done::new(words, json!({ "warnings": json, "dockerfile": shown }));
    if !report.warnings.is_empty() {
        done.exit_code = Kind::Difference.exit_code();
    }
    let verdict = report.verdict().map(|verdict| Failure::new(Kind::Difference, Phase::Dockerfile, verdict));
    done.failure = fault.map(|fault| failure(fault, shown, text)).or(verdict);
    done
}

fn warned(warning: &Warning, shown: &str, text: &str) -> String {
    let Warning { rule, detail, span } = warning;
    let place = Place::in_text(shown, text, *span);
    let (words, gutter) = (place.words(Paint::off(), str::to_owned), " ".repeat(place.gutter()));
    let detail = escape::text(detail);
    format!("warning: {rule}: {detail}\n{words}{gutter} = {}\n{gutter} = {}\n", rule.description(), rule.url())
}

/// The keys of BuildKit's `frontend.lint`.
fn fact(warning: &Warning) -> Value {
    let Warning { rule, detail, span } = warning;
    json!({
        "ruleName": rule.name(),
        "description": rule.description(),
        "url": rule.url(),
        "detail": detail,
        "location": location(span.line, span.last_line),
    })
}

fn location(line: usize, last_line: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": line }, "end": { "line": last_line } }] })
}

/// Without what says nothing, as Go's `omitempty` has it.
fn told(mut value: Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Bool(true) => false,
    };
    if let Value::Object(keys) = &mut value {
        keys.retain(|_, value| !says_nothing(value));
    }
    value
}

/// The keys of BuildKit's `frontend.targets`.
pub(super) fn targets(targets: &[Target]) -> Done {
    let rows = targets.iter().map(|target| {
        let default = if target.default { " (default)" } else { "" };
        let name = target.name.as_deref().unwrap_or("(no name)");
        [format!("{name}{default}"), target.description.clone().unwrap_or_default()]
    });
    let facts = targets.iter().map(|target| {
        let Target { name, description, base, platform, default, line } = target;
        told(json!({
            "name": name, "description": description, "base": base, "platform": platform, "default": default,
            "location": location(*line, *line),
        }))
    });
    Done::new(table(["TARGET", "DESCRIPTION"], rows), json!({ "targets": facts.collect::<Vec<_>>() }))
}

/// The keys of BuildKit's `frontend.outline`.
pub(super) fn outline(target: &Target, outline: &Outline) -> Done {
    let Outline { args, secrets, ssh, caches } = outline;
    let mut parts = Vec::new();
    let name = target.name.as_deref().unwrap_or("(no name)");
    let about = target.description.as_ref().map(|text| format!("\nDESCRIPTION: {}", escape::text(text)));
    parts.push(format!("TARGET: {}{}\n", escape::text(name), about.unwrap_or_default()));
    if !args.is_empty() {
        let row = |arg: &crate::dockerfile::lint::Parameter| {
            [arg.name.clone(), arg.value.clone().unwrap_or_default(), arg.description.clone().unwrap_or_default()]
        };
        parts.push(table(["BUILD ARG", "VALUE", "DESCRIPTION"], args.iter().map(row)));
    }
    for (title, list) in [("SECRET", secrets), ("SSH", ssh)] {
        if !list.is_empty() {
            let row = |need: &Required| [need.name.clone(), need.required.to_string()];
            parts.push(table([title, "REQUIRED"], list.iter().map(row)));
        }
    }
    if !caches.is_empty() {
        parts.push(table(["CACHE MOUNT"], caches.iter().map(|id| [id.clone()])));
    }
    let need = |need: &Required| {
        let Required { name, required, line } = need;
        told(json!({ "name": name, "required": required, "location": location(*line, *line) }))
    };
    let facts = json!({
        "name": target.name,
        "description": target.description,
        "args": args.iter().map(|arg| told(json!({
            "name": arg.name, "value": arg.value, "description": arg.description,
            "location": location(arg.line, arg.line),
        }))).collect::<Vec<_>>(),
        "secrets": secrets.iter().map(need).collect::<Vec<_>>(),
        "ssh": ssh.iter().map(need).collect::<Vec<_>>(),
        "cache": caches.iter().map(|id| json!({ "ID": id })).collect::<Vec<_>>(),
    });
    Done::new(parts.join("\n"), told(facts))
}

/// Columns as wide as their widest cell, three blanks apart, under their titles.
fn table<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.map(|row| row.map(|cell| escape::text(&cell))).collect();
    let mut widths = titles.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|index| row[index].as_str())));
    line(titles) + &rows.collect::<String>()
}
