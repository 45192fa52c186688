//! A proxy in front of a registry that goes wrong as networks and registries do: so many of a hundred requests, by a
//! seed, and in each way that there is, by a deck. It asks for a bearer token, and forgets the ones that it gave.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 503.
    Unavailable,
    /// 429 with `Retry-After`.
    TooMany,
    /// The connection is reset before the answer.
    Reset,
    /// The answer's body ends half way.
    BodyCut,
    /// The connection is reset half way through the request's body.
    UploadCut,
    /// The request is done, and nobody is told.
    LostAnswer,
    /// The token is no longer good.
    Expired,
    /// One bit of a download is another.
    FlippedBit,
}

use Fault::{BodyCut, Expired, FlippedBit, LostAnswer, Reset, TooMany, Unavailable, UploadCut};

const FAULTS: [Fault; 8] = [Unavailable, TooMany, Reset, BodyCut, UploadCut, LostAnswer, Expired, FlippedBit];

/// Two wrong looks at one thing are borne, and a third is an error by contract: `LOOKS` in `src/registry/pull.rs`.
const MOST_FLIPS: usize = 2;

/// A token is not forgotten before it has been good for so many requests, more than are ever under way at once: no
/// token server gives out dead ones.
const LEAST_USES: usize = 24;

/// The faults as cards: each is dealt once before any is dealt again, but to a request that it fits. One that has waited
/// for such a request while the others went round goes to the first that comes, whatever the dice say. So each kind
/// comes, in whatever order the requests do.
pub struct Deck {
    seed: u64,
    shuffles: u64,
    cards: VecDeque<Fault>,
    /// So many of the cards in front have waited.
    waiting: usize,
}

impl Deck {
    pub fn new(seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { seed, shuffles: 0, cards: VecDeque::new(), waiting: 0 }))
    }

    /// A card for a request that these fit, if the dice or a card's waiting say that it goes wrong.
    fn deal(&mut self, unlucky: bool, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        let candidates = if unlucky { self.cards.len() } else { self.waiting };
        let mut place = self.cards.iter().take(candidates).position(|card| fits(*card));
        if place.is_none() && unlucky && FAULTS.into_iter().any(&fits) {
            self.waiting = self.cards.len();
            self.shuffle_in();
            place = self.cards.iter().position(|card| fits(*card));
        }
        let place = place?;
        self.waiting -= usize::from(place < self.waiting);
        self.cards.remove(place)
    }

    /// Another deck goes below what is left.
    fn shuffle_in(&mut self) {
        self.shuffles += 1;
        let mut fresh = FAULTS;
        fresh.sort_by_key(|card| scrambled(scrambled(self.seed ^ self.shuffles << 32) ^ *card as u64));
        self.cards.extend(fresh);
    }
}

pub struct Misbehaving {
    pub address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    upstream: SocketAddr,
    seed: u64,
    percent: u64,
    deck: Arc<Mutex<Deck>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Those for a token do not count.
    requests: u64,
    tokens: usize,
    uses: usize,
    faults: BTreeMap<Fault, usize>,
    /// How often a bit of what is at this path was another.
    flips: BTreeMap<String, usize>,
}

struct Message {
    /// Without the empty line.
    head: String,
    body: Vec<u8>,
}

