//! A cloud that answers what a test tells it to, over HTTP on loopback, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::policy::Scope;
use super::{Description, Ground, Job, Loader, SecretSpec};
use crate::aws::{Cloud, Essentials, Revision};
use crate::event::{Event, Events};

/// The cloud as a script: call → its answers, the last of which is given for ever. `Call word` is a call whose body has
/// that word, and comes before `Call`.
#[derive(Default)]
pub(super) struct Script {
    answers: BTreeMap<&'static str, VecDeque<Answer>>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    body: String,
}

/// One call that was made: its name, and its body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub call: String,
    pub body: Value,
}

pub(super) struct Played {
    pub cloud: Cloud,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Script {
    pub fn answer(mut self, call: &'static str, body: Value) -> Self {
        self.answers.entry(call).or_default().push_back(Answer { status: 200, body: body.to_string() });
        self
    }

    /// The XML of IAM.
    pub fn xml(mut self, call: &'static str, body: &str) -> Self {
        let name = call.split(' ').next().unwrap_or(call);
        let body = format!("<{name}Response><{name}Result>{body}</{name}Result></{name}Response>");
        self.answers.entry(call).or_default().push_back(Answer { status: 200, body });
        self
    }

    pub fn error(mut self, call: &'static str, status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "__type": code, "message": message }).to_string();
        self.answers.entry(call).or_default().push_back(Answer { status, body });
        self
    }

    pub fn xml_error(mut self, call: &'static str, status: u16, code: &str) -> Self {
        let body =
            format!("<ErrorResponse><Error><Code>{code}</Code><Message>{code}</Message></Error></ErrorResponse>");
        self.answers.entry(call).or_default().push_back(Answer { status, body });
        self
    }

    /// Lets a test give a call other answers.
    pub fn forget(&mut self, call: &'static str) {
        self.answers.remove(call);
    }

    pub async fn play(self) -> Played {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(self));
        let server = tokio::spawn(serve(listener, script, asked.clone()));
        Played { cloud: Cloud::played_at(&format!("http://{address}")), asked, server }
    }

    fn next(&mut self, call: &str, body: &str) -> Answer {
        let fits = |key: &str| match key.split_once(' ') {
            Some((name, word)) => name == call && body.contains(word),
            None => key == call,
        };
        let Some((_, answers)) = self.answers.iter_mut().rev().find(|(key, _)| fits(key)) else {
            let body = json!({ "__type": "NotInTheScript", "message": call }).to_string();
            return Answer { status: 400, body };
        };
        let last = answers.len() == 1;
        let answer = if last { answers.front().cloned() } else { answers.pop_front() };
        answer.expect("a call is in the script with one answer at least")
    }
}

impl Played {
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics while it holds this").clone()
    }

    pub fn asked_for(&self, call: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|asked| asked.call == call).map(|asked| asked.body).collect()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (script, asked) = (script.clone(), asked.clone());
        let service = service_fn(move |request| respond(request, script.clone(), asked.clone()));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
    let body =
        Limited::new(request.into_body(), 1 << 20).collect().await.expect("the SDK sends whole bodies").to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    // JSON services name the call in a header, Query services in the form.
    let (call, body) = match target {
        Some(target) => {
            let call = target.rsplit('.').next().unwrap_or_default().to_owned();
            (call, serde_json::from_str(&text).unwrap_or(Value::Null))
        }
        None => {
            let call = text.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned();
            (call, Value::String(text.clone()))
        }
    };
    let answer = script.lock().expect("no test panics while it holds this").next(&call, &text);
    asked.lock().expect("no test panics while it holds this").push(Asked { call, body });
    let kind = if answer.body.starts_with('<') { "text/xml" } else { "application/x-amz-json-1.1" };
    let response = Response::builder().status(answer.status).header("content-type", kind);
    Ok(response.body(Full::new(answer.body.into())).expect("status and headers are well-formed"))
}

pub(super) const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:DBCONNECTION-AbCdEf";
pub(super) const TASK: &str = "arn:aws:ecs:eu-west-1:123456789012:task/os_opendata_cluster/0123abcd";

pub(super) fn os_opendata() -> Loader {
    loader(|_| {})
}

pub(super) fn loader(change: impl FnOnce(&mut Description)) -> Loader {
    let mut description = Description {
        name: "os_opendata".into(),
        subnets: vec!["subnet-1".into(), "subnet-2".into()],
        security_groups: vec!["sg-1".into()],
        secrets: vec![SecretSpec::named("DBCONNECTION").expect("it is a name")],
        ..Description::default()
    };
    change(&mut description);
    Loader::new(description).expect("a test's loader is a good one")
}

pub(super) fn scope() -> Scope {
    Scope { partition: "aws".into(), region: "eu-west-1".into(), account: "123456789012".into() }
}

pub(super) fn ground() -> Ground {
    Ground {
        repository_uri: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/locus_data_loaders".into(),
        cluster: "os_opendata_cluster".into(),
        log_group: "os_opendata".into(),
        execution_role_arn: "arn:aws:iam::123456789012:role/os_opendata-task-execution-role".into(),
        task_role_arn: "arn:aws:iam::123456789012:role/os_opendata-task-role".into(),
        schedule_role_arn: None,
        secrets: BTreeMap::from([("DBCONNECTION".into(), ARN.into())]),
        new_role: false,
    }
}

/// The revision that would run there.
pub(super) fn job(new_role: bool) -> Job {
    let options = [("awslogs-group", "os_opendata"), ("awslogs-stream-prefix", "os_opendata")];
    let essentials = Essentials {
        cpu: "256".into(),
        memory: "512".into(),
        container: "os_opendata".into(),
        image: "i".into(),
        memory_reservation: Some(512),
        log_driver: "awslogs".into(),
        log_options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    let arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata:1".to_owned();
    let network = os_opendata().network().clone();
    let revision = Revision { arn, definition: Value::Null, essentials, tags: Vec::new() };
    Job::new("os_opendata", revision, &ground().cluster, "eu-west-1", network, new_role)
}

/// Events that are remembered.
pub(super) fn recorded() -> (Events, Arc<Mutex<Vec<Event>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    (Events::new(move |event| into.lock().expect("no test panics while it holds this").push(event)), seen)
}
