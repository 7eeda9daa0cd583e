//! Calls that wait for a thread: fair between tenants, in order of arrival within one.
//!
//! Each tenant has a clock that runs with the CPU time its guests use; the tenant whose clock is furthest back is
//! served next. One that comes back after a rest starts no further back than those that are being served, so that
//! resting earns nothing. Calls that can be answered together lie in one lane, and lanes of a tenant take turns.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;

use posthouse_model::TenantId;

/// Tenants with nothing waiting whose clocks are remembered.
const RESTING_MAX: usize = 4_096;

/// Calls that wait for a thread.
pub(crate) struct FairQueue<L, J> {
    tenants: HashMap<TenantId, Waiting<L, J>>,
    /// The tenants with something waiting, by their clocks.
    order: BTreeSet<(u64, TenantId)>,
    /// The clock of the tenant served last.
    served: u64,
    waiting_max: usize,
}

/// What waits of one tenant.
struct Waiting<L, J> {
    clock: u64,
    lanes: HashMap<L, VecDeque<J>>,
    /// The lanes with something in them, in their turns.
    turns: VecDeque<L>,
    jobs: usize,
}

// === impl FairQueue ===

impl<L: Clone + Eq + Hash, J> FairQueue<L, J> {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self {
            tenants: HashMap::new(),
            order: BTreeSet::new(),
            served: 0,
            waiting_max,
        }
    }

    /// Adds a job, or gives it back when the tenant has too many waiting.
    pub(crate) fn push(&mut self, tenant: TenantId, lane: L, job: J) -> Result<(), J> {
        let served = self.served;
        let waiting = self.tenants.entry(tenant).or_insert_with(|| Waiting::new(served));
        if waiting.jobs >= self.waiting_max {
            return Err(job);
        }
        if waiting.jobs == 0 {
            waiting.clock = waiting.clock.max(served);
            self.order.insert((waiting.clock, tenant));
        }
        waiting.push(lane, job);
        Ok(())
    }

    /// Takes the job whose turn it is, and with it those behind it in its lane as long as `joins` says so.
    pub(crate) fn take(&mut self, joins: impl FnMut(&J) -> bool) -> Option<Vec<J>> {
        let (clock, tenant) = self.order.first().copied()?;
        self.served = clock;
        let waiting = self.tenants.get_mut(&tenant)?;
        let jobs = waiting.take(joins);
        if waiting.jobs == 0 {
            self.order.remove(&(clock, tenant));
        }
        Some(jobs)
    }

    /// Moves a tenant's clock on by what its guests used.
    pub(crate) fn charge(&mut self, tenant: TenantId, used: u64) {
        let Some(waiting) = self.tenants.get_mut(&tenant) else {
            return;
        };
        let before = waiting.clock;
        waiting.clock = waiting.clock.saturating_add(used);
        if waiting.jobs > 0 {
            self.order.remove(&(before, tenant));
            self.order.insert((waiting.clock, tenant));
        } else if self.tenants.len() - self.order.len() > RESTING_MAX {
            let served = self.served;
            self.tenants
                .retain(|_, waiting| waiting.jobs > 0 || waiting.clock > served);
        }
    }

    /// Takes everything, for a queue that is served no longer.
    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.tenants.clear();
    }
}

// === impl Waiting ===

impl<L: Clone + Eq + Hash, J> Waiting<L, J> {
    fn new(clock: u64) -> Self {
        Self {
            clock,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            jobs: 0,
        }
    }

    fn push(&mut self, lane: L, job: J) {
        self.jobs += 1;
        let jobs = self.lanes.entry(lane.clone()).or_default();
        if jobs.is_empty() {
            self.turns.push_back(lane);
        }
        jobs.push_back(job);
    }

    fn take(&mut self, mut joins: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut taken = Vec::new();
        let Some(lane) = self.turns.pop_front() else {
            return taken;
        };
        let Some(jobs) = self.lanes.get_mut(&lane) else {
            return taken;
        };
        while let Some(job) = jobs.front() {
            if !joins(job) && !taken.is_empty() {
                break;
            }
            taken.extend(jobs.pop_front());
        }
        self.jobs -= taken.len();
        if jobs.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(1);
    const B: TenantId = TenantId(2);

    fn queue() -> FairQueue<char, u32> {
        FairQueue::new(100)
    }

    fn push(queue: &mut FairQueue<char, u32>, tenant: TenantId, lane: char, job: u32) {
        queue.push(tenant, lane, job).expect("there is room");
    }

    fn take_one(queue: &mut FairQueue<char, u32>) -> Option<u32> {
        queue.take(|_| false).map(|jobs| jobs[0])
    }

    #[test]
    fn the_tenant_that_used_less_is_served_first() {
        let mut queue = queue();
        for job in [1, 2, 3] {
            push(&mut queue, A, 'x', job);
        }
        push(&mut queue, B, 'x', 11);
        push(&mut queue, B, 'x', 12);
        assert_eq!(take_one(&mut queue), Some(1));
        queue.charge(A, 100);
        assert_eq!(take_one(&mut queue), Some(11));
        queue.charge(B, 40);
        assert_eq!(take_one(&mut queue), Some(12));
        queue.charge(B, 40);
        assert_eq!(take_one(&mut queue), Some(2));
        assert_eq!(take_one(&mut queue), Some(3));
        assert_eq!(take_one(&mut queue), None);
    }

    #[test]
    fn resting_earns_nothing() {
        let mut queue = queue();
        push(&mut queue, A, 'x', 1);
        push(&mut queue, A, 'x', 2);
        assert_eq!(take_one(&mut queue), Some(1));
        queue.charge(A, 1_000);
        assert_eq!(take_one(&mut queue), Some(2));
        queue.charge(A, 1_000);
        push(&mut queue, B, 'x', 11);
        push(&mut queue, A, 'x', 3);
        assert_eq!(take_one(&mut queue), Some(11));
        queue.charge(B, 1_001);
        push(&mut queue, B, 'x', 12);
        assert_eq!(
            take_one(&mut queue),
            Some(3),
            "B began where the last served clock was, not at zero"
        );
    }

    #[test]
    fn lanes_take_turns_and_a_lanes_jobs_are_taken_together() {
        let mut queue = queue();
        for job in [1, 2, 3] {
            push(&mut queue, A, 'x', job);
            push(&mut queue, A, 'y', 10 + job);
        }
        let mut room = 2;
        let taken = queue.take(|_| {
            room -= 1;
            room >= 0
        });
        assert_eq!(taken, Some(vec![1, 2]));
        assert_eq!(queue.take(|_| true), Some(vec![11, 12, 13]));
        assert_eq!(queue.take(|_| true), Some(vec![3]));
        assert_eq!(queue.take(|_| true), None);
    }

    #[test]
    fn a_tenant_has_only_so_many_waiting() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.push(A, 'x', 1), Ok(()));
        assert_eq!(queue.push(A, 'y', 2), Err(2));
        assert_eq!(queue.push(B, 'x', 3), Ok(()));
        assert_eq!(queue.take(|_| true), Some(vec![1]));
        assert_eq!(queue.push(A, 'y', 2), Ok(()));
    }
}
