//! Messages on their way in and out.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use posthouse_model::{Attribute, Key, Name, Tag, bounds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::within;
use super::{Decimal, WorldView};
use crate::admin::AdminError;

/// What is in a message: a body, as text or as base64, and named values beside it.
#[derive(Clone, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageContent {
    /// The body as text. Give this or `body_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body's bytes as base64. Give this or `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Named values beside the body.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, AttributeValue>,
}

/// A named value beside a body.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// A decimal number, kept as written.
    Number(String),
    /// Bytes, as base64.
    BinaryBase64(String),
}

/// Puts messages into a queue, all or none.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// The messages, 1 to 16.
    pub messages: Vec<MessageContent>,
    /// How long they stay hidden, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u64>,
    /// Your own name for this call: a repeat within five minutes stores nothing and answers the same ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Publishes messages to a topic, all or none.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The messages, 1 to 16.
    pub messages: Vec<MessageContent>,
    /// Their tags, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub tags: Vec<Tag>,
    /// Their routing key; empty is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub routing_key: String,
    /// Your own name for this call: a repeat within five minutes stores nothing and answers the same ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What was sent or published.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SentMessages {
    /// The messages' ids, in the order given.
    pub message_ids: Vec<Decimal>,
}

/// Receives messages from a queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRequest {
    /// The most messages, 1 to 16; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u16>,
    /// How long to wait for a message, 0 to 30 seconds; the queue's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// How long the messages stay hidden; the queue's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility_seconds: Option<u64>,
}

/// What was received. No message is an empty list.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedMessages {
    /// The messages, oldest first.
    pub messages: Vec<ReceivedMessage>,
}

/// A received message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedMessage {
    /// Its id.
    pub message_id: Decimal,
    /// Deletes it, until the lease ends or it is received again.
    pub receipt_handle: Decimal,
    /// What is in it.
    pub content: MessageContent,
    /// Tags, on a message that came from a topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Routing key, on a message that came from a topic.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub routing_key: String,
    /// How often it has been received, this time counted.
    pub receive_count: u32,
    /// When it was produced.
    pub produced_ms: u64,
    /// When it was first received.
    pub first_received_ms: u64,
    /// When the lease ends.
    pub visible_again_ms: u64,
    /// Where it was before, on a dead letter or a message handed over by a topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginView>,
}

/// Where a message was before.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OriginView {
    /// The queue's or topic's name, if it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The queue's or topic's incarnation.
    pub incarnation: u64,
    /// When it was produced there.
    pub produced_ms: u64,
    /// How often it was received there.
    pub receive_count: u32,
    /// Why it was moved.
    pub cause: String,
    /// How a plugin failed on it, if it was parked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedView>,
}

/// How a plugin failed on a message that was parked for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParkedView {
    /// The plugin, if that version is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The version that failed.
    pub version: u64,
    /// SHA-256 of that version's component, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it was to decide.
    pub world: WorldView,
    /// The subscription that it was to decide for, if for one alone; its number when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// What it failed with, at most 1 KiB; once the message is gone, the beginning of it.
    pub trap: String,
    /// The guest's functions that were running, the innermost first, one a line, at most 2 KiB; once the message is gone,
    /// nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backtrace: String,
}

/// Deletes received messages.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Their receipt handles, 1 to 16.
    pub receipt_handles: Vec<Decimal>,
}

/// What became of each handle, in the order given.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeletedMessages {
    /// One for each handle.
    pub results: Vec<DeleteResult>,
}

/// What became of one handle.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteResult {
    /// The handle.
    pub receipt_handle: Decimal,
    /// Whether its message was deleted.
    pub deleted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AdminError>,
}

/// Starts a queue again from a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewindRequest {
    /// Messages that are kept and were produced then or later become visible again.
    pub to_ms: u64,
}

/// Copies what a queue keeps into another one, at most a hundred messages at a time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The queue that they are put into. What is bound to it decides about them.
    #[schemars(with = "String")]
    pub into: Name,
    /// Messages that are kept and were produced then or later: waiting, leased, delayed or rewindable.
    pub since_ms: u64,
    /// Those after this one, the `next` of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Decimal>,
    /// How many, at most: 100, or fewer where they are large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u16>,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopiedMessages {
    /// How many were put into the other queue, or dropped by what is bound to it.
    pub copied: u64,
    /// Those that were refused there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<NotCopied>,
    /// Where to go on; absent when all were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Decimal>,
}

/// A message that was not copied.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotCopied {
    /// The message.
    pub message_id: Decimal,
    /// Why not.
    pub why: String,
}

// === impl MessageContent ===

impl MessageContent {
    /// Returns content with this body: as text where it is text, so that people can read it.
    pub fn from_bytes(body: &[u8]) -> MessageContent {
        match std::str::from_utf8(body) {
            Ok(text) => MessageContent {
                body: Some(text.to_owned()),
                ..MessageContent::default()
            },
            Err(_) => MessageContent {
                body_base64: Some(STANDARD.encode(body)),
                ..MessageContent::default()
            },
        }
    }

    /// Returns the body's bytes.
    ///
    /// # Errors
    ///
    /// Refuses a body given twice, not at all, or in bad base64.
    pub fn bytes(&self) -> Result<Bytes, AdminError> {
        match (&self.body, &self.body_base64) {
            (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(coded)) => decode_base64("body_base64", coded),
            (None, None) => Err(AdminError::malformed("a message needs `body` or `body_base64`")),
            (Some(_), Some(_)) => Err(AdminError::malformed(
                "a message has `body` or `body_base64`, not both",
            )),
        }
    }

