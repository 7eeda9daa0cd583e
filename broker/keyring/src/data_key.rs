//! A data key: seals bodies for a while, and is kept, wrapped, beside what it sealed.
//!
//! Nonces are counted. A key is random and seals only in the process that made it, so a counter from zero never
//! repeats a nonce; a key that was unwrapped opens only.
//!
//! The wrapped form says whose key it is and which master key opens it, and is authenticated with all of that:
//!
//! ```text
//! version u8 | purpose u8 | tenant u32 | master version u32 | name length u8 | name | envelope
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use posthouse_model::{Name, Span, TenantId};
use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::envelope::{ENVELOPE_BYTES, KEY_BYTES, KeyBytes, aead_key};
use crate::{KeyError, Secret};

/// How long one data key seals.
pub const DATA_KEY_SPAN_MAX: Span = Span::from_seconds(300);
/// How many messages one data key seals.
pub const DATA_KEY_MESSAGES_MAX: u64 = 10_000;
/// How many of those are left to whoever holds the key when it is replaced.
pub(crate) const DATA_KEY_MESSAGES_SPARE: u64 = 1_000;
/// The bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// What sealing adds to a body.
pub const TAG_BYTES: usize = 16;
/// The most bytes that are sealed at once.
pub const SEALED_BYTES_MAX: usize = 16 * 1_048_576;

const WHAT: &str = "wrapped data key";
const VERSION: u8 = 1;

/// A data key. Cloning is cheap, and clones count together.
#[derive(Clone)]
pub struct DataKey(Arc<Inner>);

struct Inner {
    key: LessSafeKey,
    wrapped: Bytes,
    /// Nonces used; none for a key that only opens.
    sealed: Option<AtomicU64>,
    revoked: Revoked,
}

/// Set when a master key ceases to be enabled. Every data key under it looks at the same one, in use or not.
pub(crate) type Revoked = Arc<AtomicBool>;

/// What a data key is for. One kind is never taken for the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// To seal bodies inside the broker.
    Bodies,
    /// To be handed to a client, which seals by itself.
    Client,
}

/// What a wrapped data key says before its envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) tenant: TenantId,
    pub(crate) master_version: u32,
    /// The master key's name, folded.
    pub(crate) master: &'a str,
}

// === impl DataKey ===

impl DataKey {
    pub(crate) fn made(key: &KeyBytes, wrapped: Bytes, revoked: Revoked) -> DataKey {
        DataKey(Arc::new(Inner {
            key: aead_key(key),
            wrapped,
            sealed: Some(AtomicU64::new(0)),
            revoked,
        }))
    }

    pub(crate) fn unwrapped(secret: &Secret, wrapped: Bytes, revoked: Revoked) -> Result<DataKey, KeyError> {
        Ok(DataKey(Arc::new(Inner {
            key: aead_key(&key_bytes(secret)?),
            wrapped,
            sealed: None,
            revoked,
        })))
    }

    /// Returns the key as wrapped under its master key, to be kept beside what it seals.
    pub fn wrapped(&self) -> &Bytes {
        &self.0.wrapped
    }

