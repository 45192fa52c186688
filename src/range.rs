//! `Range: bytes=…`, one range only (RFC 9110, 14).

/// The first byte and the one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

/// What a client asks for of something with so many bytes: the whole, a part, or (`Err`) nothing that is there.
/// A header that is not understood asks for the whole, says the standard.
pub fn asked(header: Option<&str>, size: u64) -> Result<Option<Span>, ()> {
    let Some((first, last)) = header.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let span = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(from), Ok(last)) if from <= last => Span { from, to: last.saturating_add(1).min(size) },
        (Ok(from), Err(_)) if last.is_empty() => Span { from, to: size },
        (Err(_), Ok(count)) if first.is_empty() => Span { from: size.saturating_sub(count), to: size },
        _ => return Ok(None),
    };
    if span.from < span.to { Ok(Some(span)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        for (header, wanted) in [
            ("bytes=0-0", Ok(Some((0, 1)))),
            ("bytes=2-5", Ok(Some((2, 6)))),
            ("bytes=2-99", Ok(Some((2, 10)))),
            ("bytes=2-", Ok(Some((2, 10)))),
            ("bytes=-3", Ok(Some((7, 10)))),
            ("bytes=-99", Ok(Some((0, 10)))),
            ("bytes=10-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=5-2", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("lines=0-1", Ok(None)),
            ("bytes=0-18446744073709551615", Ok(Some((0, 10)))),
        ] {
            assert_eq!(asked(Some(header), 10).map(|span| span.map(|s| (s.from, s.to))), wanted, "{header}");
        }
    }
}
