//! What a node does with what its clients ask: it reaches whoever leads, as nodes do, by the same rules.
//!
//! What was not done is asked again, of whoever leads by then; what may have been done is asked again under the same
//! name, so that it takes effect once. When the time that a call has runs out, the answer says which of both it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{
    Body, Incarnation, Incoming, LogIndex, Message, MessageId, ReceiptHandle, Refusal, ReplicaId,
    SessionCall, Set, SetCommand, SetId, SetReply, Span, Token,
};
use posthouse_replica::{Fault, Group, NetworkFault, Reason};
use tokio::time::Instant;

use crate::life::Process;
use crate::network::Wires;

/// How long a call looks for a leader that does it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// How long a call rests before it asks a leader again that did not do it.
const REST: Duration = Duration::from_millis(50);

/// What one node asks another.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Has a set's leader do a command.
    Command {
        set: SetId,
        call: SessionCall,
        command: SetCommand,
    },
    /// Puts a message into a queue.
    Send {
        set: SetId,
        call: SessionCall,
        parcel: Letter,
    },
    /// Leases messages of a queue.
    Receive {
        set: SetId,
        call: SessionCall,
        queue: Incarnation,
        max: u16,
        /// It may have been done already.
        again: bool,
    },
}

/// A message as a client sends it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) queue: Incarnation,
    pub(crate) body: Bytes,
    pub(crate) delay: Span,
    pub(crate) token: Token,
}

/// What the other answers.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Set(Result<SetReply, Refusal>),
    Received(Vec<Received>),
}

/// A message as a client gets it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) id: MessageId,
    pub(crate) body: Bytes,
    pub(crate) count: u32,
    pub(crate) handle: ReceiptHandle,
}

/// What came of one attempt.
enum Attempt {
    Answered(Told),
    NotDone(Reason),
    MayBeDone,
}

/// A node's door, as one of its clients comes in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) process: std::sync::Arc<Process>,
    pub(crate) wires: Wires,
}

// === impl Door ===

impl Door {
    /// Sends a message.
    pub(crate) async fn send(&self, set: SetId, parcel: Letter) -> Result<Result<SetReply, Refusal>, Fault> {
        let call = self.name_call();
        let ask = |_| Ask::Send {
            set,
            call,
            parcel: parcel.clone(),
        };
        self.outcome(self.reach(set, ask).await?)
    }

    /// Leases up to so many messages.
    pub(crate) async fn receive(
        &self,
        set: SetId,
        queue: Incarnation,
        max: u16,
    ) -> Result<Vec<Received>, Fault> {
        let call = self.name_call();
        let ask = |again| Ask::Receive {
            set,
            call,
            queue,
            max,
            again,
        };
        match self.reach(set, ask).await? {
            Told::Received(messages) => Ok(messages),
            // Its name was forgotten, so that nobody can tell.
            Told::Set(_) => Err(Fault::MayBeDone(Reason::TimedOut)),
        }
    }

    /// Has a set do a command.
    pub(crate) async fn command(
        &self,
        set: SetId,
        command: SetCommand,
    ) -> Result<Result<SetReply, Refusal>, Fault> {
        let call = self.name_call();
        let ask = |_| Ask::Command {
            set,
            call,
            command: command.clone(),
        };
        self.outcome(self.reach(set, ask).await?)
    }

    fn outcome(&self, told: Told) -> Result<Result<SetReply, Refusal>, Fault> {
        match told {
            Told::Set(Err(Refusal::SessionForgotten)) => Err(Fault::MayBeDone(Reason::TimedOut)),
            Told::Set(outcome) => Ok(outcome),
            Told::Received(_) => unreachable!("a command is answered by its outcome"),
        }
    }