    /// Seals some bytes, bound to `associated`, and returns them with the nonce, which no other sealing under this
    /// key has.
    pub fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<([u8; NONCE_BYTES], Bytes), KeyError> {
        self.check_usable(plain.len())?;
        let Some(sealed) = &self.0.sealed else {
            return Err(KeyError::OpenOnly);
        };
        // Never counts past the limit, so it never comes round.
        let count = sealed
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < DATA_KEY_MESSAGES_MAX).then_some(count + 1)
            })
            .map_err(|_| KeyError::UsedUp)?;
        let nonce = nonce(count);
        let mut bytes = Vec::with_capacity(plain.len() + TAG_BYTES);
        bytes.extend_from_slice(plain);
        self.0
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                &mut bytes,
            )
            .expect("a body within the bound is far shorter than what AES-GCM takes at once");
        Ok((nonce, Bytes::from(bytes)))
    }

    /// Opens what `seal` made under this key, the same nonce and the same associated bytes.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Bytes, KeyError> {
        self.check_usable(sealed.len().saturating_sub(TAG_BYTES))?;
        let mut bytes = sealed.to_vec();
        let plain_bytes = self
            .0
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                &mut bytes,
            )
            .map_err(|_| KeyError::Altered)?
            .len();
        bytes.truncate(plain_bytes);
        Ok(Bytes::from(bytes))
    }

    /// Returns how many messages it has sealed.
    pub(crate) fn sealed(&self) -> u64 {
        let sealed = self.0.sealed.as_ref();
        sealed.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn check_usable(&self, bytes: usize) -> Result<(), KeyError> {
        if self.0.revoked.load(Ordering::Relaxed) {
            return Err(KeyError::Revoked);
        }
        if bytes > SEALED_BYTES_MAX {
            return Err(KeyError::TooLarge {
                bytes,
                limit: SEALED_BYTES_MAX,
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({} messages)", self.sealed())
    }
}

// === impl Purpose ===

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Purpose::Bodies => 1,
            Purpose::Client => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Purpose> {
        match byte {
            1 => Some(Purpose::Bodies),
            2 => Some(Purpose::Client),
            _ => None,
        }
    }
}

// === impl Header ===

impl<'a> Header<'a> {
    /// Returns the header's bytes, with room for an envelope after them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = self.master.as_bytes();
        let name_bytes = u8::try_from(name.len()).expect("a name was parsed and has at most 64 characters");
        let mut bytes = Vec::with_capacity(11 + name.len() + ENVELOPE_BYTES + KEY_BYTES);
        bytes.extend_from_slice(&[VERSION, self.purpose.byte()]);
        bytes.extend_from_slice(&self.tenant.0.to_le_bytes());
        bytes.extend_from_slice(&self.master_version.to_le_bytes());
        bytes.push(name_bytes);
        bytes.extend_from_slice(name);
        bytes
    }

    /// Reads the header of a wrapped key, and returns it with its own bytes and the envelope's.
    pub(crate) fn parse(wrapped: &'a [u8]) -> Result<(Header<'a>, &'a [u8], &'a [u8]), KeyError> {
        let Some((&version, rest)) = wrapped.split_first() else {
            return Err(malformed("empty"));
        };
        if version != VERSION {
            return Err(KeyError::UnknownVersion { what: WHAT, version });
        }
        let Some((&[purpose, t0, t1, t2, t3, v0, v1, v2, v3, name_bytes], rest)) =
            rest.split_first_chunk::<10>()
        else {
            return Err(malformed("too short"));
        };
        let Some(purpose) = Purpose::from_byte(purpose) else {
            return Err(malformed("unknown purpose"));
        };
        let Some((name, envelope)) = rest.split_at_checked(usize::from(name_bytes)) else {
            return Err(malformed("too short"));
        };
        let Ok(master) = std::str::from_utf8(name) else {
            return Err(malformed("the master key's name is not text"));
        };
        if envelope.len() != ENVELOPE_BYTES + KEY_BYTES {
            return Err(malformed("wrong length"));
        }
        let header = Header {
            purpose,
            tenant: TenantId(u32::from_le_bytes([t0, t1, t2, t3])),
            master_version: u32::from_le_bytes([v0, v1, v2, v3]),
            master,
        };
        let head = wrapped.len() - envelope.len();
        let (head, envelope) = wrapped.split_at(head);
        Ok((header, head, envelope))
    }
}

/// Returns the master key that a wrapped data key says it is wrapped under, by its folded name, and the version. Nothing is
/// opened, so a stranger's bytes may say what they like.
pub fn wrapped_under(wrapped: &[u8]) -> Option<(Name, u32)> {
    let (header, _, _) = Header::parse(wrapped).ok()?;
    let master = Name::parse(header.master).ok()?;
    Some((master, header.master_version))
}

pub(crate) fn key_bytes(secret: &Secret) -> Result<KeyBytes, KeyError> {
    let bytes: [u8; KEY_BYTES] = secret.expose().try_into().map_err(|_| KeyError::Malformed {
        what: "key",
        fault: "not of 32 bytes",
    })?;
    Ok(KeyBytes::new(bytes))
}

fn nonce(count: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    for (place, byte) in nonce.iter_mut().zip(count.to_le_bytes()) {
        *place = byte;
    }
    nonce
}

fn malformed(fault: &'static str) -> KeyError {
    KeyError::Malformed { what: WHAT, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::KeyBytes;
    use proptest::prelude::*;

    fn made() -> DataKey {
        let wrapped = Bytes::from_static(b"wrapped");
        DataKey::made(&KeyBytes::new([3; KEY_BYTES]), wrapped, Revoked::default())
    }

    fn header() -> Header<'static> {
        Header {
            purpose: Purpose::Bodies,
            tenant: TenantId(7),
            master_version: 2,
            master: "key",
        }
    }

    fn wrapped() -> Vec<u8> {
        let mut bytes = header().encode();
        bytes.resize(bytes.len() + ENVELOPE_BYTES + KEY_BYTES, 0);
        bytes
    }

    #[test]
    fn a_key_s_nonces_never_repeat_and_end_at_its_limit() {
        let key = made();
        let other_handle = key.clone();
        let mut nonces = std::collections::BTreeSet::new();
        for count in 0..DATA_KEY_MESSAGES_MAX {
            let handle = if count % 2 == 0 { &key } else { &other_handle };
            let (nonce, _) = handle.seal(b"", b"body").expect("it is not used up");
            assert!(nonces.insert(nonce));
        }
        assert_eq!(key.seal(b"", b"body"), Err(KeyError::UsedUp));
        assert_eq!(other_handle.seal(b"", b"body"), Err(KeyError::UsedUp));
    }

    #[test]
    fn an_unwrapped_key_opens_only() {
        let (nonce, sealed) = made().seal(b"context", b"body").expect("it is new");
        let secret = Secret::from(vec![3; KEY_BYTES]);
        let key =
            DataKey::unwrapped(&secret, Bytes::new(), Revoked::default()).expect("the key has its length");
        assert_eq!(
            key.open(nonce, b"context", &sealed),
            Ok(Bytes::from_static(b"body"))
        );
        assert_eq!(key.seal(b"context", b"body"), Err(KeyError::OpenOnly));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let body = vec![0; SEALED_BYTES_MAX + 1];
        let refused = KeyError::TooLarge {
            bytes: SEALED_BYTES_MAX + 1,
            limit: SEALED_BYTES_MAX,
        };
        assert_eq!(made().seal(b"", &body), Err(refused.clone()));
        let sealed = vec![0; SEALED_BYTES_MAX + 1 + TAG_BYTES];
        assert_eq!(made().open([0; NONCE_BYTES], b"", &sealed), Err(refused));
    }

    #[test]
    fn what_is_shorter_than_a_tag_does_not_open() {
        for length in 0..TAG_BYTES {
            let opened = made().open([0; NONCE_BYTES], b"", &vec![0; length]);
            assert_eq!(opened, Err(KeyError::Altered));
        }
    }

    #[test]
    fn a_wrapped_key_says_which_master_key_opens_it() {
        let wrapped = wrapped();
        let (header, _, _) = Header::parse(&wrapped).expect("it is well formed");
        let told = wrapped_under(&wrapped).map(|(name, version)| (name.to_string(), version));
        assert_eq!(told, Some((header.master.to_owned(), header.master_version)));
        assert_eq!(wrapped_under(b"no key"), None);
    }

    #[test]
    fn each_fault_of_a_wrapped_key_has_its_error() {
        let good = wrapped();
        assert_eq!(Header::parse(&good).map(|(header, _, _)| header), Ok(header()));
        assert_eq!(Header::parse(b""), Err(malformed("empty")));
        let changed = |at: usize, to: u8| {
            let mut bytes = wrapped();
            bytes[at] = to;
            bytes
        };
        assert_eq!(
            Header::parse(&changed(0, 9)),
            Err(KeyError::UnknownVersion {
                what: WHAT,
                version: 9
            })
        );
        assert_eq!(Header::parse(&changed(1, 9)), Err(malformed("unknown purpose")));
        assert_eq!(Header::parse(&changed(10, 255)), Err(malformed("too short")));
        assert_eq!(Header::parse(&changed(10, 2)), Err(malformed("wrong length")));
        assert_eq!(
            Header::parse(&changed(11, 0xff)),
            Err(malformed("the master key's name is not text"))
        );
        assert_eq!(Header::parse(&good[..5]), Err(malformed("too short")));
        assert_eq!(Header::parse(&good[..12]), Err(malformed("too short")));
        assert_eq!(
            Header::parse(&good[..good.len() - 1]),
            Err(malformed("wrong length"))
        );
        assert_eq!(
            Header::parse(&[&good[..], b"x"].concat()),
            Err(malformed("wrong length"))
        );
    }

    #[test]
    fn debug_prints_do_not_show_a_key() {
        assert_eq!(format!("{:?}", made()), "DataKey(0 messages)");
    }

    proptest! {
        #[test]
        fn any_body_comes_back_and_any_flipped_bit_is_seen(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            associated in proptest::collection::vec(any::<u8>(), 0..30),
            at in any::<prop::sample::Index>(),
        ) {
            let key = made();
            let (nonce, sealed) = key.seal(&associated, &body).expect("it is new");
            let opened = key.open(nonce, &associated, &sealed);
            prop_assert_eq!(opened, Ok(Bytes::from(body)));

            let mut parts = [nonce.to_vec(), associated, sealed.to_vec()];
            let bits: usize = parts.iter().map(|part| part.len() * 8).sum();
            let mut bit = at.index(bits);
            for part in &mut parts {
                if bit < part.len() * 8 {
                    part[bit / 8] ^= 1 << (bit % 8);
                    break;
                }
                bit -= part.len() * 8;
            }
            let [nonce, associated, sealed] = parts;
            let nonce = nonce.try_into().expect("a nonce keeps its length");
            prop_assert_eq!(key.open(nonce, &associated, &sealed), Err(KeyError::Altered));
        }

        #[test]
        fn arbitrary_bytes_are_a_wrapped_key_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok((header, head, envelope)) = Header::parse(&bytes) {
                prop_assert_eq!(header.encode(), head);
                prop_assert_eq!(head.len() + envelope.len(), bytes.len());
            }
        }
    }
}
