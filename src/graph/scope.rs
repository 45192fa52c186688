//! A stage's instructions, once the config of its base is known, become steps and a config.

use crate::dockerfile::credentials::hidden;
use crate::dockerfile::expand::{ExpandError, Lexer, Lookup};
use crate::dockerfile::{Instruction, Kind, NO_VARIABLES, Span, Word};
use crate::image::ImageConfig;

use super::{Action, Base, Graph, PlanError, Problem, Stage, Step};

/// The PATH of an image that has none, as Docker sets it.
/// The search path of an image whose config names none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage stands on: its base's config, and the ARGs that a base stage declared.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    pub config: ImageConfig,
    pub(super) args: Vec<(String, Option<String>)>,
    /// The environment of the base stage's last instruction; an image has what its config says.
    pub(super) env: Option<Vec<(String, String)>>,
}

impl Ground {
    /// An image from outside.
    pub fn of(config: ImageConfig) -> Self {
        Self { config, args: Vec::new(), env: None }
    }
}

/// A stage's steps, and what a stage that stands on it stands on. The config's `rootfs` and `history` are still
/// those of the base: only the build knows what the steps made.
#[derive(Clone, Debug)]
pub struct StagePlan {
    pub steps: Vec<Step>,
    pub ground: Ground,
}

/// What is known at one point of a stage.
pub(super) struct Scope<'a> {
    pub graph: &'a Graph,
    pub stage: &'a Stage,
    pub config: ImageConfig,
    /// In the order of their declaration, those of the base stage first.
    pub args: Vec<(String, Option<String>)>,
    /// What variables expand to and RUN sees: ENV and ARG, whichever was said last.
    pub env: Vec<(String, String)>,
    /// This stage has a CMD of its own, which ENTRYPOINT leaves alone.
    pub cmd_is_set: bool,
    pub lexer: &'a Lexer,
}

impl Graph {
    /// The steps of a stage that stands on `ground`.
    pub fn steps(&self, stage: &Stage, ground: Ground) -> Result<StagePlan, PlanError> {
        let Ground { mut config, args, env } = ground;
        // Triggers are those of a stage's own instructions; the base's have become instructions of this stage.
        config.config.on_build.clear();
        if matches!(stage.base, Base::Scratch | Base::Origin(_)) && config.os.is_empty() {
            config.os = stage.platform.os.clone();
            config.architecture = stage.platform.architecture.clone();
            config.variant = stage.platform.variant.clone();
            config.config.working_dir = "/".to_owned();
        }
        if config.env("PATH").is_none() {
            config.set_env("PATH", PATH);
        }
        let env = env.unwrap_or_else(|| config.config.env.iter().map(|pair| split(pair)).collect());
        let lexer = &self.lexer;
        let mut scope = Scope { graph: self, stage, config, args, env, cmd_is_set: false, lexer };
        let too_much = |span| move |error: ExpandError| Problem::TooMuch(error).at(span);
        lexer.keep(scope.size()).map_err(too_much(stage.span))?;
        let mut steps = Vec::new();
        for instruction in &stage.instructions {
            let (action, created_by) = scope.step(instruction)?;
            let kept = created_by.len() + if matches!(action, Action::Run(_)) { scope.size() } else { 0 };
            lexer.keep(kept).map_err(too_much(instruction.span))?;
            // ONBUILD is for those who stand on this image; in its own history BuildKit says nothing of it.
            if created_by.is_empty() {
                continue;
            }
            let text = hidden(&instruction.source).into_owned();
            steps.push(Step { span: Some(instruction.span), text, created_by, action });
        }
        if stage.number == self.target {
            scope.config.config.labels.extend(self.options.labels.clone());
        }
        let Scope { config, args, env, .. } = scope;
        Ok(StagePlan { steps, ground: Ground { config, args, env: Some(env) } })
    }
}

