//! The parameters of actions on topics and their subscriptions.

use posthouse_model::{Endpoint, FilterType, Key, Name, Tag, TopicAttributes, bounds};

use super::{Action, Listing, bodies, body};
use crate::cmq::change::{self, filter_type};
use crate::cmq::parameters::Parameters;
use crate::cmq::{CmqError, Config, SubscriptionChange, TopicChange};

/// The most topics that one list tells.
pub(super) const LIST_MAX: u64 = 50;
/// The most subscriptions that one list tells.
const SUBSCRIPTION_LIST_MAX: u64 = 100;

/// Reads `topicName`.
pub(super) fn name(parameters: &Parameters<'_>) -> Result<Name, CmqError> {
    let text = parameters
        .text("topicName")?
        .ok_or_else(|| CmqError::lacked("topicName"))?;
    Name::parse(text).map_err(|refused| CmqError::topic_name_format().because(&refused.to_string()))
}

/// Reads `topicName` and `subscriptionName`.
pub(super) fn names(parameters: &Parameters<'_>) -> Result<(Name, Name), CmqError> {
    let topic = name(parameters)?;
    let text = parameters.text("subscriptionName")?;
    let text = text.ok_or_else(|| CmqError::lacked("subscriptionName"))?;
    let subscription = Name::parse(text)
        .map_err(|refused| CmqError::subscription_name_format().because(&refused.to_string()))?;
    Ok((topic, subscription))
}

pub(super) fn create(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let topic = name(parameters)?;
    let filter_type = filter_type(parameters)?.unwrap_or(FilterType::Tags);
    let defaults = TopicAttributes {
        filter_type,
        ..TopicAttributes::default()
    };
    let attributes = TopicChange::parse(parameters)?.apply_to(defaults)?;
    Ok(Action::CreateTopic { topic, attributes })
}

pub(super) fn set_attributes(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let topic = name(parameters)?;
    Ok(Action::SetTopicAttributes {
        topic,
        change: TopicChange::parse(parameters)?,
    })
}

pub(super) fn publish(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let topic = name(parameters)?;
    let (tags, routing_key) = marks(parameters)?;
    Ok(Action::PublishMessage {
        topic,
        body: body(parameters)?,
        tags,
        routing_key,
    })
}

pub(super) fn batch_publish(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let topic = name(parameters)?;
    let (tags, routing_key) = marks(parameters)?;
    Ok(Action::BatchPublishMessage {
        topic,
        bodies: bodies(parameters)?,
        tags,
        routing_key,
    })
}

pub(super) fn subscribe(parameters: &Parameters<'_>, config: &Config) -> Result<Action, CmqError> {
    let (topic, subscription) = names(parameters)?;
    let endpoint = endpoint(parameters)?;
    let attributes = SubscriptionChange::parse(parameters)?.found(endpoint, config)?;
    Ok(Action::Subscribe {
        topic,
        subscription,
        attributes,
    })
}

pub(super) fn list_subscriptions(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let topic = name(parameters)?;
    let listing = Listing::parse(parameters, SUBSCRIPTION_LIST_MAX)?;
    Ok(Action::ListSubscriptionByTopic { topic, listing })
}

pub(super) fn set_subscription(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let (topic, subscription) = names(parameters)?;
    let change = SubscriptionChange::parse(parameters)?;
    Ok(Action::SetSubscriptionAttributes {
        topic,
        subscription,
        change,
    })
}

/// Reads what a message is routed by. Most SDKs send an empty routing key for none.
fn marks(parameters: &Parameters<'_>) -> Result<(Vec<Tag>, Option<Key>), CmqError> {
    let tags = change::tags(parameters, "msgTag", CmqError::too_many_message_tags)?;
    let routing_key = match parameters.text_not_empty("routingKey")? {
        Some(text) => Some(change::key(text, "routingKey")?),
        None => None,
    };
    Ok((tags, routing_key))
}

fn endpoint(parameters: &Parameters<'_>) -> Result<Endpoint, CmqError> {
    let protocol = parameters.required_text("protocol")?;
    let text = parameters.required_text("endpoint")?;
    match protocol.to_ascii_lowercase().as_str() {
        "http" | "https" => http_endpoint(text),
        "queue" => match Name::parse(text) {
            Ok(queue) => Ok(Endpoint::Queue(queue)),
            Err(refused) => Err(CmqError::endpoint_format().because(&refused.to_string())),
        },
        _ => Err(CmqError::unknown_protocol()),
    }
}

/// Checks a URL's look. Whether it may be posted to is decided when it is.
fn http_endpoint(text: &str) -> Result<Endpoint, CmqError> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(CmqError::blank_in_url());
    }
    if text.chars().count() > bounds::ENDPOINT_CHARS_MAX {
        return Err(CmqError::endpoint_format());
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if is_http(scheme) => rest,
        Some(_) | None => return Err(CmqError::endpoint_format()),
    };
    if matches!(rest.chars().next(), None | Some('/' | '?' | '#')) {
        return Err(CmqError::endpoint_format());
    }
    Ok(Endpoint::Http(text.to_owned()))
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}
