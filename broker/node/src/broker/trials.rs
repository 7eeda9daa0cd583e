//! Versions that are tried beside those in use: asked what the version in use was asked, and compared with it.
//!
//! The version in use decides first, and what it said goes on its way; what is tried is asked afterwards, by one task a
//! trial, one call at a time and for a quarter of the tenant's CPU time at most. What comes faster than that is shed and
//! counted. Of a canary's share of messages the tried version decides, and the other one is asked afterwards; where it
//! fails, the version in use decides after all. Figures are each node's own, and added up where they are shown or judged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use posthouse_host::{
    Binding, BindingIdentity, Envelope, Filtered, GuestFault, KvSession, RouteTable, Spent,
};
use posthouse_model::{
    DirectoryCommand, DirectoryRefusal, Gate, Kind, LogIndex, MessageId, Place, PluginVersion, Share,
    SubscriptionId, TenantId, Time, TrialEnd, TrialRecord, World,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::kv::{Lending, Seen};
use super::reach::{Ask, Told};
use super::{Broker, BrokerError};

/// Comparisons of a trial that wait on a node; more are shed.
const WAITING_MAX: usize = 256;
/// Bytes of bodies in them.
const WAITING_BYTES_MAX: usize = 16 * 1_048_576;
/// What is shown of differences: the newest so many on each node.
const SAMPLES_MAX: usize = 16;
/// How much of a text is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 256;
/// What is tried takes one part in so many of the tenant's CPU time at most.
const CPU_PARTS: u64 = 4;
/// The longest rest between two comparisons.
const REST_MAX: Duration = Duration::from_secs(10);
/// How often gates are looked at, and trials forgotten that are no more.
const LOOK: Duration = Duration::from_secs(1);
/// How long a node has to tell its figures.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

/// The trials that this node takes part in.
#[derive(Debug, Default)]
pub(super) struct Trials {
    parts: Mutex<BTreeMap<(Place, World), Part>>,
}

/// This node's part in a trial.
#[derive(Clone, Debug)]
struct Part {
    began: LogIndex,
    version: PluginVersion,
    /// What calls of the version had taken before.
    spent_before: Spent,
    waiting: mpsc::Sender<Comparison>,
    bytes: Arc<Semaphore>,
    figures: Arc<Mutex<TrialFigures>>,
}

/// What a trial has shown so far.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrialFigures {
    /// Calls of the version that is tried.
    pub calls: u64,
    /// Messages that it decided.
    pub decided: u64,
    /// Messages for which both said the same.
    pub same: u64,
    /// Messages for which they did not.
    pub different: u64,
    /// Calls of it that failed.
    pub failed: u64,
    /// Messages for which they were not compared, because the tenant's plugins had no time for that.
    pub shed: u64,
    /// Calls of it, in whatever they were made, whose CPU time was taken.
    pub timed: u64,
    /// That time, in microseconds.
    pub cpu_micros: u64,
    /// The newest differences.
    pub samples: VecDeque<Sample>,
}

/// A message for which both versions did not say the same.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// The message.
    pub message: MessageId,
    /// What the version in use said.
    pub in_use: String,
    /// What the version that is tried said.
    pub tried: String,
    /// The beginning of the body; none where bodies are sealed, and of a router's.
    pub body: Option<String>,
}

/// What one node says of a trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TrialReport {
    place: Place,
    world: World,
    began: LogIndex,
    figures: TrialFigures,
}

/// A version that is tried where something is bound.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    binding: Binding,
    world: World,
    share: Share,
    /// Whether nothing of a body may be shown.
    pub(super) is_sealed: bool,
}

/// What became of a message that the tried version may decide.
#[derive(Debug)]
pub(super) enum ByTried<T> {
    NotAsked,
    Failed,
    Decided(T),
}

/// What is asked of both. Never shown as a whole: it holds a body.
pub(super) enum Question {
    Route(Arc<RouteTable>, Envelope),
    Filter(Envelope, Bytes),
}

/// What one of them says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Routed(Vec<SubscriptionId>),
    Filtered(Filtered),
}

/// Which of both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Which {
    InUse,
    Tried,
}

