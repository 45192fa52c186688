//! The sizes in which Fargate sells a task.
//!
//! The pairs are those of `RegisterTaskDefinition`'s `memory`; no emulator checks them, so that a wrong pair would
//! first be seen in the cloud: "No Fargate configuration exists for given values."

/// CPU units (1024 are one vCPU) and MiB of memory that Fargate offers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    cpu: u32,
    memory: u32,
}

/// GiB of disk that the task has, where it is not the 20 that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EphemeralStorage(u32);

/// Why Fargate has no task of this size. CPU is in units of 1/1024 vCPU, memory in MiB, disk in GiB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSize {
    #[error("Fargate has no cpu = {0}; it has 256, 512, 1024, 2048, 4096, 8192 and 16384 (1024 are one vCPU)")]
    Cpu(u32),
    #[error("Fargate has no memory = {memory} with cpu = {cpu}; it has {offered} (MiB)")]
    Memory { cpu: u32, memory: u32, offered: String },
    #[error("ephemeral storage of {0} GiB is not to be had: 21 to 200, or none for the 20 that come with each task")]
    Storage(u32),
}

impl Size {
    pub fn new(cpu: u32, memory: u32) -> Result<Self, BadSize> {
        let offered: Vec<u32> = match cpu {
            256 => vec![512, 1024, 2048],
            512 => gib(1..=4, 1),
            1024 => gib(2..=8, 1),
            2048 => gib(4..=16, 1),
            4096 => gib(8..=30, 1),
            8192 => gib(16..=60, 4),
            16384 => gib(32..=120, 8),
            _ => return Err(BadSize::Cpu(cpu)),
        };
        if offered.contains(&memory) {
            return Ok(Self { cpu, memory });
        }
        let offered = match offered[..] {
            [first, second, .., last] if offered.len() > 4 => {
                format!("{first} to {last} in steps of {}", second - first)
            }
            _ => offered.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        };
        Err(BadSize::Memory { cpu, memory, offered })
    }

    pub fn cpu(self) -> u32 {
        self.cpu
    }

    pub fn memory(self) -> u32 {
        self.memory
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { cpu: 256, memory: 512 }
    }
}

impl EphemeralStorage {
    /// 20 is what a task has anyway, and an error when it is sent.
    pub fn new(gib: u32) -> Result<Option<Self>, BadSize> {
        match gib {
            20 => Ok(None),
            21..=200 => Ok(Some(Self(gib))),
            _ => Err(BadSize::Storage(gib)),
        }
    }

    pub fn gib(self) -> u32 {
        self.0
    }
}

fn gib(range: std::ops::RangeInclusive<u32>, step: usize) -> Vec<u32> {
    range.step_by(step).map(|gib| gib * 1024).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_fargate_offers_are_taken() {
        for (cpu, memory) in [(256, 512), (256, 2048), (512, 4096), (4096, 30720), (8192, 20480), (16384, 122_880)] {
            assert!(Size::new(cpu, memory).is_ok(), "{cpu}/{memory}");
        }
    }

    #[test]
    fn other_pairs_are_refused_with_what_there_is() {
        for (cpu, memory, words) in [
            (
                300,
                512,
                "Fargate has no cpu = 300; it has 256, 512, 1024, 2048, 4096, 8192 and 16384 (1024 are one vCPU)",
            ),
            (256, 3072, "Fargate has no memory = 3072 with cpu = 256; it has 512, 1024, 2048 (MiB)"),
            (1024, 512, "Fargate has no memory = 512 with cpu = 1024; it has 2048 to 8192 in steps of 1024 (MiB)"),
            (
                8192,
                17408,
                "Fargate has no memory = 17408 with cpu = 8192; it has 16384 to 61440 in steps of 4096 (MiB)",
            ),
        ] {
            assert_eq!(Size::new(cpu, memory).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn twenty_gib_are_not_asked_for() {
        assert_eq!(EphemeralStorage::new(20), Ok(None));
        assert_eq!(EphemeralStorage::new(21), Ok(Some(EphemeralStorage(21))));
        assert_eq!(EphemeralStorage::new(201), Err(BadSize::Storage(201)));
    }
}
