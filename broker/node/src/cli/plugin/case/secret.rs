//! A secret that a deliver plugin's case has signed with, as Standard Webhooks has them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use posthouse_model::SigningAlgorithm;
use serde::Deserialize;

use crate::admin::shapes::SHARED_SECRET_PREFIX;
use crate::cli::plugin::trial_keys::GivenSecret;

/// What a secret of Ed25519 begins with.
const PRIVATE_KEY_PREFIX: &str = "whsk_";
/// How long it is.
const PRIVATE_KEY_BYTES: usize = 32;

/// `whsec_` or `whsk_`, and base64.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SecretText(pub(super) GivenSecret);

impl TryFrom<String> for SecretText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shared = text.strip_prefix(SHARED_SECRET_PREFIX);
        let (algorithm, digits) = match (shared, text.strip_prefix(PRIVATE_KEY_PREFIX)) {
            (Some(digits), _) => (SigningAlgorithm::HmacSha256, digits),
            (None, Some(digits)) => (SigningAlgorithm::Ed25519, digits),
            (None, None) => {
                return Err(format!(
                    "a secret begins with {SHARED_SECRET_PREFIX} (HMAC-SHA256) or {PRIVATE_KEY_PREFIX} (Ed25519)"
                ));
            }
        };
        let bytes = BASE64_STANDARD
            .decode(digits)
            .map_err(|error| format!("no base64: {error}"))?;
        if algorithm == SigningAlgorithm::Ed25519 && bytes.len() != PRIVATE_KEY_BYTES {
            return Err(format!(
                "a secret of Ed25519 has {PRIVATE_KEY_BYTES} bytes, not {}",
                bytes.len()
            ));
        }
        Ok(SecretText(GivenSecret { algorithm, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_how_it_signs() {
        let read = |text: &str| SecretText::try_from(text.to_owned()).map(|secret| secret.0);
        let shared = read("whsec_AAEC").expect("a secret");
        assert_eq!(shared.algorithm, SigningAlgorithm::HmacSha256);
        assert_eq!(shared.bytes, [0, 1, 2]);
        let own = read(&format!("whsk_{}", BASE64_STANDARD.encode([7; 32]))).expect("a secret");
        assert_eq!(own.algorithm, SigningAlgorithm::Ed25519);
        for text in ["", "AAEC", "whpk_AAEC", "whsec_A", "whsk_AAEC"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
