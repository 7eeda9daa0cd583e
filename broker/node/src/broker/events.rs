//! What the groups tell the broker: messages became visible, something is on its way out, leadership changed.

use std::sync::{Arc, OnceLock, Weak};

use posthouse_model::{Applied, Awake, Batch, DirectoryChange, LogIndex, SetCommand, SetId, Term};
use posthouse_replica::{Fault, GroupName, Observer, Reason};

use super::{Broker, Parts};

/// Passes the groups' events on to the broker, once there is one. What came before, the broker looks up as it starts.
#[derive(Clone, Default)]
pub struct Events {
    broker: Arc<OnceLock<Weak<Parts>>>,
}

impl Events {
    /// Has a broker told from now on.
    pub(super) fn tell(&self, broker: &Broker) {
        let first = self.broker.set(Arc::downgrade(&broker.0)).is_ok();
        assert!(first, "events are told to one broker");
    }

    fn broker(&self) -> Option<Broker> {
        self.broker.get().and_then(Weak::upgrade).map(Broker)
    }
}

impl Observer for Events {
    fn applied(&self, set: SetId, applied: &Applied) {
        let Some(broker) = self.broker() else { return };
        for awake in &applied.awake {
            match *awake {
                Awake::Queue(queue) => {
                    if broker.waiters.any(queue) {
                        broker.wake(set, queue);
                    }
                }
                Awake::Subscription(topic, subscription) => broker.deliver(set, topic, subscription),
            }
        }
        if applied.outgoing {
            broker.kick_outbox(set);
        }
    }

    fn applied_entry(&self, set: SetId, _index: LogIndex, batch: &Batch<SetCommand>, applied: &Applied) {
        self.applied(set, applied);
        let Some(broker) = self.broker() else { return };
        for submission in &batch.submissions {
            if let SetCommand::Drop { incarnation } = submission.command {
                broker.tend_line(set, incarnation);
            }
        }
    }

    fn directory_applied(&self, index: LogIndex, changes: &[DirectoryChange]) {
        let Some(broker) = self.broker() else { return };
        for change in changes {
            broker.learn(change);
        }
        broker.deciding.follow(index, changes);
        broker.listings.follow(index, changes);
    }

    fn directory_replaced(&self) {
        let Some(broker) = self.broker() else { return };
        broker.learn_all();
        broker.deciding.reach(broker.directory.applied());
        broker.listings.follow_all();
    }

    fn leading(&self, group: GroupName, term: Option<Term>) {
        let Some(broker) = self.broker() else { return };
        match (group, term) {
            (GroupName::Set(set), Some(_)) => {
                broker.deliver_all(set);
                broker.kick_outbox(set);
                let sweeping = broker.clone();
                broker.while_running(async move {
                    if let Err(error) = sweeping.sweep_kv(set).await {
                        tracing::debug!(%set, %error, "what is left of ended bindings stays for now");
                    }
                });
            }
            (GroupName::Directory, Some(_)) => {
                let finishing = broker.clone();
                broker.tasks.spawn(async move {
                    if let Err(error) = finishing.finish_names().await {
                        tracing::warn!(%error, "names were left half-way");
                    }
                });
            }
            (GroupName::Set(set), None) => {
                let here = |queue| {
                    let found = broker.resolve_incarnation(queue);
                    found.is_none_or(|found| found.set == set)
                };
                let why = Fault::NotDone(Reason::LeadershipLost);
                broker.waiters.disappoint(here, why);
            }
            (GroupName::Directory, None) => {}
        }
    }
}

impl Broker {
    fn kick_outbox(&self, set: SetId) {
        self.outgoing[usize::from(set.0)].send_modify(|news| *news = news.wrapping_add(1));
    }
}
