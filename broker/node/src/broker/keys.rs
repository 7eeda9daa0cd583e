//! Keys: secrets that requests are signed with, and master keys and signing keys as the directory has them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use posthouse_keyring::Secret;
use posthouse_model::{
    AccessKeyStatus, DirectoryChange, DirectoryCommand, DirectoryReply, Kind, MasterKeyRecord,
    MasterKeyState, Name, SigningAlgorithm, SigningKeyRecord, SigningSecret, TenantId, TenantRecord,
};

use posthouse_replica::{Fault, Reason};
use tokio::time::Instant;

use super::inquiry::Sight;
use super::reach::senseless;
use super::{Broker, BrokerError};

/// The most unwrapped secrets that are kept.
const SECRETS_MAX: usize = 100_000;

/// Secrets of access keys, unwrapped once and kept while the directory says the same.
#[derive(Default)]
pub(super) struct Secrets {
    known: RwLock<HashMap<String, (Bytes, Arc<Secret>)>>,
}

/// Who signs with an access key.
#[derive(Clone)]
pub struct Signatory {
    /// The tenant.
    pub tenant: TenantId,
    /// What is signed with.
    pub secret: Arc<Secret>,
    /// Whether the key's requests are served.
    pub status: AccessKeyStatus,
    /// Whether it may administer the cluster.
    pub root: bool,
}

impl Broker {
    /// Returns who signs with an access key, if there is one.
    pub fn signatory(&self, id: &str) -> Option<Signatory> {
        let (tenant, wrapped, status, root) = self.directory.view(|directory| {
            directory
                .access_key(id)
                .map(|key| (key.tenant, key.wrapped_secret.clone(), key.status, key.root))
        })?;
        let secret = self.secret(tenant, id, &wrapped)?;
        Some(Signatory {
            tenant,
            secret,
            status,
            root,
        })
    }

    /// Finds who signs with an access key. One that is not known here may have been made through another node a moment
    /// ago, so the directory is looked at as it is now, as often as strangers may have it done.
    pub async fn find_signatory(&self, id: &str) -> Result<Option<Signatory>, BrokerError> {
        let known = self.signatory(id);
        if known.is_some() || self.is_alone() {
            return Ok(known);
        }
        let (mut told, look) = self.inquiry.join(Instant::now());
        if let Some(look) = look {
            let broker = self.clone();
            self.while_running(async move {
                tokio::time::sleep_until(look.at).await;
                broker.inquiry.begin(Instant::now());
                let seen = match broker.see_directory().await {
                    Ok(()) => Sight::Current,
                    Err(error) => {
                        tracing::debug!(%error, "whether there is a key that is not known here cannot be told");
                        Sight::Unknown
                    }
                };
                look.tell.send_replace(Some(seen));
            });
        }
        // Nobody tells any more once the broker stops.
        let seen = told.wait_for(Option::is_some).await.map_or(None, |seen| *seen);
        match seen {
            Some(Sight::Current) => Ok(self.signatory(id)),
            Some(Sight::Unknown) => Err(Fault::NotDone(Reason::TimedOut).into()),
            None => Err(Fault::NotDone(Reason::Stopping).into()),
        }
    }

    fn secret(&self, tenant: TenantId, id: &str, wrapped: &Bytes) -> Option<Arc<Secret>> {
        if let Some((known, secret)) = self.secrets.known.read().get(id)
            && known == wrapped
        {
            return Some(Arc::clone(secret));
        }
        let context = posthouse_keyring::access_key_context(tenant, id);
        match self.keyring.unwrap_secret(&context, wrapped) {
            Ok(secret) => {
                let secret = Arc::new(secret);
                let mut known = self.secrets.known.write();
                if known.len() >= SECRETS_MAX {
                    known.clear();
                }
                known.insert(id.to_owned(), (wrapped.clone(), Arc::clone(&secret)));
                Some(secret)
            }
            Err(error) => {
                tracing::error!(%tenant, %error, "an access key's secret cannot be unwrapped");
                None
            }
        }
    }

    /// Adds an access key.
    pub async fn add_access_key(
        &self,
        tenant: TenantId,
        id: &str,
        secret: &[u8],
        root: bool,
    ) -> Result<(), BrokerError> {
        let context = posthouse_keyring::access_key_context(tenant, id);
        let wrapped_secret = self
            .keyring
            .wrap_secret(&context, secret)
            .map_err(|error| BrokerError::Key(error.to_string()))?;
        let command = DirectoryCommand::AddAccessKey {
            tenant,
            id: id.to_owned(),
            wrapped_secret,
            root,
        };
        self.direct(command, Kind::Queue).await.map(|_| ())
    }

    /// Makes a master key, or a new version of it.
    pub async fn put_master_key(&self, tenant: TenantId, name: Name) -> Result<u32, BrokerError> {
        let wrapped = self.keyring.generate_master_key(tenant, &name);
        let command = DirectoryCommand::PutMasterKey {
            tenant,
            name,
            wrapped,
        };
        match self.direct(command, Kind::Queue).await? {
            DirectoryReply::MasterKey(version) => Ok(version),
            other => Err(senseless(&other)),
        }
    }

