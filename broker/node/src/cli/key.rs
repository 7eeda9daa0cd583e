//! `posthouse key`: master keys and data keys, and signing keys.

mod signing;

use clap::Subcommand;
use posthouse_model::Name;

use super::client::{CliError, Client};
use super::output::{Output, Record, Table, moment};
use crate::admin::Operation;
use crate::admin::shapes::{
    DELETION_AFTER_SECONDS_USUAL, DataKeyView, DecryptRequest, DecryptedKey, MasterKeyChange,
    MasterKeyCreate, MasterKeyStateView, MasterKeyView, Page,
};
use signing::SigningCommand;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Makes a master key.
    Create {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Adds a version to a master key: it seals from now on, older ones go on opening.
    Rotate {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Lists master keys.
    List,
    /// Stops a master key from sealing and opening, until it is enabled again.
    Disable {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Lets a master key seal and open again. Also calls a scheduled deletion off.
    Enable {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Schedules a master key's deletion: what is sealed under it can then be opened by nobody.
    ScheduleDeletion {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        key: Name,
        /// How long until then.
        #[arg(long, value_name = "SECONDS", default_value_t = DELETION_AFTER_SECONDS_USUAL)]
        after: u64,
    },
    /// Makes a data key under a master key, to seal on your side.
    GenerateDataKey {
        /// The master key.
        #[arg(value_parser = Name::parse)]
        key: Name,
    },
    /// Tells a data key that was wrapped.
    Decrypt {
        /// The wrapped data key, base64.
        wrapped: String,
    },
    /// Signing keys, that deliveries are signed with.
    #[command(subcommand)]
    Signing(SigningCommand),
}

// === impl KeyCommand ===

impl KeyCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            KeyCommand::Create { key } => {
                let request = MasterKeyCreate { name: key };
                let view: MasterKeyView = client.tell(Operation::CreateMasterKey, &[], &request).await?;
                print_key(client, &view)
            }
            KeyCommand::Rotate { key } => {
                let view: MasterKeyView = client.ask(Operation::RotateMasterKey, &named(&key)).await?;
                print_key(client, &view)
            }
            KeyCommand::List => {
                let page: Page<MasterKeyView> = client.ask(Operation::ListMasterKeys, &[]).await?;
                client.output(&page.items, keys_text(&page.items))
            }
            KeyCommand::Disable { key } => set(client, &key, MasterKeyChange::Disabled).await,
            KeyCommand::Enable { key } => set(client, &key, MasterKeyChange::Enabled).await,
            KeyCommand::ScheduleDeletion { key, after } => {
                set(client, &key, MasterKeyChange::Deletion { after_seconds: after }).await
            }
            KeyCommand::GenerateDataKey { key } => {
                let view: DataKeyView = client.ask(Operation::GenerateDataKey, &named(&key)).await?;
                let mut record = Record::new();
                record.line("plain", &view.plain_base64);
                record.line("wrapped", &view.wrapped_base64);
                client.output(&view, record.to_string())
            }
            KeyCommand::Decrypt { wrapped } => {
                let request = DecryptRequest {
                    wrapped_base64: wrapped,
                };
                let view: DecryptedKey = client.tell(Operation::Decrypt, &[], &request).await?;
                client.output(&view, format!("{}\n", view.plain_base64))
            }
            KeyCommand::Signing(command) => command.perform(client).await,
        }
    }
}

async fn set(client: &Client, key: &Name, change: MasterKeyChange) -> Result<Output, CliError> {
    let view: MasterKeyView = client.tell(Operation::SetMasterKey, &named(key), &change).await?;
    print_key(client, &view)
}

fn print_key(client: &Client, view: &MasterKeyView) -> Result<Output, CliError> {
    client.output(view, keys_text(std::slice::from_ref(view)))
}

fn named(key: &Name) -> [(&'static str, &str); 1] {
    [("key", key.as_str())]
}

fn keys_text(keys: &[MasterKeyView]) -> String {
    let mut table = Table::new(&["name", "versions", "state", "deleted at"]);
    for view in keys {
        let state = match view.state {
            MasterKeyStateView::Enabled => "enabled",
            MasterKeyStateView::Disabled => "disabled",
            MasterKeyStateView::DeletionScheduled => "deletion scheduled",
            MasterKeyStateView::Destroyed => "destroyed",
        };
        table.row([
            view.name.to_string(),
            view.versions.to_string(),
            state.to_owned(),
            view.deletion_at_ms.map(moment).unwrap_or_default(),
        ]);
    }
    table.to_string()
}