impl Scope<'_> {
    fn step(&mut self, instruction: &Instruction) -> Result<(Action, String), PlanError> {
        let span = instruction.span;
        match &instruction.kind {
            Kind::Run(run) => self.run(run, span),
            Kind::Copy(copy) => self.copy(copy, span),
            Kind::Add(add) => self.add(add, span),
            Kind::Workdir(word) => self.workdir(word, span),
            Kind::Arg(arguments) => {
                let mut written = Vec::new();
                for argument in arguments {
                    let given = self.graph.options.build_args.get(&argument.name);
                    let value = match (given, &argument.default) {
                        (Some(given), _) => Some(given.clone()),
                        // A default that is not used need not be one that expands.
                        (None, Some(default)) => Some(self.word(default, span)?),
                        (None, None) => self.graph.globals.get(&argument.name).cloned(),
                    };
                    written.push(match &value {
                        Some(value) => format!("{}={value}", argument.name),
                        None => argument.name.clone(),
                    });
                    if let Some(value) = value.as_ref().filter(|_| !NO_VARIABLES.contains(&argument.name.as_str())) {
                        self.set_env(&argument.name, value, span)?;
                    }
                    self.args.push((argument.name.clone(), value));
                }
                Ok((Action::Config, format!("ARG {}", written.join(" "))))
            }
            // The parser begins a stage with each FROM.
            Kind::From(_) => Ok((Action::Config, String::new())),
            Kind::Env(_)
            | Kind::Label(_)
            | Kind::Maintainer(_)
            | Kind::Cmd(_)
            | Kind::Entrypoint(_)
            | Kind::Shell(_)
            | Kind::User(_)
            | Kind::Expose(_)
            | Kind::Volume(_)
            | Kind::Stopsignal(_)
            | Kind::Healthcheck(_)
            | Kind::Onbuild(_) => Ok((Action::Config, self.configure(&instruction.kind, span)?)),
        }
    }

    fn workdir(&mut self, word: &Word, span: Span) -> Result<(Action, String), PlanError> {
        let path = self.in_workdir(&self.word(word, span)?);
        self.config.config.working_dir = path.clone();
        let user = self.config.config.user.clone();
        Ok((Action::Workdir { path: path.clone(), user }, format!("WORKDIR {path}")))
    }

    /// A path made absolute by the working directory, and cleaned.
    pub(super) fn in_workdir(&self, path: &str) -> String {
        let base = if path.starts_with('/') { "" } else { self.config.config.working_dir.as_str() };
        clean(&format!("/{base}/{path}"))
    }

    pub(super) fn word(&self, word: &Word, span: Span) -> Result<String, PlanError> {
        self.lexer.expand_word(word.as_str(), self).map_err(|e| expand_failed(word, &e, span))
    }

    pub(super) fn words(&self, word: &Word, span: Span) -> Result<Vec<String>, PlanError> {
        self.lexer.expand_words(word.as_str(), self).map_err(|e| expand_failed(word, &e, span))
    }

    /// The shell that wraps a shell form.
    pub(super) fn shell(&self) -> Vec<String> {
        self.config.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    /// How much text the environment is.
    fn size(&self) -> usize {
        self.env.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Sets a variable, which goes to the end of the list as it does in BuildKit.
    pub(super) fn set_env(&mut self, name: &str, value: &str, span: Span) -> Result<(), PlanError> {
        self.search(self.env.len(), span)?;
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Takes the work of looking at so many variables out of the file's allowance.
    fn search(&self, steps: usize, span: Span) -> Result<(), PlanError> {
        self.lexer.search(steps).map_err(|error| Problem::TooMuch(error).at(span))
    }

    /// The environment of a RUN.
    pub(super) fn run_env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// The ARGs as a RUN's history shows them, with the values that the command sees; each once, where it was
    /// declared first.
    pub(super) fn history_args(&self, span: Span) -> Result<Vec<String>, PlanError> {
        self.search(self.args.len() * (self.args.len() + self.env.len()), span)?;
        let mut values: Vec<(&String, &str)> = Vec::new();
        for (name, value) in &self.args {
            let value = self.value(name).or(value.as_deref()).unwrap_or_default();
            match values.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => values.push((name, value)),
            }
        }
        Ok(values.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }
}

impl Lookup for Scope<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn steps(&self) -> usize {
        self.env.len()
    }
}

fn expand_failed(word: &Word, error: &dyn std::error::Error, span: Span) -> PlanError {
    Problem::Expand { word: word.to_string(), why: error.to_string() }.at(span)
}

fn split(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name.to_owned(), value.to_owned())
}

