//! The host: plugins checked, loaded and asked.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use posthouse_keyring::sha256;
use posthouse_model::{
    GuestLimits, Incarnation, LogIndex, Name, Place, PluginVersion, Quotas, SubscriptionId, TenantId, World,
};
use tokio::{sync::oneshot, task};

use crate::{
    account::Usage,
    artifact::Artifact,
    cache::Cache,
    call::{
        Binding, BindingIdentity, Delivery, Envelope, Filtered, Response, RouteTable, Sealed, Step, ToOpen,
        ToSeal,
    },
    compile,
    config::{Config, GuestQuota, SMALL_COMPONENT_BYTES_MAX},
    convert,
    engine::{Engines, PoolKind},
    fault::{GuestFault, HostError, PushRefusal},
    figures::OwnFigures,
    inspect,
    instance::{Instance, Plugin, Seat},
    job::{Job, Reply, Work},
    lend::KeyLender,
    log::LogLine,
    ticker::Ticker,
    worker::{self, Shared, Workers},
};

/// Runs plugins. Cheap to clone; guests stop when the last one is dropped.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// What was found of a component that can be pushed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// SHA-256 of the component.
    pub digest: [u8; 32],
    /// Its size.
    pub bytes: u64,
    /// The world that it exports.
    pub world: World,
}

/// What calls of one version have taken since it was loaded here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Spent {
    /// Calls, whoever they were for.
    pub calls: u64,
    /// CPU time, in microseconds.
    pub cpu_micros: u64,
}

struct Inner {
    config: Config,
    cache: Cache,
    /// Held while a component is compiled: one at a time, so that one limit of memory bounds them all.
    compiling: parking_lot::Mutex<()>,
    shared: Arc<Shared>,
    workers: Workers,
}

// === impl Host ===

impl Host {
    /// Opens a host: its cache, its pools and its threads.
    pub fn open(config: Config, keys: Arc<dyn KeyLender>) -> Result<Host, HostError> {
        let engines =
            Arc::new(Engines::open(&config).map_err(|error| HostError::Engine(format!("{error:#}")))?);
        let cache = Cache::open(&config.cache_dir, engines.compatibility(), config.cache_bytes_max)?;
        let ticker = Ticker::start(Arc::clone(&engines), config.tick)?;
        let mut shared = Shared::new(&config, engines, worker::powers(keys), ticker);
        shared.accounts.bound_memory(config.memory_bytes_max);
        let shared = Arc::new(shared);
        let workers = Workers::start(&config, Arc::clone(&shared))?;
        let compiling = parking_lot::Mutex::default();
        Ok(Host {
            inner: Arc::new(Inner {
                config,
                cache,
                compiling,
                shared,
                workers,
            }),
        })
    }

    /// Checks a component: that it is of its world, asks for nothing else, compiles and starts. What was compiled is
    /// kept for [`Self::load`].
    pub async fn check(&self, world: World, component: Bytes) -> Result<Checked, PushRefusal> {
        self.blocking(move |inner| inner.check(world, &component)).await
    }

    /// Makes a version callable here. It is compiled now if it was not before. Its owner's bindings alone may use it,
    /// or everybody's if it has none.
    pub async fn load(
        &self,
        version: PluginVersion,
        owner: Option<TenantId>,
        world: World,
        component: Bytes,
    ) -> Result<(), PushRefusal> {
        self.blocking(move |inner| {
            let plugin = inner.plugin(version, owner, world, &component)?;
            inner.shared.plugins.write().insert(version, Arc::new(plugin));
            // Instances of an earlier loading run the same code, but log to where nobody reads.
            inner.shared.evict(|key| key.version == version);
            Ok(())
        })
        .await
    }

    /// Lets go of a version. Calls under way end as they would have.
    pub fn unload(&self, version: PluginVersion) {
        let unloaded = self.inner.shared.plugins.write().remove(&version);
        self.inner.shared.evict(|key| key.version == version);
        drop(unloaded);
    }

    /// Returns whether a version can be called here.
    pub fn is_loaded(&self, version: PluginVersion) -> bool {
        self.inner.shared.plugins.read().contains_key(&version)
    }

    /// Returns whether a version that is loaded asks for a store.
    pub fn uses_kv(&self, version: PluginVersion) -> bool {
        let plugins = self.inner.shared.plugins.read();
        plugins.get(&version).is_some_and(|plugin| plugin.uses_kv)
    }

    /// Sets what a tenant's guests may use.
    pub fn set_quota(&self, tenant: TenantId, quotas: &Quotas, limits: &GuestLimits) {
        self.inner
            .shared
            .accounts
            .of(tenant)
            .set_quota(GuestQuota::new(quotas, limits));
    }

