//! Push delivery: the set's leader works the backlogs of subscriptions.
//!
//! A worker for each subscription that has something to deliver claims messages by command, drives the deliver
//! plugin (which says what to do next and does no I/O itself), and settles by command. Messages are delivered
//! concurrently, within a bound for each endpoint and for the node; one that waits for its retry holds nothing up.

mod doors;
mod pace;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use posthouse_host::{Action, Binding, Delivery, GuestFault, Outcome, Payload, Response, Step};
use posthouse_model::{
    ContentFormat, Endpoint, FailurePolicy, GuestLimits, Incarnation, Kind, Leased, MessageId, MoveCause,
    Name, Parking, Place, Refusal, RetryStrategy, SetCommand, SetId, SetReply, Settled, SettledOutcome, Span,
    StoredMessage, SubscriptionId, TenantId, World,
};
use tokio::sync::{Notify, Semaphore};

use super::decide::{identity, kept_text};
use super::kv::{Lending, store_of};
use super::queues::DECISIONS_MAX;
use super::reach::senseless;
use super::recorder::Trail;
use super::{Broker, BrokerError};
use crate::case_values::{action_value, response_value};
use crate::egress::{self, EgressError};
use doors::{Door, Doors, Pass};
use pace::Paces;

/// How many messages one claim takes.
const CLAIM_MAX: usize = 64;
/// How many steps one attempt may take.
const STEPS_MAX: usize = 8;
/// How long a claim lasts: longer than the longest attempt.
const CLAIM_SPAN: Span = Span::from_seconds(STEPS_MAX as u64 * 60 + 60);
/// How long a delivery rests that could not be attempted or whose plugin failed.
const REST: Span = Span::from_seconds(5);
/// How long a worker rests after agreement failed.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// Subscriptions that a worker is busy with, and what it may use.
#[derive(Debug)]
pub(super) struct Deliveries {
    working: Mutex<HashMap<Worked, Arc<Notify>>>,
    in_flight: Arc<Semaphore>,
    doors: Doors,
    paces: Paces,
}

/// What a worker works on.
type Worked = (SetId, Incarnation, SubscriptionId);

/// A subscription as its worker sees it.
struct Course {
    set: SetId,
    topic: Incarnation,
    subscription: SubscriptionId,
    tenant: TenantId,
    tenant_name: String,
    topic_name: Name,
    name: Name,
    endpoint: Endpoint,
    format: ContentFormat,
    retry: RetryStrategy,
    retention: Span,
    limits: GuestLimits,
}

/// An attempt to deliver one message.
#[derive(Clone, Copy)]
struct Effort<'a> {
    course: &'a Course,
    leased: &'a Leased,
    delivery: &'a Delivery,
    body: &'a Bytes,
    /// Whether the body is kept sealed.
    was_sealed: bool,
}

/// What a deliver plugin is asked.
enum Asked {
    Begin,
    Resume(Bytes, Response),
}

/// What an attempt has come to before the plugin's next step.
#[derive(Clone, Copy, Default)]
struct SoFar {
    /// What the endpoint answered last.
    status: u16,
    enqueued: Option<Incarnation>,
}

/// What a deliver plugin answered.
enum Stepped {
    GoesOn(Step),
    Ended(Ended),
}

/// How an attempt ended.
struct Ended {
    outcome: SettledOutcome,
    status: u16,
    /// Whether the set knows.
    is_settled: bool,
}

/// A worker's place in the line before an endpoint's door.
#[derive(Default)]
struct Line {
    waiting: Option<BoxFuture<'static, Pass>>,
    /// What it got, until it is used.
    pass: Option<Pass>,
}

// === impl Deliveries ===

impl Deliveries {
    /// Returns room for so many attempts at once, and so many to one endpoint.
    pub(super) fn new(in_flight_max: usize, per_endpoint_max: usize) -> Deliveries {
        Deliveries {
            working: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
            doors: Doors::new(per_endpoint_max),
            paces: Paces::default(),
        }
    }

    /// Lets go of what is kept for a tenant that is no more.
    pub(super) fn forget_tenant(&self, tenant: TenantId) {
        self.paces.forget(tenant);
    }
}

// === impl Ended ===

impl Ended {
    fn unsettled(outcome: SettledOutcome, status: u16) -> Ended {
        Ended {
            outcome,
            status,
            is_settled: false,
        }
    }
}

