//! `posthouse tenant`, and `posthouse tenant key` for access keys.

use clap::{Args, Subcommand};
use posthouse_model::{HttpHost, Name};

use super::client::{CliError, Client};
use super::output::{Output, Record, Table};
use crate::admin::Operation;
use crate::admin::shapes::{
    AccessKeyChange, AccessKeyCreate, AccessKeyCreated, AccessKeyStatusView, AccessKeyView, Done, Page,
    QuotaSettings, TenantCreate, TenantView,
};

/// The environment's variable with a new access key's secret, for it not to be seen among processes.
const NEW_SECRET_VARIABLE: &str = "POSTHOUSE_NEW_SECRET";

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Adds a tenant.
    Create {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        name: Name,
        #[command(flatten)]
        quotas: Box<Quotas>,
    },
    /// Lists tenants.
    List,
    /// Shows a tenant.
    Show {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        name: Name,
    },
    /// Changes what a tenant may use.
    #[command(visible_alias = "set")]
    Quota {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        name: Name,
        #[command(flatten)]
        quotas: Box<Quotas>,
    },
    /// Removes a tenant that has no queues and no topics.
    Remove {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        name: Name,
    },
    /// A tenant's access keys.
    #[command(subcommand)]
    Key(AccessKeyCommand),
}

/// What to do with a tenant's access keys.
#[derive(Debug, Subcommand)]
pub enum AccessKeyCommand {
    /// Adds an access key, and prints its secret this once.
    Add {
        /// The tenant.
        #[arg(value_parser = Name::parse, id = "owner", value_name = "TENANT")]
        owner: Name,
        /// What requests are signed as; made up when absent.
        #[arg(long)]
        id: Option<String>,
        /// What they are signed with; made up when absent.
        #[arg(long, env = NEW_SECRET_VARIABLE, hide_env_values = true)]
        secret: Option<String>,
        /// Lets it administer the cluster and act for any tenant.
        #[arg(long)]
        root: bool,
    },
    /// Lists a tenant's access keys.
    List {
        /// The tenant.
        #[arg(value_parser = Name::parse, id = "owner", value_name = "TENANT")]
        owner: Name,
    },
    /// Refuses an access key's requests from now on.
    Disable(AccessKeyId),
    /// Serves an access key's requests again.
    Enable(AccessKeyId),
    /// Removes an access key.
    Remove(AccessKeyId),
}

/// An access key of a tenant.
#[derive(Debug, Args)]
pub struct AccessKeyId {
    /// The tenant.
    #[arg(value_parser = Name::parse, id = "owner", value_name = "TENANT")]
    owner: Name,
    /// The access key.
    id: String,
}

/// What a tenant may use.
#[derive(Clone, Debug, Args)]
pub struct Quotas {
    /// Calls a second.
    #[arg(long, value_name = "COUNT")]
    calls_per_second: Option<u32>,
    /// Body bytes a second, in and out.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// Queues.
    #[arg(long, value_name = "COUNT")]
    queues: Option<u32>,
    /// Topics.
    #[arg(long, value_name = "COUNT")]
    topics: Option<u32>,
    /// Plugin versions kept.
    #[arg(long, value_name = "COUNT")]
    plugins: Option<u32>,
    /// Microseconds of plugins' CPU time a second.
    #[arg(long, value_name = "MICROSECONDS")]
    plugin_cpu: Option<u32>,
    /// Bytes of plugins' memory at once.
    #[arg(long, value_name = "BYTES")]
    plugin_memory: Option<u64>,
    /// Plugin instances at once.
    #[arg(long, value_name = "COUNT")]
    plugin_instances: Option<u32>,
    /// Calls that plugins make to the host a second.
    #[arg(long, value_name = "COUNT")]
    plugin_host_calls: Option<u32>,
    /// Bytes that plugins hand to the host a second.
    #[arg(long, value_name = "BYTES")]
    plugin_output: Option<u64>,
    /// HTTP requests for deliveries a second.
    #[arg(long, value_name = "COUNT")]
    http_requests: Option<u32>,
    /// Hosts that those may go to, and to no others: `example.com`, `*.example.com` or an address, perhaps with a port. May
    /// be given several times.
    #[arg(long = "http-host", value_name = "HOST", value_parser = HttpHost::parse)]
    http_hosts: Vec<HttpHost>,
    /// Lets them go to any host again that the platform allows.
    #[arg(long, conflicts_with = "http_hosts")]
    any_http_host: bool,
}

// === impl TenantCommand ===

impl TenantCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            TenantCommand::Create { name, quotas } => {
                let request = TenantCreate {
                    name,
                    quotas: quotas.shape(),
                };
                let view: TenantView = client.tell(Operation::CreateTenant, &[], &request).await?;
                client.output(&view, tenant_text(&view))
            }
            TenantCommand::List => {
                let tenants: Vec<TenantView> = client.list(Operation::ListTenants, &[], None).await?;
                client.output(&tenants, tenants_text(&tenants))
            }
            TenantCommand::Show { name } => {
                let view: TenantView = client.ask(Operation::ShowTenant, &named(&name)).await?;
                client.output(&view, tenant_text(&view))
            }
            TenantCommand::Quota { name, quotas } => {
                let quotas = quotas.shape();
                if quotas.is_empty() {
                    return Err(CliError::Usage("give at least one quota to change".to_owned()));
                }
                let view: TenantView = client.tell(Operation::SetQuotas, &named(&name), &quotas).await?;
                client.output(&view, tenant_text(&view))
            }
            TenantCommand::Remove { name } => {
                let done: Done = client.ask(Operation::RemoveTenant, &named(&name)).await?;
                client.output(&done, format!("tenant {name} is removed\n"))
            }
            TenantCommand::Key(command) => command.perform(client).await,
        }
    }
}

