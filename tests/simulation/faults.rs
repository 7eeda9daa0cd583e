//! What is done to machines, their clocks and the network while clients are at work, one thing after the other.

use std::time::Duration;

use posthouse_model::{ReplicaId, SetId};
use posthouse_store::SyncPoint;
use posthouse_store::crash::Chance;

use crate::machine::Ending;
use crate::world::World;

/// How long a fault lasts, at most, and the pause after it.
const LASTS_MILLIS_MAX: u64 = 1_500;
const PAUSE_MILLIS_MAX: u64 = 800;
/// How long a crash waits for the moment that it is to happen in.
const MOMENT_WITHIN: Duration = Duration::from_millis(800);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long an election is waited for.
const ELECTED_WITHIN: Duration = Duration::from_secs(3);
/// Operations of a disk after which its machine stops, at most.
const OPERATIONS_MAX: u64 = 40;
const HOUR_MILLIS: i64 = 3_600_000;

/// What can be done.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Power of one machine, at once.
    PowerCut,
    /// Power of one machine, in the middle of what it writes.
    PowerCutInTheMiddle,
    /// Power of all machines.
    Blackout,
    /// A process is killed.
    Kill,
    /// Power of one machine, and then a bit of what it wrote last is another.
    Flip,
    /// A node is told to stop.
    Stop,
    /// One machine reaches nobody, and nobody reaches it.
    Island,
    /// One machine does not reach another.
    OneWay,
    /// Frames are lost.
    Loss,
    /// Frames take long.
    Slowness,
    /// Writes of all disks take long.
    SlowDisks,
    /// A wall clock jumps an hour, and stays wrong until another one does.
    WrongClock,
    /// The leader hands over.
    HandOver,
    /// Power of a voter that has just decided between two.
    Contested,
}

impl Fault {
    const ALL: [Fault; 14] = [
        Fault::PowerCut,
        Fault::PowerCutInTheMiddle,
        Fault::Blackout,
        Fault::Kill,
        Fault::Flip,
        Fault::Stop,
        Fault::Island,
        Fault::OneWay,
        Fault::Loss,
        Fault::Slowness,
        Fault::SlowDisks,
        Fault::WrongClock,
        Fault::HandOver,
        Fault::Contested,
    ];
}

/// Does one thing after the other until the time is over, and leaves it as it is then.
pub(crate) async fn befall(world: World, mut chance: Chance, until: Duration) {
    while world.notes.now() < until {
        pause(&mut chance, PAUSE_MILLIS_MAX).await;
        let fault = Fault::ALL[chance.below(Fault::ALL.len() as u64) as usize];
        let any = chance.below(world.machines.len() as u64) as usize;
        // Who leads has the most to lose.
        let leader = world.leader(SetId(chance.below(2) as u8));
        let whom = leader.filter(|_| chance.one_in(2)).unwrap_or(any);
        world.notes.event(format!("{fault:?} of replica {}", whom + 1));
        happen(&world, fault, whom, &mut chance).await;
        // What ended meanwhile starts again; what was cut is whole again.
        world.wires.heal();
        world.slow_disks(false);
        world.start_all().await;
    }
}

