//! COPY and ADD: where files come from, where they go, and what they become.

use crate::dockerfile::credentials::hidden;
use crate::dockerfile::expand::ExpandError;
use crate::dockerfile::{self, AddFiles, CopyFiles, Heredoc, Span, Word, glob};
use crate::image::Digest;

use super::scope::{Scope, clean};
use super::url::file_name;
use super::{Action, Base, Chmod, Copy, CopyFrom, GitSource, PlanError, Problem, Source};

impl Scope<'_> {
    pub(super) fn copy(&self, copy: &CopyFiles, span: Span) -> Result<(Action, String), PlanError> {
        let CopyFiles { sources, destination, from, chown, chmod, link, parents, exclude } = copy;
        let from = from.as_deref().map_or(Ok(CopyFrom::Context), |from| self.from(from, span))?;
        let place = if *parents { parents_source } else { path_source };
        let found = |word: &Word| {
            let path = self.word(word, span)?;
            if *parents && ends_in_pivot(&path) {
                let rule = "nothing stands behind the pivot that could be copied; `./*` is all that is there";
                return Err(Problem::Value { flag: "COPY --parents", value: path, rule }.at(span));
            }
            match fetched(&path).map_err(|problem| problem.at(span))? {
                None => Ok((place(&path), path)),
                Some(_) => {
                    let rule = "COPY takes no URL; ADD does";
                    let value = hidden(&path).into_owned();
                    Err(Problem::Value { flag: "source", value, rule }.at(span))
                }
            }
        };
        let found = self.sources(sources, found, span)?;
        let flags = Flags { parents: *parents, chown, chmod, link: *link, exclude };
        self.files("COPY", found, destination, flags, (from, false), span)
    }

    pub(super) fn add(&self, add: &AddFiles, span: Span) -> Result<(Action, String), PlanError> {
        let AddFiles { sources, destination, chown, chmod, link, exclude, checksum, keep_git_dir, unpack } = add;
        let checksum = checksum.as_ref().map(|word| self.word(word, span)).transpose()?;
        let checksum = checksum.filter(|text| !text.is_empty());
        let bad = |rule| {
            let value = checksum.clone().unwrap_or_default();
            Problem::Value { flag: "--checksum", value, rule }.at(span)
        };
        if checksum.is_some() && sources.len() != 1 {
            return Err(bad("it is for one source"));
        }
        let digest = |text: &String| text.parse::<Digest>().map_err(|_| bad("it is `sha256:` and 64 hex digits"));
        let found = |word: &Word| {
            let path = self.word(word, span)?;
            let shown = hidden(&path).into_owned();
            let source = match fetched(&path).map_err(|problem| problem.at(span))? {
                Some(Fetched::Git(git)) => Source::Git(
                    git.with_flags(*keep_git_dir, checksum.as_deref())
                        .map_err(|why| Problem::git(&path, why).at(span))?,
                ),
                Some(Fetched::Http) => {
                    let checksum = checksum.as_ref().map(digest).transpose()?;
                    Source::Url { name: file_name(&path), url: path, checksum }
                }
                None if checksum.is_some() => return Err(bad("it is for a URL or a repository")),
                None => path_source(&path),
            };
            Ok((source, shown))
        };
        let found = self.sources(sources, found, span)?;
        let any_url = found.iter().any(|(source, _)| matches!(source, Source::Url { .. }));
        let flags = Flags { parents: false, chown, chmod, link: *link, exclude };
        self.files("ADD", found, destination, flags, (CopyFrom::Context, unpack.unwrap_or(!any_url)), span)
    }

    /// A stage by name or number, else a named context, else an image.
    pub(super) fn from(&self, from: &str, span: Span) -> Result<CopyFrom, PlanError> {
        let refuse = |why| Err(Problem::From(from.to_owned(), why).at(span));
        if from.contains('$') {
            return refuse("variables are not expanded here; declare the image as a stage with FROM … AS name");
        }
        match self.graph.stage_named(from) {
            Some(number) if number < self.stage.number => return Ok(CopyFrom::Stage(number)),
            Some(_) => return refuse("a stage is copied from where it stands before this one"),
            None if from.parse::<i64>().is_ok() => return refuse("there is no stage of that number"),
            None => {}
        }
        if from == "scratch" {
            return refuse("there is nothing in scratch");
        }
        let platform = self.stage.platform.clone();
        Ok(match self.graph.options.contexts.find(from, &platform).cloned().map(Base::of) {
            Some(Base::Origin(origin)) => CopyFrom::Origin(origin, platform),
            Some(Base::Image(image)) => CopyFrom::Image(image, platform),
            Some(Base::Scratch | Base::Stage(_)) => return refuse("there is nothing in scratch"),
            None => CopyFrom::Image(from.parse().map_err(|e| Problem::Reference(e).at(span))?, platform),
        })
    }

    /// Sources with the words that the history shows: files first, then heredocs, as BuildKit lays them.
    fn sources(
        &self,
        sources: &[dockerfile::Source],
        path: impl Fn(&Word) -> Result<(Source, String), PlanError>,
        span: Span,
    ) -> Result<Vec<(Source, String)>, PlanError> {
        let (mut files, mut inline) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                dockerfile::Source::Path(word) => files.push(path(word)?),
                dockerfile::Source::Inline(heredoc) => {
                    inline.push((self.inline(heredoc, span)?, format!("<<{}", heredoc.name)));
                }
            }
        }
        files.extend(inline);
        Ok(files)
    }

    fn files(
        &self,
        verb: &str,
        found: Vec<(Source, String)>,
        destination: &Word,
        flags: Flags<'_>,
        (from, unpack): (CopyFrom, bool),
        span: Span,
    ) -> Result<(Action, String), PlanError> {
        let Flags { parents, chown, chmod, link, exclude } = flags;
        let (found, shown): (Vec<Source>, Vec<String>) = found.into_iter().unzip();
        let given = |word: &Option<Word>| {
            let text = word.as_ref().map(|word| self.word(word, span)).transpose()?;
            Ok(text.filter(|text| !text.is_empty()))
        };
        let (chown, chmod_text) = (given(chown)?, given(chmod)?);
        let chmod = chmod_text.as_ref().map(|text| {
            let bad = |rule| Problem::Value { flag: "--chmod", value: text.clone(), rule }.at(span);
            text.parse::<Chmod>().map_err(bad)
        });
        let chmod = chmod.transpose()?;
        let written = self.word(destination, span)?;
        let is_directory = written.is_empty() || ends_as_directory(&written);
        let mut destination = self.in_workdir(&written);
        if is_directory && !destination.ends_with('/') {
            destination.push('/');
        }
        let shown_flags = [
            parents.then(|| " --parents".to_owned()),
            chown.as_ref().map(|chown| format!(" --chown={chown}")),
            chmod_text.map(|chmod| format!(" --chmod={chmod}")),
        ];
        let shown_flags: String = shown_flags.into_iter().flatten().collect();
        let created_by = format!("{verb}{shown_flags} {} {written} # buildkit", shown.join(" "));
        let exclude = exclude.clone();
        // With --chmod BuildKit copies plainly: a mode may depend on what is there.
        let link = link && chmod.is_none();
        let copy = Copy { from, sources: found, destination, chown, chmod, link, exclude, unpack };
        Ok((Action::Copy(copy), created_by))
    }

    fn inline(&self, heredoc: &Heredoc, span: Span) -> Result<Source, PlanError> {
        let word = || format!("<<{}", heredoc.name);
        let failed = |error: ExpandError| Problem::Expand { word: word(), why: error.to_string() }.at(span);
        let body = heredoc.content();
        let body = match heredoc.expand {
            false => body,
            true => self.lexer.expand_body(&body, self).map_err(failed)?.text,
        };
        self.lexer.keep(body.len()).map_err(failed)?;
        Ok(Source::Inline { name: heredoc.name.clone(), bytes: body.into_bytes() })
    }
}

