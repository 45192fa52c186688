//! What whoever runs a revision must know of it.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as sdk;

/// A revision's size, and the container that its tasks stand and fall with: the first essential one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Essentials {
    /// CPU units and MiB, in digits.
    pub cpu: String,
    pub memory: String,
    pub container: String,
    pub image: String,
    pub memory_reservation: Option<i32>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
}

impl Essentials {
    pub(super) fn read(found: &sdk::TaskDefinition) -> Self {
        let text = |text: Option<&str>| text.unwrap_or("").to_owned();
        let (cpu, memory) = (text(found.cpu()), text(found.memory()));
        let all = found.container_definitions();
        let Some(main) = all.iter().find(|container| container.essential() != Some(false)).or(all.first()) else {
            return Self { cpu, memory, ..Self::default() };
        };
        let log = main.log_configuration();
        let options = log.and_then(|log| log.options()).into_iter().flatten();
        Self {
            cpu,
            memory,
            container: text(main.name()),
            image: text(main.image()),
            memory_reservation: main.memory_reservation(),
            log_driver: log.map_or(String::new(), |log| log.log_driver().as_str().to_owned()),
            log_options: options.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}
