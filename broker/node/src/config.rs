//! What the process was told: a file, flags and the environment, read once and checked.
//!
//! Raw values go in ([`Table`]), checked ones come out ([`Config`]). Every error is found, not only the first,
//! and each names its key and what to do about it. The keys are explained in `posthouse.example.toml`.

mod cluster;
mod error;
mod network;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthouse_host::COMPONENT_BYTES_MAX;
use posthouse_model::{Name, bounds};

use crate::admin::auth::is_access_key_id;
use crate::broker::{Breaking, Scrubbing};

pub use cluster::{ClusterConfig, PeerTlsConfig};
pub use error::{ConfigError, ConfigErrors};
pub use network::IpNetwork;
use table::Table;

/// Every key of the configuration file.
pub const KEYS: &[&str] = &[
    "node.label",
    "node.data",
    "node.listen",
    "node.stream_listen",
    "node.stream_announce",
    "node.dev",
    "node.sets",
    "cluster.node",
    "cluster.peers",
    "cluster.certificate",
    "cluster.key",
    "cluster.ca",
    "cluster.allow_plain",
    "tls.certificate",
    "tls.key",
    "limits.body_bytes_max",
    "limits.bodies_bytes_max",
    "limits.connections_max",
    "limits.header_read_seconds",
    "limits.body_read_seconds",
    "limits.reply_write_seconds",
    "limits.idle_seconds",
    "limits.polling_waiters_max",
    "limits.streams_max",
    "storage.wal_file_bytes",
    "storage.memtable_bytes_max",
    "storage.cut_bytes",
    "storage.checkpoint_bytes",
    "storage.reserve_bytes",
    "storage.explain_seconds",
    "storage.scrub_bytes_a_second",
    "storage.scrub_every_seconds",
    "plugins.builtin_dir",
    "plugins.cache_dir",
    "plugins.call_micros_max",
    "plugins.threads",
    "plugins.memory_bytes_max",
    "plugins.component_bytes_max",
    "plugins.breaker_traps",
    "plugins.breaker_seconds",
    "push.allow_private",
    "push.allow_networks",
    "push.in_flight_max",
    "push.per_endpoint_in_flight_max",
    "cmq.authentication",
    "cmq.anonymous_tenant",
    "cmq.clock_skew_seconds",
    "cmq.delay_seconds_max",
    "cmq.strict_queue_format",
    "cmq.accepted_hosts",
    "admin.clock_skew_seconds",
    "keyring.root_key_file",
    "logs.format",
    "logs.level",
];

/// The environment's variable with the root account's id.
pub const ROOT_ID_VARIABLE: &str = "POSTHOUSE_ROOT_ID";
/// The environment's variable with the root account's secret.
pub const ROOT_KEY_VARIABLE: &str = "POSTHOUSE_ROOT_KEY";
/// The environment's variable that overrides `logs.level`.
pub const LOG_VARIABLE: &str = "RUST_LOG";
/// The root account's id in development mode, when none is given.
pub const DEV_ID: &str = "AKIDdev";
/// The root account's secret in development mode, when none is given.
pub const DEV_SECRET: &str = "dev";
/// The tenant of the root account in development mode.
pub const DEV_TENANT: &str = "dev";
/// Where the node listens when it is not told.
pub const LISTEN_USUAL: &str = "127.0.0.1:7070";
/// How far above the port for HTTP that for streams is in development mode, when it is not told.
pub const DEV_STREAM_PORTS_ABOVE: u16 = 200;
/// Where the node keeps its data in development mode when it is not told.
pub const DEV_DATA: &str = "posthouse-data";

/// The shortest root secret outside development mode, in characters.
const ROOT_SECRET_CHARS_MIN: usize = 16;
/// The longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1_048_576;
/// The most networks or host texts in a list.
const LIST_MAX: usize = 256;

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;
const TIB: u64 = 1_024 * GIB;

