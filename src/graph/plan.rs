//! Which stages there are, what each stands on, and which of them are needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::expand::Lexer;
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{Dockerfile, FromImage, Instruction, Kind, MountSpec, Span, Word, parse_trigger};
use crate::image::{Platform, Reference};

use super::args::predefined;
use super::{Contexts, Origin, PlanError, Problem};

/// What a build was asked for beside the Dockerfile.
#[derive(Clone, Debug)]
pub struct Options {
    pub platform: Platform,
    /// The platform that the build runs on: `BUILDPLATFORM`.
    pub build_platform: Platform,
    pub build_args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub contexts: Contexts,
}

/// The stages of a Dockerfile and which of them lead to the target.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) stages: Vec<Stage>,
    pub(super) target: usize,
    pub(super) options: Options,
    pub(super) lexer: Lexer,
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
    /// A named context stands in the place of the whole stage.
    pub replaced: bool,
}

/// What a stage stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    Scratch,
    Image(Reference),
    Stage(usize),
    /// A named context that is neither.
    Origin(Origin),
}

impl Base {
    pub(super) fn of(origin: Origin) -> Self {
        match origin {
            Origin::Scratch => Self::Scratch,
            Origin::Image(image) => Self::Image(image),
            Origin::Folder(_) | Origin::Layout { .. } | Origin::Url(_) | Origin::Git(_) => Self::Origin(origin),
        }
    }
}

/// Reads the stages. What is wrong in a stage that the target does not need is not found, as in BuildKit.
pub fn plan(file: &Dockerfile, options: &Options) -> Result<Graph, PlanError> {
    let lexer = Lexer::new(file.directives.escape);
    let last_name = file.instructions.iter().rev().find_map(|instruction| match &instruction.kind {
        Kind::From(from) => Some(from.name.clone()),
        _ => None,
    });
    let target_stage = options.target.clone().or(last_name.flatten()).unwrap_or_else(|| "default".to_owned());
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
            // What is put in a stage's place has no use for its instructions.
            (_, Some(Stage { replaced: true, .. })) => {}
            (_, Some(stage)) => stage.instructions.push(instruction.clone()),
            (Kind::Arg(arguments), None) => {
                for argument in arguments {
                    let value = match (options.build_args.get(&argument.name), &argument.default) {
                        (Some(given), _) => given.clone(),
                        (None, Some(default)) => expand(&lexer, default, &globals, instruction.span)?,
                        (None, None) => continue,
                    };
                    globals.insert(argument.name.clone(), value);
                }
            }
            // The parser lets nothing but ARG stand before the first FROM.
            (_, None) => {}
        }
    }
    let last = stages.len().checked_sub(1).ok_or(PlanError { span: None, problem: Problem::NoStages, hint: None })?;
    let target = match &options.target {
        None => last,
        Some(name) => find_stage("target stage", name, &stages)?,
    };
    let mut graph = Graph { stages, target, options: options.clone(), lexer, globals };
    for number in 0..graph.stages.len() {
        let own = graph.stages[number].instructions.clone();
        graph.link(number, &own)?;
        if let Base::Stage(below) = graph.stages[number].base {
            let triggers: Vec<String> = graph.stages[below].instructions.iter().filter_map(trigger).collect();
            graph.trigger(number, &triggers)?;
        }
    }
    Ok(graph)
}

impl Graph {
    pub fn stage(&self, number: usize) -> &Stage {
        &self.stages[number]
    }

    /// The stage of this name, in any case of its letters; `what` is what an error calls it.
    pub fn named(&self, what: &'static str, name: &str) -> Result<usize, PlanError> {
        find_stage(what, name, &self.stages)
    }