// === impl AccessKeyCommand ===

impl AccessKeyCommand {
    async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            AccessKeyCommand::Add {
                owner,
                id,
                secret,
                root,
            } => {
                let client = client.acting_for(&owner);
                let request = AccessKeyCreate { id, secret, root };
                let created: AccessKeyCreated = client.tell(Operation::AddAccessKey, &[], &request).await?;
                client.output(&created, created_text(&created))
            }
            AccessKeyCommand::List { owner } => {
                let client = client.acting_for(&owner);
                let page: Page<AccessKeyView> = client.ask(Operation::ListAccessKeys, &[]).await?;
                client.output(&page.items, keys_text(&page.items))
            }
            AccessKeyCommand::Disable(key) => key.set(client, AccessKeyStatusView::Disabled).await,
            AccessKeyCommand::Enable(key) => key.set(client, AccessKeyStatusView::Enabled).await,
            AccessKeyCommand::Remove(AccessKeyId { owner, id }) => {
                let client = client.acting_for(&owner);
                let done: Done = client.ask(Operation::RemoveAccessKey, &[("id", &id)]).await?;
                client.output(&done, format!("access key {id} is removed\n"))
            }
        }
    }
}

// === impl AccessKeyId ===

impl AccessKeyId {
    async fn set(self, client: &Client, status: AccessKeyStatusView) -> Result<Output, CliError> {
        let client = client.acting_for(&self.owner);
        let change = AccessKeyChange { status };
        let view: AccessKeyView = client
            .tell(Operation::SetAccessKey, &[("id", &self.id)], &change)
            .await?;
        client.output(&view, keys_text(std::slice::from_ref(&view)))
    }
}

// === impl Quotas ===

impl Quotas {
    fn shape(self) -> QuotaSettings {
        QuotaSettings {
            calls_per_second: self.calls_per_second,
            bytes_per_second: self.bytes_per_second,
            queues: self.queues,
            topics: self.topics,
            plugins: self.plugins,
            guest_micros_per_second: self.plugin_cpu,
            guest_memory_bytes: self.plugin_memory,
            guest_instances: self.plugin_instances,
            guest_host_calls_per_second: self.plugin_host_calls,
            guest_output_bytes_per_second: self.plugin_output,
            http_requests_per_second: self.http_requests,
            http_hosts: (!self.http_hosts.is_empty()).then_some(self.http_hosts),
            any_http_host: self.any_http_host,
        }
    }
}

fn named(name: &Name) -> [(&'static str, &str); 1] {
    [("name", name.as_str())]
}

fn tenant_text(view: &TenantView) -> String {
    let quotas = &view.quotas;
    let mut record = Record::new();
    record.line("tenant", &view.name);
    record.line("id", view.id);
    record.line("queues", format!("{} of {}", view.queues, quotas.queues));
    record.line("topics", format!("{} of {}", view.topics, quotas.topics));
    record.line("calls", format!("{} a second", quotas.calls_per_second));
    record.line("bytes", format!("{} a second", quotas.bytes_per_second));
    record.line("plugin versions", quotas.plugins);
    record.line(
        "plugin CPU",
        format!("{} µs a second", quotas.guest_micros_per_second),
    );
    record.line("plugin memory", format!("{} bytes", quotas.guest_memory_bytes));
    record.line("plugin instances", quotas.guest_instances);
    record.line(
        "plugin calls to the host",
        format!("{} a second", quotas.guest_host_calls_per_second),
    );
    record.line(
        "plugin output",
        format!("{} bytes a second", quotas.guest_output_bytes_per_second),
    );
    record.line(
        "HTTP requests",
        format!("{} a second", quotas.http_requests_per_second),
    );
    let hosts = quotas.http_hosts.as_ref().map(|hosts| {
        let hosts: Vec<String> = hosts.iter().map(HttpHost::to_string).collect();
        hosts.join(" ")
    });
    record.line("HTTP hosts", hosts.as_deref().unwrap_or("any"));
    record.to_string()
}

fn tenants_text(tenants: &[TenantView]) -> String {
    let mut table = Table::new(&["name", "id", "queues", "topics", "calls/s", "bytes/s"]);
    for view in tenants {
        table.row([
            view.name.to_string(),
            view.id.to_string(),
            view.queues.to_string(),
            view.topics.to_string(),
            view.quotas.calls_per_second.to_string(),
            view.quotas.bytes_per_second.to_string(),
        ]);
    }
    table.to_string()
}

fn keys_text(keys: &[AccessKeyView]) -> String {
    let mut table = Table::new(&["id", "tenant", "status", "root"]);
    for view in keys {
        let status = match view.status {
            AccessKeyStatusView::Enabled => "enabled",
            AccessKeyStatusView::Disabled => "disabled",
        };
        table.row([
            view.id.clone(),
            view.tenant.to_string(),
            status.to_owned(),
            super::yes_no(view.root).to_owned(),
        ]);
    }
    table.to_string()
}

fn created_text(created: &AccessKeyCreated) -> String {
    let mut record = Record::new();
    record.line("id", &created.id);
    record.line("secret", &created.secret);
    record.line("tenant", &created.tenant);
    record.line("root", super::yes_no(created.root));
    format!("{record}The secret is not shown again.\n")
}
