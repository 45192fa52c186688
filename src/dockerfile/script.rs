//! What a RUN executes once its heredocs are in place (`dispatchRun` in BuildKit's dockerfile2llb).

use super::heredoc::Redirection;
use super::{Command, RunCommand};

/// What RUN starts, once heredocs are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
    /// A heredoc that names its interpreter: a file of mode 0755 that the shell is told to run from
    /// `/dev/pipes/<name>`.
    File {
        name: String,
        content: String,
    },
}

impl RunCommand {
    pub fn script(&self) -> Script {
        let text = match &self.command {
            Command::Exec(words) => return Script::Exec(words.clone()),
            Command::Shell(text) => text,
        };
        let alone = matches!(Redirection::parse(text), Ok(Some(_)));
        match self.heredocs.as_slice() {
            [only] if alone && only.content().starts_with("#!") => {
                Script::File { name: only.name.clone(), content: only.content() }
            }
            [only] if alone => Script::Shell(only.content()),
            // The shell reads them itself, so it gets the lines back as they were.
            heredocs => {
                let bodies = heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.body, heredoc.name));
                Script::Shell(text.clone() + &bodies.collect::<String>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Script;
    use crate::dockerfile::{Kind, parse};

    #[track_caller]
    fn check(text: &str, expected: Script) {
        let file = parse(&format!("FROM x\n{text}")).unwrap();
        let Kind::Run(run) = &file.instructions[1].kind else { panic!("{text} is no RUN") };
        assert_eq!(run.script(), expected, "{text}");
    }

    #[test]
    fn a_lone_heredoc_is_the_script() {
        check("RUN <<E\na\nb\nE", Script::Shell("a\nb\n".into()));
        check("RUN --network=none <<-'E'\n\ta\n\tE", Script::Shell("a\n".into()));
    }

    #[test]
    fn a_lone_heredoc_with_an_interpreter_is_a_file() {
        let content = "#!/usr/bin/env python3\nprint(1)\n".to_string();
        check("RUN <<py\n#!/usr/bin/env python3\nprint(1)\npy", Script::File { name: "py".into(), content });
        let content = "#!/bin/awk -f\nBEGIN {}\n".to_string();
        check("RUN <<-E\n\t#!/bin/awk -f\n\tBEGIN {}\n\tE", Script::File { name: "E".into(), content });
    }

    #[test]
    fn other_heredocs_are_left_to_the_shell() {
        check("RUN cat <<A <<-B\na\nA\n\tb\nB", Script::Shell("cat <<A <<-B\na\nA\n\tb\nB".into()));
        check("RUN a  b", Script::Shell("a  b".into()));
        check(r#"RUN ["a"]"#, Script::Exec(vec!["a".into()]));
    }
}
