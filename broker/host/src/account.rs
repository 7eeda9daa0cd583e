//! What each tenant's guests use, and how much they may.
//!
//! CPU time, calls to the host and what is handed to it are buckets that fill at the quota's rates. They are charged after
//! the fact; once one is empty the tenant waits until it has filled again. Memory and instances are counted as they are
//! taken and given back; memory is counted for all tenants together as well.

use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use posthouse_model::TenantId;

use crate::bucket::Bucket;
use crate::config::{FIGURES_PER_NODE_MAX, FIGURES_PER_TENANT_MAX, GuestQuota};
use crate::fault::BusyReason;
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
    /// Calls refused because the tenant used all it may, by why: as [`BusyReason::ALL`] has them.
    pub refused: [u64; BusyReason::ALL.len()],
    /// Calls that guests made to the host.
    pub host_calls: u64,
    /// Bytes that guests handed to the host.
    pub output_bytes: u64,
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
    allowances: Mutex<Allowances>,
    pub(crate) calls: AtomicU64,
    pub(crate) answered_here: AtomicU64,
    cpu_micros: AtomicU64,
    pub(crate) traps: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// By the place of the reason.
    refused: [AtomicU64; BusyReason::ALL.len()],
    host_calls: AtomicU64,
    output_bytes: AtomicU64,
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

/// What may be used, a second: CPU time in microseconds, calls to the host, bytes handed to it.
struct Allowances {
    cpu: Bucket,
    host_calls: Bucket,
    output: Bucket,
}

/// What was used since the last time that it was charged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) host_calls: u64,
    pub(crate) output_bytes: u64,
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
            allowances: Mutex::new(Allowances::full(&quota, Instant::now())),
            calls: AtomicU64::new(0),
            answered_here: AtomicU64::new(0),
            cpu_micros: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; BusyReason::ALL.len()],
            host_calls: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            instances: AtomicU32::new(0),
            memory_bytes: AtomicU64::new(0),
            figures: FigureRoom::new(FIGURES_PER_TENANT_MAX),
            figures_dropped: AtomicU64::new(0),
        }
    }

    /// Sets what the tenant may use.
    pub(crate) fn set_quota(&self, quota: GuestQuota) {
        let now = Instant::now();
        let mut guard = self.allowances.lock();
        let allowances = &mut *guard;
        let rates = [
            (&mut allowances.cpu, u64::from(quota.cpu_micros_per_second)),
            (&mut allowances.host_calls, u64::from(quota.host_calls_per_second)),
            (&mut allowances.output, quota.output_bytes_per_second),
        ];
        for (bucket, rate) in rates {
            bucket.set_rate(rate, now);
        }
        *self.quota.lock() = quota;
    }

    /// Returns whether a call may be made now, or what there is none left of.
    pub(crate) fn check(&self) -> Result<(), BusyReason> {
        let now = Instant::now();
        let mut guard = self.allowances.lock();
        let allowances = &mut *guard;
        for (bucket, reason) in [
            (&mut allowances.cpu, BusyReason::Cpu),
            (&mut allowances.host_calls, BusyReason::HostCalls),
            (&mut allowances.output, BusyReason::Output),
        ] {
            if bucket.left(now) == 0 {
                return Err(reason);
            }
        }
        Ok(())
    }

    pub(crate) fn charge(&self, used: Used) {
        let micros = u64::try_from(used.cpu.as_micros()).unwrap_or(u64::MAX);
        self.cpu_micros.fetch_add(micros, Ordering::Relaxed);
        self.host_calls.fetch_add(used.host_calls, Ordering::Relaxed);
        self.output_bytes.fetch_add(used.output_bytes, Ordering::Relaxed);
        let mut allowances = self.allowances.lock();
        allowances.cpu.charge(micros);
        allowances.host_calls.charge(used.host_calls);
        allowances.output.charge(used.output_bytes);
    }

    /// Counts a call that was refused.
    pub(crate) fn count_refused(&self, reason: BusyReason) {
        self.refused[reason.place()].fetch_add(1, Ordering::Relaxed);
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
            refused: std::array::from_fn(|place| self.refused[place].load(Ordering::Relaxed)),
            host_calls: self.host_calls.load(Ordering::Relaxed),
            output_bytes: self.output_bytes.load(Ordering::Relaxed),
            instances: self.instances.load(Ordering::Relaxed),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            figures_dropped: self.figures_dropped.load(Ordering::Relaxed),
        }
    }
}

// === impl Allowances ===

impl Allowances {
    fn full(quota: &GuestQuota, now: Instant) -> Allowances {
        Allowances {
            cpu: Bucket::full(u64::from(quota.cpu_micros_per_second), now),
            host_calls: Bucket::full(u64::from(quota.host_calls_per_second), now),
            output: Bucket::full(quota.output_bytes_per_second, now),
        }
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
        host_calls_per_second: 10,
        output_bytes_per_second: 10,
    };

    #[test]
    fn whatever_is_used_up_keeps_the_next_call_back() {
        for (used, reason) in [
            (
                Used {
                    cpu: Duration::from_secs(9),
                    ..Used::default()
                },
                BusyReason::Cpu,
            ),
            (
                Used {
                    host_calls: 90,
                    ..Used::default()
                },
                BusyReason::HostCalls,
            ),
            (
                Used {
                    output_bytes: 90,
                    ..Used::default()
                },
                BusyReason::Output,
            ),
        ] {
            let account = Account::new(TenantId(1), QUOTA, Node::new(u64::MAX));
            assert_eq!(account.check(), Ok(()));
            account.charge(used);
            assert_eq!(account.check(), Err(reason));
            account.count_refused(reason);
            let usage = account.usage();
            assert_eq!(usage.refused.iter().sum::<u64>(), 1);
            assert_eq!(usage.refused[reason.place()], 1);
            assert_eq!(
                (usage.host_calls, usage.output_bytes),
                (used.host_calls, used.output_bytes)
            );
        }
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
