//! What the README says of us is held to what we are. `LOCUS_WRITE_README=1` writes its table anew.

use std::collections::BTreeSet;

use super::{args, dockerfile};

const BEGIN: &str = "<!-- `locus-push help dockerfile`, written by a test, from here -->\n";
const END: &str = "<!-- to here -->\n";

fn path() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn readme() -> String {
    std::fs::read_to_string(path()).expect("there is a README")
}

#[test]
fn the_table_of_the_dockerfile_is_the_parsers_own() {
    let row = |(what, how): (String, String)| format!("| {what} | {how} |\n");
    let table: String = dockerfile::rows().into_iter().map(row).collect();
    let table = format!("\n| | |\n|---|---|\n{table}\n");
    let text = readme();
    let (before, rest) = text.split_once(BEGIN).expect("the table begins somewhere");
    let (there, after) = rest.split_once(END).expect("and ends");
    if std::env::var_os("LOCUS_WRITE_README").is_some() {
        std::fs::write(path(), format!("{before}{BEGIN}{table}{END}{after}")).expect("the repository can be written");
    } else {
        assert!(there == table, "the README's table is another; LOCUS_WRITE_README=1 writes:\n{table}");
    }
}

/// Every flag that a command of ours is shown with, and every flag in the right-hand column of a table of others' flags.
#[test]
fn each_flag_that_the_readme_names_as_ours_is_there() {
    let mut command = args::command();
    command.build();
    let mut known = BTreeSet::new();
    flags(&command, &mut known);
    let text = readme();
    let mut named = Vec::new();
    for line in text.lines() {
        let ours = match line.strip_prefix("| ").map(|row| row.split(" | ").collect::<Vec<_>>()) {
            // `theirs | ours | …`: what stands in the first column is another program's.
            Some(cells) if cells.len() > 1 => cells[1..].join(" | "),
            _ => continue,
        };
        if in_table_of_others(&text, line) {
            named.extend(words(&ours).map(|flag| (flag, line.to_owned())));
        }
    }
    assert!(named.len() > 60, "only {} flags are named", named.len());
    for (flag, line) in named {
        assert!(known.contains(&flag), "{flag} is no flag of ours:\n{line}");
    }
}

/// The sections in which other programs' flags stand beside ours.
fn in_table_of_others(text: &str, line: &str) -> bool {
    let at = text.find(line).unwrap_or_default();
    let section = text[..at].rfind("\n## ").map_or("", |from| text[from + 4..].lines().next().unwrap_or_default());
    section.starts_with("Coming from")
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c.is_whitespace() || "`,;|()=[]…".contains(c))
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(|word| word.trim_end_matches('.').to_owned())
}

fn flags(command: &clap::Command, known: &mut BTreeSet<String>) {
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        known.extend(arg.get_long().map(|long| format!("--{long}")));
        known.extend(arg.get_visible_aliases().unwrap_or_default().iter().map(|alias| format!("--{alias}")));
    }
    command.get_subcommands().for_each(|sub| flags(sub, known));
}

#[test]
fn a_line_of_the_readme_that_is_no_table_fits_a_window() {
    for (number, line) in readme().lines().enumerate() {
        assert!(line.starts_with('|') || line.chars().count() <= 120, "line {}: {line}", number + 1);
    }
}
