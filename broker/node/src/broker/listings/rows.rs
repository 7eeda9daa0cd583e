//! Rows of the projection: what of the directory is in it, under which keys, as which bytes.
//!
//! Keys of a table begin with its number and sort as the directory's own walk does. A release that writes other bytes
//! finds that those of the last one differ, and writes its own in their place.

use bytes::Bytes;
use posthouse_model::{
    Directory, DirectoryChange, Incarnation, Kind, Name, NameRecord, NameState, PluginRecord, PluginVersion,
    SetId, TenantId, TenantRecord,
};
use posthouse_store::Op;
use posthouse_wire::{decode, encode};
use serde::{Deserialize, Serialize};

/// The byte between a plugin's name and its version: below all that names hold.
const NAME_END: u8 = 0;

/// Something of the directory, as it is listed.
pub(super) trait Row: Clone + Send + 'static {
    /// Which table; the first byte of its keys.
    const TABLE: u8;

    /// Returns its key.
    fn key(&self) -> Vec<u8>;

    /// Returns its value.
    fn value(&self) -> Bytes;

    /// Reads a row; none if it is not one.
    fn read(key: &[u8], value: &[u8]) -> Option<Self>;

    /// Returns so many of those that come after one in the directory, in order of their keys; none is before all.
    fn after(directory: &Directory, after: Option<&Self>, count: usize) -> Vec<Self>;
}

/// A queue or topic, as it is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Whose.
    pub tenant: TenantId,
    /// Queue or topic.
    pub kind: Kind,
    /// The name as written.
    pub name: Name,
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The set that holds it.
    pub set: SetId,
    /// How far its making or removal has got.
    pub progress: Progress,
    /// The master key that it is sealed under.
    pub sealed_under: Option<Name>,
}

/// How far the making or removal of a name has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Progress {
    /// The set does not have it yet.
    Creating,
    /// In use.
    Ready,
    /// The set is to drop it.
    Removing,
}

/// What a [`Listed`]'s key does not say. Short, for there are many and the projection's library keeps some in memory.
#[derive(Serialize, Deserialize)]
struct ListedValue {
    incarnation: Incarnation,
    set: SetId,
    progress: Progress,
    /// The name as written, where that is not its folded form.
    written: Option<Name>,
    sealed_under: Option<Name>,
}

// === impl Listed ===

impl Listed {
    /// Returns what the keys of a tenant's queues or topics begin with.
    pub(super) fn below(tenant: TenantId, kind: Kind) -> Vec<u8> {
        let kind = match kind {
            Kind::Queue => 0,
            Kind::Topic => 1,
        };
        let [a, b, c, d] = tenant.0.to_be_bytes();
        vec![Self::TABLE, a, b, c, d, kind]
    }

    fn key_of(tenant: TenantId, kind: Kind, name: &Name) -> Vec<u8> {
        let mut key = Listed::below(tenant, kind);
        key.extend_from_slice(name.folded().as_bytes());
        key
    }
}

impl From<&NameRecord> for Listed {
    fn from(record: &NameRecord) -> Listed {
        Listed {
            tenant: record.tenant,
            kind: record.kind,
            name: record.name.clone(),
            incarnation: record.incarnation,
            set: record.set,
            progress: Progress::from(&record.state),
            sealed_under: record.sealed_under.clone(),
        }
    }
}

impl Row for Listed {
    const TABLE: u8 = 1;

    fn key(&self) -> Vec<u8> {
        Listed::key_of(self.tenant, self.kind, &self.name)
    }

    fn value(&self) -> Bytes {
        let is_folded = self.name.folded() == self.name.as_str();
        value_of(&ListedValue {
            incarnation: self.incarnation,
            set: self.set,
            progress: self.progress,
            written: (!is_folded).then(|| self.name.clone()),
            sealed_under: self.sealed_under.clone(),
        })
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Listed> {
        let (&[_, a, b, c, d, kind], folded) = key.split_first_chunk()?;
        let kind = match kind {
            0 => Kind::Queue,
            1 => Kind::Topic,
            _ => return None,
        };
        let value: ListedValue = read_value(value)?;
        let name = match value.written {
            Some(written) => written,
            None => Name::parse(std::str::from_utf8(folded).ok()?).ok()?,
        };
        Some(Listed {
            tenant: TenantId(u32::from_be_bytes([a, b, c, d])),
            kind,
            name,
            incarnation: value.incarnation,
            set: value.set,
            progress: value.progress,
            sealed_under: value.sealed_under,
        })
    }

    fn after(directory: &Directory, after: Option<&Listed>, count: usize) -> Vec<Listed> {
        let folded = after.map(|row| row.name.folded());
        let after = after.zip(folded.as_deref());
        let names = directory.names_after(after.map(|(row, folded)| (row.tenant, row.kind, folded)));
        names.take(count).map(Listed::from).collect()
    }
}

// === impl Progress ===

impl From<&NameState> for Progress {
    fn from(state: &NameState) -> Progress {
        match state {
            NameState::Creating(_) => Progress::Creating,
            NameState::Ready => Progress::Ready,
            NameState::Removing => Progress::Removing,
        }
    }
}

// === impl PluginRecord ===

impl Row for PluginRecord {
    const TABLE: u8 = 2;

