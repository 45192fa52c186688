//! Becoming the command, and saying why that did not work.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::unistd::execve;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, open, openat2, statat};

use super::super::error::RunError;
use super::super::wire::Command;
use super::supervise::Parent;
use crate::elf::{self, Machine};

/// Where the shell of an image without a PATH looks.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the command, in its working directory. Comes back with the reason if it cannot.
pub(super) fn exec(parent: &Parent, command: &Command, environment: &[u8]) -> Result<Infallible, RunError> {
    parent.close_all_else();
    enter(&command.cwd)?;
    let nul = |_| RunError::Nul { what: "an argument".into() };
    let argv: Vec<CString> =
        command.argv.iter().map(|word| CString::new(&word[..]).map_err(nul)).collect::<Result<_, _>>()?;
    // Each piece ends with its NUL and has no other.
    let env: Vec<&CStr> = environment.split_inclusive(|byte| *byte == 0).flat_map(CStr::from_bytes_with_nul).collect();
    let name = argv.first().ok_or(RunError::NoCommand)?;
    if name.as_bytes().contains(&b'/') {
        let Err(error) = execve(name, &argv, &env);
        return Err(explain(name, error, command.user.uid));
    }
    let path = env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut forbidden = None;
    for folder in path.split(|byte| *byte == b':') {
        // An empty entry is the current folder.
        let folder = if folder.is_empty() { b"." } else { folder };
        let candidate = CString::new([folder, b"/", name.as_bytes()].concat()).map_err(nul)?;
        let Err(error) = execve(&candidate, &argv, &env);
        match error {
            Errno::ENOENT | Errno::ENOTDIR if statat(CWD, &candidate, AtFlags::empty()).is_err() => {}
            Errno::EACCES => forbidden = Some(candidate),
            error => return Err(explain(&candidate, error, command.user.uid)),
        }
    }
    Err(match forbidden {
        Some(candidate) => explain(&candidate, Errno::EACCES, command.user.uid),
        None => RunError::NotInPath { program: text(name), path: String::from_utf8_lossy(path).into_owned() },
    })
}

/// The path is the image's word: it may be a link, but none of those in /proc that lead anywhere.
fn enter(cwd: &[u8]) -> Result<(), RunError> {
    let name = || String::from_utf8_lossy(cwd).into_owned();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |error: rustix::io::Errno| match error {
        rustix::io::Errno::NOENT => RunError::NoCwd { cwd: name() },
        rustix::io::Errno::NOTDIR => RunError::CwdNotADirectory { cwd: name() },
        error => RunError::Cwd { cwd: name(), errno: error.raw_os_error() },
    };
    let folder = openat2(CWD, cwd, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map_err(failed)?;
    rustix::process::fchdir(&folder).map_err(failed)?;
    // The kernel says "(unreachable)" of a folder outside the root.
    let real = rustix::process::getcwd(Vec::new()).map_err(failed)?;
    match real.as_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err(failed(rustix::io::Errno::XDEV)),
    }
}

pub(super) fn explain(program: &CStr, error: Errno, uid: u32) -> RunError {
    let name = text(program);
    match error {
        Errno::ENOENT | Errno::ENOTDIR => match statat(CWD, program, AtFlags::empty()) {
            Ok(_) => RunError::NoInterpreter { program: name, interpreter: interpreter(program) },
            Err(_) => RunError::NotFound { program: name },
        },
        Errno::ENOEXEC => RunError::WrongFormat { program: name, why: format_of(&beginning(program)) },
        Errno::EACCES => RunError::NotExecutable { program: name, uid },
        error => RunError::Exec { program: name, errno: error as i32 },
    }
}

/// The first bytes of a regular file; nothing of anything else, which may block or have no end.
fn beginning(program: &CStr) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = open(program, flags, Mode::empty()) else { return bytes };
    let regular = rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    if regular {
        // What cannot be read is left out of the explanation.
        let _ = File::from(file).take(64 << 10).read_to_end(&mut bytes);
    }
    bytes
}

fn interpreter(program: &CStr) -> String {
    let bytes = beginning(program);
    elf::shebang(&bytes).or_else(|| elf::loader(&bytes)).unwrap_or_else(|| "its interpreter".into())
}

/// What a file is that the kernel does not know how to start.
fn format_of(bytes: &[u8]) -> String {
    let here = std::env::consts::ARCH;
    if let Some(machine) = Machine::of(bytes) {
        return format!("it is {machine} program, and this machine is {here}");
    }
    match bytes {
        [b'#', b'!', ..] => "its #! line names something that is no program".into(),
        [] => "it is empty or cannot be read".into(),
        _ => "it is neither an ELF program nor a script with a #! line".into(),
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_program_is_told_by_its_machine() {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = 183;
        assert!(format_of(&elf).contains("aarch64 program"), "{}", format_of(&elf));
    }
}
