//! Tenants, what they may use, and their access keys.

use posthouse_model::{AccessKeyStatus, GuestLimits, HttpHost, Name, Quotas, TenantRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::set;
use crate::admin::AdminError;
use crate::admin::auth::{ACCESS_KEY_ID_BYTES_MAX, is_access_key_id};

/// The longest secret of an access key, in bytes.
pub const SECRET_BYTES_MAX: usize = 256;

/// Adds a tenant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantCreate {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// What it may use; what is absent gets its default.
    #[serde(default)]
    pub quotas: QuotaSettings,
}

/// What a tenant is to be allowed. What is absent stays as it is, or at its default in a new tenant. Zero is
/// nothing at all, not "no limit".
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSettings {
    /// Calls a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<u32>,
    /// Body bytes a second, in and out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// Topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<u32>,
    /// Plugin versions kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<u32>,
    /// Microseconds of plugins' CPU time a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_micros_per_second: Option<u32>,
    /// Bytes of plugins' memory at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_memory_bytes: Option<u64>,
    /// Plugin instances at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_instances: Option<u32>,
    /// Calls that plugins make to the host a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_host_calls_per_second: Option<u32>,
    /// Bytes that plugins hand to the host a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_output_bytes_per_second: Option<u64>,
    /// HTTP requests for deliveries a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_requests_per_second: Option<u32>,
    /// The only hosts that those may go to, at most 100: `example.com`, `*.example.com` or an address, each with or without
    /// a port. Addresses that the platform does not allow stay refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub http_hosts: Option<Vec<HttpHost>>,
    /// Whether they may go to any host again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_http_host: bool,
}

/// What a tenant may use.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuotasView {
    /// Calls a second.
    pub calls_per_second: u32,
    /// Body bytes a second, in and out.
    pub bytes_per_second: u64,
    /// Queues.
    pub queues: u32,
    /// Topics.
    pub topics: u32,
    /// Plugin versions kept.
    pub plugins: u32,
    /// Microseconds of plugins' CPU time a second.
    pub guest_micros_per_second: u32,
    /// Bytes of plugins' memory at once.
    pub guest_memory_bytes: u64,
    /// Plugin instances at once.
    pub guest_instances: u32,
    /// Calls that plugins make to the host a second.
    pub guest_host_calls_per_second: u32,
    /// Bytes that plugins hand to the host a second.
    pub guest_output_bytes_per_second: u64,
    /// HTTP requests for deliveries a second.
    pub http_requests_per_second: u32,
    /// The only hosts that those may go to; absent is all that the platform allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub http_hosts: Option<Vec<HttpHost>>,
}

/// A tenant as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// Its number.
    pub id: u32,
    /// What it may use.
    pub quotas: QuotasView,
    /// How many queues it has.
    pub queues: u64,
    /// How many topics it has.
    pub topics: u64,
}

/// Adds an access key to a tenant.
#[derive(Clone, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessKeyCreate {
    /// What requests are signed as, 1 to 128 printable characters; made up when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What they are signed with; made up when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether it may administer the cluster and act for any tenant. Only a root key can make one.
    pub root: bool,
}

/// A new access key. The secret is told only here.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKeyCreated {
    /// What requests are signed as.
    pub id: String,
    /// What they are signed with.
    pub secret: String,
    /// Whose it is.
    #[schemars(with = "String")]
    pub tenant: Name,
    /// Whether it may administer the cluster.
    pub root: bool,
}

/// An access key as it is, without its secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKeyView {
    /// What requests are signed as.
    pub id: String,
    /// Whose it is.
    #[schemars(with = "String")]
    pub tenant: Name,
    /// Whether its requests are served.
    pub status: AccessKeyStatusView,
    /// Whether it may administer the cluster.
    pub root: bool,
}

/// Enables or disables an access key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessKeyChange {
    /// What it is to be.
    pub status: AccessKeyStatusView,
}

/// Whether an access key's requests are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessKeyStatusView {
    /// They are.
    Enabled,
    /// They are refused.
    Disabled,
}

// === impl AccessKeyCreate ===

