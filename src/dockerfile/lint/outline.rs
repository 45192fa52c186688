//! What a file says of itself: its targets, and what a build of one takes.

use super::above::Above;
use super::{Checked, Globals, Instruction, Kind, globals, stages};
use crate::dockerfile::expand::Lexer;
use crate::dockerfile::{Dockerfile, Mount, MountKind, Word};
use std::collections::{BTreeMap, BTreeSet};

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: Option<String>,
    /// The comment above it that begins with its name.
    pub description: Option<String>,
    /// As it is written, with its variables.
    pub base: String,
    pub platform: Option<String>,
    /// What is built when no target is asked for.
    pub default: bool,
    pub line: usize,
}

/// What the build of one target takes from who asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub args: Vec<Parameter>,
    pub secrets: Vec<Required>,
    pub ssh: Vec<Required>,
    pub caches: Vec<String>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub value: Option<String>,
    pub description: Option<String>,
    pub line: usize,
}

/// A secret or an SSH agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    pub name: String,
    /// The build fails without it.
    pub required: bool,
    pub line: usize,
}

/// The file's stages, in its order.
pub fn targets(file: &Dockerfile, text: &str) -> Vec<Target> {
    let (above, stages) = (Above::new(text), stages(file));
    let last = stages.len().saturating_sub(1);
    let target = |(number, stage): (usize, &super::Stage<'_>)| Target {
        name: stage.from.name.clone(),
        description: stage.from.name.as_ref().and_then(|name| described(&above, stage.opening, name)),
        base: stage.from.image.to_string(),
        platform: stage.from.platform.as_ref().map(Word::to_string),
        default: number == last,
        line: stage.opening.span.line,
    };
    stages.iter().enumerate().map(target).collect()
}

/// What `needed` stages take. A global ARG counts where one of them uses it.
pub fn outline(
    file: &Dockerfile,
    text: &str,
    needed: &BTreeSet<usize>,
    predefined: &BTreeMap<String, String>,
    build_args: &BTreeMap<String, String>,
) -> Outline {
    let file = Checked { escape: file.directives.escape, globals: globals(file), stages: stages(file) };
    let lexer = Lexer::new(file.escape);
    // What cannot be expanded has no value to show; the build will tell it.
    let globals = Globals::of(&file.globals, predefined, build_args, &lexer);
    let globals = globals.unwrap_or_else(|_| Globals { values: predefined.clone(), declared: BTreeSet::new() });
    let mut takes =
        Takes { above: Above::new(text), lexer, build_args, values: globals.values, outline: Outline::default() };
    let stages =
        || file.stages.iter().enumerate().filter(|(number, _)| needed.contains(number)).map(|(_, stage)| stage);
    let used = used(&file.globals, stages(), &takes);
    for instruction in &file.globals {
        takes.arguments(instruction, |name| used.contains(name));
    }
    for stage in stages() {
        for instruction in &stage.instructions {
            takes.arguments(instruction, |name| !used.contains(name));
            takes.mounts(instruction);
        }
    }
    takes.outline
}

/// An outline in the making.
struct Takes<'a> {
    above: Above<'a>,
    lexer: Lexer,
    build_args: &'a BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    outline: Outline,
}

