//! What plugins keep between their decisions: a small store of keys and values for each binding.
//!
//! A decision is made outside the log, by what a store held when it was made. It says which versions it read and what
//! it writes, and both are checked and done at once with the decision's effect: when a key has another version by then,
//! all of it is refused, and decided again. Versions count all writes of a set, so none is ever given twice; what is not
//! there, or has expired, has version zero.
//!
//! A store belongs to its binding, and goes with it or with the queue, topic or subscription that it is bound to. Everything
//! has a bound: keys, values, stores, tenants and sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounds::{
    KV_ENTRY_BYTES, KV_KEY_BYTES_MAX, KV_KEYS_MAX, KV_SET_BYTES_MAX, KV_STORE_BYTES_MAX, KV_TENANT_BYTES_MAX,
    KV_TOUCHED_MAX, KV_TTL_SECONDS_MAX, KV_VALUE_BYTES_MAX, KV_WRITTEN_BYTES_MAX,
};
use crate::{Place, Refusal, Span, TenantId, Time, World};

/// Names a store: the binding that it belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct KvId {
    /// Where the plugin is bound.
    pub place: Place,
    /// What it decides there.
    pub world: World,
    /// On whose behalf it decides: what is bound for all has a store for each tenant.
    pub tenant: TenantId,
}

/// Counts the writes of a set. Zero is the version of what is not there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct KvVersion(pub u64);

/// What a decision read and wrote in a store.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct KvUse {
    /// The store.
    pub store: KvId,
    /// The keys that it depends on, with the versions that they had.
    pub reads: Vec<(String, KvVersion)>,
    /// What is written, each key at most once.
    pub writes: Vec<(String, KvWrite)>,
}

/// What is written to a key.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub enum KvWrite {
    /// This value, for ever or for so long.
    Put(Bytes, Option<Span>),
    /// Nothing is there any more.
    Delete,
}

/// A value in a store.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct KvEntry {
    /// The value.
    pub value: Bytes,
    /// Which write it is of.
    pub version: KvVersion,
    /// When it expires, if it does.
    pub until: Option<Time>,
}

/// Room in a store, in bytes as they are counted against bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KvRoom {
    /// How many keys more it takes.
    pub keys: usize,
    /// How many bytes more it takes: of its own bound, its tenant's and its set's what is left least of.
    pub bytes: u64,
}

/// Why what a plugin asks of a store cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KvLimit {
    /// The key is empty or too long, the value too long, the time to live zero or too long.
    #[error("a key, value or time to live is out of bounds")]
    OutOfBounds,
    /// The store, its tenant or its set has no room.
    #[error("there is no room in the store")]
    Full,
    /// One decision touches too many keys, or writes too much.
    #[error("one decision may touch {KV_TOUCHED_MAX} keys and write {KV_WRITTEN_BYTES_MAX} bytes")]
    TooMuch,
}

/// A store.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct KvStore {
    entries: BTreeMap<String, KvEntry>,
    /// What expires, by when.
    expiring: BTreeSet<(Time, String)>,
    bytes: u64,
    pub(crate) alarm: Option<Time>,
}

/// The stores of a set.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct KvStores {
    stores: BTreeMap<KvId, Arc<KvStore>>,
    tenants: BTreeMap<TenantId, u64>,
    bytes: u64,
    last: KvVersion,
}

// === impl KvUse ===

impl KvUse {
    /// Returns about how many bytes it adds to an entry.
    pub fn weight(&self) -> usize {
        let reads = self.reads.iter().map(|(key, _)| key.len() + 8);
        let writes = self
            .writes
            .iter()
            .map(|(key, write)| key.len() + 16 + write.len());
        64 + reads.sum::<usize>() + writes.sum::<usize>()
    }

    /// Refuses what no leader of ours would let a plugin do.
    fn check(&self) -> Result<(), Refusal> {
        let malformed = |limit: KvLimit| Refusal::Malformed(limit.to_string());
        if self.reads.len() > KV_TOUCHED_MAX || self.writes.len() > KV_TOUCHED_MAX {
            return Err(malformed(KvLimit::TooMuch));
        }
        let mut written = BTreeSet::new();
        for (key, write) in &self.writes {
            write.check(key).map_err(malformed)?;
            if !written.insert(key) {
                return Err(Refusal::Malformed(format!("{key} is written twice")));
            }
        }
        Ok(())
    }
}

// === impl KvWrite ===

impl KvWrite {
    /// Refuses a key, value or time to live that is out of bounds.
    pub fn check(&self, key: &str) -> Result<(), KvLimit> {
        check_kv_key(key)?;
        match self {
            KvWrite::Put(value, ttl) => {
                let longest = Span::from_seconds(KV_TTL_SECONDS_MAX);
                let in_bounds = value.len() <= KV_VALUE_BYTES_MAX
                    && ttl.is_none_or(|ttl| !ttl.is_zero() && ttl <= longest);
                in_bounds.then_some(()).ok_or(KvLimit::OutOfBounds)
            }
            KvWrite::Delete => Ok(()),
        }
    }

