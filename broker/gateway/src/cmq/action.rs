//! What is asked: every action of the API, its parameters parsed into types that cannot be wrong.
//!
//! Checked here is what a request says by itself. What depends on the queue or topic as it is now (its size limit,
//! whether it exists) is the broker's to check; for two such rules of CMQ there is a function at the foot.

mod queue;
mod topic;

use bytes::Bytes;
use posthouse_model::{
    FilterType, Key, Kind, Name, ReceiptHandle, Span, SubscriptionAttributes, Tag, Time, TopicAttributes,
};

use super::call::shortened;
use super::parameters::Parameters;
use super::{CmqError, Config, QueueChange, SubscriptionChange, TopicChange};

/// What a client asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Makes a queue.
    CreateQueue {
        /// Its name.
        queue: Name,
        /// What differs from the defaults.
        change: QueueChange,
    },
    /// Names queues.
    ListQueue(Listing),
    /// Tells what a queue is set to and holds.
    GetQueueAttributes {
        /// The queue.
        queue: Name,
    },
    /// Changes what a queue is set to.
    SetQueueAttributes {
        /// The queue.
        queue: Name,
        /// What changes.
        change: QueueChange,
    },
    /// Removes a queue with its messages.
    DeleteQueue {
        /// The queue.
        queue: Name,
    },
    /// Brings deleted messages back.
    RewindQueue {
        /// The queue.
        queue: Name,
        /// From when on.
        to: Time,
    },
    /// Takes a queue's dead letter policy away.
    UnbindDeadLetterQueue {
        /// The queue.
        queue: Name,
    },
    /// Names the queues that have a queue for their dead letter queue.
    ListDeadLetterSourceQueues {
        /// The dead letter queue.
        queue: Name,
        /// Which of them.
        listing: Listing,
    },
    /// Sends a message.
    SendMessage {
        /// The queue.
        queue: Name,
        /// The message.
        body: Bytes,
        /// How long it stays hidden.
        delay: Span,
    },
    /// Sends messages, all or none.
    BatchSendMessage {
        /// The queue.
        queue: Name,
        /// The messages, 1 to 16.
        bodies: Vec<Bytes>,
        /// How long they stay hidden.
        delay: Span,
    },
    /// Receives a message.
    ReceiveMessage {
        /// The queue.
        queue: Name,
        /// How long to wait for one; the queue's setting when absent.
        wait: Option<Span>,
    },
    /// Receives messages.
    BatchReceiveMessage {
        /// The queue.
        queue: Name,
        /// The most, 1 to 16.
        max: u16,
        /// How long to wait for the first; the queue's setting when absent.
        wait: Option<Span>,
    },
    /// Deletes a message.
    DeleteMessage {
        /// The queue.
        queue: Name,
        /// Its handle.
        handle: ReceiptHandle,
    },
    /// Deletes messages, each for itself.
    BatchDeleteMessage {
        /// The queue.
        queue: Name,
        /// Their handles, 1 to 16.
        handles: Vec<GivenHandle>,
    },
    /// Makes a topic.
    CreateTopic {
        /// Its name.
        topic: Name,
        /// What it is set to.
        attributes: TopicAttributes,
    },
    /// Names topics.
    ListTopic(Listing),
    /// Tells what a topic is set to and holds.
    GetTopicAttributes {
        /// The topic.
        topic: Name,
    },
    /// Changes what a topic is set to.
    SetTopicAttributes {
        /// The topic.
        topic: Name,
        /// What changes.
        change: TopicChange,
    },
    /// Removes a topic.
    DeleteTopic {
        /// The topic.
        topic: Name,
    },
    /// Publishes a message.
    PublishMessage {
        /// The topic.
        topic: Name,
        /// The message.
        body: Bytes,
        /// Its tags.
        tags: Vec<Tag>,
        /// Its routing key.
        routing_key: Option<Key>,
    },
    /// Publishes messages, all or none.
    BatchPublishMessage {
        /// The topic.
        topic: Name,
        /// The messages, 1 to 16.
        bodies: Vec<Bytes>,
        /// The tags of each.
        tags: Vec<Tag>,
        /// The routing key of each.
        routing_key: Option<Key>,
    },
    /// Adds a subscription.
    Subscribe {
        /// The topic.
        topic: Name,
        /// The subscription.
        subscription: Name,
        /// What it is set to.
        attributes: SubscriptionAttributes,
    },
    /// Removes a subscription.
    Unsubscribe {
        /// The topic.
        topic: Name,
        /// The subscription.
        subscription: Name,
    },
    /// Names a topic's subscriptions.
    ListSubscriptionByTopic {
        /// The topic.
        topic: Name,
        /// Which of them.
        listing: Listing,
    },
    /// Tells what a subscription is set to.
    GetSubscriptionAttributes {
        /// The topic.
        topic: Name,
        /// The subscription.
        subscription: Name,
    },
    /// Changes what a subscription is set to.
    SetSubscriptionAttributes {
        /// The topic.
        topic: Name,
        /// The subscription.
        subscription: Name,
        /// What changes.
        change: SubscriptionChange,
    },
    /// Takes a subscription's filter tags away.
    ClearSubscriptionFilterTags {
        /// The topic.
        topic: Name,
        /// The subscription.
        subscription: Name,
    },
}