    /// Enables a master key, disables it, or schedules its deletion.
    pub async fn set_master_key(
        &self,
        tenant: TenantId,
        name: Name,
        state: MasterKeyState,
    ) -> Result<(), BrokerError> {
        let command = DirectoryCommand::SetMasterKey { tenant, name, state };
        self.direct(command, Kind::Queue).await?;
        Ok(())
    }

    /// Makes a signing key, and returns what is to be told of its secret.
    pub async fn create_signing_key(
        &self,
        tenant: TenantId,
        name: Name,
        algorithm: SigningAlgorithm,
    ) -> Result<Option<Secret>, BrokerError> {
        let (secret, clear) = self.signing_secret(tenant, &name, algorithm)?;
        let command = DirectoryCommand::CreateSigningKey { tenant, name, secret };
        self.direct(command, Kind::Queue).await?;
        Ok(clear)
    }

    /// Adds a version to a signing key, and returns what is to be told of its secret.
    pub async fn rotate_signing_key(
        &self,
        tenant: TenantId,
        name: Name,
        algorithm: SigningAlgorithm,
    ) -> Result<Option<Secret>, BrokerError> {
        let (secret, clear) = self.signing_secret(tenant, &name, algorithm)?;
        let command = DirectoryCommand::RotateSigningKey { tenant, name, secret };
        self.direct(command, Kind::Queue).await?;
        Ok(clear)
    }

    fn signing_secret(
        &self,
        tenant: TenantId,
        name: &Name,
        algorithm: SigningAlgorithm,
    ) -> Result<(SigningSecret, Option<Secret>), BrokerError> {
        self.keyring
            .generate_signing_secret(tenant, name, algorithm)
            .map_err(|error| BrokerError::Key(error.to_string()))
    }

    /// Takes the older of a signing key's two versions out of use.
    pub async fn retire_signing_key(&self, tenant: TenantId, name: Name) -> Result<(), BrokerError> {
        let command = DirectoryCommand::RetireSigningKey { tenant, name };
        self.direct(command, Kind::Queue).await.map(|_| ())
    }

    /// Removes a signing key.
    pub async fn remove_signing_key(&self, tenant: TenantId, name: Name) -> Result<(), BrokerError> {
        let command = DirectoryCommand::RemoveSigningKey { tenant, name };
        self.direct(command, Kind::Queue).await.map(|_| ())
    }

    /// Removes a tenant that has no queues and no topics, with its keys, plugins and bindings.
    pub async fn remove_tenant(&self, tenant: TenantId) -> Result<(), BrokerError> {
        self.direct(DirectoryCommand::RemoveTenant { tenant }, Kind::Queue)
            .await?;
        Ok(())
    }

    /// Takes in all that the directory says of master keys and signing keys, and of what tenants' guests may use.
    pub(crate) fn learn_all(&self) {
        let tenants: Vec<TenantRecord> = self
            .directory
            .view(|directory| directory.tenants().cloned().collect());
        for record in tenants {
            let limits = self
                .directory
                .view(|directory| directory.guest_limits(record.tenant));
            self.guests.set_quota(record.tenant, &record.quotas, &limits);
            let keys: Vec<MasterKeyRecord> = self
                .directory
                .view(|directory| directory.master_keys(record.tenant).cloned().collect());
            keys.iter().for_each(|key| self.learn_master_key(key));
            let keys: Vec<SigningKeyRecord> = self
                .directory
                .view(|directory| directory.signing_keys(record.tenant).cloned().collect());
            keys.iter().for_each(|key| self.learn_signing_key(key));
        }
    }

    /// Takes in what the directory says now of something that changed.
    pub(super) fn learn(&self, change: &DirectoryChange) {
        match change {
            DirectoryChange::Tenant { tenant, .. } => {
                let known = self.directory.view(|directory| {
                    let record = directory.tenant(*tenant)?;
                    Some((record.quotas, directory.guest_limits(*tenant)))
                });
                match known {
                    Some((quotas, limits)) => self.guests.set_quota(*tenant, &quotas, &limits),
                    None => {
                        self.guests.forget_tenant(*tenant);
                        self.keyring.forget_tenant(*tenant);
                        self.deliveries.forget_tenant(*tenant);
                    }
                }
            }
            DirectoryChange::MasterKey { tenant, name } => {
                let record = self
                    .directory
                    .view(|directory| directory.master_key(*tenant, name).cloned());
                record.iter().for_each(|record| self.learn_master_key(record));
            }
            DirectoryChange::SigningKey { tenant, name } => {
                let record = self
                    .directory
                    .view(|directory| directory.signing_key(*tenant, name).cloned());
                match record {
                    Some(record) => self.learn_signing_key(&record),
                    None => self.keyring.forget_signing_key(*tenant, name),
                }
            }
            DirectoryChange::Plugin { version, .. } => self.learn_plugin(*version),
            // Looked up in the directory whenever they are needed.
            DirectoryChange::Name { .. } | DirectoryChange::Deciding => {}
        }
    }

    fn learn_master_key(&self, record: &MasterKeyRecord) {
        if let Err(error) = self.keyring.learn_master_key(record) {
            tracing::error!(tenant = %record.tenant, key = %record.name, %error, "a master key cannot be used");
        }
    }

    fn learn_signing_key(&self, record: &SigningKeyRecord) {
        if let Err(error) = self.keyring.learn_signing_key(record) {
            tracing::error!(tenant = %record.tenant, key = %record.name, %error, "a signing key cannot be used");
        }
    }
}
