//! How a call is made: with a warm instance or a fresh one, within the tenant's account.
//!
//! A batch is asked as a whole, or message by message. When an instance fails that had been used before, its failure
//! may be the doing of what it was asked earlier, or of another message of the batch. So each message is asked again
//! in a fresh instance, and only those that fail there fail.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use posthouse_model::{SubscriptionId, TenantId};

use crate::{
    account::{Account, Used, thread_cpu},
    call::{Binding, Filtered, RouteTable, Sealed, Step},
    config::ROUTE_BATCH_MAX,
    contract::types,
    engine::PoolKind,
    fault::{BusyReason, GuestFault},
    instance::{Instance, Plugin, Seat},
    job::{InstanceKey, Reply, Work},
    lent::Uncharged,
    output::Output,
    worker::Shared,
};

/// CPU time of a call that is made where the caller is: as long as that, it may keep others waiting.
const HERE_CPU_MAX: Duration = Duration::from_millis(1);
/// How often an instance is evicted for one that is to start, before the start is given up.
const EVICTIONS_MAX: usize = 4;

/// What makes calls for one binding: holds an instance while it does, and keeps the account.
pub(crate) struct Attendant<'a> {
    shared: &'a Shared,
    plugin: &'a Plugin,
    binding: &'a Binding,
    account: &'a Arc<Account>,
    key: InstanceKey,
    instance: Option<Instance>,
    charged: Duration,
    /// What was used beside CPU time since the last charge.
    uncharged: Uncharged,
    place: Where,
    /// The work is to be done elsewhere after all.
    given_up: bool,
}

/// What is answered to a work: for each message, in order.
type Answers<T> = Vec<Result<T, GuestFault>>;

/// Answers on their way out.
enum Answered {
    Route(Reply<Vec<SubscriptionId>>, Answers<Vec<SubscriptionId>>),
    Filter(Reply<Filtered>, Answers<Filtered>),
    Step(Reply<Step>, Answers<Step>),
    Seal(Reply<Sealed>, Answers<Sealed>),
    Open(Reply<Bytes>, Answers<Bytes>),
}

/// Where calls are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    /// On a thread for guests: instances may be started there, and calls may take their time.
    Thread,
    /// Where the caller is, which others need too: only with the instance at hand, and only for a moment.
    Here,
}

// === impl Attendant ===

