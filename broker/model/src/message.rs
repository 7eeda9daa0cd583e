//! A message: what a producer sent, what it was sealed into, and what was decided about it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Incarnation, LogIndex, MessageId, Name, PluginVersion, SubscriptionId, TenantId, Time, World};

/// The most of what a plugin failed with that a parked message carries, in bytes.
pub const TRAP_PARKED_BYTES_MAX: usize = 1_024;
/// The most of a guest's backtrace that a parked message carries, in bytes.
pub const BACKTRACE_PARKED_BYTES_MAX: usize = 2_048;

/// A message on its way into a set. Its time of production is the entry's.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its name for clients.
    pub id: MessageId,
    /// What was sent, perhaps sealed.
    pub body: Body,
    /// Tags given by the producer (topics only).
    pub tags: Vec<String>,
    /// Routing key given by the producer (topics only); empty is none.
    pub routing_key: String,
    /// Named values beside the body. CMQ has none; callers of other protocols will.
    pub attributes: BTreeMap<String, Attribute>,
    /// Where it was before, for a message that came from another queue or topic.
    pub origin: Option<Origin>,
    /// What plugins said of it on its way in.
    pub decisions: Vec<Decision>,
}

/// A body, in clear or sealed.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// As the producer sent it.
    Clear(#[serde(deserialize_with = "crate::shared::deserialize")] Bytes),
    /// As a seal plugin made it.
    Sealed(SealedBody),
}

/// What a seal plugin made of a body, with all that is needed to open it again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SealedBody {
    /// The plugin's own header: wrapped data key, algorithm, nonce.
    pub header: Bytes,
    /// The sealed bytes.
    #[serde(deserialize_with = "crate::shared::deserialize")]
    pub ciphertext: Bytes,
    /// What the body was bound to when it was sealed.
    pub context: SealContext,
    /// The version of the plugin that sealed it, and that opens it.
    pub version: PluginVersion,
}

/// What a sealed body is bound to. It travels with the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SealContext {
    /// Whose it is.
    pub tenant: TenantId,
    /// The queue or topic where it was sealed.
    pub incarnation: Incarnation,
    /// The message's name.
    pub message: MessageId,
}

/// A named value beside a body.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A decimal number, kept as written.
    Number(String),
    /// Bytes.
    Binary(Bytes),
}

/// Where a message was before: a dead letter's source, or a topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The queue or topic that it came from.
    pub incarnation: Incarnation,
    /// When it was produced there.
    pub produced: Time,
    /// How often it was received there.
    pub receive_count: u32,
    /// Why it was moved.
    pub cause: MoveCause,
}

/// Why a message left one place for another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum MoveCause {
    /// Received as often as the source's dead letter policy allows.
    ReceivedTooOften,
    /// Waited as long as the source's dead letter policy allows.
    WaitedTooLong,
    /// Handed over by a subscription whose endpoint is a queue.
    Delivered,
    /// Parked: a plugin failed on it. The text is the trap.
    Parked(String),
    /// Parked: a plugin failed on it, and this is how.
    ParkedBy(Box<Parking>),
    /// Sent on its way again from where it was parked.
    Redriven,
}

/// How a plugin failed on a message that was parked for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Parking {
    /// What it was to decide.
    pub world: World,
    /// The version that failed.
    pub version: PluginVersion,
    /// SHA-256 of that version's component; none where records are short.
    pub digest: Option<[u8; 32]>,
    /// The subscription that it was to decide for, if for one alone.
    pub subscription: Option<SubscriptionId>,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// What it failed with: at most [`TRAP_PARKED_BYTES_MAX`].
    pub trap: String,
    /// The guest's functions that were running, the innermost first, one a line; empty where nothing is known of them. At
    /// most [`BACKTRACE_PARKED_BYTES_MAX`].
    pub backtrace: String,
}

/// A message of a command that is parked: it goes to an outbox of the queue or topic that the command is for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Park {
    /// Its place in the command, from 0. What is sent to a queue and parked is not kept there.
    pub place: u32,
    /// The queue to park it in.
    pub target: Incarnation,
    /// How a plugin failed on it.
    pub parking: Box<Parking>,
}

