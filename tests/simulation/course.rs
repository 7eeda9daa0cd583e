//! A random course: clients at work while machines, clocks and network fail; then all calls are checked.

use std::time::Duration;

use posthouse_model::{QueueAttributes, Span};
use posthouse_store::crash::Chance;
use posthouse_tests::history::{Call, End, Rules, violations};

use crate::clients::{Clients, ORDERED_QUEUE, QUEUES, incarnation};
use crate::clock::DRIFT_PARTS_PER_MILLION;
use crate::faults;
use crate::machine::Timing;
use crate::members;
use crate::notes::Notes;
use crate::world::World;

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
const VISIBILITY: Duration = Duration::from_secs(2);
/// A course in which fewer sends are acknowledged shows nothing. It may be that few: a leader out of reach is no fault of
/// those that wait for it.
const SENDS_MIN: usize = 4;
/// How long faults go on.
const LASTS: Duration = Duration::from_secs(6);
/// How far behind the wall clocks of all machines may have been at first, in milliseconds.
const CORRECTED_MILLIS_MAX: u64 = 10_000;
/// How much faster set time runs than the machines' clocks, at most.
const SLEW_PARTS_PER_MILLION: u32 = 500;
/// Nothing is left when nothing came for so long: leases have ended, and delays before.
const QUIET: Duration = Duration::from_millis(3_500);
/// How long reading all that is left may take.
const READING_MAX: Duration = Duration::from_secs(120);

/// Whether machines, clocks and network fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Weather {
    Fair,
    Foul,
    /// Foul, and members of sets come and go meanwhile.
    Changing,
}

/// Runs a course, and returns what was noted.
pub(crate) async fn run(seed: u64, weather: Weather, is_told: bool) -> Notes {
    let mut chance = Chance::new(seed);
    let notes = Notes::new(is_told);
    let world = World::begin(&mut chance, Timing::USUAL, notes.clone()).await;
    world.wait_well().await;
    for queue in 0..QUEUES {
        let attributes = QueueAttributes {
            visibility: Span::from_millis(VISIBILITY.as_millis() as u64),
            ..QueueAttributes::default()
        };
        world.define(incarnation(queue), attributes).await;
    }
    if weather != Weather::Fair {
        // The sets' time is behind the wall clocks from here on, and must stay so: nothing is to end early.
        world.correct_clocks(i64::try_from(chance.below(CORRECTED_MILLIS_MAX)).unwrap_or(0));
    }
    let clients = Clients::new(world.clone());
    let mut tasks = Vec::new();
    for producer in 0..PRODUCERS {
        let chance = Chance::new(chance.any());
        tasks.push(tokio::spawn(clients.clone().produce(producer, chance)));
    }
    for consumer in 0..CONSUMERS {
        let chance = Chance::new(chance.any());
        tasks.push(tokio::spawn(clients.clone().consume(consumer, chance)));
    }
    let until = notes.now() + LASTS;
    match weather {
        Weather::Fair => tokio::time::sleep(LASTS).await,
        Weather::Foul => faults::befall(world.clone(), Chance::new(chance.any()), until).await,
        Weather::Changing => {
            let changes = members::come_and_go(world.clone(), Chance::new(chance.any()), until);
            let faults = faults::befall(world.clone(), Chance::new(chance.any()), until);
            tokio::join!(changes, faults);
        }
    }
    clients.stop();
    for task in tasks {
        task.await.expect("a client ends");
    }
    if weather == Weather::Changing {
        members::gather(&world).await;
    }
    world.wait_well().await;
    read_out(&clients, &mut chance).await;
    world.wait_equal().await;
    judge(&notes, &world);
    notes
}

/// Reads all queues until they are empty.
async fn read_out(clients: &Clients, chance: &mut Chance) {
    let notes = &clients.world.notes;
    let begun = notes.now();
    let mut quiet_since = begun;
    while notes.now() < quiet_since + QUIET {
        for queue in 0..QUEUES {
            for (name, handle) in clients.receive(queue, 16, chance).await {
                quiet_since = notes.now();
                clients.delete(name, handle, chance).await;
            }
        }
        if notes.now() > begun + READING_MAX {
            return notes.wrong("there is no end to what is left".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn judge(notes: &Notes, world: &World) {
    let calls = notes.calls();
    let rules = Rules {
        visibility: VISIBILITY,
        fast_parts_per_million: SLEW_PARTS_PER_MILLION + DRIFT_PARTS_PER_MILLION,
        ordered_queue: ORDERED_QUEUE,
    };
    for what in violations(&calls, &rules) {
        notes.wrong(what);
    }
    let sends = calls
        .iter()
        .filter(|call| matches!(call, Call::Send { end: End::Done, .. }));
    let sends = sends.count();
    if sends < SENDS_MIN {
        notes.wrong(format!("only {sends} sends were acknowledged"));
    }
    notes.event(format!(
        "{} calls, {sends} sends acknowledged, {} frames",
        calls.len(),
        world.wires.carried()
    ));
}
