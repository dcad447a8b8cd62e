//! Bytes that look random and are the same in every run, so that a failure can be repeated.

/// `len` bytes that depend on `seed` alone.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// One step of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn same_seed_same_bytes_and_a_prefix_of_the_longer() {
        assert_eq!(bytes(7, 100), bytes(7, 100));
        assert_eq!(bytes(7, 100)[..13], bytes(7, 13)[..]);
        assert_ne!(bytes(7, 100), bytes(8, 100));
    }
}
