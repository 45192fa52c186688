//! Stands for `ladder` on a system that is not Linux: no rung of it holds there.

use std::path::Path;

use super::error::NoRung;
use super::launch::Launcher;
use super::rung::{Rung, RungKind, Tried};

/// Finds no rung.
pub fn probe(_: &Launcher, _: &Path) -> Result<Rung, NoRung> {
    Err(not_linux())
}

/// Tries none.
pub fn ladder(_: &Launcher, _: &Path) -> Vec<Tried> {
    RungKind::ALL.map(|kind| Tried { kind, result: Err(not_linux()) }).into()
}

fn not_linux() -> NoRung {
    NoRung::NotLinux { system: std::env::consts::OS }
}
