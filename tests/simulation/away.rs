//! A set that is away for an hour while another has messages for it: they arrive, each once.
//!
//! Messages of a queue in one set that were received once and not deleted are dead letters for a queue in the other.
//! What carries them is this simulation's own ([`crate::outbox`]), by the commands that nodes use.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{DeadLetterPolicy, DeadLetterRule, Name, QueueAttributes, SetId, Span, Token};
use posthouse_replica::GroupName;
use posthouse_store::crash::Chance;

use crate::clients::incarnation;
use crate::door::{Door, Letter, set_of};
use crate::machine::{Ending, Timing};
use crate::notes::Notes;
use crate::world::{World, until};

const LETTERS: usize = 40;
const HOUR: Duration = Duration::from_secs(3_600);
const VISIBILITY: Span = Span::from_seconds(5);
/// A pause between looks at what arrived.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs it, and returns what was noted.
pub(crate) async fn run(seed: u64, is_told: bool) -> Notes {
    let mut chance = Chance::new(seed);
    let notes = Notes::new(is_told);
    let world = World::begin(&mut chance, Timing::PATIENT, notes.clone()).await;
    world.wait_well().await;
    let (letters, dead) = (incarnation(0), incarnation(1));
    assert_ne!(set_of(letters), set_of(dead), "they are in different sets");
    world.define(dead, QueueAttributes::default()).await;
    let policy = DeadLetterPolicy {
        name: Name::parse("dead").expect("a name"),
        target: dead,
        rule: DeadLetterRule::ReceiveCount { max: 1 },
    };
    let attributes = QueueAttributes {
        visibility: VISIBILITY,
        dead_letter: Some(Box::new(policy)),
        ..QueueAttributes::default()
    };
    world.define(letters, attributes).await;

    world.wires.cut_group(GroupName::Set(set_of(dead)));
    let mut sent = 0;
    while sent < LETTERS {
        let text = format!("letter {sent}");
        let letter = Letter {
            queue: letters,
            body: Bytes::from(text.clone().into_bytes()),
            delay: Span::ZERO,
            token: Token(text),
        };
        let answer = door(&world).send(set_of(letters), letter).await;
        sent += usize::from(matches!(answer, Ok(Ok(_))));
    }
    let mut received = 0;
    while received < LETTERS {
        let answer = door(&world).receive(set_of(letters), letters, 16).await;
        received += answer.map_or(0, |messages| messages.len());
    }
    // While the one set is away, the other goes on, and changes its leader.
    for _ in 0..4 {
        tokio::time::sleep(HOUR / 4).await;
        if let Some(leader) = world.leader(set_of(letters)) {
            world.machines[leader].end(Ending::PowerCut);
            world.start_all().await;
        }
    }
    let waiting = |world: &World| {
        let leader = world.leader(set_of(letters));
        let process = leader.and_then(|leader| world.machines[leader].process());
        process.map(|process| {
            process.groups.sets()[usize::from(set_of(letters).0)].view(|set| set.outgoing_count())
        })
    };
    if !until(|| waiting(&world) == Some(LETTERS)).await {
        notes.wrong(format!("{:?} messages wait for who is away", waiting(&world)));
    }

    world.wires.heal();
    world.wait_well().await;
    if !until(|| waiting(&world) == Some(0)).await {
        notes.wrong(format!("{:?} messages wait for who is back", waiting(&world)));
    }
    check_arrived(&world, set_of(dead), &notes).await;
    world.wait_equal().await;
    notes
}

/// Reads what arrived: each message once.
async fn check_arrived(world: &World, set: SetId, notes: &Notes) {
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    let mut empty = 0;
    while empty < 3 {
        match door(world).receive(set, incarnation(1), 16).await {
            Ok(messages) if messages.is_empty() => empty += 1,
            Ok(messages) => {
                for message in messages {
                    let text = String::from_utf8_lossy(&message.body).into_owned();
                    *arrived.entry(text).or_default() += 1;
                }
            }
            Err(fault) => notes.event(format!("not received: {fault}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let expected: BTreeMap<String, usize> = (0..LETTERS)
        .map(|number| (format!("letter {number}"), 1))
        .collect();
    if arrived != expected {
        notes.wrong(format!("arrived: {arrived:?}"));
    }
}

fn door(world: &World) -> Door {
    let process = world.wires.running().into_iter().next().expect("one runs always");
    Door {
        process,
        wires: world.wires.clone(),
    }
}