/// Which part of a list is asked for: of the names that hold `search`, by name, those from `offset` on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// What a name must hold, in any case; empty is every name.
    pub search: String,
    /// How many to pass over.
    pub offset: usize,
    /// The most to tell.
    pub limit: usize,
}

/// A receipt handle in a batch, where a malformed one does not spoil the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GivenHandle {
    /// A handle.
    Handle(ReceiptHandle),
    /// What cannot be one, as it was given (shortened).
    Malformed(String),
}

// === impl Action ===

impl Action {
    /// Reads the parameters of the action of that name. The name's case does not count: one SDK slips in it.
    pub(super) fn parse(
        name: &str,
        parameters: &Parameters<'_>,
        config: &Config,
    ) -> Result<Action, CmqError> {
        match name.to_ascii_lowercase().as_str() {
            "createqueue" => queue::create(parameters),
            "listqueue" => Ok(Action::ListQueue(Listing::parse(parameters, queue::LIST_MAX)?)),
            "getqueueattributes" => Ok(Action::GetQueueAttributes {
                queue: queue::name(parameters)?,
            }),
            "setqueueattributes" => queue::set_attributes(parameters),
            "deletequeue" => Ok(Action::DeleteQueue {
                queue: queue::name(parameters)?,
            }),
            "rewindqueue" => queue::rewind(parameters),
            "unbinddeadletterqueue" => Ok(Action::UnbindDeadLetterQueue {
                queue: queue::name(parameters)?,
            }),
            "listdeadlettersourcequeues" => queue::list_dead_letter_sources(parameters),
            "sendmessage" => queue::send(parameters, config),
            "batchsendmessage" => queue::batch_send(parameters, config),
            "receivemessage" => queue::receive(parameters),
            "batchreceivemessage" => queue::batch_receive(parameters),
            "deletemessage" => queue::delete(parameters),
            "batchdeletemessage" => queue::batch_delete(parameters),
            "createtopic" => topic::create(parameters),
            "listtopic" => Ok(Action::ListTopic(Listing::parse(parameters, topic::LIST_MAX)?)),
            "gettopicattributes" => Ok(Action::GetTopicAttributes {
                topic: topic::name(parameters)?,
            }),
            "settopicattributes" => topic::set_attributes(parameters),
            "deletetopic" => Ok(Action::DeleteTopic {
                topic: topic::name(parameters)?,
            }),
            "publishmessage" => topic::publish(parameters),
            "batchpublishmessage" => topic::batch_publish(parameters),
            "subscribe" => topic::subscribe(parameters, config),
            "unsubscribe" => {
                let (topic, subscription) = topic::names(parameters)?;
                Ok(Action::Unsubscribe { topic, subscription })
            }
            "listsubscriptionbytopic" => topic::list_subscriptions(parameters),
            "getsubscriptionattributes" => {
                let (topic, subscription) = topic::names(parameters)?;
                Ok(Action::GetSubscriptionAttributes { topic, subscription })
            }
            "setsubscriptionattributes" => topic::set_subscription(parameters),
            "clearsubscriptionfiltertags" => {
                let (topic, subscription) = topic::names(parameters)?;
                Ok(Action::ClearSubscriptionFilterTags { topic, subscription })
            }
            // The TCP SDK looks for the brokers of its own protocol with these.
            "queryqueueroute" | "querytopicroute" => Err(CmqError::unknown_action(&shortened(name))
                .because("this broker does not speak the TCP protocol")),
            _ => Err(CmqError::unknown_action(&shortened(name))),
        }
    }

