//! What the plugin of a binding keeps: listed, or one key of it.

use clap::Subcommand;

use super::{PlaceArgs, World};
use crate::admin::Operation;
use crate::admin::shapes::{KeptAfter, KeptEntry, KeptPage, KeptRequest, PlaceView, WorldView};
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, Table, one_line};

/// What to show of what a binding's plugin keeps.
#[derive(Debug, Subcommand)]
pub enum KvCommand {
    /// Lists keys with their values.
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// The world.
        #[arg(long, value_enum)]
        world: World,
    },
    /// Shows what one key holds, in each set that has it.
    Get {
        /// The key.
        key: String,
        #[command(flatten)]
        place: PlaceArgs,
        /// The world.
        #[arg(long, value_enum)]
        world: World,
    },
}

// === impl KvCommand ===

impl KvCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        let (key, place, world) = match self {
            KvCommand::List { place, world } => (None, place, world),
            KvCommand::Get { key, place, world } => (Some(key), place, world),
        };
        let entries = read(client, place.shape()?, world.into(), key).await?;
        client.output(&entries, text(&entries))
    }
}

async fn read(
    client: &Client,
    place: PlaceView,
    world: WorldView,
    key: Option<String>,
) -> Result<Vec<KeptEntry>, CliError> {
    let mut request = KeptRequest {
        place,
        world,
        key,
        after: None,
    };
    let mut entries = Vec::new();
    loop {
        let page: KeptPage = client.tell(Operation::ReadKept, &[], &request).await?;
        entries.extend(page.entries);
        request.after = entries.last().map(|last: &KeptEntry| KeptAfter {
            set: last.set,
            key: last.key.clone(),
        });
        if !page.more || request.key.is_some() {
            return Ok(entries);
        }
    }
}

fn text(entries: &[KeptEntry]) -> String {
    let mut table = Table::new(&["key", "value", "version", "expires at ms", "set"]);
    for entry in entries {
        // What is no text is shown as the hexadecimal digits of its bytes.
        let value = entry.text.as_ref().unwrap_or(&entry.hexadecimal);
        table.row([
            one_line(&entry.key),
            one_line(value),
            entry.version.to_string(),
            entry.expires_ms.map(|at| at.to_string()).unwrap_or_default(),
            entry.set.to_string(),
        ]);
    }
    table.to_string()
}
