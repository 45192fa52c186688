//! A recorded answer, given to whoever asks: whole, in part, or by the word that the asker has it already.

use std::fs::File;

use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use hyper::{Response, StatusCode};

use super::download::{Download, Method};
use super::pipe::{Body, Reply, part_of, whole};
use super::question::Question;
use crate::range::{Span, asked};

/// What a question comes to, when its answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// 304: the asker has it.
    Nothing,
    /// The head: of a HEAD, a redirect or a refusal.
    Head,
    All,
    Part(Span),
    /// 416: there is no such part.
    NoSuchPart,
}

/// How much of it is asked for.
pub(super) fn share(question: &Question, download: &Download) -> Share {
    let recorded = |name: &HeaderName| download.headers.get(name.as_str()).map(String::as_str);
    if download.status != 200 {
        return if download.sha256.is_some() && question.method == Method::Get { Share::All } else { Share::Head };
    }
    let known = match (question.header(&IF_NONE_MATCH), question.header(&IF_MODIFIED_SINCE)) {
        (Some(tags), _) => recorded(&ETAG).is_some_and(|etag| names(tags, etag)),
        // Clients send the very date that they were given. Of another one nothing is concluded: the whole is never wrong.
        (None, Some(date)) => recorded(&LAST_MODIFIED) == Some(date),
        (None, None) => false,
    };
    if known {
        return Share::Nothing;
    }
    if question.method == Method::Head {
        return Share::Head;
    }
    // A weak tag says nothing of single bytes (RFC 9110, 13.1.5).
    let same = question.header(&IF_RANGE).is_none_or(|mark| {
        !mark.starts_with("W/") && (recorded(&ETAG) == Some(mark) || recorded(&LAST_MODIFIED) == Some(mark))
    });
    match asked(question.header(&RANGE).filter(|_| same), download.size) {
        Ok(None) => Share::All,
        Ok(Some(span)) => Share::Part(span),
        Err(()) => Share::NoSuchPart,
    }
}

/// The reply, with this body where it has one.
pub(super) fn reply(download: &Download, share: Share, body: Body) -> Reply {
    let mut reply = Response::new(body);
    // Only statuses that are kept come here.
    *reply.status_mut() = StatusCode::from_u16(download.status).unwrap_or(StatusCode::OK);
    for (name, value) in &download.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            reply.headers_mut().insert(name, value);
        }
    }
    let size = download.size;
    let length = match share {
        Share::Nothing => {
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply.headers_mut().remove(CONTENT_TYPE);
            return reply;
        }
        Share::NoSuchPart => {
            *reply.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut reply, CONTENT_RANGE, &format!("bytes */{size}"));
            0
        }
        Share::Part(Span { from, to }) => {
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut reply, CONTENT_RANGE, &format!("bytes {from}-{}/{size}", to - 1));
            to - from
        }
        Share::All | Share::Head => size,
    };
    if download.status == 200 {
        set(&mut reply, ACCEPT_RANGES, "bytes");
    }
    if download.status != 204 {
        set(&mut reply, CONTENT_LENGTH, &length.to_string());
    }
    reply
}

/// The reply from the body that was kept.
pub(super) fn from_file(download: &Download, share: Share, file: File) -> Reply {
    let span = match share {
        Share::Part(span) => span,
        _ => Span { from: 0, to: download.size },
    };
    reply(download, share, if span.from < span.to { part_of(file, span) } else { whole("") })
}

/// Words of our own.
pub(super) fn words(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(whole(format!("locus-push: {text}\n")));
    *reply.status_mut() = status;
    set(&mut reply, CONTENT_TYPE, "text/plain; charset=utf-8");
    reply
}

/// The value is text of ours, or was checked when it was recorded.
pub(super) fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// Whether one of the tags is this one, compared weakly (RFC 9110, 13.1.2).
fn names(tags: &str, etag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| strong(tag) == strong(etag))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::question::tests::{download, question};
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Download {
        let headers: BTreeMap<_, _> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Download { size: 10, headers, ..download("http://h/a") }
    }

    #[test]
    fn parts_and_conditions_are_answered_from_the_record() {
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        let known = of(&[("etag", "\"x\""), ("last-modified", date)]);
        let part = |from, to| Share::Part(Span { from, to });
        for (headers, wanted) in [
            (&[][..], Share::All),
            (&[("range", "bytes=2-3")], part(2, 4)),
            (&[("range", "bytes=8-")], part(8, 10)),
            (&[("range", "bytes=10-")], Share::NoSuchPart),
            (&[("range", "bytes=0-1,4-5")], Share::All),
            (&[("range", "bytes=2-3"), ("if-range", "\"x\"")], part(2, 4)),
            (&[("range", "bytes=2-3"), ("if-range", "\"y\"")], Share::All),
            (&[("range", "bytes=2-3"), ("if-range", "W/\"x\"")], Share::All),
            (&[("range", "bytes=2-3"), ("if-range", date)], part(2, 4)),
            (&[("if-none-match", "\"x\"")], Share::Nothing),
            (&[("if-none-match", "W/\"x\", \"z\"")], Share::Nothing),
            (&[("if-none-match", "*")], Share::Nothing),
            (&[("if-none-match", "\"y\""), ("if-modified-since", date)], Share::All),
            (&[("if-modified-since", date)], Share::Nothing),
            (&[("if-modified-since", "Wed, 21 Oct 2015 07:28:01 GMT")], Share::All),
        ] {
            let headers: &[(&'static str, &'static str)] = headers;
            assert_eq!(share(&question(Method::Get, "http://h/a", headers), &known), wanted, "{headers:?}");
        }
        assert_eq!(share(&question(Method::Head, "http://h/a", &[("range", "bytes=2-3")]), &known), Share::Head);
        let gone = Download { status: 404, sha256: None, ..of(&[]) };
        assert_eq!(share(&question(Method::Get, "http://h/a", &[("range", "bytes=2-3")]), &gone), Share::Head);
    }

    #[test]
    fn a_reply_says_how_much_of_what_it_is() {
        let known = of(&[("content-type", "a/b"), ("etag", "\"x\"")]);
        let said = |share| {
            let reply = reply(&known, share, whole(""));
            let header = |name| reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (reply.status().as_u16(), header("content-length"), header("content-range"), header("content-type"))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(said(Share::All), (200, text("10"), None, text("a/b")));
        assert_eq!(said(Share::Part(Span { from: 2, to: 4 })), (206, text("2"), text("bytes 2-3/10"), text("a/b")));
        assert_eq!(said(Share::NoSuchPart), (416, text("0"), text("bytes */10"), text("a/b")));
        assert_eq!(said(Share::Nothing), (304, None, None, None));
    }
}
