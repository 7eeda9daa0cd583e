//! Master keys: wrapped, versioned, disabled, scheduled for deletion, destroyed.
//!
//! ```text
//!  Put          Set                     Set               Tick
//! ─────► Enabled ◄──► Disabled, DeletionAt(time) ; DeletionAt ─────► Destroyed
//! ```
//!
//! A destroyed key keeps its name and loses its versions, so that what was sealed under it cannot be opened by
//! anybody, and nobody takes another key for it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{check_wrapped, limit};
use crate::{DirectoryRefusal, MasterKeyRecord, MasterKeyState, Name, TenantId, Time};

/// The most master keys of a tenant, destroyed ones counted.
pub const MASTER_KEYS_MAX: usize = 100;
/// The most versions of a master key.
pub const MASTER_KEY_VERSIONS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct MasterKeys {
    /// By tenant and folded name.
    keys: BTreeMap<MasterId, MasterKeyRecord>,
    /// Scheduled deletions, the next one first.
    deletions: BTreeSet<(Time, MasterId)>,
}

type MasterId = (TenantId, String);

// === impl MasterKeys ===

impl MasterKeys {
    pub(super) fn get(&self, tenant: TenantId, name: &Name) -> Option<&MasterKeyRecord> {
        self.keys.get(&(tenant, name.folded()))
    }

    pub(super) fn of(&self, tenant: TenantId) -> impl Iterator<Item = &MasterKeyRecord> {
        let keys = self.keys.range((tenant, String::new())..);
        keys.take_while(move |((of, _), _)| *of == tenant)
            .map(|(_, key)| key)
    }

    pub(super) fn enabled(
        &self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<&MasterKeyRecord, DirectoryRefusal> {
        let key = self.get(tenant, name);
        key.filter(|key| key.state == MasterKeyState::Enabled)
            .ok_or_else(|| DirectoryRefusal::NoMasterKey(name.clone()))
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deletions.first().map(|(at, _)| *at)
    }

    /// Adds a key or a version of one, and returns the version's number.
    pub(super) fn put(
        &mut self,
        tenant: TenantId,
        name: &Name,
        wrapped: &Bytes,
    ) -> Result<u32, DirectoryRefusal> {
        check_wrapped(wrapped)?;
        let id = (tenant, name.folded());
        if let Some(key) = self.keys.get_mut(&id) {
            if key.state != MasterKeyState::Enabled {
                return Err(DirectoryRefusal::NoMasterKey(name.clone()));
            }
            if key.versions.len() >= MASTER_KEY_VERSIONS_MAX {
                let versions_max = MASTER_KEY_VERSIONS_MAX as u64;
                return Err(limit("versions of a master key", versions_max));
            }
            key.versions.push(wrapped.clone());
            return Ok(u32::try_from(key.versions.len()).unwrap_or(u32::MAX));
        }
        if self.of(tenant).count() >= MASTER_KEYS_MAX {
            return Err(limit("master keys", MASTER_KEYS_MAX as u64));
        }
        let key = MasterKeyRecord {
            tenant,
            name: name.clone(),
            versions: vec![wrapped.clone()],
            state: MasterKeyState::Enabled,
        };
        self.keys.insert(id, key);
        Ok(1)
    }

    /// Changes what a key may be used for. `in_use`: whether a queue or topic is sealed under it.
    pub(super) fn set(
        &mut self,
        tenant: TenantId,
        name: &Name,
        state: MasterKeyState,
        in_use: bool,
    ) -> Result<(), DirectoryRefusal> {
        let id = (tenant, name.folded());
        let key = self.keys.get_mut(&id);
        let key = key.filter(|key| key.state != MasterKeyState::Destroyed);
        let key = key.ok_or_else(|| DirectoryRefusal::NoMasterKey(name.clone()))?;
        match state {
            MasterKeyState::Enabled | MasterKeyState::Disabled => {}
            MasterKeyState::DeletionAt(_) if in_use => return Err(DirectoryRefusal::MasterKeyInUse),
            MasterKeyState::DeletionAt(at) => {
                self.deletions.insert((at, id.clone()));
            }
            MasterKeyState::Destroyed => {
                let what = "destruction without a schedule".to_owned();
                return Err(DirectoryRefusal::Malformed(what));
            }
        }
        if let MasterKeyState::DeletionAt(before) = key.state
            && key.state != state
        {
            self.deletions.remove(&(before, id));
        }
        key.state = state;
        Ok(())
    }

    /// Destroys what is due, up to the bound of one `Tick`, and returns what that was; the deadline says whether more
    /// is.
    pub(super) fn destroy_due(&mut self, now: Time) -> Vec<(TenantId, Name)> {
        let mut destroyed = Vec::new();
        for _ in 0..crate::bounds::TICK_EXPIRIES_MAX {
            let due = self.deletions.first().is_some_and(|(at, _)| *at <= now);
            if !due {
                break;
            }
            if let Some((_, id)) = self.deletions.pop_first()
                && let Some(key) = self.keys.get_mut(&id)
            {
                key.versions.clear();
                key.state = MasterKeyState::Destroyed;
                destroyed.push((key.tenant, key.name.clone()));
            }
        }
        destroyed
    }

    pub(super) fn remove_tenant(&mut self, tenant: TenantId) {
        self.keys.retain(|(of, _), _| *of != tenant);
        self.deletions.retain(|(_, (of, _))| *of != tenant);
    }
}
