//! Servers and clients on loopback, and the proxy between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::event::{Event, Events};
use crate::image::Digest;
use crate::secret::Secret;
use crate::store::Store;

type Answer = Response<Full<Bytes>>;

/// A server of the internet: what it answers is a function of the request and of how often it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// The last request's headers.
    seen: Arc<Mutex<BTreeMap<String, String>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(&Request<Incoming>, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
        let (answer, count, last) = (Arc::new(answer), asked.clone(), seen.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, count, last) = (answer.clone(), count.clone(), last.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    let headers = request.headers().iter();
                    *last.lock().unwrap() =
                        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
                    let reply = answer(&request, number);
                    async move { Ok::<_, std::convert::Infallible>(reply) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked, seen, accepting }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let builder =
        headers.iter().fold(Response::builder().status(status), |all, (name, value)| all.header(*name, *value));
    builder.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

/// A store, and the proxies that are started over it one after the other.
struct House {
    _home: tempfile::TempDir,
    store: Store,
    notes: Arc<Mutex<Vec<String>>>,
}

/// A step, and a client of it.
struct Step {
    replay: Replay,
    session: Session,
    client: Client,
}

fn step() -> Command {
    let (text, platform) = ("RUN wget".to_owned(), "linux/amd64".to_owned());
    Command { step: Digest::of(b"RUN wget"), text, platform, place: (0, 1) }
}

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { store: Store::open(home.path()).unwrap(), _home: home, notes: Arc::default() }
    }

    async fn step(&self, policy: Policy, downloads: Downloads) -> Step {
        let notes = self.notes.clone();
        let events = Events::new(move |event| {
            if let Event::Note(note) = event {
                notes.lock().unwrap().push(note);
            }
        });
        let (store, silence) = (self.store.clone(), Duration::from_secs(5));
        let options = Options { store, events, downloads, policy, outward: Outward::default(), silence };
        let replay = Replay::start(options).await.unwrap();
        let session = replay.open(&step(), vec![Arc::new(Secret::new("hunter22"))]).unwrap();
        let proxy = session.variables()[0].1.clone();
        let trust = reqwest::Certificate::from_pem(replay.certificate().as_bytes()).unwrap();
        let client = Client::builder()
            .proxy(reqwest::Proxy::all(&proxy).unwrap())
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([trust])
            .build()
            .unwrap();
        Step { replay, session, client }
    }

    /// What is recorded of these URLs, asked one after the other.
    async fn record(&self, urls: &[String]) -> (Downloads, Outcome) {
        let step = self.step(Policy::Record, Downloads::default()).await;
        for url in urls {
            step.get(url, &[]).await;
        }
        step.end().await
    }
}

