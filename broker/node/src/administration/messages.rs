//! Messages: sent, published, received, deleted.

use std::time::Duration;

use posthouse_model::{
    Attribute, Body, Incarnation, MessageId, MoveCause, Name, Origin, Parking, Span, Tag, TenantId, Token,
};

use super::Acting;
use crate::admin::AdminError;
use crate::admin::shapes::{
    AttributeValue, DeleteRequest, DeleteResult, DeletedMessages, MessageContent, OriginView, ParkedView,
    PublishRequest, ReceiveRequest, ReceivedMessage, ReceivedMessages, SendRequest, SentMessages,
    hexadecimal,
};
use crate::broker::{Broker, Content, Draft, Received, Wish};

/// The most attributes of a message.
const ATTRIBUTES_MAX: usize = 64;
/// The longest name of an attribute, in bytes.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
/// The most that a message's attributes take, names and values, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 262_144;

/// Returns what the requests' messages hold.
pub(super) fn contents(messages: &[MessageContent]) -> Result<Vec<Content>, AdminError> {
    messages.iter().map(content).collect()
}

/// Returns how many bytes they bring.
pub(super) fn bytes_of(contents: &[Content]) -> usize {
    contents
        .iter()
        .map(|content| content.body.len() + attribute_bytes(content))
        .sum()
}

pub(super) async fn send(
    acting: &Acting<'_>,
    queue: &Name,
    contents: Vec<Content>,
    request: &SendRequest,
) -> Result<SentMessages, AdminError> {
    let count = contents.len() as u64;
    let delay = request.delay_seconds.map_or(Span::ZERO, Span::from_seconds);
    let token = request.token.clone().map(Token);
    let ids = acting
        .broker
        .send(acting.tenant, queue, delay, contents, token)
        .await?;
    acting.broker.metrics.sent(acting.tenant, count);
    Ok(sent(&ids))
}

pub(super) async fn publish(
    acting: &Acting<'_>,
    topic: &Name,
    contents: Vec<Content>,
    request: &PublishRequest,
) -> Result<SentMessages, AdminError> {
    let count = contents.len() as u64;
    let draft = Draft {
        contents,
        tags: request.tags.iter().map(Tag::to_string).collect(),
        routing_key: request.routing_key.clone(),
        token: request.token.clone().map(Token),
    };
    let ids = acting.broker.publish(acting.tenant, topic, draft).await?;
    acting.broker.metrics.sent(acting.tenant, count);
    Ok(sent(&ids))
}

pub(super) async fn receive(
    acting: &Acting<'_>,
    queue: &Name,
    request: ReceiveRequest,
) -> Result<ReceivedMessages, AdminError> {
    let wish = Wish {
        max: request.max.unwrap_or(1),
        wait: request.wait_seconds.map(Duration::from_secs),
        visibility: request.visibility_seconds.map(Span::from_seconds),
    };
    let mut waited = Duration::ZERO;
    let reception = acting
        .broker
        .receive(acting.tenant, queue, wish, &mut waited)
        .await?;
    let (received, mut leases) = reception.into_parts();
    let messages: Vec<ReceivedMessage> = received.iter().map(|one| view(acting, one)).collect();
    acting
        .broker
        .metrics
        .received(acting.tenant, messages.len() as u64);
    leases.keep();
    Ok(ReceivedMessages { messages })
}

pub(super) async fn delete(
    acting: &Acting<'_>,
    queue: &Name,
    request: DeleteRequest,
) -> Result<DeletedMessages, AdminError> {
    let handles = request
        .receipt_handles
        .iter()
        .map(|handle| (*handle).into())
        .collect();
    let answers = acting.broker.delete(acting.tenant, queue, handles).await?;
    let results: Vec<DeleteResult> = request
        .receipt_handles
        .iter()
        .zip(answers)
        .map(|(handle, answer)| DeleteResult {
            receipt_handle: *handle,
            deleted: answer.is_ok(),
            error: answer.err().map(AdminError::from),
        })
        .collect();
    let deleted = results.iter().filter(|result| result.deleted).count();
    acting.broker.metrics.deleted(acting.tenant, deleted as u64);
    Ok(DeletedMessages { results })
}

