//! A task definition as far as we write one, and whether another one has more than that.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types as sdk;

/// What a Fargate task of one container is made of.
///
/// The server fills in what was left out (`cpu: 0`, `portMappings: []`, `essential: true`, …) and adds facts of its own
/// (`revision`, `status`, `requiresAttributes`, …). Neither is here, so that what was sent and what is described are
/// equal exactly when the same task would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDefinition {
    pub family: String,
    pub execution_role: Option<String>,
    pub task_role: Option<String>,
    /// CPU units and MiB, in digits: the server stores `1 vCPU` as `1024`.
    pub cpu: String,
    pub memory: String,
    pub ephemeral_storage_gib: Option<i32>,
    /// `X86_64` or `ARM64`; `X86_64` where none was said.
    pub architecture: String,
    pub container: ContainerDefinition,
    /// The fields that are set besides these: always empty in what we write.
    pub beyond: BTreeSet<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerDefinition {
    pub name: String,
    pub image: String,
    pub memory_reservation: Option<i32>,
    pub environment: BTreeMap<String, String>,
    /// Variable → the `valueFrom` of a secret.
    pub secrets: BTreeMap<String, String>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
}

/// What is not modelled is looked at all the same: a field that is set makes the definition another one.
macro_rules! beyond {
    ($from:expr, $($field:ident),+ $(,)?) => {
        [$((stringify!($field), $from.$field().is_set())),+]
            .into_iter().filter(|(_, set)| *set).map(|(name, _)| name)
    };
}

impl TaskDefinition {
    /// What the cloud describes.
    pub(super) fn read(found: &sdk::TaskDefinition) -> Self {
        let mut beyond: BTreeSet<&'static str> = beyond!(
            found,
            volumes,
            placement_constraints,
            pid_mode,
            ipc_mode,
            proxy_configuration,
            inference_accelerators,
            enable_fault_injection
        )
        .collect();
        if found.network_mode() != Some(&sdk::NetworkMode::Awsvpc) {
            beyond.insert("network_mode");
        }
        if found.requires_compatibilities() != [sdk::Compatibility::Fargate] {
            beyond.insert("requires_compatibilities");
        }
        let platform = found.runtime_platform();
        if platform.and_then(|p| p.operating_system_family()).is_some_and(|os| *os != sdk::OsFamily::Linux) {
            beyond.insert("operating_system_family");
        }
        let container = match found.container_definitions() {
            [one] => ContainerDefinition::read(one, &mut beyond),
            _ => {
                beyond.insert("container_definitions");
                ContainerDefinition::default()
            }
        };
        let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            family: found.family().unwrap_or("").to_owned(),
            execution_role: owned(found.execution_role_arn()),
            task_role: owned(found.task_role_arn()),
            cpu: found.cpu().unwrap_or("").to_owned(),
            memory: found.memory().unwrap_or("").to_owned(),
            ephemeral_storage_gib: found.ephemeral_storage().map(|disk| disk.size_in_gib()).filter(|gib| *gib > 20),
            architecture: platform.and_then(|p| p.cpu_architecture()).map_or("X86_64", |cpu| cpu.as_str()).to_owned(),
            container,
            beyond,
        }
    }

    /// The fields in which this one is not `other`, each with what it is there and here.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let Self {
            family: _,
            execution_role,
            task_role,
            cpu,
            memory,
            ephemeral_storage_gib,
            architecture,
            container,
            beyond,
        } = self;
        let none = || "none".to_owned();
        let mut all = Differences::default();
        all.field(
            "executionRoleArn",
            other.execution_role.clone().unwrap_or_else(none),
            execution_role.clone().unwrap_or_else(none),
        );
        all.field("taskRoleArn", other.task_role.clone().unwrap_or_else(none), task_role.clone().unwrap_or_else(none));
        all.field("cpu", other.cpu.clone(), cpu.clone());
        all.field("memory", other.memory.clone(), memory.clone());
        let disk = |gib: &Option<i32>| gib.map_or_else(none, |gib| format!("{gib} GiB"));
        all.field("ephemeralStorage", disk(&other.ephemeral_storage_gib), disk(ephemeral_storage_gib));
        all.field("cpuArchitecture", other.architecture.clone(), architecture.clone());
        let ContainerDefinition { name, image, memory_reservation, environment, secrets, log_driver, log_options } =
            container;
        let there = &other.container;
        all.field("name", there.name.clone(), name.clone());
        all.field("image", there.image.clone(), image.clone());
        let mib = |mib: &Option<i32>| mib.map_or_else(none, |mib| mib.to_string());
        all.field("memoryReservation", mib(&there.memory_reservation), mib(memory_reservation));
        all.map("environment", &there.environment, environment);
        all.map("secrets", &there.secrets, secrets);
        all.field("logDriver", there.log_driver.clone(), log_driver.clone());
        all.map("logConfiguration", &there.log_options, log_options);
        let fields = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
        all.field("other fields", fields(&other.beyond), fields(beyond));
        all.0
    }

    pub(super) fn to_sdk(&self) -> (sdk::ContainerDefinition, sdk::RuntimePlatform, Option<sdk::EphemeralStorage>) {
        let container = self.container.to_sdk();
        let platform = sdk::RuntimePlatform::builder()
            .cpu_architecture(sdk::CpuArchitecture::from(self.architecture.as_str()))
            .operating_system_family(sdk::OsFamily::Linux)
            .build();
        let storage = self.ephemeral_storage_gib.map(|gib| sdk::EphemeralStorage::builder().size_in_gib(gib).build());
        (container, platform, storage)
    }
}

