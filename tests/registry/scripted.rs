//! An HTTP server that says what a test wants, however wrong, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wire::read_chunked;

#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// How many requests there were before this one.
    pub number: usize,
}

#[derive(Clone, Default)]
pub struct Says {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The `Content-Length` that is told, where it is a lie.
    length: Option<usize>,
    /// Whether, once all is said, the connection stays open and silent.
    stalls: bool,
    /// Whether the body comes a byte at a time.
    drips: bool,
}

pub struct Scripted {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: JoinHandle<()>,
}

pub fn says(status: u16) -> Says {
    Says { status, ..Says::default() }
}

/// Hangs up without a word.
pub fn hangs_up() -> Says {
    says(0)
}

impl Says {
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn promising(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// Then says nothing more, and does not hang up.
    pub fn and_stalls(mut self) -> Self {
        self.stalls = true;
        self
    }

    /// Gives the body a byte at a time, fifty in a second.
    pub fn dripping(mut self) -> Self {
        self.drips = true;
        self
    }

    /// An error in the distribution spec's form.
    pub fn error(self, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        self.body(body.to_string())
    }
}

impl Scripted {
    pub async fn start(script: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (script, log) = (Arc::new(script), asked.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (script.clone(), log.clone());
                tokio::spawn(async move { converse(stream, &*script, &log).await });
            }
        });
        Self { address, asked, serving }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// `METHOD PATH` of each request.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn converse(
    mut stream: TcpStream,
    script: &(impl Fn(&Asked) -> Says + ?Sized),
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let Some(mut asked) = read(&mut stream).await else {
        // As web servers answer what is no HTTP: the greeting of a TLS client, say.
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
    };
    let said = {
        let mut log = log.lock().unwrap();
        asked.number = log.len();
        log.push(asked.clone());
        script(&asked)
    };
    if said.status == 0 {
        stall(said.stalls).await;
        return None;
    }
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", said.status);
    for (name, value) in &said.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !said.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("Content-Length: {}\r\n", said.length.unwrap_or(said.body.len()));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    if asked.method != "HEAD" {
        let step = if said.drips { 1 } else { said.body.len().max(1) };
        for piece in said.body.chunks(step) {
            stream.write_all(piece).await.ok()?;
            if said.drips {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    stall(said.stalls).await;
    stream.shutdown().await.ok()
}

/// Longer than any test waits.
async fn stall(stalls: bool) {
    if stalls {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 || !bytes[0].is_ascii_uppercase() {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        let body = read_chunked(stream, bytes.split_off(end + 4)).await.ok()?;
        return Some(Asked { method, path, headers, body, number: 0 });
    }
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Asked { method, path, headers, body, number: 0 })
}
