//! The cloud on loopback (`tests/stack/up`), asked what is in it by hand; and a listener between it and the program.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::place::{Place, world};
use crate::programs::said_by;

/// A cloud, and what it prints for its users to export.
pub struct Cloud {
    folder: PathBuf,
    env: BTreeMap<String, String>,
    /// A folder that goes with the test, where the cloud does too.
    own: Option<tempfile::TempDir>,
}

impl Cloud {
    /// The one that the whole test run shares: other tests' things are in it.
    pub fn shared() -> Self {
        Self::up(PathBuf::from(world("LOCUS_TEST_STACK")), None)
    }

    /// One in which nobody has been.
    pub fn own() -> Self {
        // The name of a socket in it may not be long.
        let own = tempfile::Builder::new().prefix("cloud-").tempdir_in("/var/tmp").expect("a folder");
        Self::up(own.path().join("stack"), Some(own))
    }

    fn up(folder: PathBuf, own: Option<tempfile::TempDir>) -> Self {
        let text = said_by(&world("LOCUS_TEST_STACK_UP"), &[path(&folder)]);
        let words = text.lines().filter_map(|line| line.strip_prefix("export ")).flat_map(str::split_whitespace);
        let pairs = words.map(|word| word.split_once('=').expect("NAME=VALUE"));
        Self { folder, env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), own }
    }

    /// A place whose user exported all of this.
    pub fn place(&self) -> Place {
        self.exported_to(Place::new())
    }

    pub fn exported_to(&self, mut place: Place) -> Place {
        let bases = place.vars["LOCUS_REGISTRY_ENDPOINTS"].clone();
        place.vars.extend(self.env.clone());
        let endpoints = format!("{bases},{}", self.env["LOCUS_REGISTRY_ENDPOINTS"]);
        place.var("LOCUS_REGISTRY_ENDPOINTS", endpoints);
        place
    }

    /// ECR's host, as images name it.
    pub fn registry(&self) -> &str {
        self.env["LOCUS_REGISTRY_ENDPOINTS"].split('=').next().expect("HOST=URL")
    }

    /// Stands between a place and this cloud, and hears what is asked.
    pub fn overheard(&self, place: &mut Place) -> Listener {
        let listener = Listener::start(&self.env["AWS_ENDPOINT_URL"]);
        place.var("AWS_ENDPOINT_URL", format!("http://{}", listener.address));
        listener
    }

    /// One call of a JSON service.
    #[track_caller]
    pub fn ask(&self, target: &str, body: Value) -> Value {
        let service = match target.split('.').next().expect("a prefix") {
            "AmazonEC2ContainerRegistry_V20150921" => "ecr",
            "AmazonEC2ContainerServiceV20141113" => "ecs",
            "Logs_20140328" => "logs",
            "secretsmanager" => "secretsmanager",
            other => panic!("which service is {other}?"),
        };
        let header = format!("X-Amz-Target: {target}");
        let body = body.to_string();
        let answer =
            self.call(service, &["-H", &header, "-H", "Content-Type: application/x-amz-json-1.1", "-d", &body]);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{target}: {error}: {answer}"))
    }

    /// One call of IAM, which speaks XML.
    #[track_caller]
    pub fn iam(&self, query: &str) -> String {
        self.call("iam", &["-d", &format!("{query}&Version=2010-05-08")])
    }

    /// One call of EC2, and what an element of its answer says.
    #[track_caller]
    pub fn ec2(&self, query: &str, element: &str) -> String {
        let xml = self.call("ec2", &["-d", &format!("{query}&Version=2016-11-15")]);
        let text = xml.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once("</"));
        text.unwrap_or_else(|| panic!("{query}: no {element}: {xml}")).0.to_owned()
    }

    /// A JSON document in IAM's XML.
    #[track_caller]
    pub fn iam_document(&self, query: &str, element: &str) -> Value {
        let xml = self.iam(query);
        let text = xml.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once("</"));
        let (text, _) = text.unwrap_or_else(|| panic!("{query}: no {element}: {xml}"));
        serde_json::from_str(&percent_decoded(text)).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// One call of Scheduler, which speaks REST; nothing where it says that there is no such thing.
    #[track_caller]
    pub fn scheduler(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let answer = self.call_at(path, "scheduler", &["-X", method, "-d", &body.to_string()]);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
        (answer["__type"] != "ResourceNotFoundException").then_some(answer)
    }

    fn call(&self, service: &str, args: &[&str]) -> String {
        self.call_at("/", service, args)
    }

    fn call_at(&self, path: &str, service: &str, args: &[&str]) -> String {
        // Nobody checks the signature; the service is read out of it.
        let scope = format!("Credential=test/20260101/eu-west-1/{service}/aws4_request");
        let by = format!("Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none");
        let url = format!("{}{path}", self.env["AWS_ENDPOINT_URL"]);
        said_by("curl", &[&["-sS", "--noproxy", "*", &url, "-H", &by][..], args].concat())
    }

    /// What the registry was asked so far, `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("requests.jsonl")).unwrap_or_default();
        let line = |line: &str| {
            let json: Value = serde_json::from_str(line).expect("a line of JSON");
            format!("{} {}", json["m"].as_str().unwrap_or_default(), json["p"].as_str().unwrap_or_default())
        };
        log.lines().map(line).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if self.own.is_some() {
            // What cannot be ended here is ended by nobody; a test that fails here would hide why it failed before.
            let _ = Command::new(world("LOCUS_TEST_STACK_DOWN")).args([path(&self.folder), "remove"]).status();
        }
    }
}

