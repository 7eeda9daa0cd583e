//! Where the streaming doors of nodes are: clients are told the one of the node that leads what they use.
//!
//! A node is asked for its own when somebody is to be told of it, not before, and never while somebody waits: whoever comes
//! first is told nothing, and those after it what was answered meanwhile. What was answered is asked again after a while,
//! for a node may be started anew with its door elsewhere.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{Kind, Name, ReplicaId, TenantId};
use tokio::time::Instant;

use super::Broker;
use super::reach::{Ask, Told};

/// How long an answer is believed.
const FRESH: Duration = Duration::from_secs(10);
/// How long a node has to answer.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// Replicas whose nodes' doors are kept in mind; beyond, all are asked again.
const KNOWN_MAX: usize = 1_024;

/// The doors that this node knows of.
#[derive(Default)]
pub(super) struct Doors {
    own: OnceLock<String>,
    /// Those of the nodes of replicas that lead, or led.
    known: Mutex<HashMap<ReplicaId, Known>>,
}

struct Known {
    url: Option<String>,
    asked: Instant,
}

// === impl Doors ===

impl Doors {
    /// Returns the door of a replica's node as far as it is known, and whether that node is to be asked.
    fn find(&self, replica: ReplicaId, now: Instant) -> (Option<String>, bool) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(&replica) {
            known.clear();
        }
        let is_new = !known.contains_key(&replica);
        let one = known.entry(replica).or_insert(Known {
            url: None,
            asked: now,
        });
        let is_asked = is_new || now.saturating_duration_since(one.asked) >= FRESH;
        if is_asked {
            one.asked = now;
        }
        (one.url.clone(), is_asked)
    }

    fn note(&self, replica: ReplicaId, url: Option<String>) {
        if let Some(one) = self.known.lock().get_mut(&replica) {
            one.url = url;
        }
    }
}

impl Broker {
    /// Takes notice where clients reach this node for streams.
    pub(crate) fn open_door(&self, url: String) {
        // Said once, when the node starts.
        let _ = self.doors.own.set(url);
    }

    /// Returns where clients reach this node for streams.
    pub(super) fn own_door(&self) -> Option<String> {
        self.doors.own.get().cloned()
    }

    /// Returns where the streaming door is of the node that leads the set of a queue or topic, if that is another node, and
    /// as far as it is known.
    pub(crate) fn leading_door(&self, tenant: TenantId, kind: Kind, name: &Name) -> Option<String> {
        let set = self.resolve(tenant, kind, name).ok()?.set;
        let leader = match self.here(set) {
            Some(group) => group.leader()?,
            None => self.excerpts.leader(set)?,
        };
        if self.own_in(Some(set)) == Some(leader) {
            return None;
        }
        let (url, is_asked) = self.doors.find(leader, Instant::now());
        if is_asked {
            let broker = self.clone();
            self.while_running(async move {
                let url = match broker.ask_one(leader, &Ask::Door, ASKED_WITHIN).await {
                    Some(Told::Door(url)) => url,
                    Some(_) | None => None,
                };
                broker.doors.note(leader, url);
            });
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_once_in_a_while_and_believed_meanwhile() {
        let (doors, now) = (Doors::default(), Instant::now());
        let leader = ReplicaId(2);
        assert_eq!(doors.find(leader, now), (None, true));
        assert_eq!(doors.find(leader, now), (None, false), "it is being asked");
        doors.note(leader, Some("http://there:1".to_owned()));
        let known = Some("http://there:1".to_owned());
        assert_eq!(doors.find(leader, now), (known.clone(), false));
        assert_eq!(doors.find(leader, now + FRESH), (known, true));
        doors.note(leader, None);
        assert_eq!(doors.find(leader, now + FRESH), (None, false));
    }

    #[test]
    fn no_more_are_kept_in_mind_than_there_may_be() {
        let (doors, now) = (Doors::default(), Instant::now());
        for replica in 0..3 * KNOWN_MAX as u64 {
            doors.find(ReplicaId(replica), now);
            assert!(doors.known.lock().len() <= KNOWN_MAX);
        }
    }
}
