//! A delivery for tests to begin from.

use crate::bindings::exports::posthouse::plugin::delivering::{Delivery, EndpointKind, Format, Strategy};

/// How long the sample's topic keeps a message.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Returns the first attempt to hand over a message.
pub(crate) fn delivery() -> Delivery {
    Delivery {
        message_id: 72_057_594_037_927_937,
        request_id: 14_199_887,
        topic_owner: "acme".to_owned(),
        topic: "orders".to_owned(),
        subscription: "audit".to_owned(),
        endpoint_kind: EndpointKind::Http,
        endpoint: "http://audit.example/in".to_owned(),
        format: Format::Simplified,
        strategy: Strategy::BackoffRetry,
        tags: vec!["new".to_owned(), "paid".to_owned()],
        routing_key: String::new(),
        attributes: Vec::new(),
        published_ms: 1_767_225_600_999,
        attempt: 1,
        age_ms: 5,
        retention_ms: DAY_MS,
        chance: 0,
    }
}
