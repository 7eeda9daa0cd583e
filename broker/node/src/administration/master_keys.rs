//! Master keys of a tenant, and data keys under them.

use posthouse_model::{DirectoryRefusal, MasterKeyRecord, MasterKeyState, Name, Span};

use super::{Acting, listing, refusals};
use crate::admin::AdminError;
use crate::admin::shapes::{
    DataKeyView, DecryptRequest, DecryptedKey, MasterKeyChange, MasterKeyCreate, MasterKeyView, Page,
};

pub(super) fn list(acting: &Acting<'_>) -> Page<MasterKeyView> {
    let views = acting.broker.directory.view(|directory| {
        directory
            .master_keys(acting.tenant)
            .map(MasterKeyView::from)
            .collect::<Vec<_>>()
    });
    listing::whole(views)
}

pub(super) async fn create(
    acting: &Acting<'_>,
    request: MasterKeyCreate,
) -> Result<MasterKeyView, AdminError> {
    // Two that create the same one at the same time rotate it once: nothing is lost by it.
    if record(acting, &request.name).is_ok() {
        return Err(DirectoryRefusal::Exists(request.name).into());
    }
    acting
        .broker
        .put_master_key(acting.tenant, request.name.clone())
        .await?;
    Ok(MasterKeyView::from(&record(acting, &request.name)?))
}

pub(super) async fn rotate(acting: &Acting<'_>, key: &Name) -> Result<MasterKeyView, AdminError> {
    let known = record(acting, key)?;
    acting.broker.put_master_key(acting.tenant, known.name).await?;
    Ok(MasterKeyView::from(&record(acting, key)?))
}

pub(super) async fn set(
    acting: &Acting<'_>,
    key: &Name,
    change: MasterKeyChange,
) -> Result<MasterKeyView, AdminError> {
    let state = match change {
        MasterKeyChange::Enabled => MasterKeyState::Enabled,
        MasterKeyChange::Disabled => MasterKeyState::Disabled,
        MasterKeyChange::Deletion { after_seconds } => {
            MasterKeyState::DeletionAt(acting.broker.directory.now() + Span::from_seconds(after_seconds))
        }
    };
    let known = record(acting, key)?;
    acting
        .broker
        .set_master_key(acting.tenant, known.name, state)
        .await?;
    Ok(MasterKeyView::from(&record(acting, key)?))
}

pub(super) fn generate_data_key(acting: &Acting<'_>, key: &Name) -> Result<DataKeyView, AdminError> {
    let generated = acting.broker.keyring.generate_data_key(acting.tenant, key);
    let (plain, wrapped) = generated.map_err(|error| refusals::of_key(&error))?;
    Ok(DataKeyView::new(plain.expose(), &wrapped))
}

pub(super) fn decrypt(acting: &Acting<'_>, request: &DecryptRequest) -> Result<DecryptedKey, AdminError> {
    let wrapped = request.wrapped()?;
    let plain = acting.broker.keyring.decrypt_data_key(acting.tenant, &wrapped);
    let plain = plain.map_err(|error| refusals::of_key(&error))?;
    Ok(DecryptedKey::new(plain.expose()))
}

fn record(acting: &Acting<'_>, key: &Name) -> Result<MasterKeyRecord, AdminError> {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.master_key(acting.tenant, key).cloned());
    record.ok_or_else(|| AdminError::not_found(format!("no master key {key}")))
}
