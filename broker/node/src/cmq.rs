//! CMQ's API over the broker: each action done, each outcome given its code.

mod lists;
mod noted;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use posthouse_gateway::cmq::{
    self, Action, Call, CmqError, GivenHandle, Hmac, RawCall, check_binding_keys,
    reply::{self, Head},
};
use posthouse_model::{
    Definition, Kind, Name, QueueAttributes, ReceiptHandle, Refusal, TenantId, Time, Token, bounds,
};
use posthouse_replica::Fault;

use crate::broker::{BrokerError, Leases, Received, Reception, Wish};
use crate::calls::Calls;
use noted::Noted;

/// The header with which a client names its call, to have its own retries recognised.
pub const TOKEN_HEADER: &str = "x-posthouse-token";

/// Answers CMQ's API. Cheap to clone.
#[derive(Clone)]
pub struct Cmq {
    calls: Calls,
    requests: Arc<AtomicU64>,
}

/// A reply, and the leases in it, which are given back unless it is written.
pub struct Reply {
    /// JSON.
    pub body: Bytes,
    /// Messages leased to the client.
    pub leases: Option<Leases>,
}

/// The arithmetic of signatures.
pub(crate) struct KeyringHmac;

impl Hmac for KeyringHmac {
    fn sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        posthouse_keyring::hmac_sha1_parts(key, parts)
    }

    fn sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        posthouse_keyring::hmac_sha256_parts(key, parts)
    }

    fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        posthouse_keyring::verify_equal(a, b)
    }
}

// === impl Cmq ===

impl Cmq {
    /// Returns the API over a broker's calls. Request ids count on from `first_request`.
    pub fn new(calls: Calls, first_request: u64) -> Cmq {
        let requests = Arc::new(AtomicU64::new(first_request));
        Cmq { calls, requests }
    }

    /// Answers one request.
    pub async fn answer(&self, raw: RawCall<'_>, token: Option<&str>) -> Reply {
        let mut head = self.next_head();
        let mut noted = Noted::new(self.calls.clock.monotonic(), "unknown");
        let outcome = match cmq::parse(raw) {
            Ok(call) => {
                head.client_request_id = call.client_request_id();
                self.act(&head, &call, raw, token, &mut noted).await
            }
            Err(error) => Err(error),
        };
        self.conclude(&head, &noted, outcome)
    }

    /// Answers a request that was refused before it was read to its end.
    pub fn refuse_unread(&self, error: CmqError) -> Reply {
        let noted = Noted::new(self.calls.clock.monotonic(), "unread");
        self.conclude(&self.next_head(), &noted, Err(error))
    }

    /// Returns the reply that an outcome gets, counted.
    fn conclude(&self, head: &Head, noted: &Noted, outcome: Result<Reply, CmqError>) -> Reply {
        let code = outcome.as_ref().map_or_else(|error| error.code, |_| 0);
        let reply = outcome.unwrap_or_else(|error| Reply {
            body: reply::error(head, &error),
            leases: None,
        });
        let now = self.calls.clock.monotonic();
        noted.count(&self.calls.broker.metrics, now, code, reply.body.len());
        reply
    }

    fn next_head(&self) -> Head {
        Head {
            request_id: self.requests.fetch_add(1, Ordering::Relaxed),
            client_request_id: None,
        }
    }

    async fn act(
        &self,
        head: &Head,
        call: &Call,
        raw: RawCall<'_>,
        token: Option<&str>,
        noted: &mut Noted,
    ) -> Result<Reply, CmqError> {
        noted.action = "unauthenticated";
        let tenant = self.authenticate(call).await?;
        noted.tenant = Some(tenant);
        noted.action = "unknown";
        let action = call.action(&self.calls.config)?;
        noted.action = action.name();
        self.calls.admit(tenant, raw.body.len() + raw.query.len())?;
        let token = parsed_token(token)?;
        match &action {
            Action::ReceiveMessage { .. } | Action::BatchReceiveMessage { .. } => {
                self.receive(head, tenant, action, &mut noted.waited).await
            }
            _ => self
                .perform(head, tenant, action, token)
                .await
                .map(|body| Reply { body, leases: None }),
        }
    }

    async fn authenticate(&self, call: &Call) -> Result<TenantId, CmqError> {
        if let Some(tenant) = self.calls.anonymous()? {
            return Ok(tenant);
        }
        let credentials = call.credentials()?;
        let signatory = self.calls.signatory(credentials.secret_id).await?;
        call.verify(
            signatory.secret.expose(),
            &KeyringHmac,
            self.calls.clock.wall(),
            &self.calls.config,
        )?;
        Ok(signatory.tenant)
    }

