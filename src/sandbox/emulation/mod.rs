//! Programs of another CPU: who runs them, found out by running one.
//!
//! Where the kernel allows it (Linux 6.7) the sandbox mounts a `binfmt_misc` of its own, which counts in its user
//! namespace alone, and registers an emulator from `PATH` there: the host needs no set-up, and keeps no trace. Else what
//! the host has registered serves, with flag F: without it the emulator would be looked for in the image
//! (admin-guide/binfmt-misc.rst). Which of them holds is not read anywhere, as a container sees no host's
//! `/proc/sys/fs/binfmt_misc`; a program of a few instructions is started in an empty root.

mod emulator;
mod trial;

use std::fs;
use std::path::PathBuf;

use super::error::RunError;
use super::launch::Output;
use super::step::Exit;
use super::wire::{Order, Reply, Task};
use super::{Sandbox, launch};
use crate::elf::Machine;

pub use emulator::Emulator;

/// How programs of a CPU are run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// By the CPU itself.
    Native,
    /// By an emulator that each step registers for itself.
    Own(Emulator),
    /// By an emulator that the host has registered; which one, where that can be seen.
    Host { interpreter: Option<String> },
}

/// Programs of a CPU cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum NoEmulation {
    #[error("no emulator of {architecture} is known, and this machine is {}", here())]
    Unknown { architecture: String },
    #[error("this machine is {}, and has no {emulator}, which runs programs of {architecture}", here())]
    Missing { architecture: String, emulator: String },
    #[error(
        "this machine is {}, and {} cannot run programs of {architecture} in an image: it needs libraries, which are not there",
        here(), path.display()
    )]
    Dynamic { architecture: String, emulator: String, path: PathBuf },
    #[error(
        "this machine is {}, the kernel does not let the sandbox register {} for programs of {architecture} ({why}), and the host has registered none",
        here(), path.display()
    )]
    Refused { architecture: String, path: PathBuf, why: String },
    #[error("this machine is {}, and {} does not run programs of {architecture}: {why}", here(), path.display())]
    Broken { architecture: String, path: PathBuf, why: String },
    #[error("finding out who runs programs of {architecture}: {source}")]
    Sandbox { architecture: String, source: RunError },
}

impl Emulation {
    /// What a step has to bring along.
    pub fn emulator(self) -> Option<Emulator> {
        match self {
            Self::Own(emulator) => Some(emulator),
            Self::Native | Self::Host { .. } => None,
        }
    }

    /// Who does it, for the user; nothing where nobody has to.
    pub fn by(&self) -> Option<String> {
        match self {
            Self::Native => None,
            Self::Own(emulator) => Some(emulator.path().display().to_string()),
            Self::Host { interpreter: Some(path) } => Some(format!("{path}, which the host has registered")),
            Self::Host { interpreter: None } => Some("what the host has registered".to_owned()),
        }
    }
}

impl NoEmulation {
    /// The package or setting that gives what is missing.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } | Self::Dynamic { .. } => Some(
                "sudo apt-get install qemu-user-static; on Fedora: sudo dnf install qemu-user-static; on a Mac: in the \
                 Linux machine that RUN runs in"
                    .to_owned(),
            ),
            Self::Refused { .. } => Some(
                "from Linux 6.7 on it may, in a user namespace; before, register it with the host once, as root and with \
                 flag F, as the package qemu-user-static does (docker run --privileged tonistiigi/binfmt does the same)"
                    .to_owned(),
            ),
            Self::Broken { .. } => Some("reinstall qemu-user-static, or take a newer one".to_owned()),
            Self::Unknown { .. } | Self::Sandbox { .. } => None,
        }
    }
}

