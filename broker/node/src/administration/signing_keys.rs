//! Signing keys of a tenant.

use posthouse_model::{DirectoryRefusal, Name, SigningAlgorithm, SigningKeyRecord};

use super::{Acting, listing};
use crate::admin::AdminError;
use crate::admin::shapes::{Done, Page, SigningKeyCreate, SigningKeyMade, SigningKeyRotate, SigningKeyView};

pub(super) fn list(acting: &Acting<'_>) -> Page<SigningKeyView> {
    let views = acting.broker.directory.view(|directory| {
        directory
            .signing_keys(acting.tenant)
            .map(SigningKeyView::from)
            .collect::<Vec<_>>()
    });
    listing::whole(views)
}

pub(super) async fn create(
    acting: &Acting<'_>,
    request: SigningKeyCreate,
) -> Result<SigningKeyMade, AdminError> {
    let (tenant, name) = (acting.tenant, request.name.clone());
    let secret = acting
        .broker
        .create_signing_key(tenant, name, request.algorithm.into())
        .await?;
    let record = record(acting, &request.name)?;
    Ok(SigningKeyMade::new(
        &record,
        secret.as_ref().map(|secret| secret.expose()),
    ))
}

pub(super) async fn rotate(
    acting: &Acting<'_>,
    key: &Name,
    request: SigningKeyRotate,
) -> Result<SigningKeyMade, AdminError> {
    let known = record(acting, key)?;
    let newest = known.versions.last().map(|version| version.secret.algorithm);
    let algorithm = match request.algorithm {
        Some(algorithm) => algorithm.into(),
        None => newest.unwrap_or(SigningAlgorithm::HmacSha256),
    };
    let secret = acting
        .broker
        .rotate_signing_key(acting.tenant, known.name, algorithm)
        .await?;
    Ok(SigningKeyMade::new(
        &record(acting, key)?,
        secret.as_ref().map(|secret| secret.expose()),
    ))
}

pub(super) async fn retire(acting: &Acting<'_>, key: &Name) -> Result<SigningKeyView, AdminError> {
    let known = record(acting, key)?;
    acting
        .broker
        .retire_signing_key(acting.tenant, known.name)
        .await?;
    Ok(SigningKeyView::from(&record(acting, key)?))
}

pub(super) async fn remove(acting: &Acting<'_>, key: &Name) -> Result<Done, AdminError> {
    acting
        .broker
        .remove_signing_key(acting.tenant, key.clone())
        .await?;
    Ok(Done {})
}

fn record(acting: &Acting<'_>, key: &Name) -> Result<SigningKeyRecord, AdminError> {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.signing_key(acting.tenant, key).cloned());
    Ok(record.ok_or_else(|| DirectoryRefusal::NoSigningKey(key.clone()))?)
}
