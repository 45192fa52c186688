//! Zstandard streams: frames one behind the other, some to be skipped (RFC 8878, section 3.1).

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Reads all frames of a stream as one.
pub(super) struct Frames<R> {
    source: BufReader<R>,
    /// The frame that is being read. In a box: it is large.
    frame: Option<Box<FrameDecoder>>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { source: BufReader::with_capacity(128 << 10, inner), frame: None }
    }

    /// Begins the next frame, or gets behind one that is to be skipped. Its first byte is there.
    fn begin(&mut self) -> io::Result<()> {
        let mut magic = [0; 4];
        self.source.read_exact(&mut magic)?;
        if !matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
            let mut decoder = FrameDecoder::new();
            decoder.init(magic.chain(&mut self.source)).map_err(bad)?;
            self.frame = Some(Box::new(decoder));
            return Ok(());
        }
        let mut length = [0; 4];
        self.source.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        match io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? {
            skipped if skipped == length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else {
                if buffer.is_empty() || self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            };
            if frame.can_collect() > 0 {
                return frame.read(buffer);
            }
            if !frame.is_finished() {
                frame.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1)).map_err(bad)?;
                continue;
            }
            let (said, got) = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
            if said.is_some_and(|said| Some(said) != got) {
                return Err(bad("a frame's checksum is not that of its content"));
            }
            self.frame = None;
        }
    }
}

fn bad(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One frame of one raw block (RFC 8878, sections 3.1.1.1 and 3.1.1.2), without a checksum.
    pub(in crate::layer) fn raw_frame(bytes: &[u8]) -> Vec<u8> {
        let size = bytes.len() as u32;
        let header = (size << 3 | 1).to_le_bytes();
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
        frame.extend(size.to_le_bytes());
        frame.extend(&header[..3]);
        frame.extend(bytes);
        frame
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_are_one_stream_and_those_to_be_skipped_are_skipped() {
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"...", &[]].concat();
        let stream = [raw_frame(b"one "), skipped, raw_frame(b""), raw_frame(b"two")].concat();
        assert_eq!(read(&stream).unwrap(), b"one two");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn a_stream_that_was_cut_short_or_added_to_is_an_error() {
        let frame = raw_frame(b"some bytes");
        for end in 1..frame.len() {
            assert!(read(&frame[..end]).is_err(), "{end}");
        }
        assert!(read(&[&frame[..], b"more"].concat()).is_err());
    }
}
