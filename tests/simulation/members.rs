//! Members of sets come and go while clients are at work and machines fail.
//!
//! One voter at a time is taken out of a set and taken in again: it keeps its disk, and has to fetch what it missed. The
//! steps are those that nodes take, one after the other, by whoever leads the set.

use std::collections::BTreeSet;
use std::time::Duration;

use posthouse_model::{ReplicaId, Set, SetId};
use posthouse_replica::{Fault, Group, Members};
use posthouse_store::crash::Chance;

use crate::world::{SETS, World};

/// How long it rests between changes, at most.
const PAUSE_MILLIS_MAX: u64 = 600;
/// How often a change is looked at, and how long a step may take.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const STEP_WITHIN: Duration = Duration::from_secs(3);
/// How long a change is worked on while machines fail, and how long once all is well.
const CHANGE_WITHIN: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be done next.
enum Step {
    Nothing,
    Wait,
    Finish,
    Add(ReplicaId),
    HandOver(ReplicaId),
    SetVoters,
}

/// Takes members out and in until the time is over, and leaves it as it is then.
pub(crate) async fn come_and_go(world: World, mut chance: Chance, until: Duration) {
    let all = everybody(&world);
    while world.notes.now() < until {
        let set = SetId(u8::try_from(chance.below(u64::from(SETS))).unwrap_or(0));
        let leaves = world.machines[chance.below(world.machines.len() as u64) as usize].replica;
        let stay: BTreeSet<ReplicaId> = all.iter().copied().filter(|stays| *stays != leaves).collect();
        world.notes.event(format!("replica {leaves} leaves set {set}"));
        bring(&world, set, &stay, CHANGE_WITHIN).await;
        pause(&mut chance).await;
        world
            .notes
            .event(format!("replica {leaves} comes back to set {set}"));
        bring(&world, set, &all, CHANGE_WITHIN).await;
        pause(&mut chance).await;
    }
}

/// Has all machines be members of all sets. All is well while it does.
pub(crate) async fn gather(world: &World) {
    let all = everybody(world);
    for set in (0..SETS).map(SetId) {
        if !bring(world, set, &all, PATIENCE).await {
            world.notes.wrong(format!(
                "the members of set {set} do not come to be what they are to be"
            ));
        }
    }
}

/// Takes one step after the other until a set's members are what they are to be; returns whether they came to be.
async fn bring(world: &World, set: SetId, wanted: &BTreeSet<ReplicaId>, within: Duration) -> bool {
    let over = world.notes.now() + within;
    while world.notes.now() < over {
        let step = tokio::time::timeout(STEP_WITHIN, take_step(world, set, wanted));
        if let Ok(Ok(true)) = step.await {
            return true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    false
}

/// Takes the next step, if somebody leads the set; returns whether there is none.
async fn take_step(world: &World, set: SetId, wanted: &BTreeSet<ReplicaId>) -> Result<bool, Fault> {
    let leading = world
        .leader(set)
        .and_then(|leader| world.machines[leader].process());
    let Some(group) = leading.and_then(|process| process.groups.set(set)) else {
        return Ok(false);
    };
    match next_step(&group, wanted, &group.members().await?) {
        Step::Nothing => return Ok(true),
        Step::Wait => {}
        Step::Finish => group.finish_change().await?,
        Step::Add(replica) => group.add_learner(replica).await?,
        Step::HandOver(replica) => group.hand_over(replica).await?,
        Step::SetVoters => group.set_voters(wanted).await?,
    }
    Ok(false)
}

fn next_step(group: &Group<Set>, wanted: &BTreeSet<ReplicaId>, members: &Members) -> Step {
    if members.changing {
        return Step::Wait;
    }
    if members.halfway {
        return Step::Finish;
    }
    if members.voters == *wanted {
        return Step::Nothing;
    }
    if let Some(missing) = wanted.iter().find(|wanted| !members.contains(**wanted)) {
        return Step::Add(*missing);
    }
    if !wanted.is_subset(&members.caught_up) {
        return Step::Wait;
    }
    match wanted.contains(&group.replica()) {
        true => Step::SetVoters,
        // A leader that is to vote no longer hands over first.
        false => wanted.first().map_or(Step::Wait, |first| Step::HandOver(*first)),
    }
}

fn everybody(world: &World) -> BTreeSet<ReplicaId> {
    world.machines.iter().map(|machine| machine.replica).collect()
}

async fn pause(chance: &mut Chance) {
    tokio::time::sleep(Duration::from_millis(1 + chance.below(PAUSE_MILLIS_MAX))).await;
}