// === impl Line ===

impl Line {
    /// Returns passes through a door, up to so many; when there are none, stands in line for one.
    fn passes(&mut self, door: &Arc<Door>, count_max: usize) -> Vec<Pass> {
        let held = self.pass.take().filter(|pass| pass.leads_through(door));
        let mut passes: Vec<Pass> = held.into_iter().collect();
        passes.extend(door.passes(count_max.saturating_sub(passes.len())));
        self.waiting = match passes.is_empty() {
            true => self
                .waiting
                .take()
                .or_else(|| Some(Arc::clone(door).next_pass().boxed())),
            false => None,
        };
        passes
    }

    /// Waits until a pass is there, if one is waited for. Nothing is lost when it is dropped half-way.
    async fn moved(&mut self) {
        match &mut self.waiting {
            Some(waiting) => {
                self.pass = Some(waiting.await);
                self.waiting = None;
            }
            None => std::future::pending().await,
        }
    }
}

// === impl Broker ===

impl Broker {
    /// Has a subscription worked: by its worker, if it has one. Called when it has something to deliver.
    pub(super) fn deliver(&self, set: SetId, topic: Incarnation, subscription: SubscriptionId) {
        if self.is_stopping() || !self.set(set).is_leader() {
            return;
        }
        let worked = (set, topic, subscription);
        let news = Arc::new(Notify::new());
        {
            let mut working = self.deliveries.working.lock();
            if let Some(worker) = working.get(&worked) {
                worker.notify_one();
                return;
            }
            working.insert(worked, Arc::clone(&news));
        }
        let broker = self.clone();
        self.tasks.spawn(async move {
            broker.work(worked, news).await;
        });
    }

    /// Starts workers for all subscriptions of a set that have something to deliver: after a start or an election.
    pub(super) fn deliver_all(&self, set: SetId) {
        for (topic, subscription) in self.set(set).view(|state| state.subscriptions_claimable()) {
            self.deliver(set, topic, subscription);
        }
    }

    async fn work(&self, worked: Worked, news: Arc<Notify>) {
        let (set, topic, subscription) = worked;
        let stop = self.stop.clone();
        loop {
            let working = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                working = self.work_backlog(worked, &news) => working,
            };
            if let Err(error) = working {
                tracing::debug!(%topic, %subscription, %error, "delivery pauses");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
            // Leaving first and looking then: what comes after the look finds no worker and starts one.
            self.deliveries.working.lock().remove(&worked);
            let more = self.set(set).view(|state| {
                state
                    .topic(topic)
                    .and_then(|topic| topic.subscription(subscription))
                    .is_some_and(|subscription| subscription.claimable())
            });
            if !more || !self.set(set).is_leader() {
                return;
            }
            let mut working = self.deliveries.working.lock();
            if working.contains_key(&worked) {
                return;
            }
            working.insert(worked, Arc::clone(&news));
        }
    }

    /// Works until nothing is claimable and all attempts have ended.
    async fn work_backlog(&self, worked: Worked, news: &Notify) -> Result<(), BrokerError> {
        let (set, topic, subscription) = worked;
        let mut attempts = FuturesUnordered::new();
        let mut line = Line::default();
        let mut dry = false;
        loop {
            let mut held_back = None;
            if let Some(room) = self.room(attempts.len()).filter(|_| !dry) {
                let Some(course) = self.course(set, topic, subscription).map(Arc::new) else {
                    return Ok(());
                };
                // Only what can be attempted at once is claimed: a claim does not last for ever.
                let mut passes =
                    line.passes(&self.deliveries.doors.to(course.tenant, &course.endpoint), room);
                match self.take_requests(&course, passes.len()) {
                    Ok(requests) => passes.truncate(requests),
                    Err(wait) => {
                        passes.clear();
                        held_back = Some(wait);
                    }
                }
                if !passes.is_empty() {
                    let claimed = self.claim(&course, passes.len()).await?;
                    dry = claimed.len() < passes.len();
                    self.give_requests_back(&course, passes.len() - claimed.len());
                    for (leased, pass) in claimed.into_iter().zip(passes) {
                        attempts.push(self.attempt(Arc::clone(&course), leased, pass));
                    }
                }
            }
            if attempts.is_empty() && dry {
                return Ok(());
            }
            let first = tokio::select! {
                Some(ended) = attempts.next() => Some(ended),
                () = line.moved() => continue,
                () = pause(held_back) => continue,
                () = news.notified() => {
                    dry = false;
                    continue;
                }
            };
            let mut outcomes: Vec<Settled> = first.into_iter().flatten().collect();
            // All that has ended by now is settled in one command.
            while let Some(Some(ended)) = attempts.next().now_or_never() {
                outcomes.extend(ended);
            }
            if !outcomes.is_empty() {
                self.settle(set, topic, subscription, outcomes).await?;
            }
        }
    }

