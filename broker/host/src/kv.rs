//! The store of a binding during one decision: what is read of it, and what is to be written with what was decided.
//!
//! A [`KvSession`] lasts for one decision, over the calls that this one asks of the binding's plugin one after the other. What
//! a call reads and writes is noted in it when the call has ended well; one that failed has neither read nor written. The
//! host writes nothing: the caller takes the notes and has them stored together with the decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::{
    KvEntry, KvId, KvLimit, KvRoom, KvUse, KvVersion, KvWrite, Span,
    bounds::{KV_TOUCHED_MAX, KV_WRITTEN_BYTES_MAX},
    check_kv_key, kv_cost,
};

/// Above all versions that stores give: what a decision has written itself counts from here.
const OWN_VERSIONS: u64 = 1 << 63;

/// Shows what a store holds. It is asked while a guest runs, so it must not wait for anything.
pub trait KvReader: Send + Sync {
    /// Returns what a key holds, unless that has expired.
    fn get(&self, key: &str) -> Option<KvEntry>;
    /// Returns how much more there is room for.
    fn room(&self) -> KvRoom;
}

/// A binding's store during one decision. Clones share it; two are equal when they are the same.
#[derive(Clone)]
pub struct KvSession(Arc<Session>);

/// Why a plugin was refused its store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KvRefusal {
    Sealed,
    Unavailable,
    Limit(KvLimit),
}

/// A store during one call.
pub(crate) struct KvCall {
    session: Option<KvSession>,
    /// The session's notes and this call's, once it has done anything.
    notes: Option<Notes>,
}

struct Session {
    /// None where what is kept would have to be sealed.
    reader: Option<Box<dyn KvReader>>,
    notes: Mutex<Notes>,
}

/// What was read and written.
#[derive(Clone, Default)]
struct Notes {
    reads: BTreeMap<String, KvVersion>,
    writes: BTreeMap<String, (KvWrite, KvVersion)>,
    /// By how much the store will have grown.
    keys: i64,
    bytes: i64,
    /// What all writes count, also those that others replaced.
    written: u64,
    own: u64,
}

// === impl KvSession ===

impl KvSession {
    /// Returns a decision's view of a store.
    pub fn new(reader: Box<dyn KvReader>) -> KvSession {
        KvSession::of(Some(reader))
    }

    /// Returns what refuses a plugin its store, because what it decides about is sealed.
    pub fn sealed() -> KvSession {
        KvSession::of(None)
    }

    fn of(reader: Option<Box<dyn KvReader>>) -> KvSession {
        let notes = Mutex::default();
        KvSession(Arc::new(Session { reader, notes }))
    }

    /// Returns a session of its own that begins with what was noted in this one: what it notes itself is not this one's.
    pub fn beside(&self, reader: Box<dyn KvReader>) -> KvSession {
        let notes = Mutex::new(self.0.notes.lock().clone());
        let reader = self.0.reader.is_some().then_some(reader);
        KvSession(Arc::new(Session { reader, notes }))
    }

    /// Returns what was read and written, if anything was.
    pub fn used(&self, store: KvId) -> Option<KvUse> {
        let notes = self.0.notes.lock();
        if notes.reads.is_empty() && notes.writes.is_empty() {
            return None;
        }
        let reads = notes.reads.iter().map(|(key, version)| (key.clone(), *version));
        let writes = notes
            .writes
            .iter()
            .map(|(key, (write, _))| (key.clone(), write.clone()));
        Some(KvUse {
            store,
            reads: reads.collect(),
            writes: writes.collect(),
        })
    }
}

impl Eq for KvSession {}

impl PartialEq for KvSession {
    fn eq(&self, other: &KvSession) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Never shows what was written: debug prints end up in logs.
impl std::fmt::Debug for KvSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let notes = self.0.notes.lock();
        write!(
            f,
            "KvSession({} reads, {} writes)",
            notes.reads.len(),
            notes.writes.len()
        )
    }
}

// === impl KvCall ===

impl KvCall {
    /// Returns what a call is lent: a session's store, or none at all.
    pub(crate) fn new(session: Option<KvSession>) -> KvCall {
        KvCall { session, notes: None }
    }

    pub(crate) fn into_session(self) -> Option<KvSession> {
        self.session
    }

    /// Notes what the call did, which has ended well.
    pub(crate) fn keep(&mut self) {
        if let (Some(session), Some(notes)) = (&self.session, self.notes.take()) {
            *session.0.notes.lock() = notes;
        }
    }

    pub(crate) fn get(&mut self, key: &str) -> Result<Option<KvEntry>, KvRefusal> {
        check_kv_key(key)?;
        let (reader, notes) = self.open()?;
        notes.read(reader, key)
    }

