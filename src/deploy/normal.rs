//! Task definitions in a form in which two are equal exactly when the same task would run.
//!
//! The server fills in what was left out (`cpu: 0`, `portMappings: []`, `essential: true`, …) and adds facts of its own
//! (`revision`, `status`, `requiresAttributes`, …), so that what was sent is never what is described.

use serde_json::{Map, Value, json};

use super::fields::{self, Field};

/// What the server knows of a revision, and nobody wants.
const FACTS: [&str; 10] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    // Compared for nothing: the console copies them to the revision that a person edits.
    "tags",
    "deleteRequestedAt",
];

/// Tables whose keys are the user's, and whose empty texts mean something.
const TABLES: [&str; 5] = ["environment", "dockerLabels", "options", "driverOpts", "labels"];

/// The fields in which `wanted` would run another task than `is`. Those of the container `own` are named without it.
pub(super) fn differences(is: &Value, wanted: &Value, own: &str) -> Vec<Field> {
    let prefix = format!("containerDefinitions {own} ");
    let shorter = |mut field: Field| {
        if let Some(name) = field.name.strip_prefix(&prefix) {
            // The task has these two of its own.
            let of = if matches!(name, "cpu" | "memory") { "container " } else { "" };
            field.name = format!("{of}{name}");
        }
        field
    };
    fields::differences(&normal(is), &normal(wanted)).into_iter().map(shorter).collect()
}

fn normal(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Value::Object(fields) = &mut definition {
        FACTS.iter().for_each(|fact| drop(fields.remove(*fact)));
        for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
            if let Some(units) = fields.get(key).and_then(Value::as_str).and_then(|text| units(text, unit)) {
                fields.insert(key.to_owned(), units.to_string().into());
            }
        }
        let platform = fields.entry("runtimePlatform").or_insert_with(|| json!({}));
        default(platform, "cpuArchitecture", "X86_64");
        default(platform, "operatingSystemFamily", "LINUX");
        drop_where(fields, "ephemeralStorage", |disk| disk["sizeInGiB"] == 20);
        for container in fields.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
            normalize_container(container);
        }
        for volume in fields.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            normalize_volume(volume);
        }
    }
    without_nothing(&mut definition, false);
    definition
}

fn normalize_container(container: &mut Value) {
    let Value::Object(fields) = container else { return };
    drop_where(fields, "cpu", |cpu| *cpu == 0);
    drop_where(fields, "versionConsistency", |word| *word == "enabled");
    // Here it is the other answer that stands for nothing.
    if fields.get("essential") == Some(&json!(false)) {
        fields.insert("essential".to_owned(), "false".into());
    } else {
        fields.remove("essential");
    }
    if let Some(Value::Object(check)) = fields.get_mut("healthCheck") {
        for (key, usual) in [("interval", 30), ("timeout", 5), ("retries", 3), ("startPeriod", 0)] {
            drop_where(check, key, |value| *value == usual);
        }
    }
    for port in fields.get_mut("portMappings").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(port) = port else { continue };
        // In awsvpc they are one.
        let own = port.get("containerPort").cloned();
        drop_where(port, "hostPort", |host| Some(host) == own.as_ref() || *host == 0);
        drop_where(port, "protocol", |protocol| *protocol == "tcp");
    }
}

fn normalize_volume(volume: &mut Value) {
    if let Some(Value::Object(efs)) = volume.get_mut("efsVolumeConfiguration") {
        drop_where(efs, "rootDirectory", |path| *path == "/");
        drop_where(efs, "transitEncryption", |word| *word == "DISABLED");
        if let Some(Value::Object(login)) = efs.get_mut("authorizationConfig") {
            drop_where(login, "iam", |word| *word == "DISABLED");
        }
    }
}

fn default(within: &mut Value, key: &str, usual: &str) {
    if within[key].as_str().is_none_or(str::is_empty) {
        within[key] = usual.into();
    }
}