/// What one plugin decided, and which version of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The version that decided.
    pub version: PluginVersion,
    /// The index of the directory's log that the leader had seen when it asked.
    pub directory: LogIndex,
    /// What it said.
    pub verdict: Verdict,
}

/// What a plugin said of a message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// A router matched these subscriptions.
    Routed(Vec<SubscriptionId>),
    /// A filter let it pass, for a subscription or (none) its queue.
    Passed(Option<SubscriptionId>),
    /// A filter dropped it.
    Dropped(Option<SubscriptionId>),
    /// A filter replaced its body or attributes.
    Replaced(Option<SubscriptionId>),
    /// It was sealed.
    Sealed,
    /// The plugin failed and the binding's policy was applied; the text is the fault.
    Failed(String),
    /// It was sealed under this version of a master key.
    SealedUnder {
        /// The master key, by its folded name.
        key: Name,
        /// The version.
        version: u32,
    },
}

/// A message as it is read back: with what the set added at apply.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// What was sent.
    pub message: Message,
    /// When: the time of the entry that stored it.
    pub produced: Time,
}

// === impl Verdict ===

impl Verdict {
    /// Returns whether it says that the body was sealed.
    pub fn is_sealed(&self) -> bool {
        match self {
            Verdict::Sealed | Verdict::SealedUnder { .. } => true,
            Verdict::Routed(_)
            | Verdict::Passed(_)
            | Verdict::Dropped(_)
            | Verdict::Replaced(_)
            | Verdict::Failed(_) => false,
        }
    }
}

// === impl Body ===

impl Body {
    /// Returns how many bytes of body are kept.
    pub fn len(&self) -> usize {
        match self {
            Body::Clear(bytes) => bytes.len(),
            Body::Sealed(sealed) => sealed.ciphertext.len() + sealed.header.len(),
        }
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Never shows what a body says: debug prints end up in logs.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Clear(bytes) => write!(f, "Clear({} bytes)", bytes.len()),
            Body::Sealed(sealed) => write!(f, "Sealed({} bytes)", sealed.ciphertext.len()),
        }
    }
}

// === impl MoveCause ===

impl MoveCause {
    /// Returns how a plugin failed, of a message that was parked and says so.
    pub fn parking(&self) -> Option<&Parking> {
        match self {
            MoveCause::ParkedBy(parking) => Some(parking),
            MoveCause::ReceivedTooOften
            | MoveCause::WaitedTooLong
            | MoveCause::Delivered
            | MoveCause::Parked(_)
            | MoveCause::Redriven => None,
        }
    }

    fn weight(&self) -> usize {
        self.parking().map_or(0, Parking::weight)
    }
}

// === impl Parking ===

impl Parking {
    fn weight(&self) -> usize {
        self.trap.len() + self.backtrace.len()
    }
}

// === impl Park ===

impl Park {
    /// Returns about how many bytes it adds to an entry.
    pub fn weight(&self) -> usize {
        self.parking.weight() + Message::OVERHEAD_BYTES
    }
}

// === impl Message ===

impl Message {
    /// The bytes that a message costs beyond its body, at most, for bounds on entries.
    pub const OVERHEAD_BYTES: usize = 64;

    /// Returns a message that says nothing but its body.
    pub fn plain(id: MessageId, body: Bytes) -> Message {
        Message {
            id,
            body: Body::Clear(body),
            tags: Vec::new(),
            routing_key: String::new(),
            attributes: BTreeMap::new(),
            origin: None,
            decisions: Vec::new(),
        }
    }

    /// Returns about how many bytes this message adds to an entry.
    pub fn weight(&self) -> usize {
        let tags: usize = self.tags.iter().map(String::len).sum();
        let parking = self.origin.as_ref().map_or(0, |origin| origin.cause.weight());
        self.body.len() + tags + self.routing_key.len() + parking + Self::OVERHEAD_BYTES
    }
}
