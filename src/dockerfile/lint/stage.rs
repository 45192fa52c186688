//! Rules about what a stage does, instruction by instruction, with the variables that each of them sees.

use super::report::Findings;
use super::{Around, BaseImage, Checked, Globals, Instruction, Kind, Rule, Stage, ports, secrets};
use crate::dockerfile::expand::{Expansion, Lexer};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{Argument, Assignment, Command, NO_VARIABLES, Source, Word};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(file: &Checked<'_>, around: &Around<'_>, findings: &mut Findings<'_>) {
    let lexer = Lexer::new(file.escape);
    let Ok(globals) = Globals::of(&file.globals, &around.predefined, around.build_args, &lexer) else { return };
    let mut known: BTreeMap<usize, State> = BTreeMap::new();
    for (number, stage) in file.stages.iter().enumerate() {
        if around.stages.as_ref().is_some_and(|stages| !stages.contains(&number)) {
            continue;
        }
        let image = lexer.expand_word(stage.from.image.as_str(), &globals.values).unwrap_or_default();
        let state = match stage.base(&image, &file.stages[..number]) {
            Some(below) => known.get(&below).cloned().unwrap_or_default(),
            None => State::on(around.bases.get(&number), image == "scratch"),
        };
        let size = state.env.iter().map(|(name, value)| name.len() + value.len()).sum();
        if lexer.keep(size).is_err() {
            // The build will tell it.
            return;
        }
        let walk = Walk {
            around,
            globals: &globals,
            lexer: &lexer,
            state,
            findings,
            cmd: None,
            entrypoint: None,
            probe: None,
        };
        let state = walk.stage(stage);
        known.insert(number, state);
    }
}

/// What one stage hands to another that stands on it.
#[derive(Clone, Debug, Default)]
struct State {
    env: BTreeMap<String, String>,
    /// ARGs, with a value or none.
    declared: BTreeSet<String>,
    /// Nobody looked at the image below: it may set variables that the file does not show.
    hidden: bool,
    shell: bool,
    workdir: bool,
}

impl State {
    fn on(image: Option<&BaseImage>, scratch: bool) -> Self {
        let mut state = match image {
            Some(image) => Self { env: image.env.clone(), shell: image.shell, ..Self::default() },
            None => Self { hidden: !scratch, ..Self::default() },
        };
        // Every stage has one, from its image or from the builder.
        state.env.entry("PATH".to_string()).or_default();
        state
    }
}

/// A stage under way.
struct Walk<'a, 'b, 'f> {
    around: &'a Around<'a>,
    globals: &'a Globals,
    lexer: &'a Lexer,
    state: State,
    findings: &'f mut Findings<'b>,
    /// The last of each that was seen in this stage.
    cmd: Option<&'a Instruction>,
    entrypoint: Option<&'a Instruction>,
    probe: Option<&'a Instruction>,
}

impl<'a> Walk<'a, '_, '_> {
    fn stage(mut self, stage: &Stage<'a>) -> State {
        for instruction in &stage.instructions {
            self.instruction(instruction);
        }
        self.state
    }

    fn instruction(&mut self, at: &'a Instruction) {
        match &at.kind {
            Kind::Arg(arguments) => arguments.iter().for_each(|argument| self.argument(argument, at)),
            Kind::Env(pairs) => self.env(pairs, at),
            Kind::Label(pairs) => drop(self.pairs(pairs, at)),
            Kind::Workdir(word) => self.workdir(word, at),
            Kind::User(word) | Kind::Stopsignal(word) => drop(self.word(word, at)),
            Kind::Volume(words) => words.iter().for_each(|word| drop(self.word(word, at))),
            Kind::Expose(words) => words.iter().for_each(|word| self.expose(word, at)),
            Kind::Shell(_) => self.state.shell = true,
            Kind::Cmd(command) => {
                let before = self.cmd.replace(at);
                self.once(before, at);
                self.shell_form(command, at);
            }
            Kind::Entrypoint(command) => {
                let before = self.entrypoint.replace(at);
                self.once(before, at);
                self.shell_form(command, at);
            }
            Kind::Healthcheck(_) => {
                let before = self.probe.replace(at);
                self.once(before, at);
            }
            Kind::Run(run) => {
                let values = run.mounts.iter().flat_map(|mount| &mount.options).filter_map(|(_, value)| value.as_ref());
                values.for_each(|value| drop(self.word(value, at)));
            }
            Kind::Copy(copy) => {
                let flags = [copy.chown.as_ref(), copy.chmod.as_ref()];
                let of_context = copy.from.is_none();
                self.files("Copy", &flags, &copy.sources, &copy.destination, of_context, at);
            }
            Kind::Add(add) => {
                let flags = [add.chown.as_ref(), add.chmod.as_ref(), add.checksum.as_ref()];
                self.files("Add", &flags, &add.sources, &add.destination, true, at);
            }
            // A trigger runs in another build, the others have nothing that is expanded.
            Kind::Onbuild(_) | Kind::Maintainer(_) | Kind::From(_) => {}
        }
    }

    fn argument(&mut self, argument: &Argument, at: &Instruction) {
        let Argument { name, default } = argument;
        self.secret("ARG", name, at);
        let value = match (self.around.build_args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => self.word(default, at).map(|expanded| expanded.text),
            (None, None) => self.globals.values.get(name).cloned(),
        };
        self.state.declared.insert(name.clone());
        if let Some(value) = value
            && !NO_VARIABLES.contains(&name.as_str())
        {
            self.state.env.insert(name.clone(), value);
        }
    }