    /// Lets go of all that is kept for a tenant that is no more.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.inner.shared.evict(|key| key.tenant == tenant);
        for plugin in self.inner.shared.plugins.read().values() {
            plugin.notes.figures.forget(tenant);
        }
        self.inner.shared.accounts.close(tenant);
    }

    /// Returns what each tenant's guests have used since the host opened.
    pub fn usage(&self) -> Vec<(TenantId, Usage)> {
        self.inner.shared.accounts.usage()
    }

    /// Returns the newest lines that a version wrote here, the oldest first.
    pub fn logs(&self, version: PluginVersion) -> Vec<LogLine> {
        let plugins = self.inner.shared.plugins.read();
        plugins
            .get(&version)
            .map(|plugin| plugin.notes.log.lines())
            .unwrap_or_default()
    }

    /// Returns the figures that plugins raised here, of versions that are loaded.
    pub fn figures(&self) -> Vec<OwnFigures> {
        let plugins = self.inner.shared.plugins.read();
        let mut all: Vec<OwnFigures> = plugins
            .iter()
            .flat_map(|(version, plugin)| plugin.notes.figures.of(*version))
            .collect();
        all.sort_by_key(|own| (own.version, own.tenant));
        all
    }

    /// Returns what calls of a version have taken; nothing if it is not loaded.
    pub fn spent(&self, version: PluginVersion) -> Spent {
        let plugins = self.inner.shared.plugins.read();
        let spent = plugins.get(&version).map(|plugin| Spent {
            calls: plugin.calls.load(Ordering::Relaxed),
            cpu_micros: plugin.cpu_micros.load(Ordering::Relaxed),
        });
        spent.unwrap_or_default()
    }

    /// Stops guests where they are and ends the threads. Calls that wait, and later ones, are told so.
    pub async fn stop(&self) {
        self.blocking(|inner| inner.workers.stop()).await;
    }

    /// Asks a router which subscriptions each message reaches. Calls for the same table that wait together are made
    /// together.
    pub async fn route(
        &self,
        binding: &Binding,
        table: &Arc<RouteTable>,
        batch: Vec<Envelope>,
    ) -> Vec<Result<Vec<SubscriptionId>, GuestFault>> {
        let messages = batch.len();
        let table = Arc::clone(table);
        let batch = batch.into_iter().map(convert::envelope).collect();
        self.ask(binding, messages, |reply| Work::Route { table, batch, reply })
            .await
    }

    /// Asks a filter what becomes of a message.
    pub async fn filter(
        &self,
        binding: &Binding,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Filtered, GuestFault> {
        only(self.filter_batch(binding, vec![(envelope, body)]).await)
    }

    /// Asks a filter what becomes of each message.
    pub async fn filter_batch(
        &self,
        binding: &Binding,
        batch: Vec<(Envelope, Bytes)>,
    ) -> Vec<Result<Filtered, GuestFault>> {
        let messages = batch.len();
        let batch = batch
            .into_iter()
            .map(|(envelope, body)| (convert::envelope(envelope), body))
            .collect();
        self.ask(binding, messages, |reply| Work::Filter { batch, reply })
            .await
    }

    /// Asks a deliver plugin how to begin an attempt.
    pub async fn deliver_begin(
        &self,
        binding: &Binding,
        delivery: Delivery,
        body: Bytes,
    ) -> Result<Step, GuestFault> {
        let delivery = Box::new(convert::delivery(delivery));
        only(
            self.ask(binding, 1, |reply| Work::Begin {
                delivery,
                body,
                reply,
            })
            .await,
        )
    }

    /// Asks a deliver plugin how to go on, now that the host did what it said.
    pub async fn deliver_resume(
        &self,
        binding: &Binding,
        delivery: Delivery,
        state: Bytes,
        response: Response,
    ) -> Result<Step, GuestFault> {
        let delivery = Box::new(convert::delivery(delivery));
        let response = convert::response(response);
        only(
            self.ask(binding, 1, |reply| Work::Resume {
                delivery,
                state,
                response,
                reply,
            })
            .await,
        )
    }

    /// Asks a seal plugin to seal a body under a master key.
    pub async fn seal(
        &self,
        binding: &Binding,
        master_key: &Name,
        item: ToSeal,
    ) -> Result<Sealed, GuestFault> {
        only(self.seal_batch(binding, master_key, vec![item]).await)
    }

    /// Asks a seal plugin to seal each body under a master key.
    pub async fn seal_batch(
        &self,
        binding: &Binding,
        master_key: &Name,
        batch: Vec<ToSeal>,
    ) -> Vec<Result<Sealed, GuestFault>> {
        let master_key = master_key.clone();
        self.ask(binding, batch.len(), |reply| Work::Seal {
            master_key,
            batch,
            reply,
        })
        .await
    }

    /// Asks a seal plugin to open a body.
    pub async fn open_sealed(&self, binding: &Binding, item: ToOpen) -> Result<Bytes, GuestFault> {
        only(self.open_sealed_batch(binding, vec![item]).await)
    }

    /// Asks a seal plugin to open each body.
    pub async fn open_sealed_batch(
        &self,
        binding: &Binding,
        batch: Vec<ToOpen>,
    ) -> Vec<Result<Bytes, GuestFault>> {
        self.ask(binding, batch.len(), |reply| Work::Open { batch, reply })
            .await
    }

    async fn ask<T>(
        &self,
        binding: &Binding,
        messages: usize,
        work: impl FnOnce(Reply<T>) -> Work,
    ) -> Vec<Result<T, GuestFault>> {
        if messages == 0 {
            return Vec::new();
        }
        let (reply, answers) = oneshot::channel();
        let account = self.inner.shared.accounts.of(binding.tenant);
        let turn = self.inner.shared.gather(Job {
            binding: binding.clone(),
            account,
            work: work(reply),
        });
        if let Some(turn) = turn {
            // Callers that are ready to ask the same guest join here.
            task::yield_now().await;
            turn.take();
        }
        match answers.await {
            Ok(answers) => {
                self.note_failures(binding, answers.iter().filter_map(|answer| answer.as_ref().err()));
                answers
            }
            Err(_) => (0..messages).map(|_| Err(GuestFault::Stopped)).collect(),
        }
    }

    /// Notes what failed in the version's log: once for each message, whatever was tried before.
    fn note_failures<'a>(&self, binding: &Binding, faults: impl Iterator<Item = &'a GuestFault>) {
        let mut faults = faults.peekable();
        if faults.peek().is_none() {
            return;
        }
        let plugin = self.inner.shared.plugins.read().get(&binding.version).cloned();
        if let Some(plugin) = plugin {
            faults.for_each(|fault| plugin.notes.log.note(binding.tenant, fault));
        }
    }

    async fn blocking<T: Send + 'static>(&self, run: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = Arc::clone(&self.inner);
        match task::spawn_blocking(move || run(&inner)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going away, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

// === impl Inner ===

impl Inner {
    fn check(&self, world: World, component: &[u8]) -> Result<Checked, PushRefusal> {
        let plugin = self.plugin(PluginVersion::default(), None, world, component)?;
        self.try_start(&plugin).map_err(|fault| match fault {
            GuestFault::Busy(_) => PushRefusal::Fault(fault.to_string()),
            fault => PushRefusal::DoesNotStart(fault),
        })?;
        Ok(Checked {
            digest: sha256(component),
            bytes: component.len() as u64,
            world,
        })
    }

    /// Starts an instance on nobody's account, and throws it away.
    fn try_start(&self, plugin: &Plugin) -> Result<(), GuestFault> {
        let account = self.shared.accounts.nobodys();
        let identity = BindingIdentity {
            changed: LogIndex::default(),
            place: Place::Incarnation(Incarnation::default()),
        };
        let binding = Binding {
            version: plugin.version,
            tenant: account.tenant,
            configuration: Bytes::new(),
            identity,
            kv: None,
        };
        let seat = Seat::take(&account).ok_or(GuestFault::Busy(crate::fault::BusyReason::Instances))?;
        let shared = &self.shared;
        let _running = shared.ticker.run();
        Instance::start(
            plugin,
            &shared.engines,
            &binding,
            seat,
            shared.limits,
            &shared.powers,
        )?;
        Ok(())
    }

    /// Makes a component startable.
    fn plugin(
        &self,
        version: PluginVersion,
        owner: Option<TenantId>,
        world: World,
        component: &[u8],
    ) -> Result<Plugin, PushRefusal> {
        let wants = inspect::inspect(world, component)?;
        let artifact = self.artifact(component)?;
        let first = if component.len() <= SMALL_COMPONENT_BYTES_MAX {
            PoolKind::Small
        } else {
            PoolKind::Interpreter
        };
        let (pool, loaded) = match artifact.load(self.shared.engines.engine(first)) {
            Err(_) if first == PoolKind::Small => (
                PoolKind::Interpreter,
                artifact.load(self.shared.engines.engine(PoolKind::Interpreter)),
            ),
            loaded => (first, loaded),
        };
        let component = loaded.map_err(|error| PushRefusal::TooDemanding(format!("{error:#}")))?;
        Plugin::link(version, owner, world, pool, wants.kv, &component)
            .map_err(|error| PushRefusal::WrongTypes(format!("{error:#}")))
    }

    /// Returns a component compiled, from the cache if it was compiled before.
    fn artifact(&self, component: &[u8]) -> Result<Artifact, PushRefusal> {
        let digest = sha256(component);
        if let Some(artifact) = self.cache.read(&digest) {
            return Ok(artifact);
        }
        let _one_at_a_time = self.compiling.lock();
        // Another may have compiled it meanwhile.
        if let Some(artifact) = self.cache.read(&digest) {
            return Ok(artifact);
        }
        let config = &self.config;
        let artifact = compile::compile(
            &config.compiler,
            &config.compile_limits,
            config.niceness,
            component,
        )?;
        self.cache.write(&digest, &artifact);
        Ok(artifact)
    }
}

/// Returns the answer to a call of one message.
fn only<T>(mut answers: Vec<Result<T, GuestFault>>) -> Result<T, GuestFault> {
    answers.pop().unwrap_or(Err(GuestFault::Stopped))
}
