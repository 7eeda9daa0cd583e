//! Carries outboxes between sets, by the same commands and in the same order as nodes do: what is in the outbox is
//! deposited in the target's set, and taken out of the outbox when that has answered. Each step can be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthouse_model::{Incarnation, Message, Origin, Outgoing, Parcel, SetCommand, SetId, SetReply};
use tokio::sync::Notify;

use crate::door::{Door, set_of};
use crate::life::Process;
use crate::network::Wires;

/// How many messages are looked at in one round.
const ROUND_MAX: usize = 64;
/// How long a target that does not take anything is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What a round left behind.
enum Left {
    Nothing,
    Waiting,
}

/// Carries what is in a set's outboxes, whenever there is something and this replica leads, until the process ends.
pub(crate) async fn carry(process: Arc<Process>, wires: Wires, set: SetId, news: Arc<Notify>) {
    let life = process.life.clone();
    let door = Door { process, wires };
    let carrying = async {
        loop {
            match carry_round(&door, set).await {
                Left::Nothing => news.notified().await,
                Left::Waiting => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::select! {
        biased;
        () = life.over() => {}
        () = carrying => {}
    }
}

async fn carry_round(door: &Door, set: SetId) -> Left {
    let group = &door.process.groups.sets()[usize::from(set.0)];
    if !group.is_leader() {
        return Left::Nothing;
    }
    let mut routes: BTreeMap<(Incarnation, Incarnation), Vec<Outgoing>> = BTreeMap::new();
    for one in group.view(|state| state.outgoing(ROUND_MAX)) {
        routes.entry((one.source, one.target)).or_default().push(one);
    }
    let is_empty = routes.is_empty();
    for ((source, target), outgoing) in routes {
        // What is left is tried again after a pause.
        let _ = carry_route(door, set, source, target, outgoing).await;
    }
    match is_empty {
        true => Left::Nothing,
        false => Left::Waiting,
    }
}

/// Carries some messages; none when the target or this set did not answer.
async fn carry_route(
    door: &Door,
    set: SetId,
    source: Incarnation,
    target: Incarnation,
    outgoing: Vec<Outgoing>,
) -> Option<()> {
    let bodies = door.process.store.bodies(set);
    let mut parcels = Vec::new();
    let mut numbers = Vec::new();
    for one in outgoing {
        let Some(stored) = bodies.read(one.body).ok()? else {
            numbers.push(one.number);
            continue;
        };
        let origin = Origin {
            incarnation: source,
            produced: stored.produced,
            receive_count: one.receive_count,
            cause: one.cause,
        };
        parcels.push(Parcel {
            number: one.number,
            message: Message {
                origin: Some(origin),
                ..stored.message
            },
        });
    }
    if !parcels.is_empty() {
        let deposit = SetCommand::Deposit {
            target,
            source,
            parcels,
        };
        match door.command(set_of(target), deposit).await {
            Ok(Ok(SetReply::Deposited(taken))) => numbers.extend(taken),
            Ok(_) | Err(_) => return None,
        }
    }
    let shipped = SetCommand::Shipped {
        source,
        target,
        numbers,
    };
    let group = &door.process.groups.sets()[usize::from(set.0)];
    group.propose(shipped).await.ok()?.ok()?;
    Some(())
}
