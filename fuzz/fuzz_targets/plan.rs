//! Whatever parses is planned or refused, words expanded and checks made, in bounded time and memory.
//!
//! `cargo +nightly fuzz run plan -- -max_len=65536 -timeout=5 -rss_limit_mb=1024`
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use locus_push::dockerfile::ignore::Ignore;
use locus_push::dockerfile::lint::{self, Around, Grammar};
use locus_push::dockerfile::{Dockerfile, parse};
use locus_push::graph::{self, Contexts, Ground, Options};
use locus_push::image::{Platform, Reference};

fuzz_target!(|text: &str| {
    let Ok(file) = parse(text) else { return };
    let options = Options {
        platform: Platform::linux_amd64(),
        build_platform: Platform::linux_amd64(),
        build_args: BTreeMap::from([("GIVEN".to_owned(), "a/b c".to_owned())]),
        target: None,
        labels: BTreeMap::new(),
        contexts: Contexts::default(),
    };
    check(&file, text, &options);
    let Ok(graph) = graph::plan(&file, &options) else { return };
    for stage in graph.needed() {
        let _ = graph.steps(stage, Ground::default());
    }
});

fn check(file: &Dockerfile, text: &str, options: &Options) {
    let platform = |text: &str| text.parse().ok().map(|platform: Platform| (platform.os, platform.architecture));
    let around = Around {
        text,
        build_args: &options.build_args,
        predefined: graph::predefined(&options.platform, &options.build_platform, "default"),
        stages: None,
        bases: BTreeMap::new(),
        ignore: &Ignore::default(),
        grammar: Grammar { is_reference: |text| text.parse::<Reference>().is_ok(), platform },
    };
    let _ = lint::check(file, &around);
}
