//! A call on its way to a thread: what is asked, for whom, and where the answers go.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{Incarnation, Name, PluginVersion, SubscriptionId, TenantId};
use tokio::sync::oneshot;

use crate::{
    account::Account,
    call::{Binding, BindingIdentity, Filtered, RouteTable, Sealed, Step, ToOpen, ToSeal},
    contract::{delivering, types},
    fault::GuestFault,
};

/// Where answers go: one for each message, in order.
pub(crate) type Reply<T> = oneshot::Sender<Vec<Result<T, GuestFault>>>;

/// A call on its way to a thread.
pub(crate) struct Job {
    pub(crate) binding: Binding,
    pub(crate) account: Arc<Account>,
    pub(crate) work: Work,
}

/// What is asked.
pub(crate) enum Work {
    Route {
        table: Arc<RouteTable>,
        batch: Vec<types::Envelope>,
        reply: Reply<Vec<SubscriptionId>>,
    },
    Filter {
        batch: Vec<(types::Envelope, Bytes)>,
        reply: Reply<Filtered>,
    },
    Begin {
        delivery: Box<delivering::Delivery>,
        body: Bytes,
        reply: Reply<Step>,
    },
    Resume {
        delivery: Box<delivering::Delivery>,
        state: Bytes,
        response: delivering::Response,
        reply: Reply<Step>,
    },
    Seal {
        master_key: Name,
        batch: Vec<ToSeal>,
        reply: Reply<Sealed>,
    },
    Open {
        batch: Vec<ToOpen>,
        reply: Reply<Bytes>,
    },
}

/// Whom an instance serves: it is kept for nobody else. Routers are kept for each topic, with its table.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct InstanceKey {
    pub(crate) version: PluginVersion,
    pub(crate) tenant: TenantId,
    identity: BindingIdentity,
    topic: Option<Incarnation>,
}

/// Jobs of one lane may be answered together: they are for the same instance and, of a router, the same table.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Lane {
    key: InstanceKey,
    table_version: Option<u64>,
}

// === impl Job ===

impl Job {
    pub(crate) fn key(&self) -> InstanceKey {
        let topic = match &self.work {
            Work::Route { table, .. } => Some(table.key.0),
            Work::Filter { .. }
            | Work::Begin { .. }
            | Work::Resume { .. }
            | Work::Seal { .. }
            | Work::Open { .. } => None,
        };
        InstanceKey {
            version: self.binding.version,
            tenant: self.binding.tenant,
            identity: self.binding.identity,
            topic,
        }
    }

    pub(crate) fn lane(&self) -> Lane {
        let table_version = match &self.work {
            Work::Route { table, .. } => Some(table.key.1),
            Work::Filter { .. }
            | Work::Begin { .. }
            | Work::Resume { .. }
            | Work::Seal { .. }
            | Work::Open { .. } => None,
        };
        Lane {
            key: self.key(),
            table_version,
        }
    }
}
