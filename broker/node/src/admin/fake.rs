//! An administration for tests: it says which of its methods was reached, for whom and with what.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{Name, NodeId, SetId, TenantId};

use super::shapes::*;
use super::{
    AccessKey, AdminCode, AdminError, Administration, Admission, Caller, ListQuery, LogQuery, PluginPush,
    Scope, router,
};
use crate::metrics::Metrics;

/// What the fake takes to be now, in seconds since 1970.
pub(crate) const NOW_SECONDS: u64 = 1_700_000_000;
/// The largest body that the fake's routes take.
pub(crate) const BODY_BYTES_MAX: usize = 4_096;
/// The largest component that they take.
pub(crate) const COMPONENT_BYTES_MAX: usize = 1_048_576;

/// Answers every call with an error that says what was reached, but for the few that answer as a node would.
pub(crate) struct Fake;

/// Returns the error that says what was reached.
pub(crate) fn reached<T>(method: &str, scope: &Scope, given: &str) -> Result<T, AdminError> {
    Err(AdminError::new(
        AdminCode::Conflict,
        format!("{method} for {} {given}", scope.tenant),
    ))
}

/// Returns the name, for tests that know it is one.
pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Serves the fake on a free port of this machine until the test ends, and returns its address.
pub(crate) async fn serve(now_seconds: fn() -> u64) -> reqwest::Url {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let admission = Arc::new(Admission {
        administration: Arc::new(Fake),
        clock_skew_max: Duration::from_secs(60),
        body_bytes_max: BODY_BYTES_MAX,
        component_bytes_max: COMPONENT_BYTES_MAX,
        body_read: Duration::from_secs(10),
        component_read: Duration::from_secs(10),
        metrics: Metrics::new(),
        now_seconds,
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router(admission)).await });
    format!("http://{address}").parse().expect("an address")
}

impl Administration for Fake {
    /// Knows `root` (tenant `platform`), `shop` (tenant `shop`), and `off`, which is disabled. Each secret is the id.
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, AdminError> {
        let (tenant, number, root) = match id {
            "root" => ("platform", 1, true),
            "shop" | "off" => ("shop", 2, false),
            _ => return Ok(None),
        };
        let caller = Caller {
            access_key: id.to_owned(),
            tenant: TenantId(number),
            tenant_name: name(tenant),
            root,
        };
        let secret = Bytes::copy_from_slice(id.as_bytes());
        Ok(Some(AccessKey {
            caller,
            enabled: id != "off",
            secret,
        }))
    }

    /// Knows two pages of queues.
    async fn queues(&self, scope: &Scope, query: ListQuery) -> Result<Page<NameView>, AdminError> {
        let (item, next) = match (query.search.as_deref(), query.after.as_deref()) {
            (Some("two pages"), None) => ("first", Some("first".to_owned())),
            (Some("two pages"), Some("first")) => ("second", None),
            _ => return reached("queues", scope, &format!("{query:?}")),
        };
        let view = NameView {
            name: name(item),
            incarnation: 1,
            set: 0,
            state: StateView::Ready,
            sealed_under: None,
            counts: Some(CountsView {
                active: 7,
                ..CountsView::default()
            }),
        };
        Ok(Page {
            items: vec![view],
            total: 2,
            next,
        })
    }

