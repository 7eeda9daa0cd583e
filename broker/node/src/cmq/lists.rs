//! What CMQ's API tells about queues, topics and subscriptions: attributes and lists.

use bytes::Bytes;
use posthouse_gateway::cmq::{
    CmqError, Listing,
    reply::{self, Head, QueueView, SubscriptionView, TopicView},
};
use posthouse_model::{Kind, Name, Subscription, SubscriptionAttributes, TenantId, Topic, TopicAttributes};

use super::{Cmq, refusal};
use crate::broker::{Listed, Progress, Resolved};

impl Cmq {
    pub(super) fn queue_attributes(
        &self,
        head: &Head,
        tenant: TenantId,
        queue: &Name,
    ) -> Result<Bytes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Queue, queue)
            .map_err(refusal)?;
        self.calls.broker.set(found.set).view(|state| {
            let queue = state.queue(found.incarnation).ok_or_else(CmqError::no_queue)?;
            let view = QueueView {
                queue: found.incarnation,
                name: queue.name(),
                attributes: queue.attributes(),
                counts: queue.counts(),
                created: queue.created(),
                modified: queue.modified(),
            };
            Ok(reply::queue_attributes(head, &view))
        })
    }

    pub(super) fn topic_attributes(
        &self,
        head: &Head,
        tenant: TenantId,
        topic: &Name,
    ) -> Result<Bytes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Topic, topic)
            .map_err(refusal)?;
        self.of_topic(&found, |topic| {
            let view = TopicView {
                topic: found.incarnation,
                name: topic.name(),
                attributes: topic.attributes(),
                messages: topic.message_count(),
                created: topic.created(),
                modified: topic.modified(),
            };
            reply::topic_attributes(head, &view)
        })
    }

    pub(super) fn subscription_attributes(
        &self,
        head: &Head,
        tenant: TenantId,
        topic: &Name,
        subscription: &Name,
    ) -> Result<Bytes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Topic, topic)
            .map_err(refusal)?;
        self.of_subscription(&found, subscription, |subscription| {
            reply::subscription_attributes(head, &subscription_view(&found, subscription))
        })
    }

    pub(super) async fn list_queues(
        &self,
        head: &Head,
        tenant: TenantId,
        listing: Listing,
    ) -> Result<Bytes, CmqError> {
        let (total, page) = self.page_of_names(tenant, Kind::Queue, listing).await?;
        let queues = page.iter().map(|listed| (listed.incarnation, &listed.name));
        Ok(reply::queue_list(head, total, queues))
    }

    pub(super) async fn list_topics(
        &self,
        head: &Head,
        tenant: TenantId,
        listing: Listing,
    ) -> Result<Bytes, CmqError> {
        let (total, page) = self.page_of_names(tenant, Kind::Topic, listing).await?;
        let topics = page.iter().map(|listed| (listed.incarnation, &listed.name));
        Ok(reply::topic_list(head, total, topics))
    }

    pub(super) async fn list_dead_letter_sources(
        &self,
        head: &Head,
        tenant: TenantId,
        queue: &Name,
        listing: &Listing,
    ) -> Result<Bytes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Queue, queue)
            .map_err(refusal)?;
        let sources = self
            .calls
            .broker
            .dead_letter_sources(tenant, found.incarnation)
            .await;
        let sources = sources.map_err(refusal)?;
        let (total, page) = listing.page(sources, |(_, name)| name);
        Ok(reply::queue_list(
            head,
            total,
            page.iter().map(|(incarnation, name)| (*incarnation, name)),
        ))
    }

    pub(super) fn list_subscriptions(
        &self,
        head: &Head,
        tenant: TenantId,
        topic: &Name,
        listing: &Listing,
    ) -> Result<Bytes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Topic, topic)
            .map_err(refusal)?;
        self.of_topic(&found, |topic| {
            let mut all: Vec<_> = topic.subscriptions().collect();
            all.sort_by_key(|subscription| subscription.name().folded());
            let (total, page) = listing.page(all, |subscription| subscription.name());
            let views = page
                .iter()
                .map(|subscription| subscription_view(&found, subscription));
            reply::subscription_list(head, total, views)
        })
    }

    pub(super) fn topic_settings(&self, found: &Resolved) -> Result<TopicAttributes, CmqError> {
        self.of_topic(found, |topic| topic.attributes().clone())
    }

    pub(super) fn subscription_settings(
        &self,
        tenant: TenantId,
        topic: &Name,
        subscription: &Name,
    ) -> Result<SubscriptionAttributes, CmqError> {
        let found = self
            .calls
            .broker
            .resolve(tenant, Kind::Topic, topic)
            .map_err(refusal)?;
        self.of_subscription(&found, subscription, |known| known.attributes().clone())
    }

    /// Returns what is told of a topic.
    fn of_topic<T>(&self, found: &Resolved, tell: impl FnOnce(&Topic) -> T) -> Result<T, CmqError> {
        self.calls
            .broker
            .set(found.set)
            .view(|state| state.topic(found.incarnation).map(tell))
            .ok_or_else(CmqError::no_topic)
    }

    /// Returns what is told of a topic's subscription.
    fn of_subscription<T>(
        &self,
        found: &Resolved,
        name: &Name,
        tell: impl FnOnce(&Subscription) -> T,
    ) -> Result<T, CmqError> {
        self.of_topic(found, |topic| topic.subscription_named(name).map(tell))?
            .ok_or_else(CmqError::no_subscription)
    }

    async fn page_of_names(
        &self,
        tenant: TenantId,
        kind: Kind,
        listing: Listing,
    ) -> Result<(usize, Vec<Listed>), CmqError> {
        let search = listing.search.clone();
        let page = self
            .calls
            .broker
            .list_names(tenant, kind, Some(search), move |names| {
                let in_use = names.filter(|listed| listed.progress == Progress::Ready);
                listing.page(in_use, |listed| &listed.name)
            });
        page.await.map_err(refusal)
    }
}

fn subscription_view<'a>(found: &Resolved, subscription: &'a Subscription) -> SubscriptionView<'a> {
    SubscriptionView {
        topic: found.incarnation,
        subscription: subscription.id(),
        name: subscription.name(),
        owner: found.tenant,
        attributes: subscription.attributes(),
        backlog: subscription.backlog(),
        created: subscription.created(),
        modified: subscription.modified(),
    }
}
