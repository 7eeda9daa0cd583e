//! Tenants and what they may use.

use posthouse_model::{DirectoryCommand, DirectoryRefusal, Kind, Name, Quotas, TenantRecord};

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
    let name = request.name.clone();
    let quotas = request.quotas.over(Quotas::default());
    acting
        .broker
        .direct(DirectoryCommand::CreateTenant { name, quotas }, Kind::Queue)
        .await?;
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
    let known = record(acting, tenant)?;
    let command = DirectoryCommand::SetQuotas {
        tenant: known.tenant,
        quotas: settings.over(known.quotas),
    };
    acting.broker.direct(command, Kind::Queue).await?;
    show(acting, tenant)
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
    TenantView::new(record, queues, topics)
}
