//! One instance of a plugin: asked one thing at a time, each within its limits, and what it answers checked.

use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{Incarnation, Name, PluginVersion, SubscriptionId, TenantId, World};
use wasmtime::{
    PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace,
    component::{Component, InstancePre, Resource, ResourceAny},
};

use crate::{
    account::{Account, Refuser},
    call::{Binding, Filtered, RouteTable, Sealed, Step, ToOpen, ToSeal},
    config::{CallLimits, FAULT_TEXT_BYTES_MAX, OUTPUT_BYTES_MAX},
    contract::{delivering, filtering, router, sealing, types},
    convert,
    engine::{Engines, PoolKind},
    fault::{BusyReason, GuestFault},
    job::Work,
    kv::KvSession,
    lend::KeyRefusal,
    lent::{self, Lent, LentBody, Notes, OutOfTime, Powers, Stopping, Uncharged},
    returned, text,
};

/// Calls that an instance answers one after the other, each within a tick, before it counts as quick.
const QUICK_CALLS_MIN: u32 = 16;

/// A version of a plugin, ready to be started.
pub(crate) struct Plugin {
    pub(crate) version: PluginVersion,
    /// Whose it is; none is everybody's.
    pub(crate) owner: Option<TenantId>,
    pub(crate) world: World,
    pub(crate) pool: PoolKind,
    pub(crate) notes: Notes,
    /// Whether it asks for a store.
    pub(crate) uses_kv: bool,
    pub(crate) calls: AtomicU64,
    pub(crate) cpu_micros: AtomicU64,
    ready: InstancePre<Lent>,
    indices: Indices,
}

/// Where a component has what its world exports.
enum Indices {
    Route(router::GuestIndices),
    Filter(filtering::GuestIndices),
    Deliver(delivering::GuestIndices),
    Seal(sealing::GuestIndices),
}

/// What an instance exports.
enum Exports {
    Route(router::Guest),
    Filter(filtering::Guest),
    Deliver(delivering::Guest),
    Seal(sealing::Guest),
}

/// One instance of a plugin.
pub(crate) struct Instance {
    store: Store<Lent>,
    exports: Exports,
    limits: CallLimits,
    /// The table made last, and its key.
    table: Option<((Incarnation, u64), ResourceAny)>,
    calls: u64,
    /// Calls made one after the other of which none was looked at twice.
    quick: u32,
    // Given back after the store, in the order of the fields.
    _seat: Seat,
}

/// A place among a tenant's instances.
pub(crate) struct Seat(Arc<Account>);

// === impl Plugin ===

impl Plugin {
    /// Links a component, which must be of its world in names and types.
    pub(crate) fn link(
        version: PluginVersion,
        owner: Option<TenantId>,
        world: World,
        pool: PoolKind,
        uses_kv: bool,
        component: &Component,
    ) -> wasmtime::Result<Plugin> {
        let ready = lent::linker(component.engine(), world)?.instantiate_pre(component)?;
        let indices = match world {
            World::Route => Indices::Route(router::GuestIndices::new(&ready)?),
            World::Filter => Indices::Filter(filtering::GuestIndices::new(&ready)?),
            World::Deliver => Indices::Deliver(delivering::GuestIndices::new(&ready)?),
            World::Seal => Indices::Seal(sealing::GuestIndices::new(&ready)?),
        };
        Ok(Plugin {
            version,
            owner,
            world,
            pool,
            notes: Notes::default(),
            uses_kv,
            calls: AtomicU64::new(0),
            cpu_micros: AtomicU64::new(0),
            ready,
            indices,
        })
    }
}

// === impl Instance ===

