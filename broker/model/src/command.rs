//! What can be asked of a set, and what it answers: the words of its log.
//!
//! A command says all that its effect depends on, beside the state: time is the entry's, chance and plugins'
//! decisions are written out. What a command means never changes; new behaviour is a new command, added at
//! the end of the enum, because the encoding counts variants.

mod brought;
mod decided;

use serde::{Deserialize, Serialize};

use crate::{
    BodyKey, Generation, Incarnation, KvUse, LogIndex, Message, MessageId, MoveCause, Name, Park, Place,
    QueueAttributes, ReceiptHandle, Sequence, Span, SubscriptionAttributes, SubscriptionId, TenantId, Term,
    Time, TopicAttributes, World,
};

pub use decided::Decided;

/// One agreed entry of a set's log: a batch of commands at one time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Batch<C> {
    /// The set's time, stamped by its leader.
    pub now: Time,
    /// The commands, applied in order, each once.
    pub submissions: Vec<Submission<C>>,
}

/// A command, and who passed it on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Submission<C> {
    /// Names this sending, so that a repeated one answers the first one's result.
    pub call: Option<SessionCall>,
    /// What is asked.
    pub command: C,
}

/// Names one sending of a command by a node: a repeat has the same three numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct SessionCall {
    /// The replica that passed the command on.
    pub origin: crate::ReplicaId,
    /// Its session, another for each start of its process.
    pub session: u64,
    /// Counted in the session.
    pub number: u64,
}

/// What a client says to have its own retries recognised: at most 128 bytes, kept five minutes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Token(pub String);

