//! A random course: clients at work while machines, clocks and network fail; then all calls are checked.

use std::time::Duration;

use posthouse_model::{QueueAttributes, Span};
use posthouse_store::crash::Chance;
use posthouse_tests::history::{Call, End, Rules, violations};

use crate::clients::{Clients, ORDERED_QUEUE, QUEUES, incarnation};
use crate::clock::DRIFT_PARTS_PER_MILLION;
use crate::door::PATIENCE;
use crate::faults;
use crate::machine::Timing;
use crate::members;
use crate::notes::Notes;
use crate::world::World;

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
const VISIBILITY: Duration = Duration::from_secs(2);
/// How long after the last fault all nodes know the same leaders again, at most.
const RECOVERED_WITHIN: Duration = Duration::from_secs(8);
/// How long clients go on from there, and how many sends are acknowledged meanwhile, at least. While there are faults it may
/// be hardly any: what the simulated network loses it never carries later, as a connection would, so that a call waits for
/// its answer as long as it may while nobody else leads. In the end all have waited for those.
const CALM: Duration = Duration::from_secs(PATIENCE.as_secs() + 2);
const SENDS_MIN: usize = 10;
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
    let over = notes.now();
    if weather == Weather::Changing {
        members::gather(&world).await;
    }
    world.wait_well().await;
    let calm = notes.now();
    notes.event(format!("all is well after {:?}", calm - over));
    if calm > over + RECOVERED_WITHIN {
        notes.wrong(format!("all is well only {:?} after the last fault", calm - over));
    }
    tokio::time::sleep(CALM).await;
    clients.stop();
    for task in tasks {
        task.await.expect("a client ends");
    }
    read_out(&clients, &mut chance).await;
    world.wait_equal().await;
    judge(&notes, &world, calm);
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

/// Says what is wrong with the calls, of which those since `calm` met no fault.
fn judge(notes: &Notes, world: &World, calm: Duration) {
    let calls = notes.calls();
    let rules = Rules {
        visibility: VISIBILITY,
        fast_parts_per_million: SLEW_PARTS_PER_MILLION + DRIFT_PARTS_PER_MILLION,
        ordered_queue: ORDERED_QUEUE,
    };
    for what in violations(&calls, &rules) {
        notes.wrong(what);
    }
    let acknowledged = |since: Duration| {
        let sends = calls.iter().filter(|call| match call {
            Call::Send { span, end, .. } => *end == End::Done && span.ended >= since,
            Call::Receive { .. } | Call::Delete { .. } => false,
        });
        sends.count()
    };
    let (sends, in_calm) = (acknowledged(Duration::ZERO), acknowledged(calm));
    if in_calm < SENDS_MIN {
        notes.wrong(format!(
            "only {in_calm} sends were acknowledged once all was well"
        ));
    }
    notes.event(format!(
        "{} calls, {sends} sends acknowledged, {in_calm} of them in the end, {} frames",
        calls.len(),
        world.wires.carried()
    ));
}
