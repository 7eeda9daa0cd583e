//! Replies, written as JSON.
//!
//! Fields, their types and their doubled spellings are what the SDKs read: ids are strings, times are seconds,
//! lists are arrays even when empty.

mod json;

use bytes::Bytes;
use posthouse_model::{
    ContentFormat, DeadLetterRule, Endpoint, FilterType, Incarnation, MessageId, Name, Parking,
    QueueAttributes, QueueCounts, ReceiptHandle, RetryStrategy, SubscriptionAttributes, SubscriptionId,
    TenantId, Time, TopicAttributes, World,
};

use super::{CmqError, GivenHandle, queue_id, subscription_id, topic_id};
use json::Object;

/// What every reply says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The broker's number for the request.
    pub request_id: u64,
    /// The client's own number for it.
    pub client_request_id: Option<u64>,
}

/// A queue, as it is told about.
#[derive(Clone, Copy, Debug)]
pub struct QueueView<'a> {
    /// Which.
    pub queue: Incarnation,
    /// Its name.
    pub name: &'a Name,
    /// What it is set to.
    pub attributes: &'a QueueAttributes,
    /// What it holds.
    pub counts: QueueCounts,
    /// When it was made.
    pub created: Time,
    /// When its attributes last changed.
    pub modified: Time,
}

/// A topic, as it is told about.
#[derive(Clone, Copy, Debug)]
pub struct TopicView<'a> {
    /// Which.
    pub topic: Incarnation,
    /// Its name.
    pub name: &'a Name,
    /// What it is set to.
    pub attributes: &'a TopicAttributes,
    /// How many messages it holds.
    pub messages: u64,
    /// When it was made.
    pub created: Time,
    /// When its attributes last changed.
    pub modified: Time,
}

/// A subscription, as it is told about.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionView<'a> {
    /// Its topic.
    pub topic: Incarnation,
    /// Its number.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: &'a Name,
    /// Whose topic it is.
    pub owner: TenantId,
    /// What it is set to.
    pub attributes: &'a SubscriptionAttributes,
    /// How many messages wait in it.
    pub backlog: u64,
    /// When it was made.
    pub created: Time,
    /// When its attributes last changed.
    pub modified: Time,
}

/// A received message, as it is told about.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its id.
    pub message: MessageId,
    /// The lease.
    pub handle: ReceiptHandle,
    /// What it says. What of it is not UTF-8 is replaced by U+FFFD, as JSON cannot say it.
    pub body: &'a [u8],
    /// Its tags, if it came through a topic.
    pub tags: &'a [String],
    /// When it was put into the queue.
    pub enqueued: Time,
    /// When it was first received.
    pub first_received: Time,
    /// When the lease ends.
    pub visible_again: Time,
    /// How often it has been received.
    pub receive_count: u32,
    /// How a plugin failed on it, if it was parked for that.
    pub parking: Option<&'a Parking>,
}

/// Writes an error.
pub fn error(head: &Head, error: &CmqError) -> Bytes {
    envelope(head, error).finish()
}

/// Writes a success with nothing to tell.
pub fn ok(head: &Head) -> Bytes {
    success(head).finish()
}

/// Answers CreateQueue, and UnbindDeadLetterQueue.
pub fn queue(head: &Head, queue: Incarnation) -> Bytes {
    let mut reply = success(head);
    reply.text("queueId", &queue_id(queue));
    reply.finish()
}

/// Answers ListQueue and ListDeadLetterSourceQueues: how many there are, and some of them.
pub fn queue_list<'a>(
    head: &Head,
    total: usize,
    page: impl IntoIterator<Item = (Incarnation, &'a Name)>,
) -> Bytes {
    let mut reply = success(head);
    reply.number("totalCount", total as u64);
    reply.objects("queueList", page, |element, (queue, name)| {
        element.text("queueId", &queue_id(queue));
        element.text("queueName", name.as_str());
    });
    reply.finish()
}

/// Answers GetQueueAttributes.
pub fn queue_attributes(head: &Head, view: &QueueView<'_>) -> Bytes {
    let mut reply = success(head);
    reply.text("queueId", &queue_id(view.queue));
    reply.text("queueName", view.name.as_str());
    write_queue_attributes(&mut reply, view.attributes);
    reply.number("createTime", view.created.seconds());
    reply.number("lastModifyTime", view.modified.seconds());
    reply.number("activeMsgNum", view.counts.active);
    reply.number("inactiveMsgNum", view.counts.leased);
    reply.number("delayMsgNum", view.counts.delayed);
    // The documents and half of the SDKs spell it one way, the other half the other.
    reply.number("rewindmsgNum", view.counts.rewindable);
    reply.number("rewindMsgNum", view.counts.rewindable);
    reply.number("minMsgTime", view.counts.oldest.map_or(0, Time::seconds));
    reply.finish()
}

