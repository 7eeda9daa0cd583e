//! Tenants and what they may use.

use posthouse_model::{DirectoryCommand, DirectoryRefusal, GuestLimits, Kind, Name, Quotas, TenantRecord};

use super::{Acting, listing};
use crate::admin::shapes::{Done, Page, QuotaSettings, TenantCreate, TenantView};
use crate::admin::{AdminError, ListQuery};

pub(super) async fn list(acting: &Acting<'_>, query: ListQuery) -> Result<Page<TenantView>, AdminError> {
    let search = query.search.clone();
    let page = acting.broker.list_tenants(search, move |tenants| {
        listing::page(tenants, &query, |record| &record.name)
    });
    Ok(page.await?.map(|record| view(acting, &record)))
}

pub(super) async fn create(acting: &Acting<'_>, request: TenantCreate) -> Result<TenantView, AdminError> {
    request.quotas.check()?;
    let name = request.name.clone();
    let quotas = request.quotas.over(Quotas::default());
    acting
        .broker
        .direct(DirectoryCommand::CreateTenant { name, quotas }, Kind::Queue)
        .await?;
    set_limits(acting, &record(acting, &request.name)?, &request.quotas).await?;
    show(acting, &request.name)
}

pub(super) fn show(acting: &Acting<'_>, tenant: &Name) -> Result<TenantView, AdminError> {
    Ok(view(acting, &record(acting, tenant)?))
}

pub(super) async fn set_quotas(
    acting: &Acting<'_>,
    tenant: &Name,
    settings: QuotaSettings,
) -> Result<TenantView, AdminError> {
    settings.check()?;
    let known = record(acting, tenant)?;
    let command = DirectoryCommand::SetQuotas {
        tenant: known.tenant,
        quotas: settings.over(known.quotas),
    };
    acting.broker.direct(command, Kind::Queue).await?;
    set_limits(acting, &known, &settings).await?;
    show(acting, tenant)
}

/// Changes what is not in a tenant's quotas, if the settings do.
async fn set_limits(
    acting: &Acting<'_>,
    known: &TenantRecord,
    settings: &QuotaSettings,
) -> Result<(), AdminError> {
    let current = limits(acting, known);
    if let Some(limits) = settings.limits_over(&current) {
        let tenant = known.tenant;
        let command = DirectoryCommand::SetGuestLimits { tenant, limits };
        acting.broker.direct(command, Kind::Queue).await?;
    }
    Ok(())
}

pub(super) async fn remove(acting: &Acting<'_>, tenant: &Name) -> Result<Done, AdminError> {
    let record = record(acting, tenant)?;
    if record.tenant == acting.caller.tenant {
        return Err(AdminError::conflict(
            "the tenant of the key that asks cannot be removed",
        ));
    }
    acting.broker.remove_tenant(record.tenant).await?;
    Ok(Done {})
}

fn record(acting: &Acting<'_>, tenant: &Name) -> Result<TenantRecord, AdminError> {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.tenant_named(tenant).cloned());
    Ok(record.ok_or(DirectoryRefusal::NoTenant)?)
}

fn view(acting: &Acting<'_>, record: &TenantRecord) -> TenantView {
    let (queues, topics) = acting.broker.directory.view(|directory| {
        let count = |kind| u64::from(directory.name_count(record.tenant, kind));
        (count(Kind::Queue), count(Kind::Topic))
    });
    TenantView::new(record, limits(acting, record), queues, topics)
}

fn limits(acting: &Acting<'_>, record: &TenantRecord) -> GuestLimits {
    acting
        .broker
        .directory
        .view(|directory| directory.guest_limits(record.tenant))
}
