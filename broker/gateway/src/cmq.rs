//! CMQ's HTTP API 2.0: signed forms in, JSON out.
//!
//! ```text
//! RawCall ─ parse ─► Call ─ verify ─► (known to be the key's owner)
//!                     └──── action ─► Action ─ (the broker acts) ─► reply::…
//! ```
//!
//! Any step can answer a [`CmqError`], which [`reply::error`] writes. All replies, errors too, are HTTP status 200:
//! the SDKs read nothing from others.

mod action;
mod call;
mod change;
mod error;
mod form;
mod id;
mod parameters;
pub mod reply;
mod sign;
mod signature;
#[cfg(test)]
pub(crate) mod test_hmac;

use posthouse_model::{Span, bounds};

pub(crate) use action::check_body;
pub use action::{Action, GivenHandle, Listing, check_binding_keys, check_routing_key};
pub use call::{Call, Credentials, RawCall, is_api_path, parse};
pub(crate) use change::key;
pub use change::{DeadLetterChange, QueueChange, SubscriptionChange, TopicChange};
pub use error::CmqError;
pub use id::{queue_id, subscription_id, topic_id};
pub use sign::Signer;
pub(crate) use signature::check_time;
pub use signature::{Digest, Hmac};

/// The path of the API.
pub const API_PATH: &str = "/v2/index.php";
/// The most bytes of a request that a node needs to read: 1 MiB of bodies, each byte percent-encoded to three, and
/// room for the other parameters.
pub const REQUEST_BYTES_MAX: usize = 3 * bounds::BATCH_BYTES_MAX + 64 * 1024;
/// The most parameters of a request.
pub const PARAMETERS_MAX: usize = 256;
/// The most host texts, beside the `Host` header, that signatures are tried with.
pub const HOSTS_MAX: usize = 4;

/// What a deployment may decide about the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How far `Timestamp` may be from the broker's time.
    pub skew: Span,
    /// Host texts that signatures may be over although no `Host` header says them: for brokers behind a proxy that
    /// rewrites the header. The first [`HOSTS_MAX`] are used.
    pub hosts: Vec<String>,
    /// The longest `delaySeconds`.
    pub delay_max: Span,
    /// What is done with `notifyContentFormat=JSON` on a subscription whose protocol is `queue`.
    pub queue_json: QueueJson,
}

/// What is done with `notifyContentFormat=JSON` on a subscription whose protocol is `queue`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueJson {
    /// Stored as `SIMPLIFIED`: the SDKs send `JSON` unasked.
    Simplified,
    /// Refused with 4000/10640, as the documents say.
    Refused,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            skew: Span::from_seconds(15 * 60),
            hosts: Vec::new(),
            delay_max: Span::from_seconds(*bounds::CMQ_DELAY_SECONDS.end()),
            queue_json: QueueJson::Simplified,
        }
    }
}
