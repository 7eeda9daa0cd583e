//! What a guest is lent while it runs: its configuration, bodies, keys, signatures, a store, a log and figures, each within
//! its bounds.
//!
//! One `Lent` stands behind each instance. What a call may use is counted in `Use`, which begins anew with each call;
//! handles live in the table and are gone, with the instance if need be, when the call is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{Incarnation, KvLimit, KvVersion, Name, Span, World};
use wasmtime::{
    ResourceLimiter, Result,
    component::{HasSelf, Linker, Resource, ResourceTable},
    format_err,
};

use crate::{
    account::{Account, Refuser, thread_cpu},
    call::Binding,
    config::{
        ASSOCIATED_BYTES_MAX, CallLimits, LOG_LINE_BYTES_MAX, LOG_LINES_PER_CALL_MAX, Pool,
        SIGNED_PREFIX_BYTES_MAX,
    },
    contract::{bodies, config, keyring, kv, log, metrics, signer, types},
    convert,
    figures::{PluginFigures, Raised},
    kv::{KvCall, KvRefusal, KvSession},
    lend::{KeyLender, LentKey},
    log::{Level, PluginLog},
};

/// A body behind a handle.
#[expect(
    unreachable_pub,
    reason = "the generated traits are public, in a private module"
)]
pub struct LentBody {
    pub(crate) bytes: Bytes,
    /// Whether a data key sealed it: a guest cannot say so, and cannot make a body otherwise.
    pub(crate) sealed: bool,
}

/// A data key behind a handle.
#[expect(
    unreachable_pub,
    reason = "the generated traits are public, in a private module"
)]
pub struct LentDataKey(Arc<dyn LentKey>);

/// What stands behind an instance.
pub(crate) struct Lent {
    binding: Binding,
    handles: ResourceTable,
    keys: Arc<dyn KeyLender>,
    notes: Notes,
    limits: CallLimits,
    memory: Memory,
    stopping: Arc<AtomicBool>,
    kv: KvCall,
    call: Use,
    /// Calls and bytes of all calls, until they are charged.
    uncharged: Uncharged,
}

/// What a version's instances leave for its owner.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub(crate) log: Arc<PluginLog>,
    pub(crate) figures: Arc<PluginFigures>,
}

/// What the host has for all instances.
#[derive(Clone)]
pub(crate) struct Powers {
    pub(crate) keys: Arc<dyn KeyLender>,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// What the call at hand has used.
struct Use {
    /// CPU time that it may use.
    budget: Duration,
    /// The thread's CPU time when the call was first looked at.
    since: Option<Duration>,
    looks: u32,
    host_calls: u32,
    lent_bytes: u64,
    log_lines: u32,
    raised: Raised,
    /// Where the message is sealed.
    incarnation: Incarnation,
    /// The data key that sealed last, wrapped.
    sealed_with: Bytes,
}

/// What a guest did of which its tenant may do so much a second.
#[derive(Clone, Copy, Default)]
pub(crate) struct Uncharged {
    pub(crate) host_calls: u64,
    pub(crate) output_bytes: u64,
}

/// What an instance has in memory, and on whose account.
struct Memory {
    account: Arc<Account>,
    charged: u64,
    bytes_max: usize,
    table_elements_max: usize,
    refused: Option<Refuser>,
}

/// The guest used up its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
pub(crate) struct OutOfTime;

/// The host is stopping.
#[derive(Debug, thiserror::Error)]
#[error("stopping")]
pub(crate) struct Stopping;

// === impl Lent ===

impl Lent {
    /// Returns what an instance of a binding is lent.
    pub(crate) fn new(
        binding: Binding,
        account: Arc<Account>,
        notes: Notes,
        limits: CallLimits,
        pool: &Pool,
        powers: &Powers,
    ) -> Lent {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(limits.handles);
        Lent {
            binding: binding.lasting(),
            handles,
            keys: Arc::clone(&powers.keys),
            notes,
            limits,
            memory: Memory {
                account,
                charged: 0,
                bytes_max: pool.memory_bytes,
                table_elements_max: pool.table_elements,
                refused: None,
            },
            stopping: Arc::clone(&powers.stopping),
            kv: KvCall::new(None),
            call: Use::new(limits.start_cpu, Incarnation::default()),
            uncharged: Uncharged::default(),
        }
    }

    /// Lets the next call begin with nothing used.
    pub(crate) fn begin(&mut self, budget: Duration, incarnation: Incarnation) {
        self.call = Use::new(budget, incarnation);
        self.memory.refused = None;
    }

