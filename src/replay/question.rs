//! What a step asks for, and which of the recorded answers it may be given.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderName};
use reqwest::Url;

use super::address::Address;
use super::download::{CHOOSING, Download, Method};

/// A GET or HEAD.
pub(super) struct Question {
    /// With whatever credential is in it: for the server alone.
    pub url: Url,
    pub address: Address,
    pub method: Method,
    pub headers: HeaderMap,
}

impl Question {
    /// The one header, if it is there once and text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the answer was chosen by, going by its `Vary`.
    pub fn chosen_by(&self, vary: Option<&str>) -> BTreeMap<String, String> {
        let named =
            |name: &&&str| vary.unwrap_or_default().split(',').any(|word| word.trim().eq_ignore_ascii_case(name));
        CHOOSING.iter().filter(named).map(|name| ((*name).to_owned(), self.said(name))).collect()
    }

    /// Whether a recorded answer is one to this very question.
    pub fn is_that_of(&self, download: &Download) -> bool {
        self.asks_for(download) && download.varies.iter().all(|(name, value)| self.said(name) == *value)
    }

    /// Whether a client that asks so can read a recorded answer that somebody else got, who reads other encodings.
    pub fn would_take(&self, download: &Download) -> bool {
        let encoding = download.headers.get("content-encoding");
        let reads = encoding.is_none_or(|encoding| accepts(&self.said(ACCEPT_ENCODING.as_str()), encoding));
        let other = |(name, value): (&String, &String)| name == ACCEPT_ENCODING.as_str() || self.said(name) == *value;
        self.asks_for(download) && reads && download.varies.iter().all(other)
    }

    /// What is known of a body is known of its head.
    fn asks_for(&self, download: &Download) -> bool {
        download.url == self.address && (download.method == self.method || download.method == Method::Get)
    }

    /// A header's words in one spelling: what differs in blanks asks for the same.
    fn said(&self, name: &str) -> String {
        let lines: Vec<&str> = self.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        let words = lines.join(",").to_ascii_lowercase();
        words
            .split(',')
            .map(|word| word.replace([' ', '\t'], ""))
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// RFC 9110, 12.5.3, as far as it matters: a coding that is named and not weighed with zero.
fn accepts(accept: &str, encoding: &str) -> bool {
    accept.split(',').any(|word| {
        let (name, weight) = word.split_once(';').unwrap_or((word, ""));
        let refused = weight.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0));
        (name == "*" || name.eq_ignore_ascii_case(encoding)) && !refused
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn question(method: Method, url: &str, headers: &[(&'static str, &'static str)]) -> Question {
        let url: Url = url.parse().unwrap();
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), hyper::header::HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(pair).collect();
        Question { address: Address::of(&url).unwrap(), url, method, headers }
    }

    pub fn download(url: &str) -> Download {
        Download {
            url: url.parse().unwrap(),
            method: Method::Get,
            varies: BTreeMap::new(),
            status: 200,
            size: 0,
            sha256: Some(crate::image::Digest::of(b"")),
            headers: BTreeMap::new(),
            signed: false,
        }
    }

    #[test]
    fn an_answer_is_found_by_what_it_was_chosen_by() {
        let packed = Download {
            varies: [("accept-encoding".to_owned(), "gzip,br;q=0.5".to_owned())].into(),
            headers: [("content-encoding".to_owned(), "gzip".to_owned())].into(),
            ..download("http://h/a")
        };
        for (accept, same, taken) in [
            ("gzip, br;q=0.5", true, true),
            ("GZIP,br; q=0.5", true, true),
            ("gzip", false, true),
            ("*", false, true),
            ("identity", false, false),
            ("gzip;q=0", false, false),
        ] {
            let question = question(Method::Get, "http://h/a", &[("accept-encoding", accept)]);
            assert_eq!((question.is_that_of(&packed), question.would_take(&packed)), (same, taken), "{accept}");
        }
        let metadata = Download { varies: [("accept".to_owned(), "a/b".to_owned())].into(), ..download("http://h/a") };
        assert!(question(Method::Get, "http://h/a", &[("accept", "a/b")]).would_take(&metadata));
        assert!(!question(Method::Get, "http://h/a", &[]).would_take(&metadata));
    }

    #[test]
    fn a_body_answers_for_its_head_and_a_head_for_no_body() {
        let body = download("http://h/a");
        let head = Download { method: Method::Head, sha256: None, ..body.clone() };
        let (get, ask) = (question(Method::Get, "http://h/a?token=1", &[]), question(Method::Head, "http://h/a", &[]));
        assert!(get.is_that_of(&body) && ask.is_that_of(&body) && ask.is_that_of(&head) && !get.is_that_of(&head));
    }

    #[test]
    fn only_what_vary_names_is_kept_of_a_request_and_never_a_credential() {
        let question = question(Method::Get, "http://h/", &[("accept", "A/b , c"), ("authorization", "Basic hunter2")]);
        let kept = question.chosen_by(Some("Accept, Authorization, Cookie"));
        assert_eq!(kept, [("accept".to_owned(), "a/b,c".to_owned())].into());
        assert!(question.chosen_by(None).is_empty());
    }
}