/// What `posthouse serve` was told on the command line. Flags win over the file.
#[derive(Clone, Debug, Default, Eq, PartialEq, clap::Args)]
pub struct Flags {
    /// Runs one node for development: tenant `dev`, SecretId `AKIDdev`, SecretKey `dev`, loopback only.
    #[arg(long)]
    pub dev: bool,
    /// Reads this configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keeps the data in this directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Listens on this address, as IP:PORT. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Listens for streams on this address, as IP:PORT. In development mode: 200 ports above --listen.
    #[arg(long, value_name = "ADDRESS")]
    pub stream_listen: Option<String>,
    /// This node's number in a cluster, one of those in --peers.
    #[arg(long, value_name = "N", requires = "peers")]
    pub node: Option<u16>,
    /// The nodes that found a cluster, this one included: their numbers and where they speak to each other.
    #[arg(long, value_name = "1=HOST:PORT,2=…", requires = "node")]
    pub peers: Option<String>,
    /// How many sets a new cluster gets.
    #[arg(long, value_name = "N")]
    pub sets: Option<u8>,
}

/// Everything that the process was told, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The node itself.
    pub node: NodeConfig,
    /// The cluster it is one of; none is a node without peers.
    pub cluster: Option<ClusterConfig>,
    /// The certificate to serve under; none is plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Bounds on what clients do.
    pub limits: LimitsConfig,
    /// The store.
    pub storage: StorageConfig,
    /// The plugin host.
    pub plugins: PluginsConfig,
    /// Delivery to endpoints.
    pub push: PushConfig,
    /// CMQ's API.
    pub cmq: CmqConfig,
    /// The admin API.
    pub admin: AdminConfig,
    /// Keys.
    pub keyring: KeyringConfig,
    /// Logs.
    pub logs: LogsConfig,
    /// The root account that the environment names. One is needed to found a cluster.
    pub root: Option<RootAccount>,
}

/// The node itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeConfig {
    /// What logs and `/admin/v1/status` call it.
    pub label: String,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it listens for streams; none is nowhere.
    pub stream_listen: Option<SocketAddr>,
    /// Where clients reach it for streams, as HOST:PORT; where it listens if absent.
    pub stream_announce: Option<String>,
    /// Whether it runs for development. Its address is a loopback one then.
    pub dev: bool,
    /// How many sets a new cluster gets. An existing one keeps what it has.
    pub sets: u8,
}

/// The certificate to serve under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Bounds on what clients do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LimitsConfig {
    /// The largest request body.
    pub body_bytes_max: usize,
    /// The large bodies of requests and replies that are held at once.
    pub bodies_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// How long a request's head may take to arrive.
    pub header_read: Duration,
    /// How long a request's body may take to arrive.
    pub body_read: Duration,
    /// How long a client may take in nothing of a reply.
    pub reply_write: Duration,
    /// How long a connection may stay open between requests.
    pub idle: Duration,
    /// Receives that wait for a message at once.
    pub polling_waiters_max: usize,
    /// Streams at once.
    pub streams_max: usize,
}

/// The store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StorageConfig {
    /// The size of a file of the write-ahead log.
    pub wal_file_bytes: u64,
    /// Bodies kept in memory, for the whole node.
    pub memtable_bytes_max: u64,
    /// How many applied bytes of a set make its leader propose a cut.
    pub cut_bytes: u64,
    /// How many bytes of the directory's log make it write a checkpoint.
    pub checkpoint_bytes: u64,
    /// Sends are refused when less of the disk is free.
    pub reserve_bytes: u64,
    /// How long `explain` knows a message that is gone.
    pub explain: Duration,
    /// How everything durable is read again, to find damage.
    pub scrubbing: Scrubbing,
}

/// The plugin host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PluginsConfig {
    /// A directory to load the built-ins from instead of those in the program. Empty: no built-ins.
    pub builtin_dir: Option<PathBuf>,
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
    /// CPU time that one call may use.
    pub call_cpu_max: Duration,
    /// Threads that run plugins.
    pub threads: usize,
    /// Memory of all instances together.
    pub memory_bytes_max: u64,
    /// The largest component that can be pushed.
    pub component_bytes_max: usize,
    /// When a binding is taken out of use by itself.
    pub breaking: Breaking,
}

