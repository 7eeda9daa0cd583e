//! Admission: no tenant takes more calls and bytes a second than its quota says.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;
use posthouse_model::{Quotas, TenantId};

/// The unit that bytes are counted in.
const BYTES_UNIT: u64 = 256;

/// The rates of all tenants that called lately.
#[derive(Default)]
pub struct Admission {
    tenants: RwLock<HashMap<TenantId, Arc<Rates>>>,
}

struct Rates {
    quotas: Quotas,
    calls: Option<DefaultDirectRateLimiter>,
    bytes: Option<DefaultDirectRateLimiter>,
}

/// The tenant's rate is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the tenant's rate is used up")]
pub struct Throttled;

impl Admission {
    /// Takes a call of so many bytes out of a tenant's rate.
    pub fn admit(&self, tenant: TenantId, quotas: Quotas, bytes: u64) -> Result<(), Throttled> {
        let rates = self.rates(tenant, quotas);
        let units = NonZeroU32::new(units(bytes)).unwrap_or(NonZeroU32::MIN);
        let calls = rates.calls.as_ref().ok_or(Throttled)?;
        let volume = rates.bytes.as_ref().ok_or(Throttled)?;
        calls.check().map_err(|_| Throttled)?;
        match volume.check_n(units) {
            Ok(Ok(())) => Ok(()),
            // Later, or never: the call alone is more than a second's worth.
            Ok(Err(_)) | Err(_) => Err(Throttled),
        }
    }

    fn rates(&self, tenant: TenantId, quotas: Quotas) -> Arc<Rates> {
        if let Some(rates) = self
            .tenants
            .read()
            .get(&tenant)
            .filter(|rates| rates.quotas == quotas)
        {
            return Arc::clone(rates);
        }
        let rates = Arc::new(Rates {
            quotas,
            calls: limiter(u64::from(quotas.calls_per_second)),
            bytes: limiter(quotas.bytes_per_second / BYTES_UNIT),
        });
        self.tenants.write().insert(tenant, Arc::clone(&rates));
        rates
    }
}

fn limiter(per_second: u64) -> Option<DefaultDirectRateLimiter> {
    let per_second = u32::try_from(per_second).unwrap_or(u32::MAX);
    NonZeroU32::new(per_second).map(|rate| RateLimiter::direct(Quota::per_second(rate)))
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    #[test]
    fn calls_over_the_rate_are_refused_and_other_tenants_are_not() {
        let admission = Admission::default();
        let quotas = Quotas {
            calls_per_second: 2,
            ..Quotas::default()
        };
        assert_eq!(admission.admit(TENANT, quotas, 1), Ok(()));
        assert_eq!(admission.admit(TENANT, quotas, 1), Ok(()));
        assert_eq!(admission.admit(TENANT, quotas, 1), Err(Throttled));
        assert_eq!(admission.admit(TenantId(2), quotas, 1), Ok(()));
    }

    #[test]
    fn bytes_over_the_rate_are_refused() {
        let admission = Admission::default();
        let quotas = Quotas {
            bytes_per_second: 1_024,
            ..Quotas::default()
        };
        assert_eq!(admission.admit(TENANT, quotas, 1_024), Ok(()));
        assert_eq!(admission.admit(TENANT, quotas, 1_024), Err(Throttled));
        assert_eq!(admission.admit(TenantId(2), quotas, 4_096), Err(Throttled));
    }

    #[test]
    fn a_quota_of_nothing_admits_nothing() {
        let quotas = Quotas {
            calls_per_second: 0,
            ..Quotas::default()
        };
        assert_eq!(Admission::default().admit(TENANT, quotas, 0), Err(Throttled));
    }
}
