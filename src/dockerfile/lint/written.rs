//! Rules about how a file is written.

use super::report::Findings;
use super::{Checked, Instruction, Kind, Rule};
use std::collections::BTreeSet;

/// Names that COPY --from and FROM give a meaning of their own.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(file: &Checked<'_>, findings: &mut Findings<'_>) {
    let stages = file.stages.iter();
    let in_stages: Vec<&Instruction> =
        stages.flat_map(|stage| [stage.opening].into_iter().chain(stage.instructions.iter().copied())).collect();
    for instruction in file.globals.iter().chain(&in_stages) {
        continuation(instruction, findings);
        described(instruction, findings);
        if let Kind::Maintainer(_) = instruction.kind {
            findings.add(
                Rule::MaintainerDeprecated,
                instruction,
                "Maintainer instruction is deprecated in favor of using label",
            );
        }
    }
    casing(&in_stages, findings);
    stage_names(file, findings);
}

/// BuildKit names the last line; the whole instruction shows where the empty one is.
fn continuation(instruction: &Instruction, findings: &mut Findings<'_>) {
    if instruction.empty_continuation {
        findings.add(Rule::NoEmptyContinuation, instruction, "Empty continuation line");
    }
}

/// The last comment line above an ARG or a named stage describes it by its name.
fn described(instruction: &Instruction, findings: &mut Findings<'_>) {
    let (keyword, names): (_, Vec<&str>) = match &instruction.kind {
        Kind::Arg(arguments) => ("ARG", arguments.iter().map(|argument| argument.name.as_str()).collect()),
        Kind::From(from) => ("FROM", from.name.as_deref().into_iter().collect()),
        _ => return,
    };
    let comments = findings.comments(instruction);
    let Some(first_word) = comments.iter().rfind(|c| !is_directive(c)).and_then(|c| c.split(' ').next()) else {
        return;
    };
    let example = match names[..] {
        [] => return,
        [name] => name,
        _ => "<arg_key>",
    };
    if !names.contains(&first_word) {
        let detail = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        findings.add(Rule::InvalidDefinitionDescription, instruction, detail);
    }
}

/// A comment that speaks to the builder, not to a reader.
fn is_directive(comment: &str) -> bool {
    let key = comment.split_once('=').map(|(key, _)| key.trim().to_ascii_lowercase());
    key.is_some_and(|key| ["syntax", "escape", "check"].contains(&key.as_str()))
}

/// All keywords as most are written; as many of each is upper case.
fn casing(instructions: &[&Instruction], findings: &mut Findings<'_>) {
    let lower = instructions.iter().filter(|i| is_lower(&i.keyword)).count();
    let upper = instructions.iter().filter(|i| !is_lower(&i.keyword) && is_upper(&i.keyword)).count();
    let (right, wanted): (fn(&str) -> bool, _) =
        if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    for instruction in instructions.iter().filter(|i| !right(&i.keyword)) {
        let keyword = &instruction.keyword;
        let detail = format!("Command '{keyword}' should match the case of the command majority ({wanted})");
        findings.add(Rule::ConsistentInstructionCasing, instruction, detail);
    }
}

fn stage_names(file: &Checked<'_>, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let (from, opening) = (stage.from, stage.opening);
        let Some(name) = &from.name else { continue };
        // The instruction ends in `AS name`; the parsed name has lost its case.
        let mut words = opening.source.split_whitespace().rev();
        if let (Some(written), Some(keyword)) = (words.next(), words.next()) {
            if written.to_lowercase() != written {
                let detail = format!("Stage name '{written}' should be lowercase");
                findings.add(Rule::StageNameCasing, opening, detail);
            }
            let from = opening.keyword.as_str();
            // A keyword of mixed case is told of already.
            if is_lower(from) && !is_lower(keyword) || is_upper(from) && !is_upper(keyword) {
                let detail = format!("'{keyword}' and '{from}' keywords' casing do not match");
                findings.add(Rule::FromAsCasing, opening, detail);
            }
        }
        if RESERVED.contains(&name.as_str()) {
            let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
            findings.add(Rule::ReservedStageName, opening, detail);
        }
        if !seen.insert(name) {
            let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
            findings.add(Rule::DuplicateStageName, opening, detail);
        }
    }
}

fn is_lower(word: &str) -> bool {
    word.to_lowercase() == word
}

fn is_upper(word: &str) -> bool {
    word.to_uppercase() == word
}
