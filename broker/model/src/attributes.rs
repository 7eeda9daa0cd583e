//! What queues, topics and subscriptions can be set to, with bounds and defaults (CMQ's).

use serde::{Deserialize, Serialize};

use crate::{Incarnation, Key, Name, Refusal, Span, Tag};

/// What a queue is set to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct QueueAttributes {
    /// The most messages it holds; more are refused.
    pub messages_max: u64,
    /// How long a receive waits that does not say.
    pub polling_wait: Span,
    /// How long a received message stays hidden.
    pub visibility: Span,
    /// The largest body it takes.
    pub body_bytes_max: u32,
    /// How long a message is kept, whatever its state.
    pub retention: Span,
    /// How long a deleted message can be brought back; zero is off.
    pub rewind: Span,
    /// Where messages go that nobody manages to consume.
    pub dead_letter: Option<Box<DeadLetterPolicy>>,
}

/// Where messages go that nobody manages to consume.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterPolicy {
    /// The dead letter queue's name when the policy was set, for display.
    pub name: Name,
    /// The dead letter queue.
    pub target: Incarnation,
    /// When a message goes there.
    pub rule: DeadLetterRule,
}

/// When a message becomes a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum DeadLetterRule {
    /// After so many receives without a delete (CMQ policy 0).
    ReceiveCount {
        /// 1 to 1000.
        max: u32,
    },
    /// After so long without a delete (CMQ policy 1).
    Age {
        /// 300 to 43,200 seconds, below the queue's retention.
        max: Span,
    },
}

/// How a topic chooses subscriptions; a hint that the router plugin is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum FilterType {
    /// By tags (CMQ 1).
    Tags,
    /// By binding keys (CMQ 2).
    BindingKeys,
}

/// What a topic is set to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TopicAttributes {
    /// The largest body it takes.
    pub body_bytes_max: u32,
    /// How its router chooses.
    pub filter_type: FilterType,
    /// How long a message is kept for subscriptions that have not taken it.
    pub retention: Span,
}

/// What a subscription is set to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionAttributes {
    /// Where it hands its messages.
    pub endpoint: Endpoint,
    /// How often and when it tries again.
    pub retry: RetryStrategy,
    /// What an HTTP endpoint gets.
    pub format: ContentFormat,
    /// Tags it wants, on a topic that chooses by tags; none is all.
    pub filter_tags: Vec<Tag>,
    /// Keys it wants, on a topic that chooses by binding keys.
    pub binding_keys: Vec<Key>,
}

/// Where a subscription hands its messages.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Endpoint {
    /// A URL to post to.
    Http(String),
    /// A queue of the same tenant. The incarnation is looked up by name at hand-over, so a queue that was
    /// deleted and created again goes on being served.
    Queue(Name),
}

/// How a subscription tries again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RetryStrategy {
    /// Three retries 19 to 29 s apart, then the message is dropped.
    Backoff,
    /// After 1, 2, 4, 8 … s as long as the topic keeps it.
    ExponentialDecay,
}

/// What an HTTP endpoint gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum ContentFormat {
    /// A JSON object with the body in it.
    Json,
    /// The body, byte for byte.
    Simplified,
}

/// The bounds of attributes, inclusive.
pub mod bounds {
    use std::ops::RangeInclusive;

