//! Whether what a guest wrote repeats what it read of a body.
//!
//! A guest that means to can hide anything in anything. This finds what was copied as it is: by mistake, or for
//! convenience.

use std::collections::HashSet;

/// How many bytes in a row are no coincidence.
const RUN_BYTES: usize = 16;
/// The shortest body that is looked for as a whole.
const BODY_BYTES_MIN: usize = 8;

/// Returns whether some 16 bytes in a row of a body, or all of a shorter one, stand in a text too. Bodies of less
/// than 8 bytes are too short to tell.
pub fn repeats_body(text: &[u8], body: &[u8]) -> bool {
    let run = RUN_BYTES.min(body.len());
    if run < BODY_BYTES_MIN || text.len() < run {
        return false;
    }
    let runs: HashSet<&[u8]> = text.windows(run).collect();
    body.windows(run).any(|part| runs.contains(part))
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
        fn what_shares_no_byte_with_a_body_is_no_copy(
            body in prop::collection::vec(0_u8..128, 0..100),
            text in prop::collection::vec(128_u8..=255, 0..100),
        ) {
            prop_assert!(!repeats_body(&text, &body));
        }
    }
}
