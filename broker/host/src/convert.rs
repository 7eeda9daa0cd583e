//! The broker's words turned into the contract's.

use std::collections::BTreeMap;

use posthouse_keyring::Signature;
use posthouse_model::{
    Attribute, ContentFormat, Endpoint, FilterType, RetryStrategy, SealContext, SigningAlgorithm,
};

use crate::{
    call::{Delivery, Envelope, Response, RouteTable},
    contract::{delivering, router, sealing, signer, types},
};

pub(crate) fn envelope(envelope: Envelope) -> types::Envelope {
    types::Envelope {
        id: envelope.id.0,
        produced_ms: envelope.produced.millis(),
        tags: envelope.tags,
        routing_key: envelope.routing_key,
        body_bytes: envelope.body_bytes,
        attributes: attributes(envelope.attributes),
    }
}

pub(crate) fn attributes(attributes: BTreeMap<String, Attribute>) -> Vec<(String, types::Attribute)> {
    attributes
        .into_iter()
        .map(|(name, value)| (name, attribute(value)))
        .collect()
}

fn attribute(attribute: Attribute) -> types::Attribute {
    match attribute {
        Attribute::Text(text) => types::Attribute::Text(text),
        Attribute::Number(number) => types::Attribute::Number(number),
        Attribute::Binary(bytes) => types::Attribute::Binary(bytes.to_vec()),
    }
}

pub(crate) fn table(table: &RouteTable) -> (router::FilterType, Vec<router::Subscription>) {
    let filter_type = match table.filter_type {
        FilterType::Tags => router::FilterType::Tags,
        FilterType::BindingKeys => router::FilterType::BindingKeys,
    };
    let subscriptions = table
        .subscriptions
        .iter()
        .map(|subscription| router::Subscription {
            name: subscription.name.clone(),
            filter_tags: subscription.filter_tags.clone(),
            binding_keys: subscription.binding_keys.clone(),
        });
    (filter_type, subscriptions.collect())
}

pub(crate) fn delivery(delivery: Delivery) -> delivering::Delivery {
    let (endpoint_kind, endpoint) = match delivery.endpoint {
        Endpoint::Http(url) => (delivering::EndpointKind::Http, url),
        Endpoint::Queue(name) => (delivering::EndpointKind::Queue, name.into()),
    };
    delivering::Delivery {
        message_id: delivery.message.0,
        request_id: delivery.request,
        topic_owner: delivery.topic_owner,
        topic: delivery.topic,
        subscription: delivery.subscription,
        endpoint_kind,
        endpoint,
        format: match delivery.format {
            ContentFormat::Json => delivering::Format::Json,
            ContentFormat::Simplified => delivering::Format::Simplified,
        },
        strategy: match delivery.retry {
            RetryStrategy::Backoff => delivering::Strategy::BackoffRetry,
            RetryStrategy::ExponentialDecay => delivering::Strategy::ExponentialDecayRetry,
        },
        tags: delivery.tags,
        routing_key: delivery.routing_key,
        attributes: attributes(delivery.attributes),
        published_ms: delivery.published.millis(),
        attempt: delivery.attempt,
        age_ms: delivery.age.millis(),
        retention_ms: delivery.retention.millis(),
        chance: delivery.chance,
    }
}

pub(crate) fn response(response: Response) -> delivering::Response {
    match response {
        Response::Http {
            status,
            headers,
            body,
        } => delivering::Response::Http(delivering::HttpResponse {
            status,
            headers,
            body: body.to_vec(),
        }),
        Response::Enqueued => delivering::Response::Enqueued,
        Response::Failed(text) => delivering::Response::Failed(text),
    }
}

pub(crate) fn signature(signature: Signature) -> signer::Signature {
    signer::Signature {
        algorithm: match signature.algorithm {
            SigningAlgorithm::HmacSha256 => signer::Algorithm::HmacSha256,
            SigningAlgorithm::Ed25519 => signer::Algorithm::Ed25519,
        },
        bytes: signature.bytes,
    }
}

pub(crate) fn context(context: SealContext) -> sealing::Context {
    sealing::Context {
        tenant: context.tenant.0,
        incarnation: context.incarnation.0,
        message_id: context.message.0,
    }
}
