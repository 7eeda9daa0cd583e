//! The threads that guests run on, and what they share.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex, RwLock};
use posthouse_model::{PluginVersion, TenantId, World};

use crate::{
    account::{Accounts, thread_cpu},
    attendant::{Attendant, send},
    config::{CallLimits, Config, ROUTE_BATCH_MAX},
    engine::{Engines, PoolKind},
    fault::{BusyReason, GuestFault, HostError},
    instance::{Instance, Plugin},
    job::{InstanceKey, Job, Lane, Work},
    lent::Powers,
    queue::FairQueue,
    ticker::Ticker,
    warm::Warm,
};

/// Of a pool's instances, so many in eight may wait to be asked again.
const WARM_EIGHTHS: u32 = 6;
/// Jobs that are answered together where a caller is, at most: the others that it serves wait that long.
const TOGETHER_MAX: usize = 64;
/// Bytes of bodies, at most, in jobs that are answered where a caller is.
const HERE_BYTES_MAX: usize = 262_144;
/// Bytes of bodies, at most, in a job that waits for others: what sealing more takes is not worth waiting.
const GATHERED_BYTES_MAX: usize = HERE_BYTES_MAX / TOGETHER_MAX;
/// Stack of a thread beyond what guests have.
const HOST_STACK_BYTES: usize = 2 * 1_048_576;

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) engines: Arc<Engines>,
    pub(crate) accounts: Accounts,
    pub(crate) plugins: RwLock<HashMap<PluginVersion, Arc<Plugin>>>,
    pub(crate) powers: Powers,
    pub(crate) limits: CallLimits,
    pub(crate) ticker: Ticker,
    /// Jobs whose callers wait for others to join them.
    gathering: Mutex<HashMap<Lane, Vec<Job>>>,
    queue: Mutex<FairQueue<Lane, Job>>,
    ready: Condvar,
    small: Mutex<Warm<InstanceKey, Instance>>,
    interpreters: Mutex<Warm<InstanceKey, Instance>>,
}

/// A caller's turn to have the jobs answered that have gathered in its lane by then, its own or others'. Threads answer
/// them when the caller is gone before.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    /// None once it was used.
    lane: Option<Lane>,
}

