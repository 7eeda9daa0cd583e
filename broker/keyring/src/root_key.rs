//! The one key of a cluster that everything else is wrapped under.
//!
//! It wraps nothing itself: one key derived from it wraps, another value derived from it recognises it. The second
//! is kept in clear in the directory and tells nothing of the first.

use zeroize::Zeroizing;

use crate::envelope::{KEY_BYTES, KeyBytes, derive};
use crate::{Entropy, KeyError, Secret};

const CHECK_LABEL: &[u8] = b"posthouse root key check, version 1";
const WRAP_LABEL: &[u8] = b"posthouse root key wrapping, version 1";

/// The one key of a cluster that everything else is wrapped under.
#[derive(Clone)]
pub struct RootKey(KeyBytes);

// === impl RootKey ===

impl RootKey {
    /// Makes a new root key.
    pub fn generate(entropy: &dyn Entropy) -> RootKey {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        RootKey(bytes)
    }

    /// Returns the root key that a file or a peer gave: 32 bytes, or 64 hexadecimal digits and perhaps white space
    /// around them.
    pub fn parse(given: &[u8]) -> Result<RootKey, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if given.len() == KEY_BYTES {
            bytes.copy_from_slice(given);
            return Ok(RootKey(bytes));
        }
        let digits = given.trim_ascii();
        if digits.len() != 2 * KEY_BYTES {
            return Err(KeyError::RootKeyMalformed);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else {
                return Err(KeyError::RootKeyMalformed);
            };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(RootKey(bytes))
    }

    /// Returns what recognises this key, and can be shown to anybody.
    pub fn check(&self) -> [u8; 32] {
        *derive(&self.0, CHECK_LABEL)
    }

    /// Returns the key as 64 hexadecimal digits, for the key file and for a joining node.
    pub fn to_hex(&self) -> Secret {
        let mut digits = Vec::with_capacity(2 * KEY_BYTES);
        for byte in self.0.iter() {
            for half in [byte >> 4, byte & 0x0f] {
                digits.push(if half < 10 { b'0' + half } else { b'a' + half - 10 });
            }
        }
        Secret::from(digits)
    }

    /// Returns the key that wraps.
    pub(crate) fn wrapping(&self) -> KeyBytes {
        derive(&self.0, WRAP_LABEL)
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(32 bytes)")
    }
}

fn digit(character: u8) -> Result<u8, KeyError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        b'A'..=b'F' => Ok(character - b'A' + 10),
        _ => Err(KeyError::RootKeyMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn a_root_key_reads_back_from_bytes_and_from_digits() {
        let key = RootKey::generate(&SystemEntropy::new());
        let mut digits = key.to_hex().expose().to_vec();
        digits.push(b'\n');
        let read = RootKey::parse(&digits).expect("they are digits");
        assert_eq!(read.check(), key.check());
        let raw = RootKey::parse(key.0.as_slice()).expect("they are 32 bytes");
        assert_eq!(raw.check(), key.check());
        let upper = digits.to_ascii_uppercase();
        assert_eq!(RootKey::parse(&upper).map(|key| key.check()), Ok(key.check()));
    }

    #[test]
    fn what_is_no_root_key_is_refused() {
        for given in [&b""[..], &[0; 31], &[b'0'; 63], &[b'g'; 64], &[b'0'; 66]] {
            assert_eq!(
                RootKey::parse(given).err(),
                Some(KeyError::RootKeyMalformed),
                "{given:?}"
            );
        }
    }

    #[test]
    fn the_check_value_is_not_the_wrapping_key() {
        let key = RootKey::generate(&SystemEntropy::new());
        let other = RootKey::generate(&SystemEntropy::new());
        assert_ne!(key.check(), *key.wrapping());
        assert_ne!(key.check(), other.check());
    }

    #[test]
    fn debug_prints_do_not_show_a_root_key() {
        let key = RootKey::parse(&[b'7'; 64]).expect("they are digits");
        assert_eq!(format!("{key:?}"), "RootKey(32 bytes)");
    }
}
