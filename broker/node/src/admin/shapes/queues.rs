//! Queues: what they are set to and what they hold.

use posthouse_model::{
    DeadLetterPolicy, DeadLetterRule, Incarnation, Kind, Name, NameRecord, NameState, QueueAttributes,
    QueueCounts, Span, bounds,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{set_body_bytes_max, set_retention, set_seconds, set_within, within};
use crate::admin::AdminError;

/// Creates a queue.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueCreate {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// What it is set to; what is absent gets its default.
    #[serde(default)]
    pub settings: QueueSettings,
}

/// What a queue is to be set to. What is absent stays as it is, or at its default in a new queue.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// The most messages it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u64>,
    /// How long a receive waits that does not say, 0 to 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_wait_seconds: Option<u64>,
    /// How long a received message stays hidden, 1 to 43,200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_seconds: Option<u64>,
    /// The largest body it takes, 1,024 to 1,048,576.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u32>,
    /// How long a message is kept, 60 to 1,296,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// How long a deleted message can be brought back; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind_seconds: Option<u64>,
    /// Where messages go that nobody manages to consume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Takes the dead letter policy off.
    #[serde(skip_serializing_if = "is_false")]
    pub remove_dead_letter: bool,
}

/// Where messages go that nobody manages to consume, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The dead letter queue.
    #[schemars(with = "String")]
    pub queue: Name,
    /// When a message goes there.
    pub after: DeadLetterAfter,
}

/// When a message becomes a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterAfter {
    /// After so many receives without a delete, 1 to 1,000.
    Receives(u32),
    /// After so many seconds without a delete, 300 to 43,200.
    Seconds(u64),
}

/// A queue as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// The number that this queue got when it was created.
    pub incarnation: u64,
    /// The set that holds it.
    pub set: u8,
    /// How far its making or removal has got.
    pub state: StateView,
    /// When it was created.
    pub created_ms: u64,
    /// When its settings last changed.
    pub modified_ms: u64,
    /// The most messages it holds.
    pub messages_max: u64,
    /// How long a receive waits that does not say.
    pub polling_wait_seconds: u64,
    /// How long a received message stays hidden.
    pub visibility_seconds: u64,
    /// The largest body it takes.
    pub body_bytes_max: u32,
    /// How long a message is kept.
    pub retention_seconds: u64,
    /// How long a deleted message can be brought back; 0 is off.
    pub rewind_seconds: u64,
    /// Where messages go that nobody manages to consume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// The master key that new messages are sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sealed_under: Option<Name>,
    /// What it holds.
    pub counts: CountsView,
}

/// A queue or topic in a listing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// The number that it got when it was created.
    pub incarnation: u64,
    /// The set that holds it.
    pub set: u8,
    /// How far its making or removal has got.
    pub state: StateView,
    /// The master key that new messages are sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sealed_under: Option<Name>,
    /// What a queue holds, where the answering node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CountsView>,
}

/// How far the making or removal of a name has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateView {
    /// Being made.
    Creating,
    /// In use.
    Ready,
    /// Being removed.
    Removing,
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountsView {
    /// Waiting and visible.
    pub active: u64,
    /// Received and not yet deleted.
    pub leased: u64,
    /// Delayed.
    pub delayed: u64,
    /// Deleted, can be brought back.
    pub rewindable: u64,
    /// When the oldest message that was not deleted was produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
}

/// Seals what is put into a queue or topic from now on, or no longer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealRequest {
    /// The master key; `null` is no sealing.
    #[schemars(with = "Option<String>")]
    pub master_key: Option<Name>,
}

// === impl QueueSettings ===

impl QueueSettings {
    /// Returns `current` with these settings over it. `target` is the incarnation of the dead letter queue
    /// that is named, if one is.
    ///
    /// # Errors
    ///
    /// Refuses what is out of bounds, naming the setting and its range, and a named dead letter queue without
    /// a `target`.
    pub fn over(
        &self,
        current: QueueAttributes,
        target: Option<Incarnation>,
    ) -> Result<QueueAttributes, AdminError> {
        let mut attributes = current;
        set_within(
            &mut attributes.messages_max,
            "messages_max",
            self.messages_max,
            &bounds::MESSAGES,
        )?;
        set_seconds(
            &mut attributes.polling_wait,
            "polling_wait_seconds",
            self.polling_wait_seconds,
            &bounds::POLLING_WAIT_SECONDS,
        )?;
        set_seconds(
            &mut attributes.visibility,
            "visibility_seconds",
            self.visibility_seconds,
            &bounds::VISIBILITY_SECONDS,
        )?;
        set_body_bytes_max(&mut attributes.body_bytes_max, self.body_bytes_max)?;
        set_retention(&mut attributes.retention, self.retention_seconds)?;
        set_seconds(
            &mut attributes.rewind,
            "rewind_seconds",
            self.rewind_seconds,
            &bounds::REWIND_SECONDS,
        )?;
        self.set_dead_letter(&mut attributes.dead_letter, target)?;
        if attributes.rewind > attributes.retention {
            return Err(AdminError::malformed(
                "`rewind_seconds` is longer than `retention_seconds`",
            ));
        }
        Ok(attributes)
    }