/// Answers SetQueueAttributes: what the queue is now set to.
pub fn queue_set(head: &Head, queue: Incarnation, attributes: &QueueAttributes) -> Bytes {
    let mut reply = success(head);
    reply.text("queueId", &queue_id(queue));
    write_queue_attributes(&mut reply, attributes);
    reply.finish()
}

/// Answers SendMessage and PublishMessage.
pub fn sent(head: &Head, message: MessageId) -> Bytes {
    let mut reply = success(head);
    reply.number_text("msgId", message.0);
    reply.finish()
}

/// Answers BatchSendMessage and BatchPublishMessage, in the order of the request.
pub fn batch_sent(head: &Head, messages: &[MessageId]) -> Bytes {
    let mut reply = success(head);
    reply.objects("msgList", messages, |element, message| {
        element.number_text("msgId", message.0);
    });
    reply.finish()
}

/// Answers ReceiveMessage. When there is none, the answer is [`CmqError::no_message`].
pub fn received(head: &Head, message: &Received<'_>) -> Bytes {
    let mut reply = success(head);
    write_received(&mut reply, message);
    reply.finish()
}

/// Answers BatchReceiveMessage. When there is none, the answer is [`CmqError::no_message`].
pub fn batch_received<'a>(head: &Head, messages: impl IntoIterator<Item = Received<'a>>) -> Bytes {
    let mut reply = success(head);
    reply.objects("msgInfoList", messages, |element, message| {
        write_received(element, &message)
    });
    reply.finish()
}

/// Answers BatchDeleteMessage: a success, or an error that names the handles that failed.
pub fn batch_deleted(head: &Head, results: &[(GivenHandle, Result<(), CmqError>)]) -> Bytes {
    let failed: Vec<(&GivenHandle, &CmqError)> = results
        .iter()
        .filter_map(|(handle, result)| result.as_ref().err().map(|error| (handle, error)))
        .collect();
    let mut reply = match failed.len() {
        0 => return ok(head),
        some if some < results.len() => envelope(head, &CmqError::batch_delete_partly_failed()),
        _ => envelope(head, &CmqError::batch_delete_failed()),
    };
    reply.objects("errorList", failed, |element, (handle, error)| {
        element.number("code", u64::from(error.code));
        element.text("message", &error.message());
        match handle {
            GivenHandle::Handle(handle) => element.number_text("receiptHandle", handle.0),
            GivenHandle::Malformed(text) => element.text("receiptHandle", text),
        }
    });
    reply.finish()
}

/// Answers CreateTopic.
pub fn topic(head: &Head, topic: Incarnation) -> Bytes {
    let mut reply = success(head);
    reply.text("topicId", &topic_id(topic));
    reply.finish()
}

/// Answers ListTopic: how many there are, and some of them.
pub fn topic_list<'a>(
    head: &Head,
    total: usize,
    page: impl IntoIterator<Item = (Incarnation, &'a Name)>,
) -> Bytes {
    let mut reply = success(head);
    reply.number("totalCount", total as u64);
    reply.objects("topicList", page, |element, (topic, name)| {
        element.text("topicId", &topic_id(topic));
        element.text("topicName", name.as_str());
    });
    reply.finish()
}

/// Answers GetTopicAttributes.
pub fn topic_attributes(head: &Head, view: &TopicView<'_>) -> Bytes {
    let mut reply = success(head);
    reply.text("topicId", &topic_id(view.topic));
    reply.text("topicName", view.name.as_str());
    reply.number("msgCount", view.messages);
    reply.number("maxMsgSize", u64::from(view.attributes.body_bytes_max));
    reply.number("msgRetentionSeconds", view.attributes.retention.seconds());
    reply.number(
        "filterType",
        match view.attributes.filter_type {
            FilterType::Tags => 1,
            FilterType::BindingKeys => 2,
        },
    );
    reply.number("createTime", view.created.seconds());
    reply.number("lastModifyTime", view.modified.seconds());
    reply.finish()
}

/// Answers Subscribe. The documents show no id; Python's SDK fails without.
pub fn subscribed(head: &Head, topic: Incarnation, subscription: SubscriptionId) -> Bytes {
    let mut reply = success(head);
    reply.text("subscriptionId", &subscription_id(topic, subscription));
    reply.finish()
}

/// Answers ListSubscriptionByTopic: how many there are, and some of them.
pub fn subscription_list<'a>(
    head: &Head,
    total: usize,
    page: impl IntoIterator<Item = SubscriptionView<'a>>,
) -> Bytes {
    let mut reply = success(head);
    reply.number("totalCount", total as u64);
    reply.objects("subscriptionList", page, |element, view| {
        let (protocol, endpoint) = endpoint_texts(&view.attributes.endpoint);
        element.text("subscriptionId", &subscription_id(view.topic, view.subscription));
        element.text("subscriptionName", view.name.as_str());
        element.text("protocol", protocol);
        element.text("endpoint", endpoint);
    });
    reply.finish()
}

