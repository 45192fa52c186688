//! Where a registry's host is reached: `HOST=URL` from flags, environment and file, merged per host.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::image::Reference;

/// URLs by registry host. The later word wins, so whoever merges begins with the weakest.
pub type Endpoints = BTreeMap<String, Url>;

/// One `HOST=URL`.
pub fn parse(text: &str) -> Result<(String, Url), String> {
    match text.split_once('=') {
        Some((host, url)) => Ok((self::host(host)?, self::url(url)?)),
        None => Err(format!("`{text}` is not written HOST=URL, e.g. docker.io=http://127.0.0.1:5000")),
    }
}

/// A registry's host as image references name it.
pub fn host(text: &str) -> Result<String, String> {
    match format!("{text}/image").parse::<Reference>() {
        // A host that is none would be read as the first part of a repository on Docker Hub.
        Ok(reference) if reference.registry() != "docker.io" || matches!(text, "docker.io" | "index.docker.io") => {
            Ok(reference.registry().to_owned())
        }
        _ => Err(format!("`{text}` is not a registry's host, e.g. docker.io or 127.0.0.1:5000")),
    }
}

/// An address that a host's traffic may be sent to.
pub fn url(text: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("`{text}` is not an endpoint: {why}");
    let url: Url = text.parse().map_err(|_| bad("write http://HOST:PORT or https://HOST"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad("write http://HOST:PORT or https://HOST"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text is not repeated: it holds a password.
        return Err("an endpoint holds no user and no password; put them into Docker's config.json".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_sent_to_its_url() {
        for (text, host, url) in [
            ("docker.io=http://127.0.0.1:5000", "docker.io", "http://127.0.0.1:5000/"),
            ("index.docker.io=https://mirror.example.org/v2x", "docker.io", "https://mirror.example.org/v2x"),
            ("127.0.0.1:5000=http://[::1]:5001", "127.0.0.1:5000", "http://[::1]:5001/"),
        ] {
            let (got, at) = parse(text).expect(text);
            assert_eq!((got.as_str(), at.as_str()), (host, url));
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, words) in [
            ("docker.io", "is not written HOST=URL"),
            ("docker=http://x", "`docker` is not a registry's host"),
            ("a/b.io=http://x", "`a/b.io` is not a registry's host"),
            ("=http://x", "`` is not a registry's host"),
            ("docker.io=127.0.0.1:5000", "write http://HOST:PORT"),
            ("docker.io=ftp://x", "write http://HOST:PORT"),
            ("docker.io=http://x?y", "it has a query"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_password_in_an_endpoint_is_refused_and_not_repeated() {
        let why = parse("docker.io=https://me:hunter2@x").expect_err("a password");
        assert!(!why.contains("hunter2"), "{why}");
    }
}
