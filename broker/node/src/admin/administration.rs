//! What the node's service does for the admin API: one method a route.

use std::future::Future;

use bytes::Bytes;
use posthouse_model::{Name, NodeId, SetId, TenantId};

use super::AdminError;
use super::shapes::{
    AccessKeyChange, AccessKeyCreate, AccessKeyCreated, AccessKeyView, ActivateRequest, ActiveVersion,
    BindRequest, BindingView, ClusterScrub, ClusterStatus, CopiedMessages, CopyRequest, DataKeyView, Decimal,
    DecryptRequest, DecryptedKey, DeleteRequest, DeletedMessages, Done, Explanation, KeptPage, KeptRequest,
    MasterKeyChange, MasterKeyCreate, MasterKeyView, NameView, NodeStatus, Page, PluginLogs, PluginPushed,
    PluginView, PublishRequest, QuarantineRequest, QueueCreate, QueueSettings, QueueView, QuotaSettings,
    ReceiveRequest, ReceivedMessages, RecordRequest, RecordingView, RedriveRequest, RedrivenView,
    RewindRequest, SealRequest, SendRequest, SentMessages, SetMove, SigningKeyCreate, SigningKeyMade,
    SigningKeyRotate, SigningKeyView, SubscriptionCreate, SubscriptionSettings, SubscriptionView,
    TenantCreate, TenantView, TopicCreate, TopicSettings, TopicView, TrialEndRequest, TrialRequest,
    TrialView, UnbindRequest, WorldView,
};

/// Who signed a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The access key's id.
    pub access_key: String,
    /// Whose key it is.
    pub tenant: TenantId,
    /// That tenant's name.
    pub tenant_name: Name,
    /// Whether the key may administer the cluster.
    pub root: bool,
}

/// On whose behalf a request is done. The routes have checked that the caller may.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// Who signed.
    pub caller: Caller,
    /// The tenant whose things are meant: the caller's own, or for a root key the one it named.
    pub tenant: Name,
}

/// An access key, as it is needed to check a signature.
#[derive(Clone)]
pub struct AccessKey {
    /// Who signs with it.
    pub caller: Caller,
    /// Whether its requests are served.
    pub enabled: bool,
    /// What it signs with.
    pub secret: Bytes,
}

/// Which part of a listing is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListQuery {
    /// Only names that contain this, whatever the case.
    pub search: Option<String>,
    /// Only what comes after this name.
    pub after: Option<String>,
    /// The most items, 1 to 1,000.
    pub limit: usize,
}

/// Which of a plugin's log lines are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogQuery {
    /// The most lines, newest counted first.
    pub limit: usize,
}

/// A plugin to be recorded.
#[derive(Clone, Debug)]
pub struct PluginPush {
    /// Its name.
    pub name: Name,
    /// The world it must export; whichever it does when absent.
    pub world: Option<WorldView>,
    /// Whether it is for every tenant. The routes have checked that the caller is root then.
    pub platform: bool,
    /// The component.
    pub component: Bytes,
}