    /// `maxMsgHeapNum`.
    pub const MESSAGES: RangeInclusive<u64> = 1_000_000..=1_000_000_000;
    /// `pollingWaitSeconds`.
    pub const POLLING_WAIT_SECONDS: RangeInclusive<u64> = 0..=30;
    /// `visibilityTimeout`, in seconds.
    pub const VISIBILITY_SECONDS: RangeInclusive<u64> = 1..=43_200;
    /// `maxMsgSize`, in bytes.
    pub const BODY_BYTES: RangeInclusive<u64> = 1_024..=1_048_576;
    /// `msgRetentionSeconds` of a queue.
    pub const RETENTION_SECONDS: RangeInclusive<u64> = 60..=1_296_000;
    /// `rewindSeconds`; also at most the queue's retention.
    pub const REWIND_SECONDS: RangeInclusive<u64> = 0..=1_296_000;
    /// `maxReceiveCount` of a dead letter policy.
    pub const DEAD_LETTER_RECEIVES: RangeInclusive<u64> = 1..=1_000;
    /// `maxTimeToLive` of a dead letter policy, in seconds.
    pub const DEAD_LETTER_SECONDS: RangeInclusive<u64> = 300..=43_200;
    /// How long the model lets a message be delayed: 30 days.
    pub const DELAY_SECONDS: RangeInclusive<u64> = 0..=2_592_000;
    /// Delay by CMQ's API, in seconds.
    pub const CMQ_DELAY_SECONDS: RangeInclusive<u64> = 0..=3_600;
    /// Filter tags or binding keys of a subscription, and tags of a message.
    pub const TAGS_MAX: usize = 5;
    /// Messages or handles in one call.
    pub const BATCH_MAX: usize = 16;
    /// Bytes of bodies in one call.
    pub const BATCH_BYTES_MAX: usize = 1_048_576;
    /// An HTTP endpoint, in characters.
    pub const ENDPOINT_CHARS_MAX: usize = 500;
    /// Messages of a queue that are leased at once.
    pub const LEASES_MAX: usize = 100_000;
    /// Messages of a queue that are delayed at once.
    pub const DELAYED_MAX: usize = 20_000;
    /// Queues that one dead letter queue serves.
    pub const DEAD_LETTER_SOURCES_MAX: usize = 6;
    /// Subscriptions of a topic.
    pub const SUBSCRIPTIONS_MAX: usize = 500;
    /// Messages waiting in a subscription.
    pub const BACKLOG_MAX: u64 = 100_000_000;
    /// Messages of a set in outboxes at once.
    pub const OUTBOX_MAX: usize = 100_000;
    /// Expiries done by one `Tick`.
    pub const TICK_EXPIRIES_MAX: usize = 1_000;
    /// Results kept of each session.
    pub const SESSION_RESULTS_MAX: usize = 1_024;
    /// Client tokens kept of each queue or topic.
    pub const TOKENS_MAX: usize = 10_000;
    /// How long a client token is kept, in seconds.
    pub const TOKEN_SECONDS: u64 = 300;
    /// A client token, in bytes.
    pub const TOKEN_BYTES_MAX: usize = 128;
    /// What one decision adds to an entry, in bytes, filter output counted.
    pub const DECISION_BYTES_MAX: usize = 4 * 1_048_576;
    /// Messages in one command of the model, or leased by one.
    pub const MESSAGES_PER_COMMAND_MAX: usize = 1_000;
    /// What sealing may add to a body beyond what its queue or topic takes, in bytes: header and tag.
    pub const SEAL_BYTES_MAX: usize = 4_096;
    /// Expiries done at the start of one entry, before its commands.
    pub const ENTRY_EXPIRIES_MAX: usize = 1_000;
    /// Expiries done in a queue or subscription that are overdue still, before each command on it.
    pub const COMMAND_EXPIRIES_MAX: usize = 16;
    /// Messages of a queue that were sent with a delay and are still kept.
    pub const ONCE_DELAYED_MAX: usize = 200_000;
    /// Queues that one queue or topic has sent to by its outboxes, ever.
    pub const TARGETS_MAX: usize = 10_000;
    /// Queues and topics that one queue has taken in from, ever.
    pub const SOURCES_MAX: usize = 10_000;
    /// How far above what is complete a number from an outbox is taken in.
    pub const TAKEN_AHEAD_MAX: u64 = 1_000_000;
    /// How long what found the outbox full waits before it tries again, in seconds.
    pub const OUTBOX_RETRY_SECONDS: u64 = 1;
    /// Sessions of nodes that a set remembers: the latest used.
    pub const SESSIONS_MAX: usize = 256;
    /// What the kept results of one session may hold, in ids and leases.
    pub const SESSION_ITEMS_MAX: usize = 32_768;
    /// A key of a kv store, in bytes.
    pub const KV_KEY_BYTES_MAX: usize = 256;
    /// A value of a kv store, in bytes.
    pub const KV_VALUE_BYTES_MAX: usize = 4_096;
    /// What a key of a kv store counts beside its own bytes and its value's.
    pub const KV_ENTRY_BYTES: u64 = 64;
    /// Keys of a kv store.
    pub const KV_KEYS_MAX: usize = 10_000;
    /// A kv store, in bytes.
    pub const KV_STORE_BYTES_MAX: u64 = 4 * 1_048_576;
    /// A tenant's kv stores in one set, in bytes.
    pub const KV_TENANT_BYTES_MAX: u64 = 16 * 1_048_576;
    /// All kv stores of a set, in bytes.
    pub const KV_SET_BYTES_MAX: u64 = 64 * 1_048_576;
    /// How long what is put into a kv store may be set to live: 400 days.
    pub const KV_TTL_SECONDS_MAX: u64 = 400 * 86_400;
    /// Keys of a kv store that one decision reads, and that it writes.
    pub const KV_TOUCHED_MAX: usize = 1_024;
    /// Bytes, as they are counted, that one decision writes to a kv store.
    pub const KV_WRITTEN_BYTES_MAX: u64 = 1_048_576;
    /// Messages of one queue taken in again that it has not let go of yet.
    pub const READMITTED_MAX: u64 = 100_000;
}