    /// Returns the action's name.
    pub fn name(&self) -> &'static str {
        match self {
            Action::CreateQueue { .. } => "CreateQueue",
            Action::ListQueue(_) => "ListQueue",
            Action::GetQueueAttributes { .. } => "GetQueueAttributes",
            Action::SetQueueAttributes { .. } => "SetQueueAttributes",
            Action::DeleteQueue { .. } => "DeleteQueue",
            Action::RewindQueue { .. } => "RewindQueue",
            Action::UnbindDeadLetterQueue { .. } => "UnbindDeadLetterQueue",
            Action::ListDeadLetterSourceQueues { .. } => "ListDeadLetterSourceQueues",
            Action::SendMessage { .. } => "SendMessage",
            Action::BatchSendMessage { .. } => "BatchSendMessage",
            Action::ReceiveMessage { .. } => "ReceiveMessage",
            Action::BatchReceiveMessage { .. } => "BatchReceiveMessage",
            Action::DeleteMessage { .. } => "DeleteMessage",
            Action::BatchDeleteMessage { .. } => "BatchDeleteMessage",
            Action::CreateTopic { .. } => "CreateTopic",
            Action::ListTopic(_) => "ListTopic",
            Action::GetTopicAttributes { .. } => "GetTopicAttributes",
            Action::SetTopicAttributes { .. } => "SetTopicAttributes",
            Action::DeleteTopic { .. } => "DeleteTopic",
            Action::PublishMessage { .. } => "PublishMessage",
            Action::BatchPublishMessage { .. } => "BatchPublishMessage",
            Action::Subscribe { .. } => "Subscribe",
            Action::Unsubscribe { .. } => "Unsubscribe",
            Action::ListSubscriptionByTopic { .. } => "ListSubscriptionByTopic",
            Action::GetSubscriptionAttributes { .. } => "GetSubscriptionAttributes",
            Action::SetSubscriptionAttributes { .. } => "SetSubscriptionAttributes",
            Action::ClearSubscriptionFilterTags { .. } => "ClearSubscriptionFilterTags",
        }
    }

    /// Returns the queue or topic that the action is on; lists are on none.
    pub fn subject(&self) -> Option<(Kind, &Name)> {
        match self {
            Action::ListQueue(_) | Action::ListTopic(_) => None,
            Action::CreateQueue { queue, .. }
            | Action::GetQueueAttributes { queue }
            | Action::SetQueueAttributes { queue, .. }
            | Action::DeleteQueue { queue }
            | Action::RewindQueue { queue, .. }
            | Action::UnbindDeadLetterQueue { queue }
            | Action::ListDeadLetterSourceQueues { queue, .. }
            | Action::SendMessage { queue, .. }
            | Action::BatchSendMessage { queue, .. }
            | Action::ReceiveMessage { queue, .. }
            | Action::BatchReceiveMessage { queue, .. }
            | Action::DeleteMessage { queue, .. }
            | Action::BatchDeleteMessage { queue, .. } => Some((Kind::Queue, queue)),
            Action::CreateTopic { topic, .. }
            | Action::GetTopicAttributes { topic }
            | Action::SetTopicAttributes { topic, .. }
            | Action::DeleteTopic { topic }
            | Action::PublishMessage { topic, .. }
            | Action::BatchPublishMessage { topic, .. }
            | Action::Subscribe { topic, .. }
            | Action::Unsubscribe { topic, .. }
            | Action::ListSubscriptionByTopic { topic, .. }
            | Action::GetSubscriptionAttributes { topic, .. }
            | Action::SetSubscriptionAttributes { topic, .. }
            | Action::ClearSubscriptionFilterTags { topic, .. } => Some((Kind::Topic, topic)),
        }
    }
}

