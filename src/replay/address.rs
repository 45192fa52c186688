//! Where something was downloaded from, as the lock may hold it: without credentials, and without what a signature
//! makes different each time.
//!
//! What is taken out is taken out of both sides, so a URL that was signed anew finds its record. A credential that is
//! part of a path looks like any other path: it cannot be told, and stays.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Deserializer};

/// The longest URL that is recorded, in bytes.
const LIMIT: usize = 8 << 10;

/// Query parameters that are credentials or signatures, in lower case: of AWS, Google and Azure, and what people call
/// theirs.
const SECRET: [&str; 22] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authtoken",
    "awsaccesskeyid",
    "client_secret",
    "googleaccessid",
    "job_token",
    "jwt",
    "key-pair-id",
    "oauth_token",
    "password",
    "passwd",
    "private_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-ms-signature",
];

/// Beginnings of such names: SigV4 and Google's V4 signatures.
const SECRET_STARTS: [&str; 2] = ["x-amz-", "x-goog-"];

/// What goes with a signature, and is of its moment: CloudFront's, S3's and Azure's times, policies and keys. Without a
/// signature beside them these are names as any others.
const OF_A_SIGNATURE: [&str; 16] = [
    "expires",
    "hash-algorithm",
    "policy",
    "se",
    "ske",
    "skoid",
    "sks",
    "skt",
    "sktid",
    "skv",
    "sp",
    "spr",
    "sr",
    "st",
    "sv",
    "ver",
];

/// How tokens begin that their makers let begin in a way of their own (GitHub, GitLab, npm, PyPI, AWS, Google).
const TOKEN_STARTS: [&str; 9] = ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "npm_", "pypi-", "AKIA", "AIza"];

/// A URL that may be shown and kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

/// A text that is no URL of a download, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the URL of a download: {why}", text.escape_debug())]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl Address {
    /// `None` where the URL is none of http and https, or too long to be kept.
    pub fn of(url: &Url) -> Option<Self> {
        let web = matches!(url.scheme(), "http" | "https") && url.has_host();
        let text = without_secrets(url);
        (web && text.len() <= LIMIT).then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The URL as it may be shown.
pub(super) fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    // Fails for URLs without a host only, which have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Some(query) = url.query().map(str::to_owned) {
        let signed = query.split('&').any(|pair| is_secret(name_of(pair)));
        let kept: Vec<&str> = query.split('&').filter(|pair| !goes(pair, signed)).collect();
        url.set_query(Some(&kept.join("&")).filter(|rest| !rest.is_empty()).map(|rest| rest.as_str()));
    }
    url.into()
}

fn goes(pair: &str, signed: bool) -> bool {
    let name = name_of(pair);
    let value = pair.split_once('=').map_or("", |(_, value)| value);
    is_secret(name)
        || (signed && OF_A_SIGNATURE.iter().any(|other| name.eq_ignore_ascii_case(other)))
        || TOKEN_STARTS.iter().any(|start| value.starts_with(start))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.contains(&name.as_str()) || SECRET_STARTS.iter().any(|start| name.starts_with(start))
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

impl FromStr for Address {
    type Err = BadAddress;

    /// Exactly what [`Address::of`] gives: a lock that somebody wrote a token into is refused, not cleaned.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why| BadAddress { text: text.chars().take(200).collect(), why };
        let url: Url = text.parse().map_err(|_| bad("it is no URL"))?;
        let address = Self::of(&url).ok_or_else(|| bad("it is neither http nor https, or too long"))?;
        match address.0 == text {
            true => Ok(address),
            false => Err(BadAddress { text: address.0, why: "it was written with a credential, or in another form" }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> String {
        Address::of(&text.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn credentials_and_signatures_are_not_recorded() {
        for (url, recorded) in [
            ("http://h/a.deb", "http://h/a.deb"),
            ("https://user:hunter2@h/a", "https://h/a"),
            ("https://h/a?x=1&token=hunter2&y=%2F", "https://h/a?x=1&y=%2F"),
            ("https://h/a?Access_Token=hunter2", "https://h/a"),
            ("https://h/a?ref=ghp_hunter2&b=2", "https://h/a?b=2"),
            ("https://h/a#part", "https://h/a"),
            (
                "https://s3.test/k?X-Amz-Signature=ab&X-Amz-Date=1&X-Amz-Expires=9&versionId=v",
                "https://s3.test/k?versionId=v",
            ),
            ("https://s3.test/k?AWSAccessKeyId=A&Expires=1&Signature=b", "https://s3.test/k"),
            (
                "https://blob.test/k?sp=r&sv=2018&se=2025-01-01&sig=ab&rscd=attachment",
                "https://blob.test/k?rscd=attachment",
            ),
            ("https://h/a?se=1&expires=2", "https://h/a?se=1&expires=2"),
            ("https://h/search?key=value&op=get", "https://h/search?key=value&op=get"),
        ] {
            assert_eq!(address(url), recorded, "{url}");
        }
    }

    #[test]
    fn an_address_is_read_back_and_nothing_else_is() {
        let text = "https://h/a?x=1";
        assert_eq!(text.parse::<Address>().unwrap().as_str(), text);
        let long = format!("https://h/{}", "a".repeat(LIMIT));
        for bad in ["", "a", "ftp://h/a", "https://u:hunter2@h/a", "https://h/a?token=hunter2", "HTTPS://h/a", &long] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
