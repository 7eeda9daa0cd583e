//! Rounds: each system in turn is started on new folders, given the same work, checked, and stopped.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use posthouse_load::disk::Disk;
use posthouse_load::processor;
use posthouse_load::statistics::percentile;

use crate::contender::{Body, Contender};
use crate::door::{Lane, Pace, Work};
use crate::interrupt;
use crate::measured::{Figure, Measured};
use crate::meter::{Done, Enough};
use crate::options::Options;
use crate::plan::{self, Plan, Speed};
use crate::systems::{NODES, System};

/// How long everything is tried before a turn is measured, and a plan in a search.
const WARM_UP: Duration = Duration::from_secs(1);
const TRIAL: Duration = Duration::from_secs(2);
/// How long it may take to receive all that there is.
const DRAINED: Duration = Duration::from_secs(300);
/// Of how much of what there is the rate of receiving is told: later, some queues are empty and some are not.
const DRAINED_SHARE: f64 = 0.9;
/// How long a system may take to tell that its queues are empty.
const EMPTY: Duration = Duration::from_secs(30);
const EMPTY_POLL: Duration = Duration::from_millis(200);
/// How many messages figures of cost are told for.
const MILLION: f64 = 1e6;

/// A contender's turn with bodies of one size.
struct Turn<'a> {
    system: &'a System,
    contender: Contender,
    work: Work,
    disk: Option<Disk>,
    options: &'a Options,
}

/// What a piece of work cost.
#[derive(Clone, Copy)]
struct Cost {
    /// Processor time of the system.
    seconds: f64,
    /// What was written to the disk, if it counts that.
    written_bytes: Option<u64>,
}

/// Measures all rounds.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let (contenders, bodies) = (options.contenders(), options.bodies());
    for contender in &contenders {
        for body in &bodies {
            let plan = if options.tune {
                tune(*contender, *body, options)?
            } else {
                contender.plan(*body)
            };
            measured.plan(*contender, *body, plan);
        }
    }
    for round in 1..=options.rounds() {
        for contender in &contenders {
            eprintln!("== round {round} of {}: {contender}", options.rounds());
            take_turns(*contender, options, &mut measured).with_context(|| contender.to_string())?;
        }
    }
    Ok(measured)
}

/// Starts a system and has it do everything with bodies of each size.
fn take_turns(contender: Contender, options: &Options, measured: &mut Measured) -> anyhow::Result<()> {
    let plans: Vec<(Body, Plan)> = options
        .bodies()
        .into_iter()
        .filter_map(|body| Some((body, measured.planned(contender, body)?)))
        .collect();
    let queues_max = plans.iter().map(|(_, plan)| plan.queues).max().unwrap_or(1);
    let system = start(contender, queues_max, options)?;
    for (body, plan) in &plans {
        let lanes = system.make(&format!("work-{}", body.bytes()), plan.queues)?;
        let mut turn = Turn {
            system: &system,
            contender,
            work: work(contender, *body, *plan, &lanes),
            disk: Disk::of(&options.data())?,
            options,
        };
        turn.take(measured).with_context(|| format!("bodies of {body}"))?;
        system.remove(&lanes)?;
    }
    Ok(())
}

/// Starts a system with what others wrote being on the disk and no longer on its way there.
fn start(contender: Contender, queues: u16, options: &Options) -> anyhow::Result<System> {
    rustix::fs::sync();
    let sets = u8::try_from(queues).context("a set for each queue")?;
    System::start(contender.server(), sets, options)
}

fn work(contender: Contender, body: Body, plan: Plan, lanes: &[Lane]) -> Work {
    Work {
        door: contender.door(),
        lanes: lanes.to_vec(),
        plan,
        body,
    }
}

