//! Kafka's default partitioner: murmur2 as the Java client computes it.

const SEED: u32 = 0x9747_B28C;
const M: u32 = 0x5BD1_E995;
const R: u32 = 24;

/// murmur2 of the bytes.
fn murmur2(bytes: &[u8]) -> u32 {
    // Longer input would only wrap; the Java client hashes at most 2 GiB.
    let mut h = SEED ^ (bytes.len() as u32);
    let mut words = bytes.chunks_exact(4);
    for word in words.by_ref() {
        let k = word.iter().rev().fold(0u32, |k, &b| k << 8 | u32::from(b)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ (k ^ (k >> R)).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0u32, |k, &b| k << 8 | u32::from(b));
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of `partitions` that a record with this key goes to; 0 when there are none.
pub(super) fn partition(key: &[u8], partitions: i32) -> i32 {
    let positive = i32::try_from(murmur2(key) & 0x7FFF_FFFF).unwrap_or(0);
    positive.checked_rem(partitions.max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_those_of_the_java_client() {
        // From Kafka's own UtilsTest.
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn the_partition_is_the_one_that_the_java_client_takes() {
        // Without the sign bit, by the number of partitions.
        for (text, of_thousand) in [("21", 340), ("foobar", 166), ("abc", 107)] {
            assert_eq!(partition(text.as_bytes(), 1000), of_thousand, "{text}");
        }
    }

    #[test]
    fn a_partition_is_never_negative_and_always_below_the_count() {
        for n in 1..50 {
            for key in 0..100u64 {
                assert!((0..n).contains(&partition(&key.to_be_bytes(), n)));
            }
        }
        assert_eq!(partition(b"x", 0), 0);
    }
}