    async fn receive(
        &self,
        head: &Head,
        tenant: TenantId,
        action: Action,
        waited: &mut Duration,
    ) -> Result<Reply, CmqError> {
        let (queue, max, wait, single) = match action {
            Action::ReceiveMessage { queue, wait } => (queue, 1, wait, true),
            Action::BatchReceiveMessage { queue, max, wait } => (queue, max, wait, false),
            other => unreachable!("{} receives nothing", other.name()),
        };
        let wish = Wish {
            max,
            wait: wait.map(Into::into),
            visibility: None,
        };
        let reception = self.calls.receive(tenant, &queue, wish, waited).await?;
        if reception.messages.is_empty() {
            return Err(CmqError::no_message());
        }
        Ok(Self::hand_out(head, reception, single))
    }

    fn hand_out(head: &Head, reception: Reception, single: bool) -> Reply {
        let (messages, leases) = reception.into_parts();
        let views = messages.iter().map(view);
        let body = match (single, messages.first()) {
            (true, Some(first)) => reply::received(head, &view(first)),
            _ => reply::batch_received(head, views),
        };
        Reply {
            body,
            leases: Some(leases),
        }
    }

    async fn perform(
        &self,
        head: &Head,
        tenant: TenantId,
        action: Action,
        token: Option<Token>,
    ) -> Result<Bytes, CmqError> {
        if let Some((kind, name)) = subject(&action) {
            self.calls.broker.see(tenant, kind, name).await.map_err(refusal)?;
        }
        match action {
            Action::CreateQueue { queue, change } => {
                let target = self.dead_letter_target(tenant, change.dead_letter_queue());
                let attributes = change.apply_to(QueueAttributes::default(), target)?;
                let definition = Definition::Queue(attributes);
                let incarnation = self
                    .calls
                    .broker
                    .create(tenant, queue, definition)
                    .await
                    .map_err(refusal)?;
                Ok(reply::queue(head, incarnation))
            }
            Action::ListQueue(listing) => {
                self.calls.broker.see_directory().await.map_err(refusal)?;
                self.list_queues(head, tenant, listing).await
            }
            Action::GetQueueAttributes { queue } => self.queue_attributes(head, tenant, &queue),
            Action::SetQueueAttributes { queue, change } => {
                let target = self.dead_letter_target(tenant, change.dead_letter_queue());
                let altered = self
                    .alter_queue(tenant, &queue, |known| change.apply_to(known, target))
                    .await?;
                let found = self
                    .calls
                    .broker
                    .resolve(tenant, Kind::Queue, &queue)
                    .map_err(refusal)?;
                Ok(reply::queue_set(head, found.incarnation, &altered))
            }
            Action::DeleteQueue { queue } => {
                self.calls
                    .broker
                    .remove(tenant, Kind::Queue, &queue)
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
            Action::RewindQueue { queue, to } => {
                self.calls
                    .broker
                    .rewind(tenant, &queue, to)
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
            Action::UnbindDeadLetterQueue { queue } => {
                let found = self
                    .calls
                    .broker
                    .resolve(tenant, Kind::Queue, &queue)
                    .map_err(refusal)?;
                self.alter_queue(tenant, &queue, |known| match known.dead_letter {
                    Some(_) => Ok(QueueAttributes {
                        dead_letter: None,
                        ..known
                    }),
                    None => Err(CmqError::no_dead_letter_queue()),
                })
                .await?;
                Ok(reply::queue(head, found.incarnation))
            }
            Action::ListDeadLetterSourceQueues { queue, listing } => {
                self.list_dead_letter_sources(head, tenant, &queue, &listing)
                    .await
            }
            Action::SendMessage { queue, body, delay } => {
                let ids = self.calls.send(tenant, &queue, delay, vec![body], token).await?;
                Ok(reply::sent(head, ids[0]))
            }
            Action::BatchSendMessage { queue, bodies, delay } => {
                let ids = self.calls.send(tenant, &queue, delay, bodies, token).await?;
                Ok(reply::batch_sent(head, &ids))
            }
            Action::ReceiveMessage { .. } | Action::BatchReceiveMessage { .. } => {
                unreachable!("receives are answered with their leases")
            }
            Action::DeleteMessage { queue, handle } => {
                let mut results = self.calls.delete(tenant, &queue, vec![handle]).await?;
                match results.pop() {
                    Some(Err(refused)) => Err(CmqError::of_refusal(&refused, Kind::Queue)),
                    Some(Ok(())) | None => Ok(reply::ok(head)),
                }
            }
            Action::BatchDeleteMessage { queue, handles } => {
                self.delete_batch(head, tenant, &queue, handles).await
            }
            Action::CreateTopic { topic, attributes } => {
                let definition = Definition::Topic(attributes);
                let incarnation = self
                    .calls
                    .broker
                    .create(tenant, topic, definition)
                    .await
                    .map_err(refusal)?;
                Ok(reply::topic(head, incarnation))
            }
            Action::ListTopic(listing) => {
                self.calls.broker.see_directory().await.map_err(refusal)?;
                self.list_topics(head, tenant, listing).await
            }
            Action::GetTopicAttributes { topic } => self.topic_attributes(head, tenant, &topic),
            Action::SetTopicAttributes { topic, change } => {
                let mut failure = None;
                let altered = self
                    .calls
                    .broker
                    .alter_topic(tenant, &topic, |known| {
                        change.apply_to(known).map_err(|error| kept(&mut failure, error))
                    })
                    .await;
                altered.map_err(|error| failure.unwrap_or_else(|| refusal(error)))?;
                Ok(reply::ok(head))
            }
            Action::DeleteTopic { topic } => {
                self.calls
                    .broker
                    .remove(tenant, Kind::Topic, &topic)
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
            Action::PublishMessage {
                topic,
                body,
                tags,
                routing_key,
            } => {
                let ids = self
                    .calls
                    .publish(tenant, &topic, vec![body], &tags, routing_key, token)
                    .await?;
                Ok(reply::sent(head, ids[0]))
            }
            Action::BatchPublishMessage {
                topic,
                bodies,
                tags,
                routing_key,
            } => {
                let ids = self
                    .calls
                    .publish(tenant, &topic, bodies, &tags, routing_key, token)
                    .await?;
                Ok(reply::batch_sent(head, &ids))
            }
            Action::Subscribe {
                topic,
                subscription,
                attributes,
            } => {
                let found = self
                    .calls
                    .broker
                    .resolve(tenant, Kind::Topic, &topic)
                    .map_err(refusal)?;
                let known = self.topic_settings(&found)?;
                check_binding_keys(&known, &attributes)?;
                let number = self
                    .calls
                    .broker
                    .subscribe(tenant, &topic, subscription, attributes)
                    .await
                    .map_err(illegal_endpoint)?;
                Ok(reply::subscribed(head, found.incarnation, number))
            }
            Action::Unsubscribe { topic, subscription } => {
                self.calls
                    .broker
                    .unsubscribe(tenant, &topic, subscription)
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
            Action::ListSubscriptionByTopic { topic, listing } => {
                self.list_subscriptions(head, tenant, &topic, &listing)
            }
            Action::GetSubscriptionAttributes { topic, subscription } => {
                self.subscription_attributes(head, tenant, &topic, &subscription)
            }
            Action::SetSubscriptionAttributes {
                topic,
                subscription,
                change,
            } => {
                let known = self.subscription_settings(tenant, &topic, &subscription)?;
                let attributes = change.apply_to(known, &self.calls.config)?;
                self.calls
                    .broker
                    .alter_subscription(tenant, &topic, &subscription, |_| attributes)
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
            Action::ClearSubscriptionFilterTags { topic, subscription } => {
                self.calls
                    .broker
                    .alter_subscription(tenant, &topic, &subscription, |mut known| {
                        known.filter_tags.clear();
                        known
                    })
                    .await
                    .map_err(refusal)?;
                Ok(reply::ok(head))
            }
        }
    }

    async fn delete_batch(
        &self,
        head: &Head,
        tenant: TenantId,
        queue: &Name,
        handles: Vec<GivenHandle>,
    ) -> Result<Bytes, CmqError> {
        let wellformed: Vec<ReceiptHandle> = handles
            .iter()
            .filter_map(|given| match given {
                GivenHandle::Handle(handle) => Some(*handle),
                GivenHandle::Malformed(_) => None,
            })
            .collect();
        let mut answers = self.calls.delete(tenant, queue, wellformed).await?.into_iter();
        let results: Vec<(GivenHandle, Result<(), CmqError>)> = handles
            .into_iter()
            .map(|given| {
                let result = match &given {
                    GivenHandle::Malformed(_) => Err(CmqError::malformed_handle()),
                    GivenHandle::Handle(handle) => answers
                        .next()
                        .unwrap_or(Err(Refusal::BadHandle(*handle)))
                        .map_err(|refused| CmqError::of_refusal(&refused, Kind::Queue)),
                };
                (given, result)
            })
            .collect();
        Ok(reply::batch_deleted(head, &results))
    }

    async fn alter_queue(
        &self,
        tenant: TenantId,
        queue: &Name,
        change: impl FnOnce(QueueAttributes) -> Result<QueueAttributes, CmqError> + Send,
    ) -> Result<QueueAttributes, CmqError> {
        let mut failure = None;
        let altered = self
            .calls
            .broker
            .alter_queue(tenant, queue, |known| {
                change(known).map_err(|error| kept(&mut failure, error))
            })
            .await;
        altered.map_err(|error| failure.unwrap_or_else(|| refusal(error)))
    }

    fn dead_letter_target(
        &self,
        tenant: TenantId,
        queue: Option<&Name>,
    ) -> Option<posthouse_model::Incarnation> {
        let found = self.calls.broker.resolve(tenant, Kind::Queue, queue?).ok()?;
        Some(found.incarnation)
    }
}

/// Returns what an action is about that has to be seen as it is now; none for messages, which go to who leads.
fn subject(action: &Action) -> Option<(Kind, &Name)> {
    match action {
        Action::CreateQueue { queue, .. }
        | Action::GetQueueAttributes { queue }
        | Action::SetQueueAttributes { queue, .. }
        | Action::DeleteQueue { queue }
        | Action::UnbindDeadLetterQueue { queue }
        | Action::ListDeadLetterSourceQueues { queue, .. } => Some((Kind::Queue, queue)),
        Action::CreateTopic { topic, .. }
        | Action::GetTopicAttributes { topic }
        | Action::SetTopicAttributes { topic, .. }
        | Action::DeleteTopic { topic }
        | Action::Subscribe { topic, .. }
        | Action::Unsubscribe { topic, .. }
        | Action::ListSubscriptionByTopic { topic, .. }
        | Action::GetSubscriptionAttributes { topic, .. }
        | Action::SetSubscriptionAttributes { topic, .. }
        | Action::ClearSubscriptionFilterTags { topic, .. } => Some((Kind::Topic, topic)),
        Action::ListQueue(_)
        | Action::ListTopic(_)
        | Action::RewindQueue { .. }
        | Action::SendMessage { .. }
        | Action::BatchSendMessage { .. }
        | Action::ReceiveMessage { .. }
        | Action::BatchReceiveMessage { .. }
        | Action::DeleteMessage { .. }
        | Action::BatchDeleteMessage { .. }
        | Action::PublishMessage { .. }
        | Action::BatchPublishMessage { .. } => None,
    }
}

/// Returns the error for what the broker did not do. The one place where its words become CMQ's codes.
pub fn refusal(error: BrokerError) -> CmqError {
    match error {
        BrokerError::Refused { refusal, kind } => CmqError::of_refusal(&refusal, kind),
        BrokerError::Directory { refusal, kind } => CmqError::of_directory_refusal(&refusal, kind),
        BrokerError::NoName { kind } => CmqError::missing(kind),
        BrokerError::NoDeadLetterQueue { .. } => CmqError::no_dead_letter_queue(),
        BrokerError::DeadLetterRule(rule) => CmqError::out_of_range("deadLetterPolicy").because(&rule),
        BrokerError::NoSubscriptions => CmqError::no_subscriptions(),
        BrokerError::NothingMatched => CmqError::no_match(),
        BrokerError::NoPlugin { .. }
        | BrokerError::PluginFailed { .. }
        | BrokerError::PluginUnavailable { .. }
        | BrokerError::DiskFull
        | BrokerError::Unsettled
        | BrokerError::ListingsBehind
        | BrokerError::Unprepared { .. }
        | BrokerError::Unreadable(_)
        | BrokerError::Key(_) => CmqError::not_done(&error.to_string()),
        BrokerError::Fault(Fault::NotDone(reason)) => CmqError::not_done(&reason.to_string()),
        BrokerError::Fault(Fault::MayBeDone(reason)) => CmqError::may_have_been_done(&reason.to_string()),
        BrokerError::Argument(text) => CmqError::request_parameters_error().because(&text),
    }
}

/// A subscription's queue that does not exist is the endpoint's fault, not the topic's.
fn illegal_endpoint(error: BrokerError) -> CmqError {
    match error {
        BrokerError::NoName { kind: Kind::Queue } => {
            CmqError::illegal_endpoint().because("there is no queue of that name")
        }
        other => refusal(other),
    }
}

/// Keeps a protocol's own error while the broker is told that nothing is to be done.
fn kept(failure: &mut Option<CmqError>, error: CmqError) -> BrokerError {
    *failure = Some(error);
    BrokerError::Argument("refused by the protocol".to_owned())
}

fn view(received: &Received) -> reply::Received<'_> {
    reply::Received {
        message: received.message.message.id,
        handle: received.leased.handle,
        body: received.body(),
        tags: &received.message.message.tags,
        enqueued: received.message.produced,
        first_received: received.leased.first_received,
        visible_again: received.leased.visible_again,
        receive_count: received.leased.receive_count,
        parking: received.parking(),
    }
}

fn parsed_token(token: Option<&str>) -> Result<Option<Token>, CmqError> {
    match token {
        None => Ok(None),
        Some(text) if text.is_empty() || text.len() > bounds::TOKEN_BYTES_MAX => {
            Err(CmqError::out_of_range(TOKEN_HEADER))
        }
        Some(text) => Ok(Some(Token(text.to_owned()))),
    }
}

/// Returns the number that request ids of a process count from: its start, so that they differ between runs.
pub fn first_request(now: Time) -> u64 {
    now.millis() << 20
}