impl Step {
    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> (u16, String) {
        self.ask(reqwest::Method::GET, url, headers).await.1
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (reqwest::header::HeaderMap, (u16, String)) {
        let request =
            headers.iter().fold(self.client.request(method, url), |all, (name, value)| all.header(*name, *value));
        let reply = request.send().await.unwrap();
        let (headers, status) = (reply.headers().clone(), reply.status().as_u16());
        (headers, (status, reply.text().await.unwrap_or_else(|_| "cut".to_owned())))
    }

    async fn end(self) -> (Downloads, Outcome) {
        let outcome = self.session.close().await;
        let downloads = self.replay.downloads();
        downloads.check().unwrap();
        (downloads, outcome)
    }
}

#[tokio::test]
async fn what_was_recorded_is_given_again_without_the_server() {
    let server = Server::start(|_, number| {
        answer(200, &[("etag", "\"x\""), ("set-cookie", "hunter2")], &format!("body {number}"))
    })
    .await;
    let house = House::new();
    let url = server.url("/a?token=hunter2");
    let (downloads, outcome) = house.record(std::slice::from_ref(&url)).await;
    assert_eq!(outcome.recorded, (1, 6));
    let held = &downloads.runs[0].downloads[0];
    assert_eq!(held.url.as_str(), server.url("/a"));
    assert_eq!((held.size, held.sha256), (6, Some(Digest::of(b"body 1"))));
    assert!(!format!("{downloads:?}").contains("hunter2"));

    drop(server);
    let step = house.step(Policy::Refuse, downloads.clone()).await;
    assert_eq!(step.get(&url, &[]).await, (200, "body 1".to_owned()));
    assert_eq!(step.get(&url, &[("range", "bytes=2-3")]).await, (206, "dy".to_owned()));
    assert_eq!(step.get(&url, &[("if-none-match", "\"x\"")]).await, (304, String::new()));
    let (headers, head) = step.ask(reqwest::Method::HEAD, &url, &[]).await;
    assert_eq!((head, &headers["content-length"]), ((200, String::new()), &"6".parse().unwrap()));
    let (again, outcome) = step.end().await;
    assert!(outcome.is_pure() && outcome.refused.is_empty());
    assert_eq!(again, downloads);
}

#[tokio::test]
async fn what_is_not_held_is_refused_by_name_or_let_through_and_told() {
    let server = Server::start(|request, _| answer(200, &[], request.uri().path())).await;
    let house = House::new();
    let step = house.step(Policy::Refuse, Downloads::default()).await;
    let (status, words) = step.get(&server.url("/new?token=hunter2"), &[]).await;
    assert_eq!((status, words.contains(&server.url("/new,"))), (403, true), "{words}");
    let (_, (status, _)) = step.ask(reqwest::Method::POST, &server.url("/post"), &[]).await;
    assert_eq!((status, server.asked()), (403, 0));
    let (_, outcome) = step.end().await;
    assert_eq!(outcome.refused, [server.url("/new")].into());
    assert_eq!(outcome.declined, [format!("POST {}", server.url("/post"))].into());

    let step = house.step(Policy::Pass, Downloads::default()).await;
    assert_eq!(step.get(&server.url("/new"), &[]).await, (200, "/new".to_owned()));
    assert_eq!(step.ask(reqwest::Method::POST, &server.url("/post"), &[]).await.1, (200, "/post".to_owned()));
    let (downloads, outcome) = step.end().await;
    assert!(!outcome.is_pure() && downloads.runs.is_empty());
    let notes = house.notes.lock().unwrap().join("\n");
    assert!(notes.contains(&format!("the lock does not hold {}: it goes through", server.url("/new"))), "{notes}");
    assert!(notes.contains("POST"), "{notes}");
}

#[tokio::test]
async fn a_body_that_the_store_lost_is_had_again_and_must_be_what_it_was() {
    let server = Server::start(|request, number| match request.uri().path() {
        "/same" => answer(200, &[], "same"),
        "/gone" if number > 3 => answer(404, &[], ""),
        _ => answer(200, &[], &format!("body {number}")),
    })
    .await;
    let house = House::new();
    let urls = ["/same", "/changed", "/gone"].map(|path| server.url(path));
    let (downloads, _) = house.record(&urls).await;
    let lose =
        || downloads.runs[0].downloads.iter().for_each(|download| house.store.forget_blob(&download.sha256.unwrap()));
    lose();
    let step = house.step(Policy::Refuse, downloads.clone()).await;
    assert_eq!(step.get(&urls[0], &[("range", "bytes=1-2"), ("if-none-match", "\"x\"")]).await, (206, "am".to_owned()));
    assert!(!server.seen.lock().unwrap().contains_key("range"), "all of it is wanted");
    assert_eq!(step.get(&urls[1], &[]).await, (200, "cut".to_owned()), "no client has all of the other bytes");
    assert_eq!(step.get(&urls[2], &[]).await.0, 502);
    let (_, outcome) = step.end().await;
    let [changed, gone] = &outcome.moved[..] else { panic!("{outcome:?}") };
    assert_eq!((&changed.url, &changed.recorded), (&urls[1], &Digest::of(b"body 2").to_string()));
    assert_eq!(changed.now, Digest::of(b"body 5").to_string());
    assert_eq!((&gone.url, gone.now.as_str()), (&urls[2], "404"));

    // A file that was edited is as good as lost.
    std::fs::write(house.store.blob_path(&Digest::of(b"same")), b"sane").unwrap();
    let step = house.step(Policy::Refuse, downloads).await;
    assert_eq!(step.get(&urls[0], &[]).await, (200, "same".to_owned()));
}

#[tokio::test]
async fn in_one_recording_an_address_means_one_thing_and_what_is_not_there_yet_may_come() {
    let server = Server::start(|request, number| match request.uri().path() {
        "/late" if number < 5 => answer(404, &[], "no"),
        "/busy" if number < 8 => answer(503, &[], "later"),
        _ => answer(200, &[], &format!("{number}")),
    })
    .await;
    let house = House::new();
    let step = house.step(Policy::Record, Downloads::default()).await;
    let (index, late, busy) = (server.url("/index"), server.url("/late"), server.url("/busy"));
    assert_eq!(
        [step.get(&index, &[]).await, step.get(&index, &[]).await],
        [(200, "1".to_owned()), (200, "1".to_owned())]
    );
    assert_eq!(server.asked(), 1);
    for status in [404, 404, 404, 200] {
        assert_eq!(step.get(&late, &[]).await.0, status);
    }
    for status in [503, 503, 200] {
        assert_eq!(step.get(&busy, &[]).await.0, status);
    }
    let (downloads, _) = step.end().await;
    let statuses: Vec<_> = downloads.runs[0].downloads.iter().map(|download| download.status).collect();
    assert_eq!(statuses, [200, 200, 200]);
}

#[tokio::test]
async fn a_redirect_is_recorded_and_a_signature_in_it_is_not() {
    let server = Server::start(|request, number| match request.uri().path() {
        "/plain" => answer(302, &[("location", "/file?x=1")], "moved"),
        "/signed" => answer(307, &[("location", &format!("/file?X-Amz-Signature=abc{number}&x=1"))], ""),
        _ if request.uri().path() == "/file" => answer(200, &[], "file"),
        _ => answer(404, &[], "what is not there"),
    })
    .await;
    let house = House::new();
    let step = house.step(Policy::Record, Downloads::default()).await;
    assert_eq!(step.ask(reqwest::Method::GET, &server.url("/plain"), &[]).await.0["location"], "/file?x=1");
    let location = step.ask(reqwest::Method::GET, &server.url("/signed"), &[]).await.0["location"].clone();
    assert_eq!(location, "/file?X-Amz-Signature=abc2&x=1", "the step needs it now");
    step.get(&server.url(location.to_str().unwrap()), &[]).await;
    assert_eq!(step.get(&server.url("/none"), &[]).await, (404, String::new()));
    let (downloads, _) = step.end().await;
    assert!(!format!("{downloads:?}").contains("abc"), "{downloads:?}");

    let step = house.step(Policy::Refuse, downloads.clone()).await;
    let asked = server.asked();
    for path in ["/plain", "/signed"] {
        let (headers, _) = step.ask(reqwest::Method::GET, &server.url(path), &[]).await;
        let location =
            server.url("/").parse::<reqwest::Url>().unwrap().join(headers["location"].to_str().unwrap()).unwrap();
        assert_eq!(location.as_str(), server.url("/file?x=1"));
        assert_eq!(step.get(location.as_str(), &[]).await, (200, "file".to_owned()));
    }
    assert_eq!(step.get(&server.url("/none"), &[]).await, (404, String::new()));
    assert_eq!(server.asked(), asked);
    // Without the file a new signature is needed, and given.
    house.store.forget_blob(&Digest::of(b"file"));
    let location = step.ask(reqwest::Method::GET, &server.url("/signed"), &[]).await.0["location"].clone();
    assert!(location.to_str().unwrap().contains("abc"));
    assert_eq!(step.get(&server.url(location.to_str().unwrap()), &[]).await, (200, "file".to_owned()));
    assert!(step.end().await.1.moved.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_chosen_by_the_request_is_recorded_for_each() {
    let server = Server::start(|request, _| {
        let accept = request.headers().get("accept").map_or("", |accept| accept.to_str().unwrap());
        answer(200, &[("vary", "Accept, Cookie")], accept)
    })
    .await;
    let house = House::new();
    let step = house.step(Policy::Record, Downloads::default()).await;
    let url = server.url("/package");
    for _ in 0..2 {
        for accept in ["a/one", "a/two"] {
            assert_eq!(step.get(&url, &[("accept", accept), ("cookie", "hunter2")]).await, (200, accept.to_owned()));
        }
    }
    assert_eq!(server.asked(), 2);
    let (downloads, _) = step.end().await;
    assert!(!format!("{downloads:?}").contains("hunter2"));
    let step = house.step(Policy::Refuse, downloads).await;
    assert_eq!(step.get(&url, &[("accept", "a/two")]).await, (200, "a/two".to_owned()));
    assert_eq!(step.get(&url, &[("accept", "a/three")]).await.0, 403);
}

#[tokio::test]
async fn nobody_without_the_steps_token_is_served() {
    let server = Server::start(|_, _| answer(200, &[], "ok")).await;
    let house = House::new();
    let step = house.step(Policy::Pass, Downloads::default()).await;
    let address = step.replay.address();
    for proxy in [format!("http://{address}"), format!("http://step:{}@{address}", "0".repeat(32))] {
        let client = Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap()).build().unwrap();
        assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 407);
    }
    let itself = step.get(&format!("http://{address}/"), &[]).await;
    assert_eq!((itself.0, server.asked()), (508, 0));
    let proxy = step.session.variables()[0].1.clone();
    step.end().await;
    let client = Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap()).build().unwrap();
    // The proxy is gone with its step, or serves its token no more.
    assert!(client.get(server.url("/")).send().await.is_err());
}