/// Does what the admin API asks for. Each method is called with a scope that the caller may act in; those
/// that say so, only by root keys.
pub trait Administration: Send + Sync + 'static {
    /// Returns the access key of this id, if there is one.
    fn access_key(&self, id: &str) -> impl Future<Output = Result<Option<AccessKey>, AdminError>> + Send;

    /// Says how this node is.
    fn status(&self, scope: &Scope) -> impl Future<Output = Result<NodeStatus, AdminError>> + Send;
    /// Says how all nodes are.
    fn cluster(&self, scope: &Scope) -> impl Future<Output = Result<ClusterStatus, AdminError>> + Send;
    /// Gives a set a replica on one node in place of that on another.
    fn move_set(
        &self,
        scope: &Scope,
        set: SetId,
        request: SetMove,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;
    /// Moves a node's replicas of sets to other nodes.
    fn drain_node(
        &self,
        scope: &Scope,
        node: NodeId,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;
    /// Lets a drained node go.
    fn remove_node(
        &self,
        scope: &Scope,
        node: NodeId,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Has all nodes read everything durable again.
    fn scrub_cluster(&self, scope: &Scope) -> impl Future<Output = Result<ClusterScrub, AdminError>> + Send;

    /// Lists queues.
    fn queues(
        &self,
        scope: &Scope,
        query: ListQuery,
    ) -> impl Future<Output = Result<Page<NameView>, AdminError>> + Send;

    /// Creates a queue.
    fn create_queue(
        &self,
        scope: &Scope,
        request: QueueCreate,
    ) -> impl Future<Output = Result<QueueView, AdminError>> + Send;

    /// Shows a queue.
    fn queue(&self, scope: &Scope, queue: Name)
    -> impl Future<Output = Result<QueueView, AdminError>> + Send;

    /// Changes a queue's settings.
    fn set_queue(
        &self,
        scope: &Scope,
        queue: Name,
        settings: QueueSettings,
    ) -> impl Future<Output = Result<QueueView, AdminError>> + Send;

    /// Removes a queue with its messages.
    fn delete_queue(
        &self,
        scope: &Scope,
        queue: Name,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Seals what is put into a queue from now on, or no longer.
    fn seal_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: SealRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Starts a queue again from a time.
    fn rewind_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: RewindRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Copies what a queue keeps into another one.
    fn copy_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: CopyRequest,
    ) -> impl Future<Output = Result<CopiedMessages, AdminError>> + Send;

    /// Puts messages into a queue.
    fn send_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: SendRequest,
    ) -> impl Future<Output = Result<SentMessages, AdminError>> + Send;

    /// Receives messages from a queue.
    fn receive_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: ReceiveRequest,
    ) -> impl Future<Output = Result<ReceivedMessages, AdminError>> + Send;

    /// Deletes received messages.
    fn delete_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: DeleteRequest,
    ) -> impl Future<Output = Result<DeletedMessages, AdminError>> + Send;

    /// Lists topics.
    fn topics(
        &self,
        scope: &Scope,
        query: ListQuery,
    ) -> impl Future<Output = Result<Page<NameView>, AdminError>> + Send;

    /// Creates a topic.
    fn create_topic(
        &self,
        scope: &Scope,
        request: TopicCreate,
    ) -> impl Future<Output = Result<TopicView, AdminError>> + Send;

    /// Shows a topic.
    fn topic(&self, scope: &Scope, topic: Name)
    -> impl Future<Output = Result<TopicView, AdminError>> + Send;

    /// Changes a topic's settings.
    fn set_topic(
        &self,
        scope: &Scope,
        topic: Name,
        settings: TopicSettings,
    ) -> impl Future<Output = Result<TopicView, AdminError>> + Send;

    /// Removes a topic that has no subscriptions.
    fn delete_topic(
        &self,
        scope: &Scope,
        topic: Name,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Seals what is published to a topic from now on, or no longer.
    fn seal_topic(
        &self,
        scope: &Scope,
        topic: Name,
        request: SealRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Publishes messages to a topic.
    fn publish_messages(
        &self,
        scope: &Scope,
        topic: Name,
        request: PublishRequest,
    ) -> impl Future<Output = Result<SentMessages, AdminError>> + Send;

    /// Lists a topic's subscriptions.
    fn subscriptions(
        &self,
        scope: &Scope,
        topic: Name,
        query: ListQuery,
    ) -> impl Future<Output = Result<Page<SubscriptionView>, AdminError>> + Send;

    /// Adds a subscription to a topic.
    fn create_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        request: SubscriptionCreate,
    ) -> impl Future<Output = Result<SubscriptionView, AdminError>> + Send;

    /// Shows a subscription.
    fn subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> impl Future<Output = Result<SubscriptionView, AdminError>> + Send;

    /// Changes a subscription's settings.
    fn set_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
        settings: SubscriptionSettings,
    ) -> impl Future<Output = Result<SubscriptionView, AdminError>> + Send;

    /// Removes a subscription with its backlog.
    fn delete_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Lists tenants. Root only.
    fn tenants(
        &self,
        scope: &Scope,
        query: ListQuery,
    ) -> impl Future<Output = Result<Page<TenantView>, AdminError>> + Send;

    /// Adds a tenant. Root only.
    fn create_tenant(
        &self,
        scope: &Scope,
        request: TenantCreate,
    ) -> impl Future<Output = Result<TenantView, AdminError>> + Send;

    /// Shows a tenant: any for root, its own for others.
    fn tenant(
        &self,
        scope: &Scope,
        tenant: Name,
    ) -> impl Future<Output = Result<TenantView, AdminError>> + Send;

    /// Changes what a tenant may use. Root only.
    fn set_quotas(
        &self,
        scope: &Scope,
        tenant: Name,
        quotas: QuotaSettings,
    ) -> impl Future<Output = Result<TenantView, AdminError>> + Send;

    /// Removes a tenant that has no queues and no topics. Root only.
    fn remove_tenant(
        &self,
        scope: &Scope,
        tenant: Name,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Lists the scope's tenant's access keys.
    fn access_keys(
        &self,
        scope: &Scope,
    ) -> impl Future<Output = Result<Page<AccessKeyView>, AdminError>> + Send;

    /// Adds an access key to the scope's tenant. The routes have checked that `root` comes from root.
    fn add_access_key(
        &self,
        scope: &Scope,
        request: AccessKeyCreate,
    ) -> impl Future<Output = Result<AccessKeyCreated, AdminError>> + Send;

    /// Enables or disables an access key of the scope's tenant.
    fn set_access_key(
        &self,
        scope: &Scope,
        id: String,
        change: AccessKeyChange,
    ) -> impl Future<Output = Result<AccessKeyView, AdminError>> + Send;

    /// Removes an access key of the scope's tenant.
    fn remove_access_key(
        &self,
        scope: &Scope,
        id: String,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Lists the scope's tenant's master keys.
    fn master_keys(
        &self,
        scope: &Scope,
    ) -> impl Future<Output = Result<Page<MasterKeyView>, AdminError>> + Send;

    /// Makes a master key.
    fn create_master_key(
        &self,
        scope: &Scope,
        request: MasterKeyCreate,
    ) -> impl Future<Output = Result<MasterKeyView, AdminError>> + Send;

    /// Adds a version to a master key. Old versions go on opening.
    fn rotate_master_key(
        &self,
        scope: &Scope,
        key: Name,
    ) -> impl Future<Output = Result<MasterKeyView, AdminError>> + Send;

    /// Changes what a master key may be used for.
    fn set_master_key(
        &self,
        scope: &Scope,
        key: Name,
        change: MasterKeyChange,
    ) -> impl Future<Output = Result<MasterKeyView, AdminError>> + Send;

    /// Makes a data key under a master key, for sealing on the client's side.
    fn generate_data_key(
        &self,
        scope: &Scope,
        key: Name,
    ) -> impl Future<Output = Result<DataKeyView, AdminError>> + Send;

    /// Tells a data key that was wrapped under a master key of the scope's tenant.
    fn decrypt(
        &self,
        scope: &Scope,
        request: DecryptRequest,
    ) -> impl Future<Output = Result<DecryptedKey, AdminError>> + Send;

    /// Lists the scope's tenant's signing keys.
    fn signing_keys(
        &self,
        scope: &Scope,
    ) -> impl Future<Output = Result<Page<SigningKeyView>, AdminError>> + Send;

    /// Makes a signing key.
    fn create_signing_key(
        &self,
        scope: &Scope,
        request: SigningKeyCreate,
    ) -> impl Future<Output = Result<SigningKeyMade, AdminError>> + Send;

    /// Adds a version to a signing key. Both sign until the older one is retired.
    fn rotate_signing_key(
        &self,
        scope: &Scope,
        key: Name,
        request: SigningKeyRotate,
    ) -> impl Future<Output = Result<SigningKeyMade, AdminError>> + Send;

    /// Takes the older of a signing key's two versions out of use.
    fn retire_signing_key(
        &self,
        scope: &Scope,
        key: Name,
    ) -> impl Future<Output = Result<SigningKeyView, AdminError>> + Send;

    /// Removes a signing key.
    fn remove_signing_key(
        &self,
        scope: &Scope,
        key: Name,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Lists plugins: the scope's tenant's and everybody's.
    fn plugins(
        &self,
        scope: &Scope,
        query: ListQuery,
    ) -> impl Future<Output = Result<Page<PluginView>, AdminError>> + Send;

    /// Checks and records a version of a plugin.
    fn push_plugin(
        &self,
        scope: &Scope,
        push: PluginPush,
    ) -> impl Future<Output = Result<PluginPushed, AdminError>> + Send;

    /// Shows a plugin: the tenant's own of that name, or else everybody's.
    fn plugin(
        &self,
        scope: &Scope,
        plugin: Name,
    ) -> impl Future<Output = Result<PluginView, AdminError>> + Send;

    /// Makes every binding of a plugin use a version. Everybody's plugins only by root.
    fn activate_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: ActivateRequest,
    ) -> impl Future<Output = Result<ActiveVersion, AdminError>> + Send;

    /// Puts every binding of a plugin back to the version before. Everybody's plugins only by root.
    fn roll_back_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
    ) -> impl Future<Output = Result<ActiveVersion, AdminError>> + Send;

    /// Removes a version of a plugin that nothing is bound to. Everybody's plugins only by root.
    fn remove_plugin_version(
        &self,
        scope: &Scope,
        plugin: Name,
        version: u64,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Sends messages on their way again that were parked because a plugin failed on them.
    fn redrive_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: RedriveRequest,
    ) -> impl Future<Output = Result<RedrivenView, AdminError>> + Send;

    /// Returns what a plugin wrote in calls for the scope's tenant, newest last.
    fn plugin_logs(
        &self,
        scope: &Scope,
        plugin: Name,
        query: LogQuery,
    ) -> impl Future<Output = Result<PluginLogs, AdminError>> + Send;

    /// Lists bindings: the scope's tenant's and the platform's.
    fn bindings(&self, scope: &Scope) -> impl Future<Output = Result<Page<BindingView>, AdminError>> + Send;

    /// Binds a plugin to a place. The routes have checked that the platform's places come from root.
    fn bind(
        &self,
        scope: &Scope,
        request: BindRequest,
    ) -> impl Future<Output = Result<BindingView, AdminError>> + Send;

    /// Unbinds what of a world is bound to a place. As with `bind`.
    fn unbind(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Tells what a binding's plugin keeps on behalf of the scope's tenant.
    fn kept(
        &self,
        scope: &Scope,
        request: KeptRequest,
    ) -> impl Future<Output = Result<KeptPage, AdminError>> + Send;

    /// Takes a binding out of use, or puts it back. As with `bind`.
    fn quarantine(
        &self,
        scope: &Scope,
        request: QuarantineRequest,
    ) -> impl Future<Output = Result<BindingView, AdminError>> + Send;

    /// Lists trials at the scope's tenant's places and, for root, the platform's.
    fn trials(&self, scope: &Scope) -> impl Future<Output = Result<Page<TrialView>, AdminError>> + Send;

    /// Tries a version of a bound plugin beside the one in use. As with `bind`.
    fn begin_trial(
        &self,
        scope: &Scope,
        request: TrialRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;

    /// Ends a trial. As with `bind`.
    fn end_trial(
        &self,
        scope: &Scope,
        request: TrialEndRequest,
    ) -> impl Future<Output = Result<Done, AdminError>> + Send;
    /// Has all nodes keep the calls of a binding's plugin that fail.
    fn record(
        &self,
        scope: &Scope,
        request: RecordRequest,
    ) -> impl Future<Output = Result<RecordingView, AdminError>> + Send;

    /// Returns what was recorded of a binding.
    fn read_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> impl Future<Output = Result<RecordingView, AdminError>> + Send;

    /// Ends a recording, and forgets what was recorded.
    fn end_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> impl Future<Output = Result<RecordingView, AdminError>> + Send;

    /// Says what became of a message of the scope's tenant.
    fn explain(
        &self,
        scope: &Scope,
        message: Decimal,
    ) -> impl Future<Output = Result<Explanation, AdminError>> + Send;
}

/// Never shows the secret.
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({:?}, enabled: {})", self.caller, self.enabled)
    }
}
