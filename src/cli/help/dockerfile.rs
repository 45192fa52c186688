//! What of the Dockerfile's language there is, and what is refused by its name.

use super::super::args;
use super::super::order::frontend;
use super::table;
use crate::dockerfile::support;
use crate::graph::{PROXIES, predefined};
use crate::image::Platform;

/// What is to be known of an instruction besides its flags.
const ABOUT: [(&str, &str); 18] = [
    ("ADD", "files, archives, URLs, git repositories, heredocs"),
    ("ARG", "before FROM and in a stage; several in one line"),
    ("CMD", "as a shell line or a JSON list"),
    ("COPY", "from the context, a stage, an image or a named context; heredocs; wildcards"),
    ("ENTRYPOINT", "as a shell line or a JSON list"),
    ("ENV", "name=value, and the old form with a blank"),
    ("EXPOSE", "ports, ranges, /tcp and /udp"),
    ("FROM", "an image, a stage, scratch; AS name"),
    ("HEALTHCHECK", "CMD and NONE; ECS asks for the task definition's own, and not for the image's"),
    ("LABEL", "name=value"),
    ("MAINTAINER", "read, and warned of as deprecated"),
    ("ONBUILD", "run in the stage that is built on the image"),
    ("RUN", "as a shell line or a JSON list; heredocs"),
    ("SHELL", "a JSON list"),
    ("STOPSIGNAL", "a name or a number"),
    ("USER", "a name or an id, with its group"),
    ("VOLUME", "words or a JSON list"),
    ("WORKDIR", "made where it is not there"),
];

/// The rows of the table; what is written so in a file stands between backticks.
pub(super) fn rows() -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (keyword, flags) in support::instructions() {
        let about = ABOUT.iter().find(|(name, _)| *name == keyword).map_or("", |(_, about)| *about);
        let flags = flags.into_iter().map(|flag| format!("--{flag}"));
        let parts = [about.to_owned(), code(flags)].into_iter().filter(|part| !part.is_empty());
        rows.push((format!("`{keyword}`"), parts.collect::<Vec<_>>().join("; ")));
    }
    for (kind, keys) in support::mounts() {
        rows.push((format!("`RUN --mount=type={kind}`"), code(keys)));
    }
    let aliases = support::aliases().iter().map(|(alias, key)| format!("`{alias}` is `{key}`"));
    rows.push(("other names of these keys".to_owned(), aliases.collect::<Vec<_>>().join(", ")));
    for (flag, values) in support::choices() {
        let leave = values.last().map_or(String::new(), |last| format!("; `{last}` with `--allow {flag}.{last}`"));
        rows.push((format!("`RUN --{flag}`"), code(values) + &leave));
    }
    let mut say = |what: &str, how: String| rows.push((what.to_owned(), how));
    say(
        "`RUN --device`",
        "a device by its CDI name; one that is required is refused: a RUN has none of the machine's".into(),
    );
    say("heredocs", "`<<NAME` `<<-NAME` `<<\"NAME\"`, several in one instruction; of RUN, COPY and ADD".into());
    let directives = code(support::directives());
    say(
        "parser directives",
        format!("{directives}; another frontend's `syntax` is warned of: the language is built in"),
    );
    say(
        "variables",
        "`$name` `${name}` `${name:-word}` `${name:+word}` `${name:?word}`, the three without `:`, `${name#pattern}` \
         `${name##pattern}` `${name%pattern}` `${name%%pattern}` `${name/pattern/word}` `${name//pattern/word}`"
            .into(),
    );
    let platform = Platform::host();
    say("predefined ARGs", code(predefined(&platform, &platform, "").into_keys()));
    say("build arguments that each RUN sees", code(PROXIES));
    say("build arguments that steer", code(frontend::HONOURED));
    say("refused build arguments", code(frontend::REFUSED.iter().map(|(name, _)| name)));
    let flags = args::refused_flags().chain(["load"]).map(|name| format!("--{name}"));
    say("refused flags of `build`", format!("{}; several platforms at once", code(flags)));
    rows
}

fn code(words: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
}

pub(super) fn page() -> String {
    let plain = |text: &str| text.replace('`', "");
    let rows: Vec<_> = rows().iter().map(|(what, how)| (plain(what), plain(how))).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(what, how)| (what.as_str(), how.as_str())).collect();
    format!(
        "The language is BuildKit's. What stands here is read by these words; what does not is an error with its line.\n\n{}",
        table(&rows)
    )
}
