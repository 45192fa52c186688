//! `WWW-Authenticate`: what a registry asks of us before it answers (RFC 9110, 11.6.1).

use std::collections::BTreeMap;

/// One challenge: `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    pub scheme: String,
    /// Names in lower case.
    pub parameters: BTreeMap<String, String>,
}

/// The longest header that is read, in bytes.
const LIMIT: usize = 8 << 10;

impl Challenge {
    /// All challenges of one header line; none where the line is not what the standard says.
    pub(super) fn read(line: &str) -> Vec<Self> {
        if line.len() > LIMIT {
            return Vec::new();
        }
        let mut reader = Reader { rest: line };
        let mut found = Vec::new();
        match reader.challenges(&mut found) {
            Some(()) => found,
            None => Vec::new(),
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenges(&mut self, found: &mut Vec<Challenge>) -> Option<()> {
        self.skip(&[' ', '\t', ',']);
        while !self.rest.is_empty() {
            let word = self.token()?.to_ascii_lowercase();
            self.skip(&[' ', '\t']);
            if self.eat('=') {
                self.skip(&[' ', '\t']);
                let value = if self.rest.starts_with('"') { self.quoted()? } else { self.token()?.to_owned() };
                // A parameter that comes twice could be read as either.
                if found.last_mut()?.parameters.insert(word, value).is_some() {
                    return None;
                }
            } else {
                found.push(Challenge { scheme: word, parameters: BTreeMap::new() });
            }
            self.skip(&[' ', '\t', ',']);
        }
        Some(())
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_end = |c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c));
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        None
    }

    fn skip(&mut self, set: &[char]) {
        self.rest = self.rest.trim_start_matches(set);
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, wanted: &str) {
        let show = |c: &Challenge| {
            let parameters: Vec<String> = c.parameters.iter().map(|(k, v)| format!("{k}=<{v}>")).collect();
            format!("{} {}", c.scheme, parameters.join(" ")).trim().to_owned()
        };
        assert_eq!(Challenge::read(line).iter().map(show).collect::<Vec<_>>().join("; "), wanted);
    }

    #[test]
    fn the_challenges_of_real_registries_are_read() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            "bearer realm=<https://auth.docker.io/token> scope=<repository:a/b:pull,push> service=<registry.docker.io>",
        );
        check(
            r#"Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#,
            "basic realm=<https://1.dkr.ecr.eu-west-1.amazonaws.com/> service=<ecr.amazonaws.com>",
        );
        check(r#"Basic realm="x", BEARER Realm="y" , service=z"#, "basic realm=<x>; bearer realm=<y> service=<z>");
        check(r#"Basic realm="a \"b\"""#, r#"basic realm=<a "b">"#);
        check("Negotiate", "negotiate");
    }

    #[test]
    fn what_could_be_read_two_ways_is_not_read() {
        check(r#"Bearer realm="a",realm="b""#, "");
        check(r#"Bearer realm="a"#, "");
        check(r#"realm="a""#, "");
        check("Bearer realm=", "");
        check(&format!("Bearer realm=\"{}\"", "a".repeat(9000)), "");
        check("\u{7f}", "");
    }
}