    /// Lends the next calls a store, or none.
    pub(crate) fn lend_kv(&mut self, session: Option<KvSession>) {
        self.kv = KvCall::new(session);
    }

    /// Takes the store away.
    pub(crate) fn take_kv(&mut self) -> Option<KvSession> {
        std::mem::replace(&mut self.kv, KvCall::new(None)).into_session()
    }

    /// Notes what the call did to its store, which has ended well.
    pub(crate) fn keep_kv(&mut self) {
        self.kv.keep();
    }

    /// Keeps what the call raised, which has ended well.
    pub(crate) fn keep_figures(&mut self) {
        let raised = std::mem::take(&mut self.call.raised);
        self.notes.figures.keep(&self.memory.account, raised);
    }

    /// Returns how often a running guest is to be looked at again: at every tick, unless its time is up.
    pub(crate) fn look(&mut self) -> Result<u64> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Stopping.into());
        }
        self.call.looks = self.call.looks.saturating_add(1);
        let now = thread_cpu();
        let since = *self.call.since.get_or_insert(now);
        if now.saturating_sub(since) >= self.call.budget {
            return Err(OutOfTime.into());
        }
        Ok(1)
    }

    /// Returns what was not charged yet, to be charged now.
    pub(crate) fn take_uncharged(&mut self) -> Uncharged {
        std::mem::take(&mut self.uncharged)
    }

    /// Returns the data key that the call sealed with last, wrapped; empty if none.
    pub(crate) fn sealed_with(&self) -> &[u8] {
        &self.call.sealed_with
    }

    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Returns who refused the guest memory in this call, if anybody did.
    pub(crate) fn refused_memory(&self) -> Option<Refuser> {
        self.memory.refused
    }

    /// Returns how often the call was looked at while it ran.
    pub(crate) fn looks(&self) -> u32 {
        self.call.looks
    }

    /// Lends a body; it must be taken back with [`Self::take_back`] after the call.
    pub(crate) fn lend(&mut self, body: Bytes) -> Result<Resource<LentBody>> {
        self.lent(body, false)
    }

    /// Takes a body back: one that was lent, or one that the guest gives.
    pub(crate) fn take_back(&mut self, body: Resource<LentBody>) -> Result<LentBody> {
        Ok(self.handles.delete(body)?)
    }

    /// Returns whether the guest kept a handle beyond its call.
    pub(crate) fn keeps_handles(&self) -> bool {
        !self.handles.is_empty()
    }

    fn lent(&mut self, bytes: Bytes, sealed: bool) -> Result<Resource<LentBody>> {
        Ok(self.handles.push(LentBody { bytes, sealed })?)
    }

    fn count_call(&mut self) -> Result<()> {
        self.call.host_calls += 1;
        self.uncharged.host_calls += 1;
        if self.call.host_calls > self.limits.host_calls {
            return Err(format_err!(
                "more than {} calls to the host",
                self.limits.host_calls
            ));
        }
        Ok(())
    }

    /// Counts what the guest hands over in a call to the host.
    fn count_output(&mut self, bytes: usize) {
        self.uncharged.output_bytes += bytes as u64;
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<()> {
        self.call.lent_bytes = self.call.lent_bytes.saturating_add(bytes as u64);
        if self.call.lent_bytes > self.limits.lent_bytes {
            return Err(format_err!(
                "more than {} bytes of bodies in one call",
                self.limits.lent_bytes
            ));
        }
        Ok(())
    }
}

impl Lent {
    fn signed(
        &mut self,
        key: &str,
        prefix: &[u8],
        bytes: &[u8],
    ) -> Result<std::result::Result<Vec<signer::Signature>, String>> {
        if prefix.len() > SIGNED_PREFIX_BYTES_MAX {
            return Err(format_err!(
                "a prefix of more than {SIGNED_PREFIX_BYTES_MAX} bytes to sign"
            ));
        }
        self.count_output(prefix.len());
        self.count_bytes(prefix.len() + bytes.len())?;
        let Ok(key) = Name::parse(key) else {
            return Ok(Err("no such signing key".to_owned()));
        };
        match self.keys.sign(self.binding.tenant, &key, &[prefix, bytes]) {
            Ok(signatures) => Ok(Ok(signatures.into_iter().map(convert::signature).collect())),
            Err(refusal) => Ok(Err(refusal.0)),
        }
    }
}

impl types::Host for Lent {}

impl bodies::Host for Lent {}