/// What one of both was asked and said, for the other to be asked.
struct Comparison {
    question: Question,
    said: Result<Answer, GuestFault>,
    by: Which,
    tried: Tried,
    in_use: Binding,
    /// The store as the one found it, to be found so by the other.
    seen: Option<KvSession>,
    _bytes: OwnedSemaphorePermit,
}

// === impl Tried ===

impl Tried {
    /// Returns what a trial tries for a tenant at a binding's place.
    pub(super) fn new(trial: &TrialRecord, tenant: TenantId, configuration: Bytes) -> Tried {
        Tried {
            binding: Binding {
                version: trial.version,
                tenant,
                configuration,
                identity: BindingIdentity {
                    changed: trial.began,
                    place: trial.place,
                },
                kv: None,
            },
            world: trial.world,
            share: trial.share,
            is_sealed: false,
        }
    }

    /// Returns whether it decides about a message: the same ones whoever asks, and no run of them.
    fn decides(&self, message: MessageId) -> bool {
        let mut mixed = message.0.wrapping_add(self.binding.identity.changed.0 << 32);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed % u64::from(Share::ALL.0) < u64::from(self.share.0)
    }

    /// Returns the binding of the version that is tried.
    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }
}

// === impl Question ===

impl Question {
    fn body(&self) -> Option<&Bytes> {
        match self {
            Question::Route(..) => None,
            Question::Filter(_, body) => Some(body),
        }
    }

