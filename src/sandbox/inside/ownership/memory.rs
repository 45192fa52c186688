//! The memory of a caller: what its pointers point to. Every address is hostile.

use std::mem::MaybeUninit;

use nix::libc;
use rustix::io::Errno;

use super::listener::{Caller, last_error};

const PAGE: usize = 4096;
/// The longest path, its NUL included (limits.h).
const PATH_MAX: usize = 4096;

/// Reads a path, without its NUL.
pub(super) fn read_path(caller: Caller, address: u64) -> Result<Vec<u8>, Errno> {
    read_string(caller, address, PATH_MAX).map_err(|error| match error {
        Errno::RANGE => Errno::NAMETOOLONG,
        error => error,
    })
}

/// Reads up to a NUL, which must come within `limit` bytes (else ERANGE).
pub(super) fn read_string(caller: Caller, address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::with_capacity(256);
    let mut at = address;
    while text.len() < limit {
        // Not over the end of a page: the next one may not be there.
        let mut chunk = [0; PAGE];
        let length = (PAGE - at as usize % PAGE).min(limit - text.len()).min(if text.is_empty() { 256 } else { PAGE });
        read(caller, at, &mut chunk[..length])?;
        match chunk[..length].iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&chunk[..end]);
                return Ok(text);
            }
            None => text.extend_from_slice(&chunk[..length]),
        }
        at = at.checked_add(length as u64).ok_or(Errno::FAULT)?;
    }
    Err(Errno::RANGE)
}

pub(super) fn read_words<const N: usize>(caller: Caller, address: u64) -> Result<[u32; N], Errno> {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(read_vec(caller, address, N * 4)?.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Ok(words)
}

/// `length` must have been bounded.
pub(super) fn read_vec(caller: Caller, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    read(caller, address, &mut bytes)?;
    Ok(bytes)
}

fn read(caller: Caller, address: u64, into: &mut [u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the local range is a slice of ours; the remote one is only looked at by the kernel, which checks it.
    let count =
        unsafe { libc::process_vm_readv(caller.0 as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    whole(count, into.len())
}

pub(super) fn write(caller: Caller, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the local range is a slice of ours, which is read; the remote one is the caller's, and the kernel
    // writes only where the caller itself could.
    let count =
        unsafe { libc::process_vm_writev(caller.0 as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    whole(count, bytes.len())
}

fn whole(count: isize, wanted: usize) -> Result<(), Errno> {
    match usize::try_from(count) {
        Ok(count) if count == wanted => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => Err(last_error()),
    }
}

/// The bytes of a structure that the kernel has filled.
///
/// # Safety
/// All of `value`, padding included, must be initialised, as it is when it began as zeroes.
pub(super) unsafe fn bytes_of<T>(value: &MaybeUninit<T>) -> &[u8] {
    // SAFETY: by the caller's promise each byte is initialised; the slice covers the value and lives as long.
    unsafe { std::slice::from_raw_parts(value.as_ptr().cast(), size_of::<T>()) }
}
