//! What no compressor makes smaller, known before one has tried.

/// How much is judged at a time, in bytes.
pub(super) const PIECE: usize = 32 << 10;

/// Whether a piece is so even that compressing it would gain next to nothing.
///
/// Two questions, both in whole numbers, so that the answer is the same everywhere. Are all bytes about equally frequent,
/// as chance would have it: neither less even (Huffman's code would gain) nor more (a table that counts up is not noise)?
/// And do hardly any four bytes stand there twice? In 32 KiB of noise that is the case once in eight pieces.
pub(super) fn is_noise(piece: &[u8]) -> bool {
    piece.len() == PIECE && is_even(piece) && !repeats(piece)
}

/// With 128 of each byte expected, chance makes the squares of the 256 counts sum up to 32 KiB more than evenness does, give
/// or take 3 KiB. Ten times that is an entropy of 7.99 bits a byte: a gain of less than half a percent.
fn is_even(piece: &[u8]) -> bool {
    let mut counts = [[0u32; 256]; 4];
    for four in piece.chunks_exact(4) {
        for (count, &byte) in counts.iter_mut().zip(four) {
            count[usize::from(byte)] += 1;
        }
    }
    let squares: u64 = (0..256).map(|byte| counts.iter().map(|count| u64::from(count[byte])).sum::<u64>().pow(2)).sum();
    let (even, chance) = ((PIECE * PIECE / 256) as u64, PIECE as u64);
    (even + chance / 2..even + 10 * chance).contains(&squares)
}

fn repeats(piece: &[u8]) -> bool {
    let mut last = vec![0u16; 1 << 13];
    let mut found = 0;
    for (at, four) in piece.windows(4).enumerate() {
        let word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        let slot = &mut last[(word.wrapping_mul(0x9e37_79b1) >> 19) as usize];
        let before = usize::from(std::mem::replace(slot, at as u16));
        if before != at && piece[before..before + 4] == *four {
            found += 1;
        }
    }
    found > 64
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn noise_is_known() {
        for piece in noise(100 * PIECE).chunks(PIECE) {
            assert!(is_noise(piece));
        }
    }

    #[test]
    fn what_a_compressor_makes_smaller_is_not_noise() {
        let counting: Vec<u8> = (0..PIECE).map(|n| n as u8).collect();
        let text: Vec<u8> =
            b"a loader of places, of roads and of names; ".iter().copied().cycle().take(PIECE).collect();
        let twice: Vec<u8> = noise(PIECE / 2).repeat(2);
        let mut sorted = noise(PIECE);
        sorted.sort_unstable();
        // One byte in ten is a space.
        let uneven: Vec<u8> =
            noise(PIECE).iter().enumerate().map(|(n, &b)| if n % 10 == 0 { b' ' } else { b }).collect();
        let numbers: Vec<u8> = (0..PIECE as u32 / 4).flat_map(|n| (n * 77).to_le_bytes()).collect();
        for piece in [counting, text, twice, sorted, uneven, numbers, vec![0; PIECE], noise(PIECE - 1)] {
            assert!(!is_noise(&piece), "{:?}", &piece[..20]);
        }
    }
}