impl ContainerDefinition {
    fn read(found: &sdk::ContainerDefinition, beyond: &mut BTreeSet<&'static str>) -> Self {
        beyond.extend(beyond!(
            found,
            repository_credentials,
            memory,
            links,
            port_mappings,
            restart_policy,
            entry_point,
            command,
            environment_files,
            mount_points,
            volumes_from,
            linux_parameters,
            depends_on,
            start_timeout,
            stop_timeout,
            version_consistency,
            hostname,
            user,
            working_directory,
            disable_networking,
            privileged,
            readonly_root_filesystem,
            dns_servers,
            dns_search_domains,
            extra_hosts,
            docker_security_options,
            interactive,
            pseudo_terminal,
            docker_labels,
            ulimits,
            health_check,
            system_controls,
            resource_requirements,
            firelens_configuration,
            credential_specs,
        ));
        if found.cpu() != 0 {
            beyond.insert("cpu");
        }
        if found.essential() == Some(false) {
            beyond.insert("essential");
        }
        let text = |text: Option<&str>| text.unwrap_or("").to_owned();
        let log = found.log_configuration();
        if log.is_some_and(|log| !log.secret_options().is_empty()) {
            beyond.insert("secret_options");
        }
        Self {
            name: text(found.name()),
            image: text(found.image()),
            memory_reservation: found.memory_reservation(),
            environment: found.environment().iter().map(|pair| (text(pair.name()), text(pair.value()))).collect(),
            secrets: found.secrets().iter().map(|s| (s.name().to_owned(), s.value_from().to_owned())).collect(),
            log_driver: log.map_or(String::new(), |log| log.log_driver().as_str().to_owned()),
            log_options: log
                .and_then(|log| log.options())
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        }
    }

    fn to_sdk(&self) -> sdk::ContainerDefinition {
        let Self { name, image, memory_reservation, environment, secrets, log_driver, log_options } = self;
        let log = sdk::LogConfiguration::builder()
            .log_driver(sdk::LogDriver::from(log_driver.as_str()))
            .set_options(Some(log_options.clone().into_iter().collect()))
            .build()
            .expect("a log configuration needs a driver, which it has");
        let environment =
            environment.iter().map(|(name, value)| sdk::KeyValuePair::builder().name(name).value(value).build());
        let secrets = secrets.iter().map(|(name, from)| {
            sdk::Secret::builder()
                .name(name)
                .value_from(from)
                .build()
                .expect("a secret needs a name and a source, which it has")
        });
        sdk::ContainerDefinition::builder()
            .name(name)
            .image(image)
            .essential(true)
            .set_memory_reservation(*memory_reservation)
            .set_environment(Some(environment.collect()))
            .set_secrets(Some(secrets.collect()))
            .log_configuration(log)
            .build()
    }
}

/// One field that is not as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    pub is: String,
    pub wanted: String,
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn field(&mut self, field: &str, is: String, wanted: String) {
        if is != wanted {
            self.0.push(Difference { field: field.to_owned(), is, wanted });
        }
    }

    fn map(&mut self, field: &str, is: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) {
        let keys: BTreeSet<&String> = is.keys().chain(wanted.keys()).collect();
        for key in keys {
            let value = |map: &BTreeMap<String, String>| map.get(key).cloned().unwrap_or_else(|| "none".to_owned());
            self.field(&format!("{field} {key}"), value(is), value(wanted));
        }
    }
}

/// Whether a field holds anything but what the server fills in for nothing.
trait IsSet {
    fn is_set(&self) -> bool;
}

impl<T> IsSet for &[T] {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

macro_rules! is_set {
    ($($kind:ty => |$value:ident| $set:expr;)+) => {
        $(impl IsSet for Option<$kind> {
            fn is_set(&self) -> bool {
                self.is_some_and(|$value| $set)
            }
        })+
    };
}

is_set! {
    bool => |value| value;
    i32 => |value| value != 0;
    &str => |value| !value.is_empty();
    &std::collections::HashMap<String, String> => |value| !value.is_empty();
    &sdk::PidMode => |value| !value.as_str().is_empty();
    &sdk::IpcMode => |value| !value.as_str().is_empty();
    &sdk::ProxyConfiguration => |_value| true;
    &sdk::RepositoryCredentials => |_value| true;
    &sdk::ContainerRestartPolicy => |_value| true;
    &sdk::LinuxParameters => |_value| true;
    &sdk::VersionConsistency => |value| *value != sdk::VersionConsistency::Enabled;
    &sdk::HealthCheck => |_value| true;
    &sdk::FirelensConfiguration => |_value| true;
}