impl bodies::HostBody for Lent {
    fn len(&mut self, body: Resource<LentBody>) -> Result<u32> {
        self.count_call()?;
        Ok(u32::try_from(self.handles.get(&body)?.bytes.len()).unwrap_or(u32::MAX))
    }

    fn read(&mut self, body: Resource<LentBody>, offset: u32, len: u32) -> Result<Vec<u8>> {
        self.count_call()?;
        let bytes = part(&self.handles.get(&body)?.bytes, offset, len).to_vec();
        self.count_bytes(bytes.len())?;
        Ok(bytes)
    }

    fn drop(&mut self, body: Resource<LentBody>) -> Result<()> {
        self.handles.delete(body)?;
        Ok(())
    }
}

impl config::Host for Lent {
    fn get(&mut self) -> Result<String> {
        self.count_call()?;
        self.count_bytes(self.binding.configuration.len())?;
        Ok(String::from_utf8_lossy(&self.binding.configuration).into_owned())
    }
}

impl log::Host for Lent {
    fn write(&mut self, level: log::Level, text: String) -> Result<()> {
        self.count_call()?;
        self.count_output(text.len());
        if self.call.log_lines == LOG_LINES_PER_CALL_MAX {
            return Ok(());
        }
        self.call.log_lines += 1;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.notes.log.write(
            self.binding.tenant,
            level,
            crate::text::cut(text, LOG_LINE_BYTES_MAX),
        );
        Ok(())
    }
}

