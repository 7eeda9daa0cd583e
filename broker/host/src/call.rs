//! What guests are asked and what they answer, in the broker's own words.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_model::{
    Attribute, ContentFormat, Endpoint, FilterType, Incarnation, LogIndex, MessageId, Name, Place,
    PluginVersion, RetryStrategy, SealContext, Span, SubscriptionId, TenantId, Time,
};

use crate::kv::KvSession;

/// What a call runs under: which plugin, set to what, on whose behalf. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// The plugin's version.
    pub version: PluginVersion,
    /// The tenant on whose behalf it runs, whose budget it uses and whose keys it is lent.
    pub tenant: TenantId,
    /// What it was told when it was bound.
    pub configuration: Bytes,
    /// Which binding this is.
    pub identity: BindingIdentity,
    /// Its store, for one decision. Without one a plugin that asks for its store is refused.
    pub kv: Option<KvSession>,
}

/// Which binding: instances are kept by it, so another index is another binding.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BindingIdentity {
    /// The directory index at which it last changed.
    pub changed: LogIndex,
    /// Where it is attached.
    pub place: Place,
}

/// What can be known of a message without reading its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// Its name.
    pub id: MessageId,
    /// When it was produced; zero while it is on its way in.
    pub produced: Time,
    /// Tags, as published.
    pub tags: Vec<String>,
    /// Routing key, as published; empty is none.
    pub routing_key: String,
    /// Size of the body.
    pub body_bytes: u32,
    /// Named values beside the body.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A topic's subscriptions as its router sees them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteTable {
    /// Which table: the topic, and the version of its subscriptions. Equal keys are equal tables.
    pub key: (Incarnation, u64),
    /// How the topic was told to choose.
    pub filter_type: FilterType,
    /// Its subscriptions.
    pub subscriptions: Vec<RouteSubscription>,
}

/// A subscription as a router sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteSubscription {
    /// Its number, which the router is not shown.
    pub id: SubscriptionId,
    /// Its name.
    pub name: String,
    /// Tags it wants.
    pub filter_tags: Vec<String>,
    /// Binding keys it wants.
    pub binding_keys: Vec<String>,
}

/// What a filter said of a message.
#[derive(Clone, Eq, PartialEq)]
pub enum Filtered {
    /// It goes on as it is.
    Pass,
    /// It is not kept.
    Drop,
    /// It goes on with other content.
    Replace {
        /// The other body.
        body: Bytes,
        /// All attributes.
        attributes: BTreeMap<String, Attribute>,
    },
}

/// One attempt to hand over one message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The message.
    pub message: MessageId,
    /// Names this attempt.
    pub request: u64,
    /// The tenant's name.
    pub topic_owner: String,
    /// The topic's name.
    pub topic: String,
    /// The subscription's name.
    pub subscription: String,
    /// Where to.
    pub endpoint: Endpoint,
    /// What an HTTP endpoint gets.
    pub format: ContentFormat,
    /// When to try again.
    pub retry: RetryStrategy,
    /// Tags, as published.
    pub tags: Vec<String>,
    /// Routing key, as published.
    pub routing_key: String,
    /// Named values beside the body.
    pub attributes: BTreeMap<String, Attribute>,
    /// When the message was published.
    pub published: Time,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// How long ago the message was published.
    pub age: Span,
    /// How long the topic keeps a message.
    pub retention: Span,
    /// A random number.
    pub chance: u64,
}

/// What the host is to do for a deliver plugin, and what the plugin gets back then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// What the plugin remembers.
    pub state: Bytes,
}

/// What to do for a deliver plugin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Make this request.
    Http(HttpRequest),
    /// Put the message into this queue of the same tenant.
    Enqueue(Name),
    /// Nothing more: this is how the attempt went.
    Done(Outcome),
}

/// A request to make. All of it was checked, but for where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRequest {
    /// One of the methods of the contract.
    pub method: String,
    /// Begins with `http://` or `https://`.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What it carries.
    pub body: Payload,
    /// How long to wait, at most a minute.
    pub timeout: Span,
}

/// What a request carries.
#[derive(Clone, Eq, PartialEq)]
pub enum Payload {
    /// The message's body.
    Message,
    /// These bytes.
    Bytes(Bytes),
}

/// How an attempt went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The subscriber has the message.
    Acknowledged,
    /// Try again after this long.
    RetryAfter(Span),
    /// Give up; the text says why.
    Drop(String),
}

/// How an action went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// The endpoint answered.
    Http {
        /// The status code.
        status: u16,
        /// Names in lower case, and values.
        headers: Vec<(String, String)>,
        /// The first bytes of the body.
        body: Bytes,
    },
    /// The message is in the outbox.
    Enqueued,
    /// Nothing came back; the text says why.
    Failed(String),
}

/// A body to seal.
#[derive(Clone, Eq, PartialEq)]
pub struct ToSeal {
    /// What it is bound to.
    pub context: SealContext,
    /// The body.
    pub plain: Bytes,
}

/// A body that a plugin sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// Kept beside it, in clear.
    pub header: Bytes,
    /// What is kept.
    pub ciphertext: Bytes,
    /// The master key that it is sealed under, and the version, as far as the host knows.
    pub key: Option<(Name, u32)>,
}

/// A body to open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ToOpen {
    /// What it was bound to.
    pub context: SealContext,
    /// What was kept beside it.
    pub header: Bytes,
    /// What was kept.
    pub ciphertext: Bytes,
}

// === impl Binding ===

impl Binding {
    /// Returns the binding without the store of one decision: what lasts.
    pub(crate) fn lasting(&self) -> Binding {
        Binding {
            kv: None,
            ..self.clone()
        }
    }
}

// === impl Filtered ===

/// Never shows what a body says: debug prints end up in logs.
impl std::fmt::Debug for Filtered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Filtered::Pass => f.write_str("Pass"),
            Filtered::Drop => f.write_str("Drop"),
            Filtered::Replace { body, attributes } => {
                write!(
                    f,
                    "Replace({} bytes, {} attributes)",
                    body.len(),
                    attributes.len()
                )
            }
        }
    }
}

// === impl Payload ===

/// Never shows what a body says: debug prints end up in logs.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Message => f.write_str("Message"),
            Payload::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

// === impl ToSeal ===

/// Never shows what a body says.
impl std::fmt::Debug for ToSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToSeal({:?}, {} bytes)", self.context, self.plain.len())
    }
}
