//! `posthouse queue`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use posthouse_model::{Name, bounds};

use super::client::{CliError, Client};
use super::named::{Bodies, SealArgs, Told, delete, send, something_to_change, told_in_a_row};
use super::output::{Output, Record, Table, failure, moment};
use crate::admin::Operation;
use crate::admin::shapes::{
    CopiedMessages, CopyRequest, CountsView, DeadLetter, DeadLetterAfter, Decimal, DeleteRequest,
    DeletedMessages, Done, NameView, QueueCreate, QueueSettings, QueueView, ReceiveRequest, ReceivedMessage,
    ReceivedMessages, RewindRequest, SendRequest,
};

/// What messages and routes call it.
const KIND: &str = "queue";

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Creates a queue.
    Create {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists queues.
    List {
        /// Only names that contain this.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Shows a queue.
    Show {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        queue: Name,
    },
    /// Changes a queue's settings.
    Set {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes a queue with its messages.
    Delete {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        queue: Name,
    },
    /// Seals new messages under a master key, or no longer.
    Seal {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        #[command(flatten)]
        seal: SealArgs,
    },
    /// Sends messages.
    Send {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        #[command(flatten)]
        bodies: Bodies,
        /// Hides them for so long first.
        #[arg(long, value_name = "SECONDS")]
        delay: Option<u64>,
    },
    /// Receives messages. None is no failure.
    Receive {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        /// The most messages, 1 to 16.
        #[arg(long, default_value_t = 1)]
        max: u16,
        /// Waits for a message, 0 to 30; the queue's setting when absent.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
        /// Hides them for so long; the queue's setting when absent.
        #[arg(long, value_name = "SECONDS")]
        visibility: Option<u64>,
        /// Deletes them once they are printed.
        #[arg(long)]
        delete: bool,
    },
    /// Deletes received messages.
    Remove {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        /// Their receipt handles.
        #[arg(required = true, num_args = 1..=bounds::BATCH_MAX)]
        handles: Vec<Decimal>,
    },
    /// Copies what a queue keeps into another one, and leaves it as it is: to try on it what is bound there.
    Copy {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        /// The queue that it is put into.
        #[arg(long, value_parser = Name::parse, value_name = "QUEUE")]
        into: Name,
        #[command(flatten)]
        since: CopySince,
    },
    /// Starts a queue again from a time: what was produced since is visible again.
    Rewind {
        /// The queue.
        #[arg(value_parser = Name::parse)]
        queue: Name,
        #[command(flatten)]
        to: RewindTo,
    },
}

/// What a queue is set to.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// The most messages it holds.
    #[arg(long, value_name = "COUNT")]
    messages_max: Option<u64>,
    /// How long a receive waits that does not say.
    #[arg(long, value_name = "SECONDS")]
    polling_wait: Option<u64>,
    /// How long a received message stays hidden.
    #[arg(long, value_name = "SECONDS")]
    visibility: Option<u64>,
    /// The largest body it takes.
    #[arg(long, value_name = "BYTES")]
    body_max: Option<u32>,
    /// How long a message is kept.
    #[arg(long, value_name = "SECONDS")]
    retention: Option<u64>,
    /// How long a deleted message can be brought back; 0 is off.
    #[arg(long, value_name = "SECONDS")]
    rewind: Option<u64>,
    /// The queue for messages that nobody manages to consume.
    #[arg(long, value_name = "QUEUE", value_parser = Name::parse, requires = "dead_letter_rule")]
    dead_letter: Option<Name>,
    /// Dead after so many receives.
    #[arg(
        long,
        value_name = "COUNT",
        requires = "dead_letter",
        group = "dead_letter_rule"
    )]
    dead_after_receives: Option<u32>,
    /// Dead after so long.
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "dead_letter",
        group = "dead_letter_rule"
    )]
    dead_after: Option<u64>,
    /// Takes the dead letter queue off.
    #[arg(long, conflicts_with = "dead_letter")]
    no_dead_letter: bool,
}

/// When to start from.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RewindTo {
    /// A time, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    to: Option<u64>,
    /// So long ago.
    #[arg(long, value_name = "SECONDS")]
    ago: Option<u64>,
}

/// What was produced since when.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub struct CopySince {
    /// A time, in seconds since 1970; everything that is kept when absent.
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
    /// So long ago.
    #[arg(long, value_name = "SECONDS")]
    ago: Option<u64>,
}

// === impl QueueCommand ===