    fn message(&self) -> MessageId {
        match self {
            Question::Route(_, envelope) | Question::Filter(envelope, _) => envelope.id,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// A router's answer. In which order it names subscriptions makes no difference.
    pub(super) fn routed(mut matched: Vec<SubscriptionId>) -> Answer {
        matched.sort_unstable();
        Answer::Routed(matched)
    }
}

// === impl TrialFigures ===

impl TrialFigures {
    fn add(&mut self, other: TrialFigures) {
        self.calls += other.calls;
        self.decided += other.decided;
        self.same += other.same;
        self.different += other.different;
        self.failed += other.failed;
        self.shed += other.shed;
        self.timed += other.timed;
        self.cpu_micros += other.cpu_micros;
        self.samples.extend(other.samples);
    }

    /// Counts a call of the version that is tried, by how it failed, if it did.
    fn count_call(&mut self, fault: Option<&GuestFault>) {
        match fault {
            None => self.calls += 1,
            Some(fault) if fault.is_guilty() => {
                self.calls += 1;
                self.failed += 1;
            }
            Some(_) => self.shed += 1,
        }
    }

    fn sample(&mut self, sample: Sample) {
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Returns how a gate ends the trial; none as long as nothing is certain. A bound is passed as soon as no number of
    /// good calls up to the fewest that are waited for could make up for it.
    fn judged_by(&self, gate: &Gate) -> Option<TrialEnd> {
        let compared = self.same + self.different;
        let passed = |count: u64, all: u64, bound: Option<Share>| {
            bound.is_some_and(|bound| {
                u128::from(count) * u128::from(Share::ALL.0) > bound.of(all.max(gate.calls_min))
            })
        };
        if passed(self.failed, self.calls, gate.errors_max) {
            let why = format!("{} of {} calls failed", self.failed, self.calls);
            return Some(TrialEnd::FellBack(why));
        }
        if passed(self.different, compared, gate.differences_max) {
            let why = format!("{} of {compared} answers were others", self.different);
            return Some(TrialEnd::FellBack(why));
        }
        if let Some(micros) = gate.call_micros_max
            && u128::from(self.cpu_micros) > u128::from(micros) * u128::from(self.timed.max(gate.calls_min))
        {
            let why = format!("{} calls took {} us of CPU time", self.timed, self.cpu_micros);
            return Some(TrialEnd::FellBack(why));
        }
        let is_good = gate.promotes && compared + self.failed >= gate.calls_min;
        is_good.then_some(TrialEnd::Promoted)
    }
}

// === deciding ===

impl Broker {
    /// Asks the router that is tried about the messages of its share.
    pub(super) async fn route_by_tried(
        &self,
        tried: &Tried,
        table: &Arc<RouteTable>,
        envelopes: &[Envelope],
    ) -> Vec<ByTried<Vec<SubscriptionId>>> {
        let mut decided: Vec<_> = envelopes.iter().map(|_| ByTried::NotAsked).collect();
        let chosen: Vec<usize> = (0..envelopes.len())
            .filter(|at| tried.decides(envelopes[*at].id))
            .collect();
        if chosen.is_empty() || self.load(tried.binding.version).await.is_err() {
            return decided;
        }
        let asked = chosen.iter().map(|at| envelopes[*at].clone()).collect();
        let answers = self.guests.route(&tried.binding, table, asked).await;
        for (at, answer) in chosen.into_iter().zip(answers) {
            decided[at] = self.note_decided(tried, answer);
        }
        decided
    }

    /// Asks the filter that is tried about a message of its share.
    pub(super) async fn filter_by_tried(
        &self,
        tried: &Tried,
        envelope: &Envelope,
        body: &Bytes,
        lending: &mut Lending<'_>,
    ) -> Result<ByTried<Filtered>, BrokerError> {
        if !tried.decides(envelope.id) || self.load(tried.binding.version).await.is_err() {
            return Ok(ByTried::NotAsked);
        }
        // What it keeps is kept: it is the next version of the one that is in use.
        let binding = self.lend_kv(&tried.binding, lending).await?;
        let (envelope, body) = (envelope.clone(), body.clone());
        let answer = self.guests.filter(&binding, envelope, body).await;
        Ok(self.note_decided(tried, answer))
    }

    /// Counts what the version that is tried said about a message of its share. Where it failed, the one in use decides.
    fn note_decided<T>(&self, tried: &Tried, said: Result<T, GuestFault>) -> ByTried<T> {
        let figures = self.part_in(tried).figures;
        let mut figures = figures.lock();
        figures.count_call(said.as_ref().err());
        match said {
            Ok(answer) => {
                figures.decided += 1;
                ByTried::Decided(answer)
            }
            Err(fault) => {
                drop(figures);
                let outcome = if fault.is_guilty() { "failed" } else { "shed" };
                self.metrics.tried(tried.binding.tenant, tried.world, outcome);
                ByTried::Failed
            }
        }
    }

    /// Has what one version said about a message compared with what the other says, unless too much waits for that.
    pub(super) fn compare(
        &self,
        tried: &Tried,
        in_use: &Binding,
        by: Which,
        question: Question,
        said: Result<Answer, GuestFault>,
        seen: Option<Seen>,
    ) {
        let part = self.part_in(tried);
        let bytes = question.body().map_or(0, Bytes::len) as u64 + seen.as_ref().map_or(0, |seen| seen.bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(&part.bytes).try_acquire_many_owned(bytes);
        let offered = permit.is_ok_and(|permit| {
            let comparison = Comparison {
                question,
                said,
                by,
                tried: tried.clone(),
                in_use: in_use.clone(),
                seen: seen.map(|seen| seen.session),
                _bytes: permit,
            };
            part.waiting.try_send(comparison).is_ok()
        });
        if !offered {
            part.figures.lock().shed += 1;
            self.metrics.tried(tried.binding.tenant, tried.world, "shed");
        }
    }

    /// Returns this node's part in a trial, which begins when it is first asked for.
    fn part_in(&self, tried: &Tried) -> Part {
        let identity = tried.binding.identity;
        let mut parts = self.trials.parts.lock();
        let key = (identity.place, tried.world);
        match parts.get(&key) {
            Some(part) if part.began >= identity.changed => return part.clone(),
            Some(_) | None => {}
        }
        let (waiting, comparisons) = mpsc::channel(WAITING_MAX);
        let part = Part {
            began: identity.changed,
            version: tried.binding.version,
            spent_before: self.guests.spent(tried.binding.version),
            waiting,
            bytes: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            figures: Arc::default(),
        };
        let figures = Arc::clone(&part.figures);
        self.while_running(self.clone().compare_all(comparisons, figures));
        parts.insert(key, part.clone());
        part
    }

    /// Makes the comparisons of a trial, one after the other, until it is forgotten.
    async fn compare_all(
        self,
        mut comparisons: mpsc::Receiver<Comparison>,
        figures: Arc<Mutex<TrialFigures>>,
    ) {
        while let Some(comparison) = comparisons.recv().await {
            let tenant = comparison.tried.binding.tenant;
            let version = comparison.tried.binding.version;
            let before = self.guests.spent(version);
            let outcome = self.compare_one(comparison, &figures).await;
            let spent = since(before, self.guests.spent(version));
            tracing::trace!(%tenant, outcome, "versions were compared");
            tokio::time::sleep(self.rest_after(tenant, spent)).await;
        }
    }

    async fn compare_one(&self, comparison: Comparison, figures: &Mutex<TrialFigures>) -> &'static str {
        let Comparison {
            question,
            said,
            by,
            tried,
            in_use,
            seen,
            _bytes,
        } = comparison;
        let other = Binding {
            kv: seen,
            ..match by {
                Which::InUse => tried.binding.clone(),
                Which::Tried => in_use,
            }
        };
        let answer = match self.load(other.version).await {
            Ok(()) => self.ask(&other, &question).await,
            Err(_) => Err(GuestFault::NotLoaded),
        };
        let mut figures = figures.lock();
        if by == Which::InUse {
            figures.count_call(answer.as_ref().err());
        }
        let outcome = match &answer {
            // What it is refused for lack of room says nothing about it.
            Err(fault) if !fault.is_guilty() => {
                // One that was asked for the tried version was counted so just now.
                figures.shed += u64::from(by == Which::Tried);
                "shed"
            }
            Err(_) if by == Which::InUse => "failed",
            Ok(answer) if said.as_ref() == Ok(answer) => {
                figures.same += 1;
                "same"
            }
            Ok(_) | Err(_) => {
                figures.different += 1;
                "different"
            }
        };
        if matches!(outcome, "failed" | "different") {
            let (by_in_use, by_tried) = match by {
                Which::InUse => (&said, &answer),
                Which::Tried => (&answer, &said),
            };
            let body = question.body().filter(|_| !tried.is_sealed);
            figures.sample(Sample {
                at: self.clock.machine(),
                message: question.message(),
                in_use: shown(by_in_use, tried.is_sealed),
                tried: shown(by_tried, tried.is_sealed),
                body: body.map(|body| {
                    beginning(&String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]))
                }),
            });
        }
        drop(figures);
        self.metrics.tried(tried.binding.tenant, tried.world, outcome);
        outcome
    }

    async fn ask(&self, binding: &Binding, question: &Question) -> Result<Answer, GuestFault> {
        match question {
            Question::Route(table, envelope) => {
                let mut answers = self.guests.route(binding, table, vec![envelope.clone()]).await;
                let answer = answers.pop().unwrap_or(Err(GuestFault::Stopped));
                answer.map(Answer::routed)
            }
            Question::Filter(envelope, body) => {
                let answer = self.guests.filter(binding, envelope.clone(), body.clone()).await;
                answer.map(Answer::Filtered)
            }
        }
    }

    /// Returns how long no more is compared, so that what is tried has its part of the tenant's CPU time and no more.
    fn rest_after(&self, tenant: TenantId, spent: Spent) -> Duration {
        let quota = self.directory.view(|directory| {
            let record = directory.tenant(tenant);
            record.map_or(0, |record| record.quotas.guest_micros_per_second)
        });
        let micros =
            u128::from(spent.cpu_micros) * u128::from(CPU_PARTS) * 1_000_000 / u128::from(quota.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(REST_MAX)
    }
}

// === trials as their owners handle them ===

impl Broker {
    /// Begins to try a version where another of its plugin is bound.
    pub async fn begin_trial(
        &self,
        place: Place,
        world: World,
        version: PluginVersion,
        share: Share,
        gate: Option<Gate>,
    ) -> Result<(), BrokerError> {
        self.prepare(version, [place]).await?;
        let in_use = self
            .directory
            .view(|directory| Some(directory.binding(place, world)?.version));
        for version in [Some(version), in_use].into_iter().flatten() {
            self.load(version).await?;
            if world == World::Route && self.guests.uses_kv(version) {
                // One that decides has some messages at once, each by what it kept of the one before; the other one by one.
                let text = format!(
                    "version {version} is a router that keeps a store: it cannot be tried, nor another beside it"
                );
                return Err(BrokerError::Argument(text));
            }
        }
        self.make_room_for_kv(place, version).await?;
        let command = DirectoryCommand::BeginTrial {
            place,
            world,
            version,
            share,
            gate,
        };
        self.change_bindings(command).await.map(|_| ())
    }

    /// Ends the trial that runs at a place.
    pub async fn end_trial(&self, place: Place, world: World, end: TrialEnd) -> Result<(), BrokerError> {
        self.see_directory().await?;
        let trial = self
            .directory
            .view(|directory| directory.trial(place, world).cloned());
        let trial = trial.ok_or(BrokerError::Directory {
            refusal: DirectoryRefusal::NoTrial,
            kind: Kind::Topic,
        })?;
        self.end_this_trial(&trial, end).await
    }

    async fn end_this_trial(&self, trial: &TrialRecord, end: TrialEnd) -> Result<(), BrokerError> {
        if end == TrialEnd::Promoted {
            self.prepare(trial.version, [trial.place]).await?;
        }
        let command = DirectoryCommand::EndTrial {
            place: trial.place,
            world: trial.world,
            began: trial.began,
            end,
        };
        self.change_bindings(command).await.map(|_| ())
    }

    /// Returns the trials that run or were the last at their places, with what all nodes that answer have seen of them.
    pub async fn trials(&self) -> Vec<(TrialRecord, TrialFigures)> {
        let asked = self.others.all().into_iter().map(|other| async move {
            match self.ask_one(other, &Ask::Trials, TELLS_WITHIN).await {
                Some(Told::Trials(reports)) => reports,
                Some(_) | None => Vec::new(),
            }
        });
        let others = join_all(asked).await;
        let records: Vec<TrialRecord> = self
            .directory
            .view(|directory| directory.trials().cloned().collect());
        let mut sums: Vec<_> = records
            .into_iter()
            .map(|record| (record, TrialFigures::default()))
            .collect();
        for report in others.into_iter().flatten().chain(self.trial_reports()) {
            let of = sums.iter_mut().find(|(record, _)| {
                (record.place, record.world, record.began) == (report.place, report.world, report.began)
            });
            if let Some((_, sum)) = of {
                sum.add(report.figures);
            }
        }
        for (_, sum) in &mut sums {
            sum.samples.make_contiguous().sort_by_key(|sample| sample.at);
        }
        sums
    }

    /// Returns what this node has seen of trials.
    pub(super) fn trial_reports(&self) -> Vec<TrialReport> {
        let parts = self.trials.parts.lock();
        let reports = parts.iter().map(|((place, world), part)| {
            let spent = since(part.spent_before, self.guests.spent(part.version));
            TrialReport {
                place: *place,
                world: *world,
                began: part.began,
                figures: TrialFigures {
                    timed: spent.calls,
                    cpu_micros: spent.cpu_micros,
                    ..part.figures.lock().clone()
                },
            }
        });
        reports.collect()
    }

    /// Has trials end by their gates where this node leads the directory, and forgets its part in those that are no more,
    /// until the broker stops.
    pub(super) async fn watch_trials(self) {
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let began = |place, world| {
                self.directory
                    .view(|directory| directory.trial(place, world).map(|trial| trial.began))
            };
            self.trials
                .parts
                .lock()
                .retain(|(place, world), part| began(*place, *world).is_none_or(|began| began <= part.began));
            let is_gated = |trial: &TrialRecord| trial.end.is_none() && trial.gate.is_some();
            let any = self.directory.view(|directory| directory.trials().any(is_gated));
            if any && self.directory.is_leader() {
                self.judge_trials().await;
            }
        }
    }

    async fn judge_trials(&self) {
        for (trial, figures) in self.trials().await {
            let gate = trial.gate.filter(|_| trial.end.is_none());
            let Some(end) = gate.and_then(|gate| figures.judged_by(&gate)) else {
                continue;
            };
            tracing::info!(version = %trial.version, place = ?trial.place, ?end, "a trial ends by its gate");
            if let Err(error) = self.end_this_trial(&trial, end).await {
                tracing::warn!(version = %trial.version, %error, "a trial goes on though its gate ends it");
            }
        }
    }
}

fn since(before: Spent, now: Spent) -> Spent {
    // A version that was loaded anew counts from zero.
    Spent {
        calls: now.calls.saturating_sub(before.calls),
        cpu_micros: now.cpu_micros.saturating_sub(before.cpu_micros),
    }
}

/// Returns what one of both said, as it is shown. Where bodies are sealed nothing of the plugin's own words is.
fn shown(said: &Result<Answer, GuestFault>, is_sealed: bool) -> String {
    match said {
        Ok(Answer::Routed(matched)) => {
            let matched: Vec<String> = matched.iter().map(ToString::to_string).collect();
            beginning(&format!("subscriptions {}", matched.join(" ")))
        }
        Ok(Answer::Filtered(Filtered::Pass)) => "pass".to_owned(),
        Ok(Answer::Filtered(Filtered::Drop)) => "drop".to_owned(),
        Ok(Answer::Filtered(Filtered::Replace { body, .. })) => format!("replace, {} bytes", body.len()),
        Err(_) if is_sealed => "failed".to_owned(),
        Err(fault) => beginning(&fault.to_string()),
    }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use posthouse_model::Incarnation;

    use super::*;

    fn gate() -> Gate {
        Gate {
            calls_min: 100,
            errors_max: Some(Share(100)),
            differences_max: Some(Share(1_000)),
            call_micros_max: Some(50),
            promotes: true,
        }
    }

    fn good(calls: u64) -> TrialFigures {
        TrialFigures {
            calls,
            same: calls,
            timed: calls,
            cpu_micros: 50 * calls,
            ..TrialFigures::default()
        }
    }

    fn fell_back(figures: &TrialFigures) -> bool {
        matches!(figures.judged_by(&gate()), Some(TrialEnd::FellBack(_)))
    }

    #[test]
    fn a_gate_promotes_what_is_good_once_it_was_asked_often_enough() {
        assert_eq!(good(99).judged_by(&gate()), None);
        assert_eq!(good(100).judged_by(&gate()), Some(TrialEnd::Promoted));
        let by_hand = Gate {
            promotes: false,
            ..gate()
        };
        assert_eq!(good(100).judged_by(&by_hand), None);
        let shed = TrialFigures {
            shed: 1_000,
            ..good(99)
        };
        assert_eq!(shed.judged_by(&gate()), None, "what was shed shows nothing");
    }

    #[test]
    fn a_bound_is_passed_as_soon_as_no_good_call_can_make_up_for_it() {
        let failed = |failed, calls| TrialFigures {
            failed,
            ..good(calls)
        };
        assert!(!fell_back(&failed(1, 1)));
        assert!(fell_back(&failed(2, 2)));
        assert!(!fell_back(&failed(2, 200)));
        let different = |different| TrialFigures { different, ..good(0) };
        assert!(!fell_back(&different(10)));
        assert!(fell_back(&different(11)));
        let slow = |cpu_micros| TrialFigures {
            timed: 1,
            cpu_micros,
            ..good(0)
        };
        assert!(!fell_back(&slow(5_000)));
        assert!(fell_back(&slow(5_001)));
    }

    #[test]
    fn a_share_of_messages_is_decided_whatever_their_numbers() {
        let tried = |share| Tried {
            binding: Binding {
                version: PluginVersion(2),
                tenant: TenantId(1),
                configuration: Bytes::new(),
                identity: BindingIdentity {
                    changed: LogIndex(7),
                    place: Place::Incarnation(Incarnation(3)),
                },
                kv: None,
            },
            world: World::Filter,
            share: Share(share),
            is_sealed: false,
        };
        let decided = |share| {
            let tried = tried(share);
            (0..10_000).filter(|id| tried.decides(MessageId(*id))).count()
        };
        assert_eq!((decided(0), decided(10_000)), (0, 10_000));
        assert!((800..1_200).contains(&decided(1_000)), "{}", decided(1_000));
    }
}
