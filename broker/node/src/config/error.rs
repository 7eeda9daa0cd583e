//! What can be wrong with the configuration. Each error names its key and the remedy.

use std::path::PathBuf;

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}; give --config a file that can be", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is not TOML.
    #[error("the configuration file is not TOML: {reason}")]
    NotToml {
        /// Where and why.
        reason: String,
    },
    /// There is no such key.
    #[error("{key}: is no key; {remedy}")]
    Unknown {
        /// The key as written.
        key: String,
        /// What to do.
        remedy: String,
    },
    /// The value is of another type.
    #[error("{key}: is {found}; give {wanted}")]
    WrongType {
        /// The key.
        key: String,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// The number is out of range.
    #[error("{key}: is {value}; give {min} to {max}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The value.
        value: i64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The value is needed and absent.
    #[error("{key}: is missing; {remedy}")]
    Missing {
        /// The key.
        key: String,
        /// What to do.
        remedy: String,
    },
    /// The value cannot be used.
    #[error("{key}: {problem}; {remedy}")]
    Refused {
        /// The key.
        key: String,
        /// Why not.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