/// The flags that COPY and ADD share.
struct Flags<'a> {
    parents: bool,
    chown: &'a Option<Word>,
    chmod: &'a Option<Word>,
    link: bool,
    exclude: &'a Vec<String>,
}

/// `..` is clamped at the root of where files are taken from, and a slash at the end says nothing, as in BuildKit (the
/// classic builder refused the one and asked for a folder with the other).
fn path_source(path: &str) -> Source {
    let pattern = clean(path)[1..].to_owned();
    Source::Path { is_pattern: glob::has_wildcard(&pattern), pattern }
}

/// A `/./` is the pivot: what stands before it is not kept.
fn parents_source(path: &str) -> Source {
    let (root, pattern) = path.split_once("/./").unwrap_or(("/", path));
    let (root, pattern) = (clean(root)[1..].to_owned(), clean(pattern)[1..].to_owned());
    let root_is_pattern = glob::has_wildcard(&root);
    let required = !root_is_pattern && !glob::has_wildcard(&pattern);
    Source::Parents { root, root_is_pattern, pattern, required }
}

/// The pattern behind such a pivot is empty and matches nothing, and BuildKit asks of a plain path that it does.
fn ends_in_pivot(path: &str) -> bool {
    path.split_once("/./").is_some_and(|(root, pattern)| clean(pattern) == "/" && !glob::has_wildcard(root))
}

