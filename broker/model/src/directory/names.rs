//! What the names of queues and topics stand for, and how far their making or removal has got.
//!
//! ```text
//!          Create            Confirm           Remove            Forget
//! (free) ─────────► Creating ────────► Ready ────────► Removing ────────► (free)
//!                       │ │              ▲                 ▲  │
//! (free) ◄── Forget ────┘ └───── Remove ─┼─────────────────┘  │
//!                                        └───── Restore ──────┘
//! ```
//!
//! `Forget` of what is being made gives up a definition that the set refused.
//!
//! A name is taken from `Create` to `Forget`. Incarnations are counted from 1 over queues and topics alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::limit;
use crate::{
    Definition, DirectoryRefusal, Incarnation, Kind, Name, NameRecord, NameState, Quotas, SetId, TenantId,
};

/// The most queues and topics of all tenants together.
pub const NAMES_MAX: usize = 1_000_000;
/// The most sets: a message id has seven bits for them.
pub const SETS_MAX: u8 = 128;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Names {
    /// The incarnation given last.
    last: Incarnation,
    records: BTreeMap<Incarnation, NameRecord>,
    /// By tenant, kind and folded name.
    names: BTreeMap<(TenantId, Kind, Box<str>), Incarnation>,
    counts: BTreeMap<(TenantId, Kind), u32>,
    /// How many names each set has.
    loads: Vec<u32>,
    unfinished: BTreeSet<Incarnation>,
}

// === impl Names ===

impl Names {
    pub(super) fn found(&mut self, sets: u8) -> Result<(), DirectoryRefusal> {
        if sets == 0 || sets > SETS_MAX {
            return Err(DirectoryRefusal::Malformed("number of sets".to_owned()));
        }
        self.loads = vec![0; usize::from(sets)];
        Ok(())
    }

    pub(super) fn get(&self, incarnation: Incarnation) -> Option<&NameRecord> {
        self.records.get(&incarnation)
    }

    pub(super) fn named(&self, tenant: TenantId, kind: Kind, name: &Name) -> Option<&NameRecord> {
        let incarnation = self.names.get(&(tenant, kind, name.folded().into()))?;
        self.records.get(incarnation)
    }

    pub(super) fn of(&self, tenant: TenantId, kind: Kind) -> impl Iterator<Item = &NameRecord> {
        let names = self.names.range((tenant, kind, Box::default())..);
        names
            .take_while(move |((of, is, _), _)| *of == tenant && *is == kind)
            .filter_map(|(_, incarnation)| self.records.get(incarnation))
    }

    /// Returns the names that come after one, by tenant, kind and folded name; none is before all.
    pub(super) fn after(&self, after: Option<(TenantId, Kind, &str)>) -> impl Iterator<Item = &NameRecord> {
        let from = match after {
            Some((tenant, kind, folded)) => Bound::Excluded((tenant, kind, folded.into())),
            None => Bound::Unbounded,
        };
        let names = self.names.range((from, Bound::Unbounded));
        names.filter_map(|(_, incarnation)| self.records.get(incarnation))
    }

    pub(super) fn unfinished(&self) -> impl Iterator<Item = &NameRecord> {
        let unfinished = self.unfinished.iter();
        unfinished.filter_map(|incarnation| self.records.get(incarnation))
    }

    pub(super) fn has_any(&self, tenant: TenantId) -> bool {
        self.count(tenant, Kind::Queue) > 0 || self.count(tenant, Kind::Topic) > 0
    }

    /// Returns whether a queue or topic of a tenant is sealed under a master key.
    pub(super) fn seals(&self, tenant: TenantId, key: &Name) -> bool {
        let folded = key.folded();
        let queues = self.of(tenant, Kind::Queue);
        let mut all = queues.chain(self.of(tenant, Kind::Topic));
        all.any(|record| {
            let key = record.sealed_under.as_ref();
            key.is_some_and(|key| key.folded() == folded)
        })
    }

    /// Returns the record of what is not being removed.
    pub(super) fn in_use(&self, incarnation: Incarnation) -> Result<&NameRecord, DirectoryRefusal> {
        let record = self.records.get(&incarnation);
        record
            .filter(|record| record.state != NameState::Removing)
            .ok_or(DirectoryRefusal::NoIncarnation(incarnation))
    }

    pub(super) fn create(
        &mut self,
        tenant: TenantId,
        name: &Name,
        definition: &Definition,
        quotas: &Quotas,
    ) -> Result<NameRecord, DirectoryRefusal> {
        let kind = definition.kind();
        if let Some(record) = self.named(tenant, kind, name) {
            return repeat_create(record, name, definition);
        }
        let (what, names_max) = match kind {
            Kind::Queue => ("queues", quotas.queues),
            Kind::Topic => ("topics", quotas.topics),
        };
        if self.count(tenant, kind) >= names_max {
            return Err(limit(what, u64::from(names_max)));
        }
        if self.records.len() >= NAMES_MAX {
            return Err(limit("queues and topics of all tenants", NAMES_MAX as u64));
        }
        let Some(set) = self.least_loaded() else {
            return Err(DirectoryRefusal::NotFounded);
        };
        let Some(number) = self.last.0.checked_add(1) else {
            return Err(limit("queues and topics ever made", u64::MAX));
        };
        let record = NameRecord {
            incarnation: Incarnation(number),
            tenant,
            name: name.clone(),
            kind,
            set,
            state: NameState::Creating(Box::new(definition.clone())),
            sealed_under: None,
        };
        self.last = record.incarnation;
        self.add(record.clone());
        Ok(record)
    }

