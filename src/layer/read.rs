//! A tar from anywhere, read with suspicion.
//!
//! Where Go's archive/tar reads something, the same is read here, or it is refused: what we see in a layer is what
//! everyone else sees in it (CVE-2025-62518, GHSA-3cv2-h65g-fgmm).

use std::io::{self, BufReader, Read};
use std::ops::Range;

use super::pax::Pax;
use super::ustar::{BLOCK, Header};
use super::{Entry, Kind, LayerPath, Offset, PathError};

/// What is next in a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Something that is there.
    Entry(LayerPath, Entry<Offset>),
    /// A path of lower layers that is gone.
    Whiteout(LayerPath),
    /// A directory of which nothing in lower layers is left.
    Opaque(LayerPath),
}

/// Why bytes are not a tar that can be a layer (POSIX.1-2001 pax, GNU long names).
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("cannot read a tar: {0}")]
    Read(#[from] io::Error),
    #[error("the tar ends in the middle of an entry")]
    Truncated,
    #[error("the tar is damaged at byte {at}: {what}")]
    Damaged { at: u64, what: &'static str },
    #[error("the tar has an entry with a path that is refused: {0}")]
    Path(#[from] PathError),
    #[error("the tar's entry {path} is refused: {why}")]
    Refused { path: LayerPath, why: &'static str },
    #[error("the tar has more than {limit} {what}")]
    TooMany { what: &'static str, limit: u64 },
}

/// The most entries.
const ENTRIES: u64 = 4_000_000;
/// The most bytes of names, links and extended attributes of all entries, which an index holds in memory.
const NAMES: u64 = 512 << 20;
/// The most bytes of the pax records of one entry: what Go allows too.
const RECORDS: u64 = 1 << 20;
/// The longest target of a symlink, in bytes: PATH_MAX less its NUL.
const TARGET: usize = 4095;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What Docker's aufs driver left at the root of old layers. Docker passes over it too.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"];

/// The entries of an uncompressed tar, one after the other.
pub struct Entries<R> {
    tar: BufReader<R>,
    /// How many bytes were taken.
    at: u64,
    /// How many bytes of the entry's data are still to come, and of zeros behind them.
    data: u64,
    padding: u64,
    /// Where the last entry's header begins, with all that stands in front to complete it, and where it ends.
    headers: Range<u64>,
    entries: u64,
    names: u64,
    ended: bool,
}

impl<R: Read> Entries<R> {
    pub fn new(tar: R) -> Self {
        let tar = BufReader::with_capacity(64 << 10, tar);
        Self { tar, at: 0, data: 0, padding: 0, headers: 0..0, entries: 0, names: 0, ended: false }
    }

    /// Where in the tar the headers are of the entry that [`Entries::next`] gave last.
    pub(super) fn headers(&self) -> Range<u64> {
        self.headers.clone()
    }

    /// The next entry. What was not read of the last one's data is passed over. At the end the tar has been read to
    /// its very last byte, so that a digest over the reader is that of all of it.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Item>, TarError> {
        while !self.ended {
            self.pass_over_data()?;
            let at = self.at;
            let Some(raw) = self.raw_entry()? else {
                self.ended = true;
                // Bytes after the trailer are part of the digest, and a reader that stops at the trailer has verified
                // nothing.
                io::copy(&mut self.tar, &mut io::sink())?;
                break;
            };
            self.headers = at..self.at;
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(TarError::TooMany { what: "entries", limit: ENTRIES });
            }
            if let Some(item) = self.item(raw, at)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// A header with all that was put in front of it to complete it.
    fn raw_entry(&mut self) -> Result<Option<Raw>, TarError> {
        let (mut pax, mut long_name, mut long_link) = (None, None, None);
        loop {
            let at = self.at;
            let damaged = |what| TarError::Damaged { at, what };
            let Some(header) = self.header()? else {
                return match (pax, long_name, long_link) {
                    (None, None, None) => Ok(None),
                    _ => Err(TarError::Truncated),
                };
            };
            match header.type_flag {
                b'x' if pax.is_some() => return Err(damaged("an entry has pax records twice")),
                b'L' if long_name.is_some() => return Err(damaged("an entry has two long names")),
                b'K' if long_link.is_some() => return Err(damaged("an entry has two long links")),
                b'x' => pax = Some(Pax::decode(&self.front_matter(&header, RECORDS)?).map_err(damaged)?),
                b'L' => long_name = Some(until_nul(self.front_matter(&header, 4 * TARGET as u64)?)),
                b'K' => long_link = Some(until_nul(self.front_matter(&header, 4 * TARGET as u64)?)),
                b'g' => {
                    // Go does not apply them, others do. What git writes here is a comment.
                    if !Pax::decode(&self.front_matter(&header, RECORDS)?).map_err(damaged)?.is_empty() {
                        return Err(damaged("pax records for all entries are not supported"));
                    }
                }
                _ => {
                    let pax = pax.unwrap_or_default();
                    // As Go has it, GNU's long name wins over a pax path, and the pax size is that of the entry, not
                    // of what stands between (CVE-2025-62518).
                    return Ok(Some(Raw {
                        name: long_name.or(pax.path).unwrap_or(header.name),
                        link: long_link.or(pax.link).unwrap_or(header.link),
                        size: pax.size.unwrap_or(header.size),
                        uid: id(pax.uid.unwrap_or(header.uid)).ok_or(damaged("a uid is too large"))?,
                        gid: id(pax.gid.unwrap_or(header.gid)).ok_or(damaged("a gid is too large"))?,
                        mtime: pax.mtime.unwrap_or(header.mtime),
                        xattrs: pax.xattrs,
                        mode: header.mode,
                        type_flag: header.type_flag,
                        device: (header.major, header.minor),
                    }));
                }
            }
        }
    }

    /// What an entry means; `None` for what means nothing.
    fn item(&mut self, raw: Raw, at: u64) -> Result<Option<Item>, TarError> {
        let (dir, name) = place(&raw.name)?;
        // Only files have data; the size that some writers give to others is not followed by any.
        let file = matches!(raw.type_flag, b'0' | 0 | b'7') && !(raw.type_flag == 0 && raw.name.ends_with(b"/"));
        if file {
            if raw.size > i64::MAX as u64 {
                return Err(TarError::Damaged { at, what: "a size is too large" });
            }
            self.data = raw.size;
            self.padding = raw.size.next_multiple_of(BLOCK as u64) - raw.size;
        }
        if dir.components().chain([name]).next().is_some_and(|top| AUFS.contains(&top)) {
            return Ok(None);
        }
        let reserved = |name: &[u8]| name.starts_with(WHITEOUT);
        if dir.components().any(reserved) {
            return Err(TarError::Refused { path: dir, why: "no directory can have the name of a whiteout" });
        }
        if reserved(name) {
            return self.marker(dir, name).map(Some);
        }
        let path = if name.is_empty() { dir } else { dir.join(name)? };
        let refused = |why| TarError::Refused { path: path.clone(), why };
        let (major, minor) = raw.device;
        let kind = match raw.type_flag {
            _ if file => Kind::File { size: raw.size, content: Offset(self.at) },
            b'5' | 0 => Kind::Directory,
            b'1' => {
                Kind::HardLink { to: LayerPath::parse(&raw.link).map_err(|_| refused("it links out of the image"))? }
            }
            b'2' if raw.link.is_empty() => return Err(refused("a symlink leads nowhere")),
            b'2' if raw.link.len() > TARGET => return Err(refused("a symlink's target is too long")),
            b'2' => Kind::Symlink { target: raw.link },
            b'3' => Kind::CharDevice { major, minor },
            b'4' => Kind::BlockDevice { major, minor },
            b'6' => Kind::Fifo,
            b'S' => return Err(refused("a sparse file is not supported")),
            _ => return Err(refused("it is neither file, directory, link nor device")),
        };
        match &kind {
            Kind::Directory => {}
            _ if path.is_root() => return Err(refused("the root can only be a directory")),
            Kind::HardLink { to } if *to == path || to.is_root() => {
                return Err(refused("it is a hard link to no file"));
            }
            Kind::HardLink { .. } | Kind::File { .. } | Kind::Symlink { .. } => {}
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {}
        }
        let mut xattrs = raw.xattrs;
        // They would tell overlayfs to look elsewhere, and are of the machine that the layer was made on.
        xattrs.retain(|name, _| !name.starts_with("user.overlay.") && !name.starts_with("trusted.overlay."));
        self.names += (path.as_bytes().len() + kind.link_length()) as u64;
        self.names += xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
        if self.names > NAMES {
            return Err(TarError::TooMany { what: "bytes of names", limit: NAMES });
        }
        let (mode, uid, gid, mtime) = (raw.mode, raw.uid, raw.gid, raw.mtime);
        Ok(Some(Item::Entry(path, Entry { kind, mode, uid, gid, mtime, xattrs })))
    }

    /// <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>
    fn marker(&mut self, dir: LayerPath, name: &[u8]) -> Result<Item, TarError> {
        if name == OPAQUE {
            return Ok(Item::Opaque(dir));
        }
        match &name[WHITEOUT.len()..] {
            b"" | b"." | b".." => Err(TarError::Refused { path: dir, why: "a whiteout in it has no name" }),
            gone if gone.starts_with(WHITEOUT) => {
                Err(TarError::Refused { path: dir, why: "a whiteout in it has the name of a whiteout" })
            }
            gone => Ok(Item::Whiteout(dir.join(gone)?)),
        }
    }

    /// The next header; `None` at the trailer, or where the tar ends without one, as Go allows.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let at = self.at;
        let Some(block) = self.block()? else { return Ok(None) };
        if block != [0; BLOCK] {
            return Header::decode(&block).map(Some).map_err(|what| TarError::Damaged { at, what });
        }
        match self.block()? {
            None => Ok(None),
            Some(block) if block == [0; BLOCK] => Ok(None),
            Some(_) => Err(TarError::Damaged { at, what: "zeros where a header belongs" }),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.tar.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.at += BLOCK as u64;
        Ok(Some(block))
    }

    /// The data of a header that only completes the next.
    fn front_matter(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, TarError> {
        if header.size > limit {
            return Err(TarError::TooMany { what: "bytes of records or name in front of one entry", limit });
        }
        self.data = header.size;
        self.padding = header.size.next_multiple_of(BLOCK as u64) - header.size;
        let mut bytes = Vec::with_capacity(header.size as usize);
        self.read_to_end(&mut bytes).map_err(truncated)?;
        self.pass_over_data()?;
        Ok(bytes)
    }

    fn pass_over_data(&mut self) -> Result<(), TarError> {
        io::copy(self, &mut io::sink()).map_err(truncated)?;
        self.data = std::mem::take(&mut self.padding);
        io::copy(self, &mut io::sink()).map_err(truncated)?;
        Ok(())
    }
}

/// The data of the entry that [`Entries::next`] gave last; empty for what is no file.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        let read = self.tar.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= read as u64;
        self.at += read as u64;
        Ok(read)
    }
}

/// An entry before anyone asked what it means.
struct Raw {
    name: Vec<u8>,
    link: Vec<u8>,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: std::collections::BTreeMap<String, Vec<u8>>,
    type_flag: u8,
    device: (u32, u32),
}

impl Kind<Offset> {
    fn link_length(&self) -> usize {
        match self {
            Self::Symlink { target } => target.len(),
            Self::HardLink { to } => to.as_bytes().len(),
            Self::Directory | Self::File { .. } | Self::Fifo => 0,
            Self::CharDevice { .. } | Self::BlockDevice { .. } => 0,
        }
    }
}

/// Directory and last name of an entry, apart, because a whiteout's name may be longer than names are. The name is
/// empty for the root.
fn place(path: &[u8]) -> Result<(LayerPath, &[u8]), PathError> {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let (dir, name) = match path[..end].iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..=slash], &path[slash + 1..end]),
        None => (&b"/"[..], &path[..end]),
    };
    match name {
        b"" if path.is_empty() => Err(PathError::Empty),
        b"" | b"." => Ok((LayerPath::parse(dir)?, b"")),
        name if name.starts_with(WHITEOUT) => Ok((LayerPath::parse(dir)?, name)),
        // The whole path is judged, so that an error shows it.
        name => LayerPath::parse(path).map(|path| (path.parent().unwrap_or_else(LayerPath::root), name)),
    }
}

/// The largest id is none: chown(2) takes it to mean "as it is".
fn id(id: u64) -> Option<u32> {
    u32::try_from(id).ok().filter(|&id| id != u32::MAX)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    bytes
}

fn truncated(error: io::Error) -> TarError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Truncated,
        _ => TarError::Read(error),
    }
}
