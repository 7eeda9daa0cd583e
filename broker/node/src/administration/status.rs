//! What this node says of itself.

use posthouse_model::{LogIndex, Term};

use super::Service;
use crate::admin::AdminError;
use crate::admin::shapes::{DiskStatus, GroupStatus, NodeStatus, SetStatus, hexadecimal};

pub(super) async fn of(service: &Service) -> Result<NodeStatus, AdminError> {
    let broker = &service.broker;
    let usage = broker
        .store
        .usage()
        .map_err(|fault| AdminError::not_done(fault.to_string()))?;
    let cluster = broker
        .directory
        .view(|directory| directory.founded().map(|founding| founding.cluster));
    let sets = broker.sets().into_iter().map(|set| {
        let (queues, topics) = set.view(|state| (state.queues().len(), state.topics().len()));
        SetStatus {
            set: set.set().0,
            group: group(set.term(), set.applied()),
            queues: queues as u64,
            topics: topics as u64,
        }
    });
    Ok(NodeStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        label: service.label.clone(),
        cluster: cluster.map(|id| hexadecimal(&id)).unwrap_or_default(),
        uptime_seconds: service.started.elapsed().as_secs(),
        ready: broker.unready().await.is_none(),
        directory: group(broker.directory.term(), broker.directory.applied()),
        sets: sets.collect(),
        disk: DiskStatus {
            used_bytes: usage.wal_bytes + usage.segment_bytes,
            free_bytes: usage.space.free_bytes,
            nearly_full: broker.store.nearly_full(),
            failed: broker.store.failed().is_some(),
        },
        built_ins: broker
            .builtins_in_force()
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

fn group(term: Option<Term>, applied: LogIndex) -> GroupStatus {
    GroupStatus {
        leading: term.is_some(),
        term: term.unwrap_or_default().0,
        applied: applied.0,
    }
}
