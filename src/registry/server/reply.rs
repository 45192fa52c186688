//! What goes back: documents, files, and refusals in the distribution spec's form.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use crate::store::StoreError;

pub(super) type ReplyBody = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Reply = Response<ReplyBody>;

/// A request that is not done, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    pub(super) fn reply(self) -> Reply {
        let body = serde_json::json!({"errors": [{"code": self.code, "message": self.message}]});
        let mut reply = document("application/json", body.to_string().into_bytes());
        *reply.status_mut() = self.status;
        match self.status {
            StatusCode::UNAUTHORIZED => with(reply, WWW_AUTHENTICATE, "Basic realm=\"locus-push\""),
            _ => reply,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Mismatch { .. } => Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &error.to_string()),
            StoreError::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "UNKNOWN", "the disk is full"),
            // The path within is nobody's business who asks by network.
            StoreError::Io { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the store failed"),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the store failed")
    }
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(body(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

pub(super) fn document(media_type: &str, bytes: Vec<u8>) -> Reply {
    let length = bytes.len();
    let reply = Response::new(body(bytes.into()));
    with(with(reply, CONTENT_TYPE, media_type), CONTENT_LENGTH, &length.to_string())
}

/// Adds a header. Every value is a digest, a number, a checked name or a media type that came in a header.
pub(super) fn with(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

pub(super) fn body(bytes: Bytes) -> ReplyBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
