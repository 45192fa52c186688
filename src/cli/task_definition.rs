//! The AWS CLI's JSON of a task definition, read field by field: what ECS does not know is told with its line, its column
//! and the field that was meant.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Value};

use crate::dockerfile::nearest::nearest;

/// More faults of one document than this are not told at once.
const FAULTS: usize = 20;

/// What a text says; what is at fault is `null` there.
pub(super) struct Read {
    /// `None`: it is no JSON.
    pub value: Option<Value>,
    /// In the order of the text.
    pub faults: Vec<serde_json::Error>,
}

/// Reads the text of a task definition.
pub(super) fn parse(text: &str) -> Read {
    read(text, Fields(TASK_DEFINITION))
}

/// Reads the text of an IAM policy, or of a role's trust.
pub(super) fn policy(text: &str) -> Read {
    read(text, Fields(POLICY))
}

/// The reader alone knows where it stands, and tells it with an error that ends it: so it reads once for each fault, and
/// passes by those that are known.
fn read(text: &str, shape: Shape) -> Read {
    let mut faults: Vec<serde_json::Error> = Vec::new();
    loop {
        let passed = Cell::new(faults.len());
        let mut json = serde_json::Deserializer::from_str(text);
        let error = match (Place { shape, passed: &passed }).deserialize(&mut json) {
            Ok(value) => match json.end() {
                Ok(()) => return Read { value: Some(value), faults },
                Err(error) => error,
            },
            Err(error) => error,
        };
        let is_fault = error.is_data();
        faults.push(error);
        if !is_fault || faults.len() == FAULTS {
            return Read { value: None, faults };
        }
    }
}

