//! `posthouse serve`: the process from its configuration to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use posthouse_gateway::cmq;
use posthouse_host::{CompilerCommand, Host, KeyringLender};
use posthouse_keyring::{Entropy, Keyring, RootKey, SystemEntropy};
use posthouse_model::{DirectoryCommand, DirectoryReply, Kind, Name, Quotas, SetId, Span, TenantId};
use posthouse_replica::{Clock, Groups, Lone, Network};
use posthouse_store::{ClusterId, Disk, GroupId, Identity, OnDamage, RealDisk, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::bodies::Room;
use crate::broker::{Assembly, Broker, Builtins, Components, Events, Nobody, Others};
use crate::calls::Calls;
use crate::clock::{MachineClock, MedianClock};
use crate::cluster::Cluster;
use crate::cmq::Cmq;
use crate::config::{Config, DEV_TENANT, KeyringConfig, RootAccount, TlsConfig};
use crate::descriptors::Sockets;
use crate::disk;
use crate::egress::{Allowed, Egress};
use crate::front::{Bounds, Front};
use crate::guests::{Guests, HostGuests};
use crate::listener::Http;
use crate::metrics::Metrics;
use crate::stream::{Door, Streams};
use crate::{descriptors, listener};

/// How long the groups of a node without peers have to become ready.
const READY: Duration = Duration::from_secs(60);
/// How long a node of a cluster rests before it tries again to settle in.
const SETTLE_AGAIN: Duration = Duration::from_millis(250);
/// The tenant of the root account outside development mode.
const ROOT_TENANT: &str = "root";
/// The file of the root key in the data directory.
pub(crate) const ROOT_KEY_FILE: &str = "root.key";
/// The hidden subcommand that compiles a plugin in a process of its own.
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// A node that serves.
pub struct Node {
    broker: Broker,
    cluster: Option<Cluster>,
    serving: tokio::task::JoinHandle<()>,
    streaming: Option<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
    address: std::net::SocketAddr,
    streams: Option<std::net::SocketAddr>,
    misfit: watch::Receiver<Option<String>>,
}

/// The signals that ask the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// What a node is put together from before it serves.
struct Assembled {
    broker: Broker,
    cluster: Option<Cluster>,
    /// Says why this node does not belong to its cluster, once that is found out.
    misfit: watch::Receiver<Option<String>>,
}

/// Serves until told to stop by a signal.
pub async fn run(config: Config) -> anyhow::Result<()> {
    run_with(config, |guests| Arc::new(guests)).await
}

/// Serves until told to stop by a signal, with guests that stand before the plugin host's: a measurement or a
/// simulation can answer in their place.
pub async fn run_with(
    config: Config,
    guests: impl FnOnce(HostGuests) -> Arc<dyn Guests>,
) -> anyhow::Result<()> {
    let label = config.node.label.clone();
    // From here on a signal is waited for: before, it would end the process where it stands.
    let mut signals = Signals::catch()?;
    let node = tokio::select! {
        node = Node::start(config, guests) => node?,
        () = signals.wait() => {
            tracing::info!("stopped before it served");
            return Ok(());
        }
    };
    let address = node.address;
    let streams = node.streams.map(tracing::field::display);
    tracing::info!(node = label, %address, streams, "serving");
    let mut misfit = node.misfit.clone();
    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        misfit = wait_for_misfit(&mut misfit) => Err(misfit),
    };
    tracing::info!("stopping");
    node.stop().await;
    tracing::info!("stopped");
    ended
}

async fn wait_for_misfit(misfit: &mut watch::Receiver<Option<String>>) -> anyhow::Error {
    match misfit.wait_for(Option::is_some).await {
        Ok(why) => anyhow::anyhow!("{}", why.as_deref().unwrap_or_default()),
        Err(_) => std::future::pending().await,
    }
}