/// Searches for the plan that serves a contender best.
fn tune(contender: Contender, body: Body, options: &Options) -> anyhow::Result<Plan> {
    let mut running: Option<(u16, System)> = None;
    let found = plan::search(contender.plan(body), contender.tries(body), |plan| {
        // As many sets as queues: only then is another node started for it.
        let sets = if contender == Contender::PosthouseSets {
            plan.queues
        } else {
            1
        };
        let system = match running.take() {
            Some((started, system)) if started == sets => system,
            other => {
                drop(other);
                start(contender, sets, options)?
            }
        };
        let speed = try_plan(&system, contender, body, plan)?;
        eprintln!(
            "{contender}, {body}: {plan}: {:.0} and {:.0}/s",
            speed.produce, speed.consume
        );
        running = Some((sets, system));
        Ok(speed)
    })?;
    eprintln!("{contender}, {body}: {found} is best");
    Ok(found)
}

fn try_plan(system: &System, contender: Contender, body: Body, plan: Plan) -> anyhow::Result<Speed> {
    let lanes = system.make("tried", plan.queues)?;
    let work = work(contender, body, plan, &lanes);
    let sent = work.produce(Enough::after(TRIAL))?;
    let taken = drain(&work, sent.messages)?;
    system.remove(&lanes)?;
    Ok(Speed {
        produce: sent.rated.rate(),
        consume: taken.rated.rate(),
    })
}

/// Receives and deletes so many messages, which is all that there are.
fn drain(work: &Work, messages: u64) -> anyhow::Result<Done> {
    let done = work.consume(Enough {
        messages,
        span: DRAINED,
        rated: (messages as f64 * DRAINED_SHARE) as u64,
    })?;
    let missing = messages.saturating_sub(done.messages);
    ensure!(
        missing == 0,
        "{missing} of {messages} confirmed messages did not come within {} s",
        DRAINED.as_secs()
    );
    Ok(done)
}

// === impl Turn ===