impl Misbehaving {
    pub async fn start(upstream: SocketAddr, seed: u64, percent: u64, deck: &Arc<Mutex<Deck>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { upstream, seed, percent, deck: deck.clone(), seen: Mutex::default() });
        let serving = state.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = serving.clone();
                // Clients that hang up are as good as any here.
                tokio::spawn(async move { state.converse(stream).await.ok() });
            }
        });
        Self { address, state, serving }
    }

    pub fn requests(&self) -> u64 {
        self.state.seen.lock().unwrap().requests
    }

    /// How often each went wrong.
    pub fn faults(&self) -> BTreeMap<Fault, usize> {
        self.state.seen.lock().unwrap().faults.clone()
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    async fn converse(&self, mut client: TcpStream) -> io::Result<()> {
        let Some(head) = read_head(&mut client).await? else { return Ok(()) };
        let (head, rest) = head;
        let asked = Message { head, body: rest };
        let length = asked.length();
        let fault = self.fault(&asked, length);
        if fault == Some(UploadCut) {
            read_to(&mut client, asked.body, length / 2).await?;
            return reset(client);
        }
        let asked = Message { body: read_to(&mut client, asked.body, length).await?, ..asked };
        if asked.path().starts_with("/token") {
            let token = self.new_token();
            let body = format!(r#"{{"token":"{token}","expires_in":3600}}"#);
            return answer(client, "200 OK", "", body.as_bytes()).await;
        }
        match fault {
            Some(Unavailable) => return answer(client, "503 Service Unavailable", "", b"busy").await,
            Some(TooMany) => return answer(client, "429 Too Many Requests", "Retry-After: 0\r\n", b"").await,
            Some(Reset) => return reset(client),
            Some(Expired) => return self.ask_who(client, &asked).await,
            _ if !self.is_known(&asked) => return self.ask_who(client, &asked).await,
            _ => {}
        }
        let mut said = self.forward(&asked).await?;
        match fault {
            Some(LostAnswer) => return reset(client),
            Some(FlippedBit) => {
                let middle = said.body.len() / 2;
                said.body.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
            }
            Some(BodyCut) => said.body.truncate(said.body.len() / 2),
            _ => {}
        }
        client.write_all(format!("{}\r\nConnection: close\r\n\r\n", said.head).as_bytes()).await?;
        client.write_all(&said.body).await?;
        if fault == Some(BodyCut) { reset(client) } else { client.shutdown().await }
    }

    /// What goes wrong with this request.
    fn fault(&self, asked: &Message, length: usize) -> Option<Fault> {
        if asked.path().starts_with("/token") {
            return None;
        }
        let mut seen = self.seen.lock().unwrap();
        seen.requests += 1;
        let unlucky = scrambled(scrambled(self.seed) ^ seen.requests) % 100 < self.percent;
        let download = asked.is_download();
        let flips = seen.flips.get(asked.path()).copied().unwrap_or(0);
        let fault = self.deck.lock().unwrap().deal(unlucky, |fault| match fault {
            UploadCut => length > 0,
            BodyCut => download,
            FlippedBit => download && flips < MOST_FLIPS,
            Expired => seen.uses >= LEAST_USES,
            Unavailable | TooMany | Reset | LostAnswer => true,
        })?;
        if fault == FlippedBit {
            *seen.flips.entry(asked.path().to_owned()).or_default() += 1;
        }
        if fault == Expired {
            (seen.tokens, seen.uses) = (seen.tokens + 1, 0);
        }
        *seen.faults.entry(fault).or_default() += 1;
        Some(fault)
    }

    fn new_token(&self) -> String {
        format!("token-{}", self.seen.lock().unwrap().tokens)
    }

    fn is_known(&self, asked: &Message) -> bool {
        let mut seen = self.seen.lock().unwrap();
        let known = asked.header("authorization") == Some(&format!("Bearer token-{}", seen.tokens));
        seen.uses += usize::from(known);
        known
    }

    async fn ask_who(&self, client: TcpStream, asked: &Message) -> io::Result<()> {
        let realm = format!("http://{}/token", asked.header("host").unwrap_or_default());
        let header = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\"\r\n");
        answer(client, "401 Unauthorized", &header, b"").await
    }

    async fn forward(&self, asked: &Message) -> io::Result<Message> {
        let mut server = TcpStream::connect(self.upstream).await?;
        let lines = asked.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("authorization:"));
        let head: Vec<&str> = lines.collect();
        server.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes()).await?;
        server.write_all(&asked.body).await?;
        let (head, mut body) = read_head(&mut server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        server.read_to_end(&mut body).await?;
        let head: Vec<&str> =
            head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
        Ok(Message { head: head.join("\r\n"), body })
    }
}

impl Message {
    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Of bytes that their reader knows the digest of.
    fn is_download(&self) -> bool {
        let path = self.path();
        self.method() == "GET" && (path.contains("/manifests/") || path.contains("/blobs/sha256:"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        Some(self.head.lines().find(named)?.split_once(':')?.1.trim())
    }

    fn length(&self) -> usize {
        self.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// The head, and what came with it of the body.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            bytes.truncate(end);
            return Ok(Some((String::from_utf8(bytes).map_err(io::Error::other)?, body)));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

async fn read_to(stream: &mut TcpStream, mut body: Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

async fn answer(mut client: TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await?;
    client.write_all(body).await?;
    client.shutdown().await
}

/// Ends the connection without a goodbye.
fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()
}

/// SplitMix64: each number as good as random, and the same each time.
fn scrambled(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn every_kind_of_fault_is_dealt_whatever_the_order_of_requests() {
    for seed in 0..200 {
        let deck = Deck::new(seed);
        let mut deck = deck.lock().unwrap();
        let mut dealt = BTreeMap::<Fault, usize>::new();
        // Requests that one kind fits are a few, and the dice pass each of them by.
        for number in 0..200 {
            let rare = number % 25 == 24;
            let fault = deck.deal(number % 5 == 0, |fault| rare || !matches!(fault, UploadCut | FlippedBit));
            fault.into_iter().for_each(|fault| *dealt.entry(fault).or_default() += 1);
        }
        assert_eq!(dealt.len(), FAULTS.len(), "{dealt:?}");
        assert!(dealt.values().max().unwrap() - dealt[&Reset] <= 1, "{dealt:?}");
    }
}
