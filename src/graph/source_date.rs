//! `SOURCE_DATE_EPOCH`: a number, or the name of what the date is taken from.

use std::collections::BTreeMap;

use crate::dockerfile::{AddFiles, Kind, Source as Written, Word};

use super::files::{Fetched, fetched};
use super::{Base, GitSource, Graph, Origin, PlanError, Problem, Stage};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// Where the date of a build comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceDate {
    /// Nobody speaks of it.
    Unset,
    /// It was asked for, and has none: a folder carries no date.
    None,
    Seconds(i64),
    /// The date of the build's own context, where it has one.
    Context,
    /// When the file at this URL was last modified, else the newest file in it.
    Url(String),
    /// When the commit was made.
    Git(GitSource),
}

impl Graph {
    /// What the build argument says, else the global ARG's default.
    pub fn source_date(&self) -> Result<SourceDate, PlanError> {
        let given = self.options.build_args.get(NAME);
        let Some(value) = given.or_else(|| self.globals.get(NAME).filter(|value| !value.is_empty())) else {
            return Ok(SourceDate::Unset);
        };
        if let Ok(seconds) = value.parse() {
            return Ok(SourceDate::Seconds(seconds));
        }
        match value.as_str() {
            "" => return Ok(SourceDate::None),
            "context" => return Ok(SourceDate::Context),
            _ => {}
        }
        match self.options.contexts.find(value, &self.options.platform) {
            Some(Origin::Url(url)) => return Ok(SourceDate::Url(url.clone())),
            Some(Origin::Git(git)) => return Ok(SourceDate::Git(git.clone())),
            Some(_) => return Ok(SourceDate::None),
            None => {}
        }
        let named = |stage: &&Stage| stage.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(value));
        match self.stages.iter().find(named) {
            Some(stage) => self.source_of(stage),
            None => {
                let rule = "it is a number of seconds since 1970, `context`, a named context or a stage";
                let problem = Problem::Value { flag: NAME, value: value.clone(), rule };
                Err(PlanError { span: None, problem, hint: None })
            }
        }
    }

    /// Lets every ARG see the date that was found.
    pub fn set_source_date(&mut self, seconds: Option<i64>) {
        for values in [&mut self.options.build_args, &mut self.globals] {
            if values.contains_key(NAME) {
                match seconds {
                    Some(seconds) => drop(values.insert(NAME.to_owned(), seconds.to_string())),
                    None => drop(values.remove(NAME)),
                }
            }
        }
    }

    /// What a stage that was made for this adds.
    fn source_of(&self, stage: &Stage) -> Result<SourceDate, PlanError> {
        let refuse = |why: &str| {
            let why = format!("SOURCE_DATE_EPOCH stage does not meet source-only requirements: {why}");
            Err(Problem::SourceDate(why).at(stage.span))
        };
        if stage.base != Base::Scratch {
            return refuse("it must use FROM scratch");
        }
        let mut values: BTreeMap<String, String> = self.globals.clone();
        values.remove(NAME);
        let expand = |word: &Word, values: &BTreeMap<String, String>| {
            let failed = |why: String| Problem::Expand { word: word.to_string(), why }.at(stage.span);
            self.lexer.expand_word(word.as_str(), values).map_err(|e| failed(e.to_string()))
        };
        let mut found = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Arg(arguments) => {
                    for argument in arguments {
                        let value = match (self.options.build_args.get(&argument.name), &argument.default) {
                            (Some(given), _) => given.clone(),
                            (None, Some(default)) => expand(default, &values)?,
                            (None, None) => continue,
                        };
                        values.insert(argument.name.clone(), value);
                    }
                }
                Kind::Add(_) if found.is_some() => return refuse("it must contain exactly one remote ADD"),
                Kind::Add(AddFiles { sources, checksum, keep_git_dir, .. }) => {
                    let [Written::Path(word)] = sources.as_slice() else { return refuse("one remote ADD source") };
                    let source = expand(word, &values)?;
                    found = match fetched(&source).map_err(|problem| problem.at(stage.span))? {
                        Some(Fetched::Http) => Some(SourceDate::Url(source)),
                        Some(Fetched::Git(git)) => {
                            let sum = checksum.as_ref().map(|word| expand(word, &values)).transpose()?;
                            let bad = |why| Problem::git(&source, why).at(stage.span);
                            Some(SourceDate::Git(git.with_flags(*keep_git_dir, sum.as_deref()).map_err(bad)?))
                        }
                        None => return refuse("its source must be remote"),
                    };
                }
                _ => return refuse(&format!("unsupported {} instruction", instruction.keyword.to_uppercase())),
            }
        }
        found.map_or_else(|| refuse("it must contain exactly one remote ADD"), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile;
    use crate::graph::{Contexts, Options, plan};
    use crate::image::Platform;

    fn date(text: &str, given: Option<&str>, contexts: &[&str]) -> Result<SourceDate, String> {
        let mut options = Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::linux_amd64(),
            build_args: given.map(|value| (NAME.to_owned(), value.to_owned())).into_iter().collect(),
            target: None,
            labels: BTreeMap::new(),
            contexts: Contexts::default(),
        };
        contexts.iter().for_each(|text| options.contexts.add(text).unwrap());
        let graph = plan(&dockerfile::parse(text).unwrap(), &options).unwrap();
        graph.source_date().map_err(|e| e.to_string())
    }

    #[test]
    fn a_date_is_a_number_or_a_name() {
        let add = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nARG V=1\nADD http://h/$V.tar /\nFROM scratch";
        assert_eq!(date("FROM scratch", None, &[]), Ok(SourceDate::Unset));
        assert_eq!(date("FROM scratch", Some("5"), &[]), Ok(SourceDate::Seconds(5)));
        assert_eq!(date("ARG SOURCE_DATE_EPOCH=7\nFROM scratch", None, &[]), Ok(SourceDate::Seconds(7)));
        assert_eq!(date("ARG SOURCE_DATE_EPOCH=7\nFROM scratch", Some(""), &[]), Ok(SourceDate::None));
        assert_eq!(date("FROM scratch", Some("context"), &[]), Ok(SourceDate::Context));
        assert_eq!(date(add, None, &[]), Ok(SourceDate::Url("http://h/1.tar".into())));
        assert_eq!(date(add, None, &["src=http://o/x"]), Ok(SourceDate::Url("http://o/x".into())));
        let git = add.replace("http://h/$V.tar", "--checksum=ABC git@h:r#v$V");
        let Ok(SourceDate::Git(git)) = date(&git, None, &[]) else { panic!("a repository") };
        assert_eq!((git.reference.as_deref(), git.checksum.as_deref()), (Some("v1"), Some("abc")));
        assert!(matches!(date(add, None, &["src=git@h:r"]), Ok(SourceDate::Git(_))));
        assert!(date("FROM scratch", Some("yesterday"), &[]).unwrap_err().contains("`yesterday`"));
        let copy = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nCOPY a /\nFROM scratch";
        assert!(date(copy, None, &[]).unwrap_err().contains("unsupported COPY instruction"));
    }
}