/// The threads that guests run on.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(config: &Config, engines: Arc<Engines>, powers: Powers, ticker: Ticker) -> Shared {
        let warm = |instances: u32| Mutex::new(Warm::new((instances / 8 * WARM_EIGHTHS).max(1) as usize));
        Shared {
            engines,
            accounts: Accounts::new(config.quota),
            plugins: RwLock::default(),
            powers,
            limits: config.limits,
            ticker,
            gathering: Mutex::default(),
            queue: Mutex::new(FairQueue::new(config.waiting_max)),
            ready: Condvar::new(),
            small: warm(config.small.instances),
            interpreters: warm(config.interpreter.instances),
        }
    }

    /// Lets a small job wait for others like it. A caller that gets a turn is to let others come first, who may join, and
    /// use it then: what they ask together costs less than half of what it costs one by one.
    pub(crate) fn gather(&self, job: Job) -> Option<Turn<'_>> {
        if self.is_stopping() {
            return None;
        }
        if job.bytes() > GATHERED_BYTES_MAX {
            self.submit(vec![job]);
            return None;
        }
        let lane = job.lane();
        let mut gathering = self.gathering.lock();
        let Some(jobs) = gathering.get_mut(&lane) else {
            gathering.insert(lane.clone(), vec![job]);
            return Some(Turn::new(self, lane));
        };
        // As many turns are out as it takes to answer all.
        let needs_turn = jobs.len().is_multiple_of(TOGETHER_MAX);
        jobs.push(job);
        needs_turn.then(|| Turn::new(self, lane))
    }

    fn gathered(&self, lane: &Lane) -> Vec<Job> {
        let mut gathering = self.gathering.lock();
        match gathering.get_mut(lane) {
            Some(jobs) if jobs.len() > TOGETHER_MAX => jobs.drain(..TOGETHER_MAX).collect(),
            Some(_) => gathering.remove(lane).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Answers jobs of one lane here or hands them to the threads. Those that cannot wait are answered at once.
    fn submit(&self, mut jobs: Vec<Job>) {
        jobs.retain(|job| !job.is_given_up());
        let Some(first) = jobs.first() else { return };
        if self.is_stopping() {
            return;
        }
        if let Err(reason) = first.account.check() {
            return jobs
                .into_iter()
                .for_each(|job| refuse(job, &GuestFault::Busy(reason)));
        }
        for job in self.serve_here(jobs) {
            self.hand_over(job);
        }
    }

    fn hand_over(&self, job: Job) {
        let (tenant, lane) = (job.binding.tenant, job.lane());
        let mut queue = self.queue.lock();
        // Looked at with the lock held: what is pushed before the flag is set is cleared.
        if self.is_stopping() {
            return;
        }
        let pushed = queue.push(tenant, lane, job);
        drop(queue);
        match pushed {
            Ok(()) => {
                self.ready.notify_one();
            }
            Err(job) => refuse(job, &GuestFault::Busy(BusyReason::Waiting)),
        }
    }

    /// Lets go of the instances of a version or tenant that wait to be asked again.
    pub(crate) fn evict(&self, fits: impl Fn(&InstanceKey) -> bool) {
        for kind in [PoolKind::Small, PoolKind::Interpreter] {
            let evicted = self.warm(kind).lock().evict_all(&fits);
            drop(evicted);
        }
    }

    pub(crate) fn warm(&self, kind: PoolKind) -> &Mutex<Warm<InstanceKey, Instance>> {
        match kind {
            PoolKind::Small => &self.small,
            PoolKind::Interpreter => &self.interpreters,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.powers.stopping.load(Ordering::Relaxed)
    }

    /// Waits for jobs that can be answered together; none once the host stops.
    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue.lock();
        loop {
            if self.is_stopping() {
                queue.clear();
                return None;
            }
            let mut room = ROUTE_BATCH_MAX;
            let mut first = None;
            let together = |job: &Job| {
                *first.get_or_insert_with(|| job.binding.clone()) == job.binding && joins(job, &mut room)
            };
            if let Some(jobs) = queue.take(together) {
                return Some(jobs);
            }
            self.ready.wait(&mut queue);
        }
    }

    /// Answers jobs of one lane where a caller is, if an instance waits that has been quick so far: handing them to a
    /// thread and back would cost several times what the calls do. Otherwise, and when the instance turns out not to be
    /// quick, those not answered are returned, for the threads.
    fn serve_here(&self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(first) = jobs.first() else { return jobs };
        let Some(plugin) = self.usable(first) else {
            return jobs;
        };
        // Work that is begun here may be done once more by a thread: what it noted of a store would be there twice.
        if first.binding.kv.is_some() || jobs.iter().map(Job::bytes).sum::<usize>() > HERE_BYTES_MAX {
            return jobs;
        }
        let (binding, account, key) = (first.binding.clone(), Arc::clone(&first.account), first.key());
        let quick = |instance: &Instance| instance.is_quick_for(&first.work) && instance.serves(&binding);
        let warm = self.warm(plugin.pool).lock().take_if(&key, quick);
        let Some(instance) = warm else { return jobs };
        let (alike, mut left): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| job.binding == binding);
        let (asked, works) = (alike.len(), alike.into_iter().map(|job| job.work).collect());
        let attendant = Attendant::new(self, &plugin, &binding, &account, key).here(instance);
        let unanswered = self
            .guarded(binding.tenant, || attendant.answer(works))
            .unwrap_or_default();
        let answered = asked - unanswered.len();
        account
            .answered_here
            .fetch_add(answered as u64, Ordering::Relaxed);
        left.extend(unanswered.into_iter().map(|work| Job {
            binding: binding.clone(),
            account: Arc::clone(&account),
            work,
        }));
        left
    }

    /// Runs guests of a tenant, looked at while they run.
    fn guarded<T>(&self, tenant: TenantId, run: impl FnOnce() -> T) -> Option<T> {
        let _running = self.ticker.run();
        // A panic is a mistake of ours. Callers are told that the host stopped; other tenants go on.
        let done = catch_unwind(AssertUnwindSafe(run));
        if done.is_err() {
            tracing::error!(%tenant, "a call of a plugin panicked in the host");
        }
        done.ok()
    }

    fn work(&self) {
        while let Some(jobs) = self.next() {
            let Some(tenant) = jobs.first().map(|job| job.binding.tenant) else {
                continue;
            };
            let before = thread_cpu();
            self.guarded(tenant, || self.serve(jobs));
            let used = thread_cpu().saturating_sub(before);
            let used = u64::try_from(used.as_micros()).unwrap_or(u64::MAX).max(1);
            self.queue.lock().charge(tenant, used);
        }
    }

    fn serve(&self, mut jobs: Vec<Job>) {
        jobs.retain(|job| !job.is_given_up());
        let Some(first) = jobs.first() else { return };
        let Some(plugin) = self.usable(first) else {
            return jobs
                .into_iter()
                .for_each(|job| refuse(job, &GuestFault::NotLoaded));
        };
        if let Err(reason) = first.account.check() {
            return jobs
                .into_iter()
                .for_each(|job| refuse(job, &GuestFault::Busy(reason)));
        }
        let (binding, account, key) = (first.binding.clone(), Arc::clone(&first.account), first.key());
        let works = jobs.into_iter().map(|job| job.work).collect();
        let attendant = Attendant::new(self, &plugin, &binding, &account, key);
        if !attendant.answer(works).is_empty() {
            tracing::error!(tenant = %binding.tenant, "a call was given up where it may take its time");
        }
    }

    /// Returns the plugin that a job asks, if it is loaded, the tenant's to use and of the right world.
    fn usable(&self, job: &Job) -> Option<Arc<Plugin>> {
        let plugin = self.plugins.read().get(&job.binding.version).cloned();
        plugin.filter(|plugin| {
            plugin.world == job.work.world() && plugin.owner.is_none_or(|owner| owner == job.binding.tenant)
        })
    }
}