impl Turn<'_> {
    /// Sends at a steady rate, then as fast as it goes, then while others receive, and receives all that there is.
    fn take(&mut self, measured: &mut Measured) -> anyhow::Result<()> {
        let warm = self.work.produce(Enough::after(WARM_UP))?;
        drain(&self.work, warm.messages)?;
        if self.work.body == Body::Small {
            let steady = self.keep_pace(measured)?;
            drain(&self.work, steady)?;
        }
        let sent = self.send(measured)?;
        let (sent_meanwhile, taken_meanwhile) = self.mix(measured)?;
        let confirmed = sent + sent_meanwhile;
        let left = confirmed.saturating_sub(taken_meanwhile);
        let filled = self.fill(left, sent / 2)?;
        self.receive(left + filled, measured)?;
        measured.checked += confirmed + filled;
        let repeated = self.empty()?;
        if repeated > 0 {
            *measured.repeated.entry(self.contender).or_default() += repeated;
        }
        Ok(())
    }

    /// Sends with nobody who receives. Returns how many messages.
    fn send(&mut self, measured: &mut Measured) -> anyhow::Result<u64> {
        self.follow_leaders()?;
        let load_before = processor::busy_seconds(std::process::id())?;
        let (sent, cost) = self.with_cost(|| self.work.produce(Enough::after(self.options.part())))?;
        let load = processor::busy_seconds(std::process::id())? - load_before;
        let messages = sent.messages as f64;
        self.add(measured, Figure::Produce, sent.rated.rate());
        self.add(
            measured,
            Figure::ProduceSeconds,
            cost.seconds / messages * MILLION,
        );
        self.add_written(measured, Figure::ProduceWritten, cost, sent);
        self.add(
            measured,
            Figure::LoadBusy,
            load / sent.rated.elapsed.as_secs_f64(),
        );
        Ok(sent.messages)
    }

    /// Sends while others receive, who begin with what was sent before. Returns how many messages were sent, and received.
    fn mix(&mut self, measured: &mut Measured) -> anyhow::Result<(u64, u64)> {
        self.follow_leaders()?;
        let (enough, load) = (Enough::after(self.options.part()), &self.work);
        let ((sent, taken), cost) = self.with_cost(|| {
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| load.produce(enough));
                let taken = load.consume(enough);
                let sent = sending.join().expect("the load does not panic");
                Ok((sent?, taken?))
            })
        })?;
        self.add(measured, Figure::MixedSend, sent.rated.rate());
        self.add(measured, Figure::MixedTake, taken.rated.rate());
        self.add_written(measured, Figure::MixedWritten, cost, sent);
        Ok((sent.messages, taken.messages))
    }

    /// Sends what is missing for there to be enough to receive. Returns how many messages.
    fn fill(&self, left: u64, enough: u64) -> anyhow::Result<u64> {
        if left >= enough {
            return Ok(0);
        }
        let filled = self.work.produce(Enough {
            messages: enough - left,
            ..Enough::after(DRAINED)
        })?;
        Ok(filled.messages)
    }

    /// Receives and deletes all that there is, with nobody who sends.
    fn receive(&mut self, messages: u64, measured: &mut Measured) -> anyhow::Result<()> {
        self.follow_leaders()?;
        let (taken, cost) = self.with_cost(|| drain(&self.work, messages))?;
        let seconds = cost.seconds / taken.messages as f64 * MILLION;
        self.add(measured, Figure::Consume, taken.rated.rate());
        self.add(measured, Figure::ConsumeSeconds, seconds);
        Ok(())
    }

    /// Makes sure that nothing is left once as many messages were received as were confirmed. Where something is, as many
    /// came more than once; returns how many.
    fn empty(&self) -> anyhow::Result<u64> {
        let start = Instant::now();
        let mut left = self.system.messages(&self.work.lanes)?;
        while left > 0 && start.elapsed() < EMPTY {
            interrupt::none_came()?;
            std::thread::sleep(EMPTY_POLL);
            left = self.system.messages(&self.work.lanes)?;
        }
        drain(&self.work, left)?;
        Ok(left)
    }

    /// Sends single messages at a steady rate. Returns how many.
    fn keep_pace(&mut self, measured: &mut Measured) -> anyhow::Result<u64> {
        self.follow_leaders()?;
        let taken = self.work.steady(Pace {
            per_second: self.options.pace,
            span: self.options.part(),
        })?;
        for (figure, percent) in [
            (Figure::Half, 50.0),
            (Figure::NinetyNine, 99.0),
            (Figure::NinetyNineNine, 99.9),
        ] {
            let Some(millis) = percentile(&taken, percent) else {
                bail!("nothing was sent at a steady rate");
            };
            self.add(measured, figure, millis);
        }
        Ok(taken.len() as u64)
    }

    /// Has clients connect to who leads their queues now: a system may have moved them meanwhile.
    fn follow_leaders(&mut self) -> anyhow::Result<()> {
        self.work.lanes = self.system.led(&self.work.lanes)?;
        Ok(())
    }

    fn with_cost<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Cost)> {
        let written = || self.disk.as_ref().map(Disk::written_bytes).transpose();
        let (seconds, bytes) = (self.system.busy_seconds()?, written()?);
        let done = work()?;
        let seconds = self.system.busy_seconds()? - seconds;
        let written_bytes = written()?
            .zip(bytes)
            .map(|(after, before)| after.saturating_sub(before));
        Ok((
            done,
            Cost {
                seconds,
                written_bytes,
            },
        ))
    }

    /// Adds how many bytes were written for each replica of a byte that was sent.
    fn add_written(&self, measured: &mut Measured, figure: Figure, cost: Cost, sent: Done) {
        let sent = sent.messages as f64 * self.work.body.bytes() as f64 * f64::from(NODES);
        if let Some(written) = cost.written_bytes {
            self.add(measured, figure, written as f64 / sent);
        }
    }

    fn add(&self, measured: &mut Measured, figure: Figure, value: f64) {
        eprintln!("{}, {figure:?}: {value:.2}", self.work.body);
        measured.add(self.contender, self.work.body, figure, value);
    }
}
