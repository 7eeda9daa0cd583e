//! Copies what a queue keeps into another one, and leaves it as it is.
//!
//! Nothing is leased, and nothing of it becomes visible again: bodies are read where the queue's set is led, a page of them at
//! a time, and sent on by the node that was asked as any client would send them. So what is bound to the other queue decides
//! about them, and a version that is tried there meets what was there before it was written.

use bytes::Bytes;
use posthouse_model::{
    Body, BodyKey, Incarnation, Kind, MessageId, Name, Sequence, Set, SetId, Span, TenantId, Time,
};
use posthouse_replica::Group;
use serde::{Deserialize, Serialize};

use super::queues::Content;
use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// The most messages that are copied by one call.
pub const COPY_MAX: usize = 100;
/// The most bytes of bodies in a call, but for a first one that is larger.
const COPY_BYTES_MAX: usize = 1_048_576;
/// How many messages are looked at for one call, at most.
const LOOKED_AT_MAX: usize = 1_000;

/// What is to be copied of a queue.
#[derive(Clone, Debug)]
pub struct CopyWish {
    /// The queue that it is put into.
    pub into: Name,
    /// What was produced then or later.
    pub since: Time,
    /// Of that, what comes after this one.
    pub after: Option<Sequence>,
    /// How many, at most.
    pub max: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// How many were taken by the other queue.
    pub copied: u64,
    /// Those that it did not take, and why.
    pub refused: Vec<(MessageId, String)>,
    /// Where to go on from; none when all were looked at.
    pub next: Option<Sequence>,
}

/// A page as one node asks it of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PageAsk {
    queue: Incarnation,
    since: Time,
    after: Option<Sequence>,
    max: usize,
    /// Bodies that were sealed may be told: where they go to, they are sealed again.
    may_open: bool,
}

/// A page of what a queue keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Page {
    messages: Vec<(MessageId, Content)>,
    next: Option<Sequence>,
}

// === impl Broker ===

impl Broker {
    /// Copies some of what a queue keeps into another one.
    pub async fn copy(&self, tenant: TenantId, name: &Name, wish: CopyWish) -> Result<Copied, BrokerError> {
        let source = self.find(tenant, Kind::Queue, name).await?;
        let target = self.find(tenant, Kind::Queue, &wish.into).await?;
        if source.incarnation == target.incarnation {
            let text = "a queue cannot be copied into itself";
            return Err(BrokerError::Argument(text.to_owned()));
        }
        let ask = PageAsk {
            queue: source.incarnation,
            since: wish.since,
            after: wish.after,
            max: wish.max.min(COPY_MAX),
            may_open: target.sealed_under.is_some(),
        };
        let told = self.reach(Some(source.set), PATIENCE, |_| Ask::Page(ask.clone()));
        let page = match told.await? {
            Told::Page(page) => page,
            other => return Err(senseless(&other)),
        };
        let mut done = Copied {
            next: page.next,
            ..Copied::default()
        };
        for (message, content) in page.messages {
            let sent = self.send(tenant, &wish.into, Span::ZERO, vec![content], None);
            match sent.await {
                Ok(_) => done.copied += 1,
                // What is bound there may not take this one, and take the next.
                Err(error @ (BrokerError::Refused { .. } | BrokerError::PluginFailed { .. })) => {
                    done.refused.push((message, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Reads what [`Self::copy`] asks for, if this node leads the queue's set.
    pub(super) async fn page_here(&self, ask: PageAsk) -> Result<Page, BrokerError> {
        let found = self.find_incarnation(ask.queue, Kind::Queue).await?;
        let group = self.member(found.set)?;
        group.confirm().await?;
        let kept = kept(&group, &ask)?;
        let may_be_more = kept.len() == LOOKED_AT_MAX;
        let (mut page, mut bytes, mut last) = (Page::default(), 0, None);
        for sequence in kept {
            if page.messages.len() >= ask.max {
                page.next = last;
                return Ok(page);
            }
            let Some((message, content)) = self.read_copy(found.set, &ask, sequence).await? else {
                last = Some(sequence);
                continue;
            };
            bytes += content.body.len();
            if bytes > COPY_BYTES_MAX && !page.messages.is_empty() {
                page.next = last;
                return Ok(page);
            }
            page.messages.push((message, content));
            last = Some(sequence);
        }
        page.next = last.filter(|_| may_be_more);
        Ok(page)
    }

    /// Reads one message; none if it is gone by now, or older than what was asked for.
    async fn read_copy(
        &self,
        set: SetId,
        ask: &PageAsk,
        sequence: Sequence,
    ) -> Result<Option<(MessageId, Content)>, BrokerError> {
        let key = BodyKey {
            stream: ask.queue,
            sequence,
        };
        let Some(stored) = self.read(set, key)? else {
            return Ok(None);
        };
        if stored.produced < ask.since {
            return Ok(None);
        }
        let was_sealed = matches!(stored.message.body, Body::Sealed(_));
        if was_sealed && !ask.may_open {
            let text = "bodies are sealed: seal the queue that they are copied into";
            return Err(BrokerError::Argument(text.to_owned()));
        }
        let Some(stored) = self.read_open(set, key).await? else {
            return Ok(None);
        };
        let message = stored.message;
        let body = match message.body {
            Body::Clear(body) => body,
            // It was opened just now; a body that is not says nothing.
            Body::Sealed(_) => Bytes::new(),
        };
        let attributes = message.attributes;
        Ok(Some((message.id, Content { body, attributes })))
    }
}

fn kept(group: &Group<Set>, ask: &PageAsk) -> Result<Vec<Sequence>, BrokerError> {
    let kept = group.view(|state| {
        let queue = state.queue(ask.queue)?;
        Some(queue.kept_since(ask.since, ask.after, LOOKED_AT_MAX))
    });
    kept.ok_or(BrokerError::NoName { kind: Kind::Queue })
}
