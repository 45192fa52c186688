//! Whatever `.dockerignore` says, a path is ignored or not, and a folder is skipped only where all below it is ignored.
//! The last line of the input is the path.
//!
//! `cargo +nightly fuzz run dockerignore -- -max_len=4096 -timeout=5`
#![no_main]

use libfuzzer_sys::fuzz_target;
use locus_push::dockerfile::ignore::Ignore;

fuzz_target!(|text: &str| {
    let (patterns, path) = text.rsplit_once('\n').unwrap_or(("", text));
    let Ok(ignore) = Ignore::parse(patterns) else { return };
    if ignore.may_skip_dir(path) {
        assert!(ignore.ignored(path) && ignore.ignored(&format!("{path}/a")), "{patterns:?} {path:?}");
    }
});
