//! A node like any other, but for its router: it asks no plugin and returns every subscription. The bench compares
//! publishing through it with publishing through the real one.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_host::{
    Binding, Delivery, Envelope, Filtered, GuestFault, LogLine, OwnFigures, PushRefusal, Response,
    RouteTable, Sealed, Step, ToOpen, ToSeal, Usage,
};
use posthouse_model::{GuestLimits, Name, PluginVersion, Quotas, SubscriptionId, TenantId, World};
use posthouse_node::cli::{Cli, Command};
use posthouse_node::config::Config;
use posthouse_node::guests::{Guests, HostGuests};
use posthouse_node::{logs, serve};

/// The allocator of `posthouse`: what is compared differs in the router alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Guests that run in the plugin host, but for routers.
struct StubRouter(HostGuests);

impl Guests for StubRouter {
    fn route<'a>(
        &'a self,
        _binding: &'a Binding,
        table: &'a Arc<RouteTable>,
        envelopes: Vec<Envelope>,
    ) -> BoxFuture<'a, Vec<Result<Vec<SubscriptionId>, GuestFault>>> {
        let every: Vec<SubscriptionId> = table
            .subscriptions
            .iter()
            .map(|subscription| subscription.id)
            .collect();
        let answer = envelopes.iter().map(|_| Ok(every.clone())).collect();
        async move { answer }.boxed()
    }

    fn is_loaded(&self, version: PluginVersion) -> bool {
        self.0.is_loaded(version)
    }

    fn check(&self, world: World, component: Bytes) -> BoxFuture<'_, Result<(), PushRefusal>> {
        self.0.check(world, component)
    }

    fn load(
        &self,
        version: PluginVersion,
        tenant: Option<TenantId>,
        world: World,
        component: Bytes,
    ) -> BoxFuture<'_, Result<(), PushRefusal>> {
        self.0.load(version, tenant, world, component)
    }

    fn uses_kv(&self, version: PluginVersion) -> bool {
        self.0.uses_kv(version)
    }

    fn unload(&self, version: PluginVersion) {
        self.0.unload(version);
    }

    fn logs(&self, version: PluginVersion) -> Vec<LogLine> {
        self.0.logs(version)
    }

    fn figures(&self) -> Vec<OwnFigures> {
        self.0.figures()
    }

    fn set_quota(&self, tenant: TenantId, quotas: &Quotas, limits: &GuestLimits) {
        self.0.set_quota(tenant, quotas, limits);
    }

    fn forget_tenant(&self, tenant: TenantId) {
        self.0.forget_tenant(tenant);
    }

    fn usage(&self) -> Vec<(TenantId, Usage)> {
        self.0.usage()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stop()
    }

    fn filter<'a>(
        &'a self,
        binding: &'a Binding,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Filtered, GuestFault>> {
        self.0.filter(binding, envelope, body)
    }

    fn deliver_begin<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Step, GuestFault>> {
        self.0.deliver_begin(binding, delivery, body)
    }

    fn deliver_resume<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        state: Bytes,
        response: Response,
    ) -> BoxFuture<'a, Result<Step, GuestFault>> {
        self.0.deliver_resume(binding, delivery, state, response)
    }

    fn seal<'a>(
        &'a self,
        binding: &'a Binding,
        master_key: &'a Name,
        bodies: Vec<ToSeal>,
    ) -> BoxFuture<'a, Vec<Result<Sealed, GuestFault>>> {
        self.0.seal(binding, master_key, bodies)
    }

    fn open<'a>(
        &'a self,
        binding: &'a Binding,
        bodies: Vec<ToOpen>,
    ) -> BoxFuture<'a, Vec<Result<Bytes, GuestFault>>> {
        self.0.open(binding, bodies)
    }
}

fn main() -> ExitCode {
    let flags = match Cli::parse().command {
        Command::Serve(flags) => flags,
        Command::CompilePlugin => return posthouse_host::compile_main(),
        Command::Completion { .. } | Command::Client(_) => {
            eprintln!("posthouse-stub-router: only `serve`; use posthouse for the rest");
            return ExitCode::from(2);
        }
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("posthouse-stub-router: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &posthouse_node::config::Flags) -> anyhow::Result<()> {
    let config = Config::load(flags, &|variable| std::env::var(variable).ok())?;
    logs::start(&config.logs);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve::run_with(config, |guests| Arc::new(StubRouter(guests))))
}