type Field = (&'static str, Shape);

/// What stands in a field.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Text,
    Number,
    Flag,
    List(&'static Shape),
    /// A table whose keys are the user's.
    Texts,
    Fields(&'static [Field]),
    /// The same, or a list of such.
    OneOrMore(&'static [Field]),
    /// A text, or a list or an object of them: IAM's own affair.
    Free,
}

use Shape::{Fields, Flag, Free, List, Number, OneOrMore, Text, Texts};

/// What stands at one place of a document, and how many faults are passed by before one is told.
#[derive(Clone, Copy)]
struct Place<'a> {
    shape: Shape,
    passed: &'a Cell<usize>,
}

impl Place<'_> {
    fn at(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    fn fault<E>(self, error: E) -> Result<Value, E> {
        match self.passed.get() {
            0 => Err(error),
            left => {
                self.passed.set(left - 1);
                Ok(Value::Null)
            }
        }
    }

    fn other<E: serde::de::Error>(self, is: Unexpected<'_>) -> Result<Value, E> {
        self.fault(E::invalid_type(is, &self))
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if let Free = self.shape {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape {
            Text => "a text",
            Number => "a whole number",
            Flag => "true or false",
            List(_) => "a list",
            Texts | Fields(_) => "an object",
            OneOrMore(_) => "an object or a list of objects",
            Free => "anything",
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        match self.shape {
            Text => Ok(text.into()),
            _ => self.other(Unexpected::Str(text)),
        }
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        match self.shape {
            Flag => Ok(flag.into()),
            _ => self.other(Unexpected::Bool(flag)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match self.shape {
            Number => Ok(number.into()),
            _ => self.other(Unexpected::Unsigned(number)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        match self.shape {
            Number => Ok(number.into()),
            _ => self.other(Unexpected::Signed(number)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        self.other(Unexpected::Float(number))
    }

    // A field without a value, as `--generate-cli-skeleton` never writes it and ECS takes it.
    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let item = match self.shape {
            List(item) => *item,
            OneOrMore(fields) => Fields(fields),
            _ => {
                let passed = self.other(Unexpected::Other("list"))?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(passed);
            }
        };
        let mut items = Vec::new();
        while let Some(value) = list.next_element_seed(self.at(item))? {
            items.push(value);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Value, A::Error> {
        let known: &[Field] = match self.shape {
            Fields(known) | OneOrMore(known) => known,
            Texts => &[],
            _ => {
                let passed = self.other(Unexpected::Other("object"))?;
                while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(passed);
            }
        };
        let mut fields = Map::new();
        while let Some(key) = table.next_key::<String>()? {
            let shape = match (self.shape, known.iter().find(|(name, _)| *name == key)) {
                (Texts, _) => Text,
                (_, Some((_, shape))) => *shape,
                (_, None) => {
                    self.fault(unknown(&key, known))?;
                    table.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value = table.next_value_seed(self.at(shape))?;
            if fields.insert(key.clone(), value).is_some() {
                self.fault(A::Error::custom(format_args!("`{}` stands there twice", key.escape_debug())))?;
            }
        }
        Ok(fields.into())
    }
}

fn unknown<E: serde::de::Error>(key: &str, known: &[Field]) -> E {
    let said: String = key.chars().take(100).flat_map(char::escape_debug).collect();
    match nearest(key, known.iter().map(|(name, _)| *name)) {
        Some(near) => E::custom(format_args!("unknown field `{said}`; did you mean `{near}`?")),
        None => E::custom(format_args!("unknown field `{said}`")),
    }
}

// IAM's JSON policy elements:
// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

const POLICY: &[Field] = &[("Version", Text), ("Id", Text), ("Statement", OneOrMore(STATEMENT))];

const STATEMENT: &[Field] = &[
    ("Sid", Text),
    ("Effect", Text),
    ("Principal", Free),
    ("NotPrincipal", Free),
    ("Action", Free),
    ("NotAction", Free),
    ("Resource", Free),
    ("NotResource", Free),
    ("Condition", Free),
];

// The members of ECS's RegisterTaskDefinition, as botocore's service model has them:
// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>

const TASK_DEFINITION: &[Field] = &[
    ("family", Text),
    ("taskRoleArn", Text),
    ("executionRoleArn", Text),
    ("networkMode", Text),
    ("containerDefinitions", List(&Fields(CONTAINER_DEFINITION))),
    ("volumes", List(&Fields(VOLUME))),
    ("placementConstraints", List(&Fields(TASK_DEFINITION_PLACEMENT_CONSTRAINT))),
    ("requiresCompatibilities", List(&Text)),
    ("cpu", Text),
    ("memory", Text),
    ("tags", List(&Fields(TAG))),
    ("pidMode", Text),
    ("ipcMode", Text),
    ("proxyConfiguration", Fields(PROXY_CONFIGURATION)),
    ("inferenceAccelerators", List(&Fields(INFERENCE_ACCELERATOR))),
    ("ephemeralStorage", Fields(EPHEMERAL_STORAGE)),
    ("runtimePlatform", Fields(RUNTIME_PLATFORM)),
    ("enableFaultInjection", Flag),
];

const RUNTIME_PLATFORM: &[Field] = &[("cpuArchitecture", Text), ("operatingSystemFamily", Text)];

const EPHEMERAL_STORAGE: &[Field] = &[("sizeInGiB", Number)];

const INFERENCE_ACCELERATOR: &[Field] = &[("deviceName", Text), ("deviceType", Text)];

const PROXY_CONFIGURATION: &[Field] =
    &[("type", Text), ("containerName", Text), ("properties", List(&Fields(KEY_VALUE_PAIR)))];

const TAG: &[Field] = &[("key", Text), ("value", Text)];

const TASK_DEFINITION_PLACEMENT_CONSTRAINT: &[Field] = &[("type", Text), ("expression", Text)];

const VOLUME: &[Field] = &[
    ("name", Text),
    ("host", Fields(HOST_VOLUME_PROPERTIES)),
    ("dockerVolumeConfiguration", Fields(DOCKER_VOLUME_CONFIGURATION)),
    ("efsVolumeConfiguration", Fields(EFS_VOLUME)),
    ("s3filesVolumeConfiguration", Fields(S3_FILES_VOLUME)),
    ("fsxWindowsFileServerVolumeConfiguration", Fields(FSX_VOLUME)),
    ("configuredAtLaunch", Flag),
];

const FSX_VOLUME: &[Field] =
    &[("fileSystemId", Text), ("rootDirectory", Text), ("authorizationConfig", Fields(FSX_AUTHORIZATION))];

const FSX_AUTHORIZATION: &[Field] = &[("credentialsParameter", Text), ("domain", Text)];

const S3_FILES_VOLUME: &[Field] =
    &[("fileSystemArn", Text), ("rootDirectory", Text), ("transitEncryptionPort", Number), ("accessPointArn", Text)];

const EFS_VOLUME: &[Field] = &[
    ("fileSystemId", Text),
    ("rootDirectory", Text),
    ("transitEncryption", Text),
    ("transitEncryptionPort", Number),
    ("authorizationConfig", Fields(EFS_AUTHORIZATION)),
];

const EFS_AUTHORIZATION: &[Field] = &[("accessPointId", Text), ("iam", Text)];

const DOCKER_VOLUME_CONFIGURATION: &[Field] =
    &[("scope", Text), ("autoprovision", Flag), ("driver", Text), ("driverOpts", Texts), ("labels", Texts)];

const HOST_VOLUME_PROPERTIES: &[Field] = &[("sourcePath", Text)];

const CONTAINER_DEFINITION: &[Field] = &[
    ("name", Text),
    ("image", Text),
    ("repositoryCredentials", Fields(REPOSITORY_CREDENTIALS)),
    ("cpu", Number),
    ("memory", Number),
    ("memoryReservation", Number),
    ("links", List(&Text)),
    ("portMappings", List(&Fields(PORT_MAPPING))),
    ("essential", Flag),
    ("restartPolicy", Fields(CONTAINER_RESTART_POLICY)),
    ("entryPoint", List(&Text)),
    ("command", List(&Text)),
    ("environment", List(&Fields(KEY_VALUE_PAIR))),
    ("environmentFiles", List(&Fields(ENVIRONMENT_FILE))),
    ("mountPoints", List(&Fields(MOUNT_POINT))),
    ("volumesFrom", List(&Fields(VOLUME_FROM))),
    ("linuxParameters", Fields(LINUX_PARAMETERS)),
    ("secrets", List(&Fields(SECRET))),
    ("dependsOn", List(&Fields(CONTAINER_DEPENDENCY))),
    ("startTimeout", Number),
    ("stopTimeout", Number),
    ("versionConsistency", Text),
    ("hostname", Text),
    ("user", Text),
    ("workingDirectory", Text),
    ("disableNetworking", Flag),
    ("privileged", Flag),
    ("readonlyRootFilesystem", Flag),
    ("dnsServers", List(&Text)),
    ("dnsSearchDomains", List(&Text)),
    ("extraHosts", List(&Fields(HOST_ENTRY))),
    ("dockerSecurityOptions", List(&Text)),
    ("interactive", Flag),
    ("pseudoTerminal", Flag),
    ("dockerLabels", Texts),
    ("ulimits", List(&Fields(ULIMIT))),
    ("logConfiguration", Fields(LOG_CONFIGURATION)),
    ("healthCheck", Fields(HEALTH_CHECK)),
    ("systemControls", List(&Fields(SYSTEM_CONTROL))),
    ("resourceRequirements", List(&Fields(RESOURCE_REQUIREMENT))),
    ("firelensConfiguration", Fields(FIRELENS_CONFIGURATION)),
    ("credentialSpecs", List(&Text)),
];

const FIRELENS_CONFIGURATION: &[Field] = &[("type", Text), ("options", Texts)];

const RESOURCE_REQUIREMENT: &[Field] = &[("value", Text), ("type", Text)];

const SYSTEM_CONTROL: &[Field] = &[("namespace", Text), ("value", Text)];

const HEALTH_CHECK: &[Field] = &[
    ("command", List(&Text)),
    ("interval", Number),
    ("timeout", Number),
    ("retries", Number),
    ("startPeriod", Number),
];

const LOG_CONFIGURATION: &[Field] =
    &[("logDriver", Text), ("options", Texts), ("secretOptions", List(&Fields(SECRET)))];

const ULIMIT: &[Field] = &[("name", Text), ("softLimit", Number), ("hardLimit", Number)];

const HOST_ENTRY: &[Field] = &[("hostname", Text), ("ipAddress", Text)];

const CONTAINER_DEPENDENCY: &[Field] = &[("containerName", Text), ("condition", Text)];

const SECRET: &[Field] = &[("name", Text), ("valueFrom", Text)];

const LINUX_PARAMETERS: &[Field] = &[
    ("capabilities", Fields(KERNEL_CAPABILITIES)),
    ("devices", List(&Fields(DEVICE))),
    ("initProcessEnabled", Flag),
    ("sharedMemorySize", Number),
    ("tmpfs", List(&Fields(TMPFS))),
    ("maxSwap", Number),
    ("swappiness", Number),
];

const TMPFS: &[Field] = &[("containerPath", Text), ("size", Number), ("mountOptions", List(&Text))];

const DEVICE: &[Field] = &[("hostPath", Text), ("containerPath", Text), ("permissions", List(&Text))];

const KERNEL_CAPABILITIES: &[Field] = &[("add", List(&Text)), ("drop", List(&Text))];

const VOLUME_FROM: &[Field] = &[("sourceContainer", Text), ("readOnly", Flag)];

const MOUNT_POINT: &[Field] = &[("sourceVolume", Text), ("containerPath", Text), ("readOnly", Flag)];

const ENVIRONMENT_FILE: &[Field] = &[("value", Text), ("type", Text)];

const KEY_VALUE_PAIR: &[Field] = &[("name", Text), ("value", Text)];

const CONTAINER_RESTART_POLICY: &[Field] =
    &[("enabled", Flag), ("ignoredExitCodes", List(&Number)), ("restartAttemptPeriod", Number)];

const PORT_MAPPING: &[Field] = &[
    ("containerPort", Number),
    ("hostPort", Number),
    ("protocol", Text),
    ("name", Text),
    ("appProtocol", Text),
    ("containerPortRange", Text),
];

const REPOSITORY_CREDENTIALS: &[Field] = &[("credentialsParameter", Text)];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, words: &str) {
        let faults: Vec<String> = parse(text).faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.join("\n"), words, "{text}");
    }

    #[test]
    fn each_kind_of_field_is_read_as_it_stands() {
        let text = r#"{ "family": "a", "volumes": [{ "name": "v", "efsVolumeConfiguration": { "fileSystemId": "fs-1" } }],
            "containerDefinitions": [{ "name": "a", "cpu": 64, "essential": true, "dockerLabels": { "any": "label" },
            "command": ["sh", "-c"], "user": null }] }"#;
        let Read { value, faults } = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(value, Some(serde_json::from_str::<Value>(text).expect("it is JSON")));
    }

    #[test]
    fn an_unknown_field_is_told_with_its_place_and_the_nearest() {
        refused(
            "{\n  \"containerDefinition\": []\n}",
            "unknown field `containerDefinition`; did you mean `containerDefinitions`? at line 2 column 23",
        );
        refused(
            r#"{"containerDefinitions":[{"enviroment":[]}]}"#,
            "unknown field `enviroment`; did you mean `environment`? at line 1 column 38",
        );
        refused(r#"{"revision":1}"#, "unknown field `revision` at line 1 column 11");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told() {
        refused(r#"{"cpu":256}"#, "invalid type: integer `256`, expected a text at line 1 column 10");
        refused(
            r#"{"ephemeralStorage":{"sizeInGiB":"30"}}"#,
            "invalid type: string \"30\", expected a whole number at line 1 column 37",
        );
        refused(r#"{"cpu":"1","cpu":"2"}"#, "`cpu` stands there twice at line 1 column 21");
        refused(r#"{"family":"a"} x"#, "trailing characters at line 1 column 16");
    }
    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        refused(
            r#"{"famly":"a","cpu":256,"volumes":{"name":["v"]},"memory":[1,[2]],"tags":[{"kee":{"a":1}}, 7],"pidMode":0.5}"#,
            "unknown field `famly`; did you mean `family`? at line 1 column 8\n\
             invalid type: integer `256`, expected a text at line 1 column 22\n\
             invalid type: object, expected a list at line 1 column 34\n\
             invalid type: list, expected a text at line 1 column 58\n\
             unknown field `kee`; did you mean `key`? at line 1 column 79\n\
             invalid type: integer `7`, expected an object at line 1 column 91\n\
             invalid type: floating point `0.5`, expected a text at line 1 column 106",
        );
        refused(
            r#"{"famly":"a" "cpu":256}"#,
            "unknown field `famly`; did you mean `family`? at line 1 column 8\n\
             expected `,` or `}` at line 1 column 14",
        );
        let many = format!("{{{}\"family\":\"a\"}}", r#""x":1,"#.repeat(1000));
        assert_eq!(parse(&many).faults.len(), FAULTS);
    }
}
