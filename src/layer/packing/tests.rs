//! Each kind of packing read back by a decoder of somebody else's.

use std::io::Read;

use ::zstd::decode_all;

use super::testing::{input as some, noise};
use super::*;
use crate::image::Digest;

/// Blocks of gzip's, and a quarter of one of zstd's.
const BLOCK: usize = 1 << 20;

fn packed(input: &[u8], packing: Packing, threads: usize, write: usize) -> Vec<u8> {
    let mut packer = Packer::new(packing, threads, Vec::new()).unwrap();
    input.chunks(write.max(1)).for_each(|chunk| packer.write_all(chunk).unwrap());
    let (out, compressed) = packer.finish().unwrap();
    assert!(compressed.is_none_or(|known| known == (Digest::of(&out), out.len() as u64)));
    out
}

fn gzip(input: &[u8], level: u32, threads: usize, write: usize) -> Vec<u8> {
    packed(input, Packing::new(Compression::Gzip, Some(level)).unwrap(), threads, write)
}

fn gunzip(blob: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn threads_and_the_size_of_writes_do_not_show() {
    let input = [some(BLOCK), noise(3 * BLOCK / 2), some(3 * BLOCK)].concat();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packing = Packing::new(compression, None).unwrap();
        let one = packed(&input, packing, 1, input.len());
        for threads in [1, 2, 8] {
            for write in [511, 65_536, BLOCK + 1, input.len()] {
                assert!(packed(&input, packing, threads, write) == one, "{compression:?} {threads} threads, {write}");
            }
        }
        let short = &input[..BLOCK + 1000];
        assert!(packed(short, packing, 2, 1) == packed(short, packing, 1, short.len()), "writes of 1");
    }
}

#[test]
fn any_length_comes_back_from_gzip() {
    let input = some(2 * BLOCK);
    for length in [0, 1, BLOCK / 4, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
        assert!(gunzip(&gzip(&input[..length], 1, 2, BLOCK)) == input[..length], "{length}");
    }
}

#[test]
fn any_length_comes_back_from_zstd() {
    let input = some(9 << 20);
    for length in [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20] {
        let blob = packed(&input[..length], Packing::new(Compression::Zstd, None).unwrap(), 2, BLOCK);
        assert!(decode_all(&blob[..]).unwrap() == input[..length], "{length}");
    }
}

#[test]
fn noise_is_stored_wherever_it_stands() {
    let text = some(100_000);
    for (before, length, after) in
        [(0, BLOCK, 0), (0, 3 * BLOCK, 100), (70_000, 200_000, 0), (1, 2 * BLOCK + 3, 99_999)]
    {
        let input = [&text[..before], &noise(length), &text[..after]].concat();
        for level in [1, 6, 12] {
            let blob = gzip(&input, level, 2, BLOCK);
            assert!(gunzip(&blob) == input, "{before} {length} {after}, level {level}");
            assert!(blob.len() < length + before + after + length / 1000 + 800, "{} of {}", blob.len(), input.len());
        }
    }
}

#[test]
fn what_does_not_compress_has_room() {
    // Less than a piece at a time is not looked at, and goes through deflate.
    let input: Vec<u8> = noise(BLOCK).chunks(20_000).flat_map(|some| [some, &[b' '; 200]].concat()).collect();
    for level in [1, 6, 12] {
        assert!(gunzip(&gzip(&input, level, 1, BLOCK)) == input);
    }
}

// When these move, a new compressor has come into the house, and every layer that is built from now on has another
// digest than the same layer before: a person has to want that.
#[test]
fn the_bytes_of_each_level_do_not_move() {
    let input = [some(BLOCK + 12_345), noise(100_000)].concat();
    let digest = |compression, level| {
        let packing = Packing::new(compression, Some(level)).unwrap();
        (level, Digest::of(&packed(&input, packing, 2, BLOCK)).short())
    };
    let gzip = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12].map(|level| digest(Compression::Gzip, level));
    let zstd = [1, 3, 9, 19].map(|level| digest(Compression::Zstd, level));
    let golden = [
        (1, "c1abc64ef42d"),
        (2, "ff9f0c048045"),
        (3, "e05979b7c70d"),
        (4, "f67e8ebcefd4"),
        (5, "e94b9c180a0e"),
        (6, "b21149827a29"),
        (7, "547b9f04cc38"),
        (8, "461d4dd40f31"),
        (9, "cbc366b64481"),
        (12, "f7d4008613c0"),
    ];
    assert_eq!(gzip, golden.map(|(level, digest)| (level, digest.to_owned())));
    let golden = [(1, "7c27ebf37573"), (3, "544b35cc56dd"), (9, "adc1603f5539"), (19, "59918e726b80")];
    assert_eq!(zstd, golden.map(|(level, digest)| (level, digest.to_owned())));
}

// The same for blobs of other sizes, at the level that layers have.
#[test]
fn the_bytes_of_any_size_do_not_move() {
    let input = some(3 * BLOCK + 12_345);
    let sizes = [0, 1, 511, 32_768, 65_536, 1_000_000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 77];
    let digests = sizes.map(|size| Digest::of(&packed(&input[..size], Packing::default(), 2, 65_536)).short());
    let golden = [
        "30e6fa98fb48",
        "802293e19581",
        "fedbac2199de",
        "b464c68474e5",
        "550ea2602d0d",
        "217065371e3e",
        "3e18358851d6",
        "ef5cb9770442",
        "4c04d63cb430",
        "a37a1aaf0a34",
    ];
    assert_eq!(digests, golden.map(str::to_owned));
}

#[test]
fn levels_that_are_not_there_are_refused() {
    for level in [0, 13, u32::MAX] {
        assert_eq!(Packing::new(Compression::Gzip, Some(level)), Err(NoSuchPacking::Gzip(level)));
    }
    for level in [0, 20, u32::MAX] {
        assert_eq!(Packing::new(Compression::Zstd, Some(level)), Err(NoSuchPacking::Zstd(level)));
    }
    assert_eq!(Packing::new(Compression::Gzip, None), Ok(Packing::default()));
    assert_eq!(Packing::new(Compression::Zstd, None), Packing::new(Compression::Zstd, Some(3)));
    assert_eq!(Packing::new(Compression::None, None), Ok(Packing::None));
    assert_eq!(Packing::new(Compression::None, Some(1)), Err(NoSuchPacking::LevelOfNothing));
}

#[test]
fn an_error_below_is_passed_up() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut packer = Packer::new(Packing::default(), 2, Full).unwrap();
    let written = packer.write_all(&vec![1; 8 * BLOCK]);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
}