/// What can be asked of a set.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SetCommand {
    /// Makes a queue or topic, or changes its attributes when the generation is higher than the known one. Idempotent.
    Define {
        /// Which.
        incarnation: Incarnation,
        /// Which definition of it.
        generation: Generation,
        /// Whose.
        tenant: TenantId,
        /// Its name, for replies and plugins.
        name: Name,
        /// What it is.
        definition: Definition,
    },
    /// Drops a queue or topic with all that it holds. Idempotent. A topic with subscriptions is refused.
    Drop {
        /// Which.
        incarnation: Incarnation,
    },
    /// Adds a subscription to a topic.
    Subscribe {
        /// The topic.
        topic: Incarnation,
        /// Unique within it, whatever the case.
        name: Name,
        /// What it is set to.
        attributes: SubscriptionAttributes,
    },
    /// Replaces a subscription's attributes.
    AlterSubscription {
        /// The topic.
        topic: Incarnation,
        /// The subscription.
        name: Name,
        /// What it is now set to; the endpoint must be the one it had.
        attributes: SubscriptionAttributes,
    },
    /// Removes a subscription with its backlog.
    Unsubscribe {
        /// The topic.
        topic: Incarnation,
        /// The subscription.
        name: Name,
    },
    /// Puts messages at the tail of a queue, all or none.
    Send {
        /// The queue.
        queue: Incarnation,
        /// How long they stay hidden.
        delay: Span,
        /// The messages; a dropped one (by a filter) is answered and not kept.
        messages: Vec<Incoming>,
        /// The client's own name for this call.
        token: Option<Token>,
        /// The directory index that plugins' decisions were made at; zero when none was asked.
        decided_at: LogIndex,
    },
    /// Leases up to `max` of the oldest visible messages.
    Receive {
        /// The queue.
        queue: Incarnation,
        /// The most, 1 to 16 by CMQ; the model allows 1,000.
        max: u16,
        /// How long they stay hidden; the queue's setting when absent.
        visibility: Option<Span>,
    },
    /// Deletes messages by their latest handles. Each is answered for itself.
    Delete {
        /// The queue.
        queue: Incarnation,
        /// The handles.
        handles: Vec<ReceiptHandle>,
    },
    /// Gives leases back, as if they had not been: restores receive counts. Unknown handles are passed over.
    Release {
        /// The queue.
        queue: Incarnation,
        /// The handles.
        handles: Vec<ReceiptHandle>,
    },
    /// Starts a new epoch of a queue at a time: what is kept that was produced then or later is visible again.
    Rewind {
        /// The queue.
        queue: Incarnation,
        /// When to start from.
        to: Time,
    },
    /// Stores messages for the subscriptions that a router matched, all or none.
    Publish {
        /// The topic.
        topic: Incarnation,
        /// The messages with what they matched.
        publications: Vec<Publication>,
        /// The client's own name for this call.
        token: Option<Token>,
        /// The directory index that plugins' decisions were made at.
        decided_at: LogIndex,
    },
    /// Leases messages of a subscription to the leader that delivers them.
    Claim {
        /// The topic.
        topic: Incarnation,
        /// The subscription.
        subscription: SubscriptionId,
        /// The most, up to 1,000.
        max: u16,
        /// How long, before they can be claimed again.
        span: Span,
        /// The leader's term: claims of lower terms are void once a higher one has led.
        term: Term,
    },
    /// Says what became of claimed messages. Unknown handles are passed over.
    Settle {
        /// The topic.
        topic: Incarnation,
        /// The subscription.
        subscription: SubscriptionId,
        /// What became of each.
        outcomes: Vec<Settled>,
    },
    /// Takes in what another place's outbox holds for this queue. What was taken before is answered again, not stored again.
    Deposit {
        /// The queue.
        target: Incarnation,
        /// The queue or topic that it comes from.
        source: Incarnation,
        /// The messages with their numbers in the source's outbox for this target.
        parcels: Vec<Parcel>,
    },
    /// Takes out of an outbox what the target has taken in.
    Shipped {
        /// The queue or topic whose outbox it is.
        source: Incarnation,
        /// The queue that took it.
        target: Incarnation,
        /// The numbers.
        numbers: Vec<u64>,
    },
    /// Does what is due at the entry's time, up to a bound, and says whether more is due.
    Tick,
    /// The first command of a new leader: voids claims of earlier terms.
    Lead {
        /// Its term.
        term: Term,
    },
    /// Tells the set how far the directory's log has got, so that decisions made before are refused.
    Observe {
        /// The directory index.
        directory: LogIndex,
    },
    /// Marks where replicas write a segment of what is live and a checkpoint.
    Cut,
    /// Names segments that replicas replace by one of what is still live in them.
    Rewrite {
        /// The segments, by the log index of the cut (or rewrite) that made them.
        inputs: Vec<LogIndex>,
    },
    /// Does what plugins decided together with what they wrote to their kv stores meanwhile, or neither: when a store has
    /// changed since they read it, all is to be decided again. A command that was done before is not done again, and writes
    /// nothing; nor does a settlement none of whose claims lasts.
    Decide {
        /// What they read and wrote, each store at most once.
        uses: Vec<KvUse>,
        /// What they decided.
        command: Decided,
    },
    /// Lets go of the kv stores of a binding that is no more, and of what is decided by it from now on. Refused when the set
    /// has seen a later index, as decisions are: the place may be bound again by then.
    ForgetKv {
        /// Where it was bound.
        place: Place,
        /// What it decided.
        world: World,
        /// On whose behalf; all tenants' if absent.
        tenant: Option<TenantId>,
        /// The directory index at which nothing is bound there.
        decided_at: LogIndex,
    },
    /// Leases these messages of a queue, as far as they are visible and their time in it is not over.
    ReceiveThese {
        /// The queue.
        queue: Incarnation,
        /// The messages, at most 1,000.
        sequences: Vec<Sequence>,
        /// How long they stay hidden.
        visibility: Span,
    },
    /// Takes a message in again that was parked, decided anew. One that was taken in before from the same place is not
    /// taken in twice.
    Readmit {
        /// The queue or topic.
        target: Incarnation,
        /// The queue that it was parked in.
        source: Incarnation,
        /// Its place there.
        sequence: Sequence,
        /// Below it, nothing of that queue will ever be taken in: it is there no more.
        gone_below: Sequence,
        /// What it is now.
        content: Box<Readmitted>,
        /// The directory index that plugins' decisions were made at; zero when none was asked.
        decided_at: LogIndex,
    },
    /// Does what plugins decided as [`SetCommand::Decide`] does, and parks what of it they failed on: both or neither. What was
    /// done before parks nothing.
    Park {
        /// What they read and wrote, each store at most once.
        uses: Vec<KvUse>,
        /// What is sent or published.
        command: Decided,
        /// What of it is parked.
        parks: Vec<Park>,
    },
    /// Ends leases whose messages were not dealt with: they are visible again, at once or after a while, and count as received,
    /// so that the dead letter policy sees them. Each handle is answered for itself.
    Return {
        /// The queue.
        queue: Incarnation,
        /// The handles, at most 1,000.
        handles: Vec<ReceiptHandle>,
        /// How long the messages stay hidden, at most as long as a lease may last.
        delay: Span,
    },
    /// Has leases end so long from now, whenever they were to end. Each handle is answered for itself, and stays the same.
    Extend {
        /// The queue.
        queue: Incarnation,
        /// The handles, at most 1,000.
        handles: Vec<ReceiptHandle>,
        /// How long they last.
        visibility: Span,
    },
}

