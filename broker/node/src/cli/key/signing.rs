//! `posthouse key signing`: what deliveries are signed with.

use clap::{Subcommand, ValueEnum};
use posthouse_model::Name;

use super::named;
use crate::admin::Operation;
use crate::admin::shapes::{
    Done, Page, SigningAlgorithmView, SigningKeyCreate, SigningKeyMade, SigningKeyRotate, SigningKeyView,
};
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, Table, moment};

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub enum SigningCommand {
    /// Makes a signing key, and prints its secret this once.
    Create {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
        /// How it signs.
        #[arg(long, value_enum, default_value_t = Algorithm::HmacSha256)]
        algorithm: Algorithm,
    },
    /// Adds a version to a signing key, and prints its secret this once. Both sign until the older one is retired.
    Rotate {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
        /// How the new version signs; as the one before when absent.
        #[arg(long, value_enum)]
        algorithm: Option<Algorithm>,
    },
    /// Takes the older of two versions out of use, for good.
    Retire {
        /// The key's name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Lists signing keys, with their public keys.
    List,
    /// Removes a signing key. What is to be signed with it is not delivered.
    Remove {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
}

/// How a signing key signs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Algorithm {
    /// With a secret that whoever checks signatures knows too.
    HmacSha256,
    /// With a secret of its own, to be checked with the public key.
    Ed25519,
}

// === impl SigningCommand ===

impl SigningCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            SigningCommand::Create { key, algorithm } => {
                let request = SigningKeyCreate {
                    name: key,
                    algorithm: algorithm.into(),
                };
                let made: SigningKeyMade = client.tell(Operation::CreateSigningKey, &[], &request).await?;
                client.output(&made, made_text(&made))
            }
            SigningCommand::Rotate { key, algorithm } => {
                let request = SigningKeyRotate {
                    algorithm: algorithm.map(SigningAlgorithmView::from),
                };
                let made: SigningKeyMade = client
                    .tell(Operation::RotateSigningKey, &named(&key), &request)
                    .await?;
                client.output(&made, made_text(&made))
            }
            SigningCommand::Retire { key } => {
                let view: SigningKeyView = client.ask(Operation::RetireSigningKey, &named(&key)).await?;
                client.output(&view, keys_text(std::slice::from_ref(&view)))
            }
            SigningCommand::List => {
                let page: Page<SigningKeyView> = client.ask(Operation::ListSigningKeys, &[]).await?;
                client.output(&page.items, keys_text(&page.items))
            }
            SigningCommand::Remove { key } => {
                let done: Done = client.ask(Operation::RemoveSigningKey, &named(&key)).await?;
                client.output(&done, format!("signing key {key} is removed\n"))
            }
        }
    }
}

impl From<Algorithm> for SigningAlgorithmView {
    fn from(algorithm: Algorithm) -> SigningAlgorithmView {
        match algorithm {
            Algorithm::HmacSha256 => SigningAlgorithmView::HmacSha256,
            Algorithm::Ed25519 => SigningAlgorithmView::Ed25519,
        }
    }
}

fn made_text(made: &SigningKeyMade) -> String {
    let keys = keys_text(std::slice::from_ref(&made.key));
    match &made.secret {
        Some(secret) => format!("{keys}\n{secret}\nThe secret is not shown again.\n"),
        None => keys,
    }
}

fn keys_text(keys: &[SigningKeyView]) -> String {
    let mut table = Table::new(&["name", "version", "algorithm", "made", "public key"]);
    for key in keys {
        for version in &key.versions {
            let algorithm = match version.algorithm {
                SigningAlgorithmView::HmacSha256 => "hmac-sha256",
                SigningAlgorithmView::Ed25519 => "ed25519",
            };
            table.row([
                key.name.to_string(),
                version.version.to_string(),
                algorithm.to_owned(),
                moment(version.made_ms),
                version.public_key.clone().unwrap_or_default(),
            ]);
        }
    }
    table.to_string()
}
