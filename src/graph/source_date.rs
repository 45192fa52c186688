//! `SOURCE_DATE_EPOCH`: a number, or the name of what the date is taken from.

use std::collections::BTreeMap;

use crate::dockerfile::{AddFiles, Kind, Source as Written, Word};

use super::files::{Remote, remote};
use super::{Base, Graph, Origin, PlanError, Problem, Stage};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// Where the date of a build comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceDate {
    /// Nobody speaks of it.
    Unset,
    /// It was asked for, and has none: a folder carries no date.
    None,
    Seconds(i64),
    /// When the file at this URL was last modified, else the newest file in it.
    Url(String),
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
        if value.is_empty() || value == "context" {
            return Ok(SourceDate::None);
        }
        match self.options.contexts.find(value, &self.options.platform) {
            Some(Origin::Url(url)) => return Ok(SourceDate::Url(url.clone())),
            Some(_) => return Ok(SourceDate::None),
            None => {}
        }
        let named = |stage: &&Stage| stage.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(value));
        match self.stages.iter().find(named) {
            Some(stage) => Ok(SourceDate::Url(self.source_of(stage)?)),
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

    /// The URL of the one file that a stage made for this adds.
    fn source_of(&self, stage: &Stage) -> Result<String, PlanError> {
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
        let mut url = None;
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
                Kind::Add(AddFiles { sources, .. }) => {
                    let [Written::Path(word)] = sources.as_slice() else { return refuse("one remote ADD source") };
                    let source = expand(word, &values)?;
                    match remote(&source) {
                        Some(Remote::Http) if url.is_none() => url = Some(source),
                        Some(Remote::Http) => return refuse("it must contain exactly one remote ADD"),
                        Some(Remote::Git) => {
                            return Err(Problem::NotYet(format!("ADD of a git repository ({source})")).at(stage.span));
                        }
                        None => return refuse("its source must be remote"),
                    }
                }
                _ => return refuse(&format!("unsupported {} instruction", instruction.keyword.to_uppercase())),
            }
        }
        url.map_or_else(|| refuse("it must contain exactly one remote ADD"), Ok)
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
        assert_eq!(date("FROM scratch", Some("context"), &[]), Ok(SourceDate::None));
        assert_eq!(date(add, None, &[]), Ok(SourceDate::Url("http://h/1.tar".into())));
        assert_eq!(date(add, None, &["src=http://o/x"]), Ok(SourceDate::Url("http://o/x".into())));
        assert!(date("FROM scratch", Some("yesterday"), &[]).unwrap_err().contains("`yesterday`"));
        let copy = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nCOPY a /\nFROM scratch";
        assert!(date(copy, None, &[]).unwrap_err().contains("unsupported COPY instruction"));
    }
}
