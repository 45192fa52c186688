//! COPY and ADD: where files come from, where they go, and what they become.

use crate::dockerfile::expand::Lexer;
use crate::dockerfile::{self, AddFiles, CopyFiles, Heredoc, Span, Word, glob};

use super::plan::stage_named;
use super::scope::{Scope, clean};
use super::{Action, Chmod, Copy, CopyFrom, PlanError, Problem, Source};

impl Scope<'_> {
    pub(super) fn copy(&self, copy: &CopyFiles, span: Span) -> Result<(Action, String), PlanError> {
        let CopyFiles { sources, destination, from, chown, chmod, link, parents, exclude } = copy;
        if *parents {
            return Err(Problem::NotYet("COPY --parents".to_owned()).at(span));
        }
        let from = from.as_deref().map_or(Ok(CopyFrom::Context), |from| self.from(from, span))?;
        let files = Files { sources, destination, chown, chmod, link: *link, exclude };
        self.files("COPY", files, from, false, span)
    }

    pub(super) fn add(&self, add: &AddFiles, span: Span) -> Result<(Action, String), PlanError> {
        let AddFiles { sources, destination, chown, chmod, link, exclude, checksum, keep_git_dir, unpack } = add;
        let not_yet = |what: String| Err(Problem::NotYet(what).at(span));
        if checksum.is_some() {
            return not_yet("ADD --checksum".to_owned());
        }
        if keep_git_dir.is_some() {
            return not_yet("ADD --keep-git-dir".to_owned());
        }
        for source in sources {
            if let dockerfile::Source::Path(word) = source {
                let path = self.word(word, span)?;
                if is_remote(&path) {
                    return not_yet(format!("ADD of a URL or git repository ({path})"));
                }
            }
        }
        let files = Files { sources, destination, chown, chmod, link: *link, exclude };
        self.files("ADD", files, CopyFrom::Context, unpack.unwrap_or(true), span)
    }

    /// A stage by name or number, else an image.
    fn from(&self, from: &str, span: Span) -> Result<CopyFrom, PlanError> {
        let names: Vec<_> = self.graph.stages.iter().map(|stage| stage.name.clone()).collect();
        if let Some(number) = stage_named(from, &names, self.stage.number) {
            return Ok(CopyFrom::Stage(number));
        }
        if from.contains('$') {
            let why = "variables are not expanded here; declare the image as a stage with FROM … AS name";
            return Err(Problem::From(from.to_owned(), why).at(span));
        }
        if from.bytes().all(|b| b.is_ascii_digit()) {
            let why = "there is no stage of that number before this one";
            return Err(Problem::From(from.to_owned(), why).at(span));
        }
        let image = from.parse().map_err(|e| Problem::Reference(e).at(span))?;
        Ok(CopyFrom::Image(image, self.stage.platform.clone()))
    }

    fn files(
        &self,
        verb: &str,
        files: Files<'_>,
        from: CopyFrom,
        unpack: bool,
        span: Span,
    ) -> Result<(Action, String), PlanError> {
        let Files { sources, destination, chown, chmod, link, exclude } = files;
        let mut found = Vec::new();
        let mut shown = Vec::new();
        for source in sources {
            match source {
                dockerfile::Source::Path(word) => {
                    let path = self.word(word, span)?;
                    shown.push(path.clone());
                    found.push(path_source(&path));
                }
                dockerfile::Source::Inline(heredoc) => {
                    shown.push(format!("<<{}", heredoc.name));
                    found.push(self.inline(heredoc, span)?);
                }
            }
        }
        let chown = chown.as_ref().map(|word| self.word(word, span)).transpose()?;
        let chmod_text = chmod.as_ref().map(|word| self.word(word, span)).transpose()?;
        let chmod = chmod_text.as_ref().map(|text| {
            let bad = |rule| Problem::Value { flag: "--chmod", value: text.clone(), rule }.at(span);
            text.parse::<Chmod>().map_err(bad)
        });
        let chmod = chmod.transpose()?;
        let written = self.word(destination, span)?;
        let many = found.len() > 1;
        let is_directory = written.is_empty() || ends_as_directory(&written);
        if many && !is_directory {
            let rule = "with several sources the destination is a directory and ends with `/`";
            return Err(Problem::Value { flag: "destination", value: written, rule }.at(span));
        }
        let mut destination = self.in_workdir(&written);
        if is_directory && !destination.ends_with('/') {
            destination.push('/');
        }
        let flags = [
            chown.as_ref().map(|chown| format!(" --chown={chown}")),
            chmod_text.map(|chmod| format!(" --chmod={chmod}")),
            link.then(|| " --link".to_owned()),
        ];
        let flags: String = flags.into_iter().flatten().collect();
        let created_by = format!("{verb}{flags} {} {written} # buildkit", shown.join(" "));
        let exclude = exclude.clone();
        let copy = Copy { from, sources: found, destination, chown, chmod, link, exclude, unpack };
        Ok((Action::Copy(copy), created_by))
    }

    fn inline(&self, heredoc: &Heredoc, span: Span) -> Result<Source, PlanError> {
        let body = heredoc.content();
        let body = match heredoc.expand {
            false => body,
            true => Lexer::for_heredoc_bodies()
                .expand_word(&body, self)
                .map_err(|e| Problem::Expand { word: format!("<<{}", heredoc.name), why: e.to_string() }.at(span))?,
        };
        Ok(Source::Inline { name: heredoc.name.clone(), bytes: body.into_bytes() })
    }
}

/// What COPY and ADD share.
struct Files<'a> {
    sources: &'a [dockerfile::Source],
    destination: &'a Word,
    chown: &'a Option<Word>,
    chmod: &'a Option<Word>,
    link: bool,
    exclude: &'a Vec<String>,
}

/// `..` is clamped at the root of where files are taken from, as BuildKit does (and the classic builder refused).
fn path_source(path: &str) -> Source {
    let directory_only = ends_as_directory(path);
    let pattern = clean(path)[1..].to_owned();
    Source::Path { is_pattern: glob::has_wildcard(&pattern), pattern, directory_only }
}

/// `a/`, `a/.`, `.` and `..` name directories.
fn ends_as_directory(path: &str) -> bool {
    path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."))
}

fn is_remote(path: &str) -> bool {
    let scheme = ["http://", "https://", "git://", "ssh://"].iter().any(|scheme| path.starts_with(scheme));
    scheme
        || path.starts_with("git@")
        || path.split(['#', '?']).next().is_some_and(|p| p.ends_with(".git") && p.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_do_not_lead_out_of_the_context() {
        let pattern = |path: &str| match path_source(path) {
            Source::Path { pattern, .. } => pattern,
            Source::Inline { .. } => unreachable!("a path is no heredoc"),
        };
        for (path, wanted) in
            [("..", ""), ("../os_opendata", "os_opendata"), ("a/../../b/./c", "b/c"), ("/x", "x"), (".", "")]
        {
            assert_eq!(pattern(path), wanted, "{path}");
        }
    }

    #[test]
    fn urls_and_repositories_are_told_from_paths() {
        for path in ["http://x/a", "https://h/r.git#v1", "git@github.com:a/b", "git://h/r"] {
            assert!(is_remote(path), "{path}");
        }
        for path in ["a.git", "dir/http", "git", "./x.tar"] {
            assert!(!is_remote(path), "{path}");
        }
    }
}