impl Instance {
    /// Starts an instance for a binding.
    pub(crate) fn start(
        plugin: &Plugin,
        engines: &Engines,
        binding: &Binding,
        seat: Seat,
        limits: CallLimits,
        powers: &Powers,
    ) -> Result<Instance, GuestFault> {
        let notes = plugin.notes.clone();
        let pool = engines.pool(plugin.pool);
        let lent = Lent::new(binding.clone(), Arc::clone(&seat.0), notes, limits, pool, powers);
        let mut store = Store::new(engines.engine(plugin.pool), lent);
        store.limiter(|lent| lent);
        store.set_hostcall_fuel(OUTPUT_BYTES_MAX);
        store.set_max_component_handles(limits.handles);
        store.epoch_deadline_callback(|mut store| Ok(UpdateDeadline::Continue(store.data_mut().look()?)));
        store.set_epoch_deadline(1);
        match load(plugin, &mut store) {
            Ok(exports) => Ok(Instance {
                store,
                exports,
                limits,
                table: None,
                calls: 0,
                quick: 0,
                _seat: seat,
            }),
            Err(error) => Err(start_fault(store.data(), &error)),
        }
    }

    /// Returns whether it was started for the very binding: two that say they are the same should be, but a tenant's
    /// configuration is not to depend on that.
    pub(crate) fn serves(&self, binding: &Binding) -> bool {
        *self.store.data().binding() == binding.lasting()
    }

    /// Returns whether it was asked anything before.
    pub(crate) fn was_used(&self) -> bool {
        self.calls > 0
    }

    /// Returns whether its calls have been so short, and this one looks so much like them, that the caller can wait
    /// for it where it is.
    pub(crate) fn is_quick_for(&self, work: &Work) -> bool {
        let prepared = match work {
            // Making a table may take long.
            Work::Route { table, .. } => self.table.as_ref().is_some_and(|(key, _)| *key == table.key),
            Work::Filter { .. }
            | Work::Begin { .. }
            | Work::Resume { .. }
            | Work::Seal { .. }
            | Work::Open { .. } => true,
        };
        prepared && self.quick >= QUICK_CALLS_MIN
    }

    /// Notes that the last call ended well, and whether it was short.
    pub(crate) fn note_ended(&mut self) {
        // A short call may happen to be under way at a tick, so one look says little.
        self.quick = match self.store.data().looks() {
            0 | 1 => self.quick.saturating_add(1),
            _ => 0,
        };
    }

    /// Lends the next calls a store, or none.
    pub(crate) fn lend_kv(&mut self, session: Option<KvSession>) {
        self.store.data_mut().lend_kv(session);
    }

    /// Notes what the last call did to its store.
    pub(crate) fn keep_kv(&mut self) {
        self.store.data_mut().keep_kv();
    }

    /// Keeps the figures that the last call raised.
    pub(crate) fn keep_figures(&mut self) {
        self.store.data_mut().keep_figures();
    }

    /// Returns what its calls used that was not charged yet, to be charged now.
    pub(crate) fn take_uncharged(&mut self) -> Uncharged {
        self.store.data_mut().take_uncharged()
    }

    /// Bounds the CPU time of calls from now on.
    pub(crate) fn bound_calls(&mut self, cpu: Duration) {
        self.limits.cpu = cpu;
    }

    /// Returns whether the last call took long enough to be looked at.
    pub(crate) fn was_slow(&self) -> bool {
        self.store.data().looks() > 0
    }

