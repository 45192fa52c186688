//! Whatever the text, it is read or refused, and every place that is named is in it.
//!
//! `cargo +nightly fuzz run parse -- -max_len=65536 -timeout=5 -rss_limit_mb=1024`
#![no_main]

use libfuzzer_sys::fuzz_target;
use locus_push::dockerfile::{Span, parse, parse_trigger};

fuzz_target!(|text: &str| {
    let within = |span: Span| assert!(text.get(span.start..span.end).is_some(), "{span:?}");
    match parse(text) {
        Ok(file) => file.instructions.iter().for_each(|instruction| within(instruction.span)),
        Err(faults) => faults.iter().for_each(|fault| {
            within(fault.span);
            if let Some(word) = &fault.word {
                fault.span.of_word(text, word).into_iter().for_each(within);
            }
        }),
    }
    // What a base image says is no more to be trusted than a file.
    let _ = parse_trigger(text);
});
