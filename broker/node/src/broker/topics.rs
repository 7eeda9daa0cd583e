//! What is done with topics: publish, subscribe, alter, unsubscribe.

use std::collections::BTreeSet;

use posthouse_model::{
    DirectoryCommand, Endpoint, Incarnation, Kind, Message, MessageId, Name, Place, Publication, Refusal,
    SessionCall, SetCommand, SetReply, SubscriptionAttributes, SubscriptionId, TenantId, Token, World,
};
use serde::{Deserialize, Serialize};

use super::decide::{Routed, Sorted, parking_of};
use super::kv::KvUses;
use super::names::Resolved;
use super::queues::{Content, DECISIONS_MAX, check_batch};
use super::reach::{Ask, Led, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

impl Broker {
    /// Stores messages for the subscriptions that the topic's router matches, all or none.
    pub async fn publish(
        &self,
        tenant: TenantId,
        name: &Name,
        draft: Draft,
    ) -> Result<Vec<MessageId>, BrokerError> {
        let call = self.name_call();
        let mut found = self.find(tenant, Kind::Topic, name).await?;
        loop {
            let outcome = async {
                let ask = |_| {
                    Ask::Publish(PublishAsk {
                        topic: found.incarnation,
                        draft: draft.clone(),
                        call,
                    })
                };
                match self.reach(Some(found.set), PATIENCE, ask).await? {
                    Told::Ids(ids) => Ok(ids),
                    other => Err(senseless(&other)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Topic, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Does what [`Self::publish`] asks, if this node leads the topic's set.
    pub(super) async fn publish_here(&self, ask: PublishAsk) -> Result<Vec<MessageId>, BrokerError> {
        let PublishAsk { topic, draft, call } = ask;
        let set = self.find_incarnation(topic, Kind::Topic).await?.set;
        self.check_room(set)?;
        let mut wanted = BTreeSet::new();
        for _ in 0..DECISIONS_MAX {
            let decided_at = self.decided_at();
            let found = self.find_incarnation(topic, Kind::Topic).await?;
            let mut uses = self.kv_uses(found.set, &wanted).await?;
            let deciding = self.decide_publications(&found, decided_at, &draft, &mut uses);
            let led = self.as_leader(found.set, deciding).await;
            if let Some(more) = uses.wanted() {
                wanted = more;
                continue;
            }
            let Led {
                decided:
                    Sorted {
                        messages: publications,
                        parks,
                    },
                term,
            } = led?;
            if self.is_late(decided_at) {
                self.metrics.decided_again();
                continue;
            }
            let command = SetCommand::Publish {
                topic,
                publications,
                token: draft.token.clone(),
                decided_at,
            };
            let group = self.member(found.set)?;
            let command = parking_of(uses.with(command), parks);
            match group.propose_in(term, call, command).await? {
                Ok(SetReply::Sent(ids)) => return Ok(ids),
                Ok(other) => return Err(senseless(&other)),
                Err(Refusal::DecidedTooEarly { seen, .. }) => self.see_what_decides(seen).await?,
                Err(Refusal::StaleRead) => self.metrics.decided_again(),
                Err(refusal) => return Err(BrokerError::topic(refusal)),
            }
        }
        Err(BrokerError::Unsettled)
    }

    /// Adds a subscription.
    pub async fn subscribe(
        &self,
        tenant: TenantId,
        topic: &Name,
        name: Name,
        attributes: SubscriptionAttributes,
    ) -> Result<SubscriptionId, BrokerError> {
        if let Endpoint::Queue(queue) = &attributes.endpoint {
            self.find(tenant, Kind::Queue, queue).await?;
        }
        let mut found = self.find(tenant, Kind::Topic, topic).await?;
        loop {
            let outcome = async {
                let command = SetCommand::Subscribe {
                    topic: found.incarnation,
                    name: name.clone(),
                    attributes: attributes.clone(),
                };
                match self.command_seen(found.set, command).await? {
                    Ok(SetReply::Subscribed(id)) => Ok(id),
                    Ok(other) => Err(senseless(&other)),
                    Err(refusal) => Err(BrokerError::topic(refusal)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Topic, topic, outcome).await {
                return outcome;
            }
        }
    }

    /// Changes a subscription's attributes; what is not given stays as it is.
    pub async fn alter_subscription(
        &self,
        tenant: TenantId,
        topic: &Name,
        name: &Name,
        change: impl FnOnce(SubscriptionAttributes) -> SubscriptionAttributes + Send,
    ) -> Result<(), BrokerError> {
        let found = self.find_fresh(tenant, Kind::Topic, topic).await?;
        let known = self
            .set(found.set)
            .view(|state| {
                let topic = state.topic(found.incarnation)?;
                Some(
                    topic
                        .subscription_named(name)
                        .map(|subscription| subscription.attributes().clone()),
                )
            })
            .ok_or(BrokerError::NoName { kind: Kind::Topic })?
            .ok_or(BrokerError::topic(Refusal::NoSubscription))?;
        let command = SetCommand::AlterSubscription {
            topic: found.incarnation,
            name: name.clone(),
            attributes: change(known),
        };
        match self.command_seen(found.set, command).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(BrokerError::topic(refusal)),
        }
    }

    /// Removes a subscription with its backlog and what is bound to it.
    pub async fn unsubscribe(&self, tenant: TenantId, topic: &Name, name: Name) -> Result<(), BrokerError> {
        let found = self.find_fresh(tenant, Kind::Topic, topic).await?;
        let known = self.set(found.set).view(|state| {
            let topic = state.topic(found.incarnation)?;
            topic
                .subscription_named(&name)
                .map(|subscription| subscription.id())
        });
        let command = SetCommand::Unsubscribe {
            topic: found.incarnation,
            name,
        };
        if let Err(refusal) = self.command_seen(found.set, command).await? {
            return Err(BrokerError::topic(refusal));
        }
        if let Some(subscription) = known {
            self.unbind_all(Place::Subscription(found.incarnation, subscription))
                .await;
        }
        Ok(())
    }

    /// Unbinds everything from the place of a subscription that is gone. The directory cannot see that it is; what
    /// stays because this fails serves nothing, its number being never used again, and goes with the topic.
    async fn unbind_all(&self, place: Place) {
        for world in [World::Route, World::Filter, World::Deliver, World::Seal] {
            let bound = self
                .directory
                .view(|directory| directory.binding(place, world).is_some());
            if !bound {
                continue;
            }
            let command = DirectoryCommand::Unbind { place, world };
            if let Err(error) = self.direct(command, Kind::Topic).await {
                tracing::warn!(?place, %error, "a binding of a removed subscription stays");
            }
        }
    }

    async fn decide_publications(
        &self,
        found: &Resolved,
        decided_at: posthouse_model::LogIndex,
        draft: &Draft,
        uses: &mut KvUses,
    ) -> Result<Sorted<Publication>, BrokerError> {
        let topic = &self.topic_context(found)?;
        check_batch(&draft.contents, topic.body_bytes_max).map_err(BrokerError::topic)?;
        if topic.table.subscriptions.is_empty() {
            return Err(BrokerError::NoSubscriptions);
        }
        let ids = self.member(topic.set)?.next_message_ids(draft.contents.len());
        let messages: Vec<Message> = ids
            .into_iter()
            .zip(&draft.contents)
            .map(|(id, content)| Message {
                tags: draft.tags.clone(),
                routing_key: draft.routing_key.clone(),
                ..content.message(id)
            })
            .collect();
        let routed: Vec<Routed> = self.route(topic, decided_at, messages, uses).await?;
        if routed
            .iter()
            .all(|routed| routed.matched.is_empty() && routed.parked.is_none())
        {
            return Err(BrokerError::NothingMatched);
        }
        let Sorted { messages, parks } = self.filter_publications(topic, decided_at, routed, uses).await?;
        let messages = self.seal_publications(topic, decided_at, messages).await?;
        Ok(Sorted { messages, parks })
    }
}

/// A publish as one node asks it of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PublishAsk {
    topic: Incarnation,
    draft: Draft,
    call: Option<SessionCall>,
}

/// What a producer published: contents that share tags and a routing key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Draft {
    /// The contents, one message each.
    pub contents: Vec<Content>,
    /// Their tags.
    pub tags: Vec<String>,
    /// Their routing key; empty is none.
    pub routing_key: String,
    /// The producer's own name for this call.
    pub token: Option<Token>,
}
