//! What plugins keep, said plainly: a list of keys with what was written to them last.

use bytes::Bytes;

use super::{Outcome, Reference};
use crate::*;

/// What is kept under a key.
#[derive(Clone, Debug)]
pub(crate) struct RefKey {
    pub(crate) store: KvId,
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) version: KvVersion,
    pub(crate) until: Option<Time>,
}

impl Reference {
    /// Returns what is kept under a key, unless it has expired.
    pub(crate) fn kept(&self, store: KvId, key: &str) -> Option<&RefKey> {
        let mut keys = self.kv.iter();
        keys.find(|kept| {
            kept.store == store && kept.key == key && kept.until.is_none_or(|until| until > self.now)
        })
    }

    /// Does it all as if nothing were kept; puts everything back if what was read is not so any more.
    pub(super) fn decide(&mut self, position: u32, uses: &[KvUse], command: &SetCommand) -> Outcome {
        let comes_first = self.comes_before_kv(command);
        let fresh = uses.iter().all(|one| {
            let version = |key: &str| {
                self.kept(one.store, key)
                    .map(|kept| kept.version)
                    .unwrap_or_default()
            };
            one.reads.iter().all(|(key, read)| version(key) == *read)
        });
        // What fell due is done all the same.
        match command {
            SetCommand::Send { queue, .. } => self.catch_up_queue(*queue),
            SetCommand::Publish { topic, .. } | SetCommand::Settle { topic, .. } => {
                self.catch_up_topic(*topic);
            }
            // It asks what is kept before it looks where the message goes.
            SetCommand::Readmit { .. } => {}
            other => panic!("plugins do not decide about {other:?}"),
        }
        let before = self.clone();
        let outcome = self.perform(position, command);
        let looks_late = matches!(command, SetCommand::Readmit { .. });
        if comes_first
            || matches!(outcome, Err(Refusal::DecidedTooEarly { .. }))
            || !looks_late
                && matches!(
                    outcome,
                    Err(Refusal::NoIncarnation(_) | Refusal::WrongKind(_) | Refusal::NoSubscription)
                )
        {
            return outcome;
        }
        if !fresh {
            let (last_message, directory_seen) = (self.last_message, self.directory_seen);
            *self = before;
            (self.last_message, self.directory_seen) = (last_message, directory_seen);
            return Err(Refusal::StaleRead);
        }
        if outcome.is_ok() {
            uses.iter().for_each(|one| self.write(one));
        }
        outcome
    }

    /// Returns whether a command does nothing, whatever is kept: it was done before, or settles what is not claimed.
    fn comes_before_kv(&mut self, command: &SetCommand) -> bool {
        let now = self.now;
        match command {
            SetCommand::Send { queue, token, .. } => {
                let queue = self.queues.get(queue);
                queue.is_some_and(|queue| super::recall(&queue.tokens, token, now).is_some())
            }
            SetCommand::Publish { topic, token, .. } => {
                let topic = self.topics.get(topic);
                topic.is_some_and(|topic| super::recall(&topic.tokens, token, now).is_some())
            }
            SetCommand::Settle {
                topic,
                subscription,
                outcomes,
            } => {
                let topic = self.topics.get(topic);
                let known =
                    topic.and_then(|topic| topic.subscriptions.iter().find(|s| s.id == *subscription));
                let claims =
                    |handle| known.is_some_and(|s| s.backlog.values().any(|m| m.is_leased(handle, now)));
                !outcomes.iter().any(|settled| claims(settled.handle))
            }
            SetCommand::Readmit {
                target,
                source,
                sequence,
                ..
            } => self.was_readmitted(*target, *source, sequence.0),
            other => panic!("plugins do not decide about {other:?}"),
        }
    }

    fn write(&mut self, one: &KvUse) {
        for (key, write) in &one.writes {
            self.kv.retain(|kept| kept.store != one.store || kept.key != *key);
            self.kv_writes += 1;
            if let KvWrite::Put(value, ttl) = write {
                self.kv.push(RefKey {
                    store: one.store,
                    key: key.clone(),
                    value: value.clone(),
                    version: KvVersion(self.kv_writes),
                    until: ttl.map(|ttl| self.now + ttl),
                });
            }
        }
    }

    pub(super) fn forget_kv_of(&mut self, gone: impl Fn(Place) -> bool) {
        self.kv.retain(|kept| !gone(kept.store.place));
    }
}
