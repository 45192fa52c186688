//! Whether bytes are an archive.

use super::ustar::{BLOCK, Header};

/// The kinds of archive that ADD takes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    Tar,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl ArchiveKind {
    /// How many bytes [`ArchiveKind::sniff`] wants to see, where there are so many.
    pub const PREFIX: usize = BLOCK;

    /// From the first bytes. What is compressed may still hold no tar: the caller sniffs again behind it.
    pub fn sniff(prefix: &[u8]) -> Option<Self> {
        match prefix {
            [0x1f, 0x8b, 0x08, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => prefix.first_chunk().filter(|&block| is_header(block)).map(|_| Self::Tar),
        }
    }
}

/// A block of zeros has the right checksum by chance, and is no header.
fn is_header(block: &[u8; BLOCK]) -> bool {
    *block != [0; BLOCK] && Header::decode(block).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_first_bytes() {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut tar::Header::new_gnu(), "f", &[][..]).unwrap();
        let tar = tar.into_inner().unwrap();
        assert_eq!(ArchiveKind::sniff(&tar), Some(ArchiveKind::Tar));
        assert_eq!(ArchiveKind::sniff(&tar[..511]), None);
        assert_eq!(ArchiveKind::sniff(&[0x1f, 0x8b, 8, 0]), Some(ArchiveKind::Gzip));
        assert_eq!(ArchiveKind::sniff(b"BZh9"), Some(ArchiveKind::Bzip2));
        assert_eq!(ArchiveKind::sniff(b"\xfd7zXZ\0"), Some(ArchiveKind::Xz));
        assert_eq!(ArchiveKind::sniff(b"\x28\xb5\x2f\xfd"), Some(ArchiveKind::Zstd));
        for other in [&b""[..], &[0; 1024], &[b'a'; 1024], b"PK\x03\x04", b"\x7fELF"] {
            assert_eq!(ArchiveKind::sniff(other), None);
        }
    }
}