    fn set_dead_letter(
        &self,
        policy: &mut Option<Box<DeadLetterPolicy>>,
        target: Option<Incarnation>,
    ) -> Result<(), AdminError> {
        match (&self.dead_letter, self.remove_dead_letter) {
            (None, false) => {}
            (None, true) => *policy = None,
            (Some(_), true) => {
                return Err(AdminError::malformed(
                    "`dead_letter` is set and `remove_dead_letter` takes it off; give one of them",
                ));
            }
            (Some(dead_letter), false) => {
                dead_letter.after.check()?;
                let none = || AdminError::not_found(format!("no queue named {}", dead_letter.queue));
                *policy = Some(Box::new(dead_letter.policy(target.ok_or_else(none)?)));
            }
        }
        Ok(())
    }
}

// === impl DeadLetterAfter ===

impl DeadLetterAfter {
    fn check(self) -> Result<(), AdminError> {
        match self {
            DeadLetterAfter::Receives(count) => within(
                "dead_letter.after.receives",
                Some(u64::from(count)),
                &bounds::DEAD_LETTER_RECEIVES,
            ),
            DeadLetterAfter::Seconds(seconds) => within(
                "dead_letter.after.seconds",
                Some(seconds),
                &bounds::DEAD_LETTER_SECONDS,
            ),
        }
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    fn policy(&self, target: Incarnation) -> DeadLetterPolicy {
        let rule = match self.after {
            DeadLetterAfter::Receives(max) => DeadLetterRule::ReceiveCount { max },
            DeadLetterAfter::Seconds(seconds) => DeadLetterRule::Age {
                max: Span::from_seconds(seconds),
            },
        };
        DeadLetterPolicy {
            name: self.queue.clone(),
            target,
            rule,
        }
    }
}

impl From<&DeadLetterPolicy> for DeadLetter {
    fn from(policy: &DeadLetterPolicy) -> DeadLetter {
        let after = match policy.rule {
            DeadLetterRule::ReceiveCount { max } => DeadLetterAfter::Receives(max),
            DeadLetterRule::Age { max } => DeadLetterAfter::Seconds(max.seconds()),
        };
        DeadLetter {
            queue: policy.name.clone(),
            after,
        }
    }
}

// === impl QueueView ===

impl QueueView {
    /// Returns the view of a queue, from what the directory and the set know of it.
    pub fn new(
        record: &NameRecord,
        attributes: &QueueAttributes,
        lifetime: Lifetime,
        counts: QueueCounts,
    ) -> QueueView {
        QueueView {
            name: record.name.clone(),
            incarnation: record.incarnation.0,
            set: record.set.0,
            state: StateView::from(&record.state),
            created_ms: lifetime.created.millis(),
            modified_ms: lifetime.modified.millis(),
            messages_max: attributes.messages_max,
            polling_wait_seconds: attributes.polling_wait.seconds(),
            visibility_seconds: attributes.visibility.seconds(),
            body_bytes_max: attributes.body_bytes_max,
            retention_seconds: attributes.retention.seconds(),
            rewind_seconds: attributes.rewind.seconds(),
            dead_letter: attributes.dead_letter.as_deref().map(DeadLetter::from),
            sealed_under: record.sealed_under.clone(),
            counts: CountsView::from(counts),
        }
    }
}

/// When a queue, topic or subscription was created and last changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetime {
    /// When it was created.
    pub created: posthouse_model::Time,
    /// When its settings last changed.
    pub modified: posthouse_model::Time,
}

// === impl StateView ===

impl From<&NameState> for StateView {
    fn from(state: &NameState) -> StateView {
        match state {
            NameState::Creating(_) => StateView::Creating,
            NameState::Ready => StateView::Ready,
            NameState::Removing => StateView::Removing,
        }
    }
}

impl From<QueueCounts> for CountsView {
    fn from(counts: QueueCounts) -> CountsView {
        CountsView {
            active: counts.active,
            leased: counts.leased,
            delayed: counts.delayed,
            rewindable: counts.rewindable,
            oldest_ms: counts.oldest.map(posthouse_model::Time::millis),
        }
    }
}

/// Returns the word for a kind, as messages use it.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Queue => "queue",
        Kind::Topic => "topic",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
