//! Queues: made, shown, changed, sealed, rewound, removed.

use posthouse_model::{
    Definition, Incarnation, Kind, Name, NameRecord, QueueAttributes, QueueCounts, Sequence, Time,
};

use super::{Acting, listing};
use crate::admin::shapes::{
    CopiedMessages, CopyRequest, Decimal, Done, Lifetime, NameView, NotCopied, Page, QueueCreate,
    QueueSettings, QueueView, RewindRequest, SealRequest,
};
use crate::admin::{AdminError, ListQuery};
use crate::broker::{BrokerError, CopyWish, Listed};

pub(super) async fn list(acting: &Acting<'_>, query: ListQuery) -> Result<Page<NameView>, AdminError> {
    let page = acting.page_of_names(Kind::Queue, query).await?;
    Ok(page.map(|listed| {
        let set = acting.broker.set(listed.set);
        let counts = set.view(|state| state.queue(listed.incarnation).map(|queue| queue.counts()));
        listing::name_view(listed, counts)
    }))
}

pub(super) async fn create(acting: &Acting<'_>, request: QueueCreate) -> Result<QueueView, AdminError> {
    let target = target(acting, &request.settings);
    let attributes = request.settings.over(QueueAttributes::default(), target)?;
    let definition = Definition::Queue(attributes);
    acting
        .broker
        .create(acting.tenant, request.name.clone(), definition)
        .await?;
    show(acting, &request.name)
}

pub(super) fn show(acting: &Acting<'_>, queue: &Name) -> Result<QueueView, AdminError> {
    let record = acting.record(Kind::Queue, queue)?;
    let known = acting.broker.set(record.set).view(|state| {
        let queue = state.queue(record.incarnation)?;
        let lifetime = Lifetime {
            created: queue.created(),
            modified: queue.modified(),
        };
        Some(QueueView::new(
            &record,
            queue.attributes(),
            lifetime,
            queue.counts(),
        ))
    });
    match (known, record.state.definition()) {
        (Some(view), _) => Ok(view),
        // The set does not have it yet: nothing is in it.
        (None, Some(Definition::Queue(attributes))) => {
            let lifetime = Lifetime {
                created: Time::default(),
                modified: Time::default(),
            };
            Ok(QueueView::new(
                &record,
                attributes,
                lifetime,
                QueueCounts::default(),
            ))
        }
        (None, Some(Definition::Topic(_)) | None) => Err(BrokerError::NoName { kind: Kind::Queue }.into()),
    }
}

pub(super) async fn set(
    acting: &Acting<'_>,
    queue: &Name,
    settings: &QueueSettings,
) -> Result<QueueView, AdminError> {
    let target = target(acting, settings);
    let mut failure = None;
    let altered = acting.broker.alter_queue(acting.tenant, queue, |known| {
        settings
            .over(known, target)
            .map_err(|error| kept(&mut failure, error))
    });
    let altered = altered.await;
    altered.map_err(|error| failure.unwrap_or_else(|| error.into()))?;
    show(acting, queue)
}

pub(super) async fn delete(acting: &Acting<'_>, queue: &Name) -> Result<Done, AdminError> {
    acting.broker.remove(acting.tenant, Kind::Queue, queue).await?;
    Ok(Done {})
}

pub(super) async fn seal(
    acting: &Acting<'_>,
    queue: &Name,
    request: SealRequest,
) -> Result<Done, AdminError> {
    let found = acting.broker.resolve(acting.tenant, Kind::Queue, queue)?;
    acting.broker.seal_under(&found, request.master_key).await?;
    Ok(Done {})
}

pub(super) async fn rewind(
    acting: &Acting<'_>,
    queue: &Name,
    request: RewindRequest,
) -> Result<Done, AdminError> {
    let to = Time::from_millis(request.to_ms);
    acting.broker.rewind(acting.tenant, queue, to).await?;
    Ok(Done {})
}

pub(super) async fn copy(
    acting: &Acting<'_>,
    queue: &Name,
    request: CopyRequest,
) -> Result<CopiedMessages, AdminError> {
    let wish = CopyWish {
        into: request.into,
        since: Time::from_millis(request.since_ms),
        after: request.after.map(|after| Sequence(after.0)),
        max: usize::from(request.max.unwrap_or(u16::MAX)),
    };
    let copied = acting.broker.copy(acting.tenant, queue, wish).await?;
    acting.broker.metrics.sent(acting.tenant, copied.copied);
    let refused = copied.refused.into_iter().map(|(message, why)| NotCopied {
        message_id: message.into(),
        why,
    });
    Ok(CopiedMessages {
        copied: copied.copied,
        refused: refused.collect(),
        next: copied.next.map(|next| Decimal(next.0)),
    })
}

/// Returns the incarnation of the dead letter queue that settings name, if it is there.
fn target(acting: &Acting<'_>, settings: &QueueSettings) -> Option<Incarnation> {
    let name = &settings.dead_letter.as_ref()?.queue;
    let found = acting.broker.resolve(acting.tenant, Kind::Queue, name).ok()?;
    Some(found.incarnation)
}

/// Keeps the error of settings while the broker is told that nothing is to be done.
pub(super) fn kept(failure: &mut Option<AdminError>, error: AdminError) -> BrokerError {
    let told = BrokerError::Argument(error.message.clone());
    *failure = Some(error);
    told
}

// === impl Acting ===

impl Acting<'_> {
    /// Returns the page of the tenant's queues or topics that is asked for.
    pub(super) async fn page_of_names(
        &self,
        kind: Kind,
        query: ListQuery,
    ) -> Result<Page<Listed>, AdminError> {
        let search = query.search.clone();
        let page = self.broker.list_names(self.tenant, kind, search, move |names| {
            listing::page(names, &query, |listed| &listed.name)
        });
        Ok(page.await?)
    }

    /// Returns what the directory says of a name.
    pub(super) fn record(&self, kind: Kind, name: &Name) -> Result<NameRecord, AdminError> {
        let record = self
            .broker
            .directory
            .view(|directory| directory.name(self.tenant, kind, name).cloned());
        Ok(record.ok_or(BrokerError::NoName { kind })?)
    }
}