/// Passes calls on to AWS, and knows their names; some it answers itself.
pub struct Listener {
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
    denied: Arc<Mutex<Vec<&'static str>>>,
    keys: Arc<Mutex<Vec<String>>>,
    spoiled: Arc<Mutex<Vec<Spoil>>>,
}

/// A body that holds `mark` has `to` for `from`, which is as long, once.
struct Spoil {
    mark: String,
    from: &'static str,
    to: &'static str,
}

impl Listener {
    fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let this = Self {
            address,
            calls: Arc::default(),
            denied: Arc::default(),
            keys: Arc::default(),
            spoiled: Arc::default(),
        };
        let (heard, refused) = (this.calls.clone(), this.denied.clone());
        let (known, spoils) = (this.keys.clone(), this.spoiled.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (upstream, heard, refused) = (upstream.clone(), heard.clone(), refused.clone());
                let (known, spoils) = (known.clone(), spoils.clone());
                std::thread::spawn(move || converse(stream, &upstream, &heard, &refused, (&known, &spoils)));
            }
        });
        this
    }

    /// The keys that calls were signed with, in the order of the calls.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().expect("nobody panics while holding it").clone()
    }

    /// The calls since the last time this was asked.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().expect("nobody panics while holding it"))
    }

    pub fn has_heard(&self, call: &str) -> bool {
        self.count(call) > 0
    }

    pub fn count(&self, call: &str) -> usize {
        self.calls.lock().expect("nobody panics while holding it").iter().filter(|heard| *heard == call).count()
    }

    /// The next body that holds `mark` has `to` in place of `from`.
    pub fn spoil_once(&self, mark: String, from: &'static str, to: &'static str) {
        assert_eq!(from.len(), to.len(), "the length stands in the head");
        self.spoiled.lock().expect("nobody panics while holding it").push(Spoil { mark, from, to });
    }

    /// The caller may not make this call.
    pub fn deny(&self, call: &'static str) {
        self.denied.lock().expect("nobody panics while holding it").push(call);
    }

    /// It may again.
    pub fn allow(&self, call: &str) {
        self.denied.lock().expect("nobody panics while holding it").retain(|denied| *denied != call);
    }
}