    pub fn target(&self) -> usize {
        self.target
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Puts ONBUILD triggers in front of a stage's own instructions. They may need further stages.
    pub fn trigger(&mut self, number: usize, triggers: &[String]) -> Result<(), PlanError> {
        let span = self.stages[number].span;
        if self.stages[number].replaced {
            return Ok(());
        }
        let mut instructions = Vec::new();
        for text in triggers {
            let read = parse_trigger(text).map_err(|e| Problem::Trigger(e.to_string()).at(span))?;
            // It stands in no file that the user sees: FROM is what brought it.
            instructions.push(Instruction { span, ..read });
        }
        self.link(number, &instructions)?;
        self.stages[number].instructions.splice(0..0, instructions);
        Ok(())
    }

    /// Notes the stages that instructions of a stage take files from.
    fn link(&mut self, number: usize, instructions: &[Instruction]) -> Result<(), PlanError> {
        for instruction in instructions {
            for from in froms(&instruction.kind) {
                let searched = self.lexer.search(self.stages.len());
                searched.map_err(|error| Problem::TooMuch(error).at(instruction.span))?;
                if let Some(need) = self.stage_named(from).filter(|need| *need < number) {
                    self.stages[number].needs.insert(need);
                }
            }
        }
        Ok(())
    }

    /// The stage that `--from` or `from=` means: by number where it is one, else the last of that name.
    pub(super) fn stage_named(&self, from: &str) -> Option<usize> {
        match from.parse::<i64>() {
            Ok(number) => usize::try_from(number).ok().filter(|number| *number < self.stages.len()),
            Err(_) => {
                let lower = from.to_lowercase();
                (0..self.stages.len()).rev().find(|&number| self.stages[number].name.as_deref() == Some(&lower))
            }
        }
    }

    /// The stage that may have been meant by what was taken for an image.
    pub fn stage_like(&self, image: &Reference) -> Option<&str> {
        nearest(&image.familiar(), self.stages.iter().filter_map(|stage| stage.name.as_deref()))
    }

    /// What a stage's programs are for: that of the image at the bottom of it, whatever its own FROM stands under
    /// (BuildKit, dockerfile2llb/convert.go: a stage on a stage takes over its platform).
    pub fn platform(&self, stage: &Stage) -> &Platform {
        let mut stage = &self.stages[stage.number];
        while let Base::Stage(below) = stage.base {
            stage = &self.stages[below];
        }
        &stage.platform
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

    /// Where its RUNs stand, those of triggers at FROM.
    pub fn runs(&self) -> impl Iterator<Item = Span> {
        self.instructions.iter().filter(|one| matches!(one.kind, Kind::Run(_))).map(|one| one.span)
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
    lexer.search(number).map_err(|error| Problem::TooMuch(error).at(span))?;
    let bad = |problem: Problem, word| PlanError { hint: undeclared(lexer, word, globals), ..problem.at(span) };
    let image = expand(lexer, &from.image, globals, span)?;
    let platform = match &from.platform {
        None => options.platform.clone(),
        Some(word) => {
            let text = expand(lexer, word, globals, span)?;
            if text.is_empty() {
                return Err(bad(Problem::BlankPlatform(word.to_string()), word));
            }
            text.parse().map_err(|e| bad(Problem::Platform(e), word))?
        }
    };
    let context = |name: &str| options.contexts.find(name, &platform).cloned();
    let replacement = from.name.as_deref().and_then(context);
    let replaced = replacement.is_some();
    // The last stage above of exactly that name: names are lower case, so `FROM Base` is an image. A number is no
    // stage here.
    let earlier = stages.iter().rev().find(|stage| stage.name.as_ref() == Some(&image)).map(|stage| stage.number);
    let base = match replacement.or_else(|| context(&image).filter(|_| earlier.is_none())) {
        _ if image.is_empty() => return Err(bad(Problem::BlankBase(from.image.to_string()), &from.image)),
        Some(origin) => Base::of(origin),
        None if image == "scratch" => Base::Scratch,
        None => match earlier {
            Some(number) => Base::Stage(number),
            None => Base::Image(image.parse().map_err(|e| bad(Problem::Reference(e), &from.image))?),
        },
    };
    let needs = if let Base::Stage(number) = base { BTreeSet::from([number]) } else { BTreeSet::new() };
    Ok(Stage { number, name: from.name.clone(), base, platform, span, instructions: Vec::new(), needs, replaced })
}

/// A variable that FROM uses, that has no value, and that is nearly called as one that has.
fn undeclared(lexer: &Lexer, word: &Word, values: &BTreeMap<String, String>) -> Option<String> {
    let unset = lexer.expand(word.as_str(), values).ok()?.unset;
    unset.iter().find_map(|name| {
        let near = nearest(name, values.keys().map(String::as_str))?;
        Some(format!("`{name}` has no value before the first FROM; did you mean `{near}`?"))
    })
}

/// What an instruction takes files from, beside the context.
fn froms(kind: &Kind) -> Vec<&str> {
    match kind {
        Kind::Copy(copy) => copy.from.as_deref().into_iter().collect(),
        Kind::Run(run) => run.mounts.iter().filter_map(MountSpec::from).collect(),
        _ => Vec::new(),
    }
}

fn trigger(instruction: &Instruction) -> Option<String> {
    match &instruction.kind {
        Kind::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
        _ => None,
    }
}

fn find_stage(what: &'static str, name: &str, stages: &[Stage]) -> Result<usize, PlanError> {
    let lower = name.to_lowercase();
    let named = stages.iter().rev().find(|stage| stage.name.as_deref() == Some(&lower));
    named.map(|stage| stage.number).ok_or_else(|| PlanError {
        span: None,
        problem: Problem::NoSuchStage { what, name: name.to_owned() },
        hint: nearest(&lower, stages.iter().filter_map(|stage| stage.name.as_deref()))
            .map(|near| format!("did you mean `{near}`?")),
    })
}

fn expand(lexer: &Lexer, word: &Word, values: &BTreeMap<String, String>, span: Span) -> Result<String, PlanError> {
    let failed = |why: String| Problem::Expand { word: word.to_string(), why }.at(span);
    lexer.expand_word(word.as_str(), values).map_err(|e| failed(e.to_string()))
}
