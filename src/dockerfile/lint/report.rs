//! What was found.

use super::above::Above;
use super::options::Options;
use super::{Instruction, Rule};
use crate::dockerfile::Span;
use std::collections::BTreeSet;

/// One violation of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub rule: Rule,
    pub detail: String,
    /// The instruction's lines.
    pub span: Span,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the text.
    pub warnings: Vec<Warning>,
    /// The rules whose violation fails the build, because `error=true` is said.
    pub fatal: BTreeSet<Rule>,
}

impl Report {
    /// BuildKit's words for a build that its checks fail; `None` where they do not.
    pub fn verdict(&self) -> Option<String> {
        let rules: Vec<&str> = self.fatal.iter().map(|rule| rule.name()).collect();
        (!rules.is_empty()).then(|| format!("lint violation found for rules: {}", rules.join(", ")))
    }
}

/// A report in the making, and who may speak in it.
pub(super) struct Findings<'a> {
    options: Options,
    above: Above<'a>,
    report: Report,
}

impl<'a> Findings<'a> {
    pub fn new(options: Options, text: &'a str) -> Self {
        Self { options, above: Above::new(text), report: Report::default() }
    }

    pub fn add(&mut self, rule: Rule, at: &Instruction, detail: impl Into<String>) {
        self.add_for(at, rule, at, detail);
    }

    /// `cause` has the comments that decide whether it is said, `at` is the place.
    pub fn add_for(&mut self, cause: &Instruction, rule: Rule, at: &Instruction, detail: impl Into<String>) {
        let options = self.options.with_comments(self.above.comments(cause));
        if !options.wants(rule) {
            return;
        }
        if options.error {
            self.report.fatal.insert(rule);
        }
        self.report.warnings.push(Warning { rule, detail: detail.into(), span: at.span });
    }

    /// The comment lines right above.
    pub fn comments(&self, instruction: &Instruction) -> Vec<&'a str> {
        self.above.comments(instruction)
    }

    pub fn report(mut self) -> Report {
        self.report.warnings.sort_by_key(|warning| warning.span.start);
        self.report
    }
}
