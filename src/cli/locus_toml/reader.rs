//! A TOML document read key by key, so that what nobody asked for can be told, with its line.
//!
//! serde's `deny_unknown_fields` knows neither the line of a key nor which key is nearest, and goes away where tables
//! are flattened into one another.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{At, Text};
use crate::cli::Failure;
use crate::cli::Place;
use crate::dockerfile::nearest::nearest;

/// The text that is being read.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub file: &'a str,
    pub source: &'a str,
}

/// A table, from which keys are taken.
pub(super) struct Table<'a> {
    document: Document<'a>,
    /// The keys that lead to it, with a dot at the end: `loaders.a.`
    path: String,
    pub line: usize,
    entries: BTreeMap<String, Entry<'a>>,
    known: Vec<&'static str>,
}

struct Entry<'a> {
    line: usize,
    /// The bytes of the key, and of the value.
    key: Range<usize>,
    at: Range<usize>,
    value: DeValue<'a>,
}

impl<'a> Document<'a> {
    pub(super) fn parse(self) -> Result<Table<'a>, Failure> {
        match DeTable::parse(self.source) {
            Ok(table) => Ok(self.table(String::new(), 1, table.into_inner())),
            Err(error) => {
                let failure = Failure::configuration(format!("{} is not TOML: {}", self.file, error.message()));
                Err(failure.at(Place::of_bytes(self.file, self.source, error.span().unwrap_or_default())))
            }
        }
    }

    fn table(self, path: String, line: usize, table: DeTable<'a>) -> Table<'a> {
        let entries = table
            .into_iter()
            .map(|(key, value)| {
                let (line, of_key, at) = (self.line(key.span().start), key.span(), value.span());
                (key.into_inner().into_owned(), Entry { line, key: of_key, at, value: value.into_inner() })
            })
            .collect();
        Table { document: self, path, line, entries, known: Vec::new() }
    }

    fn line(self, byte: usize) -> usize {
        self.source.get(..byte).unwrap_or(self.source).matches('\n').count() + 1
    }
}

impl<'a> Table<'a> {
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<Text>, Failure> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        self.as_text(key, entry).map(Some)
    }

    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<At<u32>>, Failure> {
        let Some(Entry { line, at, value, .. }) = self.take(key) else { return Ok(None) };
        match &value {
            DeValue::Integer(number) => match u32::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => Ok(Some(At { value, line })),
                Err(_) => Err(self.fault(at, key, &format!("is a whole number from 0 to {}", u32::MAX))),
            },
            DeValue::String(text) if text.parse::<u32>().is_ok() => {
                let failure = self.wrong(at, key, "a whole number", &value);
                Err(failure.hint(format!("write it without the quotes: {key} = {text}")))
            }
            other => Err(self.wrong(at, key, "a whole number", other)),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<At<bool>>, Failure> {
        match self.take(key) {
            None => Ok(None),
            Some(Entry { line, value: DeValue::Boolean(value), .. }) => Ok(Some(At { value, line })),
            Some(Entry { at, value, .. }) => Err(self.wrong(at, key, "true or false", &value)),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<Text>>, Failure> {
        let Some(Entry { at, value, .. }) = self.take(key) else { return Ok(None) };
        let DeValue::Array(array) = value else { return Err(self.wrong(at, key, "a list of texts", &value)) };
        let mut texts = Vec::new();
        for item in array {
            let (line, at) = (self.document.line(item.span().start), item.span());
            match item.into_inner() {
                DeValue::String(text) => texts.push(At { value: text.into_owned(), line }),
                other => {
                    let words = format!("is a list of texts, and {} is in it", kind(&other));
                    return Err(self.fault(at, key, &words));
                }
            }
        }
        Ok(Some(texts))
    }

    /// A table of texts, whose keys are the user's.
    pub(super) fn texts_by_name(&mut self, key: &'static str) -> Result<BTreeMap<String, Text>, Failure> {
        let Some(mut table) = self.table(key)? else { return Ok(BTreeMap::new()) };
        let mut texts = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut table.entries) {
            let text = table.as_text(&name, entry)?;
            texts.insert(name, text);
        }
        Ok(texts)
    }

    /// A table of tables, whose keys are the user's.
    pub(super) fn tables_by_name(&mut self, key: &'static str) -> Result<Vec<(String, Table<'a>)>, Failure> {
        let Some(mut table) = self.table(key)? else { return Ok(Vec::new()) };
        let mut tables = Vec::new();
        for (name, entry) in std::mem::take(&mut table.entries) {
            let inner = table.as_table(&name, entry)?;
            tables.push((name, inner));
        }
        Ok(tables)
    }

    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Table<'a>>, Failure> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        self.as_table(key, entry).map(Some)
    }

    pub(super) fn holds_a_table(&self, key: &str) -> bool {
        matches!(self.entries.get(key), Some(Entry { value: DeValue::Table(_), .. }))
    }

    /// All keys were asked for, or those that were not are told.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let mut unknown: Vec<_> = self.entries.iter().collect();
        unknown.sort_by_key(|(_, entry)| entry.key.start);
        Failure::all(unknown.into_iter().map(|(key, entry)| self.unknown(key, entry)).collect())
    }

    fn unknown(&self, key: &str, entry: &Entry<'_>) -> Failure {
        let unknown = format!("unknown key `{}{key}`", self.path);
        match nearest(key, self.known.iter().copied()) {
            Some(near) => self.at(entry.key.clone(), format!("{unknown}; did you mean `{near}`?")),
            None => self.at(entry.key.clone(), unknown).hint(format!("the keys here are {}", self.known.join(", "))),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        self.entries.remove(key)
    }

    fn as_text(&self, key: &str, entry: Entry<'a>) -> Result<Text, Failure> {
        match entry.value {
            DeValue::String(text) => Ok(At { value: text.into_owned(), line: entry.line }),
            other => Err(self.wrong(entry.at, key, "a text in quotes", &other)),
        }
    }

    fn as_table(&self, key: &str, entry: Entry<'a>) -> Result<Table<'a>, Failure> {
        match entry.value {
            DeValue::Table(table) => Ok(self.document.table(format!("{}{key}.", self.path), entry.line, table)),
            other => Err(self.wrong(entry.at, key, "a table", &other)),
        }
    }

    fn wrong(&self, at: Range<usize>, key: &str, wanted: &str, got: &DeValue<'_>) -> Failure {
        self.fault(at, key, &format!("is {wanted}, not {}", kind(got)))
    }

    fn fault(&self, at: Range<usize>, key: &str, words: &str) -> Failure {
        self.at(at, format!("`{}{key}` {words}", self.path))
    }

    fn at(&self, bytes: Range<usize>, message: String) -> Failure {
        Failure::configuration(message).at(Place::of_bytes(self.document.file, self.document.source, bytes))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