    fn key(&self) -> Vec<u8> {
        plugin_key(self.tenant, &self.name, self.version)
    }

    fn value(&self) -> Bytes {
        value_of(self)
    }

    fn read(_key: &[u8], value: &[u8]) -> Option<PluginRecord> {
        read_value(value)
    }

    fn after(directory: &Directory, after: Option<&PluginRecord>, count: usize) -> Vec<PluginRecord> {
        let folded = after.map(|row| row.name.folded());
        let after = after.zip(folded.as_deref());
        let plugins = directory.plugins_after(after.map(|(row, folded)| (row.tenant, folded, row.version)));
        plugins.take(count).cloned().collect()
    }
}

// === impl TenantRecord ===

impl Row for TenantRecord {
    const TABLE: u8 = 3;

    fn key(&self) -> Vec<u8> {
        tenant_key(&self.name)
    }

    fn value(&self) -> Bytes {
        value_of(self)
    }

    fn read(_key: &[u8], value: &[u8]) -> Option<TenantRecord> {
        read_value(value)
    }

    fn after(directory: &Directory, after: Option<&TenantRecord>, count: usize) -> Vec<TenantRecord> {
        let folded = after.map(|row| row.name.folded());
        let tenants = directory.tenants_after(folded.as_deref());
        tenants.take(count).cloned().collect()
    }
}

/// Returns what the keys of a tenant's plugins begin with, or (none) of everybody's.
pub(super) fn plugins_below(tenant: Option<TenantId>) -> Vec<u8> {
    let mut key = vec![PluginRecord::TABLE, u8::from(tenant.is_some())];
    if let Some(tenant) = tenant {
        key.extend_from_slice(&tenant.0.to_be_bytes());
    }
    key
}

/// Returns what is to be written for something that may have changed: what it is now, if it is listed at all.
pub(super) fn op(directory: &Directory, change: &DirectoryChange) -> Option<Op> {
    let (key, value) = match change {
        DirectoryChange::Name { tenant, kind, name } => {
            let record = directory.name(*tenant, *kind, name);
            let value = record.map(|record| Listed::from(record).value());
            (Listed::key_of(*tenant, *kind, name), value)
        }
        DirectoryChange::Plugin {
            tenant,
            name,
            version,
        } => {
            let record = directory.plugin(*version);
            (plugin_key(*tenant, name, *version), record.map(Row::value))
        }
        DirectoryChange::Tenant { name, .. } => {
            let record = directory.tenant_named(name);
            (tenant_key(name), record.map(Row::value))
        }
        DirectoryChange::MasterKey { .. }
        | DirectoryChange::SigningKey { .. }
        | DirectoryChange::Deciding => return None,
    };
    let key = Bytes::from(key);
    Some(match value {
        Some(value) => Op::Put(key, value),
        None => Op::Delete(key),
    })
}

fn plugin_key(tenant: Option<TenantId>, name: &Name, version: PluginVersion) -> Vec<u8> {
    let mut key = plugins_below(tenant);
    key.extend_from_slice(name.folded().as_bytes());
    key.push(NAME_END);
    key.extend_from_slice(&version.0.to_be_bytes());
    key
}

fn tenant_key(name: &Name) -> Vec<u8> {
    let mut key = vec![TenantRecord::TABLE];
    key.extend_from_slice(name.folded().as_bytes());
    key
}

fn value_of<T: Serialize>(value: &T) -> Bytes {
    encode(posthouse_wire::Kind::ProjectionRow, value)
}

fn read_value<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode(posthouse_wire::Kind::ProjectionRow, bytes).ok()
}
