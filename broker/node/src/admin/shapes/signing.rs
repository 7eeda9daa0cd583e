//! Signing keys, that deliveries are signed with.
//!
//! Secrets and public keys are shown as Standard Webhooks has them, so that its libraries take them as they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthouse_model::{Name, SigningAlgorithm, SigningKeyRecord, SigningKeyVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a shared secret begins with.
pub const SHARED_SECRET_PREFIX: &str = "whsec_";
/// What a public key begins with.
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// Makes a signing key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyCreate {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// How it signs.
    #[serde(default)]
    pub algorithm: SigningAlgorithmView,
}

/// Adds a version to a signing key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SigningKeyRotate {
    /// How it signs; as the version before when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<SigningAlgorithmView>,
}

/// How a signing key signs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SigningAlgorithmView {
    /// HMAC-SHA256: whoever checks signatures knows the secret.
    #[default]
    HmacSha256,
    /// Ed25519: whoever checks signatures knows the public key.
    Ed25519,
}

/// A signing key as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// Its versions that sign, one or two, the newest last.
    pub versions: Vec<SigningKeyVersionView>,
}

/// A version of a signing key, without its secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyVersionView {
    /// Its number.
    pub version: u32,
    /// How it signs.
    pub algorithm: SigningAlgorithmView,
    /// What checks its signatures, of Ed25519: `whpk_` and base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was made.
    pub made_ms: u64,
}

/// A signing key with a new version. A secret is told only here.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyMade {
    /// The key.
    pub key: SigningKeyView,
    /// What the new version signs with, of HMAC-SHA256: `whsec_` and base64. Whoever checks signatures needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<SigningAlgorithm> for SigningAlgorithmView {
    fn from(algorithm: SigningAlgorithm) -> SigningAlgorithmView {
        match algorithm {
            SigningAlgorithm::HmacSha256 => SigningAlgorithmView::HmacSha256,
            SigningAlgorithm::Ed25519 => SigningAlgorithmView::Ed25519,
        }
    }
}

impl From<SigningAlgorithmView> for SigningAlgorithm {
    fn from(view: SigningAlgorithmView) -> SigningAlgorithm {
        match view {
            SigningAlgorithmView::HmacSha256 => SigningAlgorithm::HmacSha256,
            SigningAlgorithmView::Ed25519 => SigningAlgorithm::Ed25519,
        }
    }
}

impl From<&SigningKeyRecord> for SigningKeyView {
    fn from(record: &SigningKeyRecord) -> SigningKeyView {
        SigningKeyView {
            name: record.name.clone(),
            versions: record.versions.iter().map(SigningKeyVersionView::from).collect(),
        }
    }
}

impl From<&SigningKeyVersion> for SigningKeyVersionView {
    fn from(version: &SigningKeyVersion) -> SigningKeyVersionView {
        let public = &version.secret.public;
        SigningKeyVersionView {
            version: version.number,
            algorithm: version.secret.algorithm.into(),
            public_key: (!public.is_empty())
                .then(|| format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(public))),
            made_ms: version.made.millis(),
        }
    }
}

// === impl SigningKeyMade ===

impl SigningKeyMade {
    /// Returns the view of a key whose newest version has this secret, if it is one to be told.
    pub fn new(record: &SigningKeyRecord, secret: Option<&[u8]>) -> SigningKeyMade {
        SigningKeyMade {
            key: SigningKeyView::from(record),
            secret: secret.map(|secret| format!("{SHARED_SECRET_PREFIX}{}", STANDARD.encode(secret))),
        }
    }
}

/// Never shows the secret.
impl std::fmt::Debug for SigningKeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKeyMade({:?})", self.key)
    }
}
