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
    let mut text = String::from_utf8(text).map_err(|error| Failure::bug(Phase::Arguments, error))?;
    if shell == Shell::Bash {
        // clap_complete takes the hyphen of our name, which it writes as `__`, for the seam between command and subcommand,
        // and no subcommand's flags are found by the name that it gives them elsewhere.
        text = text.replace("locus__subcmd__push", "locus__push");
    }
    let json = json!({ "completions": text });
    Ok(Done::new(text, json))
}
