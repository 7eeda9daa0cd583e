//! How many HTTP requests a second are made for each tenant.
//!
//! Messages are claimed only when their first request can be made: what is over the rate waits where it is, and no
//! attempt is lost by it. Further requests of an attempt are charged when they are made. Only a tenant whose plugins make
//! far more of those than the rate allows has some refused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use posthouse_host::Bucket;
use posthouse_model::TenantId;

/// The shortest and the longest that is waited before a look whether requests can be made again: the rate may change.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many requests each tenant has left.
#[derive(Debug, Default)]
pub(super) struct Paces {
    tenants: Mutex<HashMap<TenantId, Pace>>,
}

#[derive(Debug)]
struct Pace {
    rate: u32,
    requests: Bucket,
}

// === impl Paces ===

impl Paces {
    /// Takes requests, as many as are left and at most so many; or tells how long to wait.
    pub(super) fn take(&self, tenant: TenantId, rate: u32, count_max: usize) -> Result<usize, Duration> {
        let now = Instant::now();
        self.with(tenant, rate, now, |requests| {
            let left = usize::try_from(requests.left(now)).unwrap_or(usize::MAX);
            let taken = left.min(count_max);
            if taken == 0 {
                let wait = requests.until_any(now).unwrap_or(PAUSE_MAX);
                return Err(wait.clamp(PAUSE_MIN, PAUSE_MAX));
            }
            requests.charge(taken as u64);
            Ok(taken)
        })
    }

    /// Gives back what was taken and is not used.
    pub(super) fn give_back(&self, tenant: TenantId, rate: u32, unused: usize) {
        self.with(tenant, rate, Instant::now(), |requests| {
            requests.give_back(unused as u64);
        });
    }

    /// Takes a request that nothing was taken for before, unless far too many were.
    pub(super) fn charge(&self, tenant: TenantId, rate: u32) -> bool {
        let now = Instant::now();
        self.with(tenant, rate, now, |requests| {
            let may = !requests.is_overdrawn(now);
            if may {
                requests.charge(1);
            }
            may
        })
    }

    pub(super) fn forget(&self, tenant: TenantId) {
        self.tenants.lock().remove(&tenant);
    }

    fn with<T>(&self, tenant: TenantId, rate: u32, now: Instant, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut tenants = self.tenants.lock();
        let pace = tenants.entry(tenant).or_insert_with(|| Pace {
            rate,
            requests: Bucket::full(u64::from(rate), now),
        });
        if pace.rate != rate {
            pace.rate = rate;
            pace.requests.set_rate(u64::from(rate), now);
        }
        act(&mut pace.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    #[test]
    fn requests_are_taken_as_they_are_left_and_given_back() {
        let paces = Paces::default();
        // So few a second that none is added meanwhile, however slow the machine is.
        assert_eq!(paces.take(TENANT, 3, 2), Ok(2));
        assert_eq!(paces.take(TenantId(2), 3, 9), Ok(3), "another tenant has its own");
        paces.give_back(TENANT, 3, 2);
        assert_eq!(paces.take(TENANT, 3, 3), Ok(3));
    }

    #[test]
    fn a_tenant_without_requests_waits_and_one_with_another_rate_at_once_has_it() {
        let paces = Paces::default();
        assert_eq!(paces.take(TENANT, 0, 1), Err(PAUSE_MAX));
        assert!(!paces.charge(TENANT, 0));
        assert_eq!(paces.take(TENANT, 1_000_000, 0), Err(PAUSE_MIN));
        let later = || paces.take(TENANT, 1_000_000, 1).is_ok();
        let began = Instant::now();
        while !later() {
            assert!(began.elapsed() < Duration::from_secs(60), "the bucket fills");
            std::thread::yield_now();
        }
        paces.forget(TENANT);
        assert_eq!(paces.take(TENANT, 5, 9), Ok(5));
    }
}