    /// Takes the first HTTP request of each of so many attempts, or of fewer; or tells how long to wait for one.
    fn take_requests(&self, course: &Course, attempts: usize) -> Result<usize, Duration> {
        if attempts == 0 || matches!(course.endpoint, Endpoint::Queue(_)) {
            return Ok(attempts);
        }
        let rate = course.limits.http_requests_per_second;
        let taken = self.deliveries.paces.take(course.tenant, rate, attempts);
        if taken.is_err() {
            self.metrics.http_held_back(course.tenant);
        }
        taken
    }

    fn give_requests_back(&self, course: &Course, unused: usize) {
        if unused > 0 && matches!(course.endpoint, Endpoint::Http(_)) {
            let rate = course.limits.http_requests_per_second;
            self.deliveries.paces.give_back(course.tenant, rate, unused);
        }
    }

    fn room(&self, busy: usize) -> Option<usize> {
        let passes_max = self.deliveries.doors.passes_max();
        let room = passes_max.saturating_sub(busy);
        // Claims are worth their entry only when several messages can be taken at once.
        let worth = room * 2 >= passes_max;
        worth.then_some(room.min(CLAIM_MAX))
    }

    fn course(&self, set: SetId, topic: Incarnation, subscription: SubscriptionId) -> Option<Course> {
        let mut course = self.set(set).view(|state| {
            let found = state.topic(topic)?;
            let known = found.subscription(subscription)?;
            let attributes = known.attributes();
            Some(Course {
                set,
                topic,
                subscription,
                tenant: found.tenant(),
                tenant_name: String::new(),
                topic_name: found.name().clone(),
                name: known.name().clone(),
                endpoint: attributes.endpoint.clone(),
                format: attributes.format,
                retry: attributes.retry,
                retention: found.attributes().retention,
                limits: GuestLimits::default(),
            })
        })?;
        (course.tenant_name, course.limits) = self.directory.view(|directory| {
            let tenant = directory.tenant(course.tenant);
            let name = tenant.map(|tenant| tenant.name.as_str().to_owned());
            (name.unwrap_or_default(), directory.guest_limits(course.tenant))
        });
        Some(course)
    }

    async fn claim(&self, course: &Course, max: usize) -> Result<Vec<Leased>, BrokerError> {
        let command = SetCommand::Claim {
            topic: course.topic,
            subscription: course.subscription,
            max: u16::try_from(max).unwrap_or(u16::MAX),
            span: CLAIM_SPAN,
            term: self.set(course.set).term().unwrap_or_default(),
        };
        match self.set(course.set).propose(command).await? {
            Ok(SetReply::Leased(leased)) => Ok(leased),
            Ok(other) => Err(senseless(&other)),
            Err(refusal) => Err(BrokerError::topic(refusal)),
        }
    }

    async fn settle(
        &self,
        set: SetId,
        topic: Incarnation,
        subscription: SubscriptionId,
        outcomes: Vec<Settled>,
    ) -> Result<(), BrokerError> {
        match self
            .set(set)
            .propose(SetCommand::Settle {
                topic,
                subscription,
                outcomes,
            })
            .await?
        {
            Ok(_) => Ok(()),
            // The subscription is gone, and with it what was to be settled.
            Err(Refusal::NoSubscription | Refusal::NoIncarnation(_)) => Ok(()),
            Err(refusal) => Err(BrokerError::topic(refusal)),
        }
    }

