//! Dockerfile text in, typed instructions out. No I/O, no clock, no state.
//!
//! The measure is BuildKit's own front end (`frontend/dockerfile/{parser,instructions,shell}` of moby/buildkit):
//! a file means here what it means there. What a later room cannot execute yet is parsed all the same, so
//! that the room can refuse it by name and line.
//!
//! ```text
//! text ─▶ directive ─▶ line (continuations, comments) ─▶ heredoc ─▶ command (keyword, flags, rest) ─▶ Instruction
//! ```

pub mod boolean;
pub mod credentials;
pub mod device;
pub mod directive;
pub mod error;
pub mod expand;
pub mod glob;
pub mod heredoc;
pub mod ignore;
pub mod instruction;
pub mod lint;
pub mod mount;
pub mod nearest;
pub mod script;
pub mod span;
pub mod support;

#[cfg(test)]
pub(crate) mod hostile;
mod read;
mod wild;

pub use boolean::boolean;
pub use device::{Device, DeviceError};
pub use directive::Directives;
pub use error::{ParseError, ParseErrors};
pub use heredoc::Heredoc;
pub use instruction::{
    AddFiles, Argument, Assignment, Command, CopyFiles, FromImage, Healthcheck, Instruction, Kind, Network, Onbuild,
    Probe, RunCommand, Security, Source, Word,
};
pub use mount::{Mount, MountError, MountKind, MountSpec};
pub use read::{parse, parse_trigger};
pub use script::Script;
pub use span::Span;

/// ARGs that speak to BuildKit's scanner and are never in the environment.
pub const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A whole Dockerfile: at least one `FROM`, and nothing but `ARG` before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    pub instructions: Vec<Instruction>,
}
