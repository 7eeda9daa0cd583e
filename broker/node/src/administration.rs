//! The admin API over the broker: each request done for the tenant it is scoped to, each outcome given its shape.
//!
//! The routes have checked who asks and for which tenant; here every name is looked up among that tenant's alone.

mod access_keys;
mod cluster;
mod explain;
mod listing;
mod master_keys;
mod messages;
mod places;
mod plugins;
mod queues;
mod refusals;
mod signing_keys;
mod status;
mod tenants;
mod topics;
mod trials;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthouse_model::{AccessKeyStatus, DirectoryCommand, Kind, Name, NodeId, SetId, TenantId};

use crate::admin::shapes::{
    AccessKeyChange, AccessKeyCreate, AccessKeyCreated, AccessKeyView, ActivateRequest, ActiveVersion,
    BindRequest, BindingView, ClusterScrub, ClusterStatus, CopiedMessages, CopyRequest, DataKeyView, Decimal,
    DecryptRequest, DecryptedKey, DeleteRequest, DeletedMessages, Done, Explanation, KeptPage, KeptRequest,
    MasterKeyChange, MasterKeyCreate, MasterKeyView, NameView, NodeStatus, Page, PluginLogs, PluginPushed,
    PluginView, PublishRequest, QuarantineRequest, QueueCreate, QueueSettings, QueueView, QuotaSettings,
    ReceiveRequest, ReceivedMessages, RecordRequest, RecordingView, RedriveRequest, RedrivenView,
    RewindRequest, SealRequest, SendRequest, SentMessages, SetMove, SigningKeyCreate, SigningKeyMade,
    SigningKeyRotate, SigningKeyView, SubscriptionCreate, SubscriptionSettings, SubscriptionView,
    TenantCreate, TenantView, TopicCreate, TopicSettings, TopicView, TrialEndRequest, TrialRequest,
    TrialView, UnbindRequest,
};
use crate::admin::{
    AccessKey, AdminCode, AdminError, Administration, Admission, Caller, ListQuery, LogQuery, PluginPush,
    Scope,
};
use crate::broker::Broker;
use crate::config::Config;

/// How long a component may take to arrive: tens of mebibytes over a slow line.
const COMPONENT_READ: Duration = Duration::from_secs(300);

/// Does what the admin API asks for.
pub struct Service {
    broker: Broker,
    label: String,
    started: Instant,
}

/// A request as it is done: by whom, and among whose things.
struct Acting<'a> {
    broker: &'a Broker,
    tenant: TenantId,
    caller: &'a Caller,
}

/// Returns the admin API's routes over a broker.
pub fn router(broker: Broker, config: &Config) -> axum::Router {
    let metrics = broker.metrics.clone();
    let service = Service {
        broker,
        label: config.node.label.clone(),
        started: Instant::now(),
    };
    crate::admin::router(Arc::new(Admission {
        administration: Arc::new(service),
        clock_skew_max: config.admin.clock_skew_max,
        body_bytes_max: config.limits.body_bytes_max,
        component_bytes_max: config.plugins.component_bytes_max,
        body_read: config.limits.body_read,
        component_read: COMPONENT_READ,
        metrics,
        now_seconds,
    }))
}

fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

// === impl Service ===

impl Service {
    /// Has the directory change which nodes there are, or what they hold. Only root keys get so far.
    async fn change_cluster(&self, command: DirectoryCommand) -> Result<Done, AdminError> {
        self.broker.direct(command, Kind::Queue).await?;
        Ok(Done::default())
    }

    /// Finds the tenant that a request is scoped to, and takes the call out of the caller's rate.
    async fn acting<'a>(&'a self, scope: &'a Scope) -> Result<Acting<'a>, AdminError> {
        self.acting_with(scope, 0).await
    }

