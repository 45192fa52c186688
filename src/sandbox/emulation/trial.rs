//! The smallest program of a CPU: it ends with 0.

use crate::elf::Machine;

/// Where it lies in memory; pages have 64 KiB at most.
const ADDRESS: u32 = 0x40_0000;
const PAGE: u32 = 0x1_0000;

/// An ELF file of one segment, which is all of it (elf(5)).
pub(super) fn program(machine: Machine) -> Vec<u8> {
    let (code, flags) = exit(machine);
    let mut out = Written { machine, bytes: Vec::new() };
    let (header, entry) = if machine.class == 1 { (52_u16, 32_u16) } else { (64, 56) };
    let start = u32::from(header + entry);
    out.bytes.extend([0x7f, b'E', b'L', b'F', machine.class, machine.order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.half(2);
    out.half(machine.code);
    out.word(1);
    out.address(ADDRESS + start);
    out.address(header.into());
    out.address(0);
    out.word(flags);
    for number in [header, entry, 1, 0, 0, 0] {
        out.half(number);
    }
    // PT_LOAD, to be read and executed; the flags stand last where addresses have 32 bits.
    let length = start + code.len() as u32;
    out.word(1);
    if machine.class == 2 {
        out.word(5);
    }
    for number in [0, ADDRESS, ADDRESS, length, length] {
        out.address(number);
    }
    if machine.class == 1 {
        out.word(5);
    }
    out.address(PAGE);
    out.bytes.extend(code);
    out.bytes
}

/// exit(0), and the `e_flags` that say by which rules it is called.
fn exit(Machine { code, .. }: Machine) -> (&'static [u8], u32) {
    match code {
        // mov eax, 1; xor ebx, ebx; int 0x80
        3 => (b"\xb8\x01\0\0\0\x31\xdb\xcd\x80", 0),
        // li r0, 1; li r3, 0; sc; by ELFv2
        21 => (b"\x01\0\0\x38\0\0\x60\x38\x02\0\0\x44", 2),
        // lghi %r2, 0; svc 1
        22 => (b"\xa7\x29\0\0\x0a\x01", 0),
        // mov r0, #0; mov r7, #1; svc 0; by EABI 5
        40 => (b"\0\0\xa0\xe3\x01\x70\xa0\xe3\0\0\0\xef", 0x0500_0000),
        // mov x0, #0; mov x8, #93; svc #0
        183 => (b"\0\0\x80\xd2\xa8\x0b\x80\xd2\x01\0\0\xd4", 0),
        // li a0, 0; li a7, 93; ecall
        243 => (b"\x13\x05\0\0\x93\x08\xd0\x05\x73\0\0\0", 0),
        // addi.w $a0, $zero, 0; addi.w $a7, $zero, 93; syscall 0; double-float ABI
        258 => (b"\x04\0\x80\x02\x0b\x74\x81\x02\0\0\x2b\0", 0x43),
        // mov eax, 60; xor edi, edi; syscall
        _ => (b"\xb8\x3c\0\0\0\x31\xff\x0f\x05", 0),
    }
}

struct Written {
    machine: Machine,
    bytes: Vec<u8>,
}

impl Written {
    fn half(&mut self, number: u16) {
        let little = self.machine.order == 1;
        self.bytes.extend(if little { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    fn word(&mut self, number: u32) {
        let little = self.machine.order == 1;
        self.bytes.extend(if little { number.to_le_bytes() } else { number.to_be_bytes() });
    }

    /// Of the class's width.
    fn address(&mut self, number: u32) {
        let little = self.machine.order == 1;
        match self.machine.class {
            1 => self.word(number),
            _ if little => self.bytes.extend(u64::from(number).to_le_bytes()),
            _ => self.bytes.extend(u64::from(number).to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn this_machines_own_program_ends_with_0() {
        let ours = std::fs::read("/proc/self/exe").expect("we can read ourselves");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        let machine = Machine::of(&ours).expect("we are an ELF file");
        std::fs::write(&path, program(machine)).expect("it is ours");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        let ended = Command::new(&path).status().expect("the kernel takes it");
        assert_eq!(ended.code(), Some(0), "{ended}");
    }
}
