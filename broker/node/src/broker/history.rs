//! What became of messages: the records that replicas kept of it, looked up over all sets, and dropped in time.

use std::time::Duration;

use posthouse_model::{
    Happening, Kind, MessageId, NameRecord, NameState, Sequence, Set, Span, TenantId, Time, bounds,
};

use super::{Broker, BrokerError};

/// How often records that are old enough are dropped.
const SWEEP: Duration = Duration::from_secs(600);
/// How much later than its stamp a message may have been stored, to be found without a record.
const STORED_WITHIN: Span = Span::from_seconds(2);
/// How many bodies are read to find one message, at most.
const BODIES_READ_MAX: usize = 4_096;

impl Broker {
    /// Returns what is recorded of a tenant's message, by time. Reads files.
    pub fn happenings(&self, tenant: TenantId, message: MessageId) -> Result<Vec<Happening>, BrokerError> {
        let mut happenings = Vec::new();
        // A message that moved left records in other sets than the one that stamped it.
        for set in self.sets() {
            let records = self
                .store
                .decisions(set.set())
                .lookup(message)
                .map_err(|fault| BrokerError::Unreadable(fault.to_string()))?;
            for record in records {
                match posthouse_wire::decode_happening(&record) {
                    Ok(happening) if happening.tenant == tenant => happenings.push(happening),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%message, %error, "a record of a message cannot be read"),
                }
            }
        }
        happenings.sort_by_key(|happening| happening.at);
        Ok(happenings)
    }

    /// Finds a message that left no record, in the queues of the set that stamped it: by what they keep of about that
    /// time, up to a bound. Reads files.
    pub fn find_unrecorded(
        &self,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Option<(NameRecord, Sequence)>, BrokerError> {
        let queues: Vec<NameRecord> = self.directory.view(|directory| {
            let names = directory.names(tenant, Kind::Queue);
            names
                .filter(|record| record.set == message.set() && record.state == NameState::Ready)
                .cloned()
                .collect()
        });
        let (first, last) = (message.stamped(), message.stamped() + STORED_WITHIN);
        let mut left = BODIES_READ_MAX;
        for record in queues {
            let candidates = self.set(record.set).view(|state| {
                let queue = state.queue(record.incarnation);
                queue
                    .map(|queue| queue.kept_between(first, last, left))
                    .unwrap_or_default()
            });
            left = left.saturating_sub(candidates.len());
            for sequence in candidates {
                let body = posthouse_model::BodyKey {
                    stream: record.incarnation,
                    sequence,
                };
                let stored = self.read(record.set, body)?;
                if stored.is_some_and(|stored| stored.message.id == message) {
                    return Ok(Some((record, sequence)));
                }
            }
        }
        Ok(None)
    }

    /// Drops records once no message they speak of can be kept, and for `explain` after that, until the broker stops.
    pub(super) async fn forget_history(self, explain: Span) {
        let stop = self.stop.clone();
        loop {
            for set in self.sets() {
                let before = set.view(kept_since).before(explain);
                self.store.decisions(set.set()).drop_before(before);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }
}

/// Returns the time before which every message of a set was produced that is still kept.
fn kept_since(set: &Set) -> Time {
    let queues = set
        .queues()
        .filter_map(|queue| Some(set.queue(queue)?.attributes().retention));
    let topics = set
        .topics()
        .filter_map(|topic| Some(set.topic(topic)?.attributes().retention));
    let longest = queues.chain(topics).max().unwrap_or(Span::ZERO);
    // Retention begins when a delay ends.
    set.now()
        .before(longest)
        .before(Span::from_seconds(*bounds::CMQ_DELAY_SECONDS.end()))
}