    /// Returns whether it can be asked again. One that keeps handles beyond a call cannot: what they stand for would
    /// outlive the call's bounds.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.store.data().keeps_handles()
    }

    /// Asks a router which subscriptions each message reaches.
    pub(crate) fn route(
        &mut self,
        table: &RouteTable,
        batch: &[types::Envelope],
    ) -> Result<Vec<Vec<SubscriptionId>>, GuestFault> {
        let resource = self.table(table)?;
        self.begin(self.limits.cpu, Incarnation::default());
        let Exports::Route(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let answer = guest.table().call_match(&mut self.store, resource, batch);
        let answer = answer.map_err(|error| call_fault(self.store.data(), &error))?;
        returned::routed(table, batch.len(), answer)
    }

    /// Returns the router's table, made anew when it is another than the last.
    fn table(&mut self, table: &RouteTable) -> Result<ResourceAny, GuestFault> {
        if let Some((key, resource)) = &self.table
            && *key == table.key
        {
            return Ok(*resource);
        }
        self.begin(self.limits.start_cpu, Incarnation::default());
        let Exports::Route(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        // What a table is made by lasts longer than a decision.
        let session = self.store.data_mut().take_kv();
        let replaced = self.table.take();
        let (filter_type, subscriptions) = convert::table(table);
        let store = &mut self.store;
        let made = match replaced.map_or(Ok(()), |(_, old)| old.resource_drop(&mut *store)) {
            Ok(()) => guest
                .table()
                .call_constructor(&mut *store, filter_type, &subscriptions),
            Err(error) => Err(error),
        };
        self.store.data_mut().lend_kv(session);
        let made = made.map_err(|error| call_fault(self.store.data(), &error))?;
        self.keep_figures();
        self.table = Some((table.key, made));
        Ok(made)
    }

    /// Asks a filter what becomes of a message.
    pub(crate) fn filter(
        &mut self,
        envelope: &types::Envelope,
        body: &Bytes,
    ) -> Result<Filtered, GuestFault> {
        self.begin(self.limits.cpu, Incarnation::default());
        let Exports::Filter(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let answer = lending(&mut self.store, body, |store, body| {
            guest.call_filter(store, envelope, body)
        })?;
        returned::filtered(answer.map_err(said)?)
    }

    /// Asks a deliver plugin how to begin.
    pub(crate) fn begin_delivery(
        &mut self,
        delivery: &delivering::Delivery,
        body: &Bytes,
    ) -> Result<Step, GuestFault> {
        self.begin(self.limits.cpu, Incarnation::default());
        let Exports::Deliver(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let answer = lending(&mut self.store, body, |store, body| {
            guest.call_begin(store, delivery, body)
        })?;
        returned::step(answer.map_err(said)?)
    }

    /// Asks a deliver plugin how to go on.
    pub(crate) fn resume_delivery(
        &mut self,
        delivery: &delivering::Delivery,
        state: &[u8],
        response: &delivering::Response,
    ) -> Result<Step, GuestFault> {
        self.begin(self.limits.cpu, Incarnation::default());
        let Exports::Deliver(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let answer = guest.call_resume(&mut self.store, delivery, state, response);
        let answer = answer.map_err(|error| call_fault(self.store.data(), &error))?;
        returned::step(answer.map_err(said)?)
    }

    /// Asks a seal plugin to seal a body.
    pub(crate) fn seal(&mut self, master_key: &Name, item: &ToSeal) -> Result<Sealed, GuestFault> {
        self.begin(self.limits.cpu, item.context.incarnation);
        let Exports::Seal(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let context = convert::context(item.context);
        let answer = lending(&mut self.store, &item.plain, |store, body| {
            guest.call_seal(store, context, master_key.as_str(), body)
        })?;
        let sealed = answer.map_err(said)?;
        let body = given(&mut self.store, sealed.body)?;
        if !body.sealed {
            return Err(GuestFault::Nonsense("a body that no data key sealed".to_owned()));
        }
        let wrapped = self.store.data().sealed_with();
        returned::sealed(&item.plain, wrapped, sealed.header, body.bytes)
    }

    /// Asks a seal plugin to open a body.
    pub(crate) fn open(&mut self, item: &ToOpen) -> Result<Bytes, GuestFault> {
        self.begin(self.limits.cpu, item.context.incarnation);
        let Exports::Seal(guest) = &self.exports else {
            return Err(GuestFault::NotLoaded);
        };
        let context = convert::context(item.context);
        let answer = lending(&mut self.store, &item.ciphertext, |store, body| {
            guest.call_open(store, context, &item.header, body)
        })?;
        let plain = given(&mut self.store, answer.map_err(said)?)?;
        returned::opened(item.ciphertext.len(), plain.bytes)
    }

    fn begin(&mut self, budget: Duration, incarnation: Incarnation) {
        self.calls += 1;
        self.store.data_mut().begin(budget, incarnation);
        self.store.set_epoch_deadline(1);
    }
}

// === impl Seat ===

impl Seat {
    /// Takes a place, if the tenant has one left.
    pub(crate) fn take(account: &Arc<Account>) -> Option<Seat> {
        account.take_instance().then(|| Seat(Arc::clone(account)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.release_instance();
    }
}

fn load(plugin: &Plugin, store: &mut Store<Lent>) -> wasmtime::Result<Exports> {
    let instance = plugin.ready.instantiate(&mut *store)?;
    Ok(match &plugin.indices {
        Indices::Route(indices) => Exports::Route(indices.load(store, &instance)?),
        Indices::Filter(indices) => Exports::Filter(indices.load(store, &instance)?),
        Indices::Deliver(indices) => Exports::Deliver(indices.load(store, &instance)?),
        Indices::Seal(indices) => Exports::Seal(indices.load(store, &instance)?),
    })
}

/// Calls a guest with a body that it may read until it returns.
fn lending<T>(
    store: &mut Store<Lent>,
    body: &Bytes,
    call: impl FnOnce(&mut Store<Lent>, Resource<LentBody>) -> wasmtime::Result<T>,
) -> Result<T, GuestFault> {
    let own = store
        .data_mut()
        .lend(body.clone())
        .map_err(|error| call_fault(store.data(), &error))?;
    let answer = call(store, Resource::new_borrow(own.rep()));
    let taken = store.data_mut().take_back(own);
    answer
        .and_then(|answer| taken.map(|_| answer))
        .map_err(|error| call_fault(store.data(), &error))
}

/// Returns the body that a guest gives away.
fn given(store: &mut Store<Lent>, body: Resource<LentBody>) -> Result<LentBody, GuestFault> {
    store
        .data_mut()
        .take_back(body)
        .map_err(|error| call_fault(store.data(), &error))
}

fn said(text: String) -> GuestFault {
    GuestFault::Said(text::cut(text, FAULT_TEXT_BYTES_MAX))
}

fn start_fault(lent: &Lent, error: &wasmtime::Error) -> GuestFault {
    if error.is::<PoolConcurrencyLimitError>() {
        return GuestFault::Busy(BusyReason::Instances);
    }
    if lent.refused_memory() == Some(Refuser::Quota) {
        return GuestFault::Busy(BusyReason::Memory);
    }
    call_fault(lent, error)
}

fn call_fault(lent: &Lent, error: &wasmtime::Error) -> GuestFault {
    if error.is::<OutOfTime>() {
        return GuestFault::OutOfTime;
    }
    if error.is::<Stopping>() {
        return GuestFault::Stopped;
    }
    if let Some(refusal) = error.downcast_ref::<KeyRefusal>() {
        return GuestFault::Said(refusal.0.clone());
    }
    match lent.refused_memory() {
        Some(Refuser::Pool | Refuser::Quota) => return GuestFault::OutOfMemory,
        Some(Refuser::Node) => return GuestFault::Busy(BusyReason::NodeMemory),
        None => {}
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(shown)
        .unwrap_or_default();
    GuestFault::Trap {
        message: text::cut(message, FAULT_TEXT_BYTES_MAX),
        backtrace,
    }
}

/// Returns the names of the functions that were running, the innermost first.
fn shown(backtrace: &WasmBacktrace) -> String {
    let mut lines = String::new();
    for frame in backtrace.frames() {
        if lines.len() > FAULT_TEXT_BYTES_MAX {
            break;
        }
        let name = rustc_demangle::demangle(frame.func_name().unwrap_or("unknown"));
        let offset = frame.module_offset().unwrap_or_default();
        lines.push_str(&format!("{name:#} at {offset:#x}\n"));
    }
    text::cut(lines, FAULT_TEXT_BYTES_MAX)
}
