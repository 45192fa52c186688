//! Layers out before they are whole: what a build compresses goes to the registry while more of it is made.
//!
//! POST, one PATCH without a length whose body ends when the layer does, and a PUT that names its digest: what `docker push`
//! does, and so what every registry takes (distribution, "Stream upload"). Whatever goes wrong here is no failure: the
//! layer is sent then as any other, when it is whole, verified and asked for.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Url};
use tokio::task::JoinHandle;

use super::client::Registry;
use super::exchange::{Answer, Question};
use super::http;
use super::outgoing::PIECE;
use super::push::Work;
use super::upload::{CHECKING, Opened, Target, own_location, unless_stalled};
use crate::image::Digest;
use crate::store::Growing;

/// A smaller layer is whole before it would be worth a connection.
const WORTH: u64 = 4 << 20;

/// A layer on its way out while it is made.
pub(super) struct Ahead {
    layer: Growing,
    /// Where it goes, since there is something of it.
    begun: Arc<OnceLock<Url>>,
    /// Where all of it is, when it is there.
    task: JoinHandle<Option<Url>>,
}

impl Ahead {
    pub(super) fn begin(work: &Arc<Work>, layer: Growing, on: &tokio::runtime::Handle) -> Self {
        let (work, bytes, begun) = (work.clone(), layer.clone(), Arc::new(OnceLock::new()));
        let task = on.spawn({
            let begun = begun.clone();
            async move { work.send_ahead(bytes, &begun).await }
        });
        Self { layer, begun, task }
    }

    /// Whether it is this layer, as far as anybody knows yet.
    pub(super) fn is(&self, digest: &Digest) -> bool {
        self.layer.grown().whole.as_ref() == Some(digest)
    }

    /// Sees it to its end; whether the registry has it then.
    pub(super) async fn arrives(mut self, work: &Work, digest: &Digest) -> bool {
        let Ok(Some(location)) = (&mut self.task).await else { return false };
        // The answer may have been lost and not the blob.
        work.registry.close_upload(&work.target, location, digest).await || work.has_blob(digest).await.unwrap_or(false)
    }

    /// The registry has had it all along.
    pub(super) async fn take_back(self, work: &Work) {
        self.task.abort();
        if let Some(location) = self.begun.get() {
            work.registry.cancel_upload(&work.target, location.clone()).await;
        }
    }
}

/// A registry drops an upload that nobody ends.
impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    /// Sends a layer's bytes as they come. `None` where it was too little to begin with, or did not come to its end.
    async fn send_ahead(&self, mut layer: Growing, begun: &OnceLock<Url>) -> Option<Url> {
        if layer.reaches(WORTH).await.ok()?.whole.is_some() {
            return None;
        }
        let _turn = self.uploads.acquire().await.ok()?;
        let Opened::At(location) = self.registry.open_upload(&self.target, None).await.ok()? else { return None };
        self.registry.stream(&self.target, begun.get_or_init(|| location).clone(), layer).await
    }
}

impl Registry {
    /// One PATCH of all that comes. Where the registry wants it to be ended.
    async fn stream(&self, target: &Target, location: Url, layer: Growing) -> Option<Url> {
        let mut request = Request::new(Method::PATCH, location.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.0.passes.of(&target.endpoint, &target.scope).into_iter().for_each(|pass| {
            headers.insert(AUTHORIZATION, pass);
        });
        let pace = Arc::new(Pace::default());
        *request.body_mut() = Some(Body::wrap_stream(pieces(layer, pace.clone())));
        let silence = self.0.http.silence();
        let client = self.0.http.client(http::line_to(&location), &location).ok()?;
        let response = unless_stalled(|| pace.moved(), silence * CHECKING, client.execute(request)).await?.ok()?;
        let answer = Answer::read(&location, response, silence).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        own_location(target, &location, &answer).ok()
    }

    /// Ends an upload whose bytes are all there; whether the registry has the blob then.
    async fn close_upload(&self, target: &Target, mut location: Url, digest: &Digest) -> bool {
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut question = Question::new(&target.endpoint, Method::PUT, "", &target.scope);
        question.url = location;
        self.ask(&question).await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// Whether bytes move, told to whoever waits for the answer.
#[derive(Default)]
struct Pace {
    moves: AtomicU64,
    /// It is we who have none to send.
    idle: AtomicBool,
}

impl Pace {
    /// Another number each time, as long as nobody can be blamed for standing still.
    fn moved(&self) -> u64 {
        let since = u64::from(self.idle.load(Ordering::Relaxed));
        self.moves.fetch_add(since, Ordering::Relaxed) + since
    }
}

fn pieces(layer: Growing, pace: Arc<Pace>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((layer, 0_u64), move |(mut layer, sent)| {
        let pace = pace.clone();
        async move {
            pace.idle.store(true, Ordering::Relaxed);
            let grown = layer.reaches(sent + PIECE as u64).await.map_err(io::Error::other)?;
            pace.idle.store(false, Ordering::Relaxed);
            pace.moves.fetch_add(1, Ordering::Relaxed);
            if grown.bytes == sent {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || layer.read(sent, PIECE).map(|piece| (piece, layer)));
            let (piece, layer) = read.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
            let sent = sent + piece.len() as u64;
            Ok(Some((Bytes::from(piece), (layer, sent))))
        }
    })
}
