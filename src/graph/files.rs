//! COPY and ADD: where files come from, where they go, and what they become.

use crate::dockerfile::expand::ExpandError;
use crate::dockerfile::{self, AddFiles, CopyFiles, Heredoc, Span, Word, glob};
use crate::image::Digest;

use super::scope::{Scope, clean};
use super::{Action, Base, Chmod, Copy, CopyFrom, PlanError, Problem, Source};

/// What ADD calls a file whose URL has no name.
const UNNAMED: &str = "__unnamed__";

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
            match remote(&path) {
                None => Ok((place(&path), path)),
                Some(_) => {
                    let rule = "COPY takes no URL; ADD does";
                    Err(Problem::Value { flag: "source", value: path, rule }.at(span))
                }
            }
        };
        let found = self.sources(sources, found, span)?;
        let flags = Flags { parents: *parents, chown, chmod, link: *link, exclude };
        self.files("COPY", found, destination, flags, (from, false), span)
    }

    pub(super) fn add(&self, add: &AddFiles, span: Span) -> Result<(Action, String), PlanError> {
        let AddFiles { sources, destination, chown, chmod, link, exclude, checksum, keep_git_dir, unpack } = add;
        if keep_git_dir.is_some() {
            return Err(Problem::NotYet("ADD --keep-git-dir".to_owned()).at(span));
        }
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
            let source = match remote(&path) {
                Some(Remote::Git) => {
                    return Err(Problem::NotYet(format!("ADD of a git repository ({path})")).at(span));
                }
                Some(Remote::Http) => {
                    let checksum = checksum.as_ref().map(digest).transpose()?;
                    Source::Url { name: url_name(&path), url: path.clone(), checksum }
                }
                None if checksum.is_some() => return Err(bad("it is for a URL")),
                None => path_source(&path),
            };
            Ok((source, path))
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    Http,
    Git,
}

pub(super) fn remote(path: &str) -> Option<Remote> {
    let without_fragment = path.split(['#', '?']).next().unwrap_or_default();
    let is_git = ["git://", "ssh://"].iter().any(|scheme| path.starts_with(scheme))
        || path.starts_with("git@")
        || without_fragment.ends_with(".git") && without_fragment.contains("://");
    let is_http = path.starts_with("http://") || path.starts_with("https://");
    if is_git { Some(Remote::Git) } else { is_http.then_some(Remote::Http) }
}

/// The last part of the URL's path, percent signs resolved.
fn url_name(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decoded(path.as_bytes());
    let path = String::from_utf8_lossy(&decoded);
    match path.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !matches!(name, "" | "." | "..") && !name.contains('\0') => name.to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
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
            ("http://x/a", Some(Remote::Http)),
            ("https://h/r.git#v1", Some(Remote::Git)),
            ("git@github.com:a/b", Some(Remote::Git)),
            ("git://h/r", Some(Remote::Git)),
            ("a.git", None),
            ("dir/http", None),
            ("git", None),
            ("./x.tar", None),
        ] {
            assert_eq!(remote(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_file_is_named_by_its_url() {
        for (url, name) in [
            ("http://h/a/b.tar?x=/y", "b.tar"),
            ("https://h/a%20b", "a b"),
            ("https://h/d/", "d"),
            ("https://h/", "__unnamed__"),
            ("https://h", "__unnamed__"),
            ("https://h/a%2Fb", "b"),
            ("https://h/..", "__unnamed__"),
        ] {
            assert_eq!(url_name(url), name, "{url}");
        }
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