/// What a queue or topic is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Definition {
    /// A queue.
    Queue(QueueAttributes),
    /// A topic.
    Topic(TopicAttributes),
}

/// A message on its way into a queue.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// The message.
    pub message: Message,
    /// Whether it is kept; a filter may have dropped it.
    pub keep: bool,
}

/// A message on its way into a topic, with the subscriptions it matched.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// The message as published. Kept once, if any match takes it unchanged.
    pub message: Message,
    /// Subscriptions that get it unchanged.
    pub matched: Vec<SubscriptionId>,
    /// Subscriptions that get another content, which their filter made of it; it has the same id.
    pub replaced: Vec<(SubscriptionId, Message)>,
}

/// A message that was parked and is taken in again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Readmitted {
    /// Into a queue.
    Queue(Incoming),
    /// Into a topic.
    Topic(Publication),
}

/// What became of a claimed message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The claim.
    pub handle: ReceiptHandle,
    /// The message, for `explain`; the model goes by the handle.
    pub message: MessageId,
    /// The endpoint's answer, for `explain`: an HTTP status, or zero for none.
    pub status: u16,
    /// What follows.
    pub outcome: SettledOutcome,
}

/// What follows an attempt to deliver.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SettledOutcome {
    /// Delivered: the subscription is done with it.
    Acknowledged,
    /// To be tried again after so long.
    Retry(Span),
    /// Given up.
    Dropped,
    /// To be put into a queue: goes to the topic's outbox for it.
    Enqueue {
        /// The queue.
        target: Incarnation,
        /// The cause that travels with it.
        cause: MoveCause,
    },
    /// Never attempted: given back without counting as an attempt.
    Released,
}

/// A message in an outbox's order.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// Its number among what the source sends to this target, from 1.
    pub number: u64,
    /// The message, its origin filled in.
    pub message: Message,
}

/// What a set answers to a command that it did.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum SetReply {
    /// To `Define`.
    Defined,
    /// To `Drop`.
    Dropped,
    /// To `Subscribe`.
    Subscribed(SubscriptionId),
    /// To `AlterSubscription`.
    Altered,
    /// To `Unsubscribe`.
    Unsubscribed,
    /// To `Send` and `Publish`: the ids, in order. A repeated token answers the first call's ids.
    Sent(Vec<MessageId>),
    /// To `Receive`, `ReceiveThese` and `Claim`: what was leased, oldest first; none is no message.
    Leased(Vec<Leased>),
    /// To `Delete`: for each handle, in order, whether it deleted.
    Deleted(Vec<Result<(), Refusal>>),
    /// To `Release`.
    Released,
    /// To `Rewind`.
    Rewound,
    /// To `Settle`.
    Settled,
    /// To `Deposit`: the numbers that are now taken in, whether now or before.
    Deposited(Vec<u64>),
    /// To `Shipped`.
    Shipped,
    /// To `Tick`: whether more is due at the same time.
    Ticked {
        /// Whether more is due.
        more: bool,
    },
    /// To `Lead`, `Observe`, `Cut`, `Rewrite`, `ForgetKv`.
    Noted,
    /// To `Readmit`.
    Readmitted {
        /// Whether it was taken in now, and not before.
        anew: bool,
    },
    /// To `Return`: for each handle, in order, whether it leased a message.
    Returned(Vec<Result<(), Refusal>>),
    /// To `Extend`: for each handle, in order, whether it leases a message.
    Extended(Vec<Result<(), Refusal>>),
}

/// A leased message: where its body is, and what a client is told beside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// Where its body is.
    pub body: BodyKey,
    /// The lease.
    pub handle: ReceiptHandle,
    /// How often it has been received, this time counted.
    pub receive_count: u32,
    /// When it was first received.
    pub first_received: Time,
    /// When the lease ends.
    pub visible_again: Time,
}

