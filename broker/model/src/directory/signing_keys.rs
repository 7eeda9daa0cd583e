//! Signing keys: what a tenant's deliveries are signed with, wrapped, and at most two of each at once.
//!
//! ```text
//!  Create            Rotate                  Retire
//! ────────► newest ─────────► older, newest ────────► newest
//! ```
//!
//! While there are two, both sign, so that whoever checks signatures can go over to the newer one at any time before
//! the older one is retired. A version's number is never given again under the same name, as long as the key is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{check_wrapped, limit};
use crate::{DirectoryRefusal, Name, SigningKeyRecord, SigningKeyVersion, SigningSecret, TenantId, Time};

/// The most signing keys of a tenant.
pub const SIGNING_KEYS_MAX: usize = 100;
/// The most versions of a signing key that sign at once.
pub const SIGNING_KEY_VERSIONS_MAX: usize = 2;
/// The longest public key, in bytes.
pub const PUBLIC_KEY_BYTES_MAX: usize = 64;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct SigningKeys {
    /// By tenant and folded name.
    keys: BTreeMap<(TenantId, String), SigningKeyRecord>,
}

// === impl SigningKeys ===

impl SigningKeys {
    pub(super) fn get(&self, tenant: TenantId, name: &Name) -> Option<&SigningKeyRecord> {
        self.keys.get(&(tenant, name.folded()))
    }

    pub(super) fn of(&self, tenant: TenantId) -> impl Iterator<Item = &SigningKeyRecord> {
        let keys = self.keys.range((tenant, String::new())..);
        keys.take_while(move |((of, _), _)| *of == tenant)
            .map(|(_, key)| key)
    }

    pub(super) fn create(
        &mut self,
        tenant: TenantId,
        name: &Name,
        secret: &SigningSecret,
        now: Time,
    ) -> Result<(), DirectoryRefusal> {
        check(secret)?;
        if self.get(tenant, name).is_some() {
            return Err(DirectoryRefusal::Exists(name.clone()));
        }
        if self.of(tenant).count() >= SIGNING_KEYS_MAX {
            return Err(limit("signing keys", SIGNING_KEYS_MAX as u64));
        }
        let key = SigningKeyRecord {
            tenant,
            name: name.clone(),
            versions: vec![SigningKeyVersion {
                number: 1,
                secret: secret.clone(),
                made: now,
            }],
        };
        self.keys.insert((tenant, name.folded()), key);
        Ok(())
    }

    /// Adds a version beside the one there is, and returns its number.
    pub(super) fn rotate(
        &mut self,
        tenant: TenantId,
        name: &Name,
        secret: &SigningSecret,
        now: Time,
    ) -> Result<u32, DirectoryRefusal> {
        check(secret)?;
        let key = self.get_mut(tenant, name)?;
        if key.versions.len() >= SIGNING_KEY_VERSIONS_MAX {
            return Err(DirectoryRefusal::SigningKeyRotating(name.clone()));
        }
        let last = key.versions.last().map_or(0, |version| version.number);
        let Some(number) = last.checked_add(1) else {
            return Err(limit("versions of a signing key", u64::from(u32::MAX)));
        };
        key.versions.push(SigningKeyVersion {
            number,
            secret: secret.clone(),
            made: now,
        });
        Ok(number)
    }

    /// Takes the older of two versions out of use, for good.
    pub(super) fn retire(&mut self, tenant: TenantId, name: &Name) -> Result<(), DirectoryRefusal> {
        let key = self.get_mut(tenant, name)?;
        if key.versions.len() < SIGNING_KEY_VERSIONS_MAX {
            return Err(DirectoryRefusal::SigningKeyNotRotating(name.clone()));
        }
        key.versions.remove(0);
        Ok(())
    }

    pub(super) fn remove(&mut self, tenant: TenantId, name: &Name) -> Result<(), DirectoryRefusal> {
        match self.keys.remove(&(tenant, name.folded())) {
            Some(_) => Ok(()),
            None => Err(DirectoryRefusal::NoSigningKey(name.clone())),
        }
    }

    pub(super) fn remove_tenant(&mut self, tenant: TenantId) {
        self.keys.retain(|(of, _), _| *of != tenant);
    }

    fn get_mut(&mut self, tenant: TenantId, name: &Name) -> Result<&mut SigningKeyRecord, DirectoryRefusal> {
        let key = self.keys.get_mut(&(tenant, name.folded()));
        key.ok_or_else(|| DirectoryRefusal::NoSigningKey(name.clone()))
    }
}

/// Refuses a secret that nothing of ours could be.
fn check(secret: &SigningSecret) -> Result<(), DirectoryRefusal> {
    check_wrapped(&secret.wrapped)?;
    if secret.public.len() > PUBLIC_KEY_BYTES_MAX {
        return Err(limit("bytes of a public key", PUBLIC_KEY_BYTES_MAX as u64));
    }
    Ok(())
}
