//! `help`: what holds for all commands, by topic; and a command's own page. `man`: the same for a packager.

mod config;
mod dockerfile;
mod environment;
mod progress;

use std::path::Path;

use serde_json::json;

use super::failure::Kind;
use super::{Done, Failure, args};

type Page = fn() -> String;

/// What has a page of its own.
const TOPICS: [(&str, Page); 5] = [
    ("exit-codes", exit_codes),
    ("environment", environment::page),
    ("config", config::page),
    ("progress", progress::page),
    ("dockerfile", dockerfile::page),
];

/// The page of a topic, of a command, or of all.
pub(super) fn help(words: &[String]) -> Result<Done, Failure> {
    if let [topic] = words
        && let Some((_, page)) = TOPICS.iter().find(|(name, _)| name == topic)
    {
        let page = page();
        return Ok(Done::new(page.trim_end(), json!({ "help": page })));
    }
    let mut command = args::command();
    command.build();
    let mut at = &mut command;
    for word in words {
        let names = at.get_subcommands().map(|sub| sub.get_name().to_owned()).collect::<Vec<_>>();
        at = at.find_subcommand_mut(word).ok_or_else(|| no_page(word, &names))?;
    }
    let page = at.render_long_help().to_string();
    Ok(Done::new(page.trim_end(), json!({ "help": page })))
}

/// The man pages, one a command, into a folder.
pub(super) fn man(folder: &Path) -> Result<Done, Failure> {
    let failed = |error: std::io::Error| {
        Failure::configuration(format!("cannot write man pages to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(args::command().disable_help_subcommand(true), folder).map_err(failed)?;
    Ok(Done::new(folder.display().to_string(), json!({ "folder": folder })))
}

fn no_page(word: &str, commands: &[String]) -> Failure {
    let topics = TOPICS.map(|(name, _)| name);
    let failure = Failure::usage(format!("there is no help on `{word}`"));
    let known = topics.iter().copied().chain(commands.iter().map(String::as_str));
    match crate::dockerfile::nearest::nearest(word, known) {
        Some(near) => failure.hint(format!("did you mean `locus-push help {near}`?")),
        None => failure.hint(format!("the topics are {}; and each command has a page", topics.join(", "))),
    }
}

fn exit_codes() -> String {
    let rows = Kind::ALL.map(|kind| (kind.exit_code().to_string(), kind.meaning()));
    let none = ("0".to_owned(), "all went well, and what ran ended with 0");
    let task = ("the task's own".to_owned(), "a task ran to its end: the road, --local, run, logs --follow");
    let rows: Vec<_> = [task, none].into_iter().chain(rows).collect();
    let rows: Vec<_> = rows.iter().map(|(code, meaning)| (code.as_str(), *meaning)).collect();
    format!("The exit code says how it went; with --json a failure names its phase, too.\n\n{}", table(&rows))
}

/// Two columns.
fn table(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, meaning)| format!("  {name:width$}  {meaning}\n")).collect()
}

#[cfg(test)]
mod readme;

#[cfg(test)]
mod tests {
    use super::*;

    fn page(topic: &str) -> String {
        help(&[topic.to_owned()]).expect("there is such a page").text
    }

    #[test]
    fn each_exit_code_is_on_its_page() {
        let page = page("exit-codes");
        for kind in Kind::ALL {
            let row = format!("\n  {:14}  {}", kind.exit_code().to_string(), kind.meaning());
            assert!(page.contains(&row), "{row}\n{page}");
        }
    }

    #[test]
    fn each_command_has_a_page_with_an_example() {
        for command in args::command().get_subcommands() {
            let name = command.get_name();
            let page = page(name);
            assert!(page.contains("Usage: locus-push ") && page.contains("Example"), "{name}:\n{page}");
        }
        assert!(help(&["cache".into(), "prune".into()]).expect("a command of a command").text.contains("--older-than"));
    }

    #[test]
    fn a_page_that_is_not_there_is_told_with_the_nearest() {
        let failure = help(&["exit-code".into()]).expect_err("it is exit-codes");
        assert_eq!((failure.exit_code(), failure.message.as_str()), (2, "there is no help on `exit-code`"));
        assert_eq!(failure.hints, ["did you mean `locus-push help exit-codes`?"]);
        assert_eq!(help(&["biuld".into()]).expect_err("build").hints, ["did you mean `locus-push help build`?"]);
    }

    #[test]
    fn a_packager_gets_a_man_page_for_each_command() {
        let folder = tempfile::tempdir().expect("a folder");
        man(&folder.path().join("man1")).expect("it can be written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).expect(name);
        assert!(read("locus-push.1").contains(".TH locus-push 1"));
        assert!(read("locus-push-build.1").contains("\\-\\-build\\-arg"));
        assert!(!read("locus-push-build.1").contains("cpu\\-period"), "what is only refused has no page");
    }
}
