//! The keys that a component on trial is lent: made up for the case, of a tenant of its own.

use std::sync::Arc;

use posthouse_host::KeyringLender;
use posthouse_keyring::{KeyError, Keyring, RootKey, SystemEntropy};
use posthouse_model::{
    MasterKeyRecord, MasterKeyState, Name, SigningAlgorithm, SigningKeyRecord, SigningKeyVersion, TenantId,
    Time,
};

/// What a data key's age is told by: none grows old within a trial.
const NOW: Time = Time::from_seconds(1);

/// The keys of cases' tenants.
pub(super) struct TrialKeys {
    keyring: Arc<Keyring>,
}

/// A version of a signing key that a case gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct GivenSecret {
    pub(super) algorithm: SigningAlgorithm,
    pub(super) bytes: Vec<u8>,
}

// === impl TrialKeys ===

impl TrialKeys {
    /// Returns no keys yet, under a root key of their own.
    pub(super) fn new() -> TrialKeys {
        let entropy = Arc::new(SystemEntropy::new());
        TrialKeys {
            keyring: Arc::new(Keyring::new(RootKey::generate(entropy.as_ref()), entropy)),
        }
    }

    /// Returns what lends them.
    pub(super) fn lender(&self) -> KeyringLender<fn() -> Time> {
        KeyringLender::new(Arc::clone(&self.keyring), || NOW)
    }

    /// Makes a master key of a tenant.
    pub(super) fn make_master_key(&self, tenant: TenantId, name: &Name) -> Result<(), KeyError> {
        self.keyring.learn_master_key(&MasterKeyRecord {
            tenant,
            name: name.clone(),
            versions: vec![self.keyring.generate_master_key(tenant, name)],
            state: MasterKeyState::Enabled,
        })
    }

    /// Gives a tenant a signing key of some versions, the newest last.
    pub(super) fn give_signing_key(
        &self,
        tenant: TenantId,
        name: &Name,
        secrets: &[GivenSecret],
    ) -> Result<(), KeyError> {
        let mut versions = Vec::with_capacity(secrets.len());
        for (number, given) in (1..).zip(secrets) {
            let (secret, _) =
                self.keyring
                    .wrap_signing_secret(tenant, name, given.algorithm, given.bytes.clone())?;
            versions.push(SigningKeyVersion {
                number,
                secret,
                made: NOW,
            });
        }
        self.keyring.learn_signing_key(&SigningKeyRecord {
            tenant,
            name: name.clone(),
            versions,
        })
    }

    /// Lets go of a tenant's keys.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.keyring.forget_tenant(tenant);
    }
}
