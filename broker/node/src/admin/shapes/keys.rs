//! Master keys, and data keys for sealing on the client's side.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use posthouse_model::{MasterKeyRecord, MasterKeyState, Name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::decode_base64;
use crate::admin::AdminError;

/// The shortest time before a master key that is scheduled for deletion is destroyed, in seconds.
pub const DELETION_AFTER_SECONDS_MIN: u64 = 60;
/// The longest, in seconds: a year.
pub const DELETION_AFTER_SECONDS_MAX: u64 = 31_536_000;
/// The usual one, in seconds: a week.
pub const DELETION_AFTER_SECONDS_USUAL: u64 = 604_800;

/// Makes a master key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MasterKeyCreate {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
}

/// A master key as it is. The key itself is never told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MasterKeyView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// How many versions it has; the last one seals, all of them open.
    pub versions: u32,
    /// What it may be used for.
    pub state: MasterKeyStateView,
    /// When it will be destroyed, if its deletion is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_at_ms: Option<u64>,
}

/// What a master key may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MasterKeyStateView {
    /// Sealing and opening.
    Enabled,
    /// Nothing, until enabled again.
    Disabled,
    /// Nothing, and it will be destroyed unless enabled before.
    DeletionScheduled,
    /// Destroyed: what was sealed under it cannot be opened by anybody.
    Destroyed,
}

/// Changes what a master key may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "to", deny_unknown_fields)]
pub enum MasterKeyChange {
    /// Sealing and opening; also calls a scheduled deletion off.
    Enabled,
    /// Nothing, until enabled again.
    Disabled,
    /// Nothing, and it is destroyed after a while.
    Deletion {
        /// How long until then: a minute to a year.
        after_seconds: u64,
    },
}

/// A new data key, for sealing on the client's side.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataKeyView {
    /// The key, 32 bytes: seal with it, then forget it.
    pub plain_base64: String,
    /// The key wrapped under the master key: keep it beside what was sealed.
    pub wrapped_base64: String,
}

/// Asks for the data key that was wrapped.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecryptRequest {
    /// The data key wrapped under a master key.
    pub wrapped_base64: String,
}

/// A data key that was wrapped.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecryptedKey {
    /// The key, 32 bytes.
    pub plain_base64: String,
}

impl From<&MasterKeyRecord> for MasterKeyView {
    fn from(record: &MasterKeyRecord) -> MasterKeyView {
        let (state, deletion_at_ms) = match record.state {
            MasterKeyState::Enabled => (MasterKeyStateView::Enabled, None),
            MasterKeyState::Disabled => (MasterKeyStateView::Disabled, None),
            MasterKeyState::DeletionAt(time) => (MasterKeyStateView::DeletionScheduled, Some(time.millis())),
            MasterKeyState::Destroyed => (MasterKeyStateView::Destroyed, None),
        };
        MasterKeyView {
            name: record.name.clone(),
            versions: u32::try_from(record.versions.len()).unwrap_or(u32::MAX),
            state,
            deletion_at_ms,
        }
    }
}

// === impl MasterKeyChange ===

impl MasterKeyChange {
    /// Checks what can be checked without knowing the key.
    ///
    /// # Errors
    ///
    /// Refuses a deletion that is too near or too far.
    pub fn check(&self) -> Result<(), AdminError> {
        match self {
            MasterKeyChange::Enabled | MasterKeyChange::Disabled => Ok(()),
            MasterKeyChange::Deletion { after_seconds } => super::settings::within(
                "after_seconds",
                Some(*after_seconds),
                &(DELETION_AFTER_SECONDS_MIN..=DELETION_AFTER_SECONDS_MAX),
            ),
        }
    }
}

// === impl DataKeyView ===

impl DataKeyView {
    /// Returns the view of a new data key.
    pub fn new(plain: &[u8], wrapped: &[u8]) -> DataKeyView {
        DataKeyView {
            plain_base64: STANDARD.encode(plain),
            wrapped_base64: STANDARD.encode(wrapped),
        }
    }
}

/// Never shows the key.
impl std::fmt::Debug for DataKeyView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKeyView")
    }
}

// === impl DecryptRequest ===

impl DecryptRequest {
    /// Returns the wrapped key's bytes.
    ///
    /// # Errors
    ///
    /// Refuses bad base64.
    pub fn wrapped(&self) -> Result<Bytes, AdminError> {
        decode_base64("wrapped_base64", &self.wrapped_base64)
    }
}

// === impl DecryptedKey ===

impl DecryptedKey {
    /// Returns the view of a key.
    pub fn new(plain: &[u8]) -> DecryptedKey {
        DecryptedKey {
            plain_base64: STANDARD.encode(plain),
        }
    }
}

/// Never shows the key.
impl std::fmt::Debug for DecryptedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecryptedKey")
    }
}
