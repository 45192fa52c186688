//! What the first bytes of a program say: for which CPU it is, and who is to start it (elf(5), execve(2)).

use std::fmt;

/// For which CPU an ELF file is: the parts of its header that tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// 1 for 32 bits, 2 for 64.
    pub class: u8,
    /// 1 for little-endian, 2 for big-endian.
    pub order: u8,
    /// `e_machine`, of the ELF registry (linux/elf-em.h).
    pub code: u16,
}

impl Machine {
    /// Of a file that begins so; nothing where it is no ELF file.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (class, order) = (*bytes.get(4)?, *bytes.get(5)?);
        let code = [*bytes.get(18)?, *bytes.get(19)?];
        let code = if order == BIG { u16::from_be_bytes(code) } else { u16::from_le_bytes(code) };
        bytes.starts_with(MAGIC).then_some(Self { class, order, code })
    }

    /// What an image's config calls an architecture whose programs are these; nothing where it is not known.
    pub fn of_architecture(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, machine, _)| *machine)
    }

    /// Whether a CPU of this architecture runs such programs, be it in a 32-bit mode. That of ARM is left out of some
    /// CPUs, but not forbidden.
    pub fn runs_on(self, architecture: &str) -> bool {
        let narrower = match architecture {
            "amd64" => Self::of_architecture("386"),
            "arm64" => Self::of_architecture("arm"),
            _ => None,
        };
        [Self::of_architecture(architecture), narrower].contains(&Some(self))
    }
}

impl fmt::Display for Machine {
    /// With its article.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(_, machine, _)| machine == self) {
            Some((.., words)) => f.write_str(words),
            None => write!(f, "a machine {}", self.code),
        }
    }
}

/// Whether a file is an ELF file, as far as it is there.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The program of a `#!` line.
pub fn shebang(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(&line[..line.len().min(255)]).into_owned();
    // A script from Windows names an interpreter whose name ends in a carriage return.
    Some(line.trim_matches([' ', '\t']).split([' ', '\t']).next()?.replace('\r', "\\r"))
}

/// The loader that a 64-bit little-endian ELF file asks for: its PT_INTERP (elf(5)).
pub fn loader(bytes: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let entry = (0..count).map_while(|index| table.checked_add(index * size));
    let entry = entry.take_while(|at| *at < bytes.len()).find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(entry.checked_add(8)?, 8)? as usize, number(entry.checked_add(32)?, 8)? as usize);
    let name = bytes.get(offset..offset.checked_add(length)?)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

const MAGIC: &[u8] = b"\x7fELF";
const BIG: u8 = 2;

/// An image's word for an architecture, its programs, and what people call those.
const KNOWN: [(&str, Machine, &str); 8] = [
    ("386", Machine { class: 1, order: 1, code: 3 }, "a 32-bit x86"),
    ("amd64", Machine { class: 2, order: 1, code: 62 }, "an x86_64"),
    ("arm", Machine { class: 1, order: 1, code: 40 }, "a 32-bit arm"),
    ("arm64", Machine { class: 2, order: 1, code: 183 }, "an aarch64"),
    ("loong64", Machine { class: 2, order: 1, code: 258 }, "a loongarch64"),
    ("ppc64le", Machine { class: 2, order: 1, code: 21 }, "a ppc64le"),
    ("riscv64", Machine { class: 2, order: 1, code: 243 }, "a riscv64"),
    ("s390x", Machine { class: 2, order: 2, code: 22 }, "an s390x"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_named_with_its_carriage_return() {
        assert_eq!(shebang(b"#!/bin/bash\r\necho").as_deref(), Some("/bin/bash\\r"));
        assert_eq!(shebang(b"#! /usr/bin/env node\n").as_deref(), Some("/usr/bin/env"));
        assert_eq!(shebang(b"\x7fELF"), None);
    }

    #[test]
    fn the_loader_of_a_dynamic_program_is_found_and_a_hostile_header_is_survived() {
        let ourselves = std::fs::read("/proc/self/exe").expect("we can read ourselves");
        let head = &ourselves[..4096.min(ourselves.len())];
        assert!(loader(head).is_none_or(|name| name.starts_with('/')));
        for cut in 0..head.len() {
            loader(&head[..cut]);
            Machine::of(&head[..cut]);
        }
        let mut hostile = head.to_vec();
        hostile[32..64].fill(0xff);
        assert_eq!(loader(&hostile), None);
    }

    #[test]
    fn a_program_is_told_by_its_machine() {
        let elf = |order: u8, code: [u8; 2]| {
            let mut elf = [b"\x7fELF\x02".as_slice(), &[order], &[0; 12]].concat();
            elf.extend(code);
            Machine::of(&elf).expect("a header")
        };
        assert_eq!(elf(1, [183, 0]).to_string(), "an aarch64");
        assert_eq!(elf(2, [0, 22]).to_string(), "an s390x");
        assert_eq!(elf(1, [8, 0]).to_string(), "a machine 8");
        assert_eq!(Machine::of(b"\x7fELF"), None);
    }

    #[test]
    fn a_cpu_runs_its_own_programs_and_the_narrower_ones_of_its_kind() {
        let machine = |name: &str| Machine::of_architecture(name).expect("it is known");
        assert!(machine("386").runs_on("amd64") && machine("amd64").runs_on("amd64"));
        assert!(!machine("amd64").runs_on("386") && !machine("arm64").runs_on("amd64"));
        assert!(!machine("arm64").runs_on("sparc"));
    }
}
