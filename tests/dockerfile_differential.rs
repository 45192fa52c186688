//! Our reading of Dockerfiles against that of `dockerfile-parser`, over the files that it accepts.

use dockerfile_parser::{Dockerfile as Theirs, Instruction as TheirInstruction, ShellOrExecExpr};
use locus_push::dockerfile::{self, Assignment, Command, CopyFiles, Instruction, Kind, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// What it takes, but reads otherwise than BuildKit does.
const MISREAD: [&str; 2] = [
    // A flag without a value becomes a source, and so does every flag behind it.
    "link_flag",
    // RUN's flags stay in the command.
    "run_mounts",
];

/// What it cannot read at all: heredocs, the escape directive, several ARGs, COPY's JSON form, `#` in a
/// substitution.
const REFUSED: [&str; 5] = ["backtick_escape", "heredocs", "many_args", "php_apache", "suffix_in_from"];

#[test]
fn both_parsers_read_the_same_instructions() {
    let mut refused = Vec::new();
    let mut misread = Vec::new();
    let mut compared = 0;
    for (name, text) in corpus() {
        let ours = dockerfile::parse(&text).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let Ok(theirs) = Theirs::parse(&text) else {
            refused.push(name);
            continue;
        };
        let ours: Vec<_> = ours.instructions.iter().map(our_words).collect();
        let theirs: Vec<_> = theirs.instructions.iter().map(their_words).collect();
        if MISREAD.contains(&name.as_str()) {
            assert_ne!(ours, theirs, "{name} is read alike now, and belongs with the others");
            misread.push(name);
            continue;
        }
        assert_eq!(ours, theirs, "{name}");
        compared += 1;
    }
    assert_eq!((refused, misread), (REFUSED.map(String::from).to_vec(), MISREAD.map(String::from).to_vec()));
    assert!(compared >= 27, "only {compared} files were compared");
}

fn corpus() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/dockerfiles");
    let entries = std::fs::read_dir(&folder).expect("the corpus is in the tree");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the corpus can be listed").path();
        let name = path.file_stem().expect("files have names").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("the corpus is text"))
    };
    entries.map(file).collect()
}

/// One instruction as words, in a notation that both can be brought to: the keyword, then what it holds,
/// blanks evened out and quotes taken off where `dockerfile-parser` takes them off.
fn our_words(instruction: &Instruction) -> Vec<String> {
    let keyword = instruction.keyword.to_uppercase();
    let mut words = vec![keyword.clone()];
    match &instruction.kind {
        Kind::From(from) => {
            words.extend(from.platform.iter().map(|platform| format!("--platform={platform}")));
            words.push(from.image.to_string());
            words.extend(from.name.clone());
        }
        Kind::Arg(arguments) => {
            for argument in arguments {
                words.push(argument.name.clone());
                words.extend(argument.default.iter().map(|default| unquoted(&default.0)));
            }
        }
        Kind::Env(pairs) | Kind::Label(pairs) => {
            let pair = |Assignment { name, value, .. }: &Assignment| [unquoted(&name.0), unquoted(&value.0)];
            words.extend(pairs.iter().flat_map(pair));
        }
        Kind::Run(run) => words.extend(our_command(&run.command)),
        Kind::Cmd(command) | Kind::Entrypoint(command) => words.extend(our_command(command)),
        Kind::Copy(copy) => words.extend(our_copy(copy)),
        Kind::Maintainer(_)
        | Kind::Shell(_)
        | Kind::Workdir(_)
        | Kind::User(_)
        | Kind::Expose(_)
        | Kind::Volume(_)
        | Kind::Stopsignal(_)
        | Kind::Healthcheck(_)
        | Kind::Onbuild(_)
        | Kind::Add(_) => words.extend(evened(&instruction.source[keyword.len()..])),
    }
    words
}

fn our_command(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(text) => evened(text),
        Command::Exec(words) => exec(words.clone()),
    }
}

fn our_copy(copy: &CopyFiles) -> Vec<String> {
    let mut flags = Vec::new();
    flags.extend(copy.from.iter().map(|from| format!("--from={from}")));
    flags.extend(copy.chown.iter().map(|chown| format!("--chown={chown}")));
    let source = |source: &Source| match source {
        Source::Path(path) => path.to_string(),
        Source::Inline(heredoc) => heredoc.name.clone(),
    };
    flags.into_iter().chain(copy.sources.iter().map(source)).chain([copy.destination.to_string()]).collect()
}

fn their_words(instruction: &TheirInstruction) -> Vec<String> {
    match instruction {
        TheirInstruction::From(from) => {
            let flags = from.flags.iter().map(|flag| format!("--{}={}", flag.name.content, flag.value.content));
            let alias = from.alias.iter().map(|alias| alias.content.to_lowercase());
            keyword("FROM", flags.chain([from.image.content.clone()]).chain(alias))
        }
        TheirInstruction::Arg(arg) => {
            let value = arg.value.iter().map(|value| unquoted(&value.content));
            keyword("ARG", [arg.name.content.clone()].into_iter().chain(value))
        }
        TheirInstruction::Env(env) => {
            keyword("ENV", env.vars.iter().flat_map(|var| [var.key.content.clone(), unquoted(&var.value.to_string())]))
        }
        TheirInstruction::Label(label) => {
            let pair =
                |label: &dockerfile_parser::Label| [unquoted(&label.name.content), unquoted(&label.value.content)];
            keyword("LABEL", label.labels.iter().flat_map(pair))
        }
        TheirInstruction::Run(run) => keyword("RUN", their_command(&run.expr)),
        TheirInstruction::Cmd(cmd) => keyword("CMD", their_command(&cmd.expr)),
        TheirInstruction::Entrypoint(entrypoint) => keyword("ENTRYPOINT", their_command(&entrypoint.expr)),
        TheirInstruction::Copy(copy) => {
            let flags = copy.flags.iter().map(|flag| format!("--{}={}", flag.name.content, flag.value.content));
            let sources = copy.sources.iter().map(|source| source.content.clone());
            keyword("COPY", flags.chain(sources).chain([copy.destination.content.clone()]))
        }
        TheirInstruction::Misc(misc) => {
            keyword(&misc.instruction.content.to_uppercase(), evened(&misc.arguments.to_string()))
        }
    }
}

fn their_command(command: &ShellOrExecExpr) -> Vec<String> {
    match command {
        ShellOrExecExpr::Shell(text) => evened(&text.to_string()),
        ShellOrExecExpr::Exec(words) => exec(words.as_str_vec().into_iter().map(String::from).collect()),
    }
}

fn keyword(keyword: &str, rest: impl IntoIterator<Item = String>) -> Vec<String> {
    [keyword.to_string()].into_iter().chain(rest).collect()
}

fn exec(words: Vec<String>) -> Vec<String> {
    keyword("exec", words)
}

fn evened(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

fn unquoted(text: &str) -> String {
    text.replace(['"', '\''], "")
}