impl Default for QueueAttributes {
    fn default() -> Self {
        Self {
            messages_max: 100_000_000,
            polling_wait: Span::ZERO,
            visibility: Span::from_seconds(30),
            body_bytes_max: 65_536,
            retention: Span::from_seconds(345_600),
            rewind: Span::ZERO,
            dead_letter: None,
        }
    }
}

impl Default for TopicAttributes {
    fn default() -> Self {
        Self {
            body_bytes_max: 65_536,
            filter_type: FilterType::Tags,
            retention: Span::from_seconds(86_400),
        }
    }
}

// === impl QueueAttributes ===

impl QueueAttributes {
    /// Refuses what is out of bounds, by CMQ's name for it.
    pub fn check(&self) -> Result<(), Refusal> {
        within("maxMsgHeapNum", self.messages_max, &bounds::MESSAGES)?;
        within_seconds(
            "pollingWaitSeconds",
            self.polling_wait,
            &bounds::POLLING_WAIT_SECONDS,
        )?;
        within_seconds("visibilityTimeout", self.visibility, &bounds::VISIBILITY_SECONDS)?;
        within("maxMsgSize", u64::from(self.body_bytes_max), &bounds::BODY_BYTES)?;
        within_seconds("msgRetentionSeconds", self.retention, &bounds::RETENTION_SECONDS)?;
        within_seconds("rewindSeconds", self.rewind, &bounds::REWIND_SECONDS)?;
        if self.rewind > self.retention {
            return Err(Refusal::RewindAboveRetention);
        }
        match self.dead_letter.as_ref().map(|policy| policy.rule) {
            Some(DeadLetterRule::ReceiveCount { max }) => {
                within("maxReceiveCount", u64::from(max), &bounds::DEAD_LETTER_RECEIVES)
            }
            Some(DeadLetterRule::Age { max }) if max >= self.retention => Err(out_of_range("maxTimeToLive")),
            Some(DeadLetterRule::Age { max }) => {
                within_seconds("maxTimeToLive", max, &bounds::DEAD_LETTER_SECONDS)
            }
            None => Ok(()),
        }
    }
}

// === impl TopicAttributes ===

impl TopicAttributes {
    /// Refuses what is out of bounds, by CMQ's name for it.
    pub fn check(&self) -> Result<(), Refusal> {
        within("maxMsgSize", u64::from(self.body_bytes_max), &bounds::BODY_BYTES)?;
        within_seconds("msgRetentionSeconds", self.retention, &bounds::RETENTION_SECONDS)
    }
}

// === impl SubscriptionAttributes ===

impl SubscriptionAttributes {
    /// Refuses what is out of bounds, by CMQ's name for it.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Endpoint::Http(url) = &self.endpoint
            && url.chars().count() > bounds::ENDPOINT_CHARS_MAX
        {
            return Err(out_of_range("endpoint"));
        }
        if self.filter_tags.len() > bounds::TAGS_MAX {
            return Err(out_of_range("filterTag"));
        }
        if self.binding_keys.len() > bounds::TAGS_MAX {
            return Err(out_of_range("bindingKey"));
        }
        Ok(())
    }
}

/// Refuses a span that is not within bounds given in seconds.
pub(crate) fn within_seconds(
    attribute: &str,
    span: Span,
    seconds: &std::ops::RangeInclusive<u64>,
) -> Result<(), Refusal> {
    let millis = seconds.start().saturating_mul(1_000)..=seconds.end().saturating_mul(1_000);
    within(attribute, span.millis(), &millis)
}

/// Refuses a number that is not within bounds.
pub(crate) fn within(
    attribute: &str,
    value: u64,
    bounds: &std::ops::RangeInclusive<u64>,
) -> Result<(), Refusal> {
    if bounds.contains(&value) {
        Ok(())
    } else {
        Err(out_of_range(attribute))
    }
}

/// Returns the refusal of an attribute, by CMQ's name for it.
pub(crate) fn out_of_range(attribute: &str) -> Refusal {
    Refusal::OutOfRange {
        attribute: attribute.to_owned(),
    }
}
