//! A task definition that the user wrote, in the AWS CLI's own JSON: what of it decides about the rest of the loader is
//! read out of it; all the rest goes to ECS as it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document::Document;
use super::normal::units;
use super::policy::Scope;
use super::secret_spec::{BadSecret, SecretSpec};

/// The variables that are ours to fill in, besides those of the scope.
const OURS: [&str; 7] =
    ["DOCKERNAME", "IMAGE", "REPOSITORYURI", "EXECUTIONROLEARN", "TASKROLEARN", "LOGGROUP", "SECRETSRESOURCEARN"];

/// A task definition with room for what is known only later.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    document: Document,
    /// The container that is the loader.
    pub(super) container: String,
    pub(super) cpu: Option<u32>,
    pub(super) memory: Option<u32>,
    pub(super) ephemeral_storage: Option<u32>,
    pub(super) execution_role: Option<String>,
    pub(super) task_role: Option<String>,
    pub(super) log_group: Option<String>,
    pub(super) log_prefix: Option<String>,
    /// Fargate's word for the CPU that it is for.
    pub(super) architecture: Option<String>,
    /// Names of the loader's plain variables.
    pub(super) variables: BTreeSet<String>,
    pub(super) secrets: Vec<SecretSpec>,
    /// ARNs of secrets that the other containers, or the logs, are given.
    pub(super) other_secrets: BTreeSet<String>,
    /// Parameters of Systems Manager that any container is given: names or ARNs.
    pub(super) parameters: BTreeSet<String>,
}