impl QueueCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            QueueCommand::Create { queue, settings } => {
                let request = QueueCreate {
                    name: queue,
                    settings: settings.shape(),
                };
                let view: QueueView = client.tell(Operation::CreateQueue, &[], &request).await?;
                client.output(&view, queue_text(&view))
            }
            QueueCommand::List { search } => {
                let queues = client.list(Operation::ListQueues, &[], search.as_deref()).await?;
                client.output(&queues, queues_text(&queues))
            }
            QueueCommand::Show { queue } => {
                let view: QueueView = client.ask(Operation::ShowQueue, &named(&queue)).await?;
                client.output(&view, queue_text(&view))
            }
            QueueCommand::Set { queue, settings } => {
                let settings = settings.shape();
                something_to_change(&settings)?;
                let view: QueueView = client
                    .tell(Operation::SetQueue, &named(&queue), &settings)
                    .await?;
                client.output(&view, queue_text(&view))
            }
            QueueCommand::Delete { queue } => delete(client, Operation::DeleteQueue, KIND, &queue).await,
            QueueCommand::Seal { queue, seal } => {
                seal.apply(client, Operation::SealQueue, KIND, &queue).await
            }
            QueueCommand::Send { queue, bodies, delay } => {
                let messages = bodies.read()?;
                let request = SendRequest {
                    messages,
                    delay_seconds: delay,
                    token: None,
                };
                send(client, Operation::SendMessages, KIND, &queue, &request).await
            }
            QueueCommand::Receive {
                queue,
                max,
                wait,
                visibility,
                delete,
            } => {
                let request = ReceiveRequest {
                    max: Some(max),
                    wait_seconds: wait,
                    visibility_seconds: visibility,
                };
                receive(client, &queue, request, delete).await
            }
            QueueCommand::Remove { queue, handles } => remove(client, &queue, handles).await,
            QueueCommand::Copy { queue, into, since } => copy(client, &queue, into, since).await,
            QueueCommand::Rewind { queue, to } => {
                let to_ms = to.millis();
                let request = RewindRequest { to_ms };
                let done: Done = client
                    .tell(Operation::RewindQueue, &named(&queue), &request)
                    .await?;
                client.output(
                    &done,
                    format!("queue {queue} starts again at {}\n", moment(to_ms)),
                )
            }
        }
    }
}

