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
use serde_json::{Map, Value, json};

/// What a store holds before a plugin is asked. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<BTreeMap<String, KvEntry>>);

// === impl Held ===

impl Held {
    /// Returns a store that holds these values.
    pub(super) fn new(values: impl Iterator<Item = (String, Bytes)>) -> Held {
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
        Held(Arc::new(entries.collect()))
    }

    /// Returns the store as one decision sees it.
    pub(super) fn session(&self) -> KvSession {
        KvSession::new(Box::new(self.clone()))
    }
}

impl KvReader for Held {
    fn get(&self, key: &str) -> Option<KvEntry> {
        self.0.get(key).cloned()
    }

    fn room(&self) -> KvRoom {
        let bytes = self.0.iter().map(|(key, entry)| kv_cost(key, entry.value.len()));
        KvRoom {
            keys: KV_KEYS_MAX.saturating_sub(self.0.len()),
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
