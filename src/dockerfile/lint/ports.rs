//! Rules about one word of EXPOSE: `[[ip:]host:]port[/protocol]`.

use super::Rule;

/// What is wrong with the word. A port or protocol that does not exist is the build's to tell.
pub(super) fn faults(word: &str) -> Vec<(Rule, String)> {
    let mut faults = Vec::new();
    let (published, port) = word.rsplit_once(':').unwrap_or(("", word));
    let (port, protocol) = port.split_once('/').unwrap_or((port, ""));
    let lower = protocol.to_lowercase();
    if port.is_empty() || !matches!(lower.as_str(), "" | "tcp" | "udp" | "sctp") {
        return faults;
    }
    if protocol != lower {
        let detail = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        faults.push((Rule::ExposeProtoCasing, detail));
    }
    if !published.trim_matches(':').is_empty() {
        let detail = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
        faults.push((Rule::ExposeInvalidFormat, detail));
    }
    faults
}