#[tokio::test]
async fn a_secret_and_what_the_step_serves_itself_are_not_recorded() {
    let house = House::new();
    let outside = Server::start(|_, _| answer(200, &[], "private")).await;
    let step = house.step(Policy::Record, Downloads::default()).await;
    assert_eq!(step.get(&outside.url("/hunter22/simple"), &[]).await.0, 200);
    let own = Server::start(|_, number| answer(200, &[], &format!("state {number}"))).await;
    for state in ["state 1", "state 2"] {
        assert_eq!(step.get(&own.url("/"), &[]).await.1, state);
    }
    let (downloads, outcome) = step.end().await;
    assert!(downloads.runs.is_empty(), "{downloads:?}");
    assert_eq!(outcome.unheld, [format!("GET http://{}", outside.address)].into());
}

#[tokio::test]
async fn a_step_in_its_own_network_is_answered_there_and_reaches_what_it_serves_alone() {
    let house = House::new();
    let outside = Server::start(|_, _| answer(200, &[], "outside")).await;
    let step = house.step(Policy::Refuse, Downloads::default()).await;
    let own = Server::start(|request, number| answer(200, &[], &format!("{} {number}", request.method()))).await;
    let late = Server::start(|_, _| answer(200, &[], "this machine's")).await;
    // Of the ports of that network, 81 is served, by one whom its proxy alone can reach.
    let (address, door) = (own.address, step.session.door());
    let way_in = move |port| match port {
        81 => std::net::TcpStream::connect(address),
        _ => Err(std::io::ErrorKind::ConnectionRefused.into()),
    };
    let gate = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at_gate = step.session.variables()[0]
        .1
        .replace(&step.replay.address().to_string(), &gate.local_addr().unwrap().to_string());
    door.open(gate, Arc::new(way_in)).unwrap();
    let client = Client::builder().proxy(reqwest::Proxy::all(&at_gate).unwrap()).build().unwrap();
    let ask = async |method: reqwest::Method, url: &str| {
        let reply = client.request(method, url).body("x").send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    assert_eq!(ask(reqwest::Method::POST, "http://localhost:81/").await, (200, "POST 1".to_owned()));
    assert_eq!(client.get("http://127.0.0.1:81/?a").send().await.unwrap().text().await.unwrap(), "GET 2");
    // What this machine serves since then is as far away as anything else.
    assert_eq!(ask(reqwest::Method::POST, &late.url("/")).await.0, 502);
    assert_eq!(client.get(outside.url("/")).send().await.unwrap().status().as_u16(), 403);
    assert_eq!((outside.asked(), late.asked()), (0, 0));
    let (_, outcome) = step.end().await;
    assert_eq!(outcome.refused, [outside.url("/")].into());
    assert!(client.get("http://127.0.0.1:81/").send().await.is_err(), "the gate is shut");
}

#[tokio::test]
async fn a_hostile_server_has_its_limits() {
    let house = House::new();
    let long = "x".repeat(5000);
    let server = Server::start(move |request, _| match request.uri().path() {
        "/etag" => answer(200, &[("etag", &long)], "body"),
        "/cut" => answer(200, &[("content-length", "10"), ("content-type", "a/b")], "short"),
        "/elsewhere" => answer(302, &[("location", "file:///etc/passwd")], ""),
        _ => answer(206, &[("content-range", "bytes 0-3/10")], "body"),
    })
    .await;
    let step = house.step(Policy::Record, Downloads::default()).await;
    for path in ["/etag", "/elsewhere", "/part"] {
        step.get(&server.url(path), &[]).await;
    }
    let (downloads, outcome) = step.end().await;
    assert!(downloads.runs.is_empty(), "{downloads:?}");
    assert_eq!(outcome.recorded, (0, 0));
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_recorded_and_not_taken_for_a_whole_one() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort").await;
        }
    });
    let house = House::new();
    let step = house.step(Policy::Record, Downloads::default()).await;
    assert_eq!(step.get(&url, &[]).await, (200, "cut".to_owned()));
    let (downloads, outcome) = step.end().await;
    assert!(downloads.runs.is_empty());
    assert!(outcome.failed.iter().any(|failed| failed.starts_with(&url)), "{outcome:?}");
    server.abort();
}

