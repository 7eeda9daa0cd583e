//! Sends to one queue that are there together, over whichever streams they came: one command does them.
//!
//! Nobody waits for others to come. The first one begins a task, and what is there by the time that this task has its turn
//! goes with it. Where the command is refused each request is done by a command of its own, so that nobody is refused for
//! another's message. A request with a token is not gathered: a token names one command.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_gateway::cmq::CmqError;
use posthouse_model::{MessageId, Name, Span, TenantId};
use tokio::sync::oneshot;

use crate::bodies::Held;
use crate::calls::Calls;

/// Messages in one command, and bytes of their bodies, after which no request is added.
const MESSAGES_MAX: usize = 512;
const BYTES_MAX: usize = 1_048_576;
/// CMQ's code for a fault of the broker: what was asked alone would find the same.
const FAULT: u32 = 6_000;

/// What waits for its turn.
#[derive(Default)]
pub(in crate::stream) struct Gathering(Mutex<HashMap<Lane, Vec<Waiting>>>);

/// What goes together: the same tenant's messages for the same queue, hidden as long.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lane {
    pub(super) tenant: TenantId,
    pub(super) queue: Name,
    pub(super) delay: Span,
}

/// A request's messages.
struct Waiting {
    bodies: Vec<Bytes>,
    /// The room that they take up.
    held: Held,
    tell: oneshot::Sender<Result<Vec<MessageId>, CmqError>>,
}

// === impl Gathering ===

impl Gathering {
    /// Adds a request. Returns where it is answered, and whether it is the first: then somebody has to be there for all.
    pub(super) fn join(
        &self,
        lane: &Lane,
        bodies: Vec<Bytes>,
        held: Held,
    ) -> (oneshot::Receiver<Result<Vec<MessageId>, CmqError>>, bool) {
        let (tell, told) = oneshot::channel();
        let mut lanes = self.0.lock();
        let waiting = lanes.entry(lane.clone()).or_default();
        waiting.push(Waiting { bodies, held, tell });
        (told, waiting.len() == 1)
    }

    /// Does what is there for a lane, once others that are ready had their turn to add theirs.
    pub(super) async fn go(&self, calls: &Calls, lane: Lane) {
        tokio::task::yield_now().await;
        let waiting = self.0.lock().remove(&lane).unwrap_or_default();
        let parts = parts(waiting).into_iter().map(|part| send(calls, &lane, part));
        futures::future::join_all(parts).await;
    }
}

/// Sends what one command does, and answers each request.
async fn send(calls: &Calls, lane: &Lane, part: Vec<Waiting>) {
    if part.len() == 1 {
        return send_each(calls, lane, part).await;
    }
    let bodies = part.iter().flat_map(|one| one.bodies.iter().cloned()).collect();
    match calls
        .send(lane.tenant, &lane.queue, lane.delay, bodies, None)
        .await
    {
        Ok(ids) => {
            let mut ids = ids.into_iter();
            for Waiting { bodies, held, tell } in part {
                drop(held);
                // Whoever is gone needs no answer.
                drop(tell.send(Ok(ids.by_ref().take(bodies.len()).collect())));
            }
        }
        Err(error) if error.code == FAULT || error.in_doubt => {
            for one in part {
                drop(one.tell.send(Err(error.clone())));
            }
        }
        Err(_) => send_each(calls, lane, part).await,
    }
}

async fn send_each(calls: &Calls, lane: &Lane, part: Vec<Waiting>) {
    let each = part.into_iter().map(|Waiting { bodies, held, tell }| async {
        let sent = calls
            .send(lane.tenant, &lane.queue, lane.delay, bodies, None)
            .await;
        drop(held);
        drop(tell.send(sent));
    });
    futures::future::join_all(each).await;
}

/// Divides requests into what one command does each, in their order.
fn parts(waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut parts: Vec<Vec<Waiting>> = Vec::new();
    let (mut messages, mut bytes) = (0, 0);
    for one in waiting {
        let size: usize = one.bodies.iter().map(Bytes::len).sum();
        let fits = messages + one.bodies.len() <= MESSAGES_MAX && bytes + size <= BYTES_MAX;
        match parts.last_mut().filter(|_| fits) {
            Some(part) => {
                messages += one.bodies.len();
                bytes += size;
                part.push(one);
            }
            None => {
                (messages, bytes) = (one.bodies.len(), size);
                parts.push(vec![one]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(queue: &str) -> Lane {
        Lane {
            tenant: TenantId(1),
            queue: Name::parse(queue).expect("a name"),
            delay: Span::ZERO,
        }
    }

    fn bodies(count: usize, bytes: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![b'x'; bytes]); count]
    }

    #[test]
    fn the_first_of_a_lane_is_there_for_all_who_come_until_it_goes() {
        let gathering = Gathering::default();
        let (_told, is_first) = gathering.join(&lane("a"), bodies(1, 1), Held::default());
        assert!(is_first);
        let (_told, is_first) = gathering.join(&lane("a"), bodies(2, 1), Held::default());
        assert!(!is_first);
        let (_told, is_first) = gathering.join(&lane("b"), bodies(1, 1), Held::default());
        assert!(is_first, "another queue's messages go by themselves");
        let taken = gathering.0.lock().remove(&lane("a")).expect("two wait");
        assert_eq!(taken.len(), 2);
        let (_told, is_first) = gathering.join(&lane("a"), bodies(1, 1), Held::default());
        assert!(is_first, "the others are gone");
    }

    #[test]
    fn a_command_has_no_more_messages_and_bytes_than_it_may_and_requests_stay_whole() {
        let gathering = Gathering::default();
        for (count, bytes) in [
            (256, 10),
            (256, 10),
            (1, 10),
            (1, BYTES_MAX),
            (2, 400_000),
            (1, 200_000),
        ] {
            gathering.join(&lane("a"), bodies(count, bytes), Held::default());
        }
        let waiting = gathering.0.lock().remove(&lane("a")).expect("some wait");
        let counts: Vec<Vec<usize>> = parts(waiting)
            .iter()
            .map(|part| part.iter().map(|one| one.bodies.len()).collect())
            .collect();
        assert_eq!(counts, [vec![256, 256], vec![1], vec![1], vec![2, 1]]);
    }
}