    pub(super) fn confirm(&mut self, incarnation: Incarnation) -> Result<(), DirectoryRefusal> {
        self.in_use(incarnation)?;
        self.finish(incarnation)
    }

    pub(super) fn remove(&mut self, incarnation: Incarnation) -> Result<(), DirectoryRefusal> {
        self.record_mut(incarnation)?.state = NameState::Removing;
        self.unfinished.insert(incarnation);
        Ok(())
    }

    pub(super) fn restore(&mut self, incarnation: Incarnation) -> Result<(), DirectoryRefusal> {
        match self.record_mut(incarnation)?.state {
            NameState::Creating(_) | NameState::Ready => Ok(()),
            NameState::Removing => self.finish(incarnation),
        }
    }

    /// Frees a name, and returns what it stood for; none if it was free before.
    pub(super) fn forget(
        &mut self,
        incarnation: Incarnation,
    ) -> Result<Option<NameRecord>, DirectoryRefusal> {
        if incarnation.0 == 0 || incarnation > self.last {
            return Err(DirectoryRefusal::NoIncarnation(incarnation));
        }
        let Some(record) = self.records.get(&incarnation) else {
            return Ok(None);
        };
        match record.state {
            NameState::Creating(_) | NameState::Removing => Ok(self.take(incarnation)),
            NameState::Ready => {
                let what = "forget of a name that is in use".to_owned();
                Err(DirectoryRefusal::Malformed(what))
            }
        }
    }

    pub(super) fn seal(
        &mut self,
        incarnation: Incarnation,
        key: Option<Name>,
    ) -> Result<(), DirectoryRefusal> {
        self.record_mut(incarnation)?.sealed_under = key;
        Ok(())
    }

    fn record_mut(&mut self, incarnation: Incarnation) -> Result<&mut NameRecord, DirectoryRefusal> {
        let record = self.records.get_mut(&incarnation);
        record.ok_or(DirectoryRefusal::NoIncarnation(incarnation))
    }

    fn finish(&mut self, incarnation: Incarnation) -> Result<(), DirectoryRefusal> {
        self.record_mut(incarnation)?.state = NameState::Ready;
        self.unfinished.remove(&incarnation);
        Ok(())
    }

    pub(super) fn count(&self, tenant: TenantId, kind: Kind) -> u32 {
        self.counts.get(&(tenant, kind)).copied().unwrap_or(0)
    }

    /// Returns the set with the fewest names, of several the lowest.
    fn least_loaded(&self) -> Option<SetId> {
        let loads = self.loads.iter().zip(0..SETS_MAX);
        let least = loads.min_by_key(|(load, set)| (**load, *set));
        least.map(|(_, set)| SetId(set))
    }

    fn add(&mut self, record: NameRecord) {
        let incarnation = record.incarnation;
        let NameRecord { tenant, kind, .. } = record;
        *self.counts.entry((tenant, kind)).or_default() += 1;
        if let Some(load) = self.loads.get_mut(usize::from(record.set.0)) {
            *load += 1;
        }
        self.names
            .insert((tenant, kind, record.name.folded().into()), incarnation);
        self.unfinished.insert(incarnation);
        self.records.insert(incarnation, record);
    }

    fn take(&mut self, incarnation: Incarnation) -> Option<NameRecord> {
        let record = self.records.remove(&incarnation)?;
        let NameRecord { tenant, kind, .. } = record;
        self.unfinished.remove(&incarnation);
        self.names.remove(&(tenant, kind, record.name.folded().into()));
        if let Some(load) = self.loads.get_mut(usize::from(record.set.0)) {
            *load = load.saturating_sub(1);
        }
        let left = self.count(tenant, kind).saturating_sub(1);
        if left == 0 {
            self.counts.remove(&(tenant, kind));
        } else {
            self.counts.insert((tenant, kind), left);
        }
        Some(record)
    }
}

#[cfg(test)]
impl Names {
    /// Counts again what is kept counts and indexes of.
    pub(super) fn check_consistent(&self) {
        let mut again = Names {
            last: self.last,
            loads: vec![0; self.loads.len()],
            ..Names::default()
        };
        for record in self.records.values() {
            again.add(record.clone());
            if record.state == NameState::Ready {
                again.unfinished.remove(&record.incarnation);
            }
        }
        assert_eq!(*self, again);
    }
}

/// Answers a `Create` of a name that is taken: again, if it is the one that has not come to its end yet.
fn repeat_create(
    record: &NameRecord,
    name: &Name,
    definition: &Definition,
) -> Result<NameRecord, DirectoryRefusal> {
    match &record.state {
        NameState::Creating(begun) if **begun == *definition && record.name == *name => Ok(record.clone()),
        NameState::Creating(_) | NameState::Ready => Err(DirectoryRefusal::Exists(name.clone())),
        NameState::Removing => Err(DirectoryRefusal::StillReleasing(name.clone())),
    }
}
