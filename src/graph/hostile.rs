//! Whatever parses is planned or refused, and without a panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Contexts, Ground, Options, plan};
use crate::dockerfile::hostile::{dockerfile_text, fixed};
use crate::dockerfile::parse;
use crate::image::Platform;

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn what_parses_is_planned_or_refused(text in dockerfile_text()) {
        let options = Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::linux_amd64(),
            build_args: BTreeMap::from([("a".to_owned(), "x/y z".to_owned())]),
            target: None,
            labels: BTreeMap::new(),
            contexts: Contexts::default(),
        };
        if let Ok(file) = parse(&format!("FROM scratch AS a\n{text}"))
            && let Ok(graph) = plan(&file, &options)
        {
            for stage in graph.needed() {
                match graph.steps(stage, Ground::default()) {
                    Ok(plan) => prop_assert!(plan.steps.len() <= file.instructions.len()),
                    Err(error) => prop_assert!(error.span.is_some(), "{error}"),
                }
            }
        }
    }
}
