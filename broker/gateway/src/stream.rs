//! The streaming door's requests: messages of its protocol in, the same typed actions out that CMQ's API gives.
//!
//! What a request says by itself is checked here, under the codes that CMQ has for it; what depends on the queue or topic
//! as it is now is the broker's to check, whichever door a request came through.

use bytes::Bytes;
use posthouse_model::{Key, Name, ReceiptHandle, Span, Tag, Time, Token, bounds};
use posthouse_stream::signing::Authorization;
use posthouse_stream::{Open, OutgoingMessage, PublishRequest, bounds as stream, publish_request};

use crate::cmq::{self, Action, CmqError, Config, Hmac};

/// A publish request, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish {
    /// A `BatchSendMessage` or a `BatchPublishMessage`, of more messages than CMQ's API takes.
    pub action: Action,
    /// The client's own name for it.
    pub token: Option<Token>,
}

/// What a consumer opens its stream with, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The queue.
    pub queue: Name,
    /// How long messages stay hidden; the queue's setting when absent.
    pub visibility: Option<Span>,
}

/// Checks that a stream was signed with `secret`, about now. The path names its method.
pub fn verify(
    authorization: &Authorization,
    path: &str,
    secret: &[u8],
    hmac: &dyn Hmac,
    now: Time,
    config: &Config,
) -> Result<(), CmqError> {
    let signed = Time::from_seconds(authorization.opening.timestamp_seconds);
    cmq::check_time(signed, now, config)?;
    let text = authorization.opening.text(path);
    let expected = hmac.sha256(secret, &[text.as_bytes()]);
    match hmac.equal(&expected, &authorization.signature) {
        true => Ok(()),
        false => Err(CmqError::authentication_failed()),
    }
}

/// Returns what a publish request asks.
pub fn publish(request: PublishRequest, config: &Config) -> Result<Publish, CmqError> {
    let token = match request.token {
        text if text.is_empty() => None,
        text if text.len() > bounds::TOKEN_BYTES_MAX => return Err(CmqError::out_of_range("token")),
        text => Some(Token(text)),
    };
    let bodies = bodies(request.messages)?;
    let delay = Span::from_seconds(request.delay_seconds.into());
    let action = match request.target {
        None => return Err(CmqError::lacked("target")),
        Some(publish_request::Target::Queue(name)) => {
            if !request.tags.is_empty() || !request.routing_key.is_empty() {
                return Err(
                    CmqError::request_parameters_error().because("a queue takes no tags and no routing key")
                );
            }
            if delay > config.delay_max {
                return Err(CmqError::delay_out_of_range());
            }
            let queue = queue_name(&name)?;
            Action::BatchSendMessage { queue, bodies, delay }
        }
        Some(publish_request::Target::Topic(name)) => {
            if delay != Span::ZERO {
                return Err(CmqError::request_parameters_error().because("a topic takes no delay"));
            }
            let topic = Name::parse(&name)
                .map_err(|refused| CmqError::topic_name_format().because(&refused.to_string()))?;
            Action::BatchPublishMessage {
                topic,
                bodies,
                tags: tags(&request.tags)?,
                routing_key: routing_key(&request.routing_key)?,
            }
        }
    };
    Ok(Publish { action, token })
}

/// Returns what a consumer opens.
pub fn open(open: &Open) -> Result<Opened, CmqError> {
    Ok(Opened {
        queue: queue_name(&open.queue)?,
        visibility: match open.visibility_seconds {
            0 => None,
            seconds => Some(visibility(seconds)?),
        },
    })
}

/// Returns how long a lease lasts that is to last so many seconds.
pub fn visibility(seconds: u32) -> Result<Span, CmqError> {
    match bounds::VISIBILITY_SECONDS.contains(&seconds.into()) {
        true => Ok(Span::from_seconds(seconds.into())),
        false => Err(CmqError::out_of_range("visibilityTimeout")),
    }
}

/// Returns for how long messages stay hidden that are given back for so many seconds.
pub fn delay(seconds: u32) -> Result<Span, CmqError> {
    match u64::from(seconds) <= *bounds::VISIBILITY_SECONDS.end() {
        true => Ok(Span::from_seconds(seconds.into())),
        false => Err(CmqError::delay_out_of_range()),
    }
}

/// Returns the handles of a request that settles.
pub fn handles(handles: Vec<u64>) -> Result<Vec<ReceiptHandle>, CmqError> {
    if handles.is_empty() {
        return Err(CmqError::lacked("handles"));
    }
    if handles.len() > stream::HANDLES_MAX {
        return Err(CmqError::batch_size("handles"));
    }
    Ok(handles.into_iter().map(ReceiptHandle).collect())
}

fn bodies(messages: Vec<OutgoingMessage>) -> Result<Vec<Bytes>, CmqError> {
    if messages.is_empty() {
        return Err(CmqError::lacked("messages"));
    }
    if messages.len() > stream::MESSAGES_MAX {
        return Err(CmqError::batch_size("messages"));
    }
    for message in &messages {
        cmq::check_body(&message.body)?;
    }
    let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
    if bytes > stream::BODIES_BYTES_MAX {
        return Err(CmqError::batch_too_large());
    }
    Ok(messages.into_iter().map(|message| message.body).collect())
}

fn queue_name(text: &str) -> Result<Name, CmqError> {
    Name::parse(text).map_err(|refused| CmqError::queue_name_format().because(&refused.to_string()))
}

fn tags(texts: &[String]) -> Result<Vec<Tag>, CmqError> {
    if texts.len() > bounds::TAGS_MAX {
        return Err(CmqError::too_many_message_tags());
    }
    texts
        .iter()
        .map(|text| Tag::parse(text).map_err(|_| CmqError::out_of_range("tags")))
        .collect()
}

fn routing_key(text: &str) -> Result<Option<Key>, CmqError> {
    match text.is_empty() {
        true => Ok(None),
        false => cmq::key(text, "routingKey").map(Some),
    }
}

#[cfg(test)]
mod tests;