// === impl Listing ===

impl Listing {
    /// How many are told when the client does not say.
    const DEFAULT: u64 = 20;

    fn parse(parameters: &Parameters<'_>, limit_max: u64) -> Result<Listing, CmqError> {
        let search = parameters.text("searchWord")?.unwrap_or_default().trim();
        let offset = parameters.count("offset")?.unwrap_or(0);
        let limit = parameters.count("limit")?.unwrap_or(Self::DEFAULT).min(limit_max);
        Ok(Listing {
            search: search.to_owned(),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }

    /// Returns whether a name is one that is asked for.
    pub fn matches(&self, name: &Name) -> bool {
        self.search.is_empty() || name.folded().contains(&self.search.to_ascii_lowercase())
    }

    /// Returns how many match in all, and the page of them that is asked for.
    pub fn page<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        name_of: impl Fn(&T) -> &Name,
    ) -> (usize, Vec<T>) {
        let mut total = 0;
        let mut page = Vec::new();
        for item in all {
            if !self.matches(name_of(&item)) {
                continue;
            }
            if total >= self.offset && page.len() < self.limit {
                page.push(item);
            }
            total += 1;
        }
        (total, page)
    }
}

/// Checks that a message has a routing key, where the topic chooses by it.
pub fn check_routing_key(topic: &TopicAttributes, routing_key: Option<&Key>) -> Result<(), CmqError> {
    match (topic.filter_type, routing_key) {
        (FilterType::BindingKeys, None) => Err(CmqError::lacked_routing_key()),
        (FilterType::BindingKeys, Some(_)) | (FilterType::Tags, _) => Ok(()),
    }
}

/// Checks that a subscription has binding keys, where the topic chooses by them.
pub fn check_binding_keys(
    topic: &TopicAttributes,
    subscription: &SubscriptionAttributes,
) -> Result<(), CmqError> {
    match topic.filter_type {
        FilterType::BindingKeys if subscription.binding_keys.is_empty() => {
            Err(CmqError::lacked_binding_key())
        }
        FilterType::BindingKeys | FilterType::Tags => Ok(()),
    }
}

/// Checks one body by what no queue and no topic allows.
pub(crate) fn check_body(body: &[u8]) -> Result<(), CmqError> {
    if body.is_empty() {
        return Err(CmqError::empty_body());
    }
    if body.len() > posthouse_model::bounds::BATCH_BYTES_MAX {
        return Err(CmqError::body_too_large());
    }
    Ok(())
}

fn body(parameters: &Parameters<'_>) -> Result<Bytes, CmqError> {
    let body = parameters.required_bytes("msgBody")?;
    check_body(&body)?;
    Ok(body)
}

fn bodies(parameters: &Parameters<'_>) -> Result<Vec<Bytes>, CmqError> {
    let bodies = batch(parameters, "msgBody")?;
    for body in &bodies {
        check_body(body)?;
    }
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    if bytes > posthouse_model::bounds::BATCH_BYTES_MAX {
        return Err(CmqError::batch_too_large());
    }
    Ok(bodies)
}

/// Reads the values of a call on many: at least one, and not too many.
fn batch(parameters: &Parameters<'_>, parameter: &str) -> Result<Vec<Bytes>, CmqError> {
    let values = parameters.array(parameter)?;
    if values.is_empty() {
        return Err(CmqError::lacked(parameter));
    }
    if values.len() > posthouse_model::bounds::BATCH_MAX {
        return Err(CmqError::batch_size(parameter));
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
