//! BuildKit's build checks: its 22 rules, in its words. A file, and what is known around it, in; warnings out.
//!
//! ```text
//! options (`# check=`) ─▶ written (how it looks) ─▶ from (what stages stand on) ─▶ stage (what it does, in order) ─▶ Report
//! ```
//!
//! The measure is `frontend/dockerfile/linter` and `dockerfile2llb` of moby/buildkit. A fault that ends a build ends
//! nothing here: it is the build's to tell, and the rules go on with the next instruction.

mod above;
mod from;
mod globals;
mod options;
mod outline;
mod ports;
mod report;
mod rule;
mod secrets;
mod stage;
mod written;

use super::ignore::Ignore;
use super::{Dockerfile, Instruction, Kind};
use std::collections::{BTreeMap, BTreeSet};

pub use options::BadOptions;
pub use outline::{Outline, Parameter, Required, Target, outline, targets};
pub use report::{Report, Warning};
pub use rule::Rule;

use globals::Globals;
use options::Options;
use report::Findings;

/// Overrides the file's own `# check=`.
const OVERRIDE: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What a file is checked against.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// The text that the file was read from.
    pub text: &'a str,
    pub build_args: &'a BTreeMap<String, String>,
    /// `TARGETPLATFORM` and the other arguments that need no declaration in FROM.
    pub predefined: BTreeMap<String, String>,
    /// The stages whose instructions are looked at, by number; all where there is no set. FROM lines always are.
    pub stages: Option<BTreeSet<usize>>,
    /// What is known of the images that stages stand on, by stage.
    pub bases: BTreeMap<usize, BaseImage>,
    pub ignore: &'a Ignore,
    pub grammar: Grammar,
}

/// An image that a stage stands on, as far as somebody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseImage {
    pub env: BTreeMap<String, String>,
    /// It has a SHELL of its own.
    pub shell: bool,
    /// Where it was made for another platform than the stage's: that one, and the stage's.
    pub other_platform: Option<(String, String)>,
}

/// How names are written that a Dockerfile only mentions; the room that knows images has the rules.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    pub is_reference: fn(&str) -> bool,
    /// The operating system and the architecture that a platform names.
    pub platform: fn(&str) -> Option<(String, String)>,
}

/// Checks a file.
pub fn check(file: &Dockerfile, around: &Around<'_>) -> Result<Report, BadOptions> {
    let given = around.build_args.get(OVERRIDE).or(file.directives.check.as_ref());
    let options = given.map_or(Ok(Options::default()), |text| Options::parse(text))?;
    let mut findings = Findings::new(options, around.text);
    let file = Checked { escape: file.directives.escape, stages: stages(file), globals: globals(file) };
    written::check(&file, &mut findings);
    from::check(&file, around, &mut findings);
    stage::check(&file, around, &mut findings);
    Ok(findings.report())
}

/// A file by its stages.
struct Checked<'a> {
    escape: char,
    /// The ARGs before the first FROM.
    globals: Vec<&'a Instruction>,
    stages: Vec<Stage<'a>>,
}

/// A FROM and what follows it.
struct Stage<'a> {
    from: &'a super::FromImage,
    opening: &'a Instruction,
    instructions: Vec<&'a Instruction>,
}

fn stages(file: &Dockerfile) -> Vec<Stage<'_>> {
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for instruction in &file.instructions {
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => stages.push(Stage { from, opening: instruction, instructions: Vec::new() }),
            (_, Some(stage)) => stage.instructions.push(instruction),
            // The parser lets nothing but ARG stand before the first FROM.
            (_, None) => {}
        }
    }
    stages
}

fn globals(file: &Dockerfile) -> Vec<&Instruction> {
    file.instructions.iter().take_while(|instruction| matches!(instruction.kind, Kind::Arg(_))).collect()
}

impl Stage<'_> {
    /// The earlier stage that this one stands on: the last of that name.
    fn base(&self, image: &str, earlier: &[Stage<'_>]) -> Option<usize> {
        let image = image.to_lowercase();
        earlier.iter().rposition(|stage| stage.from.name.as_deref() == Some(&image))
    }
}

#[cfg(test)]
mod tests;