    /// The same for a request about a queue or topic, whose set is seen as it is now.
    async fn acting_on<'a>(
        &'a self,
        scope: &'a Scope,
        kind: Kind,
        name: &Name,
    ) -> Result<Acting<'a>, AdminError> {
        let acting = self.acting_with(scope, 0).await?;
        self.broker.see(acting.tenant, kind, name).await?;
        Ok(acting)
    }

    /// The same for a request that brings so many bytes.
    async fn acting_with<'a>(&'a self, scope: &'a Scope, bytes: usize) -> Result<Acting<'a>, AdminError> {
        self.broker.see_directory().await?;
        let caller = &scope.caller;
        let own = scope.tenant.folded() == caller.tenant_name.folded();
        if !own && !caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may act for another tenant",
            ));
        }
        let (tenant, quotas) = self.broker.directory.view(|directory| {
            let named = directory.tenant_named(&scope.tenant).map(|record| record.tenant);
            let quotas = directory.tenant(caller.tenant).map(|record| record.quotas);
            (named, quotas)
        });
        let none = || AdminError::not_found(format!("no tenant named {}", scope.tenant));
        let tenant = tenant.ok_or_else(none)?;
        let quotas = quotas.ok_or_else(none)?;
        // A root key must be able to put a quota right that admits nothing.
        if !caller.root
            && self
                .broker
                .admission
                .admit(caller.tenant, quotas, bytes as u64)
                .is_err()
        {
            self.broker.metrics.throttled(caller.tenant);
            return Err(AdminError::new(
                AdminCode::Throttled,
                "the tenant's rate is used up; try again later",
            ));
        }
        Ok(Acting {
            broker: &self.broker,
            tenant,
            caller,
        })
    }
}

impl Administration for Service {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, AdminError> {
        let known = match self.broker.is_settled() {
            true => self.broker.find_signatory(id).await?,
            false => self.broker.signatory(id),
        };
        let Some(signatory) = known else {
            // It says something of the key only once this node knows all.
            return match self.broker.is_settled() {
                true => Ok(None),
                false => Err(AdminError::not_done("the node is starting; not done, try again")),
            };
        };
        let name = self.broker.directory.view(|directory| {
            directory
                .tenant(signatory.tenant)
                .map(|tenant| tenant.name.clone())
        });
        Ok(name.map(|tenant_name| AccessKey {
            caller: Caller {
                access_key: id.to_owned(),
                tenant: signatory.tenant,
                tenant_name,
                root: signatory.root,
            },
            enabled: signatory.status == AccessKeyStatus::Enabled,
            secret: Bytes::copy_from_slice(signatory.secret.expose()),
        }))
    }

    async fn status(&self, _scope: &Scope) -> Result<NodeStatus, AdminError> {
        status::of(self).await
    }