    pub(crate) fn put(&mut self, key: String, value: Vec<u8>, ttl: Option<Span>) -> Result<(), KvRefusal> {
        let write = KvWrite::Put(Bytes::from(value), ttl);
        write.check(&key)?;
        let (reader, notes) = self.open()?;
        notes.write(reader, key, write)
    }

    pub(crate) fn swap(
        &mut self,
        key: String,
        version: KvVersion,
        value: Vec<u8>,
        ttl: Option<Span>,
    ) -> Result<bool, KvRefusal> {
        let write = KvWrite::Put(Bytes::from(value), ttl);
        write.check(&key)?;
        let (reader, notes) = self.open()?;
        let held = notes.read(reader, &key)?;
        if held.map(|held| held.version).unwrap_or_default() != version {
            return Ok(false);
        }
        notes.write(reader, key, write)?;
        Ok(true)
    }

    pub(crate) fn delete(&mut self, key: String) -> Result<bool, KvRefusal> {
        check_kv_key(&key)?;
        let (reader, notes) = self.open()?;
        if notes.read(reader, &key)?.is_none() {
            return Ok(false);
        }
        notes.write(reader, key, KvWrite::Delete)?;
        Ok(true)
    }

    fn open(&mut self) -> Result<(&dyn KvReader, &mut Notes), KvRefusal> {
        let session = &self.session.as_ref().ok_or(KvRefusal::Unavailable)?.0;
        let reader = session.reader.as_deref().ok_or(KvRefusal::Sealed)?;
        let notes = self.notes.get_or_insert_with(|| session.notes.lock().clone());
        Ok((reader, notes))
    }
}

// === impl Notes ===

impl Notes {
    /// Reads a key: what was written to it, or else what the store holds, on which the decision depends from then on.
    fn read(&mut self, reader: &dyn KvReader, key: &str) -> Result<Option<KvEntry>, KvRefusal> {
        match self.writes.get(key) {
            Some((KvWrite::Put(value, _), version)) => {
                return Ok(Some(KvEntry {
                    value: value.clone(),
                    version: *version,
                    until: None,
                }));
            }
            Some((KvWrite::Delete, _)) => return Ok(None),
            None => {}
        }
        if !self.reads.contains_key(key) && self.reads.len() >= KV_TOUCHED_MAX {
            return Err(KvLimit::TooMuch.into());
        }
        let held = reader.get(key);
        let version = held.as_ref().map(|held| held.version).unwrap_or_default();
        // The first answer is the one that what was decided so far depends on.
        self.reads.entry(key.to_owned()).or_insert(version);
        Ok(held)
    }

    fn write(&mut self, reader: &dyn KvReader, key: String, write: KvWrite) -> Result<(), KvRefusal> {
        if !self.writes.contains_key(&key) && self.writes.len() >= KV_TOUCHED_MAX {
            return Err(KvLimit::TooMuch.into());
        }
        let before = match self.writes.get(&key) {
            Some((written, _)) => cost(&key, written),
            None => reader.get(&key).map_or(0, |held| counted(&key, held.value.len())),
        };
        let after = cost(&key, &write);
        let written = self.written + after.unsigned_abs();
        if written > KV_WRITTEN_BYTES_MAX {
            return Err(KvLimit::TooMuch.into());
        }
        let keys = self.keys + i64::from(after > 0) - i64::from(before > 0);
        let bytes = self.bytes + after - before;
        let room = reader.room();
        let is_over = |grown: i64, room: u64| u64::try_from(grown).is_ok_and(|grown| grown > room);
        let grows = after > before;
        if grows && (is_over(keys, room.keys as u64) || is_over(bytes, room.bytes)) {
            return Err(KvLimit::Full.into());
        }
        self.own += 1;
        let version = KvVersion(OWN_VERSIONS + self.own);
        self.writes.insert(key, (write, version));
        (self.keys, self.bytes, self.written) = (keys, bytes, written);
        Ok(())
    }
}

// === impl KvRefusal ===

impl From<KvLimit> for KvRefusal {
    fn from(limit: KvLimit) -> KvRefusal {
        KvRefusal::Limit(limit)
    }
}

fn cost(key: &str, write: &KvWrite) -> i64 {
    match write {
        KvWrite::Put(value, _) => counted(key, value.len()),
        KvWrite::Delete => 0,
    }
}

fn counted(key: &str, value_bytes: usize) -> i64 {
    i64::try_from(kv_cost(key, value_bytes)).unwrap_or(i64::MAX)
}
