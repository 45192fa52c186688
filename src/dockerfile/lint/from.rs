//! Rules about what stages stand on.

use super::report::Findings;
use super::{Around, Checked, Globals, Grammar, Instruction, Rule};
use crate::dockerfile::Word;
use crate::dockerfile::expand::{Expansion, Lexer};
use crate::dockerfile::nearest::nearest;
use std::collections::BTreeMap;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

pub(super) fn check(file: &Checked<'_>, around: &Around<'_>, findings: &mut Findings<'_>) {
    let lexer = Lexer::new(file.escape);
    defaults(file, around, &lexer, findings);
    // A default that cannot be expanded is the build's to tell.
    let Ok(globals) = Globals::of(&file.globals, &around.predefined, around.build_args, &lexer) else { return };
    for (number, stage) in file.stages.iter().enumerate() {
        let (from, opening) = (stage.from, stage.opening);
        if let Ok(expanded) = lexer.expand(from.image.as_str(), &globals.values) {
            undeclared(&expanded, &globals, opening, findings);
        }
        if let Some(word) = &from.platform
            && let Ok(expanded) = lexer.expand(word.as_str(), &globals.values)
        {
            undeclared(&expanded, &globals, opening, findings);
            redundant(word, &expanded, &globals, opening, findings);
            constant(&expanded, from.name.as_deref(), &around.grammar, opening, findings);
        }
        if let Some((actual, expected)) = around.bases.get(&number).and_then(|base| base.other_platform.as_ref()) {
            let detail = format!(
                "Base image {} was pulled with platform {actual:?}, expected {expected:?} for current build",
                from.image
            );
            findings.add(Rule::InvalidBaseImagePlatform, opening, detail);
        }
    }
}

/// Base names must hold without a single build argument.
fn defaults(file: &Checked<'_>, around: &Around<'_>, lexer: &Lexer, findings: &mut Findings<'_>) {
    let none = BTreeMap::new();
    let Ok(globals) = Globals::of(&file.globals, &around.predefined, &none, lexer) else { return };
    for stage in &file.stages {
        let written = &stage.from.image;
        let Ok(image) = lexer.expand_word(written.as_str(), &globals.values) else { return };
        if !(around.grammar.is_reference)(&image) {
            let detail = format!("Default value for ARG {written} results in empty or invalid base image name");
            findings.add(Rule::InvalidDefaultArgInFrom, stage.opening, detail);
        }
    }
}

fn undeclared(expanded: &Expansion, globals: &Globals, opening: &Instruction, findings: &mut Findings<'_>) {
    let names = globals.names();
    for name in expanded.unset.iter().filter(|name| !names.contains(name.as_str())) {
        let meant = nearest(name, names.iter().copied());
        let meant = meant.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
        let detail = format!("FROM argument '{name}' is not declared{meant}");
        findings.add(Rule::UndefinedArgInFrom, opening, detail);
    }
}

fn redundant(
    written: &Word,
    expanded: &Expansion,
    globals: &Globals,
    opening: &Instruction,
    findings: &mut Findings<'_>,
) {
    // With other variables, or text around it, it may be more than the platform.
    let alone = expanded.used.len() == 1 && expanded.unset.is_empty() && expanded.used.contains(TARGET_PLATFORM);
    if alone && globals.values.get(TARGET_PLATFORM) == Some(&expanded.text) {
        let detail =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        findings.add(Rule::RedundantTargetPlatform, opening, detail);
    }
}

fn constant(
    expanded: &Expansion,
    stage: Option<&str>,
    grammar: &Grammar,
    opening: &Instruction,
    findings: &mut Findings<'_>,
) {
    if !expanded.used.is_empty() || !expanded.unset.is_empty() {
        return;
    }
    // What is no platform fails the build.
    let Some((os, architecture)) = (grammar.platform)(&expanded.text) else { return };
    // A stage that says in its name which platform it is for means it.
    if stage.is_some_and(|name| name.contains(&os) || name.contains(&architecture)) {
        return;
    }
    let detail = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
    findings.add(Rule::FromPlatformFlagConstDisallowed, opening, detail);
}
