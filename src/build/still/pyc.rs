//! The head of a compiled Python file: which source it was made of.
//!
//! Python takes such a file when time and size of the source are what it says
//! (<https://peps.python.org/pep-0552/>; importlib, `_validate_timestamp_pyc`).

use crate::layer::LayerPath;

/// The longest head.
pub(super) const HEAD: usize = 16;

/// What the head says of the source, modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Where in the file the time is: four bytes, the lowest first.
    pub at: u64,
    pub mtime: u32,
    pub size: u32,
}

/// `None` for what holds a hash instead, which is right whatever the time, and for what is no such file, or one of a
/// Python that we do not know (CPython, Lib/importlib/_bootstrap_external.py, "Known values").
pub(super) fn stamp(head: &[u8]) -> Option<Stamp> {
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let magic = number(0)?;
    if magic >> 16 != u32::from(u16::from_le_bytes(*b"\r\n")) {
        return None;
    }
    let at = match magic & 0xffff {
        // Since Python 3.3 there is a size; since 3.7 there are flags before the time.
        3210..=3391 => 4,
        3392..=19_999 if number(4)? == 0 => 8,
        _ => return None,
    };
    Some(Stamp { at: at as u64, mtime: number(at)?, size: number(at + 4)? })
}

/// The source of `__pycache__/name.cpython-311.opt-1.pyc`, or of `name.pyc`: `name.py`.
pub(super) fn source(path: &LayerPath) -> Option<LayerPath> {
    let folder = path.parent()?;
    let name = path.name()?.strip_suffix(b".pyc")?;
    if folder.name() != Some(b"__pycache__") {
        return folder.join(&[name, b".py"].concat()).ok();
    }
    let without_last = |name: &[u8]| Some(name[..name.iter().rposition(|&byte| byte == b'.')?].to_vec());
    let last = name.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let name = if last.starts_with(b"opt-") { without_last(name)? } else { name.to_vec() };
    folder.parent()?.join(&[&without_last(&name)?[..], b".py"].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(magic: u16, numbers: &[u32]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        magic.to_le_bytes().into_iter().chain(*b"\r\n").chain(numbers).collect()
    }

    #[test]
    fn a_head_says_the_time_and_the_size_of_the_source() {
        let new = Some(Stamp { at: 8, mtime: 77, size: 9 });
        for magic in [3394, 3495, 3531, 3627] {
            assert_eq!(stamp(&head(magic, &[0, 77, 9])), new, "{magic}");
        }
        assert_eq!(stamp(&head(3379, &[77, 9, 1])), Some(Stamp { at: 4, mtime: 77, size: 9 }), "Python 3.6");
    }

    #[test]
    fn hashes_and_what_is_no_compiled_file_have_no_time() {
        assert_eq!(stamp(&head(3495, &[3, 77, 9])), None, "a hash, checked");
        assert_eq!(stamp(&head(3495, &[1, 77, 9])), None, "a hash, unchecked");
        assert_eq!(stamp(&head(62_211, &[77, 9, 9])), None, "Python 2.7");
        assert_eq!(stamp(&head(3495, &[0, 77])), None, "cut short");
        assert_eq!(stamp(b""), None);
        assert_eq!(stamp(b"#!/usr/bin/python"), None);
    }

    #[test]
    fn a_compiled_file_has_its_source_beside_it_or_above() {
        let of = |text: &str| source(&LayerPath::parse(text.as_bytes()).expect("a path")).map(|path| path.to_string());
        for (path, wanted) in [
            ("a/__pycache__/m.cpython-311.pyc", Some("/a/m.py")),
            ("a/__pycache__/m.cpython-311.opt-2.pyc", Some("/a/m.py")),
            ("__pycache__/m.x.cpython-39.pyc", Some("/m.x.py")),
            ("a/m.pyc", Some("/a/m.py")),
            ("a/__pycache__/m.pyc", None),
            ("a/m.txt", None),
        ] {
            assert_eq!(of(path).as_deref(), wanted, "{path}");
        }
    }
}
