//! What each tenant's guests use, and how much they may.
//!
//! CPU time is a bucket that fills at the quota's rate and holds one second of it. It is charged after the fact, so it
//! may run below empty; then the tenant waits until it has filled again. Memory and instances are counted as they are
//! taken and given back; memory is counted for all tenants together as well.

use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use posthouse_model::TenantId;

use crate::config::{FIGURES_PER_NODE_MAX, FIGURES_PER_TENANT_MAX, GuestQuota};
use crate::figures::FigureRoom;

/// What a tenant's guests have used since the host opened, and use now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Calls of guests.
    pub calls: u64,
    /// Jobs, of one call or a batch, that were answered where their caller was.
    pub answered_here: u64,
    /// CPU time, in microseconds.
    pub cpu_micros: u64,
    /// Traps, of any kind.
    pub traps: u64,
    /// Answers that made no sense, or said that the guest failed.
    pub failures: u64,
    /// Calls refused because the tenant used all it may.
    pub refused: u64,
    /// Instances now.
    pub instances: u32,
    /// Memory of guests now, in bytes.
    pub memory_bytes: u64,
    /// Figures that guests raised over a bound.
    pub figures_dropped: u64,
}

/// What all tenants' guests share.
#[derive(Clone)]
struct Node {
    memory: Arc<NodeMemory>,
    figures: Arc<FigureRoom>,
}

/// Memory of all tenants' guests together.
pub(crate) struct NodeMemory {
    used: AtomicU64,
    max: u64,
}

/// Who refused a guest memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refuser {
    /// The instance has all that its pool gives one.
    Pool,
    /// The tenant has all that its quota gives it.
    Quota,
    /// All tenants together have all that the node gives them.
    Node,
}

/// One tenant's account.
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    node: Node,
    quota: Mutex<GuestQuota>,
    bucket: Mutex<Bucket>,
    pub(crate) calls: AtomicU64,
    pub(crate) answered_here: AtomicU64,
    cpu_micros: AtomicU64,
    pub(crate) traps: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) refused: AtomicU64,
    instances: AtomicU32,
    memory_bytes: AtomicU64,
    figures: FigureRoom,
    pub(crate) figures_dropped: AtomicU64,
}

/// All accounts.
pub(crate) struct Accounts {
    default: GuestQuota,
    node: Node,
    accounts: Mutex<BTreeMap<TenantId, Arc<Account>>>,
}

/// CPU time that may be used, in microseconds; below zero once more was used than there was.
#[derive(Debug)]
struct Bucket {
    micros: i64,
    filled: Instant,
}

// === impl Accounts ===

impl Accounts {
    /// Returns no accounts yet, and no bound on what they use together.
    pub(crate) fn new(default: GuestQuota) -> Accounts {
        Accounts {
            default,
            node: Node::new(u64::MAX),
            accounts: Mutex::default(),
        }
    }

    /// Bounds the memory of all accounts together, before there are any.
    pub(crate) fn bound_memory(&mut self, bytes_max: u64) {
        self.node = Node::new(bytes_max);
    }

    /// Returns an account of nobody's, which is on no list.
    pub(crate) fn nobodys(&self) -> Arc<Account> {
        Arc::new(self.open(TenantId::default()))
    }

    fn open(&self, tenant: TenantId) -> Account {
        Account::new(tenant, self.default, self.node.clone())
    }

    /// Returns a tenant's account, opened if need be.
    pub(crate) fn of(&self, tenant: TenantId) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        accounts
            .entry(tenant)
            .or_insert_with(|| Arc::new(self.open(tenant)))
            .clone()
    }

    /// Closes the account of a tenant that is no more.
    pub(crate) fn close(&self, tenant: TenantId) {
        self.accounts.lock().remove(&tenant);
    }

    pub(crate) fn usage(&self) -> Vec<(TenantId, Usage)> {
        self.accounts
            .lock()
            .values()
            .map(|account| (account.tenant, account.usage()))
            .collect()
    }
}

// === impl Node ===

impl Node {
    fn new(memory_bytes_max: u64) -> Node {
        Node {
            memory: Arc::new(NodeMemory::new(memory_bytes_max)),
            figures: Arc::new(FigureRoom::new(FIGURES_PER_NODE_MAX)),
        }
    }
}

// === impl NodeMemory ===

impl NodeMemory {
    fn new(max: u64) -> NodeMemory {
        NodeMemory {
            used: AtomicU64::new(0),
            max,
        }
    }
}

// === impl Account ===

impl Account {
    fn new(tenant: TenantId, quota: GuestQuota, node: Node) -> Account {
        Account {
            tenant,
            node,
            quota: Mutex::new(quota),
            bucket: Mutex::new(Bucket::full(&quota, Instant::now())),
            calls: AtomicU64::new(0),
            answered_here: AtomicU64::new(0),
            cpu_micros: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            instances: AtomicU32::new(0),
            memory_bytes: AtomicU64::new(0),
            figures: FigureRoom::new(FIGURES_PER_TENANT_MAX),
            figures_dropped: AtomicU64::new(0),
        }
    }

    /// Sets what the tenant may use. A bucket that held more is emptied to what the new quota allows.
    pub(crate) fn set_quota(&self, quota: GuestQuota) {
        let mut bucket = self.bucket.lock();
        bucket.fill(&self.quota.lock(), Instant::now());
        bucket.micros = bucket.micros.min(i64::from(quota.cpu_micros_per_second));
        *self.quota.lock() = quota;
    }

