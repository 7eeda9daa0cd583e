//! What became of a message, and who decided so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Decimal, ParkedView, WorldView};

/// What is known of a message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Its id.
    pub message_id: Decimal,
    /// The set that stamped it.
    pub set: u8,
    /// When it was stamped.
    pub stamped_ms: u64,
    /// Where it is or was; a published message may be in more than one place.
    pub places: Vec<ExplainedPlace>,
    /// What plugins decided on its way in.
    pub decisions: Vec<ExplainedDecision>,
    /// How its deliveries went, by subscription.
    pub deliveries: Vec<ExplainedDelivery>,
    /// Where it is waiting to go.
    pub outgoing: Vec<ExplainedTransfer>,
    /// How it came from one queue or topic into another, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<ExplainedMove>,
    /// What there is to say beside, such as that nothing is known of it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// A queue or topic that has or had a message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedPlace {
    /// `queue` or `topic`.
    pub kind: String,
    /// Its name; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its incarnation.
    pub incarnation: u64,
    /// The message's place in it; absent when a plugin kept it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// In a queue `waiting`, `leased`, `delayed`, `rewindable`, `outgoing`, `deleted`, `moved` or `expired`; in a topic
    /// `waiting` for a subscription, or `handed over`; `kept out` by a plugin; `gone` with its queue or topic.
    pub state: String,
    /// When it was stored there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produced_ms: Option<u64>,
    /// How often it was received there.
    pub receive_count: u32,
    /// When a lease or delay ends, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_again_ms: Option<u64>,
    /// The body's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Whether the body is sealed.
    pub sealed: bool,
}

/// What one plugin decided.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedDecision {
    /// When it was agreed on.
    pub at_ms: u64,
    /// The queue or topic that the message was on its way into; its number when it is gone.
    pub place: String,
    /// The plugin's name, if it is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The version that decided.
    pub version: u64,
    /// SHA-256 of that version's component, in hexadecimal, if the plugin is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The world, if the plugin is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<WorldView>,
    /// The index of the directory's log that the deciding leader had seen.
    pub directory_index: u64,
    /// `routed`, `passed`, `dropped`, `replaced`, `sealed` or `failed`.
    pub verdict: String,
    /// The subscriptions it speaks of; of very many only the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_subscriptions: u32,
    /// Why, where the plugin failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The master key that the body was sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ExplainedKey>,
}

/// A version of a master key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedKey {
    /// The key's name, in lower case.
    pub name: String,
    /// The version.
    pub version: u32,
}

/// How the deliveries of a message to one subscription went.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedDelivery {
    /// The topic; its number when it is gone.
    pub topic: String,
    /// The subscription; its number when it is gone.
    pub subscription: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The endpoint's last answer, an HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `waiting`, `claimed`, `retry`, `acknowledged`, `dropped`, `enqueued` or `expired`.
    pub state: String,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_ms: Option<u64>,
    /// The attempts that are recorded, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<ExplainedTry>,
}

/// One attempt to hand a message over.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTry {
    /// When its outcome was agreed on.
    pub at_ms: u64,
    /// The endpoint's answer, an HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `acknowledged`, `retry`, `dropped` or `enqueued`.
    pub outcome: String,
}

/// How a message came from one queue or topic into another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedMove {
    /// When it was taken in.
    pub at_ms: u64,
    /// Where it came from; its number when it is gone.
    pub from: String,
    /// Where it went; its number when it is gone.
    pub to: String,
    /// How often it was received where it came from.
    pub receive_count: u32,
    /// Why.
    pub cause: String,
    /// How a plugin failed on it, if it was parked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedView>,
}

/// A message in an outbox.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTransfer {
    /// Where it goes, by name, or by incarnation when that is gone.
    pub target: String,
    /// Its number there.
    pub number: u64,
    /// Why it goes.
    pub cause: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