fn drop_where(fields: &mut Map<String, Value>, key: &str, usual: impl FnOnce(&Value) -> bool) {
    if fields.get(key).is_some_and(usual) {
        fields.remove(key);
    }
}

/// Takes away the fields that say nothing: null, false, and what is empty.
fn without_nothing(value: &mut Value, in_table: bool) {
    match value {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(key, value)| {
                without_nothing(value, in_table || TABLES.contains(&key.as_str()));
            });
            fields.retain(|_, value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => in_table || !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                Value::Bool(true) | Value::Number(_) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_nothing(item, in_table)),
        _ => {}
    }
}

/// `256`, `.25 vCPU`; `512`, `0.5 GB`: as the units in which ECS stores it.
pub(super) fn units(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => text.parse().ok(),
        Some(number) => {
            let units = number.trim().parse::<f64>().ok()? * 1024.0;
            // No size of Fargate's is a fraction, or larger than a few hundred thousand.
            (units.fract() == 0.0 && (0.0..1e9).contains(&units)).then_some(units as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_fills_in_is_no_difference() {
        let sent = json!({
            "family": "a", "cpu": ".25 vCPU", "memory": "0.5 GB",
            "containerDefinitions": [{
                "name": "a", "image": "i",
                "portMappings": [{ "containerPort": 80 }],
                "healthCheck": { "command": ["CMD", "true"] },
                "environment": [{ "name": "EMPTY", "value": "" }],
            }],
            "volumes": [{ "name": "data", "efsVolumeConfiguration": { "fileSystemId": "fs-1" } }],
        });
        let described = json!({
            "taskDefinitionArn": "arn", "revision": 3, "status": "ACTIVE", "registeredBy": "ann",
            "family": "a", "cpu": "256", "memory": "512", "pidMode": "", "placementConstraints": [],
            "runtimePlatform": { "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" },
            "containerDefinitions": [{
                "name": "a", "image": "i", "cpu": 0, "essential": true, "mountPoints": [], "systemControls": [],
                "portMappings": [{ "containerPort": 80, "hostPort": 80, "protocol": "tcp" }],
                "healthCheck": { "command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3 },
                "environment": [{ "name": "EMPTY", "value": "" }],
            }],
            "volumes": [{
                "name": "data",
                "efsVolumeConfiguration": { "fileSystemId": "fs-1", "rootDirectory": "/", "transitEncryption": "DISABLED" },
            }],
        });
        assert_eq!(differences(&described, &sent, "a"), []);
    }

    #[test]
    fn an_empty_variable_and_a_container_that_may_end_are_something() {
        let with = |container: Value| json!({ "containerDefinitions": [{ "name": "a" }, container] });
        let said = |is: Value, wanted: Value| {
            let fields = differences(&with(is), &with(wanted), "a").into_iter();
            fields.map(|field| field.name).collect::<Vec<_>>()
        };
        let b = || json!({ "name": "b", "image": "i", "user": "" });
        let and = |key: &str, value: Value| {
            let mut container = b();
            container[key] = value;
            container
        };
        assert_eq!(said(and("essential", json!(true)), b()), [""; 0]);
        assert_eq!(said(b(), and("essential", json!(false))), ["containerDefinitions b essential"]);
        let empty = json!([{ "name": "A", "value": "" }]);
        assert_eq!(said(b(), and("environment", empty)), ["containerDefinitions b environment A"]);
    }

    #[test]
    fn a_size_is_read_in_each_of_its_forms() {
        for (text, unit, wanted) in [
            ("256", "vcpu", Some(256)),
            ("1 vCPU", "vcpu", Some(1024)),
            (".25vCPU", "vcpu", Some(256)),
            ("0.5 GB", "gb", Some(512)),
            ("1 GB", "vcpu", None),
            ("0.0001 GB", "gb", None),
            ("-1 GB", "gb", None),
            ("nan GB", "gb", None),
        ] {
            assert_eq!(units(text, unit), wanted, "{text}");
        }
    }
}
