//! The keyring of a node: the root key, the tenants' master keys, and the data keys in use.
//!
//! What master keys there are and what they may be used for is the directory's to say: `learn_master_key` is told
//! each change of a record. A master key that is not enabled is not kept in clear here, and neither is any data key
//! under it: those handed out before refuse at their next use.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use posthouse_model::{Incarnation, MasterKeyRecord, MasterKeyState, Name, TenantId, Time};
use zeroize::Zeroizing;

use crate::data_key::{
    DATA_KEY_MESSAGES_MAX, DATA_KEY_MESSAGES_SPARE, DATA_KEY_SPAN_MAX, DataKey, Header, Purpose, Revoked,
    key_bytes,
};
use crate::envelope::{self, KEY_BYTES, KeyBytes};
use crate::recent::Recent;
use crate::signing::SigningKeys;
use crate::{Entropy, KeyError, RootKey, Secret};

#[cfg(test)]
mod tests;

/// The most data keys that are kept to seal with.
pub const CURRENT_KEYS_MAX: usize = 10_000;
/// The most unwrapped data keys that are kept to open with.
pub const OPENED_KEYS_MAX: usize = 10_000;

const WRAPPED_SECRET: &str = "wrapped secret";
const WRAPPED_SECRET_VERSION: u8 = 1;

/// The keyring of a node.
pub struct Keyring {
    wrapping: KeyBytes,
    root_check: [u8; 32],
    pub(crate) entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
    pub(crate) signing: SigningKeys,
}

struct State {
    masters: BTreeMap<MasterId, Master>,
    current: Recent<(MasterId, Incarnation), Current>,
    opened: Recent<Bytes, (MasterId, DataKey)>,
}

/// A tenant's master key, by its folded name.
type MasterId = (TenantId, String);

struct Master {
    state: MasterKeyState,
    /// As the directory has them, to see what is new.
    wrapped: Vec<Bytes>,
    /// Versions from 1, in clear; none unless enabled.
    versions: Vec<KeyBytes>,
    revoked: Revoked,
}

/// A data key to seal with.
struct Current {
    key: DataKey,
    made: Time,
}

// === impl Keyring ===

impl Keyring {
    /// Returns a keyring that knows no master key yet.
    pub fn new(root: RootKey, entropy: Arc<dyn Entropy>) -> Keyring {
        Keyring {
            wrapping: root.wrapping(),
            root_check: root.check(),
            entropy,
            state: Mutex::new(State {
                masters: BTreeMap::new(),
                current: Recent::new(CURRENT_KEYS_MAX),
                opened: Recent::new(OPENED_KEYS_MAX),
            }),
            signing: SigningKeys::default(),
        }
    }

    /// Returns what recognises the root key.
    pub fn root_check(&self) -> [u8; 32] {
        self.root_check
    }

    /// Wraps a secret under the root key. Only the same context opens it again.
    pub fn wrap_secret(&self, context: &[u8], secret: &[u8]) -> Result<Bytes, KeyError> {
        let mut wrapped = vec![WRAPPED_SECRET_VERSION];
        let context = labelled(b"secret", context);
        envelope::close(&self.wrapping, &context, secret, &*self.entropy, &mut wrapped)?;
        Ok(Bytes::from(wrapped))
    }

    /// Opens what `wrap_secret` made with the same context.
    pub fn unwrap_secret(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, KeyError> {
        self.unwrap_root(&labelled(b"secret", context), wrapped)
    }

    /// Makes a master key, wrapped under the root key, for `PutMasterKey` of that tenant and name.
    pub fn generate_master_key(&self, tenant: TenantId, name: &Name) -> Bytes {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        self.entropy.fill(key.as_mut_slice());
        let mut wrapped = vec![WRAPPED_SECRET_VERSION];
        let context = master_context(&master_id(tenant, name));
        envelope::close(
            &self.wrapping,
            &context,
            key.as_slice(),
            &*self.entropy,
            &mut wrapped,
        )
        .expect("a key is far shorter than what an envelope takes");
        Bytes::from(wrapped)
    }

    /// Takes in what the directory says of a master key. On an error the key is not known, and refused.
    pub fn learn_master_key(&self, record: &MasterKeyRecord) -> Result<(), KeyError> {
        let id = master_id(record.tenant, &record.name);
        let mut state = self.lock();
        if let Some(known) = state.masters.get(&id)
            && known.state == record.state
            && known.wrapped == record.versions
        {
            return Ok(());
        }
        match record.state {
            MasterKeyState::Enabled => match self.unwrap_versions(&id, record) {
                Ok(versions) => state.enable(id, record, versions),
                Err(error) => {
                    state.forget(&id);
                    return Err(error);
                }
            },
            MasterKeyState::Disabled | MasterKeyState::DeletionAt(_) | MasterKeyState::Destroyed => {
                state.disable(id, record)
            }
        }
        Ok(())
    }

    /// Forgets a master key that the directory no longer has.
    pub fn forget_master_key(&self, tenant: TenantId, name: &Name) {
        self.lock().forget(&master_id(tenant, name));
    }

    /// Forgets all keys of a tenant.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.signing.forget_tenant(tenant);
        let mut state = self.lock();
        let of_tenant = |id: &&MasterId| id.0 == tenant;
        let ids: Vec<MasterId> = state.masters.keys().filter(of_tenant).cloned().collect();
        for id in ids {
            state.forget(&id);
        }
    }