/// The path without `.`, `..` and doubled slashes, as Go's `path.Clean` gives it for an absolute path.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Options, plan};
    use super::*;
    use crate::dockerfile;
    use crate::image::Platform;

    fn options(build_args: &[(&str, &str)]) -> Options {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::linux_amd64(),
            build_args: build_args.iter().map(pair).collect(),
            target: None,
            labels: BTreeMap::new(),
            contexts: super::super::Contexts::default(),
        }
    }

    /// The history lines of the target, built on images without a config.
    fn history(text: &str, build_args: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let (plan, _) = steps(text, build_args)?;
        Ok(plan.steps.into_iter().map(|step| step.created_by).collect())
    }

    fn steps(text: &str, build_args: &[(&str, &str)]) -> Result<(StagePlan, Vec<String>), String> {
        let file = dockerfile::parse(text).map_err(|e| e.to_string())?;
        let graph = plan(&file, &options(build_args)).map_err(|e| e.to_string())?;
        let mut grounds = BTreeMap::<usize, StagePlan>::new();
        let mut bases = Vec::new();
        for stage in graph.needed() {
            let ground = match &stage.base {
                Base::Stage(below) => grounds[below].ground.clone(),
                Base::Image(image) => {
                    bases.push(image.to_string());
                    Ground::default()
                }
                Base::Scratch | Base::Origin(_) => Ground::default(),
            };
            let plan = graph.steps(stage, ground).map_err(|e| e.to_string())?;
            grounds.insert(stage.number, plan);
        }
        Ok((grounds.remove(&graph.target()).expect("the target is needed"), bases))
    }

    #[track_caller]
    fn check(text: &str, wanted: &[&str]) {
        let lines = history(&format!("FROM x\n{text}"), &[]).unwrap();
        assert_eq!(lines, wanted, "{text}");
    }

    #[test]
    fn env_sees_the_environment_from_before_the_instruction() {
        check("ENV a=1\nENV a=2 b=$a\nRUN x", &["ENV a=1", "ENV a=2 b=1", "RUN /bin/sh -c x # buildkit"]);
    }

    #[test]
    fn of_env_and_arg_the_last_counts() {
        check("ARG a=1\nENV a=2\nWORKDIR /$a", &["ARG a=1", "ENV a=2", "WORKDIR /2"]);
        check("ENV a=2\nARG a=1\nWORKDIR /$a", &["ENV a=2", "ARG a=1", "WORKDIR /1"]);
        check("ENV a=2\nARG a\nWORKDIR /$a", &["ENV a=2", "ARG a", "WORKDIR /2"]);
    }

    #[test]
    fn variables_that_double_are_refused_before_they_fill_the_memory() {
        let doubled = format!("ENV a={}\n{}", "x".repeat(1000), "ENV a=$a$a\n".repeat(12));
        let error = history(&format!("FROM x\n{doubled}{}", "RUN x\n".repeat(200)), &[]).unwrap_err();
        assert!(error.contains("expand to more than"), "{error}");
        assert!(history(&format!("FROM x\n{doubled}RUN x"), &[]).is_ok());
    }

    #[test]
    fn a_default_that_a_build_argument_replaces_is_not_looked_at() {
        assert_eq!(history("FROM x\nARG a=${b:?no}", &[("a", "1")]).unwrap(), ["ARG a=1"]);
        assert!(history("FROM x\nARG a=${b:?no}", &[]).is_err());
    }

    #[test]
    fn the_trigger_of_a_stage_runs_in_the_stage_on_it_and_not_further() {
        let text =
            "FROM x AS src\nFROM y AS base\nONBUILD COPY --from=src a /b\nFROM base AS mid\nWORKDIR /m\nFROM mid";
        let file = dockerfile::parse(text).unwrap();
        let graph = plan(&file, &options(&[])).unwrap();
        assert_eq!(graph.needed().iter().map(|stage| stage.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let steps = |number: usize| {
            let plan = graph.steps(graph.stage(number), Ground::default()).unwrap();
            assert_eq!(plan.ground.config.config.on_build.len(), usize::from(number == 1));
            plan.steps.into_iter().map(|step| step.created_by).collect::<Vec<_>>()
        };
        assert_eq!(steps(2), ["COPY a /b # buildkit", "WORKDIR /m"]);
        assert!(steps(3).is_empty());
    }

    #[test]
    fn a_stage_of_the_file_that_cannot_be_copied_from_is_named() {
        for (from, why) in
            [("b", "before"), ("1", "before"), ("7", "no stage"), ("-1", "no stage"), ("$x", "variables")]
        {
            let text = format!("FROM x AS a\nCOPY --from={from} y /\nFROM x AS b\nFROM a");
            let error = history(&text, &[]).unwrap_err();
            assert!(error.contains(why), "{from}: {error}");
        }
    }

    #[test]
    fn a_named_context_stands_in_the_place_of_a_stage_or_an_image() {
        let file = dockerfile::parse("FROM alpine AS a\nRUN x\nFROM busybox:latest\nCOPY --from=lib p /").unwrap();
        let mut options = options(&[]);
        for text in ["a=dir", "busybox=docker-image://other", "lib=docker-image://l"] {
            options.contexts.add(text).unwrap();
        }
        let graph = plan(&file, &options).unwrap();
        assert_eq!(graph.stage(0).base, Base::Origin(super::super::Origin::Folder("dir".into())));
        assert!(graph.stage(0).instructions.is_empty());
        assert_eq!(graph.stage(1).base, Base::Image("other".parse().unwrap()));
        let steps = graph.steps(graph.stage(1), Ground::default()).unwrap().steps;
        let Action::Copy(copy) = &steps[0].action else { panic!("a COPY") };
        assert_eq!(copy.from, super::super::CopyFrom::Image("l".parse().unwrap(), Platform::linux_amd64()));
    }

    #[test]
    fn the_target_stage_is_named_by_the_last_from() {
        assert_eq!(history("FROM x AS y\nARG TARGETSTAGE", &[]).unwrap(), ["ARG TARGETSTAGE=y"]);
        assert_eq!(history("FROM x\nARG TARGETSTAGE", &[]).unwrap(), ["ARG TARGETSTAGE=default"]);
    }

    #[test]
    fn a_stage_is_stood_on_by_its_lower_case_name_alone() {
        let error = history("FROM x AS Base\nFROM Base", &[]).unwrap_err();
        assert!(error.contains("Base"), "{error}");
    }

    #[test]
    fn declared_args_are_environment_and_history_of_later_runs() {
        let (plan, _) = steps("FROM x\nARG a=1\nARG b\nRUN c", &[("a", "9"), ("unknown", "u")]).unwrap();
        assert_eq!(plan.steps[2].created_by, "RUN |2 a=9 b= /bin/sh -c c # buildkit");
        let Action::Run(run) = &plan.steps[2].action else { panic!("a RUN") };
        assert_eq!(run.env, [("PATH".to_owned(), PATH.to_owned()), ("a".to_owned(), "9".to_owned())]);
    }

    #[test]
    fn a_global_arg_is_seen_in_a_stage_only_when_redeclared() {
        let text = "ARG v=1\nFROM base:$v\nWORKDIR /$v\nARG v\nWORKDIR /$v";
        let (plan, bases) = steps(text, &[]).unwrap();
        assert_eq!(bases, ["docker.io/library/base:1"]);
        let lines: Vec<_> = plan.steps.iter().map(|step| step.created_by.as_str()).collect();
        assert_eq!(lines, ["WORKDIR /", "ARG v=1", "WORKDIR /1"]);
    }

    #[test]
    fn a_stage_inherits_the_args_of_the_stage_it_stands_on() {
        let lines = history("FROM x AS a\nARG v=1\nFROM a\nWORKDIR /$v", &[]).unwrap();
        assert_eq!(lines, ["WORKDIR /1"]);
    }

    #[test]
    fn entrypoint_clears_an_inherited_cmd_and_leaves_this_stages_own() {
        let (plan, _) = steps("FROM x AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]", &[]).unwrap();
        assert_eq!(plan.ground.config.config.cmd, None);
        let (plan, _) = steps("FROM x\nCMD [\"c\"]\nENTRYPOINT e", &[]).unwrap();
        assert_eq!(plan.ground.config.config.cmd, Some(vec!["c".to_owned()]));
        let entrypoint = ["/bin/sh", "-c", "e"].map(str::to_owned).to_vec();
        assert_eq!(plan.ground.config.config.entrypoint, Some(entrypoint));
    }

    #[test]
    fn a_relative_workdir_joins_the_one_before() {
        check("WORKDIR a\nWORKDIR b/../c\nWORKDIR /d", &["WORKDIR /a", "WORKDIR /a/c", "WORKDIR /d"]);
    }

    #[test]
    fn copy_names_what_it_copies() {
        check("COPY --chmod=755 a b /c/", &["COPY --chmod=755 a b /c/ # buildkit"]);
        check("COPY .. .", &["COPY .. . # buildkit"]);
    }

    #[test]
    fn stages_that_the_target_does_not_need_are_left_out() {
        let file = dockerfile::parse("FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=one x y").unwrap();
        let graph = plan(&file, &options(&[])).unwrap();
        assert_eq!(graph.needed().iter().map(|stage| stage.number).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_target_is_found_in_any_case_and_a_typo_is_named() {
        let file = dockerfile::parse("FROM a AS build\nFROM b").unwrap();
        let target = |name: &str| plan(&file, &Options { target: Some(name.to_owned()), ..options(&[]) });
        assert_eq!(target("BUILD").unwrap().target(), 0);
        assert_eq!(target("biuld").unwrap_err().hint.as_deref(), Some("did you mean `build`?"));
        assert!(target("0").is_err());
    }

    #[test]
    fn what_cannot_be_built_yet_is_refused_by_name() {}

    #[test]
    fn the_history_of_an_add_shows_no_credentials() {
        check("ADD https://u:hunter2@h/r.git#v1 /", &["ADD https://xxxxx@h/r.git#v1 / # buildkit"]);
        check("ADD https://u:hunter2@h/f /", &["ADD https://xxxxx@h/f / # buildkit"]);
    }

    #[test]
    fn a_scratch_stage_begins_with_a_path_and_a_working_directory() {
        let (plan, _) = steps("FROM scratch\nENV a=b", &[]).unwrap();
        let config = plan.ground.config;
        assert_eq!(config.config.env, [format!("PATH={PATH}"), "a=b".to_owned()]);
        assert_eq!((config.config.working_dir.as_str(), config.architecture.as_str()), ("/", "amd64"));
    }
}