    fn env(&mut self, pairs: &[Assignment], at: &Instruction) {
        // All values see the environment from before the instruction.
        let pairs = self.pairs(pairs, at);
        for (name, value) in pairs {
            self.secret("ENV", &name, at);
            self.state.env.insert(name, value);
        }
    }

    fn pairs(&mut self, pairs: &[Assignment], at: &Instruction) -> Vec<(String, String)> {
        let mut expanded = Vec::new();
        for Assignment { name, value, legacy } in pairs {
            if *legacy {
                let keyword = &at.keyword;
                let detail =
                    format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
                self.findings.add(Rule::LegacyKeyValueFormat, at, detail);
            }
            let (name, value) = (self.word(name, at), self.word(value, at));
            expanded.extend(name.map(|name| (name.text, value.unwrap_or_default().text)));
        }
        expanded
    }

    fn secret(&mut self, keyword: &str, name: &str, at: &Instruction) {
        if secrets::named_like_one(name) {
            let detail = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.findings.add(Rule::SecretsUsedInArgOrEnv, at, detail);
        }
    }

    /// Only the first of a stage, and of those it stands on: with it absolute, all that follow are right.
    fn workdir(&mut self, word: &Word, at: &Instruction) {
        let expanded = self.word(word, at);
        let first = !std::mem::replace(&mut self.state.workdir, true);
        let Some(path) = expanded.filter(|expanded| !self.is_guess(expanded)).map(|expanded| expanded.text) else {
            return;
        };
        if first && !path.starts_with('/') {
            let detail = format!("Relative workdir {path:?} can have unexpected results if the base image changes");
            self.findings.add(Rule::WorkdirRelativePath, at, detail);
        }
    }

    fn expose(&mut self, word: &Word, at: &Instruction) {
        // BuildKit says nothing of undefined variables here.
        let Ok(words) = self.lexer.expand_words(word.as_str(), &self.state.env) else { return };
        for (rule, detail) in words.iter().flat_map(|word| ports::faults(word)) {
            self.findings.add(rule, at, detail);
        }
    }

    /// The one before will never be used, so it is the place; who wrote the second is who may say `skip`.
    fn once(&mut self, before: Option<&Instruction>, at: &Instruction) {
        let Some(before) = before else { return };
        let detail = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be used",
            at.keyword
        );
        self.findings.add_for(at, Rule::MultipleInstructionsDisallowed, before, detail);
    }

    fn shell_form(&mut self, command: &Command, at: &Instruction) {
        if matches!(command, Command::Shell(_)) && !self.state.shell {
            let detail = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                at.keyword
            );
            self.findings.add(Rule::JSONArgsRecommended, at, detail);
        }
    }

    fn files(
        &mut self,
        verb: &str,
        flags: &[Option<&Word>],
        sources: &[Source],
        destination: &Word,
        of_context: bool,
        at: &Instruction,
    ) {
        flags.iter().flatten().for_each(|flag| drop(self.word(flag, at)));
        for source in sources {
            match source {
                Source::Path(word) => {
                    let Some(expanded) = self.word(word, at) else { continue };
                    let path = &expanded.text;
                    let ours = of_context && !self.is_guess(&expanded) && !(verb == "Add" && is_remote(path));
                    if let Some(path) = ignored(self.around.ignore, path).filter(|_| ours) {
                        let detail = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
                        self.findings.add(Rule::CopyIgnoredFile, at, detail);
                    }
                }
                Source::Inline(heredoc) if heredoc.expand => {
                    if let Ok(expanded) = self.lexer.expand_body(&heredoc.body, &self.state.env) {
                        self.undefined(&expanded, at);
                    }
                }
                Source::Inline(_) => {}
            }
        }
        drop(self.word(destination, at));
    }

    /// What a word says here; `None` where it cannot be expanded, which the build will tell.
    fn word(&mut self, word: &Word, at: &Instruction) -> Option<Expansion> {
        let expanded = self.lexer.expand(word.as_str(), &self.state.env).ok()?;
        self.undefined(&expanded, at);
        Some(expanded)
    }

    /// Over an image that nobody looked at, only a slip from a name that is known is told: any other variable may be
    /// the image's.
    fn undefined(&mut self, expanded: &Expansion, at: &Instruction) {
        for name in &expanded.unset {
            if self.state.declared.contains(name) || NO_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            // A comparison of two words is as long as both of them.
            let affordable = self.lexer.search(self.state.env.len() * name.len()).is_ok();
            let meant = affordable.then(|| nearest(name, self.state.env.keys().map(String::as_str))).flatten();
            if self.state.hidden && meant.is_none() {
                continue;
            }
            let meant = meant.map_or(String::new(), |meant| format!(" (did you mean ${meant}?)"));
            let detail = format!("Usage of undefined variable '${name}'{meant}");
            self.findings.add(Rule::UndefinedVar, at, detail);
        }
    }

    /// A variable in it may have a value that we cannot see.
    fn is_guess(&self, expanded: &Expansion) -> bool {
        self.state.hidden && expanded.unset.iter().any(|name| !self.state.declared.contains(name))
    }
}

/// The path in the context, where `.dockerignore` leaves it out. A file that takes paths back in is not judged: what
/// it leaves of a folder only the folder can tell.
fn ignored(ignore: &Ignore, source: &str) -> Option<String> {
    if ignore.takes_back() {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            // The context's root is as high as it goes.
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.join("/") {
        root if root.is_empty() => ignore.leaves_nothing().then(|| ".".to_string()),
        path => ignore.ignored(&path).then_some(path),
    }
}

/// What ADD fetches.
fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}