    fn name_call(&self) -> SessionCall {
        SessionCall {
            origin: self.process.replica,
            session: self.process.session,
            number: self.process.calls.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Has a set's leader do what is asked. The closure is told whether an earlier attempt may have been done.
    async fn reach(&self, set: SetId, ask: impl Fn(bool) -> Ask) -> Result<Told, Fault> {
        let deadline = Instant::now() + PATIENCE;
        let group = member(&self.process, set);
        let mut doubt = false;
        loop {
            let leader = group.leader();
            let attempt = match leader {
                Some(leader) => self.ask_leader(&group, leader, ask(doubt), deadline).await,
                None => Attempt::NotDone(Reason::NotLeading { leader: None }),
            };
            let reason = match attempt {
                Attempt::Answered(Told::Set(Err(_))) if doubt => {
                    return Err(Fault::MayBeDone(Reason::LeadershipLost));
                }
                Attempt::Answered(told) => return Ok(told),
                Attempt::NotDone(reason) => reason,
                Attempt::MayBeDone => {
                    doubt = true;
                    Reason::TimedOut
                }
            };
            if Instant::now() + REST >= deadline {
                return Err(match doubt {
                    true => Fault::MayBeDone(Reason::TimedOut),
                    false => Fault::NotDone(reason),
                });
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(REST) => {}
                () = group.led_by_other_than(leader) => {}
            }
        }
    }

    async fn ask_leader(
        &self,
        group: &Group<Set>,
        leader: ReplicaId,
        ask: Ask,
        deadline: Instant,
    ) -> Attempt {
        let asking = async {
            if leader == self.process.replica {
                return Attempt::from(perform(&self.process, ask).await);
            }
            match self.wires.ask(self.process.replica, leader, ask).await {
                Ok(answer) => Attempt::from(answer),
                Err(NetworkFault::Unreachable(_)) => {
                    Attempt::NotDone(Reason::NotLeading { leader: Some(leader) })
                }
                Err(NetworkFault::NoAnswer(_)) => Attempt::MayBeDone,
            }
        };
        // One who hangs is not waited for once another leads.
        tokio::select! {
            biased;
            attempt = asking => attempt,
            () = tokio::time::sleep_until(deadline) => Attempt::MayBeDone,
            () = group.led_by_other_than(Some(leader)) => Attempt::MayBeDone,
        }
    }
}

// === impl Attempt ===

impl From<Result<Told, Fault>> for Attempt {
    fn from(answer: Result<Told, Fault>) -> Attempt {
        match answer {
            Ok(told) => Attempt::Answered(told),
            Err(Fault::NotDone(reason)) => Attempt::NotDone(reason),
            Err(Fault::MayBeDone(_)) => Attempt::MayBeDone,
        }
    }
}

/// Does what is asked, if this node leads.
pub(crate) async fn perform(process: &Process, ask: Ask) -> Result<Told, Fault> {
    match ask {
        Ask::Command { set, call, command } => {
            let outcome = member(process, set).propose_as(Some(call), command).await?;
            Ok(Told::Set(outcome))
        }
        Ask::Send { set, call, parcel } => {
            let group = member(process, set);
            let id = group.next_message_ids(1)[0];
            let command = SetCommand::Send {
                queue: parcel.queue,
                delay: parcel.delay,
                messages: vec![Incoming {
                    message: Message::plain(id, parcel.body),
                    keep: true,
                }],
                token: Some(parcel.token),
                decided_at: LogIndex(0),
            };
            Ok(Told::Set(group.propose_as(Some(call), command).await?))
        }
        Ask::Receive {
            set,
            call,
            queue,
            max,
            again,
        } => receive(process, set, call, queue, max, again).await,
    }
}

async fn receive(
    process: &Process,
    set: SetId,
    call: SessionCall,
    queue: Incarnation,
    max: u16,
    again: bool,
) -> Result<Told, Fault> {
    let group = member(process, set);
    // What this replica sees is the set's state only while it leads.
    group.confirm().await?;
    let any = group.view(|state| state.queue(queue).is_some_and(|queue| queue.has_visible()));
    if !any && !again {
        return Ok(Told::Received(Vec::new()));
    }
    let command = SetCommand::Receive {
        queue,
        max,
        visibility: None,
    };
    let leased = match group.propose_as(Some(call), command).await? {
        Ok(SetReply::Leased(leased)) => leased,
        other => return Ok(Told::Set(other)),
    };
    let bodies = process.store.bodies(set);
    let mut messages = Vec::with_capacity(leased.len());
    for one in leased {
        let read = bodies.read(one.body);
        let Ok(stored) = read else {
            return Err(Fault::MayBeDone(Reason::StoreFailed));
        };
        // Expired or deleted by another in this moment: nothing to hand out.
        let Some(stored) = stored else { continue };
        let Body::Clear(body) = stored.message.body else {
            unreachable!("nothing is sealed here")
        };
        messages.push(Received {
            id: stored.message.id,
            body,
            count: one.receive_count,
            handle: one.handle,
        });
    }
    Ok(Told::Received(messages))
}

fn member(process: &Process, set: SetId) -> Group<Set> {
    let group = process.groups.set(set);
    group.expect("every node of the simulation has a replica of every set")
}

/// Returns where a queue is: the even ones are in the first set, the odd ones in the second.
pub(crate) fn set_of(queue: Incarnation) -> SetId {
    SetId(u8::from(queue.0 % 2 == 1))
}