/// Delivery to endpoints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushConfig {
    /// Whether private, loopback and link-local addresses may be pushed to.
    pub allow_private: bool,
    /// Networks that may be pushed to although they are private. Holds loopback in development mode.
    pub allow_networks: Vec<IpNetwork>,
    /// Deliveries under way at once.
    pub in_flight_max: usize,
    /// Deliveries under way at once to one endpoint of a tenant.
    pub per_endpoint_in_flight_max: usize,
}

/// CMQ's API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CmqConfig {
    /// Who requests are taken to be from.
    pub authentication: Authentication,
    /// How far a request's time may be from the node's.
    pub clock_skew_max: Duration,
    /// The longest delay of a message.
    pub delay_max: Duration,
    /// Whether a queue subscription must ask for SIMPLIFIED, as CMQ's documentation says and its SDKs do not.
    pub strict_queue_format: bool,
    /// Host texts that signatures may be made for beside the request's own, behind a proxy that rewrites it.
    pub accepted_hosts: Vec<String>,
}

/// Who CMQ requests are taken to be from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Whoever signed.
    Signatures,
    /// This tenant, signed or not.
    Anonymous(Name),
}

/// The admin API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdminConfig {
    /// How far a request's time may be from the node's.
    pub clock_skew_max: Duration,
}

/// Keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyringConfig {
    /// The file with the cluster's root key; one in the data directory is made when absent.
    pub root_key_file: Option<PathBuf>,
}

/// Logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogsConfig {
    /// How they look.
    pub format: LogFormat,
    /// What is logged, as `tracing` filters are written.
    pub filter: String,
}

/// How logs look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The account that administers the cluster.
#[derive(Clone, Eq, PartialEq)]
pub struct RootAccount {
    /// What requests are signed as.
    pub id: String,
    /// What they are signed with.
    pub secret: String,
}

// === impl Config ===

impl Config {
    /// Reads the file that the flags name, and checks it with the flags and the environment.
    ///
    /// # Errors
    ///
    /// Names everything that is wrong.
    pub fn load(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let text = match &flags.config {
            Some(path) => read_file(path).map_err(|error| ConfigErrors(vec![error]))?,
            None => String::new(),
        };
        Config::parse(&text, flags, environment)
    }

    /// Checks the text of a file with the flags and the environment.
    ///
    /// # Errors
    ///
    /// Names everything that is wrong.
    pub fn parse(
        text: &str,
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        let mut table = Table::parse(text).map_err(|error| ConfigErrors(vec![error]))?;
        let node = read_node(&mut table, flags);
        let cmq = read_cmq(&mut table, &node);
        let config = Config {
            cluster: cluster::read(&mut table, flags),
            tls: read_tls(&mut table),
            limits: read_limits(&mut table),
            storage: read_storage(&mut table),
            plugins: read_plugins(&mut table, &node),
            push: read_push(&mut table, &node),
            cmq,
            admin: AdminConfig {
                clock_skew_max: table.seconds("admin.clock_skew_seconds", 900, 1..=86_400),
            },
            keyring: KeyringConfig {
                root_key_file: table.path("keyring.root_key_file"),
            },
            logs: read_logs(&mut table, environment),
            root: read_root(&mut table, &node, environment),
            node,
        };
        config.check_together(&mut table);
        table.finish()?;
        Ok(config)
    }

