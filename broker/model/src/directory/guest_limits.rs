//! What tenants' plugins may do beyond what quotas say: only of tenants for which something was said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit;
use crate::{DirectoryRefusal, GuestLimits, TenantId};

/// The most hosts that a tenant's plugins can be held to.
pub const HTTP_HOSTS_MAX: usize = 100;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct TenantsGuestLimits {
    limits: BTreeMap<TenantId, GuestLimits>,
}

// === impl TenantsGuestLimits ===

impl TenantsGuestLimits {
    pub(super) fn of(&self, tenant: TenantId) -> GuestLimits {
        self.limits.get(&tenant).cloned().unwrap_or_default()
    }

    pub(super) fn set(&mut self, tenant: TenantId, limits: &GuestLimits) -> Result<(), DirectoryRefusal> {
        let hosts = limits.http_hosts.as_deref().unwrap_or_default();
        if hosts.len() > HTTP_HOSTS_MAX {
            return Err(limit("hosts", HTTP_HOSTS_MAX as u64));
        }
        self.limits.insert(tenant, limits.clone());
        Ok(())
    }

    pub(super) fn remove_tenant(&mut self, tenant: TenantId) {
        self.limits.remove(&tenant);
    }
}
