//! How the headers of one entry differ, byte for byte, where what they mean is the same.

use std::collections::BTreeMap;

use super::super::pax;
use super::super::ustar::{BLOCK, Header, raw_fields};
use super::raw::Raw;

/// A field of a header, with its bytes on both sides.
pub(super) type Field = (String, [Option<Raw>; 2]);

/// The fields that are not the same, without those for which `explained` has been told already.
pub(super) fn differences(sides: [&[u8]; 2], explained: impl Fn(&str) -> bool) -> Vec<Field> {
    if sides[0] == sides[1] {
        return Vec::new();
    }
    let [mut left, mut right] = sides.map(fields);
    let names: std::collections::BTreeSet<String> = left.keys().chain(right.keys()).cloned().collect();
    let pairs = names.into_iter().map(|name| {
        let pair = [left.remove(&name), right.remove(&name)];
        (name, pair.map(|bytes| bytes.map(Raw)))
    });
    let different: Vec<Field> = pairs.filter(|(_, [left, right])| left != right).collect();
    let (follows, own): (Vec<Field>, Vec<Field>) = different.into_iter().partition(|(name, _)| follows(name));
    match own.is_empty() {
        // A wrong sum alone would not have been read; a space instead of a NUL behind it would.
        true => follows,
        false => own.into_iter().filter(|(name, _)| !explained(name)).collect(),
    }
}

/// Fields that are a function of the others: sums, and the length of records.
fn follows(name: &str) -> bool {
    name.ends_with("checksum") || name == "pax header size"
}

/// All fields of an entry's headers: `mode` of its own, `pax path` of a record before it, `pax header mtime` of the
/// header that the records have, `gnu name` of a long name.
fn fields(mut headers: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while let Some((block, rest)) = headers.split_first_chunk::<BLOCK>() {
        // The reader has read it, and nothing else comes here.
        let Ok(header) = Header::decode(block) else { break };
        let data = rest.get(..header.size as usize).unwrap_or_default();
        let prefix = match header.type_flag {
            b'x' | b'g' => "pax header ",
            b'L' => "gnu name header ",
            b'K' => "gnu link header ",
            _ => "",
        };
        let of = |(name, bytes): (&str, &[u8])| (format!("{prefix}{name}"), bytes.to_vec());
        fields.extend(raw_fields(block).map(of));
        match header.type_flag {
            b'x' | b'g' => fields.extend(pax::records(data).filter_map(Result::ok).map(|(key, value)| {
                let key = String::from_utf8_lossy(key);
                (format!("pax {key}"), value.to_vec())
            })),
            b'L' => drop(fields.insert("gnu name".to_owned(), data.to_vec())),
            b'K' => drop(fields.insert("gnu link".to_owned(), data.to_vec())),
            _ => break,
        }
        headers = rest.get(data.len().next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    fields
}
