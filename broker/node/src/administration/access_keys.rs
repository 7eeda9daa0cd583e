//! Access keys of a tenant.
//!
//! A key of another tenant is "no such key". A root key among a tenant's is touched by root keys only: whoever may
//! administer one tenant must not be able to shut the cluster's administrators out.

use posthouse_model::{AccessKeyRecord, DirectoryCommand, DirectoryRefusal, Kind};

use super::{Acting, listing};
use crate::admin::AdminError;
use crate::admin::shapes::{
    AccessKeyChange, AccessKeyCreate, AccessKeyCreated, AccessKeyView, Done, Page, hexadecimal,
};
use crate::broker::Broker;

/// How many random bytes an access key's id has, when it is made up.
const ID_BYTES: usize = 10;
/// How many random bytes its secret has.
const SECRET_BYTES: usize = 24;

pub(super) fn list(acting: &Acting<'_>) -> Page<AccessKeyView> {
    let records: Vec<AccessKeyRecord> = acting
        .broker
        .directory
        .view(|directory| directory.access_keys(acting.tenant).cloned().collect());
    listing::whole(records.iter().map(|record| view(acting, record)).collect())
}

pub(super) async fn add(
    acting: &Acting<'_>,
    request: AccessKeyCreate,
) -> Result<AccessKeyCreated, AdminError> {
    let id = request
        .id
        .unwrap_or_else(|| format!("AKID{}", random::<ID_BYTES>(acting.broker)));
    let secret = request
        .secret
        .unwrap_or_else(|| random::<SECRET_BYTES>(acting.broker));
    acting
        .broker
        .add_access_key(acting.tenant, &id, secret.as_bytes(), request.root)
        .await?;
    let tenant = acting.tenant_name();
    Ok(AccessKeyCreated {
        id,
        secret,
        tenant,
        root: request.root,
    })
}

pub(super) async fn set(
    acting: &Acting<'_>,
    id: &str,
    change: AccessKeyChange,
) -> Result<AccessKeyView, AdminError> {
    own(acting, id)?;
    let command = DirectoryCommand::SetAccessKey {
        id: id.to_owned(),
        status: change.status.into(),
    };
    acting.broker.direct(command, Kind::Queue).await?;
    Ok(view(acting, &own(acting, id)?))
}

pub(super) async fn remove(acting: &Acting<'_>, id: &str) -> Result<Done, AdminError> {
    own(acting, id)?;
    let command = DirectoryCommand::RemoveAccessKey { id: id.to_owned() };
    acting.broker.direct(command, Kind::Queue).await?;
    Ok(Done {})
}

/// Returns a key that the caller may change.
fn own(acting: &Acting<'_>, id: &str) -> Result<AccessKeyRecord, AdminError> {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.access_key(id).cloned());
    let record = record
        .filter(|record| record.tenant == acting.tenant)
        .ok_or(DirectoryRefusal::NoAccessKey)?;
    if record.root && !acting.caller.root {
        return Err(AdminError::forbidden(
            "only a root access key may change a root access key",
        ));
    }
    Ok(record)
}

fn view(acting: &Acting<'_>, record: &AccessKeyRecord) -> AccessKeyView {
    AccessKeyView {
        id: record.id.clone(),
        tenant: acting.tenant_name(),
        status: record.status.into(),
        root: record.root,
    }
}

fn random<const BYTES: usize>(broker: &Broker) -> String {
    let mut bytes = [0; BYTES];
    broker.entropy.fill(&mut bytes);
    hexadecimal(&bytes)
}

// === impl Acting ===

impl Acting<'_> {
    /// Returns the tenant's name as it was made.
    pub(super) fn tenant_name(&self) -> posthouse_model::Name {
        let known = self
            .broker
            .directory
            .view(|directory| directory.tenant(self.tenant).map(|record| record.name.clone()));
        // Removed in this moment: whoever asks is told of the tenant it asked as.
        known.unwrap_or_else(|| self.caller.tenant_name.clone())
    }
}