impl metrics::Host for Lent {
    fn add(&mut self, name: String, by: u64) -> Result<()> {
        self.count_call()?;
        self.call.raised.add(name, by);
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> Result<()> {
        self.count_call()?;
        self.call.raised.observe(name, value);
        Ok(())
    }
}

impl kv::Host for Lent {
    fn get(&mut self, key: String) -> Result<std::result::Result<Option<kv::Entry>, kv::Refusal>> {
        self.count_call()?;
        let held = match self.kv.get(&key) {
            Ok(held) => held,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let Some(held) = held else { return Ok(Ok(None)) };
        self.count_bytes(held.value.len())?;
        Ok(Ok(Some(kv::Entry {
            value: held.value.to_vec(),
            version: held.version.0,
        })))
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<std::result::Result<(), kv::Refusal>> {
        self.count_call()?;
        let put = self.kv.put(key, value, ttl_ms.map(Span::from_millis));
        Ok(put.map_err(kv::Refusal::from))
    }

    fn swap(
        &mut self,
        key: String,
        version: u64,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<std::result::Result<bool, kv::Refusal>> {
        self.count_call()?;
        let ttl = ttl_ms.map(Span::from_millis);
        let swapped = self.kv.swap(key, KvVersion(version), value, ttl);
        Ok(swapped.map_err(kv::Refusal::from))
    }

    fn delete(&mut self, key: String) -> Result<std::result::Result<bool, kv::Refusal>> {
        self.count_call()?;
        Ok(self.kv.delete(key).map_err(kv::Refusal::from))
    }
}

impl From<KvRefusal> for kv::Refusal {
    fn from(refusal: KvRefusal) -> kv::Refusal {
        match refusal {
            KvRefusal::Sealed => kv::Refusal::Sealed,
            KvRefusal::Unavailable => kv::Refusal::Unavailable,
            KvRefusal::Limit(KvLimit::OutOfBounds) => kv::Refusal::OutOfBounds,
            KvRefusal::Limit(KvLimit::Full) => kv::Refusal::Full,
            KvRefusal::Limit(KvLimit::TooMuch) => kv::Refusal::TooMuch,
        }
    }
}

impl keyring::Host for Lent {
    fn current(&mut self, master_key: String) -> Result<std::result::Result<Resource<LentDataKey>, String>> {
        self.count_call()?;
        let Ok(master_key) = Name::parse(&master_key) else {
            return Ok(Err("no such master key".to_owned()));
        };
        match self
            .keys
            .current(self.binding.tenant, &master_key, self.call.incarnation)
        {
            Ok(key) => Ok(Ok(self.handles.push(LentDataKey(key))?)),
            Err(refusal) => Ok(Err(refusal.0)),
        }
    }

    fn unwrap(&mut self, wrapped: Vec<u8>) -> Result<std::result::Result<Resource<LentDataKey>, String>> {
        self.count_call()?;
        self.count_output(wrapped.len());
        match self.keys.unwrap(self.binding.tenant, &wrapped) {
            Ok(key) => Ok(Ok(self.handles.push(LentDataKey(key))?)),
            Err(refusal) => Ok(Err(refusal.0)),
        }
    }
}

impl keyring::HostDataKey for Lent {
    fn wrapped(&mut self, key: Resource<LentDataKey>) -> Result<Vec<u8>> {
        self.count_call()?;
        let wrapped = self.handles.get(&key)?.0.wrapped().to_vec();
        self.count_bytes(wrapped.len())?;
        Ok(wrapped)
    }

    fn seal(
        &mut self,
        key: Resource<LentDataKey>,
        associated: Vec<u8>,
        plain: Resource<LentBody>,
    ) -> Result<keyring::Sealed> {
        self.count_call()?;
        check_associated(&associated)?;
        self.count_output(associated.len());
        let plain = self.handles.get(&plain)?.bytes.clone();
        self.count_bytes(plain.len())?;
        let key = self.handles.get(&key)?.0.clone();
        let (nonce, sealed) = key.seal(&associated, &plain)?;
        self.call.sealed_with = key.wrapped().clone();
        let body = self.lent(sealed, true)?;
        Ok(keyring::Sealed {
            nonce: nonce.to_vec(),
            body,
        })
    }

    fn open(
        &mut self,
        key: Resource<LentDataKey>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        sealed: Resource<LentBody>,
    ) -> Result<std::result::Result<Resource<LentBody>, String>> {
        self.count_call()?;
        check_associated(&associated)?;
        self.count_output(associated.len());
        let sealed = self.handles.get(&sealed)?.bytes.clone();
        self.count_bytes(sealed.len())?;
        let key = self.handles.get(&key)?.0.clone();
        match key.open(&nonce, &associated, &sealed) {
            Ok(plain) => Ok(Ok(self.lent(plain, false)?)),
            Err(refusal) => Ok(Err(refusal.0)),
        }
    }

    fn drop(&mut self, key: Resource<LentDataKey>) -> Result<()> {
        self.handles.delete(key)?;
        Ok(())
    }
}

impl signer::Host for Lent {
    fn sign(
        &mut self,
        key: String,
        prefix: Vec<u8>,
        body: Resource<LentBody>,
    ) -> Result<std::result::Result<Vec<signer::Signature>, String>> {
        self.count_call()?;
        let body = self.handles.get(&body)?.bytes.clone();
        self.signed(&key, &prefix, &body)
    }

    fn sign_bytes(
        &mut self,
        key: String,
        prefix: Vec<u8>,
        bytes: Vec<u8>,
    ) -> Result<std::result::Result<Vec<signer::Signature>, String>> {
        self.count_call()?;
        self.count_output(bytes.len());
        self.signed(&key, &prefix, &bytes)
    }
}

// === impl Use ===

impl Use {
    fn new(budget: Duration, incarnation: Incarnation) -> Use {
        Use {
            budget,
            since: None,
            looks: 0,
            host_calls: 0,
            lent_bytes: 0,
            log_lines: 0,
            raised: Raised::default(),
            incarnation,
            sealed_with: Bytes::new(),
        }
    }
}

// === impl Memory ===

/// Growth is refused rather than trapped: a guest may be able to do with less.
impl ResourceLimiter for Lent {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.memory.grow(current, desired))
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= self.memory.table_elements_max)
    }
}

impl Memory {
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        if desired > self.bytes_max {
            self.refused = Some(Refuser::Pool);
            return false;
        }
        if let Err(refuser) = self.account.charge_memory(more) {
            self.refused = Some(refuser);
            return false;
        }
        self.charged += more;
        true
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.account.release_memory(self.charged);
    }
}

/// Returns what links a guest to what it is lent. Data keys are lent to seal plugins alone, stores to all others, and
/// signatures to deliver plugins.
pub(crate) fn linker(engine: &wasmtime::Engine, world: World) -> Result<Linker<Lent>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    bodies::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    config::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    log::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    metrics::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    match world {
        World::Seal => keyring::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?,
        World::Route | World::Filter | World::Deliver => {
            kv::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
        }
    }
    if world == World::Deliver {
        signer::add_to_linker::<_, HasSelf<_>>(&mut linker, |lent| lent)?;
    }
    Ok(linker)
}

fn part(bytes: &Bytes, offset: u32, len: u32) -> &[u8] {
    let start = (offset as usize).min(bytes.len());
    let end = start.saturating_add(len as usize).min(bytes.len());
    &bytes[start..end]
}

fn check_associated(associated: &[u8]) -> Result<()> {
    if associated.len() > ASSOCIATED_BYTES_MAX {
        return Err(format_err!(
            "associated data of more than {ASSOCIATED_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}
