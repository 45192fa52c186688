//! Bytes to compress.

/// Bytes that nobody compresses, from a fixed seed.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Bytes that compress as a layer's do, from a fixed seed.
pub(super) fn input(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = state >> 33;
        match word % 4 {
            0 => bytes.extend(word.to_le_bytes()),
            1 => bytes.extend(format!("key_{}: value\n", word % 1000).bytes()),
            _ => bytes.extend_from_within(bytes.len().saturating_sub(word as usize % 500)..),
        }
    }
    bytes
}