/// Why a task definition of the user's cannot be the loader's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    #[error("its family is {is}, and the loader is {name}")]
    Family { is: String, name: String },
    #[error("it has no containerDefinitions")]
    NoContainer,
    #[error("none of its containers ({list}) is called {name}, as the loader is")]
    NoLoader { list: String, name: String },
    #[error("the loader's container {0} is not essential: the task would not end with it")]
    NotEssential(String),
    #[error("its {field} is {is}; a loader takes {takes} alone")]
    NotFargate { field: &'static str, is: String, takes: &'static str },
    #[error("its {field} `{}` is no size", .is.escape_debug())]
    Size { field: &'static str, is: String },
    #[error("the container {container} logs by {driver}; locus-push follows awslogs alone")]
    LogDriver { container: String, driver: String },
    #[error("the container {container} logs to {is}, and the loader to {wanted}: one log group serves a loader")]
    LogGroup { container: String, is: String, wanted: String },
    #[error("the container {0} is given $SECRETSRESOURCEARN, which is the loader's own secret: write its ARN there")]
    OthersSecret(String),
    #[error(transparent)]
    Secret(#[from] BadSecret),
}

impl Template {
    /// What a definition may name and need not be set.
    pub fn variables() -> Vec<&'static str> {
        Scope::VARIABLES.into_iter().chain(OURS).collect()
    }

    pub(super) fn new(document: Document, name: &str) -> Result<Self, BadTemplate> {
        let early = document.fill(&BTreeMap::from([("DOCKERNAME", name.to_owned())]));
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(is) = text(&early["family"]).filter(|is| is != name) {
            return Err(BadTemplate::Family { is, name: name.to_owned() });
        }
        let platform = &early["runtimePlatform"];
        for (field, value, takes) in [
            ("networkMode", &early["networkMode"], "awsvpc"),
            ("requiresCompatibilities", &early["requiresCompatibilities"], "FARGATE"),
            ("operatingSystemFamily", &platform["operatingSystemFamily"], "LINUX"),
        ] {
            let words: Vec<&str> = match value {
                Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect(),
            };
            if !words.is_empty() && !words.contains(&takes) {
                return Err(BadTemplate::NotFargate { field, is: words.join(", "), takes });
            }
        }
        let none = Vec::new();
        let containers = early["containerDefinitions"].as_array().unwrap_or(&none);
        let own = match &containers[..] {
            [] => return Err(BadTemplate::NoContainer),
            [one] => one,
            several => several.iter().find(|container| container["name"] == name).ok_or_else(|| {
                let list = several.iter().filter_map(|container| container["name"].as_str()).collect::<Vec<_>>();
                BadTemplate::NoLoader { list: list.join(", "), name: name.to_owned() }
            })?,
        };
        let container = text(&own["name"]).unwrap_or_else(|| name.to_owned());
        if own["essential"] == false {
            return Err(BadTemplate::NotEssential(container));
        }
        let log = &own["logConfiguration"];
        if let Some(driver) = text(&log["logDriver"]).filter(|driver| driver != "awslogs") {
            return Err(BadTemplate::LogDriver { container, driver });
        }
        let size = |field: &'static str, unit: &str| match text(&early[field]) {
            None => Ok(None),
            Some(is) => units(&is, unit).map(Some).ok_or(BadTemplate::Size { field, is }),
        };
        let role = |field: &str| text(&early[field]).and_then(|arn| role_name(&arn));
        let variables = own["environment"].as_array().into_iter().flatten().filter_map(|pair| text(&pair["name"]));
        let mut template = Self {
            cpu: size("cpu", "vcpu")?,
            memory: size("memory", "gb")?,
            ephemeral_storage: early["ephemeralStorage"]["sizeInGiB"].as_u64().and_then(|gib| gib.try_into().ok()),
            execution_role: role("executionRoleArn"),
            task_role: role("taskRoleArn"),
            log_group: text(&log["options"]["awslogs-group"]).filter(|group| group != "${LOGGROUP}"),
            log_prefix: text(&log["options"]["awslogs-stream-prefix"]),
            architecture: text(&platform["cpuArchitecture"]),
            variables: variables.collect(),
            secrets: Vec::new(),
            other_secrets: BTreeSet::new(),
            parameters: BTreeSet::new(),
            container,
            document,
        };
        for container in containers {
            template.take_secrets(container, container == own)?;
        }
        Ok(template)
    }

    /// The secrets of a container, wherever ECS fetches them from.
    fn take_secrets(&mut self, container: &Value, own: bool) -> Result<(), BadTemplate> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let of_log = list(&container["logConfiguration"]["secretOptions"]);
        let of_container = list(&container["secrets"]);
        for (secret, own) in of_container.iter().map(|secret| (secret, own)).chain(of_log.iter().map(|s| (s, false))) {
            let (Some(name), Some(from)) = (secret["name"].as_str(), secret["valueFrom"].as_str()) else { continue };
            match from.strip_prefix("${SECRETSRESOURCEARN}") {
                Some(key) if own => {
                    let key = key.trim_end_matches(':');
                    self.secrets.push(SecretSpec::parse(name, &format!("DBCONNECTION{key}"))?);
                }
                Some(_) => {
                    let other = container["name"].as_str().unwrap_or_default().to_owned();
                    return Err(BadTemplate::OthersSecret(other));
                }
                None if from.contains(":secretsmanager:") && own => self.secrets.push(SecretSpec::parse(name, from)?),
                None if from.contains(":secretsmanager:") => {
                    self.other_secrets.insert(from.split(':').take(7).collect::<Vec<_>>().join(":"));
                }
                // A name alone is that of a parameter here, and not of a secret.
                None => drop(self.parameters.insert(from.to_owned())),
            }
        }
        Ok(())
    }

    /// All containers log to one group: the one that is made, kept and followed.
    pub(super) fn check_log_group(&self, wanted: &str, name: &str) -> Result<(), BadTemplate> {
        let ours = BTreeMap::from([("DOCKERNAME", name.to_owned()), ("LOGGROUP", wanted.to_owned())]);
        let filled = self.document.fill(&ours);
        for container in filled["containerDefinitions"].as_array().into_iter().flatten() {
            let group = container["logConfiguration"]["options"]["awslogs-group"].as_str();
            if let Some(is) = group.filter(|group| *group != wanted) {
                let container = container["name"].as_str().unwrap_or_default().to_owned();
                return Err(BadTemplate::LogGroup { container, is: is.to_owned(), wanted: wanted.to_owned() });
            }
        }
        Ok(())
    }

    /// The parameters' ARNs, for the execution role.
    pub(super) fn parameter_arns(&self, scope: &Scope) -> BTreeSet<String> {
        let arn = |text: &String| match text.starts_with("arn:") {
            true => text.clone(),
            false => scope.arn("ssm", &format!("parameter/{}", text.trim_start_matches('/'))),
        };
        self.parameters.iter().map(arn).collect()
    }

    /// The definition with the loader's container at its head; `own` is laid over that container, and `all` over the
    /// definition. What `own` has in its lists of named things comes before what stands there.
    pub(super) fn render(&self, ours: &BTreeMap<&str, String>, all: Value, own: Value) -> Value {
        let mut definition = self.document.fill(ours);
        let mut containers = match definition["containerDefinitions"].take() {
            Value::Array(containers) => containers,
            _ => Vec::new(),
        };
        let at = containers.iter().position(|c| c["name"] == self.container.as_str()).unwrap_or(0);
        let mut container = if at < containers.len() { containers.remove(at) } else { json!({}) };
        let stated = container.clone();
        lay(&mut container, own);
        // How the log is written is the user's to say.
        for key in ["mode", "awslogs-stream-prefix"] {
            if let Some(word) = stated["logConfiguration"]["options"].get(key) {
                container["logConfiguration"]["options"][key] = word.clone();
            }
        }
        // So is the container's part of the memory; and beside other containers nobody else knows it.
        if !stated["memory"].is_null() || !stated["memoryReservation"].is_null() || !containers.is_empty() {
            container["memoryReservation"] = stated["memoryReservation"].clone();
        }
        containers.insert(0, container);
        lay(&mut definition, all);
        definition["containerDefinitions"] = containers.into();
        without_nulls(&mut definition);
        definition
    }
}

/// A field without a value is one that ECS is not told of.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Lays fields over others: tables by key, lists of named things by name, all else in its place.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) if over.iter().all(is_named) && under.iter().all(is_named) => {
            for item in over {
                under.retain(|other| name(other) != name(&item));
                under.push(item);
            }
        }
        (under, over) => *under = over,
    }
}

