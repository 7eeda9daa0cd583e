//! The JSON of the admin API: one type for each body that is sent or answered.
//!
//! Requests refuse fields they do not know, so that a misspelt one is an error and not silence; answers may
//! grow fields. Times are milliseconds since 1970 and end in `_ms`. Numbers that may pass 2^53 (message ids,
//! receipt handles) are decimal text, because many JSON readers would round them.

mod cluster;
mod content;
mod explain;
mod keys;
mod plugins;
mod queues;
mod settings;
mod signing;
mod status;
mod tenants;
#[cfg(test)]
mod tests;
mod topics;
mod trials;

use std::borrow::Cow;

use posthouse_model::{MessageId, ReceiptHandle};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use cluster::*;
pub use content::*;
pub use explain::*;
pub use keys::*;
pub use plugins::*;
pub use queues::*;
pub use signing::*;
pub use status::*;
pub use tenants::*;
pub use topics::*;
pub use trials::*;

/// A number as decimal text.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Decimal(pub u64);

/// One page of a listing, in order of name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// How many there are on all pages together.
    pub total: u64,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Done, with nothing to add.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

// === impl Page ===

impl<T> Page<T> {
    /// Shows what is on the page in another way.
    pub fn map<V>(self, show: impl FnMut(T) -> V) -> Page<V> {
        Page {
            items: self.items.into_iter().map(show).collect(),
            total: self.total,
            next: self.next,
        }
    }
}

// === impl Decimal ===

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| serde::de::Error::custom("must be a whole number written as text, such as \"42\""))
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
            "description": "A whole number as decimal text.",
        })
    }
}

impl std::str::FromStr for Decimal {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Decimal)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<MessageId> for Decimal {
    fn from(id: MessageId) -> Decimal {
        Decimal(id.0)
    }
}

impl From<Decimal> for MessageId {
    fn from(decimal: Decimal) -> MessageId {
        MessageId(decimal.0)
    }
}

impl From<ReceiptHandle> for Decimal {
    fn from(handle: ReceiptHandle) -> Decimal {
        Decimal(handle.0)
    }
}

impl From<Decimal> for ReceiptHandle {
    fn from(decimal: Decimal) -> ReceiptHandle {
        ReceiptHandle(decimal.0)
    }
}
