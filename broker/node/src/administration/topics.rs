//! Topics and their subscriptions.

use posthouse_model::{Definition, Kind, Name, Refusal, Subscription, SubscriptionAttributes, Time, Topic};

use super::queues::kept;
use super::{Acting, listing};
use crate::admin::shapes::{
    Done, Lifetime, NameView, Page, SealRequest, SubscriptionCreate, SubscriptionSettings, SubscriptionView,
    TopicCreate, TopicHolds, TopicSettings, TopicView,
};
use crate::admin::{AdminError, ListQuery};
use crate::broker::BrokerError;

pub(super) async fn list(acting: &Acting<'_>, query: ListQuery) -> Result<Page<NameView>, AdminError> {
    let page = acting.page_of_names(Kind::Topic, query).await?;
    Ok(page.map(|listed| listing::name_view(listed, None)))
}

pub(super) async fn create(acting: &Acting<'_>, request: TopicCreate) -> Result<TopicView, AdminError> {
    let definition = Definition::Topic(request.attributes()?);
    acting
        .broker
        .create(acting.tenant, request.name.clone(), definition)
        .await?;
    show(acting, &request.name)
}

pub(super) fn show(acting: &Acting<'_>, topic: &Name) -> Result<TopicView, AdminError> {
    let record = acting.record(Kind::Topic, topic)?;
    let known = acting.broker.set(record.set).view(|state| {
        let topic = state.topic(record.incarnation)?;
        let lifetime = Lifetime {
            created: topic.created(),
            modified: topic.modified(),
        };
        let holds = TopicHolds {
            messages: topic.message_count(),
            subscriptions: topic.subscriptions().len() as u64,
        };
        Some(TopicView::new(&record, topic.attributes(), lifetime, holds))
    });
    match (known, record.state.definition()) {
        (Some(view), _) => Ok(view),
        // The set does not have it yet: nothing is in it.
        (None, Some(Definition::Topic(attributes))) => {
            let lifetime = Lifetime {
                created: Time::default(),
                modified: Time::default(),
            };
            Ok(TopicView::new(
                &record,
                attributes,
                lifetime,
                TopicHolds::default(),
            ))
        }
        (None, Some(Definition::Queue(_)) | None) => Err(BrokerError::NoName { kind: Kind::Topic }.into()),
    }
}

pub(super) async fn set(
    acting: &Acting<'_>,
    topic: &Name,
    settings: TopicSettings,
) -> Result<TopicView, AdminError> {
    let mut failure = None;
    let altered = acting.broker.alter_topic(acting.tenant, topic, |known| {
        settings.over(known).map_err(|error| kept(&mut failure, error))
    });
    let altered = altered.await;
    altered.map_err(|error| failure.unwrap_or_else(|| error.into()))?;
    show(acting, topic)
}

pub(super) async fn delete(acting: &Acting<'_>, topic: &Name) -> Result<Done, AdminError> {
    acting.broker.remove(acting.tenant, Kind::Topic, topic).await?;
    Ok(Done {})
}

pub(super) async fn seal(
    acting: &Acting<'_>,
    topic: &Name,
    request: SealRequest,
) -> Result<Done, AdminError> {
    let found = acting.broker.resolve(acting.tenant, Kind::Topic, topic)?;
    acting.broker.seal_under(&found, request.master_key).await?;
    Ok(Done {})
}

pub(super) fn subscriptions(
    acting: &Acting<'_>,
    topic: &Name,
    query: &ListQuery,
) -> Result<Page<SubscriptionView>, AdminError> {
    acting.view_topic(topic, |topic| {
        let mut all: Vec<&Subscription> = topic.subscriptions().collect();
        all.sort_by_key(|subscription| subscription.name().folded());
        Ok(listing::page(all, query, |subscription| subscription.name()).map(view))
    })
}

pub(super) async fn subscribe(
    acting: &Acting<'_>,
    topic: &Name,
    request: SubscriptionCreate,
) -> Result<SubscriptionView, AdminError> {
    let attributes = request.attributes()?;
    acting
        .broker
        .subscribe(acting.tenant, topic, request.name.clone(), attributes)
        .await?;
    subscription(acting, topic, &request.name)
}

pub(super) fn subscription(
    acting: &Acting<'_>,
    topic: &Name,
    subscription: &Name,
) -> Result<SubscriptionView, AdminError> {
    acting.view_topic(topic, |topic| {
        let found = topic
            .subscription_named(subscription)
            .ok_or(Refusal::NoSubscription)?;
        Ok(view(found))
    })
}

pub(super) async fn set_subscription(
    acting: &Acting<'_>,
    topic: &Name,
    name: &Name,
    settings: &SubscriptionSettings,
) -> Result<SubscriptionView, AdminError> {
    let known: SubscriptionAttributes = acting.view_topic(topic, |topic| {
        let found = topic.subscription_named(name).ok_or(Refusal::NoSubscription)?;
        Ok(found.attributes().clone())
    })?;
    let attributes = settings.over(known)?;
    acting
        .broker
        .alter_subscription(acting.tenant, topic, name, |_| attributes)
        .await?;
    subscription(acting, topic, name)
}

pub(super) async fn unsubscribe(
    acting: &Acting<'_>,
    topic: &Name,
    subscription: Name,
) -> Result<Done, AdminError> {
    acting
        .broker
        .unsubscribe(acting.tenant, topic, subscription)
        .await?;
    Ok(Done {})
}

fn view(subscription: &Subscription) -> SubscriptionView {
    let lifetime = Lifetime {
        created: subscription.created(),
        modified: subscription.modified(),
    };
    SubscriptionView::new(
        subscription.id(),
        subscription.name(),
        subscription.attributes(),
        lifetime,
        subscription.backlog(),
    )
}

// === impl Acting ===

impl Acting<'_> {
    /// Reads a topic in its set.
    pub(super) fn view_topic<R>(
        &self,
        topic: &Name,
        read: impl FnOnce(&Topic) -> Result<R, AdminError>,
    ) -> Result<R, AdminError> {
        let found = self.broker.resolve(self.tenant, Kind::Topic, topic)?;
        self.broker
            .set(found.set)
            .view(|state| match state.topic(found.incarnation) {
                Some(topic) => read(topic),
                None => Err(BrokerError::NoName { kind: Kind::Topic }.into()),
            })
    }
}