/// `a/`, `a/.`, `.` and `..` name directories.
fn ends_as_directory(path: &str) -> bool {
    path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."))
}

/// What ADD fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Http,
    Git(GitSource),
}

/// Tells what is fetched from what is a path.
pub(super) fn fetched(source: &str) -> Result<Option<Fetched>, Problem> {
    match GitSource::parse(source) {
        Ok(Some(git)) => Ok(Some(Fetched::Git(git))),
        Ok(None) => Ok(["http://", "https://"].iter().any(|s| source.starts_with(s)).then_some(Fetched::Http)),
        Err(why) => Err(Problem::git(source, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_do_not_lead_out_of_the_context() {
        let pattern = |path: &str| match path_source(path) {
            Source::Path { pattern, .. } => pattern,
            _ => unreachable!("a path is a path"),
        };
        for (path, wanted) in
            [("..", ""), ("../os_opendata", "os_opendata"), ("a/../../b/./c", "b/c"), ("/x", "x"), (".", "")]
        {
            assert_eq!(pattern(path), wanted, "{path}");
        }
    }

    #[test]
    fn urls_and_repositories_are_told_from_paths() {
        for (path, wanted) in [
            ("http://x/a", "url"),
            ("https://h/r.git#v1", "git"),
            ("https://h/r.git/x", "url"),
            ("git@github.com:a/b", "git"),
            ("git://h/r", "git"),
            ("a.git", "path"),
            ("github.com/a/b", "path"),
            ("dir/http", "path"),
            ("git", "path"),
            ("./x.tar", "path"),
        ] {
            let found = match fetched(path).unwrap() {
                None => "path",
                Some(Fetched::Http) => "url",
                Some(Fetched::Git(_)) => "git",
            };
            assert_eq!(found, wanted, "{path}");
        }
        let said = fetched("https://u:hunter2@h/r.git?x=1").unwrap_err().to_string();
        assert!(said.contains("https://xxxxx@h/r.git") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_dot_in_the_middle_is_where_parents_begin() {
        for (path, wanted) in [
            ("./x/a.txt", ("", "x/a.txt", true)),
            ("/a/./b/./c", ("a", "b/c", true)),
            ("a/b*/./c/**/e", ("a/b*", "c/**/e", false)),
            ("x/./", ("x", "", true)),
        ] {
            let Source::Parents { root, pattern, required, .. } = parents_source(path) else { panic!("{path}") };
            assert_eq!((root.as_str(), pattern.as_str(), required), wanted, "{path}");
        }
    }
}
