//! What every door does with a call once it is parsed: who signed it, whether the tenant's rate allows it, and messages
//! sent, published, received and deleted, each counted for its tenant.
//!
//! Errors are CMQ's: they have codes that clients know, whichever door they came through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_gateway::cmq::{CmqError, Config, check_routing_key};
use posthouse_model::{
    AccessKeyStatus, Key, Kind, MessageId, Name, ReceiptHandle, Refusal, Span, Tag, TenantId, Token,
    TopicAttributes,
};
use posthouse_replica::Clock;

use crate::broker::{Broker, Content, Draft, LeaseChange, Reception, Signatory, Wish};
use crate::cmq::refusal;
use crate::config::Authentication;

/// Why a key is not known to a node that has not seen the directory yet.
const STARTING: &str = "the node is starting";

/// The calls of all doors. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    pub(crate) broker: Broker,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    authentication: Authentication,
}

// === impl Calls ===

impl Calls {
    /// Returns the calls on a broker.
    pub fn new(
        broker: Broker,
        config: Config,
        clock: Arc<dyn Clock>,
        authentication: Authentication,
    ) -> Calls {
        Calls {
            broker,
            config: Arc::new(config),
            clock,
            authentication,
        }
    }

    /// Returns whose calls are taken without a signature, where that is configured.
    pub(crate) fn anonymous(&self) -> Result<Option<TenantId>, CmqError> {
        let Authentication::Anonymous(tenant) = &self.authentication else {
            return Ok(None);
        };
        let tenant = self
            .broker
            .directory
            .view(|directory| directory.tenant_named(tenant).map(|tenant| tenant.tenant));
        tenant.map(Some).ok_or_else(|| self.unknown_key())
    }

    /// Finds who signs with a key that may be used.
    pub(crate) async fn signatory(&self, id: &str) -> Result<Signatory, CmqError> {
        let known = match self.broker.is_settled() {
            true => self.broker.find_signatory(id).await.map_err(refusal)?,
            false => self.broker.signatory(id),
        };
        let signatory = known.ok_or_else(|| self.unknown_key())?;
        match signatory.status {
            AccessKeyStatus::Disabled => Err(CmqError::secret_id_status()),
            AccessKeyStatus::Enabled => Ok(signatory),
        }
    }

    /// Returns the error for a key that this node does not know, which says something of the key only once it knows all.
    fn unknown_key(&self) -> CmqError {
        match self.broker.is_settled() {
            true => CmqError::no_secret_id(),
            false => CmqError::not_done(STARTING),
        }
    }

    /// Takes a call of so many bytes out of a tenant's rate.
    pub(crate) fn admit(&self, tenant: TenantId, bytes: usize) -> Result<(), CmqError> {
        let quotas = self
            .broker
            .directory
            .view(|directory| directory.tenant(tenant).map(|tenant| tenant.quotas))
            .ok_or_else(CmqError::no_secret_id)?;
        self.broker.metrics.bytes_in(tenant, bytes as u64);
        self.broker
            .admission
            .admit(tenant, quotas, bytes as u64)
            .map_err(|_| {
                self.broker.metrics.throttled(tenant);
                CmqError::throttled()
            })
    }

    /// Puts messages at the tail of a queue, all or none.
    pub(crate) async fn send(
        &self,
        tenant: TenantId,
        queue: &Name,
        delay: Span,
        bodies: Vec<Bytes>,
        token: Option<Token>,
    ) -> Result<Vec<MessageId>, CmqError> {
        let count = bodies.len() as u64;
        let contents = bodies.into_iter().map(Content::from).collect();
        let ids = self
            .broker
            .send(tenant, queue, delay, contents, token)
            .await
            .map_err(refusal)?;
        self.broker.metrics.sent(tenant, count);
        Ok(ids)
    }

    /// Publishes messages that share tags and a routing key, all or none.
    pub(crate) async fn publish(
        &self,
        tenant: TenantId,
        topic: &Name,
        bodies: Vec<Bytes>,
        tags: &[Tag],
        routing_key: Option<Key>,
        token: Option<Token>,
    ) -> Result<Vec<MessageId>, CmqError> {
        self.check_routing(tenant, topic, routing_key.as_ref()).await?;
        let count = bodies.len() as u64;
        let draft = Draft {
            contents: bodies.into_iter().map(Content::from).collect(),
            tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            routing_key: routing_key.map(String::from).unwrap_or_default(),
            token,
        };
        let ids = self.broker.publish(tenant, topic, draft).await.map_err(refusal)?;
        self.broker.metrics.sent(tenant, count);
        Ok(ids)
    }

    /// Leases messages, waiting for the first if need be; none is "no message". How long it waited is added to `waited`.
    pub(crate) async fn receive(
        &self,
        tenant: TenantId,
        queue: &Name,
        wish: Wish,
        waited: &mut Duration,
    ) -> Result<Reception, CmqError> {
        let reception = self
            .broker
            .receive(tenant, queue, wish, waited)
            .await
            .map_err(refusal)?;
        self.broker
            .metrics
            .received(tenant, reception.messages.len() as u64);
        Ok(reception)
    }

    /// Deletes messages by their handles; each is answered for itself.
    pub(crate) async fn delete(
        &self,
        tenant: TenantId,
        queue: &Name,
        handles: Vec<ReceiptHandle>,
    ) -> Result<Vec<Result<(), Refusal>>, CmqError> {
        let count = handles.len() as u64;
        let results = self
            .broker
            .delete(tenant, queue, handles)
            .await
            .map_err(refusal)?;
        self.broker.metrics.deleted(tenant, count);
        Ok(results)
    }

    /// Gives messages back or has their leases last longer, by their handles; each is answered for itself.
    pub(crate) async fn change_leases(
        &self,
        tenant: TenantId,
        queue: &Name,
        change: LeaseChange,
    ) -> Result<Vec<Result<(), Refusal>>, CmqError> {
        self.broker
            .change_leases(tenant, queue, change)
            .await
            .map_err(refusal)
    }

    async fn check_routing(
        &self,
        tenant: TenantId,
        topic: &Name,
        routing_key: Option<&Key>,
    ) -> Result<(), CmqError> {
        let settings = match self.topic_settings(tenant, topic) {
            Ok(settings) => settings,
            // This node may not have heard of it yet.
            Err(_) => {
                self.broker
                    .see(tenant, Kind::Topic, topic)
                    .await
                    .map_err(refusal)?;
                self.topic_settings(tenant, topic)?
            }
        };
        check_routing_key(&settings, routing_key)
    }

    fn topic_settings(&self, tenant: TenantId, topic: &Name) -> Result<TopicAttributes, CmqError> {
        let found = self.broker.resolve(tenant, Kind::Topic, topic).map_err(refusal)?;
        self.broker
            .set(found.set)
            .view(|state| Some(state.topic(found.incarnation)?.attributes().clone()))
            .ok_or_else(CmqError::no_topic)
    }
}
