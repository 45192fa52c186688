//! What depends on more than the file. The rules by themselves are in `testdata/lint`.

use super::{Around, BaseImage, Grammar, check, outline, targets};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::parse;
use std::collections::{BTreeMap, BTreeSet};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What is around a file that stands on images nobody looked at.
struct Case {
    build_args: BTreeMap<String, String>,
    ignore: Ignore,
    stages: Option<BTreeSet<usize>>,
    bases: BTreeMap<usize, BaseImage>,
}

impl Case {
    fn new() -> Self {
        Self { build_args: BTreeMap::new(), ignore: Ignore::default(), stages: None, bases: BTreeMap::new() }
    }

    fn args(pairs: &[(&str, &str)]) -> Self {
        Self { build_args: map(pairs), ..Self::new() }
    }

    fn ignoring(text: &str) -> Self {
        Self { ignore: Ignore::parse(text).unwrap(), ..Self::new() }
    }

    fn on(env: &[(&str, &str)], shell: bool) -> Self {
        let base = BaseImage { env: map(env), shell, other_platform: None };
        Self { bases: BTreeMap::from([(0, base)]), ..Self::new() }
    }

    /// The warnings, one a line, and the verdict.
    fn said(&self, text: &str) -> String {
        let around = Around {
            text,
            build_args: &self.build_args,
            predefined: map(&[("TARGETPLATFORM", "linux/amd64"), ("BUILDPLATFORM", "linux/amd64")]),
            stages: self.stages.clone(),
            bases: self.bases.clone(),
            ignore: &self.ignore,
            grammar: Grammar {
                is_reference: |text| !text.is_empty() && !text.ends_with(':'),
                platform: |text| text.split_once('/').map(|(os, arch)| (os.to_string(), arch.to_string())),
            },
        };
        let report = match check(&parse(text).unwrap(), &around) {
            Ok(report) => report,
            Err(error) => return error.to_string(),
        };
        let warnings = report.warnings.iter().map(|w| format!("{} {}: {}", w.span.line, w.rule, w.detail));
        warnings.chain(report.verdict()).collect::<Vec<_>>().join("\n")
    }
}

#[track_caller]
fn check_case(case: &Case, text: &str, said: &str) {
    assert_eq!(case.said(text), said, "{text}");
}

#[test]
fn every_rule_has_the_name_that_its_url_spells() {
    let text = include_str!("rule.rs");
    let rules = text.split("pub enum Rule {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let names: Vec<&str> =
        rules.lines().map(|line| line.trim().trim_end_matches(',')).filter(|n| !n.is_empty()).collect();
    assert_eq!(names.len(), 22);
    for name in names {
        let kebab = name.replace("JSONArgs", "JsonArgs").chars().fold(String::new(), |kebab, c| match c {
            c if c.is_uppercase() && !kebab.is_empty() => kebab + "-" + &c.to_lowercase().to_string(),
            c => kebab + &c.to_lowercase().to_string(),
        });
        assert!(text.contains(&format!("{name:?}")) && text.contains(&format!("{kebab:?}")), "{name} {kebab}");
    }
}

#[test]
fn a_variable_of_a_base_that_nobody_saw_is_not_called_undefined() {
    let text = "FROM node\nARG DIR=a\nENV A=$NODE_VERSION B=$DRI";
    let slip = "3 UndefinedVar: Usage of undefined variable '$DRI' (did you mean $DIR?)";
    check_case(&Case::new(), text, slip);
    check_case(&Case::on(&[("NODE_VERSION", "12")], false), text, slip);
    let both = format!("{slip}\n3 UndefinedVar: Usage of undefined variable '$NODE_VERSION'");
    let mut lines: Vec<String> = Case::on(&[], false).said(text).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines.join("\n"), both);
    check_case(&Case::new(), "FROM node\nWORKDIR $HOME_DIR/x", "");
}

#[test]
fn a_shell_of_the_base_image_was_chosen() {
    check_case(&Case::on(&[], true), "FROM x\nCMD a", "");
    let said = "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals";
    check_case(&Case::on(&[], false), "FROM x\nCMD a", said);
}

#[test]
fn a_base_for_another_platform_is_told() {
    let other_platform = Some(("linux/arm64".to_string(), "linux/amd64".to_string()));
    let base = BaseImage { other_platform, ..BaseImage::default() };
    let case = Case { bases: BTreeMap::from([(0, base)]), ..Case::new() };
    let said = "1 InvalidBaseImagePlatform: Base image x was pulled with platform \"linux/arm64\", \
                expected \"linux/amd64\" for current build";
    check_case(&case, "FROM x", said);
}

