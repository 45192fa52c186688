//! The digests of files outside the store that were read before, so that they need not be read again while they are the
//! same: by what tells one state of a file from another, which is the reader's to say.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use super::{Store, StoreError};
use crate::image::Digest;

/// A state of a file, in bytes that no other state has.
pub type State = [u8; 56];

/// What the file begins with; another way to write it has another number.
const MAGIC: &[u8; 16] = b"locus hashes 1\n\0";

const RECORD: usize = size_of::<State>() + 32;

/// The largest file of digests that is read back, in bytes: three million files.
const LIMIT: u64 = 256 << 20;

/// The digests of one context's files.
#[derive(Debug)]
pub struct Hashes {
    path: PathBuf,
    /// And whether it was asked for.
    known: HashMap<State, (Digest, bool)>,
    learnt: bool,
}

impl Store {
    /// What is known of the files of the context with this name. What cannot be read is not known.
    pub fn hashes(&self, context: &Digest) -> Hashes {
        let path = self.root().join("hashes").join(context.hex());
        let known = read(&path).unwrap_or_default();
        if !known.is_empty() {
            self.used(&path);
        }
        Hashes { path, known, learnt: false }
    }

    /// Keeps what was learnt; and forgets what was not asked for, where all there is was asked for.
    pub fn keep_hashes(&self, hashes: &Hashes, all: bool) -> Result<(), StoreError> {
        let left_over = all && hashes.known.values().any(|(_, asked)| !asked);
        if !hashes.learnt && !left_over {
            return Ok(());
        }
        let mut bytes = MAGIC.to_vec();
        for (state, (digest, asked)) in &hashes.known {
            if *asked || !all {
                bytes.extend_from_slice(state);
                bytes.extend_from_slice(digest.as_bytes());
            }
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        let mut temp = self.temp_file()?;
        let failed = || StoreError::io("write", &hashes.path);
        temp.write_all(&bytes).map_err(failed())?;
        // No fsync: what a crash leaves of it does not end with its digest, and is then nothing.
        temp.persist(&hashes.path).map_err(|error| failed()(error.error))?;
        Ok(())
    }
}

impl Hashes {
    pub fn get(&mut self, state: &State) -> Option<Digest> {
        let (digest, asked) = self.known.get_mut(state)?;
        *asked = true;
        Some(*digest)
    }

    pub fn learn(&mut self, state: State, digest: Digest) {
        self.known.insert(state, (digest, true));
        self.learnt = true;
    }
}

fn read(path: &std::path::Path) -> Option<HashMap<State, (Digest, bool)>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let records = body.strip_prefix(MAGIC)?;
    if Digest::of(body).as_bytes() != digest || records.len() % RECORD != 0 {
        return None;
    }
    let record = |record: &[u8]| {
        let (state, digest) = record.split_at(size_of::<State>());
        Some((State::try_from(state).ok()?, (Digest::from_bytes(digest.try_into().ok()?), false)))
    };
    records.chunks_exact(RECORD).map(record).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_learnt_is_known_until_nothing_asks_for_it() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (context, one, two) = (Digest::of(b"context"), Digest::of(b"1"), Digest::of(b"2"));
        let mut hashes = store.hashes(&context);
        assert_eq!(hashes.get(&[1; 56]), None);
        hashes.learn([1; 56], one);
        hashes.learn([2; 56], two);
        store.keep_hashes(&hashes, true).unwrap();

        let mut hashes = store.hashes(&context);
        assert_eq!((hashes.get(&[1; 56]), hashes.get(&[3; 56])), (Some(one), None));
        store.keep_hashes(&hashes, false).unwrap();
        assert_eq!(store.hashes(&context).get(&[2; 56]), Some(two));
        store.keep_hashes(&hashes, true).unwrap();
        let mut hashes = store.hashes(&context);
        assert_eq!((hashes.get(&[1; 56]), hashes.get(&[2; 56])), (Some(one), None));
        assert_eq!(store.hashes(&Digest::of(b"another")).get(&[1; 56]), None);
    }

    #[test]
    fn what_was_cut_or_changed_is_known_no_more() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let context = Digest::of(b"context");
        let mut hashes = store.hashes(&context);
        hashes.learn([1; 56], Digest::of(b"1"));
        store.keep_hashes(&hashes, true).unwrap();
        let path = home.path().join("hashes").join(context.hex());
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(store.hashes(&context).get(&[1; 56]), None, "{length}");
            let mut changed = whole.clone();
            changed[length] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert_eq!(store.hashes(&context).get(&[1; 56]), None, "{length}");
        }
    }
}