/// One call on each connection, so that an answer ends where the connection does.
fn converse(
    client: TcpStream,
    upstream: &str,
    heard: &Mutex<Vec<String>>,
    denied: &Mutex<Vec<&'static str>>,
    (keys, spoiled): (&Mutex<Vec<String>>, &Mutex<Vec<Spoil>>),
) {
    let mut reader = BufReader::new(client.try_clone().expect("a second handle"));
    let (mut head, mut length, mut call) = (String::new(), 0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if lower.starts_with("x-amz-target:") {
            call = line.trim_end().rsplit('.').next().unwrap_or_default().to_owned();
        }
        if let Some((_, rest)) = line.split_once("Credential=") {
            let key = rest.split('/').next().unwrap_or_default().to_owned();
            keys.lock().expect("nobody panics while holding it").push(key);
        }
        if lower.starts_with("connection:") {
            continue;
        }
        if line == "\r\n" {
            break;
        }
        // A proxy is told the whole address (RFC 9112, 3.2.2).
        if head.is_empty()
            && let Some((method, rest)) = line.split_once(" http://")
        {
            let path = rest.find('/').map_or("/ HTTP/1.1\r\n", |at| &rest[at..]);
            line = format!("{method} {path}");
        }
        head += &line;
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    {
        let mut spoiled = spoiled.lock().expect("nobody panics while holding it");
        let text = String::from_utf8_lossy(&body).into_owned();
        if let Some(at) = spoiled.iter().position(|spoil| text.contains(&spoil.mark)) {
            let Spoil { from, to, .. } = spoiled.remove(at);
            assert!(text.contains(from), "{text}");
            body = text.replace(from, to).into_bytes();
        }
    }
    if call.is_empty() {
        let form = String::from_utf8_lossy(&body).into_owned();
        call = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned();
    }
    if call.is_empty() {
        call = of_scheduler(&head);
    }
    heard.lock().expect("nobody panics while holding it").push(call.clone());
    let refused = denied.lock().expect("nobody panics while holding it").contains(&call.as_str());
    let mut client = client;
    if refused {
        let why = format!("User: arn:aws:iam::123456789012:root is not authorized to perform: {call}");
        let text = match head.to_ascii_lowercase().contains("x-amz-target:") {
            true => serde_json::json!({ "__type": "AccessDeniedException", "message": why }).to_string(),
            // EC2's form of it.
            false => format!(
                "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>{why}</Message></Error></Errors>\
                 </Response>"
            ),
        };
        let _ = write!(client, "{}", answer(400, "application/x-amz-json-1.1", &text));
        return;
    }
    let mut cloud = TcpStream::connect(upstream).expect("the cloud is up");
    let sent =
        cloud.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).and_then(|()| cloud.write_all(&body));
    if sent.is_ok() {
        // A client that hung up needs no answer.
        let _ = std::io::copy(&mut cloud, &mut client);
    }
}

/// The name of a call of Scheduler, which has none: its method and path mean it.
fn of_scheduler(head: &str) -> String {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let verb = match method {
        "POST" => "Create",
        "PUT" => "Update",
        "DELETE" => "Delete",
        _ => "Get",
    };
    let path = path.split('?').next().unwrap_or_default();
    match path.split('/').nth(1).unwrap_or_default() {
        "schedules" => format!("{verb}Schedule"),
        "schedule-groups" => format!("{verb}ScheduleGroup"),
        "tags" => format!("{verb}Tags"),
        other => other.to_owned(),
    }
}

/// A server of a test's own: it says `answer` of the head of each request, in small letters, and of nothing else 404.
pub fn scripted(answer_to: impl Fn(&str) -> Option<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                head += &line;
                line.clear();
            }
            let said = answer_to(&head.to_ascii_lowercase());
            let said = said.unwrap_or_else(|| answer(404, "text/plain", "there is none"));
            // A client that hung up needs no answer.
            let _ = stream.write_all(said.as_bytes());
        }
    });
    address
}

/// A registry that knows every repository and takes nothing from anybody.
pub fn registry_that_refuses() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut first = String::new();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if first.is_empty() {
                    first.clone_from(&line);
                }
                line.clear();
            }
            let refusal = r#"{"errors":[{"code":"DENIED","message":"User: arn:aws:iam::123456789012:root is not authorized to perform: ecr:InitiateLayerUpload"}]}"#;
            let text = match first.split(' ').next() {
                Some("POST" | "PUT" | "PATCH") => answer(403, "application/json", refusal),
                _ if first.contains("/v2/ ") => answer(200, "application/json", "{}"),
                _ => answer(404, "application/json", "{}"),
            };
            let _ = stream.write_all(text.as_bytes());
        }
    });
    address
}

/// AWS as it meets keys that are nobody's, and a session that is over.
pub fn sts_that_knows_nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let (mut line, mut head) = (String::new(), String::new());
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                head += &line.to_ascii_lowercase();
                line.clear();
            }
            let (code, message) = match head.contains("x-amz-security-token:") {
                true => ("ExpiredToken", "The security token included in the request is expired"),
                false => ("InvalidClientTokenId", "The security token included in the request is invalid."),
            };
            let text = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
            );
            let _ = stream.write_all(answer(403, "text/xml", &text).as_bytes());
        }
    });
    address
}

pub fn answer(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).expect("two hex digits"));
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).expect("it is UTF-8")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("it is named by us")
}
