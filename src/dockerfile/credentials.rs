//! URLs that carry a user and a password, shown without them.

use std::borrow::Cow;

/// What stands in the place of a user and a password.
const HIDDEN: &str = "xxxxx";

/// The text with the credentials of its URLs hidden. The user of an ssh URL is a name and no secret.
pub fn hidden(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, behind) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
        let authority = &behind[..behind.find(ends).unwrap_or(behind.len())];
        rest = behind;
        let Some((user, _)) = authority.rsplit_once('@') else { continue };
        if scheme.ends_with("ssh://") && !user.contains(':') {
            continue;
        }
        shown.push_str(HIDDEN);
        rest = &behind[user.len()..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_credentials() {
        for (text, wanted) in [
            ("ADD https://u:hunter2@h/r.git#v1 /x", "ADD https://xxxxx@h/r.git#v1 /x"),
            ("https://token@h", "https://xxxxx@h"),
            ("ADD \"http://a:b@h/1\" \"http://c:d@h/2\"", "ADD \"http://xxxxx@h/1\" \"http://xxxxx@h/2\""),
            ("https://u:p@ss@h/x", "https://xxxxx@h/x"),
            ("ssh://git@h/r", "ssh://git@h/r"),
            ("ssh://git:hunter2@h/r", "ssh://xxxxx@h/r"),
            ("git@h:r", "git@h:r"),
            ("https://h/a@b", "https://h/a@b"),
            ("a ://@", "a ://xxxxx@"),
            ("no URL", "no URL"),
        ] {
            assert_eq!(hidden(text), wanted, "{text}");
        }
    }
}