    /// Returns the named values beside the body.
    ///
    /// # Errors
    ///
    /// Refuses a number that is none and bad base64.
    pub fn model_attributes(&self) -> Result<BTreeMap<String, Attribute>, AdminError> {
        let mut attributes = BTreeMap::new();
        for (name, value) in &self.attributes {
            attributes.insert(name.clone(), value.to_model(name)?);
        }
        Ok(attributes)
    }
}

/// Never shows what a body says: debug prints end up in logs.
impl std::fmt::Debug for MessageContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self
            .body
            .as_ref()
            .or(self.body_base64.as_ref())
            .map_or(0, String::len);
        write!(
            f,
            "MessageContent({length} characters, {} attributes)",
            self.attributes.len()
        )
    }
}

// === impl AttributeValue ===

impl AttributeValue {
    fn to_model(&self, name: &str) -> Result<Attribute, AdminError> {
        match self {
            AttributeValue::Text(text) => Ok(Attribute::Text(text.clone())),
            AttributeValue::Number(number) if is_number(number) => Ok(Attribute::Number(number.clone())),
            AttributeValue::Number(_) => Err(AdminError::malformed(format!(
                "attribute `{name}` is not a decimal number"
            ))),
            AttributeValue::BinaryBase64(coded) => {
                Ok(Attribute::Binary(decode_base64("binary_base64", coded)?))
            }
        }
    }
}

impl From<&Attribute> for AttributeValue {
    fn from(attribute: &Attribute) -> AttributeValue {
        match attribute {
            Attribute::Text(text) => AttributeValue::Text(text.clone()),
            Attribute::Number(number) => AttributeValue::Number(number.clone()),
            Attribute::Binary(bytes) => AttributeValue::BinaryBase64(STANDARD.encode(bytes)),
        }
    }
}

/// Never shows the value, as with bodies.
impl std::fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AttributeValue::Text(_) => "Text",
            AttributeValue::Number(_) => "Number",
            AttributeValue::BinaryBase64(_) => "Binary",
        })
    }
}

// === impl SendRequest ===

impl SendRequest {
    /// Checks what can be checked without knowing the queue.
    ///
    /// # Errors
    ///
    /// Refuses no messages and too many.
    pub fn check(&self) -> Result<(), AdminError> {
        within("delay_seconds", self.delay_seconds, &bounds::DELAY_SECONDS)?;
        check_token(self.token.as_deref())?;
        check_count("messages", self.messages.len())
    }
}

// === impl PublishRequest ===

impl PublishRequest {
    /// Checks what can be checked without knowing the topic.
    ///
    /// # Errors
    ///
    /// Refuses no messages, too many, and too many tags.
    pub fn check(&self) -> Result<(), AdminError> {
        if self.tags.len() > bounds::TAGS_MAX {
            return Err(AdminError::malformed(format!(
                "`tags` has more than {}",
                bounds::TAGS_MAX
            )));
        }
        if !self.routing_key.is_empty() {
            Key::parse(&self.routing_key)
                .map_err(|error| AdminError::malformed(format!("`routing_key` {error}")))?;
        }
        check_token(self.token.as_deref())?;
        check_count("messages", self.messages.len())
    }
}

// === impl ReceiveRequest ===

impl ReceiveRequest {
    /// Checks what can be checked without knowing the queue.
    ///
    /// # Errors
    ///
    /// Refuses no messages and too many, and waits and visibility out of bounds.
    pub fn check(&self) -> Result<(), AdminError> {
        check_count("max", self.max.map_or(1, usize::from))?;
        within("wait_seconds", self.wait_seconds, &bounds::POLLING_WAIT_SECONDS)?;
        within(
            "visibility_seconds",
            self.visibility_seconds,
            &bounds::VISIBILITY_SECONDS,
        )
    }
}

// === impl DeleteRequest ===

impl DeleteRequest {
    /// Checks what can be checked without knowing the queue.
    ///
    /// # Errors
    ///
    /// Refuses no handles and too many.
    pub fn check(&self) -> Result<(), AdminError> {
        check_count("receipt_handles", self.receipt_handles.len())
    }
}

/// Returns what the text stands for; `field` is named when it stands for nothing.
pub(crate) fn decode_base64(field: &str, coded: &str) -> Result<Bytes, AdminError> {
    match STANDARD.decode(coded) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) => Err(AdminError::malformed(format!("`{field}` is not base64: {error}"))),
    }
}

fn check_token(token: Option<&str>) -> Result<(), AdminError> {
    let length = token.map(str::len);
    if length.is_some_and(|length| length == 0 || length > bounds::TOKEN_BYTES_MAX) {
        return Err(AdminError::malformed(format!(
            "`token` must have 1 to {} bytes",
            bounds::TOKEN_BYTES_MAX
        )));
    }
    Ok(())
}

fn check_count(field: &str, count: usize) -> Result<(), AdminError> {
    if (1..=bounds::BATCH_MAX).contains(&count) {
        return Ok(());
    }
    Err(AdminError::malformed(format!(
        "`{field}` has {count}; give 1 to {}",
        bounds::BATCH_MAX
    )))
}

/// The longest number that an attribute may have, in characters.
const NUMBER_CHARS_MAX: usize = 64;

fn is_number(text: &str) -> bool {
    let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
    finite && text.len() <= NUMBER_CHARS_MAX && !text.starts_with('+')
}