fn name(item: &Value) -> Option<&str> {
    item["name"].as_str().or_else(|| item["key"].as_str())
}

fn is_named(item: &Value) -> bool {
    name(item).is_some()
}

/// The name in a role's ARN; a bare name is one. None where the ARN is ours to fill in.
fn role_name(arn: &str) -> Option<String> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    (!name.contains("${")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::scope;
    use super::*;

    /// What the page of commands registers.
    fn page() -> Value {
        json!({
            "family": "$DOCKERNAME",
            "executionRoleArn": "arn:aws:iam::$AWSACCOUNT:role/${DOCKERNAME}-exec",
            "cpu": "1 vCPU", "memory": "2 GB",
            "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc",
            "containerDefinitions": [{
                "name": "$DOCKERNAME", "image": "$REPOSITORYURI",
                "command": ["node", "load.js"],
                "environment": [{ "name": "FILTER", "value": "x" }],
                "secrets": [
                    { "name": "DB", "valueFrom": "$SECRETSRESOURCEARN:url::" },
                    { "name": "TOKEN", "valueFrom": "/prod/token" },
                ],
                "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "testloader" } },
            }],
        })
    }

    fn template(change: impl FnOnce(&mut Value)) -> Result<Template, BadTemplate> {
        let mut value = page();
        change(&mut value);
        let document = Document::new(value, &Template::variables(), |_| None).expect("all are ours");
        Template::new(document, "a")
    }

    #[test]
    fn what_decides_about_the_loader_is_read_out_of_it() {
        let read = template(|_| {}).unwrap();
        assert_eq!((read.cpu, read.memory, read.container.as_str()), (Some(1024), Some(2048), "a"));
        assert_eq!((read.execution_role.as_deref(), read.task_role), (Some("a-exec"), None));
        assert_eq!(read.log_group.as_deref(), Some("testloader"));
        assert_eq!(read.secrets, [SecretSpec::parse("DB", "DBCONNECTION:url").unwrap()]);
        let parameters = template(|_| {}).unwrap().parameter_arns(&scope());
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/token";
        assert_eq!(parameters, BTreeSet::from([arn.to_owned()]));
    }

    #[test]
    fn what_is_no_loader_on_fargate_is_refused() {
        let refused = |at: &str, value: Value| {
            let change = |all: &mut Value| {
                let (parent, key) = at.rsplit_once('/').expect("a path");
                all.pointer_mut(parent).expect("it is there")[key] = value;
            };
            template(change).expect_err(at).to_string()
        };
        let own = "/containerDefinitions/0";
        assert_eq!(refused("/family", json!("b")), "its family is b, and the loader is a");
        assert_eq!(refused("/networkMode", json!("bridge")), "its networkMode is bridge; a loader takes awsvpc alone");
        assert_eq!(refused("/cpu", json!("big")), "its cpu `big` is no size");
        assert_eq!(refused("/containerDefinitions", json!([])), "it has no containerDefinitions");
        assert_eq!(
            refused("/containerDefinitions", json!([{ "name": "x" }, { "name": "y" }])),
            "none of its containers (x, y) is called a, as the loader is"
        );
        assert!(refused(&format!("{own}/essential"), json!(false)).contains("is not essential"));
        assert!(
            refused(&format!("{own}/logConfiguration"), json!({ "logDriver": "splunk" })).contains("logs by splunk")
        );
    }

    #[test]
    fn the_loaders_container_stands_first_and_ours_is_laid_over_it() {
        let read = template(|all| {
            let sidecar = json!({ "name": "proxy", "image": "envoy", "essential": false });
            all["containerDefinitions"].as_array_mut().expect("a list").insert(0, sidecar);
        });
        let own = json!({
            "image": "i@sha256:0",
            "memoryReservation": 512,
            "environment": [{ "name": "FILTER", "value": "y" }, { "name": "AWSREGION", "value": "r" }],
            "logConfiguration": { "options": { "mode": "blocking" } },
        });
        let ours = BTreeMap::from([("DOCKERNAME", "a".to_owned())]);
        let definition = read.unwrap().render(&ours, json!({ "cpu": "512" }), own);
        assert_eq!((&definition["cpu"], &definition["family"]), (&json!("512"), &json!("a")));
        let [own, sidecar] = &definition["containerDefinitions"].as_array().expect("a list")[..] else { panic!() };
        assert_eq!(*sidecar, json!({ "name": "proxy", "image": "envoy", "essential": false }));
        assert_eq!((&own["image"], &own["command"]), (&json!("i@sha256:0"), &json!(["node", "load.js"])));
        assert_eq!(
            own["environment"],
            json!([{ "name": "FILTER", "value": "y" }, { "name": "AWSREGION", "value": "r" }])
        );
        assert_eq!(own.get("memoryReservation"), None);
        assert_eq!(own["logConfiguration"]["options"], json!({ "awslogs-group": "testloader", "mode": "blocking" }));
    }
}