async fn happen(world: &World, fault: Fault, whom: usize, chance: &mut Chance) {
    let machine = &world.machines[whom];
    match fault {
        Fault::PowerCut => {
            machine.end(Ending::PowerCut);
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::PowerCutInTheMiddle => {
            match chance.below(3) {
                0 => machine.disk.stop_after(chance.below(OPERATIONS_MAX)),
                1 => machine.disk.stop_before(SyncPoint::WalBatch),
                _ => {
                    let point = chance.below(SyncPoint::ALL.len() as u64) as usize;
                    machine.disk.stop_before(SyncPoint::ALL[point]);
                }
            }
            wait_ended(world, whom).await;
            machine.end(Ending::PowerCut);
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::Blackout => {
            if chance.one_in(2) {
                world.slow_disks(true);
                pause(chance, LASTS_MILLIS_MAX).await;
            }
            world.end_all(Ending::PowerCut);
            // Nobody is there to be asked what time it is, and one machine may not know.
            if chance.one_in(2) {
                set_wrong(world, whom, chance);
            }
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::Kill => {
            machine.end(Ending::Kill);
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::Flip => {
            machine.end(Ending::PowerCut);
            machine.flip_last_batch();
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::Stop => {
            machine.stop().await;
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::Island => {
            for other in &world.machines {
                world.wires.cut(machine.replica, other.replica);
                world.wires.cut(other.replica, machine.replica);
            }
            pause(chance, 2 * LASTS_MILLIS_MAX).await;
        }
        Fault::OneWay => {
            let other = (whom + 1 + chance.below(2) as usize) % world.machines.len();
            world.wires.cut(machine.replica, world.machines[other].replica);
            pause(chance, 2 * LASTS_MILLIS_MAX).await;
        }
        Fault::Loss => {
            world.wires.lose(Some(2 + chance.below(20)));
            pause(chance, 2 * LASTS_MILLIS_MAX).await;
        }
        Fault::Slowness => {
            world.wires.slow_down(true);
            pause(chance, 2 * LASTS_MILLIS_MAX).await;
        }
        Fault::SlowDisks => {
            world.slow_disks(true);
            pause(chance, 2 * LASTS_MILLIS_MAX).await;
        }
        Fault::WrongClock => {
            set_wrong(world, whom, chance);
            pause(chance, LASTS_MILLIS_MAX).await;
        }
        Fault::HandOver => {
            if let Some(leader) = world.leader(SetId(0))
                && let Some(process) = world.machines[leader].process()
            {
                // Whoever does not take over is elected later.
                let _ = process.groups.sets()[0].hand_over(machine.replica).await;
            }
        }
        Fault::Contested => contest(world, whom, chance).await,
    }
}

/// Has two want to lead that do not hear each other, with slow disks. In the moment in which one is elected, it is cut
/// off from the third as well, and that one's power is cut: it decides again, and must know how it decided before.
async fn contest(world: &World, whom: usize, chance: &mut Chance) {
    let third = world.machines[whom].replica;
    let rivals = world
        .machines
        .iter()
        .map(|machine| machine.replica)
        .filter(|replica| *replica != third);
    let rivals: Vec<ReplicaId> = rivals.collect();
    world.slow_disks(true);
    world.wires.cut(rivals[0], rivals[1]);
    world.wires.cut(rivals[1], rivals[0]);
    world.end_all(Ending::Kill);
    world.start_all().await;
    let elected = async {
        loop {
            if let Some(elected) = world.elected() {
                return elected;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    if let Ok(elected) = tokio::time::timeout(ELECTED_WITHIN, elected).await
        && elected != third
    {
        world.wires.cut(elected, third);
        world.wires.cut(third, elected);
        world.machines[whom].end(Ending::PowerCut);
        world.machines[whom].start().await;
    }
    pause(chance, 2 * LASTS_MILLIS_MAX).await;
}

/// Sets one wall clock wrong by an hour, and all others right.
fn set_wrong(world: &World, whom: usize, chance: &mut Chance) {
    for machine in &world.machines {
        machine.dial.set_ahead(0);
    }
    let ahead = match chance.one_in(3) {
        true => -HOUR_MILLIS,
        false => HOUR_MILLIS,
    };
    world.machines[whom].dial.set_ahead(ahead);
}

/// Waits until a machine's process has ended by itself, or the moment has passed.
async fn wait_ended(world: &World, whom: usize) {
    let ended = async {
        while world.machines[whom].process().is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // If the moment did not come, it is now.
    let _ = tokio::time::timeout(MOMENT_WITHIN, ended).await;
}

async fn pause(chance: &mut Chance, millis_max: u64) {
    tokio::time::sleep(Duration::from_millis(1 + chance.below(millis_max))).await;
}