impl AccessKeyCreate {
    /// Checks what can be checked without knowing the tenant.
    ///
    /// # Errors
    ///
    /// Refuses an id that a signed request could not carry, and a secret that is empty or too long.
    pub fn check(&self) -> Result<(), AdminError> {
        if self.id.as_deref().is_some_and(|id| !is_access_key_id(id)) {
            return Err(AdminError::malformed(format!(
                "`id` must be 1 to {ACCESS_KEY_ID_BYTES_MAX} letters, digits and signs other than , and ="
            )));
        }
        let length = self.secret.as_deref().map(str::len);
        if length.is_some_and(|length| length == 0 || length > SECRET_BYTES_MAX) {
            return Err(AdminError::malformed(format!(
                "`secret` must have 1 to {SECRET_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }
}

// === impl QuotaSettings ===

impl QuotaSettings {
    /// Returns `current` with these settings over it.
    pub fn over(&self, current: Quotas) -> Quotas {
        let mut quotas = current;
        set(&mut quotas.calls_per_second, self.calls_per_second);
        set(&mut quotas.bytes_per_second, self.bytes_per_second);
        set(&mut quotas.queues, self.queues);
        set(&mut quotas.topics, self.topics);
        set(&mut quotas.plugins, self.plugins);
        set(&mut quotas.guest_micros_per_second, self.guest_micros_per_second);
        set(&mut quotas.guest_memory_bytes, self.guest_memory_bytes);
        set(&mut quotas.guest_instances, self.guest_instances);
        quotas
    }

    /// Returns `current` with these settings over it, or nothing when they change none of it.
    pub fn limits_over(&self, current: &GuestLimits) -> Option<GuestLimits> {
        let mut limits = current.clone();
        set(
            &mut limits.host_calls_per_second,
            self.guest_host_calls_per_second,
        );
        set(
            &mut limits.output_bytes_per_second,
            self.guest_output_bytes_per_second,
        );
        set(
            &mut limits.http_requests_per_second,
            self.http_requests_per_second,
        );
        if self.any_http_host {
            limits.http_hosts = None;
        }
        if let Some(hosts) = &self.http_hosts {
            limits.http_hosts = Some(hosts.clone());
        }
        (limits != *current).then_some(limits)
    }

    /// Checks what can be checked without knowing the tenant.
    ///
    /// # Errors
    ///
    /// Refuses a list of hosts together with what does away with it.
    pub fn check(&self) -> Result<(), AdminError> {
        if self.any_http_host && self.http_hosts.is_some() {
            return Err(AdminError::malformed(
                "`http_hosts` and `any_http_host` make no sense together",
            ));
        }
        Ok(())
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == QuotaSettings::default()
    }
}

// === impl QuotasView ===

impl QuotasView {
    /// Returns the view of a tenant's quotas, and of its limits beyond those.
    pub fn new(quotas: &Quotas, limits: GuestLimits) -> QuotasView {
        QuotasView {
            calls_per_second: quotas.calls_per_second,
            bytes_per_second: quotas.bytes_per_second,
            queues: quotas.queues,
            topics: quotas.topics,
            plugins: quotas.plugins,
            guest_micros_per_second: quotas.guest_micros_per_second,
            guest_memory_bytes: quotas.guest_memory_bytes,
            guest_instances: quotas.guest_instances,
            guest_host_calls_per_second: limits.host_calls_per_second,
            guest_output_bytes_per_second: limits.output_bytes_per_second,
            http_requests_per_second: limits.http_requests_per_second,
            http_hosts: limits.http_hosts,
        }
    }
}

// === impl TenantView ===

impl TenantView {
    /// Returns the view of a tenant with so many queues and topics.
    pub fn new(record: &TenantRecord, limits: GuestLimits, queues: u64, topics: u64) -> TenantView {
        TenantView {
            name: record.name.clone(),
            id: record.tenant.0,
            quotas: QuotasView::new(&record.quotas, limits),
            queues,
            topics,
        }
    }
}

/// Never shows the secret.
impl std::fmt::Debug for AccessKeyCreate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKeyCreate({:?}, root: {})", self.id, self.root)
    }
}

/// Never shows the secret.
impl std::fmt::Debug for AccessKeyCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "AccessKeyCreated({:?}, {}, root: {})",
            self.id, self.tenant, self.root
        )
    }
}

impl From<AccessKeyStatus> for AccessKeyStatusView {
    fn from(status: AccessKeyStatus) -> AccessKeyStatusView {
        match status {
            AccessKeyStatus::Enabled => AccessKeyStatusView::Enabled,
            AccessKeyStatus::Disabled => AccessKeyStatusView::Disabled,
        }
    }
}

impl From<AccessKeyStatusView> for AccessKeyStatus {
    fn from(view: AccessKeyStatusView) -> AccessKeyStatus {
        match view {
            AccessKeyStatusView::Enabled => AccessKeyStatus::Enabled,
            AccessKeyStatusView::Disabled => AccessKeyStatus::Disabled,
        }
    }
}