    /// Stores nothing, and answers an id for each message.
    async fn send_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: SendRequest,
    ) -> Result<SentMessages, AdminError> {
        if queue.as_str() != "orders" {
            return reached("send_messages", scope, &format!("{queue} {request:?}"));
        }
        let message_ids = (0..request.messages.len() as u64)
            .map(|n| Decimal(u64::MAX - n))
            .collect();
        Ok(SentMessages { message_ids })
    }

    /// Has one message that is no text.
    async fn receive_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: ReceiveRequest,
    ) -> Result<ReceivedMessages, AdminError> {
        if queue.as_str() != "orders" {
            return reached("receive_messages", scope, &format!("{queue} {request:?}"));
        }
        let message = ReceivedMessage {
            message_id: Decimal(1),
            receipt_handle: Decimal(2),
            content: MessageContent::from_bytes(&[0xff, 0x00]),
            tags: Vec::new(),
            routing_key: String::new(),
            receive_count: 1,
            produced_ms: 0,
            first_received_ms: 0,
            visible_again_ms: 30_000,
            origin: None,
        };
        Ok(ReceivedMessages {
            messages: vec![message],
        })
    }

    /// Deletes handle 2 and no other.
    async fn delete_messages(
        &self,
        scope: &Scope,
        queue: Name,
        request: DeleteRequest,
    ) -> Result<DeletedMessages, AdminError> {
        if queue.as_str() != "orders" {
            return reached("delete_messages", scope, &format!("{queue} {request:?}"));
        }
        let judge = |handle: Decimal| DeleteResult {
            receipt_handle: handle,
            deleted: handle == Decimal(2),
            error: (handle != Decimal(2)).then(|| AdminError::conflict("not valid")),
        };
        Ok(DeletedMessages {
            results: request.receipt_handles.into_iter().map(judge).collect(),
        })
    }

    /// Says how many bytes came.
    async fn push_plugin(&self, scope: &Scope, push: PluginPush) -> Result<PluginPushed, AdminError> {
        let Some(world) = push.world else {
            return reached("push_plugin", scope, &format!("{push:?}"));
        };
        let digest = super::auth::ContentDigest::of(&push.component).to_string();
        Ok(PluginPushed {
            name: push.name,
            world,
            version: push.component.len() as u64,
            digest,
        })
    }

    async fn status(&self, scope: &Scope) -> Result<NodeStatus, AdminError> {
        reached("status", scope, "")
    }

    async fn cluster(&self, scope: &Scope) -> Result<ClusterStatus, AdminError> {
        reached("cluster", scope, "")
    }

    async fn scrub_cluster(&self, scope: &Scope) -> Result<ClusterScrub, AdminError> {
        reached("scrub_cluster", scope, "")
    }

    async fn move_set(&self, scope: &Scope, set: SetId, request: SetMove) -> Result<Done, AdminError> {
        reached("move_set", scope, &format!("{set} {request:?}"))
    }

    async fn drain_node(&self, scope: &Scope, node: NodeId) -> Result<Done, AdminError> {
        reached("drain_node", scope, &format!("{node}"))
    }

    async fn remove_node(&self, scope: &Scope, node: NodeId) -> Result<Done, AdminError> {
        reached("remove_node", scope, &format!("{node}"))
    }

    async fn create_queue(&self, scope: &Scope, request: QueueCreate) -> Result<QueueView, AdminError> {
        reached("create_queue", scope, &format!("{request:?}"))
    }

    async fn queue(&self, scope: &Scope, queue: Name) -> Result<QueueView, AdminError> {
        reached("queue", scope, &format!("{queue}"))
    }

    async fn set_queue(
        &self,
        scope: &Scope,
        queue: Name,
        settings: QueueSettings,
    ) -> Result<QueueView, AdminError> {
        reached("set_queue", scope, &format!("{queue} {settings:?}"))
    }

    async fn delete_queue(&self, scope: &Scope, queue: Name) -> Result<Done, AdminError> {
        reached("delete_queue", scope, &format!("{queue}"))
    }

    async fn seal_queue(&self, scope: &Scope, queue: Name, request: SealRequest) -> Result<Done, AdminError> {
        reached("seal_queue", scope, &format!("{queue} {request:?}"))
    }

    async fn rewind_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: RewindRequest,
    ) -> Result<Done, AdminError> {
        reached("rewind_queue", scope, &format!("{queue} {request:?}"))
    }

    async fn copy_queue(
        &self,
        scope: &Scope,
        queue: Name,
        request: CopyRequest,
    ) -> Result<CopiedMessages, AdminError> {
        reached("copy_queue", scope, &format!("{queue} {request:?}"))
    }

    async fn topics(&self, scope: &Scope, query: ListQuery) -> Result<Page<NameView>, AdminError> {
        reached("topics", scope, &format!("{query:?}"))
    }

    async fn create_topic(&self, scope: &Scope, request: TopicCreate) -> Result<TopicView, AdminError> {
        reached("create_topic", scope, &format!("{request:?}"))
    }

    async fn topic(&self, scope: &Scope, topic: Name) -> Result<TopicView, AdminError> {
        reached("topic", scope, &format!("{topic}"))
    }

    async fn set_topic(
        &self,
        scope: &Scope,
        topic: Name,
        settings: TopicSettings,
    ) -> Result<TopicView, AdminError> {
        reached("set_topic", scope, &format!("{topic} {settings:?}"))
    }

    async fn delete_topic(&self, scope: &Scope, topic: Name) -> Result<Done, AdminError> {
        reached("delete_topic", scope, &format!("{topic}"))
    }

    async fn seal_topic(&self, scope: &Scope, topic: Name, request: SealRequest) -> Result<Done, AdminError> {
        reached("seal_topic", scope, &format!("{topic} {request:?}"))
    }

    async fn publish_messages(
        &self,
        scope: &Scope,
        topic: Name,
        request: PublishRequest,
    ) -> Result<SentMessages, AdminError> {
        reached("publish_messages", scope, &format!("{topic} {request:?}"))
    }

    async fn subscriptions(
        &self,
        scope: &Scope,
        topic: Name,
        query: ListQuery,
    ) -> Result<Page<SubscriptionView>, AdminError> {
        reached("subscriptions", scope, &format!("{topic} {query:?}"))
    }

    async fn create_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        request: SubscriptionCreate,
    ) -> Result<SubscriptionView, AdminError> {
        reached("create_subscription", scope, &format!("{topic} {request:?}"))
    }

    async fn subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> Result<SubscriptionView, AdminError> {
        reached("subscription", scope, &format!("{topic} {subscription}"))
    }

    async fn set_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
        settings: SubscriptionSettings,
    ) -> Result<SubscriptionView, AdminError> {
        reached(
            "set_subscription",
            scope,
            &format!("{topic} {subscription} {settings:?}"),
        )
    }

    async fn delete_subscription(
        &self,
        scope: &Scope,
        topic: Name,
        subscription: Name,
    ) -> Result<Done, AdminError> {
        reached("delete_subscription", scope, &format!("{topic} {subscription}"))
    }

    async fn tenants(&self, scope: &Scope, query: ListQuery) -> Result<Page<TenantView>, AdminError> {
        reached("tenants", scope, &format!("{query:?}"))
    }

    async fn create_tenant(&self, scope: &Scope, request: TenantCreate) -> Result<TenantView, AdminError> {
        reached("create_tenant", scope, &format!("{request:?}"))
    }

    async fn tenant(&self, scope: &Scope, tenant: Name) -> Result<TenantView, AdminError> {
        reached("tenant", scope, &format!("{tenant}"))
    }

    async fn set_quotas(
        &self,
        scope: &Scope,
        tenant: Name,
        quotas: QuotaSettings,
    ) -> Result<TenantView, AdminError> {
        reached("set_quotas", scope, &format!("{tenant} {quotas:?}"))
    }

    async fn remove_tenant(&self, scope: &Scope, tenant: Name) -> Result<Done, AdminError> {
        reached("remove_tenant", scope, &format!("{tenant}"))
    }

    async fn access_keys(&self, scope: &Scope) -> Result<Page<AccessKeyView>, AdminError> {
        reached("access_keys", scope, "")
    }

    async fn add_access_key(
        &self,
        scope: &Scope,
        request: AccessKeyCreate,
    ) -> Result<AccessKeyCreated, AdminError> {
        reached("add_access_key", scope, &format!("{request:?}"))
    }

    async fn set_access_key(
        &self,
        scope: &Scope,
        id: String,
        change: AccessKeyChange,
    ) -> Result<AccessKeyView, AdminError> {
        reached("set_access_key", scope, &format!("{id} {change:?}"))
    }

    async fn remove_access_key(&self, scope: &Scope, id: String) -> Result<Done, AdminError> {
        reached("remove_access_key", scope, &id)
    }

    async fn master_keys(&self, scope: &Scope) -> Result<Page<MasterKeyView>, AdminError> {
        reached("master_keys", scope, "")
    }

    async fn create_master_key(
        &self,
        scope: &Scope,
        request: MasterKeyCreate,
    ) -> Result<MasterKeyView, AdminError> {
        reached("create_master_key", scope, &format!("{request:?}"))
    }

    async fn rotate_master_key(&self, scope: &Scope, key: Name) -> Result<MasterKeyView, AdminError> {
        reached("rotate_master_key", scope, &format!("{key}"))
    }

    async fn set_master_key(
        &self,
        scope: &Scope,
        key: Name,
        change: MasterKeyChange,
    ) -> Result<MasterKeyView, AdminError> {
        reached("set_master_key", scope, &format!("{key} {change:?}"))
    }

    async fn generate_data_key(&self, scope: &Scope, key: Name) -> Result<DataKeyView, AdminError> {
        reached("generate_data_key", scope, &format!("{key}"))
    }

    async fn decrypt(&self, scope: &Scope, request: DecryptRequest) -> Result<DecryptedKey, AdminError> {
        reached("decrypt", scope, &format!("{request:?}"))
    }

    async fn signing_keys(&self, scope: &Scope) -> Result<Page<SigningKeyView>, AdminError> {
        reached("signing_keys", scope, "")
    }

    async fn create_signing_key(
        &self,
        scope: &Scope,
        request: SigningKeyCreate,
    ) -> Result<SigningKeyMade, AdminError> {
        reached("create_signing_key", scope, &format!("{request:?}"))
    }

    async fn rotate_signing_key(
        &self,
        scope: &Scope,
        key: Name,
        request: SigningKeyRotate,
    ) -> Result<SigningKeyMade, AdminError> {
        reached("rotate_signing_key", scope, &format!("{key} {request:?}"))
    }

    async fn retire_signing_key(&self, scope: &Scope, key: Name) -> Result<SigningKeyView, AdminError> {
        reached("retire_signing_key", scope, &format!("{key}"))
    }

    async fn remove_signing_key(&self, scope: &Scope, key: Name) -> Result<Done, AdminError> {
        reached("remove_signing_key", scope, &format!("{key}"))
    }

    async fn plugins(&self, scope: &Scope, query: ListQuery) -> Result<Page<PluginView>, AdminError> {
        reached("plugins", scope, &format!("{query:?}"))
    }

    async fn plugin(&self, scope: &Scope, plugin: Name) -> Result<PluginView, AdminError> {
        reached("plugin", scope, &format!("{plugin}"))
    }

    async fn activate_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: ActivateRequest,
    ) -> Result<ActiveVersion, AdminError> {
        reached("activate_plugin", scope, &format!("{plugin} {request:?}"))
    }

    async fn roll_back_plugin(&self, scope: &Scope, plugin: Name) -> Result<ActiveVersion, AdminError> {
        reached("roll_back_plugin", scope, &format!("{plugin}"))
    }

    async fn remove_plugin_version(
        &self,
        scope: &Scope,
        plugin: Name,
        version: u64,
    ) -> Result<Done, AdminError> {
        reached("remove_plugin_version", scope, &format!("{plugin} {version}"))
    }

    async fn redrive_plugin(
        &self,
        scope: &Scope,
        plugin: Name,
        request: RedriveRequest,
    ) -> Result<RedrivenView, AdminError> {
        reached("redrive_plugin", scope, &format!("{plugin} {request:?}"))
    }

    async fn plugin_logs(
        &self,
        scope: &Scope,
        plugin: Name,
        query: LogQuery,
    ) -> Result<PluginLogs, AdminError> {
        reached("plugin_logs", scope, &format!("{plugin} {query:?}"))
    }

    async fn bindings(&self, scope: &Scope) -> Result<Page<BindingView>, AdminError> {
        reached("bindings", scope, "")
    }

    async fn bind(&self, scope: &Scope, request: BindRequest) -> Result<BindingView, AdminError> {
        reached("bind", scope, &format!("{request:?}"))
    }

    async fn unbind(&self, scope: &Scope, request: UnbindRequest) -> Result<Done, AdminError> {
        reached("unbind", scope, &format!("{request:?}"))
    }

    async fn kept(&self, scope: &Scope, request: KeptRequest) -> Result<KeptPage, AdminError> {
        reached("kept", scope, &format!("{request:?}"))
    }

    async fn quarantine(&self, scope: &Scope, request: QuarantineRequest) -> Result<BindingView, AdminError> {
        reached("quarantine", scope, &format!("{request:?}"))
    }

    async fn trials(&self, scope: &Scope) -> Result<Page<TrialView>, AdminError> {
        reached("trials", scope, "")
    }

    async fn begin_trial(&self, scope: &Scope, request: TrialRequest) -> Result<Done, AdminError> {
        reached("begin_trial", scope, &format!("{request:?}"))
    }

    async fn end_trial(&self, scope: &Scope, request: TrialEndRequest) -> Result<Done, AdminError> {
        reached("end_trial", scope, &format!("{request:?}"))
    }

    async fn record(&self, scope: &Scope, request: RecordRequest) -> Result<RecordingView, AdminError> {
        reached("record", scope, &format!("{request:?}"))
    }

    async fn read_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> Result<RecordingView, AdminError> {
        reached("read_recording", scope, &format!("{request:?}"))
    }

    async fn end_recording(
        &self,
        scope: &Scope,
        request: UnbindRequest,
    ) -> Result<RecordingView, AdminError> {
        reached("end_recording", scope, &format!("{request:?}"))
    }

    async fn explain(&self, scope: &Scope, message: Decimal) -> Result<Explanation, AdminError> {
        reached("explain", scope, &format!("{message}"))
    }
}