impl Sandbox {
    /// Who runs the programs of an architecture, by an image's word for it (`arm64`).
    pub fn emulation(&self, architecture: &str) -> Result<Emulation, NoEmulation> {
        if architecture == image_word(std::env::consts::ARCH) {
            return Ok(Emulation::Native);
        }
        let architecture = architecture.to_owned();
        let Some(machine) = Machine::of_architecture(&architecture) else {
            return Err(NoEmulation::Unknown { architecture });
        };
        let program = trial::program(machine);
        let runs = |emulator: Option<&Emulator>| self.try_program(&program, emulator);
        let by_the_cpu = machine.runs_on(image_word(std::env::consts::ARCH));
        if by_the_cpu && runs(None).is_ok() {
            return Ok(Emulation::Native);
        }
        let found = emulator::find(&architecture, machine);
        let own = match &found {
            // Outside of a user namespace a registration would be the host's.
            emulator::Found::Static(emulator) if self.rung.command_map().is_some() => Some(runs(Some(emulator))),
            _ => None,
        };
        if let (emulator::Found::Static(emulator), Some(Ok(()))) = (&found, &own) {
            return Ok(Emulation::Own(emulator.clone()));
        }
        if runs(None).is_ok() {
            return Ok(Emulation::Host { interpreter: registered(&emulator::name(&architecture)) });
        }
        Err(match found {
            emulator::Found::Nothing { emulator } => NoEmulation::Missing { architecture, emulator },
            emulator::Found::Dynamic { emulator, path } => NoEmulation::Dynamic { architecture, emulator, path },
            emulator::Found::Static(emulator) => {
                let path = emulator.path().to_owned();
                match own {
                    None => NoEmulation::Refused { architecture, path, why: "it has no user namespace".to_owned() },
                    Some(Err(Tried::Unregistered(why))) => {
                        NoEmulation::Refused { architecture, path, why: why.to_string() }
                    }
                    Some(Err(Tried::Ended(exit))) => {
                        let why = match exit {
                            Exit::Code(code) => format!("it ended with exit code {code}"),
                            Exit::Signal(signal) => format!("it was ended by signal {signal}"),
                        };
                        NoEmulation::Broken { architecture, path, why }
                    }
                    Some(Err(Tried::Failed(RunError::WrongFormat { why, .. }))) => {
                        NoEmulation::Broken { architecture, path, why }
                    }
                    Some(Err(Tried::Failed(source))) => NoEmulation::Sandbox { architecture, source },
                    // It was found to work.
                    Some(Ok(())) => NoEmulation::Unknown { architecture },
                }
            }
        })
    }

    /// Starts a program in a root that holds nothing else.
    fn try_program(&self, program: &[u8], emulator: Option<&Emulator>) -> Result<(), Tried> {
        let map = self.rung.command_map();
        let registration = emulator.map(Emulator::registration);
        let order = Order {
            user_namespace: map.is_some(),
            task: Task::TryProgram { program: program.to_vec(), registration },
            after: None,
        };
        let failed = |error| Tried::Failed(RunError::system("starting the sandbox's helper", error));
        let mut helper = self.launcher.start(Output::Stdout).map_err(failed)?;
        match helper.begin(map, &order, b"", None).and_then(|()| helper.reply()).map_err(Tried::Failed)? {
            Reply::Exit(exit) if exit.success() => Ok(()),
            Reply::Exit(exit) => Err(Tried::Ended(exit)),
            Reply::Failed(error @ RunError::Registration { .. }) => Err(Tried::Unregistered(error)),
            Reply::Failed(error) => Err(Tried::Failed(error)),
            Reply::MapMe | Reply::Opened | Reply::WentAround | Reply::Found(_) | Reply::Done | Reply::JobFailed(_) => {
                Err(Tried::Failed(launch::out_of_turn()))
            }
        }
    }
}

/// Why a program did not run.
enum Tried {
    Unregistered(RunError),
    Failed(RunError),
    Ended(Exit),
}

/// The interpreter of a registration of the host's, where its `binfmt_misc` can be seen.
fn registered(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/{name}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("interpreter ")).map(str::to_owned)
}

/// What an image's config calls the CPU that Rust calls so.
fn image_word(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn here() -> &'static str {
    image_word(std::env::consts::ARCH)
}