    /// Returns whether there is CPU time left.
    pub(crate) fn has_cpu(&self) -> bool {
        let quota = *self.quota.lock();
        let mut bucket = self.bucket.lock();
        bucket.fill(&quota, Instant::now());
        bucket.micros > 0
    }

    pub(crate) fn charge_cpu(&self, used: Duration) {
        let micros = u64::try_from(used.as_micros()).unwrap_or(u64::MAX);
        self.cpu_micros.fetch_add(micros, Ordering::Relaxed);
        let mut bucket = self.bucket.lock();
        bucket.micros = bucket.micros.saturating_sub_unsigned(micros);
    }

    /// Takes memory, if there is that much left; or says who refuses it.
    pub(crate) fn charge_memory(&self, bytes: u64) -> Result<(), Refuser> {
        let max = self.quota.lock().memory_bytes;
        if !take(&self.memory_bytes, bytes, max) {
            return Err(Refuser::Quota);
        }
        if !take(&self.node.memory.used, bytes, self.node.memory.max) {
            self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refuser::Node);
        }
        Ok(())
    }

    pub(crate) fn release_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.node.memory.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes an instance, if one is left.
    pub(crate) fn take_instance(&self) -> bool {
        let max = self.quota.lock().instances;
        let take = |now: u32| (now < max).then_some(now + 1);
        self.instances
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    pub(crate) fn release_instance(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes room for the name of a figure, if the tenant and the node have any left.
    pub(crate) fn take_figure(&self) -> bool {
        if !self.figures.take() {
            return false;
        }
        let taken = self.node.figures.take();
        if !taken {
            self.figures.release(1);
        }
        taken
    }

    pub(crate) fn release_figures(&self, names: u64) {
        self.figures.release(names);
        self.node.figures.release(names);
    }

    fn usage(&self) -> Usage {
        Usage {
            calls: self.calls.load(Ordering::Relaxed),
            answered_here: self.answered_here.load(Ordering::Relaxed),
            cpu_micros: self.cpu_micros.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            instances: self.instances.load(Ordering::Relaxed),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            figures_dropped: self.figures_dropped.load(Ordering::Relaxed),
        }
    }
}

// === impl Bucket ===

impl Bucket {
    fn full(quota: &GuestQuota, now: Instant) -> Bucket {
        Bucket {
            micros: i64::from(quota.cpu_micros_per_second),
            filled: now,
        }
    }

    /// Adds what the time since the last filling is worth in whole microseconds, and goes on from what that time was,
    /// so that nothing is lost to rounding however often this is called.
    fn fill(&mut self, quota: &GuestQuota, now: Instant) {
        let rate = u64::from(quota.cpu_micros_per_second);
        let elapsed = now.saturating_duration_since(self.filled).as_micros();
        let worth = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        if worth == 0 {
            return;
        }
        let room = i64::from(quota.cpu_micros_per_second).saturating_sub(self.micros);
        if i64::try_from(worth).is_ok_and(|worth| worth < room) {
            self.filled += Duration::from_micros(worth.saturating_mul(1_000_000) / rate);
        } else {
            self.filled = now;
        }
        self.micros = self
            .micros
            .saturating_add_unsigned(worth)
            .min(i64::from(quota.cpu_micros_per_second));
    }
}

/// Adds to what is used, unless that would be more than may be.
fn take(used: &AtomicU64, more: u64, max: u64) -> bool {
    let add = |now: u64| now.checked_add(more).filter(|after| *after <= max);
    used.try_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// Returns the CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: GuestQuota = GuestQuota {
        cpu_micros_per_second: 1_000,
        memory_bytes: 100,
        instances: 1,
    };

    #[test]
    fn a_bucket_fills_at_the_quotas_rate_and_holds_one_second() {
        let start = Instant::now();
        let mut bucket = Bucket::full(&QUOTA, start);
        bucket.micros = -500;
        bucket.fill(&QUOTA, start + Duration::from_millis(600));
        assert_eq!(bucket.micros, 100);
        bucket.fill(&QUOTA, start + Duration::from_secs(60));
        assert_eq!(bucket.micros, 1_000);
    }

    #[test]
    fn filling_often_loses_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::full(&QUOTA, start);
        bucket.micros = 0;
        for micros in (0..=1_000_000).step_by(1_500) {
            bucket.fill(&QUOTA, start + Duration::from_micros(micros));
        }
        assert_eq!(bucket.micros, 999);
    }

    #[test]
    fn memory_and_instances_end_at_the_quota() {
        let account = Account::new(TenantId(1), QUOTA, Node::new(u64::MAX));
        assert_eq!(account.charge_memory(60), Ok(()));
        assert_eq!(account.charge_memory(41), Err(Refuser::Quota));
        assert_eq!(account.charge_memory(40), Ok(()));
        account.release_memory(100);
        assert!(account.take_instance());
        assert!(!account.take_instance());
        account.release_instance();
        assert!(account.take_instance());
    }

    #[test]
    fn memory_of_all_tenants_ends_at_the_nodes() {
        let mut accounts = Accounts::new(QUOTA);
        accounts.bound_memory(150);
        let (first, second) = (accounts.of(TenantId(1)), accounts.of(TenantId(2)));
        assert_eq!(first.charge_memory(100), Ok(()));
        assert_eq!(second.charge_memory(51), Err(Refuser::Node));
        assert_eq!(second.usage().memory_bytes, 0, "what was refused is not charged");
        assert_eq!(second.charge_memory(50), Ok(()));
        first.release_memory(100);
        assert_eq!(second.charge_memory(50), Ok(()));
    }
}
