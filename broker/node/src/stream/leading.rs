//! Which node's door clients are told of, because that node leads what a stream is about.

use std::collections::HashMap;

use posthouse_model::{Kind, Name, TenantId};

use crate::calls::Calls;

/// Targets that a stream keeps in mind; beyond, all are looked up again.
const TARGETS_MAX: usize = 64;

/// The doors of the nodes that lead what a stream's requests went to, if those are other nodes. Looked up once for many
/// requests: what is said of it need not be the newest.
#[derive(Debug, Default)]
pub(super) struct Leading(HashMap<(Kind, Name), Option<String>>);

// === impl Leading ===

impl Leading {
    /// Returns the door for a target, empty where there is nothing to say.
    pub(super) fn door(&mut self, calls: &Calls, tenant: TenantId, target: (Kind, Name)) -> String {
        if self.0.len() >= TARGETS_MAX && !self.0.contains_key(&target) {
            self.0.clear();
        }
        let door = self.0.entry(target).or_insert_with_key(|(kind, name)| {
            let broker = &calls.broker;
            broker.leading_door(tenant, *kind, name)
        });
        door.clone().unwrap_or_default()
    }

    /// Has all be looked up again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
