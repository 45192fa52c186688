//! What the program says of itself.

use clap_complete::Shell;
use serde_json::json;

use super::{Done, Failure, Phase, args};

pub fn version() -> Done {
    let version = env!("CARGO_PKG_VERSION");
    Done::new(format!("locus-push {version}"), json!({ "version": version }))
}

pub fn completions(shell: Shell) -> Result<Done, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "locus-push", &mut text);
    let text = String::from_utf8(text).map_err(|error| Failure::bug(Phase::Arguments, error))?;
    let json = json!({ "completions": text });
    Ok(Done::new(text, json))
}
