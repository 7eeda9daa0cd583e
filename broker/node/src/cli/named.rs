//! What the commands for queues and for topics have in common.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use posthouse_model::{Name, bounds};
use serde::Serialize;

use super::client::{CliError, Client};
use super::output::{Output, Record, moment};
use crate::admin::Operation;
use crate::admin::shapes::{Done, MessageContent, NameView, SealRequest, SentMessages, StateView};

/// Under what to seal.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SealArgs {
    /// The master key.
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    key: Option<Name>,
    /// Seals no longer.
    #[arg(long)]
    off: bool,
}

/// Bodies of messages.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Bodies {
    /// The bodies, 1 to 16.
    #[arg(value_name = "BODY", num_args = 1..=bounds::BATCH_MAX)]
    bodies: Vec<String>,
    /// Takes the body from this file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is told of a queue as of a topic.
pub(super) struct Told<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a Name,
    pub(super) state: StateView,
    pub(super) set: u8,
    pub(super) created_ms: u64,
    pub(super) modified_ms: u64,
    pub(super) body_bytes_max: u32,
    pub(super) retention_seconds: u64,
    pub(super) sealed_under: Option<&'a Name>,
}

// === impl SealArgs ===

impl SealArgs {
    /// Seals what is put into a queue or topic from now on, or no longer.
    pub(super) async fn apply(
        &self,
        client: &Client,
        operation: Operation,
        kind: &'static str,
        name: &Name,
    ) -> Result<Output, CliError> {
        let request = SealRequest {
            master_key: self.key.clone(),
        };
        let done: Done = client.tell(operation, &[(kind, name.as_str())], &request).await?;
        let outcome = match &self.key {
            Some(key) => format!("new messages are sealed under {key}"),
            None => "new messages are not sealed".to_owned(),
        };
        client.output(&done, format!("{kind} {name}: {outcome}\n"))
    }
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn read(self) -> Result<Vec<MessageContent>, CliError> {
        let Some(path) = self.file else {
            return Ok(self
                .bodies
                .iter()
                .map(|body| MessageContent::from_bytes(body.as_bytes()))
                .collect());
        };
        let mut body = Vec::new();
        // One byte past the bound, so that a longer body is refused by the node and not cut.
        let limit = bounds::BATCH_BYTES_MAX as u64 + 1;
        let outcome = if path.as_os_str() == "-" {
            std::io::stdin().lock().take(limit).read_to_end(&mut body)
        } else {
            std::fs::File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut body))
        };
        match outcome {
            Ok(_) => Ok(vec![MessageContent::from_bytes(&body)]),
            Err(error) => Err(CliError::Usage(format!("{}: {error}", path.display()))),
        }
    }
}

// === impl Told ===

impl Told<'_> {
    /// Returns the text about it, with the lines that are its kind's own in the middle.
    pub(super) fn text(&self, own: impl FnOnce(&mut Record)) -> String {
        let mut record = Record::new();
        record.line(self.kind, self.name);
        record.line("state", state_word(self.state));
        record.line("set", self.set);
        record.line("created", moment(self.created_ms));
        record.line("modified", moment(self.modified_ms));
        own(&mut record);
        record.line("body at most", format!("{} bytes", self.body_bytes_max));
        record.line("retention", format!("{} s", self.retention_seconds));
        if let Some(key) = self.sealed_under {
            record.line("sealed under", key);
        }
        record.to_string()
    }
}

/// Returns what a listing tells of each: name, state, set and master key.
pub(super) fn told_in_a_row(view: &NameView) -> [String; 4] {
    [
        view.name.to_string(),
        state_word(view.state).to_owned(),
        view.set.to_string(),
        view.sealed_under
            .as_ref()
            .map(Name::to_string)
            .unwrap_or_default(),
    ]
}

/// Deletes a queue or topic.
pub(super) async fn delete(
    client: &Client,
    operation: Operation,
    kind: &'static str,
    name: &Name,
) -> Result<Output, CliError> {
    let done: Done = client.ask(operation, &[(kind, name.as_str())]).await?;
    client.output(&done, format!("{kind} {name} is deleted\n"))
}

/// Sends or publishes messages, and tells their ids.
pub(super) async fn send(
    client: &Client,
    operation: Operation,
    kind: &'static str,
    name: &Name,
    request: &impl Serialize,
) -> Result<Output, CliError> {
    let sent: SentMessages = client.tell(operation, &[(kind, name.as_str())], request).await?;
    let ids: String = sent.message_ids.iter().map(|id| format!("{id}\n")).collect();
    client.output(&sent, ids)
}

/// Refuses to change nothing.
pub(super) fn something_to_change<T: Default + PartialEq>(settings: &T) -> Result<(), CliError> {
    if *settings == T::default() {
        return Err(CliError::Usage("give at least one setting to change".to_owned()));
    }
    Ok(())
}

fn state_word(state: StateView) -> &'static str {
    match state {
        StateView::Creating => "creating",
        StateView::Ready => "ready",
        StateView::Removing => "removing",
    }
}