#[test]
fn an_ignored_source_is_told_by_its_path_in_the_context() {
    let text = "FROM scratch\nCOPY ./a/../b /x/\nADD ../b https://h/b /x/\nCOPY --from=x b .\nCOPY c b* /";
    let said = "2 CopyIgnoredFile: Attempting to Copy file \"b\" that is excluded by .dockerignore\n\
                3 CopyIgnoredFile: Attempting to Add file \"b\" that is excluded by .dockerignore";
    check_case(&Case::ignoring("b"), text, said);
    check_case(&Case::ignoring("b\n!b/c"), text, "");
    let root = "2 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore";
    check_case(&Case::ignoring("**"), "FROM scratch\nCOPY . /", root);
    check_case(&Case::ignoring("*.md"), "FROM scratch\nCOPY . /", "");
}

#[test]
fn defaults_must_do_without_the_build_arguments() {
    let said = "2 InvalidDefaultArgInFrom: Default value for ARG x:$V results in empty or invalid base image name";
    check_case(&Case::args(&[("V", "1")]), "ARG V\nFROM x:$V", said);
    check_case(&Case::args(&[("V", "1")]), "ARG V=2\nFROM x:$V", "");
}

#[test]
fn only_the_stages_that_are_asked_for_are_looked_into() {
    let text = "FROM scratch AS a\nCMD a\nFROM scratch AS B\nCMD b";
    let json =
        "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals";
    let case = Case { stages: Some(BTreeSet::from([0])), ..Case::new() };
    check_case(&case, text, &format!("2 {json}\n3 StageNameCasing: Stage name 'B' should be lowercase"));
}

#[test]
fn the_build_argument_overrides_the_files_own_options() {
    let text = "# check=skip=all\nFROM x AS B";
    let said = "2 StageNameCasing: Stage name 'B' should be lowercase";
    check_case(&Case::new(), text, "");
    check_case(&Case::args(&[("BUILDKIT_DOCKERFILE_CHECK", "skip=UndefinedVar")]), &format!("{text}\n"), "");
    let parted = "# check=skip=all\n\nFROM x AS B";
    check_case(&Case::args(&[("BUILDKIT_DOCKERFILE_CHECK", "skip=UndefinedVar")]), parted, &said.replace('2', "3"));
    let verdict = "lint violation found for rules: StageNameCasing";
    check_case(
        &Case::args(&[("BUILDKIT_DOCKERFILE_CHECK", "error=true")]),
        parted,
        &format!("{}\n{verdict}", said.replace('2', "3")),
    );
    check_case(
        &Case::new(),
        "# check=eror=true\nFROM x",
        "failed to parse check options: invalid check option \"eror\"",
    );
}

#[test]
fn an_outline_tells_what_the_needed_stages_take() {
    let text = "\
ARG REGISTRY=r
# IMAGE what all stands on
ARG IMAGE=$REGISTRY/x
ARG UNUSED=1
FROM $IMAGE AS a
# VERSION of the thing
ARG VERSION=2
RUN --mount=type=secret,id=tok --mount=type=secret,target=/run/key,required --mount=type=cache,target=/c x
RUN --mount=type=ssh y
FROM a AS b
ARG OTHER
";
    let file = parse(text).unwrap();
    let outline = outline(&file, text, &BTreeSet::from([0]), &BTreeMap::new(), &map(&[("VERSION", "3")]));
    let args = outline.args.iter().map(|arg| {
        let described = arg.description.as_deref().unwrap_or("-");
        format!("{} {}={} {described}", arg.line, arg.name, arg.value.as_deref().unwrap_or("-"))
    });
    let wanted = ["1 REGISTRY=r -", "3 IMAGE=r/x what all stands on", "7 VERSION=3 of the thing"];
    assert_eq!(args.collect::<Vec<_>>(), wanted);
    let secrets: Vec<_> = outline.secrets.iter().map(|s| (s.name.as_str(), s.required)).collect();
    assert_eq!(secrets, [("tok", false), ("key", true)]);
    assert_eq!((outline.ssh[0].name.as_str(), outline.caches), ("default", vec!["/c".to_string()]));
}

#[test]
fn targets_are_described_by_the_comment_that_names_them() {
    let text = "# a compiles\nFROM x AS a\n# b\n\nFROM a AS b\nFROM --platform=$P b";
    let file = parse(text).unwrap();
    let shown: Vec<_> = targets(&file, text)
        .into_iter()
        .map(|t| (t.name.unwrap_or_default(), t.description.unwrap_or_default(), t.platform.is_some(), t.default))
        .collect();
    let row = |name: &str, about: &str, platform, default| (name.to_string(), about.to_string(), platform, default);
    assert_eq!(shown, [row("a", "compiles", false, false), row("b", "", false, false), row("", "", true, true)]);
}