/// Returns why a message moved, as people read it.
pub(super) fn cause_text(cause: &MoveCause) -> String {
    match cause {
        MoveCause::ReceivedTooOften => "received too often".to_owned(),
        MoveCause::WaitedTooLong => "waited too long".to_owned(),
        MoveCause::Delivered => "delivered by a subscription".to_owned(),
        MoveCause::Parked(trap) => format!("parked: {trap}"),
        MoveCause::ParkedBy(parking) => format!("parked: {}", parking.trap),
        MoveCause::Redriven => "sent on its way again".to_owned(),
    }
}

fn sent(ids: &[MessageId]) -> SentMessages {
    SentMessages {
        message_ids: ids.iter().map(|id| (*id).into()).collect(),
    }
}

fn content(message: &MessageContent) -> Result<Content, AdminError> {
    let content = Content {
        body: message.bytes()?,
        attributes: message.model_attributes()?,
    };
    if content.body.is_empty() {
        return Err(AdminError::malformed("a message's body must not be empty"));
    }
    if content.attributes.len() > ATTRIBUTES_MAX {
        return Err(AdminError::malformed(format!(
            "a message has at most {ATTRIBUTES_MAX} attributes"
        )));
    }
    let named = |name: &String| !name.is_empty() && name.len() <= ATTRIBUTE_NAME_BYTES_MAX;
    if !content.attributes.keys().all(named) {
        return Err(AdminError::malformed(format!(
            "an attribute's name has 1 to {ATTRIBUTE_NAME_BYTES_MAX} bytes"
        )));
    }
    if attribute_bytes(&content) > ATTRIBUTES_BYTES_MAX {
        return Err(AdminError::malformed(format!(
            "a message's attributes take at most {ATTRIBUTES_BYTES_MAX} bytes"
        )));
    }
    Ok(content)
}

fn attribute_bytes(content: &Content) -> usize {
    let bytes = |(name, value): (&String, &Attribute)| {
        name.len()
            + match value {
                Attribute::Text(text) | Attribute::Number(text) => text.len(),
                Attribute::Binary(bytes) => bytes.len(),
            }
    };
    content.attributes.iter().map(bytes).sum()
}

fn view(acting: &Acting<'_>, received: &Received) -> ReceivedMessage {
    let message = &received.message.message;
    debug_assert!(
        matches!(message.body, Body::Clear(_)),
        "a body is opened before it is handed out"
    );
    let attributes = message
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), AttributeValue::from(value)));
    ReceivedMessage {
        message_id: message.id.into(),
        receipt_handle: received.leased.handle.into(),
        content: MessageContent {
            attributes: attributes.collect(),
            ..MessageContent::from_bytes(received.body())
        },
        tags: message.tags.clone(),
        routing_key: message.routing_key.clone(),
        receive_count: received.leased.receive_count,
        produced_ms: received.message.produced.millis(),
        first_received_ms: received.leased.first_received.millis(),
        visible_again_ms: received.leased.visible_again.millis(),
        origin: message.origin.as_ref().map(|origin| origin_view(acting, origin)),
    }
}

fn origin_view(acting: &Acting<'_>, origin: &Origin) -> OriginView {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.record(origin.incarnation).cloned());
    let name = record
        .filter(|record| record.tenant == acting.tenant)
        .map(|record| record.name.to_string());
    OriginView {
        name,
        incarnation: origin.incarnation.0,
        produced_ms: origin.produced.millis(),
        receive_count: origin.receive_count,
        cause: cause_text(&origin.cause),
        parked: origin
            .cause
            .parking()
            .map(|parking| parked_view(acting.broker, acting.tenant, origin.incarnation, parking)),
    }
}

/// Returns how a plugin failed, with the names that its numbers stand for.
pub(super) fn parked_view(
    broker: &Broker,
    tenant: TenantId,
    from: Incarnation,
    parking: &Parking,
) -> ParkedView {
    let plugin = broker
        .directory
        .view(|directory| directory.plugin(parking.version).cloned());
    let digest = parking.digest.or(plugin.as_ref().map(|plugin| plugin.digest));
    let subscription = parking
        .subscription
        .map(|subscription| broker.subscription_name(tenant, from, subscription));
    ParkedView {
        plugin: plugin.map(|plugin| plugin.name.to_string()),
        version: parking.version.0,
        digest: digest.map(|digest| hexadecimal(&digest)),
        world: parking.world.into(),
        subscription,
        attempt: parking.attempt,
        trap: parking.trap.clone(),
        backtrace: parking.backtrace.clone(),
    }
}
