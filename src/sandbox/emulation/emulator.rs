//! An emulator in `PATH`, and the line that registers it.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::elf::{self, Machine};

/// QEMU's emulator of one CPU for programs of Linux, linked statically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    architecture: String,
    machine: Machine,
    path: PathBuf,
}

/// What was looked for, and what there is.
pub(super) enum Found {
    Static(Emulator),
    /// One whose loader and libraries would have to be in the image.
    Dynamic {
        emulator: String,
        path: PathBuf,
    },
    Nothing {
        emulator: String,
    },
}

impl Emulator {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the file `register` of a `binfmt_misc`: `:name:type:offset:magic:mask:interpreter:flags`, its first
    /// character being what stands between the others.
    ///
    /// P keeps the program's own `argv[0]`, by which busybox knows its applets; O and C give the emulator the program
    /// already open, and a set-id program its owner; F opens the emulator now, so that the image need not hold it.
    pub(in crate::sandbox) fn registration(&self) -> Vec<u8> {
        let (magic, mask) = signature(self.machine);
        let path = self.path.as_os_str().as_bytes();
        let between = *b":|;!%".iter().find(|byte| !path.contains(byte)).unwrap_or(&0x01);
        let name = name(&self.architecture);
        let fields: [&[u8]; 8] = [b"", name.as_bytes(), b"M", b"", &escaped(&magic), &escaped(&mask), path, b"POCF"];
        fields.join(&between)
    }
}

/// What QEMU's packages call it, and a registration of it.
pub(super) fn name(architecture: &str) -> String {
    format!("qemu-{}", qemu_word(architecture))
}

/// The first in `PATH` that is linked statically; Debian's name for it goes first.
pub(super) fn find(architecture: &str, machine: Machine) -> Found {
    let name = name(architecture);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dynamic = None;
    for candidate in [format!("{name}-static"), name.clone()] {
        for folder in env::split_paths(&path).filter(|folder| folder.is_absolute()) {
            let path = folder.join(&candidate);
            match is_static(&path) {
                Some(true) => return Found::Static(Emulator { architecture: architecture.to_owned(), machine, path }),
                Some(false) => dynamic = dynamic.or(Some(path)),
                None => {}
            }
        }
    }
    let emulator = format!("{name}-static");
    match dynamic {
        Some(path) => Found::Dynamic { emulator, path },
        None => Found::Nothing { emulator },
    }
}

/// Whether a program asks for no loader; nothing where it is no program for us.
fn is_static(path: &Path) -> Option<bool> {
    let stat = path.metadata().ok()?;
    if !stat.is_file() || stat.permissions().mode() & 0o111 == 0 {
        return None;
    }
    let mut beginning = Vec::new();
    File::open(path).ok()?.take(64 << 10).read_to_end(&mut beginning).ok()?;
    Machine::of(&beginning)?;
    Some(elf::loader(&beginning).is_none())
}

/// The first 20 bytes of a program that is to be emulated, and which of their bits count: an executable or a
/// position-independent one, of any OS ABI (QEMU, scripts/qemu-binfmt-conf.sh).
fn signature(machine: Machine) -> ([u8; 20], [u8; 20]) {
    let Machine { class, order, code } = machine;
    let number = |number: u16| if order == 1 { number.to_le_bytes() } else { number.to_be_bytes() };
    let (executable, any_executable, code) = (number(2), number(0xfffe), number(code));
    let mut magic = [0; 20];
    magic[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    magic[16..18].copy_from_slice(&executable);
    magic[18..].copy_from_slice(&code);
    let mut mask = [0xff; 20];
    mask[7] = 0;
    mask[16..18].copy_from_slice(&any_executable);
    (magic, mask)
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect()
}

/// QEMU's word for what an image calls an architecture.
fn qemu_word(architecture: &str) -> &str {
    match architecture {
        "386" => "i386",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "loong64" => "loongarch64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator(architecture: &str, path: &str) -> Emulator {
        let machine = Machine::of_architecture(architecture).expect("it is known");
        Emulator { architecture: architecture.to_owned(), machine, path: path.into() }
    }

    // Debian 12, /usr/lib/binfmt.d/qemu-aarch64.conf and qemu-s390x.conf.
    #[test]
    fn a_registration_has_the_magic_and_mask_of_qemus_own() {
        let registration = |architecture: &str, path: &str| {
            String::from_utf8(emulator(architecture, path).registration()).expect("it is text")
        };
        assert_eq!(
            registration("arm64", "/q"),
            r":qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:POCF"
        );
        assert_eq!(
            registration("s390x", "/a:q"),
            r"|qemu-s390x|M||\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16|\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff|/a:q|POCF"
        );
    }
}