    fn check_together(&self, table: &mut Table) {
        let push = &self.push;
        if push.per_endpoint_in_flight_max > push.in_flight_max {
            table.refuse(
                "push.per_endpoint_in_flight_max",
                "is above push.in_flight_max",
                "lower it, or raise push.in_flight_max",
            );
        }
        if self.storage.cut_bytes > self.storage.memtable_bytes_max {
            table.refuse(
                "storage.cut_bytes",
                "is above storage.memtable_bytes_max, so cuts would come too late",
                "lower it, or raise storage.memtable_bytes_max",
            );
        }
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it has {length} bytes, over {FILE_BYTES_MAX}"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

fn read_node(table: &mut Table, flags: &Flags) -> NodeConfig {
    let dev = table.boolean("node.dev", false) || flags.dev;
    let number = flags.node.unwrap_or(1);
    let label = table.text("node.label").unwrap_or_else(|| number.to_string());
    if label.is_empty() || label.len() > 64 || label.chars().any(char::is_control) {
        table.refuse(
            "node.label",
            "is not a label",
            "give 1 to 64 printable characters",
        );
    }
    let listen = read_listen(table, flags, dev);
    NodeConfig {
        label,
        data: read_data(table, flags, dev),
        listen,
        stream_listen: read_stream_listen(table, flags, dev.then_some(listen)),
        stream_announce: read_stream_announce(table),
        dev,
        sets: read_sets(table, flags),
    }
}

fn read_sets(table: &mut Table, flags: &Flags) -> u8 {
    let from_file = table.number("node.sets", 4, 1..=128);
    match flags.sets {
        Some(sets) if !(1..=128).contains(&sets) => {
            table.refuse(
                "node.sets",
                format!("--sets {sets} is out of range"),
                "give 1 to 128",
            );
            from_file
        }
        Some(sets) => sets,
        None => from_file,
    }
}

fn read_data(table: &mut Table, flags: &Flags, dev: bool) -> PathBuf {
    let from_file = table.path("node.data");
    match flags.data.clone().or(from_file) {
        Some(data) => data,
        None if dev => PathBuf::from(DEV_DATA),
        None => {
            table.missing(
                "node.data",
                "give the directory here or with --data, or use --dev",
            );
            PathBuf::new()
        }
    }
}

fn read_listen(table: &mut Table, flags: &Flags, dev: bool) -> SocketAddr {
    let from_file = table.text("node.listen");
    let text = flags
        .listen
        .clone()
        .or(from_file)
        .unwrap_or_else(|| LISTEN_USUAL.to_owned());
    read_address(table, "node.listen", &text, dev).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Reads where streams are listened for. In development mode that is beside where HTTP is.
fn read_stream_listen(table: &mut Table, flags: &Flags, beside: Option<SocketAddr>) -> Option<SocketAddr> {
    let from_file = table.text("node.stream_listen");
    match flags.stream_listen.clone().or(from_file) {
        Some(text) => read_address(table, "node.stream_listen", &text, beside.is_some()),
        None => {
            let mut address = beside?;
            let port = match address.port() {
                0 => 0,
                port => port.checked_add(DEV_STREAM_PORTS_ABOVE).unwrap_or(0),
            };
            address.set_port(port);
            Some(address)
        }
    }
}

/// Reads where clients reach the node for streams, if that is said.
fn read_stream_announce(table: &mut Table) -> Option<String> {
    let text = table.text("node.stream_announce")?;
    let named = text.rsplit_once(':').filter(|(host, port)| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':');
        !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()
    });
    if named.is_none() {
        table.refuse(
            "node.stream_announce",
            format!("{text:?} is not an address"),
            "give HOST:PORT, where clients reach this node for streams",
        );
    }
    named.is_some().then_some(text)
}

fn read_address(table: &mut Table, key: &str, text: &str, dev: bool) -> Option<SocketAddr> {
    let Ok(listen) = text.parse::<SocketAddr>() else {
        table.refuse(
            key,
            format!("{text:?} is not an address"),
            format!("give IP:PORT, such as {LISTEN_USUAL} or [::1]:7070"),
        );
        return None;
    };
    if dev && !listen.ip().is_loopback() {
        table.refuse(
            key,
            format!("{listen} is not a loopback address, and --dev has a password that everybody knows"),
            format!(
                "use {LISTEN_USUAL}, or leave --dev out and set {ROOT_ID_VARIABLE} and {ROOT_KEY_VARIABLE}"
            ),
        );
    }
    Some(listen)
}

fn read_tls(table: &mut Table) -> Option<TlsConfig> {
    match (table.path("tls.certificate"), table.path("tls.key")) {
        (Some(certificate), Some(key)) => Some(TlsConfig { certificate, key }),
        (Some(_), None) => {
            table.missing(
                "tls.key",
                "give the certificate's private key, or leave tls.certificate out",
            );
            None
        }
        (None, Some(_)) => {
            table.missing(
                "tls.certificate",
                "give the certificate chain, or leave tls.key out",
            );
            None
        }
        (None, None) => None,
    }
}

fn read_limits(table: &mut Table) -> LimitsConfig {
    LimitsConfig {
        body_bytes_max: table.number("limits.body_bytes_max", 3_400_000, 65_536..=67_108_864),
        bodies_bytes_max: table.number("limits.bodies_bytes_max", 268_435_456, 67_108_864..=1 << 40),
        connections_max: table.number("limits.connections_max", 16_000, 16..=1_000_000),
        header_read: table.seconds("limits.header_read_seconds", 10, 1..=300),
        body_read: table.seconds("limits.body_read_seconds", 30, 1..=600),
        reply_write: table.seconds("limits.reply_write_seconds", 30, 1..=600),
        idle: table.seconds("limits.idle_seconds", 600, 600..=86_400),
        polling_waiters_max: table.number("limits.polling_waiters_max", 20_000, 1..=1_000_000),
        streams_max: table.number("limits.streams_max", 2_000, 1..=1_000_000),
    }
}

fn read_storage(table: &mut Table) -> StorageConfig {
    StorageConfig {
        wal_file_bytes: table.number("storage.wal_file_bytes", 64 * MIB, 16 * MIB..=GIB),
        memtable_bytes_max: table.number("storage.memtable_bytes_max", 256 * MIB, 16 * MIB..=TIB),
        cut_bytes: table.number("storage.cut_bytes", 64 * MIB, MIB..=64 * GIB),
        checkpoint_bytes: table.number("storage.checkpoint_bytes", 16 * MIB, MIB..=64 * GIB),
        reserve_bytes: table.number("storage.reserve_bytes", GIB, 16 * MIB..=16 * TIB),
        explain: table.seconds("storage.explain_seconds", 86_400, 0..=1_296_000),
        scrubbing: Scrubbing {
            bytes_a_second: table.number("storage.scrub_bytes_a_second", 4 * MIB, 64 * KIB..=16 * GIB),
            every: table.seconds("storage.scrub_every_seconds", 86_400, 60..=31_536_000),
        },
    }
}

fn read_plugins(table: &mut Table, node: &NodeConfig) -> PluginsConfig {
    let micros = table.number("plugins.call_micros_max", 50_000, 100..=60_000_000);
    PluginsConfig {
        builtin_dir: table.path("plugins.builtin_dir"),
        cache_dir: table
            .path("plugins.cache_dir")
            .unwrap_or_else(|| node.data.join("plugin-cache")),
        call_cpu_max: Duration::from_micros(micros),
        threads: table.number("plugins.threads", 2, 1..=256),
        memory_bytes_max: table.number("plugins.memory_bytes_max", GIB, 64 * MIB..=TIB),
        component_bytes_max: table.number(
            "plugins.component_bytes_max",
            COMPONENT_BYTES_MAX,
            65_536..=COMPONENT_BYTES_MAX,
        ),
        breaking: Breaking {
            traps: table.number("plugins.breaker_traps", 20, 1..=1_000),
            within: Duration::from_secs(table.number("plugins.breaker_seconds", 60, 1..=86_400)),
        },
    }
}

fn read_push(table: &mut Table, node: &NodeConfig) -> PushConfig {
    let mut allow_networks = Vec::new();
    for text in table.texts("push.allow_networks", LIST_MAX) {
        match IpNetwork::parse(&text) {
            Some(network) => allow_networks.push(network),
            None => table.refuse(
                "push.allow_networks",
                format!("{text:?} is not a network"),
                "give ADDRESS/BITS, such as 10.1.0.0/16",
            ),
        }
    }
    if node.dev {
        allow_networks.extend(IpNetwork::LOOPBACK);
    }
    PushConfig {
        allow_private: table.boolean("push.allow_private", false),
        allow_networks,
        in_flight_max: table.number("push.in_flight_max", 1_000, 1..=100_000),
        per_endpoint_in_flight_max: table.number("push.per_endpoint_in_flight_max", 32, 1..=10_000),
    }
}

fn read_cmq(table: &mut Table, node: &NodeConfig) -> CmqConfig {
    let delay_seconds_max = *bounds::DELAY_SECONDS.end();
    let accepted_hosts = table.texts("cmq.accepted_hosts", LIST_MAX);
    for host in &accepted_hosts {
        if host.is_empty() || host.contains(['/', ' ']) {
            table.refuse(
                "cmq.accepted_hosts",
                format!("{host:?} is not a host"),
                "give HOST or HOST:PORT as clients write it, without http:// and path",
            );
        }
    }
    CmqConfig {
        authentication: read_authentication(table, node),
        clock_skew_max: table.seconds("cmq.clock_skew_seconds", 900, 1..=86_400),
        delay_max: table.seconds("cmq.delay_seconds_max", 3_600, 0..=delay_seconds_max),
        strict_queue_format: table.boolean("cmq.strict_queue_format", false),
        accepted_hosts,
    }
}

fn read_authentication(table: &mut Table, node: &NodeConfig) -> Authentication {
    let signed = table.boolean("cmq.authentication", true);
    let tenant = table.text("cmq.anonymous_tenant");
    let text = match (signed, tenant) {
        (true, None) => return Authentication::Signatures,
        (true, Some(_)) => {
            table.refuse(
                "cmq.anonymous_tenant",
                "is given although requests are authenticated",
                "leave it out, or set cmq.authentication = false",
            );
            return Authentication::Signatures;
        }
        (false, Some(text)) => text,
        (false, None) if node.dev => DEV_TENANT.to_owned(),
        (false, None) => {
            table.missing(
                "cmq.anonymous_tenant",
                "name the tenant that unsigned requests act for",
            );
            return Authentication::Signatures;
        }
    };
    match Name::parse(&text) {
        Ok(name) => Authentication::Anonymous(name),
        Err(error) => {
            table.refuse("cmq.anonymous_tenant", error.to_string(), "give a tenant's name");
            Authentication::Signatures
        }
    }
}

fn read_logs(table: &mut Table, environment: &dyn Fn(&str) -> Option<String>) -> LogsConfig {
    let format = match table.text("logs.format").as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            table.refuse(
                "logs.format",
                format!("{other:?} is not a format"),
                "give \"text\" or \"json\"",
            );
            LogFormat::Text
        }
    };
    let level = table.text("logs.level").unwrap_or_else(|| "info".to_owned());
    check_filter(table, "logs.level", &level);
    let filter = match environment(LOG_VARIABLE) {
        Some(filter) if !filter.is_empty() => {
            check_filter(table, LOG_VARIABLE, &filter);
            filter
        }
        Some(_) | None => level,
    };
    LogsConfig { format, filter }
}

