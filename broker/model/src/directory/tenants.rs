//! Tenants and their access keys.
//!
//! Tenants are numbered from 1 in order of creation, and a number is never given again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{check_wrapped, limit};
use crate::{AccessKeyRecord, AccessKeyStatus, DirectoryRefusal, Name, Quotas, TenantId, TenantRecord};

/// The most tenants.
pub const TENANTS_MAX: usize = 10_000;
/// The most access keys of a tenant.
pub const ACCESS_KEYS_MAX: usize = 100;
/// The longest id of an access key, in characters.
pub const ACCESS_KEY_CHARS_MAX: usize = 128;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Tenants {
    /// The number given last.
    last: TenantId,
    tenants: BTreeMap<TenantId, TenantRecord>,
    /// By folded name.
    names: BTreeMap<String, TenantId>,
    access_keys: BTreeMap<String, AccessKeyRecord>,
    access_key_ids: BTreeSet<(TenantId, String)>,
}

// === impl Tenants ===

impl Tenants {
    pub(super) fn get(&self, tenant: TenantId) -> Option<&TenantRecord> {
        self.tenants.get(&tenant)
    }

    pub(super) fn named(&self, name: &Name) -> Option<&TenantRecord> {
        self.tenants.get(self.names.get(&name.folded())?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &TenantRecord> {
        self.tenants.values()
    }

    /// Returns the tenants that come after a folded name, by folded name; none is before all.
    pub(super) fn after(&self, after: Option<&str>) -> impl Iterator<Item = &TenantRecord> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.filter_map(|(_, tenant)| self.tenants.get(tenant))
    }

    pub(super) fn access_key(&self, id: &str) -> Option<&AccessKeyRecord> {
        self.access_keys.get(id)
    }

    pub(super) fn access_keys(&self, tenant: TenantId) -> impl Iterator<Item = &AccessKeyRecord> {
        let ids = self.access_key_ids.range((tenant, String::new())..);
        ids.take_while(move |(of, _)| *of == tenant)
            .filter_map(|(_, id)| self.access_keys.get(id))
    }

    pub(super) fn create(&mut self, name: &Name, quotas: Quotas) -> Result<TenantId, DirectoryRefusal> {
        if self.names.contains_key(&name.folded()) {
            return Err(DirectoryRefusal::Exists(name.clone()));
        }
        let Some(number) = self.last.0.checked_add(1) else {
            return Err(limit("tenants ever made", u64::from(u32::MAX)));
        };
        if self.tenants.len() >= TENANTS_MAX {
            return Err(limit("tenants", TENANTS_MAX as u64));
        }
        let tenant = TenantId(number);
        self.last = tenant;
        self.names.insert(name.folded(), tenant);
        let record = TenantRecord {
            tenant,
            name: name.clone(),
            quotas,
        };
        self.tenants.insert(tenant, record);
        Ok(tenant)
    }

    pub(super) fn set_quotas(&mut self, tenant: TenantId, quotas: Quotas) -> Result<(), DirectoryRefusal> {
        let record = self.tenants.get_mut(&tenant);
        record.ok_or(DirectoryRefusal::NoTenant)?.quotas = quotas;
        Ok(())
    }

    /// Removes a tenant and its access keys.
    pub(super) fn remove(&mut self, tenant: TenantId) {
        if let Some(record) = self.tenants.remove(&tenant) {
            self.names.remove(&record.name.folded());
        }
        self.access_keys.retain(|_, key| key.tenant != tenant);
        self.access_key_ids.retain(|(of, _)| *of != tenant);
    }

    pub(super) fn add_access_key(
        &mut self,
        tenant: TenantId,
        id: &str,
        wrapped_secret: &Bytes,
        root: bool,
    ) -> Result<(), DirectoryRefusal> {
        if !self.tenants.contains_key(&tenant) {
            return Err(DirectoryRefusal::NoTenant);
        }
        if id.is_empty() || id.len() > ACCESS_KEY_CHARS_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(DirectoryRefusal::Malformed("access key id".to_owned()));
        }
        check_wrapped(wrapped_secret)?;
        if self.access_keys.contains_key(id) {
            return Err(DirectoryRefusal::AccessKeyExists);
        }
        if self.access_keys(tenant).count() >= ACCESS_KEYS_MAX {
            return Err(limit("access keys", ACCESS_KEYS_MAX as u64));
        }
        let record = AccessKeyRecord {
            id: id.to_owned(),
            tenant,
            wrapped_secret: wrapped_secret.clone(),
            status: AccessKeyStatus::Enabled,
            root,
        };
        self.access_keys.insert(id.to_owned(), record);
        self.access_key_ids.insert((tenant, id.to_owned()));
        Ok(())
    }

    pub(super) fn set_access_key(
        &mut self,
        id: &str,
        status: AccessKeyStatus,
    ) -> Result<(), DirectoryRefusal> {
        let record = self.access_keys.get_mut(id);
        record.ok_or(DirectoryRefusal::NoAccessKey)?.status = status;
        Ok(())
    }

    pub(super) fn remove_access_key(&mut self, id: &str) -> Result<(), DirectoryRefusal> {
        let record = self.access_keys.remove(id);
        let tenant = record.ok_or(DirectoryRefusal::NoAccessKey)?.tenant;
        self.access_key_ids.remove(&(tenant, id.to_owned()));
        Ok(())
    }
}
