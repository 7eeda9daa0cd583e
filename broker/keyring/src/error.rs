//! Why a key was refused, or did not open what it was given.

/// Why a key was refused, or did not open what it was given. Names no key bytes and no plain text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// A root key that is neither 32 bytes nor 64 hexadecimal digits.
    #[error("a root key is 32 bytes, or 64 hexadecimal digits; this is neither")]
    RootKeyMalformed,
    /// Wrapped bytes that do not have the form of what they should be.
    #[error("malformed {what}: {fault}")]
    Malformed {
        /// What they should be.
        what: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
    /// Wrapped bytes of a version that this release does not know.
    #[error("{what} of version {version} is not known")]
    UnknownVersion {
        /// What they are.
        what: &'static str,
        /// Their version.
        version: u8,
    },
    /// The bytes were altered, or sealed under another key or for another purpose. Which, nobody can tell.
    #[error("altered, or sealed under another key or for another purpose")]
    Altered,
    /// No master key of that name is known here.
    #[error("no master key {0}")]
    NoMasterKey(String),
    /// The master key does not have that version.
    #[error("master key {name} has no version {version}")]
    NoMasterKeyVersion {
        /// The master key.
        name: String,
        /// The version.
        version: u32,
    },
    /// The master key is disabled.
    #[error("master key {0} is disabled")]
    MasterKeyDisabled(String),
    /// The master key is scheduled for deletion.
    #[error("master key {0} is scheduled for deletion")]
    MasterKeyDeleting(String),
    /// The master key was destroyed.
    #[error("master key {0} was destroyed")]
    MasterKeyDestroyed(String),
    /// No signing key of that name is known here.
    #[error("no signing key {0}")]
    NoSigningKey(String),
    /// The data key is another tenant's.
    #[error("the data key belongs to another tenant")]
    OtherTenant,
    /// A client's data key was given where one for bodies belongs, or the other way round.
    #[error("the data key is for another purpose")]
    WrongPurpose,
    /// The data key was unwrapped: only what made a key may seal with it, so that no nonce repeats.
    #[error("an unwrapped data key opens only")]
    OpenOnly,
    /// The data key has sealed as much as one may.
    #[error("the data key has sealed its limit of messages")]
    UsedUp,
    /// The data key's master key was disabled or destroyed since the data key was handed out.
    #[error("the data key's master key is no longer enabled")]
    Revoked,
    /// More bytes than are sealed at once.
    #[error("{bytes} bytes are over the limit of {limit}")]
    TooLarge {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}
