//! A store for a plugin that is tried: what a case says that it holds, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_host::{KvReader, KvSession};
use posthouse_model::{
    Incarnation, KvEntry, KvId, KvRoom, KvVersion, KvWrite, Place, TenantId, World,
    bounds::{KV_KEYS_MAX, KV_STORE_BYTES_MAX},
    kv_cost,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a store holds before a plugin is asked. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    entries: Arc<BTreeMap<String, KvEntry>>,
    room: Option<Room>,
}

/// How much more a store takes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    keys: usize,
    bytes: u64,
}

// === impl Held ===

impl Held {
    /// Returns a store that holds these values, and takes so much more: as much as others do when nothing is said.
    pub(super) fn new(values: impl Iterator<Item = (String, Bytes)>, room: Option<Room>) -> Held {
        let entries = values.zip(1..).map(|((key, value), version)| {
            let version = KvVersion(version);
            let until = None;
            (
                key,
                KvEntry {
                    value,
                    version,
                    until,
                },
            )
        });
        Held {
            entries: Arc::new(entries.collect()),
            room,
        }
    }

    /// Returns the store as one decision sees it.
    pub(super) fn session(&self) -> KvSession {
        KvSession::new(Box::new(self.clone()))
    }
}

impl KvReader for Held {
    fn get(&self, key: &str) -> Option<KvEntry> {
        self.entries.get(key).cloned()
    }

    fn room(&self) -> KvRoom {
        if let Some(Room { keys, bytes }) = self.room {
            return KvRoom { keys, bytes };
        }
        let bytes = self
            .entries
            .iter()
            .map(|(key, entry)| kv_cost(key, entry.value.len()));
        KvRoom {
            keys: KV_KEYS_MAX.saturating_sub(self.entries.len()),
            bytes: KV_STORE_BYTES_MAX.saturating_sub(bytes.sum()),
        }
    }
}

/// Returns what was written, as a case would say it: null for what was removed.
pub(super) fn written(session: &KvSession, value: impl Fn(&[u8]) -> Value) -> Value {
    // Which store it is does not matter.
    let store = KvId {
        place: Place::Incarnation(Incarnation(1)),
        world: World::Filter,
        tenant: TenantId(1),
    };
    let writes = session.used(store).map(|used| used.writes).unwrap_or_default();
    let written: Map<String, Value> = writes
        .into_iter()
        .map(|(key, write)| match write {
            KvWrite::Put(bytes, None) => (key, json!({ "value": value(&bytes) })),
            KvWrite::Put(bytes, Some(ttl)) => {
                let kept = json!({ "value": value(&bytes), "ttl_ms": ttl.millis() });
                (key, kept)
            }
            KvWrite::Delete => (key, Value::Null),
        })
        .collect();
    Value::Object(written)
}