/// Copies page by page.
async fn copy(client: &Client, queue: &Name, into: Name, since: CopySince) -> Result<Output, CliError> {
    let mut request = CopyRequest {
        into,
        since_ms: since.millis(),
        after: None,
        max: None,
    };
    let mut whole = CopiedMessages {
        copied: 0,
        refused: Vec::new(),
        next: None,
    };
    loop {
        let page: CopiedMessages = client.tell(Operation::CopyQueue, &named(queue), &request).await?;
        whole.copied += page.copied;
        whole.refused.extend(page.refused);
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    let into = &request.into;
    let mut text = format!("{} messages of {queue} copied into {into}\n", whole.copied);
    for one in &whole.refused {
        text += &format!("not copied: {}: {}\n", one.message_id, one.why);
    }
    client.output(&whole, text)
}

async fn receive(
    client: &Client,
    queue: &Name,
    request: ReceiveRequest,
    delete: bool,
) -> Result<Output, CliError> {
    let received: ReceivedMessages = client
        .tell(Operation::ReceiveMessages, &named(queue), &request)
        .await?;
    let mut output = client.output(&received, received_text(&received))?;
    if delete && !received.messages.is_empty() {
        // What could not be printed is not deleted.
        output.print_first()?;
        let receipt_handles = received
            .messages
            .iter()
            .map(|message| message.receipt_handle)
            .collect();
        let request = DeleteRequest { receipt_handles };
        let deleted: DeletedMessages = client
            .tell(Operation::DeleteMessages, &named(queue), &request)
            .await?;
        output.complete = deleted.results.iter().all(|result| result.deleted);
    }
    Ok(output)
}

async fn remove(client: &Client, queue: &Name, handles: Vec<Decimal>) -> Result<Output, CliError> {
    let request = DeleteRequest {
        receipt_handles: handles,
    };
    let deleted: DeletedMessages = client
        .tell(Operation::DeleteMessages, &named(queue), &request)
        .await?;
    let mut table = Table::new(&["receipt handle", "deleted", "because"]);
    for result in &deleted.results {
        table.row([
            result.receipt_handle.to_string(),
            super::yes_no(result.deleted).to_owned(),
            result
                .error
                .as_ref()
                .map(|error| error.message.clone())
                .unwrap_or_default(),
        ]);
    }
    let mut output = client.output(&deleted, table.to_string())?;
    output.complete = deleted.results.iter().all(|result| result.deleted);
    Ok(output)
}

// === impl Settings ===

impl Settings {
    fn shape(self) -> QueueSettings {
        let by_receives = self.dead_after_receives.map(DeadLetterAfter::Receives);
        let after = by_receives.or(self.dead_after.map(DeadLetterAfter::Seconds));
        QueueSettings {
            messages_max: self.messages_max,
            polling_wait_seconds: self.polling_wait,
            visibility_seconds: self.visibility,
            body_bytes_max: self.body_max,
            retention_seconds: self.retention,
            rewind_seconds: self.rewind,
            dead_letter: self
                .dead_letter
                .zip(after)
                .map(|(queue, after)| DeadLetter { queue, after }),
            remove_dead_letter: self.no_dead_letter,
        }
    }
}

// === impl CopySince ===

impl CopySince {
    fn millis(self) -> u64 {
        match (self.since, self.ago) {
            (None, None) => 0,
            (to, ago) => RewindTo { to, ago }.millis(),
        }
    }
}

// === impl RewindTo ===

impl RewindTo {
    fn millis(self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let seconds = match (self.to, self.ago) {
            (Some(to), _) => to,
            (None, Some(ago)) => now.saturating_sub(ago),
            (None, None) => now,
        };
        seconds.saturating_mul(1_000)
    }
}

fn named(queue: &Name) -> [(&'static str, &str); 1] {
    [(KIND, queue.as_str())]
}

fn queue_text(view: &QueueView) -> String {
    Told {
        kind: KIND,
        name: &view.name,
        state: view.state,
        set: view.set,
        created_ms: view.created_ms,
        modified_ms: view.modified_ms,
        body_bytes_max: view.body_bytes_max,
        retention_seconds: view.retention_seconds,
        sealed_under: view.sealed_under.as_ref(),
    }
    .text(|record| {
        record.line("active", view.counts.active);
        record.line("leased", view.counts.leased);
        record.line("delayed", view.counts.delayed);
        record.line("rewindable", view.counts.rewindable);
        if let Some(oldest) = view.counts.oldest_ms {
            record.line("oldest message", moment(oldest));
        }
        record.line("messages at most", view.messages_max);
        record.line("polling wait", format!("{} s", view.polling_wait_seconds));
        record.line("visibility", format!("{} s", view.visibility_seconds));
        record.line("rewind", format!("{} s", view.rewind_seconds));
        if let Some(dead_letter) = &view.dead_letter {
            let after = match dead_letter.after {
                DeadLetterAfter::Receives(count) => format!("{count} receives"),
                DeadLetterAfter::Seconds(seconds) => format!("{seconds} s"),
            };
            record.line("dead letters", format!("to {} after {after}", dead_letter.queue));
        }
    })
}

fn queues_text(queues: &[NameView]) -> String {
    let mut table = Table::new(&[
        "name",
        "state",
        "set",
        "active",
        "leased",
        "delayed",
        "sealed under",
    ]);
    for view in queues {
        let count = |of: fn(&CountsView) -> u64| {
            view.counts
                .as_ref()
                .map(|counts| of(counts).to_string())
                .unwrap_or_default()
        };
        let [name, state, set, sealed_under] = told_in_a_row(view);
        table.row([
            name,
            state,
            set,
            count(|counts| counts.active),
            count(|counts| counts.leased),
            count(|counts| counts.delayed),
            sealed_under,
        ]);
    }
    table.to_string()
}

fn received_text(received: &ReceivedMessages) -> String {
    if received.messages.is_empty() {
        return "no message\n".to_owned();
    }
    let texts: Vec<String> = received.messages.iter().map(message_text).collect();
    texts.join("\n")
}

fn message_text(message: &ReceivedMessage) -> String {
    let mut record = Record::new();
    record.line("message", message.message_id);
    record.line("handle", message.receipt_handle);
    record.line("produced", moment(message.produced_ms));
    record.line("receives", message.receive_count);
    record.line("visible again", moment(message.visible_again_ms));
    if !message.tags.is_empty() {
        record.line("tags", message.tags.join(" "));
    }
    if !message.routing_key.is_empty() {
        record.line("routing key", &message.routing_key);
    }
    if let Some(origin) = &message.origin {
        let from = origin
            .name
            .clone()
            .unwrap_or_else(|| format!("#{}", origin.incarnation));
        record.line("from", format!("{from}: {}", origin.cause));
    }
    let parked = message.origin.as_ref().and_then(|origin| origin.parked.as_ref());
    if let Some(parked) = parked {
        record.line("failed", failure(parked));
        for frame in parked.backtrace.lines() {
            record.line("at", frame);
        }
    }
    match (&message.content.body, &message.content.body_base64) {
        (Some(text), _) => record.line("body", text),
        (None, Some(coded)) => {
            let bytes = STANDARD.decode(coded).map_or(0, |bytes| bytes.len());
            record.line("body", format!("{bytes} bytes, base64 {coded}"));
        }
        (None, None) => {}
    }
    record.to_string()
}