    /// Returns how many bytes the value has.
    pub fn len(&self) -> usize {
        match self {
            KvWrite::Put(value, _) => value.len(),
            KvWrite::Delete => 0,
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Never shows what a value says: debug prints end up in logs.
impl std::fmt::Debug for KvWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KvWrite::Put(value, ttl) => write!(f, "Put({} bytes, {ttl:?})", value.len()),
            KvWrite::Delete => f.write_str("Delete"),
        }
    }
}

// === impl KvEntry ===

impl KvEntry {
    fn is_live(&self, now: Time) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// Never shows what a value says.
impl std::fmt::Debug for KvEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bytes, version, until) = (self.value.len(), self.version, self.until);
        write!(f, "KvEntry({bytes} bytes, {version:?}, {until:?})")
    }
}

// === impl KvStore ===

impl KvStore {
    /// Returns what a key holds, unless it has expired.
    pub fn get(&self, key: &str, now: Time) -> Option<&KvEntry> {
        self.entries.get(key).filter(|entry| entry.is_live(now))
    }

    /// Returns what has not expired, by key, from the first key after `after`.
    pub fn entries_after<'a>(
        &'a self,
        after: &str,
        now: Time,
    ) -> impl Iterator<Item = (&'a str, &'a KvEntry)> {
        use std::ops::Bound;
        let entries = self
            .entries
            .range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        entries
            .filter(move |(_, entry)| entry.is_live(now))
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// Returns how many keys it holds, with those that have expired and were not removed yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many bytes it takes, as they are counted against bounds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn version(&self, key: &str, now: Time) -> KvVersion {
        self.get(key, now).map(|entry| entry.version).unwrap_or_default()
    }

    fn remove(&mut self, key: &str) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.bytes -= kv_cost(key, entry.value.len());
        if let Some(until) = entry.until {
            self.expiring.remove(&(until, key.to_owned()));
        }
    }

    fn put(&mut self, key: &str, entry: KvEntry) {
        self.remove(key);
        self.bytes += kv_cost(key, entry.value.len());
        if let Some(until) = entry.until {
            self.expiring.insert((until, key.to_owned()));
        }
        self.entries.insert(key.to_owned(), entry);
    }

    /// Removes what has expired, up to a bound, and returns how much that was.
    fn expire(&mut self, now: Time, bound: usize) -> usize {
        let mut expired = 0;
        while expired < bound
            && let Some((_, key)) = self.expiring.first().filter(|(until, _)| *until <= now)
        {
            let key = key.clone();
            self.remove(&key);
            expired += 1;
        }
        expired
    }

    fn deadline(&self) -> Option<Time> {
        self.expiring.first().map(|(until, _)| *until)
    }
}

// === impl KvStores ===

impl KvStores {
    pub(crate) fn get(&self, store: KvId) -> Option<&KvStore> {
        self.shared(store).map(Arc::as_ref)
    }

    pub(crate) fn shared(&self, store: KvId) -> Option<&Arc<KvStore>> {
        self.stores.get(&store)
    }

    /// Returns the stores of what is bound at a place: of one tenant, or of all.
    pub(crate) fn ids_of(&self, place: Place, world: World, tenant: Option<TenantId>) -> Vec<KvId> {
        let at = |tenant| KvId { place, world, tenant };
        let first = at(tenant.unwrap_or(TenantId(0)));
        let last = at(tenant.unwrap_or(TenantId(u32::MAX)));
        self.stores.range(first..=last).map(|(id, _)| *id).collect()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = KvId> + '_ {
        self.stores.keys().copied()
    }

    /// Returns how much more a store takes, whether or not it is there yet.
    pub(crate) fn room(&self, store: KvId) -> KvRoom {
        let (keys, bytes) = self.get(store).map_or((0, 0), |known| (known.len(), known.bytes));
        let of_tenant = self.tenants.get(&store.tenant).copied().unwrap_or_default();
        let left = [
            KV_STORE_BYTES_MAX.saturating_sub(bytes),
            KV_TENANT_BYTES_MAX.saturating_sub(of_tenant),
            KV_SET_BYTES_MAX.saturating_sub(self.bytes),
        ];
        KvRoom {
            keys: KV_KEYS_MAX.saturating_sub(keys),
            bytes: left.into_iter().min().unwrap_or_default(),
        }
    }

