//! What a group replicates: a state machine of the model, seen through what a group needs of it.

use bytes::Bytes;
use posthouse_model::{
    Applied, Batch, Directory, DirectoryApplied, DirectoryCommand, DirectoryRefusal, DirectoryReply, KvUse,
    LogIndex, Message, MessageId, Park, Publication, Refusal, Set, SetCommand, SetReply, Term, Time,
};
use posthouse_wire::{DecodeError, Kind};

use crate::bugs::{Bug, without_leases};

/// The bytes that a command costs in an entry beyond its messages, about.
const COMMAND_OVERHEAD_BYTES: usize = 64;
/// The bytes of a number in an entry, at most.
const NUMBER_BYTES: usize = 10;

/// A state machine that is replicated: a function of its state and of entries in order.
pub trait Machine: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What is asked.
    type Command: Clone + std::fmt::Debug + Send + Sync + 'static;
    /// What is answered to one command.
    type Outcome: std::fmt::Debug + Send + Sync + 'static;
    /// What applying one entry did.
    type Applied: Send;

    /// Applies one entry.
    fn apply(&mut self, index: LogIndex, batch: &Batch<Self::Command>) -> Self::Applied;

    /// Returns the answers in what applying did, in the order of the commands.
    fn outcomes(applied: Self::Applied) -> Vec<Self::Outcome>;

    /// Returns the time of the last entry.
    fn now(&self) -> Time;

    /// Returns the index of the last entry that was applied.
    fn applied(&self) -> LogIndex;

    /// Returns when something falls due.
    fn deadline(&self) -> Option<Time>;

    /// Returns the command that does what is due.
    fn tick() -> Self::Command;

    /// Returns the command at which every replica writes a checkpoint; none when each writes its own as it likes.
    fn cut() -> Option<Self::Command>;

    /// Returns whether this answer to a tick says that more is due.
    fn more_is_due(outcome: &Self::Outcome) -> bool;

    /// Returns the command with which a new leader begins, if it is to begin with one.
    fn lead(term: Term) -> Option<Self::Command>;

    /// Returns the last message id that was stamped.
    fn last_message_id(&self) -> MessageId;

    /// Returns about how many bytes a command adds to an entry.
    fn weight(command: &Self::Command) -> usize;

    /// Returns the bytes of an entry.
    fn encode_batch(batch: &Batch<Self::Command>) -> Bytes;

    /// Returns an entry's stamp.
    fn stamp_of(bytes: &[u8]) -> Result<Time, DecodeError>;

    /// Reads an entry.
    fn decode_batch(bytes: &Bytes) -> Result<Batch<Self::Command>, DecodeError>;

    /// Returns the bytes of the state.
    fn encode_state(&self) -> Bytes;

    /// Reads a state.
    fn decode_state(bytes: &[u8]) -> Result<Self, DecodeError>;
}

// === impl Set ===

impl Machine for Set {
    type Command = SetCommand;
    type Outcome = Result<SetReply, Refusal>;
    type Applied = Applied;

    fn apply(&mut self, index: LogIndex, batch: &Batch<SetCommand>) -> Applied {
        if Bug::LeasesForgotten.is_loose() {
            return Set::apply(self, index, &without_leases(self, batch));
        }
        Set::apply(self, index, batch)
    }

    fn outcomes(applied: Applied) -> Vec<Self::Outcome> {
        applied.outcomes
    }

    fn now(&self) -> Time {
        Set::now(self)
    }

    fn applied(&self) -> LogIndex {
        Set::applied(self)
    }

    fn deadline(&self) -> Option<Time> {
        Set::deadline(self)
    }

    fn tick() -> SetCommand {
        SetCommand::Tick
    }

    fn cut() -> Option<SetCommand> {
        Some(SetCommand::Cut)
    }

    fn more_is_due(outcome: &Self::Outcome) -> bool {
        matches!(outcome, Ok(SetReply::Ticked { more: true }))
    }

    fn lead(term: Term) -> Option<SetCommand> {
        Some(SetCommand::Lead { term })
    }

    fn last_message_id(&self) -> MessageId {
        Set::last_message_id(self)
    }

    fn weight(command: &SetCommand) -> usize {
        COMMAND_OVERHEAD_BYTES + set_command_bytes(command)
    }

    fn encode_batch(batch: &Batch<SetCommand>) -> Bytes {
        posthouse_wire::encode_set_batch(batch)
    }

    fn stamp_of(bytes: &[u8]) -> Result<Time, DecodeError> {
        posthouse_wire::decode_beginning(Kind::SetBatch, bytes)
    }