    /// Returns whether a master key can be used now. Asked before a message is leased that needs it.
    pub fn check_master_key(&self, tenant: TenantId, name: &Name) -> Result<(), KeyError> {
        let id = master_id(tenant, name);
        self.lock().enabled(&id).map(|_| ())
    }

    /// Returns the data key to seal with now in a queue or topic: the one in use, or a new one when that has served
    /// its time or its number of messages.
    pub fn current_data_key(
        &self,
        tenant: TenantId,
        master: &Name,
        incarnation: Incarnation,
        now: Time,
    ) -> Result<DataKey, KeyError> {
        let place = (master_id(tenant, master), incarnation);
        let mut state = self.lock();
        if let Some(current) = state.current.get(&place)
            && current.is_fresh(now)
        {
            return Ok(current.key.clone());
        }
        let revoked = Arc::clone(&state.enabled(&place.0)?.revoked);
        let (key, wrapped) = self.make_data_key(&state, &place.0, Purpose::Bodies)?;
        let key = DataKey::made(&key, wrapped, revoked);
        let current = Current {
            key: key.clone(),
            made: now,
        };
        state.current.insert(place, current);
        Ok(key)
    }

    /// Returns the data key that a tenant's body was sealed with. It opens only.
    pub fn unwrap_data_key(&self, tenant: TenantId, wrapped: &[u8]) -> Result<DataKey, KeyError> {
        let mut state = self.lock();
        if let Some((id, key)) = state.opened.get(wrapped) {
            if id.0 != tenant {
                return Err(KeyError::OtherTenant);
            }
            return Ok(key.clone());
        }
        let (id, secret) = open_data_key(&state, tenant, Purpose::Bodies, wrapped)?;
        let wrapped = Bytes::copy_from_slice(wrapped);
        let revoked = Arc::clone(&state.enabled(&id)?.revoked);
        let key = DataKey::unwrapped(&secret, wrapped.clone(), revoked)?;
        state.opened.insert(wrapped, (id, key.clone()));
        Ok(key)
    }

    /// Makes a data key for a client that seals by itself: in clear, to be used and forgotten, and wrapped, to be
    /// kept.
    pub fn generate_data_key(&self, tenant: TenantId, master: &Name) -> Result<(Secret, Bytes), KeyError> {
        let id = master_id(tenant, master);
        let (key, wrapped) = self.make_data_key(&self.lock(), &id, Purpose::Client)?;
        Ok((Secret::from(key.to_vec()), wrapped))
    }

    /// Gives a client back, in clear, what `generate_data_key` made for its tenant.
    pub fn decrypt_data_key(&self, tenant: TenantId, wrapped: &[u8]) -> Result<Secret, KeyError> {
        let (_, secret) = open_data_key(&self.lock(), tenant, Purpose::Client, wrapped)?;
        Ok(secret)
    }

    fn make_data_key(
        &self,
        state: &State,
        id: &MasterId,
        purpose: Purpose,
    ) -> Result<(KeyBytes, Bytes), KeyError> {
        let master = state.enabled(id)?;
        let Some(newest) = master.versions.last() else {
            return Err(KeyError::NoMasterKey(id.1.clone()));
        };
        let header = Header {
            purpose,
            tenant: id.0,
            master_version: u32::try_from(master.versions.len()).unwrap_or(u32::MAX),
            master: &id.1,
        };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        self.entropy.fill(key.as_mut_slice());
        let mut wrapped = header.encode();
        let context = labelled(b"data key", &wrapped);
        envelope::close(newest, &context, key.as_slice(), &*self.entropy, &mut wrapped)?;
        Ok((key, Bytes::from(wrapped)))
    }

    fn unwrap_versions(&self, id: &MasterId, record: &MasterKeyRecord) -> Result<Vec<KeyBytes>, KeyError> {
        let context = master_context(id);
        let mut versions = Vec::with_capacity(record.versions.len());
        for wrapped in &record.versions {
            versions.push(key_bytes(&self.unwrap_root(&context, wrapped)?)?);
        }
        Ok(versions)
    }