fn check_filter(table: &mut Table, key: &str, filter: &str) {
    if let Err(error) = crate::logs::parse_filter(filter) {
        table.refuse(
            key,
            format!("{filter:?} is not a log filter: {error}"),
            "give a level (error, warn, info, debug, trace), or target=level pairs joined by commas",
        );
    }
}

fn read_root(
    table: &mut Table,
    node: &NodeConfig,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<RootAccount> {
    let (id, secret) = match (environment(ROOT_ID_VARIABLE), environment(ROOT_KEY_VARIABLE)) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) if node.dev => (DEV_ID.to_owned(), DEV_SECRET.to_owned()),
        (None, None) => return None,
        (Some(_), None) => {
            table.missing(
                ROOT_KEY_VARIABLE,
                format!("set it too, or unset {ROOT_ID_VARIABLE}"),
            );
            return None;
        }
        (None, Some(_)) => {
            table.missing(
                ROOT_ID_VARIABLE,
                format!("set it too, or unset {ROOT_KEY_VARIABLE}"),
            );
            return None;
        }
    };
    if !is_access_key_id(&id) {
        table.refuse(
            ROOT_ID_VARIABLE,
            "is not an access key id",
            "give 1 to 128 letters, digits and signs other than , and =",
        );
    }
    if !node.dev && secret.chars().count() < ROOT_SECRET_CHARS_MIN {
        table.refuse(
            ROOT_KEY_VARIABLE,
            "is too short to be safe",
            format!("give at least {ROOT_SECRET_CHARS_MIN} characters, such as `openssl rand -hex 32` makes"),
        );
    }
    if secret.is_empty() {
        table.refuse(ROOT_KEY_VARIABLE, "is empty", "give a secret");
    }
    Some(RootAccount { id, secret })
}

/// Never shows the secret.
impl std::fmt::Debug for RootAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootAccount({:?})", self.id)
    }
}