// === impl Turn ===

impl<'a> Turn<'a> {
    fn new(shared: &'a Shared, lane: Lane) -> Self {
        Self {
            shared,
            lane: Some(lane),
        }
    }

    /// Has the jobs answered that have gathered.
    pub(crate) fn take(mut self) {
        if let Some(lane) = self.lane.take() {
            self.shared.submit(self.shared.gathered(&lane));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(lane) = self.lane.take() else { return };
        for job in self.shared.gathered(&lane) {
            self.shared.hand_over(job);
        }
    }
}

// === impl Workers ===

impl Workers {
    pub(crate) fn start(config: &Config, shared: Arc<Shared>) -> Result<Workers, HostError> {
        let workers = Workers {
            shared,
            handles: Mutex::default(),
        };
        for number in 0..config.threads.max(1) {
            let shared = Arc::clone(&workers.shared);
            let niceness = config.niceness;
            let handle = thread::Builder::new()
                .name(format!("guest-{number}"))
                .stack_size(config.limits.stack_bytes + HOST_STACK_BYTES)
                .spawn(move || {
                    // On Linux this is the thread's own niceness. Being less nice than asked harms nobody.
                    let _ = rustix::process::setpriority_process(None, niceness);
                    shared.work();
                })
                .map_err(HostError::Thread)?;
            workers.handles.lock().push(handle);
        }
        Ok(workers)
    }

    /// Stops guests where they are, and waits until the threads have ended.
    pub(crate) fn stop(&self) {
        self.shared.powers.stopping.store(true, Ordering::SeqCst);
        // With the lock held once, no thread is between looking at the flag and waiting.
        drop(self.shared.queue.lock());
        self.shared.ready.notify_all();
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            let _ = handle.join();
        }
        self.shared.queue.lock().clear();
        self.shared.evict(|_| true);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Job ===

impl Job {
    /// Returns whether nobody waits for the answer any more.
    fn is_given_up(&self) -> bool {
        match &self.work {
            Work::Route { reply, .. } => reply.is_closed(),
            Work::Filter { reply, .. } => reply.is_closed(),
            Work::Begin { reply, .. } | Work::Resume { reply, .. } => reply.is_closed(),
            Work::Seal { reply, .. } => reply.is_closed(),
            Work::Open { reply, .. } => reply.is_closed(),
        }
    }

    /// Returns how long the bodies are that guests are lent for it.
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Route { .. } | Work::Resume { .. } => 0,
            Work::Filter { batch, .. } => batch.iter().map(|(_, body)| body.len()).sum(),
            Work::Begin { body, .. } => body.len(),
            Work::Seal { batch, .. } => batch.iter().map(|item| item.plain.len()).sum(),
            Work::Open { batch, .. } => batch.iter().map(|item| item.ciphertext.len()).sum(),
        }
    }
}

// === impl Work ===

impl Work {
    fn world(&self) -> World {
        match self {
            Work::Route { .. } => World::Route,
            Work::Filter { .. } => World::Filter,
            Work::Begin { .. } | Work::Resume { .. } => World::Deliver,
            Work::Seal { .. } | Work::Open { .. } => World::Seal,
        }
    }
}

/// Returns what the host has for all instances.
pub(crate) fn powers(keys: Arc<dyn crate::lend::KeyLender>) -> Powers {
    Powers {
        keys,
        stopping: Arc::new(AtomicBool::new(false)),
    }
}

/// Returns whether a job is answered together with those before it: calls of a router are, as many as one call takes.
fn joins(job: &Job, room: &mut usize) -> bool {
    match &job.work {
        Work::Route { batch, .. } => match room.checked_sub(batch.len()) {
            Some(left) => {
                *room = left;
                true
            }
            None => false,
        },
        Work::Filter { .. }
        | Work::Begin { .. }
        | Work::Resume { .. }
        | Work::Seal { .. }
        | Work::Open { .. } => false,
    }
}

/// Answers a job with a fault for each of its messages.
fn refuse(job: Job, fault: &GuestFault) {
    if let GuestFault::Busy(reason) = fault {
        job.account.count_refused(*reason);
    }
    match job.work {
        Work::Route { batch, reply, .. } => send(reply, vec![Err(fault.clone()); batch.len()]),
        Work::Filter { batch, reply } => send(reply, vec![Err(fault.clone()); batch.len()]),
        Work::Begin { reply, .. } | Work::Resume { reply, .. } => send(reply, vec![Err(fault.clone())]),
        Work::Seal { batch, reply, .. } => send(reply, vec![Err(fault.clone()); batch.len()]),
        Work::Open { batch, reply } => send(reply, vec![Err(fault.clone()); batch.len()]),
    }
}
