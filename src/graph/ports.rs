//! EXPOSE's words: `port`, `from-to`, `/proto`, and the forms with a host that are accepted for Docker's sake.

const RULE: &str = "a port is 1–65535 or a range of them, with /tcp, /udp or /sctp behind it";

/// The ports of one word, as the config's keys: `80/tcp`.
pub(super) fn parse(word: &str) -> Result<Vec<String>, &'static str> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(RULE);
    }
    // `ip:host:container` and `host:container`: the container's port is what is exposed.
    let container = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = container.split_once('-').unwrap_or((container, container));
    let number = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(RULE),
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        Ok(_) => Err(RULE),
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(RULE);
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn words_become_ports() {
        for (word, ports) in [
            ("80", vec!["80/tcp"]),
            ("53/UDP", vec!["53/udp"]),
            ("3000-3002/tcp", vec!["3000/tcp", "3001/tcp", "3002/tcp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
        ] {
            assert_eq!(parse(word), Ok(ports.into_iter().map(str::to_owned).collect()), "{word}");
        }
        for word in ["", "0", "65536", "a", "80/http", "9-8", "+80", "80/"] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
