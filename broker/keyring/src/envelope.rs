//! A small secret sealed under a long-lived key.
//!
//! ```text
//! salt 16 | nonce 12 | sealed secret | tag 16
//! ```
//!
//! Each envelope has a key of its own, derived from the long-lived one and the salt, so that random nonces never
//! come near the bound that AES-GCM sets for one key, however many envelopes a master key closes. The context is
//! authenticated, and not kept: whoever opens an envelope has to know what it was closed for.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, KeyError, Secret};

/// A key of 256 bits, zeroed when dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

pub(crate) const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What an envelope adds to the secret in it.
pub(crate) const ENVELOPE_BYTES: usize = SALT_BYTES + NONCE_BYTES + TAG_BYTES;
/// The longest secret that is put into an envelope.
pub(crate) const SECRET_BYTES_MAX: usize = 64 * 1_024;

/// Appends an envelope with `secret` in it.
pub(crate) fn close(
    key: &KeyBytes,
    context: &[u8],
    secret: &[u8],
    entropy: &dyn Entropy,
    into: &mut Vec<u8>,
) -> Result<(), KeyError> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(KeyError::TooLarge {
            bytes: secret.len(),
            limit: SECRET_BYTES_MAX,
        });
    }
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut salt);
    entropy.fill(&mut nonce);
    into.reserve_exact(ENVELOPE_BYTES + secret.len());
    into.extend_from_slice(&salt);
    into.extend_from_slice(&nonce);
    let start = into.len();
    into.extend_from_slice(secret);
    let tag = aead_key(&derive(key, &salt))
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            into.get_mut(start..).unwrap_or_default(),
        )
        .expect("a secret is far shorter than what AES-GCM takes at once");
    into.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Opens an envelope. `what` names it in errors.
pub(crate) fn open(
    key: &KeyBytes,
    context: &[u8],
    envelope: &[u8],
    what: &'static str,
) -> Result<Secret, KeyError> {
    let too_short = KeyError::Malformed {
        what,
        fault: "too short",
    };
    let Some((salt, rest)) = envelope.split_first_chunk::<SALT_BYTES>() else {
        return Err(too_short);
    };
    let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_BYTES>() else {
        return Err(too_short);
    };
    if sealed.len() < TAG_BYTES {
        return Err(too_short);
    }
    if sealed.len() > SECRET_BYTES_MAX + TAG_BYTES {
        return Err(KeyError::Malformed {
            what,
            fault: "too long",
        });
    }
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let plain = aead_key(&derive(key, salt))
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(context),
            buffer.as_mut_slice(),
        )
        .map_err(|_| KeyError::Altered)?;
    Ok(Secret::from(plain.to_vec()))
}

/// Returns the key for one use of a long-lived key.
pub(crate) fn derive(key: &KeyBytes, label: &[u8]) -> KeyBytes {
    let mut derived = crate::hmac_sha256(key.as_slice(), label);
    let bytes = Zeroizing::new(derived);
    derived.zeroize();
    bytes
}

pub(crate) fn aead_key(key: &KeyBytes) -> LessSafeKey {
    let unbound = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("AES-256 takes a key of 32 bytes");
    LessSafeKey::new(unbound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;
    use proptest::prelude::*;

    fn key(byte: u8) -> KeyBytes {
        Zeroizing::new([byte; KEY_BYTES])
    }

    fn closed(context: &[u8], secret: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        close(&key(1), context, secret, &SystemEntropy::new(), &mut bytes).expect("the secret is short");
        bytes
    }

    #[test]
    fn an_envelope_opens_for_its_key_and_context_only() {
        let envelope = closed(b"for a", b"secret");
        assert_eq!(
            open(&key(1), b"for a", &envelope, "test").map(|s| s.expose().to_vec()),
            Ok(b"secret".to_vec())
        );
        assert_eq!(open(&key(2), b"for a", &envelope, "test"), Err(KeyError::Altered));
        assert_eq!(open(&key(1), b"for b", &envelope, "test"), Err(KeyError::Altered));
    }

    #[test]
    fn a_cut_or_overlong_envelope_is_malformed() {
        for length in 0..ENVELOPE_BYTES {
            assert_eq!(
                open(&key(1), b"", &vec![0; length], "test"),
                Err(KeyError::Malformed {
                    what: "test",
                    fault: "too short"
                })
            );
        }
        let long = vec![0; ENVELOPE_BYTES + SECRET_BYTES_MAX + 1];
        assert_eq!(
            open(&key(1), b"", &long, "test"),
            Err(KeyError::Malformed {
                what: "test",
                fault: "too long"
            })
        );
    }

    #[test]
    fn a_secret_over_the_bound_is_refused() {
        let secret = vec![0; SECRET_BYTES_MAX + 1];
        let closed = close(&key(1), b"", &secret, &SystemEntropy::new(), &mut Vec::new());
        assert_eq!(
            closed,
            Err(KeyError::TooLarge {
                bytes: SECRET_BYTES_MAX + 1,
                limit: SECRET_BYTES_MAX
            })
        );
    }

    proptest! {
        #[test]
        fn any_secret_comes_back_and_any_flipped_bit_is_seen(
            secret in proptest::collection::vec(any::<u8>(), 0..100),
            context in proptest::collection::vec(any::<u8>(), 0..30),
            at in any::<prop::sample::Index>(),
        ) {
            let mut envelope = closed(&context, &secret);
            let opened = open(&key(1), &context, &envelope, "test").expect("nothing was altered");
            prop_assert_eq!(opened.expose(), &secret[..]);
            let bit = at.index(envelope.len() * 8);
            envelope[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&key(1), &context, &envelope, "test"), Err(KeyError::Altered));
        }
    }
}