impl<'a> Attendant<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        plugin: &'a Plugin,
        binding: &'a Binding,
        account: &'a Arc<Account>,
        key: InstanceKey,
    ) -> Self {
        Self {
            shared,
            plugin,
            binding,
            account,
            key,
            instance: None,
            charged: thread_cpu(),
            uncharged: Uncharged::default(),
            place: Where::Thread,
            given_up: false,
        }
    }

    /// Has the calls made where the caller is, with a quick instance.
    pub(crate) fn here(mut self, mut instance: Instance) -> Self {
        instance.bound_calls(HERE_CPU_MAX);
        self.instance = Some(instance);
        self.place = Where::Here;
        self
    }

    /// Answers works for one instance, and returns those that cannot be answered here. The instance waits to be asked
    /// again before the answers go out, so that whoever asks next finds it.
    pub(crate) fn answer(mut self, works: Vec<Work>) -> Vec<Work> {
        let mut answered = Vec::with_capacity(works.len());
        let mut left = Vec::new();
        if works.len() > 1 && works.iter().all(|work| matches!(work, Work::Route { .. })) {
            self.route_together(works, &mut answered, &mut left);
        } else {
            for work in works {
                let one = if self.given_up {
                    Err(work)
                } else {
                    self.answer_one(work)
                };
                match one {
                    Ok(one) => answered.push(one),
                    Err(work) => left.push(work),
                }
            }
        }
        self.leave();
        answered.into_iter().for_each(Answered::send);
        left
    }

    fn answer_one(&mut self, work: Work) -> Result<Answered, Work> {
        match work {
            Work::Route { table, batch, reply } => {
                let answers = self.routed(&table, &batch);
                self.answered(Answered::Route, reply, answers)
                    .map_err(|reply| Work::Route { table, batch, reply })
            }
            Work::Filter { batch, reply } => {
                let answers = self.each(&batch, |instance, (envelope, body)| {
                    instance.filter(envelope, body)
                });
                self.answered(Answered::Filter, reply, answers)
                    .map_err(|reply| Work::Filter { batch, reply })
            }
            Work::Begin {
                delivery,
                body,
                reply,
            } => {
                let answer = self.ask(|instance| instance.begin_delivery(&delivery, &body));
                self.answered(Answered::Step, reply, vec![answer])
                    .map_err(|reply| Work::Begin {
                        delivery,
                        body,
                        reply,
                    })
            }
            Work::Resume {
                delivery,
                state,
                response,
                reply,
            } => {
                let answer = self.ask(|instance| instance.resume_delivery(&delivery, &state, &response));
                self.answered(Answered::Step, reply, vec![answer])
                    .map_err(|reply| Work::Resume {
                        delivery,
                        state,
                        response,
                        reply,
                    })
            }
            Work::Seal {
                master_key,
                batch,
                reply,
            } => {
                let answers = self.each(&batch, |instance, item| instance.seal(&master_key, item));
                self.answered(Answered::Seal, reply, answers)
                    .map_err(|reply| Work::Seal {
                        master_key,
                        batch,
                        reply,
                    })
            }
            Work::Open { batch, reply } => {
                let answers = self.each(&batch, |instance, item| instance.open(item));
                self.answered(Answered::Open, reply, answers)
                    .map_err(|reply| Work::Open { batch, reply })
            }
        }
    }

    fn answered<T>(
        &self,
        answered: fn(Reply<T>, Answers<T>) -> Answered,
        reply: Reply<T>,
        answers: Answers<T>,
    ) -> Result<Answered, Reply<T>> {
        if self.given_up {
            Err(reply)
        } else {
            Ok(answered(reply, answers))
        }
    }

    /// Answers router calls for one table together.
    fn route_together(&mut self, works: Vec<Work>, answered: &mut Vec<Answered>, left: &mut Vec<Work>) {
        let mut together = Vec::new();
        let mut asked = Vec::with_capacity(works.len());
        for work in works {
            let Work::Route { table, batch, reply } = work else {
                continue;
            };
            asked.push((batch.len(), table, reply));
            together.extend(batch);
        }
        let Some((_, table, _)) = asked.first() else {
            return;
        };
        let answers = self.routed(&Arc::clone(table), &together);
        let (mut together, mut answers) = (together.into_iter(), answers.into_iter());
        for (messages, table, reply) in asked {
            let answers = answers.by_ref().take(messages).collect();
            let batch = together.by_ref().take(messages);
            match self.answered(Answered::Route, reply, answers) {
                Ok(one) => {
                    batch.for_each(drop);
                    answered.push(one);
                }
                Err(reply) => left.push(Work::Route {
                    table,
                    batch: batch.collect(),
                    reply,
                }),
            }
        }
    }

    fn routed(
        &mut self,
        table: &RouteTable,
        batch: &[types::Envelope],
    ) -> Vec<Result<Vec<SubscriptionId>, GuestFault>> {
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(ROUTE_BATCH_MAX) {
            let answer = match part {
                [_] => self.ask(|instance| instance.route(table, part)),
                _ => self.ask_once(&mut |instance| instance.route(table, part)),
            };
            match answer {
                Ok(routed) => answers.extend(routed.into_iter().map(Ok)),
                // Already asked alone, or not to be asked again.
                Err(fault) if part.len() == 1 || !fault.spoils_instance() => {
                    answers.extend(part.iter().map(|_| Err(fault.clone())));
                }
                Err(_) => {
                    let alone = part.iter().map(std::slice::from_ref);
                    answers.extend(alone.map(|one| {
                        let mut routed = self.ask(|instance| instance.route(table, one))?;
                        Ok(routed.pop().unwrap_or_default())
                    }));
                }
            }
        }
        answers
    }

    fn each<T, R: Output>(
        &mut self,
        batch: &[T],
        mut call: impl FnMut(&mut Instance, &T) -> Result<R, GuestFault>,
    ) -> Vec<Result<R, GuestFault>> {
        let mut answers = Vec::with_capacity(batch.len());
        for item in batch {
            // A batch that has become slow goes on where it may take its time.
            let slow = self.instance.as_ref().is_some_and(Instance::was_slow);
            self.given_up |= self.place == Where::Here && slow;
            if self.given_up {
                break;
            }
            answers.push(self.ask(|instance| call(instance, item)));
        }
        answers
    }

    /// Makes a call, and makes it again in a fresh instance if it failed in one that had been used before.
    fn ask<R: Output>(
        &mut self,
        mut call: impl FnMut(&mut Instance) -> Result<R, GuestFault>,
    ) -> Result<R, GuestFault> {
        let was_used = self.instance()?.was_used();
        let answer = self.ask_once(&mut call);
        match answer {
            Err(fault)
                if was_used && fault.spoils_instance() && !self.given_up && !self.shared.is_stopping() =>
            {
                self.start()?;
                self.ask_once(&mut call)
            }
            answer => answer,
        }
    }

    fn ask_once<R: Output>(
        &mut self,
        call: &mut impl FnMut(&mut Instance) -> Result<R, GuestFault>,
    ) -> Result<R, GuestFault> {
        let session = self.binding.kv.clone();
        let instance = self.instance()?;
        instance.lend_kv(session);
        let answer = call(instance);
        let used = instance.take_uncharged();
        let (slow, reusable) = (instance.was_slow(), instance.is_reusable());
        let spoilt = answer.as_ref().is_err_and(GuestFault::spoils_instance);
        if answer.is_ok() {
            instance.note_ended();
            instance.keep_kv();
        }
        instance.lend_kv(None);
        if !spoilt {
            instance.keep_figures();
        }
        if spoilt || !reusable {
            self.instance = None;
        }
        let given = answer.as_ref().map_or(0, R::output_bytes);
        self.uncharged.host_calls += used.host_calls;
        self.uncharged.output_bytes += used.output_bytes + given as u64;
        let out_of_moment = self.place == Where::Here && matches!(answer, Err(GuestFault::OutOfTime));
        self.given_up |= self.place == Where::Here && spoilt;
        if !out_of_moment {
            self.count(answer.as_ref().err());
        }
        if slow || spoilt {
            self.charge();
        }
        answer
    }

    fn count(&self, fault: Option<&GuestFault>) {
        self.account.calls.fetch_add(1, Ordering::Relaxed);
        self.plugin.calls.fetch_add(1, Ordering::Relaxed);
        match fault {
            Some(GuestFault::Trap { .. } | GuestFault::OutOfTime | GuestFault::OutOfMemory) => {
                self.account.traps.fetch_add(1, Ordering::Relaxed);
            }
            Some(GuestFault::Nonsense(_) | GuestFault::Said(_)) => {
                self.account.failures.fetch_add(1, Ordering::Relaxed);
            }
            Some(GuestFault::Busy(reason)) => self.account.count_refused(*reason),
            Some(GuestFault::NotLoaded | GuestFault::Stopped) | None => {}
        }
    }

    /// Charges what was used since the last time.
    fn charge(&mut self) {
        let now = thread_cpu();
        let Uncharged {
            host_calls,
            output_bytes,
        } = std::mem::take(&mut self.uncharged);
        let cpu = now.saturating_sub(self.charged);
        self.account.charge(Used {
            cpu,
            host_calls,
            output_bytes,
        });
        let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        self.plugin.cpu_micros.fetch_add(micros, Ordering::Relaxed);
        self.charged = now;
    }

    /// Returns the instance at hand, a warm one, or a fresh one.
    fn instance(&mut self) -> Result<&mut Instance, GuestFault> {
        if self.instance.is_none() {
            if self.place == Where::Here {
                self.given_up = true;
                return Err(GuestFault::Busy(BusyReason::Instances));
            }
            let warm = self.shared.warm(self.plugin.pool).lock().take(&self.key);
            match warm {
                Some(instance) if instance.serves(self.binding) => self.instance = Some(instance),
                Some(_) | None => self.start()?,
            }
        }
        self.instance.as_mut().ok_or(GuestFault::NotLoaded)
    }

    /// Starts a fresh instance, for which others that wait may have to go: the tenant's own when it has as many as it
    /// may, anybody's when the pool is empty.
    fn start(&mut self) -> Result<(), GuestFault> {
        let started = self.try_start();
        if let Err(GuestFault::Busy(reason)) = &started {
            self.account.count_refused(*reason);
        }
        started
    }

    fn try_start(&mut self) -> Result<(), GuestFault> {
        self.instance = None;
        // What went before may have used up the rest.
        self.account.check().map_err(GuestFault::Busy)?;
        let tenant = self.binding.tenant;
        for _ in 0..EVICTIONS_MAX {
            let Some(seat) = Seat::take(self.account) else {
                self.evict_own(tenant)
                    .ok_or(GuestFault::Busy(BusyReason::Instances))?;
                continue;
            };
            let (engines, powers) = (&self.shared.engines, &self.shared.powers);
            match Instance::start(
                self.plugin,
                engines,
                self.binding,
                seat,
                self.shared.limits,
                powers,
            ) {
                Ok(instance) => {
                    self.instance = Some(instance);
                    return Ok(());
                }
                Err(GuestFault::Busy(BusyReason::Memory)) => {
                    self.evict_own(tenant)
                        .ok_or(GuestFault::Busy(BusyReason::Memory))?;
                }
                Err(GuestFault::Busy(reason)) => {
                    let evicted = self.shared.warm(self.plugin.pool).lock().evict(|_| true);
                    evicted.ok_or(GuestFault::Busy(reason))?;
                }
                Err(fault) => {
                    self.count(Some(&fault));
                    self.charge();
                    return Err(fault);
                }
            }
        }
        Err(GuestFault::Busy(BusyReason::Instances))
    }

    fn evict_own(&self, tenant: TenantId) -> Option<Instance> {
        let evict = |kind| self.shared.warm(kind).lock().evict(|key| key.tenant == tenant);
        evict(PoolKind::Small).or_else(|| evict(PoolKind::Interpreter))
    }

    /// Lets the instance wait to be asked again, unless the plugin was unloaded meanwhile.
    fn leave(mut self) {
        self.charge();
        let Some(mut instance) = self.instance.take() else {
            return;
        };
        instance.bound_calls(self.shared.limits.cpu);
        let plugins = self.shared.plugins.read();
        if plugins
            .get(&self.plugin.version)
            .is_some_and(|plugin| std::ptr::eq(plugin.as_ref(), self.plugin))
        {
            let evicted = self.shared.warm(self.plugin.pool).lock().put(self.key, instance);
            drop(plugins);
            drop(evicted);
        }
    }
}

// === impl Answered ===

impl Answered {
    fn send(self) {
        match self {
            Answered::Route(reply, answers) => send(reply, answers),
            Answered::Filter(reply, answers) => send(reply, answers),
            Answered::Step(reply, answers) => send(reply, answers),
            Answered::Seal(reply, answers) => send(reply, answers),
            Answered::Open(reply, answers) => send(reply, answers),
        }
    }
}

/// Sends answers, unless nobody waits for them any more.
pub(crate) fn send<T>(reply: Reply<T>, answers: Answers<T>) {
    let _ = reply.send(answers);
}