impl Takes<'_> {
    fn arguments(&mut self, instruction: &Instruction, counts: impl Fn(&str) -> bool) {
        let Kind::Arg(arguments) = &instruction.kind else { return };
        for argument in arguments.iter().filter(|argument| counts(&argument.name)) {
            let name = argument.name.clone();
            let default = argument.default.as_ref();
            let default = default.and_then(|word| self.lexer.expand_word(word.as_str(), &self.values).ok());
            let value = self.build_args.get(&name).cloned().or(default).or_else(|| self.values.get(&name).cloned());
            let description = described(&self.above, instruction, &name);
            // Of several declarations the last decides, in the place of the first.
            match self.outline.args.iter_mut().find(|known| known.name == name) {
                Some(known) => {
                    known.value = value.or(known.value.take());
                    known.description = known.description.take().or(description);
                }
                None => {
                    self.outline.args.push(Parameter { name, value, description, line: instruction.span.line });
                }
            }
        }
    }

    fn mounts(&mut self, instruction: &Instruction) {
        let Kind::Run(run) = &instruction.kind else { return };
        for spec in &run.mounts {
            // A variable that only the build can fill in is shown as it is written.
            let fill = |word: &Word| {
                let filled = self.lexer.expand_word(word.as_str(), &self.values);
                Ok::<_, crate::dockerfile::MountError>(filled.unwrap_or_else(|_| word.to_string()))
            };
            let Ok(mount) = spec.expand(fill) else { continue };
            let line = instruction.span.line;
            match mount.kind {
                MountKind::Secret => required(&mut self.outline.secrets, secret_name(&mount), &mount, line),
                MountKind::Ssh => {
                    let name = mount.value("id").filter(|id| !id.is_empty()).unwrap_or("default");
                    required(&mut self.outline.ssh, name, &mount, line);
                }
                MountKind::Cache => {
                    let name = mount.value("id").or_else(|| mount.value("target")).unwrap_or_default();
                    if !self.outline.caches.iter().any(|known| known == name) {
                        self.outline.caches.push(name.to_string());
                    }
                }
                MountKind::Bind | MountKind::Tmpfs => {}
            }
        }
    }
}

/// The global ARGs that a needed stage uses: in its FROM, by declaring them anew, or through the default of such a one.
fn used<'a>(
    globals: &[&Instruction],
    stages: impl Iterator<Item = &'a super::Stage<'a>>,
    takes: &Takes<'_>,
) -> BTreeSet<String> {
    let names = |word: &Word| takes.lexer.expand(word.as_str(), &takes.values).map(|e| (e.used, e.unset));
    let mut used = BTreeSet::new();
    for stage in stages {
        for word in [Some(&stage.from.image), stage.from.platform.as_ref()].into_iter().flatten() {
            used.extend(names(word).into_iter().flat_map(|(set, unset)| set.into_iter().chain(unset)));
        }
        for instruction in &stage.instructions {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            used.extend(arguments.iter().filter(|a| a.default.is_none()).map(|a| a.name.clone()));
        }
    }
    let declared: BTreeSet<&str> = globals.iter().flat_map(|global| arguments(global)).map(|(name, _)| name).collect();
    used.retain(|name| declared.contains(name.as_str()));
    // A default refers to ARGs above it only.
    for (name, default) in globals.iter().rev().flat_map(|global| arguments(global)) {
        if used.contains(name)
            && let Some(Ok((set, unset))) = default.map(names)
        {
            used.extend(set.into_iter().chain(unset).filter(|name| declared.contains(name.as_str())));
        }
    }
    used
}

/// Last first.
fn arguments(instruction: &Instruction) -> impl Iterator<Item = (&str, Option<&Word>)> {
    let arguments = match &instruction.kind {
        Kind::Arg(arguments) => arguments.as_slice(),
        _ => &[],
    };
    arguments.iter().rev().map(|argument| (argument.name.as_str(), argument.default.as_ref()))
}

fn required(list: &mut Vec<Required>, name: &str, mount: &Mount, line: usize) {
    let required = mount.has("required") && mount.value("required") != Some("false");
    match list.iter_mut().find(|known| known.name == name) {
        Some(known) => known.required |= required,
        None => list.push(Required { name: name.to_string(), required, line }),
    }
}

/// By id, else by source, else by the file that it becomes.
fn secret_name(mount: &Mount) -> &str {
    let given = |key| mount.value(key).filter(|value| !value.is_empty());
    let file = || given("target").map(|target| target.rsplit('/').next().unwrap_or(target));
    given("id").or_else(|| given("source")).or_else(file).unwrap_or_default()
}

fn described(above: &Above<'_>, instruction: &Instruction, name: &str) -> Option<String> {
    above.description(instruction, name).map(str::to_string)
}