    /// Refuses what was read at other versions, and what there is no room for.
    pub(crate) fn check(&self, uses: &[KvUse], now: Time) -> Result<(), Refusal> {
        let mut stores = BTreeSet::new();
        for one in uses {
            one.check()?;
            if !stores.insert(one.store) {
                return Err(Refusal::Malformed("a store is used twice".to_owned()));
            }
            let known = self.get(one.store);
            let version = |key: &str| known.map(|known| known.version(key, now)).unwrap_or_default();
            if one.reads.iter().any(|(key, read)| version(key) != *read) {
                return Err(Refusal::StaleRead);
            }
        }
        self.check_room(uses)
    }

    /// Refuses what would be over a bound. What grows is counted in full before what shrinks, store by store.
    fn check_room(&self, uses: &[KvUse]) -> Result<(), Refusal> {
        let mut grown: BTreeMap<TenantId, u64> = BTreeMap::new();
        for one in uses {
            let growth = self.growth(one);
            let room = self.room(one.store);
            let of_tenant = grown.entry(one.store.tenant).or_default();
            *of_tenant += growth.bytes;
            if growth.keys > room.keys || (growth.bytes > 0 && *of_tenant > room.bytes) {
                return Err(Refusal::KvFull);
            }
        }
        let all: u64 = grown.values().sum();
        if all > 0 && self.bytes.saturating_add(all) > KV_SET_BYTES_MAX {
            return Err(Refusal::KvFull);
        }
        Ok(())
    }

    /// Returns by how much a store grows; less than nothing is nothing.
    fn growth(&self, one: &KvUse) -> KvRoom {
        let known = self.get(one.store);
        let (mut keys, mut bytes) = (0_i64, 0_i64);
        for (key, write) in &one.writes {
            let held = known.and_then(|known| known.entries.get(key));
            let before = held.map_or(0, |held| kv_cost(key, held.value.len()));
            let after = match write {
                KvWrite::Put(value, _) => kv_cost(key, value.len()),
                KvWrite::Delete => 0,
            };
            keys += i64::from(after > 0) - i64::from(before > 0);
            bytes += after as i64 - before as i64;
        }
        KvRoom {
            keys: usize::try_from(keys).unwrap_or_default(),
            bytes: u64::try_from(bytes).unwrap_or_default(),
        }
    }

    /// Writes what was checked.
    pub(crate) fn write(&mut self, uses: &[KvUse], now: Time) {
        for one in uses {
            if one.writes.is_empty() {
                continue;
            }
            let store = Arc::make_mut(self.stores.entry(one.store).or_default());
            let before = store.bytes;
            for (key, write) in &one.writes {
                self.last.0 += 1;
                match write {
                    KvWrite::Put(value, ttl) => store.put(
                        key,
                        KvEntry {
                            value: value.clone(),
                            version: self.last,
                            until: ttl.map(|ttl| now + ttl),
                        },
                    ),
                    KvWrite::Delete => store.remove(key),
                }
            }
            let after = store.bytes;
            self.count(one.store.tenant, before, after);
        }
    }

    /// Removes what has expired of a store, up to a bound, and returns how much that was.
    pub(crate) fn expire(&mut self, id: KvId, now: Time, bound: usize) -> usize {
        let Some(store) = self.stores.get_mut(&id) else {
            return 0;
        };
        let store = Arc::make_mut(store);
        let before = store.bytes;
        let expired = store.expire(now, bound);
        let after = store.bytes;
        self.count(id.tenant, before, after);
        expired
    }

    /// Moves a store's alarm by what `set` does with it; a store that holds nothing is let go.
    pub(crate) fn tidy(&mut self, id: KvId, mut set: impl FnMut(&mut Option<Time>, Option<Time>)) {
        let Some(store) = self.stores.get_mut(&id) else {
            return;
        };
        let deadline = store.deadline();
        if store.alarm != deadline {
            set(&mut Arc::make_mut(store).alarm, deadline);
        }
        if store.is_empty() {
            self.stores.remove(&id);
        }
    }

    /// Lets go of a store, and returns what its alarm was set to.
    pub(crate) fn drop_store(&mut self, id: KvId) -> Option<Time> {
        let store = self.stores.remove(&id)?;
        self.count(id.tenant, store.bytes, 0);
        store.alarm
    }

    fn count(&mut self, tenant: TenantId, before: u64, after: u64) {
        self.bytes = self.bytes - before + after;
        let of_tenant = self.tenants.entry(tenant).or_default();
        *of_tenant = *of_tenant - before + after;
        if *of_tenant == 0 {
            self.tenants.remove(&tenant);
        }
    }
}

/// Refuses a key that is empty or too long.
pub fn check_kv_key(key: &str) -> Result<(), KvLimit> {
    let in_bounds = !key.is_empty() && key.len() <= KV_KEY_BYTES_MAX;
    in_bounds.then_some(()).ok_or(KvLimit::OutOfBounds)
}

/// Returns how many bytes a key and its value count against bounds.
pub fn kv_cost(key: &str, value_bytes: usize) -> u64 {
    (key.len() + value_bytes) as u64 + KV_ENTRY_BYTES
}