    async fn cluster(&self, scope: &Scope) -> Result<ClusterStatus, AdminError> {
        // Told also when nothing can be agreed on: then it is needed most.
        if !scope.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may look at the cluster",
            ));
        }
        let reports = self.broker.reports().await;
        let known = cluster::Known {
            nodes: self.broker.node_records(),
            replicas: self.broker.replica_records(),
        };
        Ok(cluster::of(&reports, &known))
    }

    async fn scrub_cluster(&self, scope: &Scope) -> Result<ClusterScrub, AdminError> {
        if !scope.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may have the cluster scrubbed",
            ));
        }
        Ok(cluster::begun(&self.broker.scrub_all().await))
    }

    async fn move_set(&self, _scope: &Scope, set: SetId, request: SetMove) -> Result<Done, AdminError> {
        let command = DirectoryCommand::Relocate {
            set,
            from: NodeId(request.from),
            to: NodeId(request.to),
        };
        self.change_cluster(command).await
    }

    async fn drain_node(&self, _scope: &Scope, node: NodeId) -> Result<Done, AdminError> {
        self.change_cluster(DirectoryCommand::Drain { node }).await
    }

    async fn remove_node(&self, _scope: &Scope, node: NodeId) -> Result<Done, AdminError> {
        self.change_cluster(DirectoryCommand::RemoveNode { node }).await
    }

    async fn queues(&self, scope: &Scope, query: ListQuery) -> Result<Page<NameView>, AdminError> {
        queues::list(&self.acting(scope).await?, query).await
    }

    async fn create_queue(&self, scope: &Scope, request: QueueCreate) -> Result<QueueView, AdminError> {
        queues::create(&self.acting(scope).await?, request).await
    }

    async fn queue(&self, scope: &Scope, queue: Name) -> Result<QueueView, AdminError> {
        queues::show(&self.acting_on(scope, Kind::Queue, &queue).await?, &queue)
    }

    async fn set_queue(
        &self,
        scope: &Scope,
        queue: Name,
        settings: QueueSettings,
    ) -> Result<QueueView, AdminError> {
        queues::set(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            &settings,
        )
        .await
    }

    async fn delete_queue(&self, scope: &Scope, queue: Name) -> Result<Done, AdminError> {
        queues::delete(&self.acting_on(scope, Kind::Queue, &queue).await?, &queue).await
    }

    async fn seal_queue(&self, scope: &Scope, queue: Name, request: SealRequest) -> Result<Done, AdminError> {
        queues::seal(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            request,
        )
        .await
    }

    async fn rewind_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: RewindRequest,
    ) -> Result<Done, AdminError> {
        queues::rewind(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            request,
        )
        .await
    }

    async fn copy_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: CopyRequest,
    ) -> Result<CopiedMessages, AdminError> {
        queues::copy(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            request,
        )
        .await
    }

    async fn send_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: SendRequest,
    ) -> Result<SentMessages, AdminError> {
        let contents = messages::contents(&request.messages)?;
        let acting = self.acting_with(scope, messages::bytes_of(&contents)).await?;
        messages::send(&acting, &queue, contents, &request).await
    }

    async fn receive_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: ReceiveRequest,
    ) -> Result<ReceivedMessages, AdminError> {
        messages::receive(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            request,
        )
        .await
    }

    async fn delete_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: DeleteRequest,
    ) -> Result<DeletedMessages, AdminError> {
        messages::delete(
            &self.acting_on(scope, Kind::Queue, &queue).await?,
            &queue,
            request,
        )
        .await
    }

    async fn topics(&self, scope: &Scope, query: ListQuery) -> Result<Page<NameView>, AdminError> {
        topics::list(&self.acting(scope).await?, query).await
    }

    async fn create_topic(&self, scope: &Scope, request: TopicCreate) -> Result<TopicView, AdminError> {
        topics::create(&self.acting(scope).await?, request).await
    }

    async fn topic(&self, scope: &Scope, topic: Name) -> Result<TopicView, AdminError> {
        topics::show(&self.acting_on(scope, Kind::Topic, &topic).await?, &topic)
    }

    async fn set_topic(
        &self,
        scope: &Scope,
        topic: Name,
        settings: TopicSettings,
    ) -> Result<TopicView, AdminError> {
        topics::set(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            settings,
        )
        .await
    }

    async fn delete_topic(&self, scope: &Scope, topic: Name) -> Result<Done, AdminError> {
        topics::delete(&self.acting_on(scope, Kind::Topic, &topic).await?, &topic).await
    }

    async fn seal_topic(&self, scope: &Scope, topic: Name, request: SealRequest) -> Result<Done, AdminError> {
        topics::seal(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            request,
        )
        .await
    }

    async fn publish_messages(
        &self,
        scope: &Scope,
        topic: Name,
        request: PublishRequest,
    ) -> Result<SentMessages, AdminError> {
        let contents = messages::contents(&request.messages)?;
        let acting = self.acting_with(scope, messages::bytes_of(&contents)).await?;
        messages::publish(&acting, &topic, contents, &request).await
    }

    async fn subscriptions(
        &self,
        scope: &Scope,
        topic: Name,
        query: ListQuery,
    ) -> Result<Page<SubscriptionView>, AdminError> {
        topics::subscriptions(&self.acting_on(scope, Kind::Topic, &topic).await?, &topic, &query)
    }

    async fn create_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        request: SubscriptionCreate,
    ) -> Result<SubscriptionView, AdminError> {
        topics::subscribe(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            request,
        )
        .await
    }

    async fn subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> Result<SubscriptionView, AdminError> {
        topics::subscription(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            &subscription,
        )
    }

    async fn set_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
        settings: SubscriptionSettings,
    ) -> Result<SubscriptionView, AdminError> {
        topics::set_subscription(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            &subscription,
            &settings,
        )
        .await
    }

    async fn delete_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> Result<Done, AdminError> {
        topics::unsubscribe(
            &self.acting_on(scope, Kind::Topic, &topic).await?,
            &topic,
            subscription,
        )
        .await
    }

    async fn tenants(&self, scope: &Scope, query: ListQuery) -> Result<Page<TenantView>, AdminError> {
        tenants::list(&self.acting(scope).await?, query).await
    }

    async fn create_tenant(&self, scope: &Scope, request: TenantCreate) -> Result<TenantView, AdminError> {
        tenants::create(&self.acting(scope).await?, request).await
    }

    async fn tenant(&self, scope: &Scope, tenant: Name) -> Result<TenantView, AdminError> {
        tenants::show(&self.acting(scope).await?, &tenant)
    }

    async fn set_quotas(
        &self,
        scope: &Scope,
        tenant: Name,
        quotas: QuotaSettings,
    ) -> Result<TenantView, AdminError> {
        tenants::set_quotas(&self.acting(scope).await?, &tenant, quotas).await
    }

    async fn remove_tenant(&self, scope: &Scope, tenant: Name) -> Result<Done, AdminError> {
        tenants::remove(&self.acting(scope).await?, &tenant).await
    }

    async fn access_keys(&self, scope: &Scope) -> Result<Page<AccessKeyView>, AdminError> {
        Ok(access_keys::list(&self.acting(scope).await?))
    }

    async fn add_access_key(
        &self,
        scope: &Scope,
        request: AccessKeyCreate,
    ) -> Result<AccessKeyCreated, AdminError> {
        access_keys::add(&self.acting(scope).await?, request).await
    }

    async fn set_access_key(
        &self,
        scope: &Scope,
        id: String,
        change: AccessKeyChange,
    ) -> Result<AccessKeyView, AdminError> {
        access_keys::set(&self.acting(scope).await?, &id, change).await
    }

    async fn remove_access_key(&self, scope: &Scope, id: String) -> Result<Done, AdminError> {
        access_keys::remove(&self.acting(scope).await?, &id).await
    }

    async fn master_keys(&self, scope: &Scope) -> Result<Page<MasterKeyView>, AdminError> {
        Ok(master_keys::list(&self.acting(scope).await?))
    }

    async fn create_master_key(
        &self,
        scope: &Scope,
        request: MasterKeyCreate,
    ) -> Result<MasterKeyView, AdminError> {
        master_keys::create(&self.acting(scope).await?, request).await
    }

    async fn rotate_master_key(&self, scope: &Scope, key: Name) -> Result<MasterKeyView, AdminError> {
        master_keys::rotate(&self.acting(scope).await?, &key).await
    }

    async fn set_master_key(
        &self,
        scope: &Scope,
        key: Name,
        change: MasterKeyChange,
    ) -> Result<MasterKeyView, AdminError> {
        master_keys::set(&self.acting(scope).await?, &key, change).await
    }

    async fn generate_data_key(&self, scope: &Scope, key: Name) -> Result<DataKeyView, AdminError> {
        master_keys::generate_data_key(&self.acting(scope).await?, &key)
    }

    async fn decrypt(&self, scope: &Scope, request: DecryptRequest) -> Result<DecryptedKey, AdminError> {
        master_keys::decrypt(&self.acting(scope).await?, &request)
    }

    async fn signing_keys(&self, scope: &Scope) -> Result<Page<SigningKeyView>, AdminError> {
        Ok(signing_keys::list(&self.acting(scope).await?))
    }

    async fn create_signing_key(
        &self,
        scope: &Scope,
        request: SigningKeyCreate,
    ) -> Result<SigningKeyMade, AdminError> {
        signing_keys::create(&self.acting(scope).await?, request).await
    }

    async fn rotate_signing_key(
        &self,
        scope: &Scope,
        key: Name,
        request: SigningKeyRotate,
    ) -> Result<SigningKeyMade, AdminError> {
        signing_keys::rotate(&self.acting(scope).await?, &key, request).await
    }

    async fn retire_signing_key(&self, scope: &Scope, key: Name) -> Result<SigningKeyView, AdminError> {
        signing_keys::retire(&self.acting(scope).await?, &key).await
    }

    async fn remove_signing_key(&self, scope: &Scope, key: Name) -> Result<Done, AdminError> {
        signing_keys::remove(&self.acting(scope).await?, &key).await
    }

    async fn plugins(&self, scope: &Scope, query: ListQuery) -> Result<Page<PluginView>, AdminError> {
        plugins::list(&self.acting(scope).await?, &query).await
    }

    async fn push_plugin(&self, scope: &Scope, push: PluginPush) -> Result<PluginPushed, AdminError> {
        plugins::push(&self.acting_with(scope, push.component.len()).await?, push).await
    }

    async fn plugin(&self, scope: &Scope, plugin: Name) -> Result<PluginView, AdminError> {
        plugins::show(&self.acting(scope).await?, &plugin)
    }

    async fn activate_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: ActivateRequest,
    ) -> Result<ActiveVersion, AdminError> {
        plugins::activate(&self.acting(scope).await?, &plugin, request).await
    }

    async fn roll_back_plugin(&self, scope: &Scope, plugin: Name) -> Result<ActiveVersion, AdminError> {
        plugins::roll_back(&self.acting(scope).await?, &plugin).await
    }

    async fn remove_plugin_version(
        &self,
        scope: &Scope,
        plugin: Name,
        version: u64,
    ) -> Result<Done, AdminError> {
        plugins::remove_version(&self.acting(scope).await?, &plugin, version).await
    }

    async fn kept(&self, scope: &Scope, request: KeptRequest) -> Result<KeptPage, AdminError> {
        plugins::kept(&self.acting(scope).await?, request).await
    }

    async fn redrive_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: RedriveRequest,
    ) -> Result<RedrivenView, AdminError> {
        plugins::redrive(&self.acting(scope).await?, &plugin, request).await
    }

    async fn plugin_logs(
        &self,
        scope: &Scope,
        plugin: Name,
        query: LogQuery,
    ) -> Result<PluginLogs, AdminError> {
        plugins::logs(&self.acting(scope).await?, &plugin, query).await
    }

    async fn trials(&self, scope: &Scope) -> Result<Page<TrialView>, AdminError> {
        trials::list(&self.acting(scope).await?).await
    }

    async fn begin_trial(&self, scope: &Scope, request: TrialRequest) -> Result<Done, AdminError> {
        trials::begin(&self.acting(scope).await?, request).await
    }

    async fn end_trial(&self, scope: &Scope, request: TrialEndRequest) -> Result<Done, AdminError> {
        trials::end(&self.acting(scope).await?, &request).await
    }

    async fn bindings(&self, scope: &Scope) -> Result<Page<BindingView>, AdminError> {
        Ok(plugins::bindings(&self.acting(scope).await?))
    }

    async fn bind(&self, scope: &Scope, request: BindRequest) -> Result<BindingView, AdminError> {
        plugins::bind(&self.acting(scope).await?, request).await
    }

    async fn unbind(&self, scope: &Scope, request: UnbindRequest) -> Result<Done, AdminError> {
        plugins::unbind(&self.acting(scope).await?, &request).await
    }

    async fn quarantine(&self, scope: &Scope, request: QuarantineRequest) -> Result<BindingView, AdminError> {
        plugins::quarantine(&self.acting(scope).await?, request).await
    }

    async fn record(&self, scope: &Scope, request: RecordRequest) -> Result<RecordingView, AdminError> {
        plugins::record(&self.acting(scope).await?, &request).await
    }

    async fn read_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> Result<RecordingView, AdminError> {
        plugins::read_recording(&self.acting(scope).await?, &request).await
    }

    async fn end_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> Result<RecordingView, AdminError> {
        plugins::end_recording(&self.acting(scope).await?, &request).await
    }

    async fn explain(&self, scope: &Scope, message: Decimal) -> Result<Explanation, AdminError> {
        let acting = self.acting(scope).await?;
        explain::explain(acting.broker, acting.tenant, message.into()).await
    }
}
