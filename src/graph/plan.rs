//! Which stages there are, what each stands on, and which of them are needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::expand::Lexer;
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{Dockerfile, FromImage, Instruction, Kind, Span, Word};
use crate::image::{Platform, Reference};

use super::args::predefined;
use super::{PlanError, Problem};

/// What a build was asked for beside the Dockerfile.
#[derive(Clone, Debug)]
pub struct Options {
    pub platform: Platform,
    /// The platform that the build runs on: `BUILDPLATFORM`.
    pub build_platform: Platform,
    pub build_args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
}

/// The stages of a Dockerfile and which of them lead to the target.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) stages: Vec<Stage>,
    pub(super) target: usize,
    pub(super) options: Options,
    pub(super) escape: char,
    /// Global ARGs and the predefined ones.
    pub(super) globals: BTreeMap<String, String>,
}

/// One `FROM` and what follows it.
#[derive(Clone, Debug)]
pub struct Stage {
    pub number: usize,
    /// Lower-cased.
    pub name: Option<String>,
    pub base: Base,
    pub platform: Platform,
    pub span: Span,
    pub(super) instructions: Vec<Instruction>,
    /// The stages that must be built before this one.
    pub needs: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    Scratch,
    Image(Reference),
    Stage(usize),
}

/// Reads the stages. What is wrong in a stage that the target does not need is not found, as in BuildKit.
pub fn plan(file: &Dockerfile, options: &Options) -> Result<Graph, PlanError> {
    let lexer = Lexer::new(file.directives.escape);
    let target_stage = options.target.clone().unwrap_or_else(|| "default".to_owned());
    let mut globals = predefined(&options.platform, &options.build_platform, &target_stage);
    for (name, value) in &mut globals {
        if let Some(given) = options.build_args.get(name) {
            value.clone_from(given);
        }
    }
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in &file.instructions {
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => {
                let stage = begin(from, instruction.span, &stages, &globals, &lexer, options)?;
                stages.push(stage);
            }
            (_, Some(stage)) => {
                if let Kind::Copy(copy) = &instruction.kind
                    && let Some(from) = &copy.from
                    && let Some(number) = stage_named(from, &file_names(&file.instructions), stage.number)
                {
                    stage.needs.insert(number);
                }
                stage.instructions.push(instruction.clone());
            }
            (Kind::Arg(arguments), None) => {
                for argument in arguments {
                    let default = argument.default.as_ref();
                    let default = default.map(|word| expand(&lexer, word, &globals, instruction.span)).transpose()?;
                    if let Some(value) = options.build_args.get(&argument.name).cloned().or(default) {
                        globals.insert(argument.name.clone(), value);
                    }
                }
            }
            // The parser lets nothing but ARG stand before the first FROM.
            (_, None) => {}
        }
    }
    let last = stages.len().checked_sub(1).ok_or(PlanError { span: None, problem: Problem::NoStages, hint: None })?;
    let target = match &options.target {
        None => last,
        Some(name) => find_target(name, &stages)?,
    };
    Ok(Graph { stages, target, options: options.clone(), escape: file.directives.escape, globals })
}

impl Graph {
    pub fn stage(&self, number: usize) -> &Stage {
        &self.stages[number]
    }

    pub fn target(&self) -> usize {
        self.target
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How many stages the file has.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// The stages that the target needs, itself included, each after those that it needs.
    pub fn needed(&self) -> Vec<&Stage> {
        let mut needed = BTreeSet::from([self.target]);
        let mut open = vec![self.target];
        while let Some(number) = open.pop() {
            for &below in &self.stages[number].needs {
                if needed.insert(below) {
                    open.push(below);
                }
            }
        }
        // A stage can only need stages above it in the file, so their numbers are the order.
        needed.into_iter().map(|number| &self.stages[number]).collect()
    }
}

impl Stage {
    /// The name that people know the stage by.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.number))
    }
}

fn begin(
    from: &FromImage,
    span: Span,
    stages: &[Stage],
    globals: &BTreeMap<String, String>,
    lexer: &Lexer,
    options: &Options,
) -> Result<Stage, PlanError> {
    let number = stages.len();
    let image = expand(lexer, &from.image, globals, span)?;
    let platform = match &from.platform {
        None => options.platform.clone(),
        Some(word) => {
            let text = expand(lexer, word, globals, span)?;
            text.parse().map_err(|e| Problem::Platform(e).at(span))?
        }
    };
    // The last stage of that name, as BuildKit reads it; a number is no stage here.
    let earlier = stages.iter().rev().find(|stage| stage.name.as_deref() == Some(&image.to_lowercase()));
    let (base, needs) = match earlier {
        _ if image.is_empty() => return Err(Problem::BlankBase(from.image.to_string()).at(span)),
        Some(stage) => (Base::Stage(stage.number), BTreeSet::from([stage.number])),
        None if image == "scratch" => (Base::Scratch, BTreeSet::new()),
        None => (Base::Image(image.parse().map_err(|e| Problem::Reference(e).at(span))?), BTreeSet::new()),
    };
    Ok(Stage { number, name: from.name.clone(), base, platform, span, instructions: Vec::new(), needs })
}

fn file_names(instructions: &[Instruction]) -> Vec<Option<String>> {
    let name = |instruction: &Instruction| match &instruction.kind {
        Kind::From(from) => Some(from.name.clone()),
        _ => None,
    };
    instructions.iter().filter_map(name).collect()
}

/// The stage before `current` that COPY --from means: by name, else by number.
pub(super) fn stage_named(from: &str, names: &[Option<String>], current: usize) -> Option<usize> {
    let lower = from.to_lowercase();
    let by_name = (0..current).rev().find(|&number| names[number].as_deref() == Some(&lower));
    by_name.or_else(|| from.parse().ok().filter(|&number| number < current))
}

fn find_target(name: &str, stages: &[Stage]) -> Result<usize, PlanError> {
    let lower = name.to_lowercase();
    let named = stages.iter().rev().find(|stage| stage.name.as_deref() == Some(&lower));
    named.map(|stage| stage.number).ok_or_else(|| PlanError {
        span: None,
        problem: Problem::NoSuchTarget(name.to_owned()),
        hint: nearest(&lower, stages.iter().filter_map(|stage| stage.name.as_deref()))
            .map(|near| format!("did you mean `{near}`?")),
    })
}

fn expand(lexer: &Lexer, word: &Word, values: &BTreeMap<String, String>, span: Span) -> Result<String, PlanError> {
    let failed = |why: String| Problem::Expand { word: word.to_string(), why }.at(span);
    lexer.expand_word(word.as_str(), values).map_err(|e| failed(e.to_string()))
}