impl Node {
    /// Starts a node; returns when it serves.
    pub async fn start(
        mut config: Config,
        guests: impl FnOnce(HostGuests) -> Arc<dyn Guests>,
    ) -> anyhow::Result<Node> {
        // Another part of the process, or another node of a test, may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        fit_descriptors(&mut config);
        let listener = TcpListener::bind(config.node.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.node.listen))?;
        let address = listener.local_addr()?;
        let streams = match config.node.stream_listen {
            Some(listen) => Some(
                TcpListener::bind(listen)
                    .await
                    .with_context(|| format!("cannot listen for streams on {listen}"))?,
            ),
            None => None,
        };
        let tls = config.tls.as_ref().map(tls_server).transpose()?;
        let clock = Arc::new(MedianClock::of(match config.node.dev {
            true => MachineClock::in_development(&config.node.data),
            false => MachineClock::default(),
        }));
        let Assembled {
            broker,
            cluster,
            misfit,
        } = assemble(&config, Arc::clone(&clock), guests).await?;
        let room = Room::new(config.limits.bodies_bytes_max);
        let calls = calls(&config, &broker, clock);
        let front = front(&config, &calls, room.clone());
        let stop = CancellationToken::new();
        let limits = listener::Limits {
            connections_max: config.limits.connections_max,
            head_timeout: config.limits.header_read,
            idle_timeout: config.limits.idle,
            write_timeout: config.limits.reply_write,
        };
        let connections = Arc::new(Semaphore::new(limits.connections_max));
        let metrics = broker.metrics.clone();
        let serving = tokio::spawn(listener::serve(
            listener,
            tls.clone().map(|tls| acceptor(tls, &[])),
            (limits, Arc::clone(&connections)),
            metrics.clone(),
            Http(front),
            stop.clone(),
        ));
        let streams_address = streams.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(url) = streams_address.and_then(|address| door_url(&config, address)) {
            broker.open_door(url);
        }
        let streaming = streams.map(|streams| {
            let door = Door::new(calls, room, &config.limits, stop.clone());
            tokio::spawn(listener::serve(
                streams,
                tls.map(|tls| acceptor(tls, &[b"h2"])),
                (limits, connections),
                metrics,
                Streams(door),
                stop.clone(),
            ))
        });
        Ok(Node {
            broker,
            cluster,
            misfit,
            serving,
            streaming,
            stop,
            address,
            streams: streams_address,
        })
    }

    /// Returns where the node listens for streams, if it does.
    pub fn streams(&self) -> Option<std::net::SocketAddr> {
        self.streams
    }

    /// Returns where the node listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Stops: those who wait are told "no message", what is in flight is finished, the store is closed.
    pub async fn stop(self) {
        self.broker.dismiss();
        self.stop.cancel();
        for listener in std::iter::once(self.serving).chain(self.streaming) {
            if let Err(error) = listener.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        self.broker.stop().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Returns the URL that clients reach the streaming door at, which listens at an address. One that listens at every address of
/// its machine has to be told which of them is meant.
fn door_url(config: &Config, address: std::net::SocketAddr) -> Option<String> {
    let scheme = match config.tls {
        Some(_) => "https",
        None => "http",
    };
    match &config.node.stream_announce {
        Some(told) => Some(format!("{scheme}://{told}")),
        None if address.ip().is_unspecified() => None,
        None => Some(format!("{scheme}://{address}")),
    }
}

async fn assemble(
    config: &Config,
    clock: Arc<MedianClock>,
    guests: impl FnOnce(HostGuests) -> Arc<dyn Guests>,
) -> anyhow::Result<Assembled> {
    let data = &config.node.data;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let store = open_store(config)?;
    let metrics = Metrics::new();
    store.observe_log(Arc::new(metrics.clone()));
    let mut groups = posthouse_replica::Config {
        cut_bytes: config.storage.cut_bytes,
        checkpoint_bytes: config.storage.checkpoint_bytes,
        ..posthouse_replica::Config::lone(config.node.sets)
    };
    let mut network: Arc<dyn Network> = Arc::new(Lone);
    let mut others: Arc<dyn Others> = Arc::new(Nobody);
    let cluster = match &config.cluster {
        Some(peers) => {
            let cluster = Cluster::open(config, peers, store.clone()).await?;
            let place = cluster.settle(entropy.as_ref(), &clock).await?;
            groups.replica = place.replica;
            groups.given = place.given;
            groups.held = Some(place.held);
            groups.founders = place.founders;
            network = Arc::new(cluster.network());
            others = cluster.others();
            Some(cluster)
        }
        None => {
            check_lone(&store)?;
            None
        }
    };
    let replica = groups.replica;
    let root = root_key(&config.keyring, data, entropy.as_ref())?;
    let root_check = root.check();
    let keyring = Arc::new(Keyring::new(root, Arc::clone(&entropy)));
    let host = open_host(config, &keyring, &(Arc::clone(&clock) as Arc<dyn Clock>))?;
    let events = Events::default();
    let told = Arc::new(events.clone());
    let groups = Groups::open(groups, store.clone(), network, clock.clone(), told)
        .await
        .context("the groups cannot be opened")?;
    match &cluster {
        Some(cluster) => cluster.take_groups(groups.clone()),
        None => tokio::time::timeout(READY, groups.wait_ready())
            .await
            .context("the groups did not become ready in time")?
            .context("the groups did not become ready")?,
    }
    let allowed = Allowed {
        inside: config.push.allow_private,
        networks: config.push.allow_networks.clone(),
    };
    let assembly = Assembly {
        groups,
        sets: config.node.sets,
        store,
        label: config.node.label.clone(),
        clock,
        replica,
        others,
        guests: guests(HostGuests(host)),
        keyring,
        entropy,
        components: Components::open(data.join("components")).context("the components' folder")?,
        egress: Egress::open(allowed, config.push.in_flight_max)?,
        metrics,
        waiters_max: config.limits.polling_waiters_max,
        pushes_max: config.push.in_flight_max,
        endpoint_pushes_max: config.push.per_endpoint_in_flight_max,
        explain: span(config.storage.explain),
        scrubbing: config.storage.scrubbing,
        breaking: config.plugins.breaking,
    };
    let broker = Broker::start(assembly, &events).context("the broker's threads")?;
    let builtins = match &config.plugins.builtin_dir {
        Some(folder) => Builtins::from_folder(folder)
            .with_context(|| format!("plugins.builtin_dir {}", folder.display()))?,
        None => Builtins::embedded(),
    };
    broker
        .keep_builtins(&builtins)
        .await
        .context("the built-in plugins cannot be kept")?;
    let (tell, misfit) = watch::channel(None);
    match &cluster {
        Some(cluster) => {
            cluster.take_broker(broker.clone());
            broker.while_running(cluster.follow(broker.directory.clone(), Arc::clone(&broker.clock)));
            let (settling, config, told) = (broker.clone(), config.clone(), tell.clone());
            broker.in_background(async move {
                if let Err(error) = settle_in(&settling, &config, root_check, &builtins).await {
                    told.send_replace(Some(format!("{error:#}")));
                }
            });
            broker.while_running(cluster.clone().announce());
            let dismissed = cluster.clone().dismissed(broker.directory.clone());
            broker.while_running(async move {
                tell.send_replace(Some(dismissed.await));
            });
        }
        None => {
            set_up(&broker, config, root_check, &builtins).await?;
            identify_lone(&broker)?;
        }
    }
    Ok(Assembled {
        broker,
        cluster,
        misfit,
    })
}

/// Checks that a data directory can be served without the other nodes of its cluster.
fn check_lone(store: &Store) -> anyhow::Result<()> {
    let lone = posthouse_replica::Config::lone(0).replica;
    let identity = store.identity().unwrap_or_default();
    match identity.replicas.iter().all(|(_, replica)| *replica == lone) {
        true => Ok(()),
        false => bail!(
            "this data directory is a node's of a cluster; give --node and --peers, or cluster.node and cluster.peers"
        ),
    }
}

/// Gives the directory of a node without peers an identity, with which others can join it one day.
fn identify_lone(broker: &Broker) -> anyhow::Result<()> {
    let founding = broker.directory.view(|directory| directory.founded().copied());
    let (None, Some(founding)) = (broker.store.identity(), founding) else {
        return Ok(());
    };
    let lone = broker.directory.replica();
    let sets = (0..founding.sets).map(|set| GroupId::of(SetId(set)));
    let groups = std::iter::once(GroupId::DIRECTORY).chain(sets);
    let identity = Identity {
        cluster: ClusterId(u128::from_be_bytes(founding.cluster)),
        node: 1,
        replicas: groups.map(|group| (group, lone)).collect(),
    };
    broker
        .store
        .set_identity(identity)
        .context("the data directory's identity")
}

/// Waits until the cluster is what it is to be: the directory's leader sees to that, the others wait for it.
///
/// # Errors
///
/// Says why this node does not belong to the cluster. Whatever may get better is waited for.
async fn settle_in(
    broker: &Broker,
    config: &Config,
    root_check: [u8; 32],
    builtins: &Builtins,
) -> anyhow::Result<()> {
    loop {
        let seen = broker.see_directory().await.is_ok();
        let founded = check_founding(broker, config, root_check)?;
        if seen && broker.directory.is_leader() {
            match set_up(broker, config, root_check, builtins).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the cluster is not set up yet"),
            }
        } else if seen && founded && broker.has_tenants() && broker.knows_nodes() {
            broker.learn_all();
            broker.settled();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(SETTLE_AGAIN) => {}
            () = broker.stopped() => return Ok(()),
        }
    }
}

/// Makes the cluster what it is to be.
async fn set_up(
    broker: &Broker,
    config: &Config,
    root_check: [u8; 32],
    builtins: &Builtins,
) -> anyhow::Result<()> {
    found(broker, config, root_check).await?;
    if let Some(cluster) = &config.cluster {
        broker
            .enroll(cluster)
            .await
            .context("the cluster's nodes cannot be recorded")?;
    }
    broker
        .install_builtins(builtins)
        .await
        .context("the built-in plugins cannot be installed")?;
    broker.finish_names().await.context("names were left half-way")?;
    broker.settled();
    Ok(())
}

fn open_store(config: &Config) -> anyhow::Result<Store> {
    let storage = posthouse_store::Config {
        memtable_bytes_max: usize::try_from(config.storage.memtable_bytes_max).unwrap_or(usize::MAX),
        reserve_bytes: config.storage.reserve_bytes,
        on_damage: match &config.cluster {
            // Others have what is lost.
            Some(_) => OnDamage::Tell,
            None => OnDamage::Refuse,
        },
        ..posthouse_store::Config::with_log_files_of(config.storage.wal_file_bytes)
    };
    let disk: Arc<dyn Disk> = match config.node.dev {
        true => disk::in_development(&config.node.data),
        false => Arc::new(RealDisk),
    };
    Store::open(&config.node.data, disk, storage)
        .with_context(|| format!("data directory {}", config.node.data.display()))
}

fn open_host(config: &Config, keyring: &Arc<Keyring>, clock: &Arc<dyn Clock>) -> anyhow::Result<Host> {
    let compiler = CompilerCommand::Child {
        program: std::env::current_exe().context("this program's own path")?,
        args: vec![COMPILE_COMMAND.into()],
    };
    let mut host = posthouse_host::Config::new(config.plugins.cache_dir.clone(), compiler);
    host.limits.cpu = config.plugins.call_cpu_max;
    host.threads = config.plugins.threads;
    host.memory_bytes_max = config.plugins.memory_bytes_max;
    {
        let clock = Arc::clone(clock);
        let lender = KeyringLender::new(Arc::clone(keyring), move || clock.wall());
        Host::open(host, Arc::new(lender))
    }
    .context("the plugin host cannot be opened")
}

/// Checks that this node belongs to the cluster, and returns whether there is one.
fn check_founding(broker: &Broker, config: &Config, root_check: [u8; 32]) -> anyhow::Result<bool> {
    match broker.directory.view(|directory| directory.founded().copied()) {
        Some(founding) if founding.root_check != root_check => {
            bail!(
                "the root key is not the one that this data directory was founded with; give that one in keyring.root_key_file"
            )
        }
        Some(founding) if founding.sets != config.node.sets => {
            bail!(
                "this data directory has {} sets; set node.sets to that",
                founding.sets
            )
        }
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

/// Says what the cluster is when it is new, and sees to its root account.
async fn found(broker: &Broker, config: &Config, root_check: [u8; 32]) -> anyhow::Result<()> {
    if !check_founding(broker, config, root_check)? {
        let command = DirectoryCommand::Found {
            cluster: broker.cluster_id(),
            sets: config.node.sets,
            root_check,
        };
        broker.direct(command, Kind::Queue).await?;
    }
    broker.learn_all();
    let tenant = if config.node.dev { DEV_TENANT } else { ROOT_TENANT };
    match &config.root {
        Some(account) => ensure_root(broker, tenant, account).await,
        None if broker
            .directory
            .view(|directory| directory.tenants().next().is_none()) =>
        {
            bail!(
                "a new cluster needs a root account; set POSTHOUSE_ROOT_ID and POSTHOUSE_ROOT_KEY, or use --dev"
            )
        }
        None => Ok(()),
    }
}

async fn ensure_root(broker: &Broker, tenant: &str, account: &RootAccount) -> anyhow::Result<()> {
    let name = Name::parse(tenant).expect("the constants are names");
    let known: Option<TenantId> = broker
        .directory
        .view(|directory| directory.tenant_named(&name).map(|tenant| tenant.tenant));
    let tenant = match known {
        Some(tenant) => tenant,
        None => {
            let command = DirectoryCommand::CreateTenant {
                name,
                quotas: Quotas::default(),
            };
            match broker.direct(command, Kind::Queue).await? {
                DirectoryReply::Tenant(tenant) => tenant,
                other => bail!("the directory answered {other:?} to a new tenant"),
            }
        }
    };
    match broker.signatory(&account.id) {
        Some(known) if known.tenant == tenant && known.secret.expose() == account.secret.as_bytes() => Ok(()),
        Some(known) if known.tenant == tenant => {
            let command = DirectoryCommand::RemoveAccessKey {
                id: account.id.clone(),
            };
            broker.direct(command, Kind::Queue).await?;
            broker
                .add_access_key(tenant, &account.id, account.secret.as_bytes(), true)
                .await?;
            Ok(())
        }
        Some(_) => bail!("POSTHOUSE_ROOT_ID names a key of another tenant"),
        None => {
            broker
                .add_access_key(tenant, &account.id, account.secret.as_bytes(), true)
                .await?;
            Ok(())
        }
    }
}

/// Reads the root key, or makes one where none has been.
fn root_key(config: &KeyringConfig, data: &Path, entropy: &dyn Entropy) -> anyhow::Result<RootKey> {
    if let Some(path) = &config.root_key_file {
        let bytes = std::fs::read(path)
            .with_context(|| format!("keyring.root_key_file {} cannot be read", path.display()))?;
        return RootKey::parse(&bytes).with_context(|| format!("keyring.root_key_file {}", path.display()));
    }
    own_root_key(&data.join(ROOT_KEY_FILE), entropy)
}

/// Reads the root key that this node keeps, or makes one where none has been.
pub(crate) fn own_root_key(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<RootKey> {
    match std::fs::read(path) {
        Ok(bytes) => RootKey::parse(&bytes).with_context(|| format!("root key {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = RootKey::generate(entropy);
            take_root_key(path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("root key {}", path.display())),
    }
}

/// Reads the root key that this node keeps, as it is told to another.
pub(crate) fn shared_root_key(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("root key {}", path.display()))?;
    let key = RootKey::parse(&bytes).with_context(|| format!("root key {}", path.display()))?;
    Ok(String::from_utf8_lossy(key.to_hex().expose()).into_owned())
}

/// Keeps a root key, in place of any that was made before there was a cluster.
pub(crate) fn take_root_key(path: &Path, key: &RootKey) -> anyhow::Result<()> {
    write_secret(path, key.to_hex().expose()).with_context(|| format!("root key {}", path.display()))
}

/// Writes a file that only its owner may read: whole and durable, or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension("draft");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

fn calls(config: &Config, broker: &Broker, clock: Arc<dyn Clock>) -> Calls {
    let api = cmq::Config {
        skew: span(config.cmq.clock_skew_max),
        hosts: config.cmq.accepted_hosts.clone(),
        delay_max: span(config.cmq.delay_max),
        queue_json: match config.cmq.strict_queue_format {
            true => cmq::QueueJson::Refused,
            false => cmq::QueueJson::Simplified,
        },
    };
    Calls::new(broker.clone(), api, clock, config.cmq.authentication.clone())
}

fn front(config: &Config, calls: &Calls, room: Room) -> Front {
    let broker = calls.broker.clone();
    let cmq = Cmq::new(calls.clone(), crate::cmq::first_request(calls.clock.wall()));
    let admin = crate::administration::router(broker.clone(), config);
    let bounds = Bounds {
        body_bytes_max: config.limits.body_bytes_max,
        body_timeout: config.limits.body_read,
        room,
    };
    Front::new(broker, cmq, admin, bounds)
}

/// Lets there be only as many connections and pushes at once as the system has descriptors for.
fn fit_descriptors(config: &mut Config) {
    let wished = Sockets {
        connections: config.limits.connections_max,
        pushes: config.push.in_flight_max,
    };
    let limit = descriptors::raise_limit();
    let sockets = wished.within(limit);
    if sockets != wished {
        tracing::warn!(
            open_files_max = limit,
            connections_max = sockets.connections,
            pushes_max = sockets.pushes,
            "the limit on open files (ulimit -n) is too low for limits.connections_max and push.in_flight_max"
        );
    }
    config.limits.connections_max = sockets.connections;
    config.push.in_flight_max = sockets.pushes;
}

fn tls_server(config: &TlsConfig) -> anyhow::Result<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("tls.certificate {}", config.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .with_context(|| format!("tls.key {}", config.key.display()))?;
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("tls.certificate and tls.key do not go together")
}

/// Returns what accepts connections under a certificate, for those who speak one of these protocols; none is any.
fn acceptor(mut server: rustls::ServerConfig, protocols: &[&[u8]]) -> TlsAcceptor {
    server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(server))
}

fn span(duration: Duration) -> Span {
    Span::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

// === impl Signals ===

impl Signals {
    /// Catches them from now on.
    fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