#[tokio::test]
async fn over_tls_the_step_trusts_our_authority_and_we_the_servers() {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["files.test".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = service_fn(|request: Request<Incoming>| async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from([b"got ", &body[..]].concat()))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let house = House::new();
    let outward = Outward {
        hosts: vec![("files.test".to_owned(), [127, 0, 0, 1].into())],
        authorities: vec![authority.pem().into_bytes()],
        proxies: Vec::new(),
    };
    let url = format!("https://files.test:{port}/a");
    let step = |policy, downloads| {
        let (store, events, silence) = (house.store.clone(), Events::silent(), Duration::from_secs(5));
        let options = Options { store, events, downloads, policy, outward: outward.clone(), silence };
        async move {
            let replay = Replay::start(options).await.unwrap();
            let session = replay.open(&self::step(), Vec::new()).unwrap();
            let proxy = reqwest::Proxy::all(&session.variables()[0].1).unwrap();
            let trust = reqwest::Certificate::from_pem(replay.certificate().as_bytes()).unwrap();
            let client = Client::builder().proxy(proxy).tls_certs_only([trust]).build().unwrap();
            Step { replay, session, client }
        }
    };
    let recording = step(Policy::Record, Downloads::default()).await;
    assert_eq!(recording.get(&url, &[]).await, (200, "got ".to_owned()));
    let posted = recording.client.post(&url).body("this").send().await.unwrap().text().await.unwrap();
    assert_eq!(posted, "got this");
    let (downloads, outcome) = recording.end().await;
    assert_eq!(outcome.unheld, [format!("POST {url}")].into());
    server.abort();
    let replaying = step(Policy::Refuse, downloads).await;
    assert_eq!(replaying.get(&url, &[]).await, (200, "got ".to_owned()));
    assert_eq!(replaying.get(&format!("https://files.test:{port}/b"), &[]).await.0, 403);
}