    fn decode_batch(bytes: &Bytes) -> Result<Batch<SetCommand>, DecodeError> {
        posthouse_wire::decode_set_batch(bytes)
    }

    fn encode_state(&self) -> Bytes {
        posthouse_wire::encode_set_state(self)
    }

    fn decode_state(bytes: &[u8]) -> Result<Set, DecodeError> {
        posthouse_wire::decode_set_state(bytes)
    }
}

// === impl Directory ===

impl Machine for Directory {
    type Command = DirectoryCommand;
    type Outcome = Result<DirectoryReply, DirectoryRefusal>;
    type Applied = DirectoryApplied;

    fn apply(&mut self, index: LogIndex, batch: &Batch<DirectoryCommand>) -> DirectoryApplied {
        Directory::apply(self, index, batch)
    }

    fn outcomes(applied: DirectoryApplied) -> Vec<Self::Outcome> {
        applied.outcomes
    }

    fn now(&self) -> Time {
        Directory::now(self)
    }

    fn applied(&self) -> LogIndex {
        Directory::applied(self)
    }

    fn deadline(&self) -> Option<Time> {
        Directory::deadline(self)
    }

    fn tick() -> DirectoryCommand {
        DirectoryCommand::Tick
    }

    fn cut() -> Option<DirectoryCommand> {
        None
    }

    fn more_is_due(_outcome: &Self::Outcome) -> bool {
        false
    }

    fn lead(_term: Term) -> Option<DirectoryCommand> {
        None
    }

    fn last_message_id(&self) -> MessageId {
        MessageId::default()
    }

    fn weight(command: &DirectoryCommand) -> usize {
        let bytes = match command {
            DirectoryCommand::Bind { configuration, .. }
            | DirectoryCommand::BindBreaking { configuration, .. } => configuration.len(),
            DirectoryCommand::AddAccessKey { wrapped_secret, .. } => wrapped_secret.len(),
            DirectoryCommand::PutMasterKey { wrapped, .. } => wrapped.len(),
            // The others are a few names and numbers.
            _ => 0,
        };
        COMMAND_OVERHEAD_BYTES + bytes
    }

    fn encode_batch(batch: &Batch<DirectoryCommand>) -> Bytes {
        posthouse_wire::encode_directory_batch(batch)
    }

    fn stamp_of(bytes: &[u8]) -> Result<Time, DecodeError> {
        posthouse_wire::decode_beginning(Kind::DirectoryBatch, bytes)
    }

    fn decode_batch(bytes: &Bytes) -> Result<Batch<DirectoryCommand>, DecodeError> {
        posthouse_wire::decode_directory_batch(bytes)
    }

    fn encode_state(&self) -> Bytes {
        posthouse_wire::encode_directory_state(self)
    }

    fn decode_state(bytes: &[u8]) -> Result<Directory, DecodeError> {
        posthouse_wire::decode_directory_state(bytes)
    }
}

/// Returns about how many bytes a command's messages and lists add to an entry.
fn set_command_bytes(command: &SetCommand) -> usize {
    match command {
        SetCommand::Decide { uses, command } => {
            let used: usize = uses.iter().map(KvUse::weight).sum();
            used + set_command_bytes(command.command())
        }
        SetCommand::Park { uses, command, parks } => {
            let used: usize = uses.iter().map(KvUse::weight).sum();
            let parked: usize = parks.iter().map(Park::weight).sum();
            used + parked + set_command_bytes(command.command())
        }
        SetCommand::Send { messages, .. } => messages.iter().map(|incoming| incoming.message.weight()).sum(),
        SetCommand::Publish { publications, .. } => publications.iter().map(publication_bytes).sum(),
        SetCommand::Deposit { parcels, .. } => parcels.iter().map(|parcel| parcel.message.weight()).sum(),
        SetCommand::Delete { handles, .. }
        | SetCommand::Release { handles, .. }
        | SetCommand::Return { handles, .. }
        | SetCommand::Extend { handles, .. } => handles.len() * NUMBER_BYTES,
        SetCommand::Settle { outcomes, .. } => outcomes.len() * 2 * NUMBER_BYTES,
        SetCommand::Shipped { numbers, .. } => numbers.len() * NUMBER_BYTES,
        SetCommand::ReceiveThese { sequences, .. } => sequences.len() * NUMBER_BYTES,
        SetCommand::Readmit { content, .. } => content.messages().map(Message::weight).sum(),
        // The others are a few names and numbers.
        _ => 0,
    }
}

fn publication_bytes(publication: &Publication) -> usize {
    let replaced: usize = publication
        .replaced
        .iter()
        .map(|(_, message)| message.weight())
        .sum();
    publication.message.weight() + publication.matched.len() * NUMBER_BYTES + replaced
}
