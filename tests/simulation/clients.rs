//! Clients: producers that send with tokens and ask again when in doubt, consumers that lease and delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{Incarnation, ReceiptHandle, ReplicaId, SetCommand, SetReply, Span, Token};
use posthouse_replica::{Fault, Reason};
use posthouse_store::crash::Chance;
use posthouse_tests::history::{Call, End, Got, Name, Span as CallSpan};

use crate::door::{Door, Letter, Received, set_of};
use crate::world::World;

pub(crate) const QUEUES: usize = 3;
/// The queue that one consumer reads, in order.
pub(crate) const ORDERED_QUEUE: usize = 0;
/// How often a producer asks again that does not know whether it was done.
const TRIES_MAX: u64 = 3;
/// How long a client pauses between calls, at most.
const PAUSE_MILLIS_MAX: u64 = 500;
/// How long a client waits that finds no node.
const NOBODY_THERE: Duration = Duration::from_millis(50);
/// A body beside its name, at most.
const BODY_BYTES_MAX: u64 = 300;

/// What clients share.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) world: World,
    stop: Arc<AtomicBool>,
}

// === impl Clients ===

impl Clients {
    pub(crate) fn new(world: World) -> Clients {
        Clients {
            world,
            stop: Arc::default(),
        }
    }

    /// Has the clients end after the call that they are at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Sends messages until told to stop.
    pub(crate) async fn produce(self, producer: usize, mut chance: Chance) {
        let mut number = 0;
        while self.go_on() {
            number += 1;
            let name = Name {
                queue: chance.below(QUEUES as u64) as usize,
                producer,
                number,
            };
            let delay = match name.queue != ORDERED_QUEUE && chance.one_in(6) {
                true => Span::from_millis(500 + chance.below(2_000)),
                false => Span::ZERO,
            };
            self.send(name, delay, &mut chance).await;
            pause(&mut chance).await;
        }
    }

    async fn send(&self, name: Name, delay: Span, chance: &mut Chance) {
        let letter = letter(&name, delay, chance.below(BODY_BYTES_MAX));
        let began = self.world.notes.now();
        let mut end = End::NotDone;
        for _ in 0..=chance.below(TRIES_MAX) {
            let door = self.door(chance).await;
            let sent = door.send(set_of(letter.queue), letter.clone());
            match within(&door, sent).await {
                Ok(Ok(SetReply::Sent(_))) => {
                    end = End::Done;
                    break;
                }
                Ok(other) => self
                    .world
                    .notes
                    .wrong(format!("a send was answered by {other:?}")),
                Err(Fault::NotDone(_)) => {}
                Err(Fault::MayBeDone(_)) => end = End::MayBeDone,
            }
        }
        let span = self.since(began);
        let delay = delay.into();
        self.world.notes.call(Call::Send {
            span,
            name,
            delay,
            end,
        });
    }

    /// Leases messages and deletes most of them, until told to stop. The first consumer reads the ordered queue alone.
    pub(crate) async fn consume(self, consumer: usize, mut chance: Chance) {
        while self.go_on() {
            let queue = match consumer {
                0 => ORDERED_QUEUE,
                _ => 1 + chance.below(QUEUES as u64 - 1) as usize,
            };
            // One at a time where order is looked at, and nothing left undeleted.
            let max = match queue {
                ORDERED_QUEUE => 1,
                _ => 1 + chance.below(6) as u16,
            };
            for (name, handle) in self.receive(queue, max, &mut chance).await {
                if queue == ORDERED_QUEUE || !chance.one_in(8) {
                    self.delete(name, handle, &mut chance).await;
                }
            }
            pause(&mut chance).await;
        }
    }

    /// Leases messages of a queue; returns them with their handles.
    pub(crate) async fn receive(
        &self,
        queue: usize,
        max: u16,
        chance: &mut Chance,
    ) -> Vec<(Name, ReceiptHandle)> {
        let door = self.door(chance).await;
        let began = self.world.notes.now();
        let place = incarnation(queue);
        let answer = within(&door, door.receive(set_of(place), place, max)).await;
        let mut handles = Vec::new();
        let got = match answer {
            Ok(received) => Ok(received
                .into_iter()
                .map(|one| {
                    let got = got(&one);
                    handles.push((got.name.clone(), one.handle));
                    got
                })
                .collect()),
            Err(fault) => Err(end_of(fault)),
        };
        let span = self.since(began);
        let max = max.into();
        self.world.notes.call(Call::Receive {
            span,
            queue,
            max,
            got,
        });
        handles
    }

    /// Deletes a message.
    pub(crate) async fn delete(&self, name: Name, handle: ReceiptHandle, chance: &mut Chance) {
        let door = self.door(chance).await;
        let began = self.world.notes.now();
        let queue = incarnation(name.queue);
        let command = SetCommand::Delete {
            queue,
            handles: vec![handle],
        };
        let end = match within(&door, door.command(set_of(queue), command)).await {
            Ok(Ok(SetReply::Deleted(results))) if results.iter().all(Result::is_ok) => End::Done,
            Ok(_) => End::NotDone,
            Err(fault) => end_of(fault),
        };
        let span = self.since(began);
        self.world.notes.call(Call::Delete { span, name, end });
    }

    fn since(&self, began: Duration) -> CallSpan {
        let ended = self.world.notes.now();
        CallSpan { began, ended }
    }

    /// Returns the door of any node that runs.
    async fn door(&self, chance: &mut Chance) -> Door {
        loop {
            let replica = ReplicaId(1 + chance.below(self.world.machines.len() as u64));
            if let Some(process) = self.world.wires.process(replica) {
                let wires = self.world.wires.clone();
                return Door { process, wires };
            }
            tokio::time::sleep(NOBODY_THERE).await;
        }
    }
}

/// Waits for an answer as long as the node lives that was asked.
async fn within<T>(door: &Door, asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let life = door.process.life.clone();
    tokio::select! {
        biased;
        () = life.over() => Err(Fault::MayBeDone(Reason::Stopping)),
        answer = asked => answer,
    }
}

async fn pause(chance: &mut Chance) {
    tokio::time::sleep(Duration::from_millis(1 + chance.below(PAUSE_MILLIS_MAX))).await;
}

fn end_of(fault: Fault) -> End {
    match fault {
        Fault::NotDone(_) => End::NotDone,
        Fault::MayBeDone(_) => End::MayBeDone,
    }
}

/// Returns which queue of the sets it is.
pub(crate) fn incarnation(queue: usize) -> Incarnation {
    Incarnation(10 + queue as u64)
}

fn letter(name: &Name, delay: Span, filling: u64) -> Letter {
    let text = format!("{}/{}/{}/", name.queue, name.producer, name.number);
    let mut body = text.clone().into_bytes();
    body.resize(text.len() + filling as usize, b'.');
    Letter {
        queue: incarnation(name.queue),
        body: Bytes::from(body),
        delay,
        token: Token(text),
    }
}

fn got(received: &Received) -> Got {
    let text = String::from_utf8_lossy(&received.body);
    let mut numbers = text
        .split('/')
        .map(|part| part.parse::<u64>().unwrap_or(u64::MAX));
    let mut next = || numbers.next().unwrap_or(u64::MAX);
    Got {
        name: Name {
            queue: next() as usize,
            producer: next() as usize,
            number: next(),
        },
        id: received.id.to_string(),
        count: u64::from(received.count),
    }
}
