//! Whether what a guest wrote repeats what it read of a body.
//!
//! A guest that means to can hide anything in anything. This finds what was copied as it is: by mistake, or for
//! convenience.

use std::cell::OnceCell;
use std::collections::HashSet;

/// How many bytes in a row are no coincidence.
const RUN_BYTES: usize = 16;
/// The shortest body that is looked for as a whole.
const BODY_BYTES_MIN: usize = 8;
/// A body is looked at in blocks of so many bytes: wherever a run begins in it, it has a whole block inside.
const BLOCK_BYTES: usize = RUN_BYTES / 2;
/// The bits of a sieve, by the power of two: of the longest text that is looked at, an eighth are set.
const SIEVE_BITS_LOG: u32 = 15;

/// Tells most blocks that a text does not have, in a nanosecond each.
struct Sieve {
    words: [u64; 1 << (SIEVE_BITS_LOG - u64::BITS.ilog2())],
}

/// Returns whether some 16 bytes in a row of a body, or all of a shorter one, stand in a text too. Bodies of less
/// than 8 bytes are too short to tell.
pub fn repeats_body(text: &[u8], body: &[u8]) -> bool {
    if body.len() < RUN_BYTES {
        return body.len() >= BODY_BYTES_MIN && text.windows(body.len()).any(|part| part == body);
    }
    if text.len() < RUN_BYTES {
        return false;
    }
    let sieve = Sieve::of(text);
    let runs = OnceCell::new();
    let (blocks, _) = body.as_chunks();
    blocks.iter().enumerate().any(|(number, block)| {
        if !sieve.lets_through(*block) {
            return false;
        }
        let runs: &HashSet<&[u8]> = runs.get_or_init(|| text.windows(RUN_BYTES).collect());
        let start = number * BLOCK_BYTES;
        let around = start.saturating_sub(BLOCK_BYTES)..(start + RUN_BYTES).min(body.len());
        body[around].windows(RUN_BYTES).any(|part| runs.contains(part))
    })
}

// === impl Sieve ===

impl Sieve {
    fn of(text: &[u8]) -> Sieve {
        let mut sieve = Sieve {
            words: [0; 1 << (SIEVE_BITS_LOG - u64::BITS.ilog2())],
        };
        for block in text.array_windows() {
            let (word, bit) = place(*block);
            sieve.words[word] |= bit;
        }
        sieve
    }

    fn lets_through(&self, block: [u8; BLOCK_BYTES]) -> bool {
        let (word, bit) = place(block);
        self.words[word] & bit != 0
    }
}

/// Returns where a block is noted: the high bits of a product depend on all of it.
fn place(block: [u8; BLOCK_BYTES]) -> (usize, u64) {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = u64::from_le_bytes(block).wrapping_mul(ODD) >> (u64::BITS - SIEVE_BITS_LOG);
    (
        (hash / u64::from(u64::BITS)) as usize,
        1 << (hash % u64::from(u64::BITS)),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_body_is_found_as_a_whole() {
        assert!(repeats_body(b"<passw0rd>", b"passw0rd"));
        assert!(!repeats_body(b"<passw0r>", b"passw0rd"));
        assert!(!repeats_body(b"yes, yes", b"yes"), "that may be chance");
    }

    proptest! {
        #[test]
        fn whatever_is_copied_from_a_body_is_found(
            before in prop::collection::vec(any::<u8>(), 0..40),
            copied in prop::collection::vec(any::<u8>(), RUN_BYTES..60),
            after in prop::collection::vec(any::<u8>(), 0..40),
            text in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let body = [&before[..], &copied, &after].concat();
            prop_assert!(repeats_body(&[&text[..], &copied].concat(), &body));
            prop_assert!(repeats_body(&[&copied[..], &text].concat(), &body));
        }

        #[test]
        fn it_is_the_plain_rule(
            body in prop::collection::vec(0_u8..2, 0..200),
            text in prop::collection::vec(0_u8..2, 0..200),
        ) {
            let run = RUN_BYTES.min(body.len());
            let plain = run >= BODY_BYTES_MIN
                && body.windows(run).any(|part| text.windows(run).any(|there| there == part));
            prop_assert_eq!(repeats_body(&text, &body), plain);
        }

        #[test]
        fn what_shares_no_byte_with_a_body_is_no_copy(
            body in prop::collection::vec(0_u8..128, 0..100),
            text in prop::collection::vec(128_u8..=255, 0..100),
        ) {
            prop_assert!(!repeats_body(&text, &body));
        }
    }
}
