//! Names that a secret would have.

const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// With one of these it is none: a public key, the path of a token, the version of a tool.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

pub(super) fn named_like_one(variable: &str) -> bool {
    let lower = variable.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::named_like_one;

    #[test]
    fn words_between_underscores_tell_a_secret() {
        for name in ["API_KEY", "DATABASE_PASSWORD", "github_token", "AUTH", "secret_message", "MY_APIKEY_1"] {
            assert!(named_like_one(name), "{name}");
        }
        for name in ["KEYS", "author", "monkey", "PUBLIC_KEY", "TOKEN_FILE", "KEY_VERSION", "pwd", ""] {
            assert!(!named_like_one(name), "{name}");
        }
    }
}
