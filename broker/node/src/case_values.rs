//! What plugins are given and answer, as cases in files say it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use posthouse_host::{
    Action, Delivery, Envelope, Filtered, HttpRequest, Outcome, Payload, Response, RouteTable,
};
use posthouse_model::{Attribute, ContentFormat, Endpoint, FilterType, RetryStrategy};
use serde_json::{Map, Value, json};

/// What an answer's name is when the plugin failed.
pub(crate) const FAIL: &str = "fail";

/// Returns what is known of a message beside its body.
pub(crate) fn envelope_value(envelope: &Envelope) -> Value {
    without_empty(json!({
        "id": envelope.id.0,
        "produced_ms": envelope.produced.millis(),
        "tags": envelope.tags,
        "routing_key": envelope.routing_key,
        "attributes": attributes_value(envelope.attributes.clone()),
    }))
}

/// Returns how a topic chooses, and its subscriptions.
pub(crate) fn table_values(table: &RouteTable) -> (Value, Value) {
    let filter_type = match table.filter_type {
        FilterType::Tags => "tags",
        FilterType::BindingKeys => "binding_keys",
    };
    let subscriptions = table.subscriptions.iter().map(|subscription| {
        without_empty(json!({
            "name": subscription.name,
            "filter_tags": subscription.filter_tags,
            "binding_keys": subscription.binding_keys,
        }))
    });
    (json!(filter_type), subscriptions.collect())
}

/// Returns what a filter said.
pub(crate) fn filtered_value(filtered: Filtered) -> Value {
    match filtered {
        Filtered::Pass => json!("pass"),
        Filtered::Drop => json!("drop"),
        Filtered::Replace { body, attributes } => json!({
            "replace": { "body": body_value(&body), "attributes": attributes_value(attributes) }
        }),
    }
}

/// Returns an attempt to hand a message over.
pub(crate) fn delivery_value(delivery: &Delivery) -> Value {
    let endpoint = match &delivery.endpoint {
        Endpoint::Http(url) => json!({ "http": url }),
        Endpoint::Queue(name) => json!({ "queue": name.as_str() }),
    };
    let format = match delivery.format {
        ContentFormat::Json => "json",
        ContentFormat::Simplified => "simplified",
    };
    let strategy = match delivery.retry {
        RetryStrategy::Backoff => "backoff_retry",
        RetryStrategy::ExponentialDecay => "exponential_decay_retry",
    };
    without_empty(json!({
        "endpoint": endpoint,
        "message_id": delivery.message.0,
        "request_id": delivery.request,
        "topic_owner": delivery.topic_owner,
        "topic": delivery.topic,
        "subscription": delivery.subscription,
        "format": format,
        "strategy": strategy,
        "tags": delivery.tags,
        "routing_key": delivery.routing_key,
        "attributes": attributes_value(delivery.attributes.clone()),
        "published_ms": delivery.published.millis(),
        "attempt": delivery.attempt,
        "age_ms": delivery.age.millis(),
        "retention_ms": delivery.retention.millis(),
        "chance": delivery.chance,
    }))
}

/// Returns what a deliver plugin said is to be done.
pub(crate) fn action_value(action: &Action) -> Value {
    match action {
        Action::Http(request) => json!({ "http": request_value(request) }),
        Action::Enqueue(queue) => json!({ "enqueue": queue.as_str() }),
        Action::Done(Outcome::Acknowledged) => json!({ "done": "acknowledged" }),
        Action::Done(Outcome::RetryAfter(wait)) => json!({ "done": { "retry_after_ms": wait.millis() } }),
        Action::Done(Outcome::Drop(reason)) => json!({ "done": { "drop": reason } }),
    }
}

/// Returns how what was to be done went.
pub(crate) fn response_value(response: &Response) -> Value {
    match response {
        Response::Http {
            status,
            headers,
            body,
        } => json!({ "http": {
            "status": status,
            "headers": headers_value(headers),
            "body": body_value(body),
        } }),
        Response::Enqueued => json!("enqueued"),
        Response::Failed(told) => json!({ "failed": told }),
    }
}

/// Returns values beside a body.
pub(crate) fn attributes_value(attributes: BTreeMap<String, Attribute>) -> Value {
    let values = attributes.into_iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => json!(text),
            Attribute::Number(number) => json!({ "number": number }),
            Attribute::Binary(bytes) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
        };
        (name, value)
    });
    Value::Object(values.collect())
}

/// Returns a body: as text if it is one.
pub(crate) fn body_value(body: &[u8]) -> Value {
    match std::str::from_utf8(body) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(body) }),
    }
}

/// Returns an object without what is empty, which is what it is taken for where it is left out.
fn without_empty(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(values) => !values.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        });
    }
    value
}

fn request_value(request: &HttpRequest) -> Value {
    json!({
        "method": request.method,
        "url": request.url,
        "headers": headers_value(&request.headers),
        "body": match &request.body {
            Payload::Message => json!("message"),
            Payload::Bytes(bytes) => json!({ "bytes": body_value(bytes) }),
        },
        "timeout_ms": request.timeout.millis(),
    })
}

fn headers_value(headers: &[(String, String)]) -> Value {
    let headers: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    Value::Object(headers)
}
