//! ONBUILD.

use super::split::{Split, split_command};
use super::{Fault, flags::Flags, kind};
use crate::dockerfile::{Heredoc, Onbuild};

pub fn read(split: &Split, line: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Onbuild, Fault> {
    Flags::refuse_all(&split.flags)?;
    if split.rest.is_empty() {
        return Err(kind::at_least_one("ONBUILD"));
    }
    let inner = split_command(&split.rest);
    if let Some(fault) = forbidden(&inner.keyword) {
        return Err(fault.word(&split.rest));
    }
    // The child reads the text anew, so the bodies go with it.
    let mut trigger = line.trim()[split.keyword.len()..].trim().to_string();
    for heredoc in &heredocs {
        trigger.extend(["\n", &heredoc.body, &heredoc.name]);
    }
    Ok(Onbuild { trigger, kind: Box::new(kind::read(&inner, &split.rest, heredocs, escape)?) })
}

/// What may not be a trigger.
pub fn forbidden(keyword: &str) -> Option<Fault> {
    let message = match keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        keyword @ ("MAINTAINER" | "FROM") => format!("{keyword} isn't allowed as an ONBUILD trigger"),
        _ => return None,
    };
    Some(Fault::new(message))
}
