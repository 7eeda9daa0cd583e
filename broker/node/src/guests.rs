//! The seam between the broker and the plugin host: what is asked of guests, and by whom it is answered.
//!
//! The broker asks through this trait, so that a simulation can answer without a Wasm engine.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_host::{
    Binding, Delivery, Envelope, Filtered, GuestFault, Host, LogLine, OwnFigures, PushRefusal, Response,
    RouteTable, Sealed, Spent, Step, ToOpen, ToSeal, Usage,
};
use posthouse_model::{GuestLimits, Name, PluginVersion, Quotas, SubscriptionId, TenantId, World};

/// Answers what plugins are asked.
pub trait Guests: Send + Sync + 'static {
    /// Returns whether a version can be called.
    fn is_loaded(&self, version: PluginVersion) -> bool;

    /// Checks and compiles a component, and keeps the outcome.
    fn check(&self, world: World, component: Bytes) -> BoxFuture<'_, Result<(), PushRefusal>>;

    /// Makes a version callable.
    fn load(
        &self,
        version: PluginVersion,
        tenant: Option<TenantId>,
        world: World,
        component: Bytes,
    ) -> BoxFuture<'_, Result<(), PushRefusal>>;

    /// Returns whether a version that can be called asks for a store.
    fn uses_kv(&self, version: PluginVersion) -> bool;

    /// Lets go of a version. Calls under way end as they would have.
    fn unload(&self, version: PluginVersion);

    /// Returns the newest lines that a version wrote here, the oldest first.
    fn logs(&self, version: PluginVersion) -> Vec<LogLine>;

    /// Returns the figures that versions raised here, by tenant.
    fn figures(&self) -> Vec<OwnFigures>;

    /// Returns what calls of a version have taken since it was loaded here; nothing where that is not counted.
    fn spent(&self, version: PluginVersion) -> Spent {
        let _ = version;
        Spent::default()
    }

    /// Says what a tenant's guests may use.
    fn set_quota(&self, tenant: TenantId, quotas: &Quotas, limits: &GuestLimits);

    /// Lets go of all that is kept for a tenant that is no more.
    fn forget_tenant(&self, tenant: TenantId);

    /// Returns what each tenant's guests have used and use.
    fn usage(&self) -> Vec<(TenantId, Usage)>;

    /// Ends what guests are doing.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// Asks a router which subscriptions each message reaches.
    fn route<'a>(
        &'a self,
        binding: &'a Binding,
        table: &'a Arc<RouteTable>,
        envelopes: Vec<Envelope>,
    ) -> BoxFuture<'a, Vec<Result<Vec<SubscriptionId>, GuestFault>>>;

    /// Asks a filter about a message.
    fn filter<'a>(
        &'a self,
        binding: &'a Binding,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Filtered, GuestFault>>;

    /// Asks a deliver plugin how to begin.
    fn deliver_begin<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Step, GuestFault>>;

    /// Asks a deliver plugin how to go on.
    fn deliver_resume<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        state: Bytes,
        response: Response,
    ) -> BoxFuture<'a, Result<Step, GuestFault>>;

    /// Asks a seal plugin to seal bodies.
    fn seal<'a>(
        &'a self,
        binding: &'a Binding,
        master_key: &'a Name,
        bodies: Vec<ToSeal>,
    ) -> BoxFuture<'a, Vec<Result<Sealed, GuestFault>>>;

    /// Asks a seal plugin to open bodies.
    fn open<'a>(
        &'a self,
        binding: &'a Binding,
        bodies: Vec<ToOpen>,
    ) -> BoxFuture<'a, Vec<Result<Bytes, GuestFault>>>;
}

/// Guests that run in the plugin host.
#[derive(Clone)]
pub struct HostGuests(pub Host);

impl Guests for HostGuests {
    fn is_loaded(&self, version: PluginVersion) -> bool {
        self.0.is_loaded(version)
    }

    fn check(&self, world: World, component: Bytes) -> BoxFuture<'_, Result<(), PushRefusal>> {
        async move { self.0.check(world, component).await.map(|_| ()) }.boxed()
    }

    fn load(
        &self,
        version: PluginVersion,
        tenant: Option<TenantId>,
        world: World,
        component: Bytes,
    ) -> BoxFuture<'_, Result<(), PushRefusal>> {
        self.0.load(version, tenant, world, component).boxed()
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

    fn spent(&self, version: PluginVersion) -> Spent {
        self.0.spent(version)
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
        self.0.stop().boxed()
    }

    fn route<'a>(
        &'a self,
        binding: &'a Binding,
        table: &'a Arc<RouteTable>,
        envelopes: Vec<Envelope>,
    ) -> BoxFuture<'a, Vec<Result<Vec<SubscriptionId>, GuestFault>>> {
        self.0.route(binding, table, envelopes).boxed()
    }

    fn filter<'a>(
        &'a self,
        binding: &'a Binding,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Filtered, GuestFault>> {
        self.0.filter(binding, envelope, body).boxed()
    }

    fn deliver_begin<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Step, GuestFault>> {
        self.0.deliver_begin(binding, delivery.clone(), body).boxed()
    }

    fn deliver_resume<'a>(
        &'a self,
        binding: &'a Binding,
        delivery: &'a Delivery,
        state: Bytes,
        response: Response,
    ) -> BoxFuture<'a, Result<Step, GuestFault>> {
        self.0
            .deliver_resume(binding, delivery.clone(), state, response)
            .boxed()
    }

    fn seal<'a>(
        &'a self,
        binding: &'a Binding,
        master_key: &'a Name,
        bodies: Vec<ToSeal>,
    ) -> BoxFuture<'a, Vec<Result<Sealed, GuestFault>>> {
        self.0.seal_batch(binding, master_key, bodies).boxed()
    }

    fn open<'a>(
        &'a self,
        binding: &'a Binding,
        bodies: Vec<ToOpen>,
    ) -> BoxFuture<'a, Vec<Result<Bytes, GuestFault>>> {
        self.0.open_sealed_batch(binding, bodies).boxed()
    }
}
