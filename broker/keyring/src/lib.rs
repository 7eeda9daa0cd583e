//! Keys, and the arithmetic on them.
//!
//! Three layers, as key management services have them. One **root key** a cluster wraps the **master keys** of
//! tenants and every other secret that enters a log. A master key wraps **data keys**. A data key seals bodies, for
//! a few minutes and some thousand messages, and is kept, wrapped, beside what it sealed. **Signing keys** of tenants sign
//! what is delivered for them.
//!
//! Key bytes leave this crate only as a [`Secret`], which is zeroed when it is dropped and never printed. The
//! crypto library keeps expanded forms of keys in memory of its own that it does not zero.
//!
//! Wrapped forms are read as if an enemy had written them: each fault has an error, and none panics.

mod data_key;
mod digest;
mod entropy;
mod envelope;
mod error;
mod keyring;
mod recent;
mod root_key;
mod secret;
mod signing;

pub use data_key::{
    DATA_KEY_MESSAGES_MAX, DATA_KEY_SPAN_MAX, DataKey, NONCE_BYTES, SEALED_BYTES_MAX, TAG_BYTES,
    wrapped_under,
};
pub use digest::{hmac_sha1, hmac_sha1_parts, hmac_sha256, hmac_sha256_parts, sha256, verify_equal};
pub use entropy::{Entropy, SystemEntropy};
pub use error::KeyError;
pub use keyring::{CURRENT_KEYS_MAX, Keyring, OPENED_KEYS_MAX, access_key_context};
pub use root_key::RootKey;
pub use secret::Secret;
pub use signing::{Signature, verify_ed25519};