/// Answers GetSubscriptionAttributes. SDKs read three of the fields under two spellings each.
pub fn subscription_attributes(head: &Head, view: &SubscriptionView<'_>) -> Bytes {
    let attributes = view.attributes;
    let (protocol, endpoint) = endpoint_texts(&attributes.endpoint);
    let mut reply = success(head);
    reply.text("subscriptionId", &subscription_id(view.topic, view.subscription));
    reply.text("subscriptionName", view.name.as_str());
    reply.text("topicOwner", &view.owner.to_string());
    reply.number("msgCount", view.backlog);
    reply.text("protocol", protocol);
    reply.text("protocal", protocol);
    reply.text("endpoint", endpoint);
    reply.text(
        "notifyStrategy",
        match attributes.retry {
            RetryStrategy::Backoff => "BACKOFF_RETRY",
            RetryStrategy::ExponentialDecay => "EXPONENTIAL_DECAY_RETRY",
        },
    );
    reply.text(
        "notifyContentFormat",
        match attributes.format {
            ContentFormat::Json => "JSON",
            ContentFormat::Simplified => "SIMPLIFIED",
        },
    );
    for name in ["filterTag", "filterTags"] {
        reply.texts(name, attributes.filter_tags.iter().map(|tag| tag.as_str()));
    }
    for name in ["bindingKey", "bindindKey"] {
        reply.texts(name, attributes.binding_keys.iter().map(|key| key.as_str()));
    }
    reply.number("createTime", view.created.seconds());
    reply.number("lastModifyTime", view.modified.seconds());
    reply.finish()
}

fn success(head: &Head) -> Object {
    let mut reply = Object::new();
    reply.number("code", 0);
    reply.text("message", "");
    write_head(&mut reply, head);
    reply
}

fn envelope(head: &Head, error: &CmqError) -> Object {
    let mut reply = Object::new();
    reply.number("code", u64::from(error.code));
    reply.text("message", &error.message());
    write_head(&mut reply, head);
    reply
}

fn write_head(reply: &mut Object, head: &Head) {
    reply.number_text("requestId", head.request_id);
    if let Some(id) = head.client_request_id {
        reply.number("clientRequestId", id);
    }
}

fn write_queue_attributes(reply: &mut Object, attributes: &QueueAttributes) {
    reply.number("maxMsgHeapNum", attributes.messages_max);
    reply.number("pollingWaitSeconds", attributes.polling_wait.seconds());
    reply.number("visibilityTimeout", attributes.visibility.seconds());
    reply.number("maxMsgSize", u64::from(attributes.body_bytes_max));
    reply.number("msgRetentionSeconds", attributes.retention.seconds());
    reply.number("rewindSeconds", attributes.rewind.seconds());
    if let Some(policy) = &attributes.dead_letter {
        reply.text("deadLetterPolicy", &policy_text(&policy.name, policy.rule));
    }
}

/// Returns a policy as SetQueueAttributes takes it, so that what was read can be written back.
fn policy_text(queue: &Name, rule: DeadLetterRule) -> String {
    let mut policy = Object::new();
    policy.text("deadLetterQueue", queue.as_str());
    match rule {
        DeadLetterRule::ReceiveCount { max } => {
            policy.number("policy", 0);
            policy.number("maxReceiveCount", u64::from(max));
        }
        DeadLetterRule::Age { max } => {
            policy.number("policy", 1);
            policy.number("maxTimeToLive", max.seconds());
        }
    }
    policy.finish_text()
}

fn write_received(reply: &mut Object, message: &Received<'_>) {
    reply.bytes("msgBody", message.body);
    reply.number_text("msgId", message.message.0);
    reply.number_text("receiptHandle", message.handle.0);
    reply.number("enqueueTime", message.enqueued.seconds());
    reply.number("firstDequeueTime", message.first_received.seconds());
    reply.number("nextVisibleTime", message.visible_again.seconds());
    reply.number("dequeueCount", u64::from(message.receive_count));
    if !message.tags.is_empty() {
        reply.texts("msgTag", message.tags.iter().map(String::as_str));
    }
    if let Some(parking) = message.parking {
        reply.object("parked", |reply| write_parking(reply, parking));
    }
}

/// Writes how a plugin failed. CMQ has no such thing: clients pass over what they do not know.
fn write_parking(reply: &mut Object, parking: &Parking) {
    let world = match parking.world {
        World::Route => "route",
        World::Filter => "filter",
        World::Deliver => "deliver",
        World::Seal => "seal",
    };
    reply.text("world", world);
    reply.number_text("version", parking.version.0);
    if let Some(digest) = parking.digest {
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        reply.text("digest", &digits);
    }
    reply.number("attempt", u64::from(parking.attempt));
    reply.text("trap", &parking.trap);
    reply.text("backtrace", &parking.backtrace);
}

fn endpoint_texts(endpoint: &Endpoint) -> (&'static str, &str) {
    match endpoint {
        Endpoint::Http(url) => ("http", url),
        Endpoint::Queue(name) => ("queue", name.as_str()),
    }
}

#[cfg(test)]
mod tests;
