//! What plugins are lent of keys: handles that seal and open, and signatures; never key bytes.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_keyring::{DataKey, KeyError, Keyring, NONCE_BYTES, Signature};
use posthouse_model::{Incarnation, Name, TenantId, Time};

/// Lends data keys to seal plugins, and signs for deliver plugins, each only with keys of its tenant.
pub trait KeyLender: Send + Sync {
    /// Returns the data key to seal with now, for what is put into `incarnation`.
    fn current(
        &self,
        tenant: TenantId,
        master_key: &Name,
        incarnation: Incarnation,
    ) -> Result<Arc<dyn LentKey>, KeyRefusal>;
    /// Returns the data key that was wrapped under one of the tenant's master keys.
    fn unwrap(&self, tenant: TenantId, wrapped: &[u8]) -> Result<Arc<dyn LentKey>, KeyRefusal>;
    /// Signs a text, given in parts, with each version of one of the tenant's signing keys, the newest first.
    fn sign(&self, tenant: TenantId, key: &Name, parts: &[&[u8]]) -> Result<Vec<Signature>, KeyRefusal>;
}

/// A data key that is lent.
pub trait LentKey: Send + Sync {
    /// Returns the key as wrapped under its master key.
    fn wrapped(&self) -> &Bytes;
    /// Seals, under a nonce never used before with this key.
    fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<([u8; NONCE_BYTES], Bytes), KeyRefusal>;
    /// Opens what was sealed.
    fn open(&self, nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Bytes, KeyRefusal>;
}

/// Why a key was not lent, or did not open. The plugin is shown the text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct KeyRefusal(pub String);

/// Lends no keys: for a host without seal plugins and signed deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

/// Lends the keyring's data keys. The clock says how old a data key in use is.
pub struct KeyringLender<C> {
    keyring: Arc<Keyring>,
    clock: C,
}

// === impl KeyringLender ===

impl<C: Fn() -> Time + Send + Sync> KeyringLender<C> {
    /// Returns a lender of a keyring's data keys.
    pub fn new(keyring: Arc<Keyring>, clock: C) -> Self {
        Self { keyring, clock }
    }
}

impl<C: Fn() -> Time + Send + Sync> KeyLender for KeyringLender<C> {
    fn current(
        &self,
        tenant: TenantId,
        master_key: &Name,
        incarnation: Incarnation,
    ) -> Result<Arc<dyn LentKey>, KeyRefusal> {
        let key = self
            .keyring
            .current_data_key(tenant, master_key, incarnation, (self.clock)())?;
        Ok(Arc::new(key))
    }

    fn unwrap(&self, tenant: TenantId, wrapped: &[u8]) -> Result<Arc<dyn LentKey>, KeyRefusal> {
        Ok(Arc::new(self.keyring.unwrap_data_key(tenant, wrapped)?))
    }

    fn sign(&self, tenant: TenantId, key: &Name, parts: &[&[u8]]) -> Result<Vec<Signature>, KeyRefusal> {
        Ok(self.keyring.sign(tenant, key, parts)?)
    }
}

impl LentKey for DataKey {
    fn wrapped(&self) -> &Bytes {
        DataKey::wrapped(self)
    }

    fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<([u8; NONCE_BYTES], Bytes), KeyRefusal> {
        Ok(DataKey::seal(self, associated, plain)?)
    }

    fn open(&self, nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Bytes, KeyRefusal> {
        let nonce = nonce
            .try_into()
            .map_err(|_| KeyRefusal("a nonce has twelve bytes".to_owned()))?;
        Ok(DataKey::open(self, nonce, associated, sealed)?)
    }
}

// === impl KeyRefusal ===

impl From<KeyError> for KeyRefusal {
    fn from(error: KeyError) -> Self {
        Self(error.to_string())
    }
}

// === impl NoKeys ===

impl KeyLender for NoKeys {
    fn current(&self, _: TenantId, _: &Name, _: Incarnation) -> Result<Arc<dyn LentKey>, KeyRefusal> {
        Err(KeyRefusal("no keys are lent".to_owned()))
    }

    fn unwrap(&self, _: TenantId, _: &[u8]) -> Result<Arc<dyn LentKey>, KeyRefusal> {
        Err(KeyRefusal("no keys are lent".to_owned()))
    }

    fn sign(&self, _: TenantId, _: &Name, _: &[&[u8]]) -> Result<Vec<Signature>, KeyRefusal> {
        Err(KeyRefusal("no keys are lent".to_owned()))
    }
}