    /// Makes one attempt to deliver one message, and says what became of it; none when that is settled already, with what
    /// the plugin kept.
    async fn attempt(&self, course: Arc<Course>, leased: Leased, _pass: Pass) -> Option<Settled> {
        let _room = self.deliveries.in_flight.acquire().await;
        let stored = match self.read_open(course.set, leased.body).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Some(settled(leased, MessageId::default(), 0, SettledOutcome::Dropped)),
            Err(error) => {
                tracing::warn!(topic = %course.topic, %error, "a message cannot be read for delivery");
                return Some(settled(
                    leased,
                    MessageId::default(),
                    0,
                    SettledOutcome::Retry(REST),
                ));
            }
        };
        let id = stored.message.id;
        let Ended {
            outcome,
            status,
            is_settled,
        } = self.drive(&course, &leased, stored).await;
        self.metrics.pushed(course.tenant, &outcome);
        (!is_settled).then(|| settled(leased, id, status, outcome))
    }

    /// Drives the deliver plugin through its steps.
    async fn drive(&self, course: &Course, leased: &Leased, stored: StoredMessage) -> Ended {
        let kind_place = match course.endpoint {
            Endpoint::Http(_) => Place::HttpEndpoints,
            Endpoint::Queue(_) => Place::QueueEndpoints,
        };
        let places = [
            Place::Subscription(course.topic, course.subscription),
            Place::Incarnation(course.topic),
            Place::Tenant(course.tenant),
            kind_place,
        ];
        let Some(record) = self.binding_record(&places, World::Deliver) else {
            tracing::warn!(topic = %course.topic, "no deliver plugin is bound; nothing is delivered");
            return Ended::unsettled(SettledOutcome::Retry(REST), 0);
        };
        let binding = Binding {
            version: record.version,
            tenant: course.tenant,
            configuration: record.configuration.clone(),
            identity: identity(&record),
            kv: None,
        };
        let delivery = self.delivery(course, leased, &stored);
        let was_sealed = stored
            .message
            .decisions
            .iter()
            .any(|decision| decision.verdict.is_sealed());
        let body = match stored.message.body {
            posthouse_model::Body::Clear(body) => body,
            posthouse_model::Body::Sealed(_) => unreachable!("a body is opened before it is delivered"),
        };
        let effort = Effort {
            course,
            leased,
            delivery: &delivery,
            body: &body,
            was_sealed,
        };
        let mut trail = None;
        if record.quarantined.is_none() && !self.is_kept_sealed(&effort) {
            trail = self.trail(&binding);
        }
        let driven = match &record.quarantined {
            Some(reason) => Err(GuestFault::Said(format!("quarantined: {reason}"))),
            None => self.steps(&effort, &binding, trail.as_mut()).await,
        };
        let fault = match driven {
            Ok(done) => return done,
            // It was not asked, through no fault of its own: no failure policy is for that.
            Err(fault) if !fault.is_guilty() => return Ended::unsettled(SettledOutcome::Retry(REST), 0),
            Err(fault) => fault,
        };
        self.plugin_failed(&binding, World::Deliver, &fault);
        if let Some(trail) = trail {
            self.record_delivery(&binding, &delivery, &body, trail, &fault);
        }
        match record.on_failure {
            FailurePolicy::Reject => Ended::unsettled(SettledOutcome::Retry(REST), 0),
            FailurePolicy::Park => {
                let text = kept_text(&fault, &posthouse_model::Body::Clear(body.clone()));
                let subscription = Some(course.subscription);
                let attempt = leased.receive_count;
                let parking = self.parking(&binding, World::Deliver, subscription, attempt, &fault, text);
                self.park_delivery(course, parking).await
            }
            FailurePolicy::Fallback => self.fall_back(&effort, kind_place).await,
        }
    }

    async fn fall_back(&self, effort: &Effort<'_>, place: Place) -> Ended {
        let Some(record) = self.binding_record(&[place], World::Deliver) else {
            return Ended::unsettled(SettledOutcome::Retry(REST), 0);
        };
        let binding = Binding {
            version: record.version,
            tenant: effort.course.tenant,
            identity: identity(&record),
            configuration: record.configuration,
            kv: None,
        };
        self.steps(effort, &binding, None)
            .await
            .unwrap_or(Ended::unsettled(SettledOutcome::Retry(REST), 0))
    }

    async fn park_delivery(&self, course: &Course, parking: Box<Parking>) -> Ended {
        match self.parked_queue(course.tenant).await {
            Ok(found) => {
                let cause = MoveCause::ParkedBy(parking);
                let target = found.incarnation;
                Ended::unsettled(SettledOutcome::Enqueue { target, cause }, 0)
            }
            Err(_) => Ended::unsettled(SettledOutcome::Retry(REST), 0),
        }
    }

    async fn steps(
        &self,
        effort: &Effort<'_>,
        binding: &Binding,
        mut trail: Option<&mut Trail>,
    ) -> Result<Ended, GuestFault> {
        if let Err(error) = self.load(binding.version).await {
            tracing::warn!(version = %binding.version, %error, "a plugin cannot be asked to deliver");
            return Err(GuestFault::NotLoaded);
        }
        let Effort { course, body, .. } = *effort;
        let mut so_far = SoFar::default();
        // The first one was taken when the message was claimed.
        let mut paid = matches!(course.endpoint, Endpoint::Http(_));
        let mut stepped = self
            .ask_to_deliver(effort, binding, Asked::Begin, so_far, trail.as_deref_mut())
            .await?;
        for _ in 0..STEPS_MAX {
            let step = match stepped {
                Stepped::Ended(ended) => return Ok(ended),
                Stepped::GoesOn(step) => step,
            };
            let asked_for = trail.is_some().then(|| action_value(&step.action));
            let response = match step.action {
                Action::Done(_) => unreachable!("an attempt that is done has ended"),
                Action::Http(request) => {
                    let payload = match request.body {
                        Payload::Message => body.clone(),
                        Payload::Bytes(bytes) => bytes,
                    };
                    let request = egress::Request {
                        method: request.method,
                        url: request.url,
                        headers: request.headers,
                        body: payload,
                        timeout: request.timeout.into(),
                    };
                    let sent = self
                        .make_request(course, request, std::mem::take(&mut paid))
                        .await;
                    match sent {
                        Ok(response) => {
                            so_far.status = response.status;
                            Response::Http {
                                status: response.status,
                                headers: response.headers,
                                body: response.body,
                            }
                        }
                        Err(error) => Response::Failed(error.to_string()),
                    }
                }
                Action::Enqueue(queue) => match self.resolve(course.tenant, Kind::Queue, &queue) {
                    Ok(target) => {
                        so_far.enqueued = Some(target.incarnation);
                        Response::Enqueued
                    }
                    Err(error) => Response::Failed(error.to_string()),
                },
            };
            if let (Some(trail), Some(asked_for)) = (trail.as_deref_mut(), asked_for) {
                trail.step(asked_for, response_value(&response));
            }
            let asked = Asked::Resume(step.state, response);
            stepped = self
                .ask_to_deliver(effort, binding, asked, so_far, trail.as_deref_mut())
                .await?;
        }
        match stepped {
            Stepped::Ended(ended) => Ok(ended),
            Stepped::GoesOn(_) => Err(GuestFault::Nonsense(format!("took more than {STEPS_MAX} steps"))),
        }
    }

    /// Asks a plugin what to do next. Where it keeps something, its last answer is settled at once, with what it kept: and
    /// asked for again if that was decided by what has changed meanwhile.
    async fn ask_to_deliver(
        &self,
        effort: &Effort<'_>,
        binding: &Binding,
        asked: Asked,
        so_far: SoFar,
        mut trail: Option<&mut Trail>,
    ) -> Result<Stepped, GuestFault> {
        let Effort { course, leased, .. } = *effort;
        let rest = Stepped::Ended(Ended::unsettled(SettledOutcome::Retry(REST), so_far.status));
        for _ in 0..DECISIONS_MAX {
            let Ok(mut uses) = self.kv_uses(course.set, &BTreeSet::new()).await else {
                return Ok(rest);
            };
            let mut lending = Lending {
                world: World::Deliver,
                is_sealed: self.is_kept_sealed(effort),
                uses: &mut uses,
            };
            let Ok(lent) = self.lend_kv(binding, &mut lending).await else {
                return Ok(rest);
            };
            let step = self.step(effort, &lent, &asked).await;
            if let Some(trail) = trail.as_deref_mut() {
                trail.found = uses.found_at_first(store_of(binding, World::Deliver));
            }
            let step = step?;
            let Action::Done(outcome) = step.action else {
                return Ok(Stepped::GoesOn(step));
            };
            let outcome = concluded(outcome, so_far.enqueued);
            let command = uses.with(SetCommand::Settle {
                topic: course.topic,
                subscription: course.subscription,
                outcomes: vec![settled(
                    *leased,
                    effort.delivery.message,
                    so_far.status,
                    outcome.clone(),
                )],
            });
            let ended = Ended::unsettled(outcome, so_far.status);
            if matches!(command, SetCommand::Settle { .. }) {
                return Ok(Stepped::Ended(ended));
            }
            match self.set(course.set).propose(command).await {
                Ok(Err(Refusal::StaleRead)) => self.metrics.decided_again(),
                // The subscription is gone, and with it what was to be settled and kept.
                Ok(Ok(_) | Err(Refusal::NoSubscription | Refusal::NoIncarnation(_))) => {
                    return Ok(Stepped::Ended(Ended {
                        is_settled: true,
                        ..ended
                    }));
                }
                Ok(Err(refusal)) => {
                    tracing::debug!(topic = %course.topic, %refusal, "what a plugin kept is refused");
                    return Ok(rest);
                }
                Err(_) => return Ok(rest),
            }
        }
        Ok(rest)
    }

    /// Returns whether what an attempt is about is kept sealed, or will be.
    fn is_kept_sealed(&self, effort: &Effort<'_>) -> bool {
        effort.was_sealed || self.is_sealed(Place::Incarnation(effort.course.topic))
    }

    async fn step(&self, effort: &Effort<'_>, binding: &Binding, asked: &Asked) -> Result<Step, GuestFault> {
        let Effort { delivery, body, .. } = *effort;
        match asked {
            Asked::Begin => self.guests.deliver_begin(binding, delivery, body.clone()).await,
            Asked::Resume(state, response) => {
                self.guests
                    .deliver_resume(binding, delivery, state.clone(), response.clone())
                    .await
            }
        }
    }

    /// Makes a request for a tenant, within its limits.
    async fn make_request(
        &self,
        course: &Course,
        request: egress::Request,
        paid: bool,
    ) -> Result<egress::Response, EgressError> {
        let (tenant, limits) = (course.tenant, &course.limits);
        let rate = limits.http_requests_per_second;
        let sent = if paid || self.deliveries.paces.charge(tenant, rate) {
            self.metrics.http_request(tenant, request.body.len() as u64);
            self.egress.send(request, limits.http_hosts.as_deref()).await
        } else {
            Err(EgressError::OverRate)
        };
        if let Err(error) = &sent {
            self.metrics.http_failed(tenant, error);
        }
        sent
    }

    fn delivery(&self, course: &Course, leased: &Leased, stored: &StoredMessage) -> Delivery {
        let now = self.set(course.set).now();
        let mut chance = [0; 8];
        self.entropy.fill(&mut chance);
        Delivery {
            message: stored.message.id,
            request: leased.handle.0,
            topic_owner: course.tenant_name.clone(),
            topic: course.topic_name.as_str().to_owned(),
            subscription: course.name.as_str().to_owned(),
            endpoint: course.endpoint.clone(),
            format: course.format,
            retry: course.retry,
            tags: stored.message.tags.clone(),
            routing_key: stored.message.routing_key.clone(),
            attributes: stored.message.attributes.clone(),
            published: stored.produced,
            attempt: leased.receive_count,
            age: now.since(stored.produced),
            retention: course.retention,
            chance: u64::from_le_bytes(chance),
        }
    }
}

/// Waits for so long, or for ever.
async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn concluded(outcome: Outcome, enqueued: Option<Incarnation>) -> SettledOutcome {
    match (outcome, enqueued) {
        (Outcome::Acknowledged, None) => SettledOutcome::Acknowledged,
        // The hand-over to the queue and the acknowledgement are one command.
        (Outcome::Acknowledged, Some(target)) => SettledOutcome::Enqueue {
            target,
            cause: MoveCause::Delivered,
        },
        (Outcome::RetryAfter(span), _) => SettledOutcome::Retry(span),
        (Outcome::Drop(_), _) => SettledOutcome::Dropped,
    }
}

fn settled(leased: Leased, message: MessageId, status: u16, outcome: SettledOutcome) -> Settled {
    Settled {
        handle: leased.handle,
        message,
        status,
        outcome,
    }
}