/// Why a set refused a command: alike on every replica, so it names only what entry and state hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No queue or topic of that incarnation is here (any more).
    #[error("no queue or topic {0}")]
    NoIncarnation(Incarnation),
    /// The incarnation is of the other kind.
    #[error("{0} is not of that kind")]
    WrongKind(Incarnation),
    /// An attribute is out of bounds.
    #[error("{attribute} is out of range")]
    OutOfRange {
        /// Which, by CMQ's name for it.
        attribute: String,
    },
    /// `rewindSeconds` is above the retention.
    #[error("rewind is longer than retention")]
    RewindAboveRetention,
    /// A body is larger than the queue or topic takes.
    #[error("body of {bytes} bytes is over the limit of {limit}")]
    BodyTooLarge {
        /// The body's size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The queue or backlog is full.
    #[error("holds its limit of {limit} messages")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// Too many messages are leased.
    #[error("{limit} messages are leased")]
    TooManyLeased {
        /// The limit.
        limit: u64,
    },
    /// Too many messages are delayed.
    #[error("{limit} messages are delayed")]
    TooManyDelayed {
        /// The limit.
        limit: u64,
    },
    /// The handle is not the message's latest, or has expired, or its message is gone.
    #[error("receipt handle {0} is not valid")]
    BadHandle(ReceiptHandle),
    /// The queue keeps nothing to rewind to.
    #[error("the queue cannot be rewound")]
    NotRewindable,
    /// The time is not within what the queue keeps.
    #[error("rewind time is out of range")]
    RewindOutOfRange,
    /// The subscription's name is taken.
    #[error("a subscription of that name exists")]
    SubscriptionExists,
    /// No subscription of that name or number.
    #[error("no such subscription")]
    NoSubscription,
    /// The topic has as many as it can.
    #[error("the topic has its limit of {limit} subscriptions")]
    TooManySubscriptions {
        /// The limit.
        limit: u64,
    },
    /// The topic still has subscriptions.
    #[error("the topic has subscriptions")]
    HasSubscriptions,
    /// An endpoint cannot be changed.
    #[error("a subscription's endpoint cannot be changed")]
    EndpointFixed,
    /// The decision was made before a directory change that the set has seen. Not done; decide again.
    #[error("decided at directory index {decided_at}, the set has seen {seen}")]
    DecidedTooEarly {
        /// When it was decided.
        decided_at: LogIndex,
        /// What the set has seen.
        seen: LogIndex,
    },
    /// The claim is of a leader that no longer leads.
    #[error("claim of an earlier term")]
    StaleTerm,
    /// The outbox is full.
    #[error("the outbox holds its limit of {limit} messages")]
    OutboxFull {
        /// The limit.
        limit: u64,
    },
    /// The session call is older than the results that are kept: it may have been done.
    #[error("session call is older than what is kept")]
    SessionForgotten,
    /// The command breaks a rule of the log that a leader must keep; says which.
    #[error("malformed command: {0}")]
    Malformed(String),
    /// What the decision read of a kv store has changed since. Not done; decide again.
    #[error("decided by what a kv store no longer holds")]
    StaleRead,
    /// What the decision writes to a kv store has no room: in the store, of its tenant or in the set.
    #[error("there is no room for what a plugin keeps")]
    KvFull,
}

/// What applying one entry did, for the layers above and below the model.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// The answer to each submission, in order.
    pub outcomes: Vec<Result<SetReply, Refusal>>,
    /// Where each kept message went, in order of storing.
    pub stored: Vec<Stored>,
    /// Queues, and topics by subscription, that have messages which became visible.
    pub awake: Vec<Awake>,
    /// Messages that moved into outboxes.
    pub outgoing: bool,
}

/// Where a message of an entry went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its key from now on.
    pub body: BodyKey,
    /// Which submission of the entry it came with.
    pub submission: u32,
    /// Which message in it: counted over its messages, in a `Publication` first the message itself, then its replacements.
    pub ordinal: u32,
    /// When retention ends, which decides the segment it is written to.
    pub keep_until: Time,
}

/// What has messages that became visible.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Awake {
    /// A queue.
    Queue(Incarnation),
    /// A subscription.
    Subscription(Incarnation, SubscriptionId),
}

/// A message in an outbox, on its way to a queue.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The queue or topic it leaves.
    pub source: Incarnation,
    /// The queue it goes to.
    pub target: Incarnation,
    /// Its number there.
    pub number: u64,
    /// Where its body is.
    pub body: BodyKey,
    /// How often it was received at the source.
    pub receive_count: u32,
    /// Why it goes.
    pub cause: MoveCause,
}

/// What a set knows of a queue, for replies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QueueCounts {
    /// Waiting and visible.
    pub active: u64,
    /// Leased.
    pub leased: u64,
    /// Delayed.
    pub delayed: u64,
    /// Deleted, can be brought back.
    pub rewindable: u64,
    /// When the oldest message that was not deleted was produced.
    pub oldest: Option<Time>,
}

/// A range of sequence numbers, both ends counted.
pub type Sequences = std::ops::RangeInclusive<Sequence>;