    fn unwrap_root(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, KeyError> {
        let Some((&version, envelope)) = wrapped.split_first() else {
            return Err(KeyError::Malformed {
                what: WRAPPED_SECRET,
                fault: "empty",
            });
        };
        if version != WRAPPED_SECRET_VERSION {
            return Err(KeyError::UnknownVersion {
                what: WRAPPED_SECRET,
                version,
            });
        }
        envelope::open(&self.wrapping, context, envelope, WRAPPED_SECRET)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the maps whole: each change is one insert or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let masters = self.lock().masters.len();
        write!(f, "Keyring({masters} master keys)")
    }
}

// === impl State ===

impl State {
    fn enabled(&self, id: &MasterId) -> Result<&Master, KeyError> {
        let name = || id.1.clone();
        let master = self.masters.get(id);
        let master = master.ok_or_else(|| KeyError::NoMasterKey(name()))?;
        match master.state {
            MasterKeyState::Enabled => Ok(master),
            MasterKeyState::Disabled => Err(KeyError::MasterKeyDisabled(name())),
            MasterKeyState::DeletionAt(_) => Err(KeyError::MasterKeyDeleting(name())),
            MasterKeyState::Destroyed => Err(KeyError::MasterKeyDestroyed(name())),
        }
    }

    fn enable(&mut self, id: MasterId, record: &MasterKeyRecord, versions: Vec<KeyBytes>) {
        let old = self
            .masters
            .get(&id)
            .filter(|old| old.state == MasterKeyState::Enabled && record.versions.starts_with(&old.wrapped));
        let revoked = if let Some(old) = old {
            // A rotation: what was sealed still opens, and what is sealed next has the new version.
            let revoked = Arc::clone(&old.revoked);
            self.current.retain(|(of, _), _| *of != id);
            revoked
        } else {
            self.forget(&id);
            Revoked::default()
        };
        let master = Master {
            state: record.state,
            wrapped: record.versions.clone(),
            versions,
            revoked,
        };
        self.masters.insert(id, master);
    }

    fn disable(&mut self, id: MasterId, record: &MasterKeyRecord) {
        self.forget(&id);
        let master = Master {
            state: record.state,
            wrapped: record.versions.clone(),
            versions: Vec::new(),
            revoked: Revoked::default(),
        };
        self.masters.insert(id, master);
    }

    /// Lets go of a master key with every data key under it.
    fn forget(&mut self, id: &MasterId) {
        if let Some(master) = self.masters.remove(id) {
            master.revoked.store(true, Ordering::Relaxed);
        }
        self.current.retain(|(of, _), _| of != id);
        self.opened.retain(|_, (of, _)| of != id);
    }
}

// === impl Current ===

impl Current {
    /// Returns whether the key may go on sealing. Sets differ in their time by little; one that is far behind gets
    /// a new key rather than one for ever.
    fn is_fresh(&self, now: Time) -> bool {
        now.since(self.made) < DATA_KEY_SPAN_MAX
            && self.made.since(now) < DATA_KEY_SPAN_MAX
            && self.key.sealed() < DATA_KEY_MESSAGES_MAX - DATA_KEY_MESSAGES_SPARE
    }
}

/// Returns the context under which an access key's secret is wrapped.
pub fn access_key_context(tenant: TenantId, id: &str) -> Vec<u8> {
    let mut context = b"access key ".to_vec();
    context.extend_from_slice(&tenant.0.to_le_bytes());
    context.extend_from_slice(id.as_bytes());
    context
}

/// Opens a wrapped data key, after everything that it says in clear was found right.
fn open_data_key(
    state: &State,
    tenant: TenantId,
    purpose: Purpose,
    wrapped: &[u8],
) -> Result<(MasterId, Secret), KeyError> {
    let (header, head, envelope) = Header::parse(wrapped)?;
    if header.tenant != tenant {
        return Err(KeyError::OtherTenant);
    }
    if header.purpose != purpose {
        return Err(KeyError::WrongPurpose);
    }
    let id = (tenant, header.master.to_owned());
    let master = state.enabled(&id)?;
    let index = (header.master_version as usize).checked_sub(1);
    let Some(key) = index.and_then(|index| master.versions.get(index)) else {
        return Err(KeyError::NoMasterKeyVersion {
            name: id.1,
            version: header.master_version,
        });
    };
    let secret = envelope::open(key, &labelled(b"data key", head), envelope, "wrapped data key")?;
    Ok((id, secret))
}

fn master_id(tenant: TenantId, name: &Name) -> MasterId {
    (tenant, name.folded())
}

fn master_context(id: &MasterId) -> Vec<u8> {
    let mut context = id.0.0.to_le_bytes().to_vec();
    context.extend_from_slice(id.1.as_bytes());
    labelled(b"master key", &context)
}

/// Returns a context that no other label can give.
fn labelled(label: &[u8], context: &[u8]) -> Vec<u8> {
    let mut bytes = b"posthouse ".to_vec();
    bytes.extend_from_slice(label);
    bytes.push(0);
    bytes.extend_from_slice(context);
    bytes
}
