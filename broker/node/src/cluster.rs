//! A node among others: its identity, its connections to them, and what it answers them.

mod announcing;
mod founding;
mod joining;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use posthouse_keyring::{Entropy, RootKey};
use posthouse_model::{Directory, DiskId, NodeId, NodeState, ReplicaId, SetId};
use posthouse_replica::{Answerer, Group, Hello, PeerNetwork, PeerTls};
use posthouse_replica::{Clock, GroupName, Groups, NetworkFault, PeerFault, SystemClock};
use posthouse_store::{ClusterId, GroupId, Identity, Store};
use posthouse_wire::Kind as WireKind;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::broker::{Broker, Others};
use crate::clock::{MedianClock, Reading};
use crate::config::{ClusterConfig, Config};
use founding::{Standing, Step};
use joining::{Admission, Application, Verdict};
use roster::Roster;

/// The most nodes that found a cluster.
const FOUNDERS_MAX: usize = 5;
/// How long another node has to say who it is.
const STANDING_WITHIN: Duration = Duration::from_secs(2);
/// How long a node waits before it looks at the others again, as long as there is no cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a cluster has to take a node in: its directory has to find its leader, perhaps.
const ADMITTED_WITHIN: Duration = Duration::from_secs(15);
/// How often a node makes sure that it still is one of the cluster.
const LOOK_AT_SELF: Duration = Duration::from_secs(5);

/// A node's place in its cluster. Clones are handles to the same one.
#[derive(Clone)]
pub struct Cluster {
    network: PeerNetwork,
    shared: Arc<Shared>,
    config: ClusterConfig,
}

/// What is known of the cluster when the groups are opened.
pub struct Place {
    /// This replica, in the groups that `given` does not name.
    pub replica: ReplicaId,
    /// This replica in the groups where it got an id of its own.
    pub given: BTreeMap<GroupName, ReplicaId>,
    /// The sets that this node has replicas of.
    pub held: BTreeSet<SetId>,
    /// The voters that empty groups begin with, on the node that founds.
    pub founders: Option<BTreeSet<ReplicaId>>,
}

/// What answers other nodes.
struct Shared {
    store: Store,
    sets: u8,
    node: u16,
    data: PathBuf,
    root_key_file: PathBuf,
    /// Whether nodes get the root key from each other.
    shares_root_key: bool,
    /// The other nodes, by what they are known by.
    others: Mutex<Vec<ReplicaId>>,
    /// Told when another node gave this one its identity.
    founded: Notify,
    groups: OnceLock<Groups>,
    broker: OnceLock<Broker>,
}

/// What one node asks another, beside what replicas say to each other.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Something for the broker.
    Call(Bytes),
    /// Who it is.
    Standing,
    /// To take an identity.
    Join(Identification),
    /// To be taken in.
    Admit(Application),
    /// What is known of the replicas that a disk holds.
    Judge(Vec<(Option<SetId>, ReplicaId)>),
    /// To let all know that it listens here.
    Locate(String),
}

/// What the other answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Call(Bytes),
    Standing(Standing),
    Joined,
    Refused(String),
    Admitted(Admission),
    Judged(Verdict),
    Located,
}

/// An identity, given by the node that founds.
#[derive(Debug, Serialize, Deserialize)]
struct Identification {
    cluster: [u8; 16],
    /// The cluster's root key, unless each node has it in a file of its own.
    root_key: Option<String>,
}

/// The other nodes, as the broker asks them.
struct PeerNodes {
    network: PeerNetwork,
    shared: Arc<Shared>,
}

// === impl Cluster ===

impl Cluster {
    /// Begins to listen to the others.
    pub async fn open(config: &Config, cluster: &ClusterConfig, store: Store) -> anyhow::Result<Cluster> {
        let listener = TcpListener::bind(cluster.listen)
            .await
            .with_context(|| format!("cannot listen to peers on {}", cluster.listen))?;
        let tls = cluster.tls.as_ref();
        let tls = tls.map(|tls| PeerTls::open(&tls.certificate, &tls.key, &tls.ca));
        let tls = tls
            .transpose()
            .context("cluster.certificate, cluster.key and cluster.ca")?;
        let peers = cluster.peers.iter().filter(|(node, _)| **node != cluster.node);
        let others = peers.clone().map(|(node, _)| founder(*node));
        let shared = Arc::new(Shared {
            sets: config.node.sets,
            node: cluster.node,
            data: config.node.data.clone(),
            root_key_file: config.node.data.join(crate::serve::ROOT_KEY_FILE),
            shares_root_key: config.keyring.root_key_file.is_none(),
            others: Mutex::new(others.collect()),
            founded: Notify::new(),
            groups: OnceLock::new(),
            broker: OnceLock::new(),
            store,
        });
        let network = PeerNetwork::new(shared.hello(), tls);
        for (node, address) in peers {
            network.know(founder(*node), address.clone());
        }
        network.serve(listener, Arc::new(Answers(Arc::clone(&shared))));
        Ok(Cluster {
            network,
            shared,
            config: cluster.clone(),
        })
    }

    /// Waits until this node has an identity: founds the cluster with the others if that is its part, or has one that
    /// is there take it in.
    pub async fn settle(&self, entropy: &dyn Entropy, clock: &MedianClock) -> anyhow::Result<Place> {
        let founders: BTreeSet<u16> = self.config.peers.keys().copied().collect();
        let mut disk = DiskId::default();
        entropy.fill(&mut disk.0);
        let mut waits = false;
        loop {
            let own = self.shared.standing();
            let others = self.standings(clock).await;
            match founding::next_step(&own, &others, &founders) {
                Step::Begin => {
                    self.check_own_replicas().await?;
                    if own.empty && self.shared.replica() == Some(founder(self.config.node)) {
                        self.announced()?;
                    }
                    return self.place(None);
                }
                Step::Join => {
                    if self.ask_in(disk).await? {
                        return self.place(None);
                    }
                }
                Step::Found(_) if founders.len() > FOUNDERS_MAX || founders.len().is_multiple_of(2) => bail!(
                    "{} nodes do not found a cluster well; give 1, 3 or 5 of them in cluster.peers: of two, neither may \
                     fail. Others can join it afterwards",
                    founders.len()
                ),
                Step::Found(cluster) => {
                    let cluster = cluster.unwrap_or_else(|| {
                        let mut cluster = [0; 16];
                        entropy.fill(&mut cluster);
                        cluster
                    });
                    if self.found(cluster, entropy).await? {
                        let founders = founders.iter().map(|node| founder(*node)).collect();
                        self.announced()?;
                        return self.place(Some(founders));
                    }
                }
                Step::Stranger => bail!(
                    "the other nodes are not of the cluster that this data directory is of; give it the directory that \
                     belongs there, or an empty one, and the cluster takes the node in. The directory of a node that was \
                     run alone can be of one once it was run alone by this version"
                ),
                Step::Wait if !waits => {
                    waits = true;
                    tracing::info!("waiting for the other nodes");
                }
                Step::Wait => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.shared.founded.notified() => {}
            }
        }
    }

    /// Returns the network for the groups.
    pub fn network(&self) -> PeerNetwork {
        self.network.clone()
    }

    /// Returns the other nodes, as the broker asks them.
    pub fn others(&self) -> Arc<dyn Others> {
        Arc::new(PeerNodes {
            network: self.network.clone(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Returns what keeps the connections to those nodes that the directory says there are, until it is dropped.
    pub fn follow(
        &self,
        directory: Group<Directory>,
        clock: Arc<MedianClock>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (network, shared) = (self.network.clone(), Arc::clone(&self.shared));
        let told = self.config.peers.clone();
        async move {
            let mut applied = directory.applied_changes();
            let mut seen = None;
            loop {
                let changed = directory.view(Directory::nodes_changed);
                if seen != Some(changed) {
                    seen = Some(changed);
                    if let Some(roster) = directory.view(|directory| Roster::of(directory, &told)) {
                        shared.turn_to(roster, directory.replica(), &network, &clock);
                    }
                }
                if applied.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits until this node is found to be none of the cluster's any more, and returns why. `directory` is what it sees
    /// of the directory, which may be less than the others do.
    pub async fn dismissed(self, directory: Group<Directory>) -> String {
        loop {
            tokio::time::sleep(LOOK_AT_SELF).await;
            let own = self.shared.own_replicas();
            if let Verdict::Discarded(replica) = directory.view(|directory| judge(directory, &own)) {
                return discarded_text(replica);
            }
            // Who is a member no longer is told nothing any more: not even that.
            let node = NodeId(self.config.node);
            let stays = directory.view(|directory| {
                directory
                    .node(node)
                    .is_some_and(|node| node.state == NodeState::Active)
            });
            if (directory.leader().is_none() || !stays)
                && let Err(error) = self.check_own_replicas().await
            {
                return error.to_string();
            }
        }
    }

    /// Has the groups answer other nodes from now on.
    pub fn take_groups(&self, groups: Groups) {
        let _ = self.shared.groups.set(groups);
    }

    /// Has the broker answer other nodes from now on.
    pub fn take_broker(&self, broker: Broker) {
        let _ = self.shared.broker.set(broker);
    }

    /// Closes the connections.
    pub async fn stop(&self) {
        self.network.stop().await;
    }

    fn place(&self, founders: Option<BTreeSet<ReplicaId>>) -> anyhow::Result<Place> {
        self.network.set_hello(self.shared.hello());
        let replica = self
            .shared
            .replica()
            .context("the data directory has no identity")?;
        let own = self.shared.own_replicas();
        let held = own.iter().filter_map(|(set, _)| *set).collect();
        let given = own.into_iter().filter(|(_, given)| *given != replica);
        Ok(Place {
            replica,
            held,
            given: given
                .map(|(set, given)| (set.map_or(GroupName::Directory, GroupName::Set), given))
                .collect(),
            founders,
        })
    }

    /// Asks the others whether the replicas on this disk may go on.
    ///
    /// # Errors
    ///
    /// When one of them was taken out of its group: it must not vote again.
    async fn check_own_replicas(&self) -> anyhow::Result<()> {
        let own = self.shared.own_replicas();
        let asked = self.other_addresses().map(|(_, address)| {
            let request = Request::Judge(own.clone());
            async move { self.ask(address, &request, STANDING_WITHIN).await }
        });
        for reply in join_all(asked).await {
            if let Some(Reply::Judged(Verdict::Discarded(replica))) = reply {
                bail!("{}", discarded_text(replica));
            }
        }
        Ok(())
    }

    /// Asks one after the other to be taken in; returns whether this node was.
    async fn ask_in(&self, disk: DiskId) -> anyhow::Result<bool> {
        let application = Application {
            node: NodeId(self.config.node),
            address: self.config.peers[&self.config.node].clone(),
            disk,
            sets: self.shared.sets,
        };
        for (node, address) in self.other_addresses() {
            let request = Request::Admit(application.clone());
            match self.ask(address, &request, ADMITTED_WITHIN).await {
                Some(Reply::Admitted(admission)) => {
                    self.shared.take_in(admission)?;
                    tracing::info!(by = node, "taken in by the cluster");
                    return Ok(true);
                }
                Some(Reply::Refused(why)) => tracing::warn!(node, %why, "not taken in by the cluster"),
                Some(_) | None => {}
            }
        }
        Ok(false)
    }

    /// Gives the others and then this node their identity; returns whether all have it.
    async fn found(&self, cluster: [u8; 16], entropy: &dyn Entropy) -> anyhow::Result<bool> {
        let root_key = match self.shared.shares_root_key {
            true => Some(crate::serve::own_root_key(&self.shared.root_key_file, entropy)?.to_hex()),
            false => None,
        };
        let asked = self.other_addresses().map(|(node, address)| {
            let identification = Identification {
                cluster,
                root_key: root_key
                    .as_ref()
                    .map(|key| String::from_utf8_lossy(key.expose()).into_owned()),
            };
            async move {
                match self
                    .ask(address, &Request::Join(identification), STANDING_WITHIN)
                    .await
                {
                    Some(Reply::Joined) => true,
                    Some(Reply::Refused(why)) => {
                        tracing::warn!(node, %why, "a node does not take its identity");
                        false
                    }
                    Some(_) | None => false,
                }
            }
        });
        if !join_all(asked).await.into_iter().all(|joined| joined) {
            return Ok(false);
        }
        self.shared.identify(cluster).context("this node's identity")?;
        Ok(true)
    }

    async fn standings(&self, clock: &MedianClock) -> BTreeMap<u16, Standing> {
        let asked = self.other_addresses().map(|(_, address)| async move {
            let asked = clock.monotonic();
            let Some(Reply::Standing(standing)) =
                self.ask(address, &Request::Standing, STANDING_WITHIN).await
            else {
                return None;
            };
            let reading = Reading {
                shown: standing.wall,
                asked,
                answered: clock.monotonic(),
            };
            clock.learn(founder(standing.node), reading);
            Some((standing.node, standing))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask(&self, address: &str, request: &Request, within: Duration) -> Option<Reply> {
        let request = posthouse_wire::encode(WireKind::Peer, request);
        let asked = self.network.ask_address(address.to_owned(), request, within);
        let (_, answer) = asked.await.ok()?;
        posthouse_wire::decode(WireKind::Peer, &answer).ok()
    }

    fn other_addresses(&self) -> impl Iterator<Item = (u16, &str)> {
        let others = self
            .config
            .peers
            .iter()
            .filter(|(node, _)| **node != self.config.node);
        others.map(|(node, address)| (*node, address.as_str()))
    }
}

// === impl Shared ===

impl Shared {
    fn hello(&self) -> Hello {
        let identity = self.store.identity();
        Hello {
            cluster: identity.map(|identity| identity.cluster.0.to_be_bytes()),
            replica: self.replica(),
            node: self.node,
        }
    }

    /// Returns what the others know this node by: its replica of the directory.
    fn replica(&self) -> Option<ReplicaId> {
        let identity = self.store.identity()?;
        let mut replicas = identity.replicas.iter();
        let (_, replica) = replicas.find(|(group, _)| *group == GroupId::DIRECTORY)?;
        Some(*replica)
    }

    /// Returns the replicas on this disk; no set is the directory.
    fn own_replicas(&self) -> Vec<(Option<SetId>, ReplicaId)> {
        let identity = self.store.identity().unwrap_or_default();
        let replicas = identity.replicas.into_iter();
        replicas.map(|(group, replica)| (group.set(), replica)).collect()
    }

    /// Turns to the nodes that the directory says there are.
    fn turn_to(&self, roster: Roster, own: ReplicaId, network: &PeerNetwork, clock: &MedianClock) {
        let Roster { mut addresses, hosts } = roster;
        addresses.remove(&own);
        for known in network.known() {
            if !addresses.contains_key(&known) {
                network.forget(known);
            }
        }
        *self.others.lock() = addresses.keys().copied().collect();
        clock.keep(|replica| addresses.contains_key(&replica));
        for (replica, addresses) in addresses {
            network.know_at(replica, addresses);
        }
        network.set_hosts(hosts);
    }

    fn standing(&self) -> Standing {
        Standing {
            node: self.node,
            wall: SystemClock::new().wall(),
            cluster: self
                .store
                .identity()
                .map(|identity| identity.cluster.0.to_be_bytes()),
            empty: self.groups().all(|group| {
                let state = self.store.log(group).state();
                state.vote.is_none() && state.last.is_none()
            }),
        }
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> {
        let sets = (0..self.sets).map(|set| GroupId::of(SetId(set)));
        std::iter::once(GroupId::DIRECTORY).chain(sets)
    }

    /// Takes an identity, unless the directory has another or is no longer empty.
    fn join(&self, given: &Identification) -> anyhow::Result<()> {
        let standing = self.standing();
        if standing.cluster.is_some_and(|cluster| cluster != given.cluster) || !standing.empty {
            bail!("the directory belongs to a cluster");
        }
        if let Some(key) = &given.root_key {
            crate::serve::take_root_key(&self.root_key_file, &RootKey::parse(key.as_bytes())?)?;
        }
        self.identify(given.cluster)?;
        self.founded.notify_one();
        Ok(())
    }

    /// Takes the identity that a cluster gave this node.
    fn take_in(&self, admission: Admission) -> anyhow::Result<()> {
        match admission.root_key {
            Some(key) if self.shares_root_key => {
                crate::serve::take_root_key(&self.root_key_file, &RootKey::parse(key.as_bytes())?)?;
            }
            None if self.shares_root_key => bail!(
                "the cluster's nodes have the root key in files of their own; give it in keyring.root_key_file"
            ),
            Some(_) | None => {}
        }
        let replicas = admission.replicas.into_iter();
        let replicas = replicas.map(|(set, replica)| (set.map_or(GroupId::DIRECTORY, GroupId::of), replica));
        self.set_identity(admission.cluster, replicas.collect())
    }

    fn identify(&self, cluster: [u8; 16]) -> anyhow::Result<()> {
        let replica = founder(self.node);
        self.set_identity(cluster, self.groups().map(|group| (group, replica)).collect())
    }

    fn set_identity(&self, cluster: [u8; 16], replicas: Vec<(GroupId, ReplicaId)>) -> anyhow::Result<()> {
        let identity = Identity {
            cluster: ClusterId(u128::from_be_bytes(cluster)),
            node: u32::from(self.node),
            replicas,
        };
        if self.store.identity().as_ref() == Some(&identity) {
            return Ok(());
        }
        Ok(self.store.set_identity(identity)?)
    }

    /// Has the directory take another node in, and returns who that is.
    async fn admit(&self, application: Application) -> anyhow::Result<Admission> {
        let (Some(broker), Some(identity)) = (self.broker.get(), self.store.identity()) else {
            bail!("this node is starting");
        };
        let Application {
            node,
            address,
            disk,
            sets,
        } = application;
        if sets != self.sets {
            bail!(
                "this cluster has {} sets, and not {sets}; set node.sets to that",
                self.sets
            );
        }
        let replicas = broker.admit(node, address, disk).await?;
        let root_key = match self.shares_root_key {
            true => Some(crate::serve::shared_root_key(&self.root_key_file)?),
            false => None,
        };
        Ok(Admission {
            cluster: identity.cluster.0.to_be_bytes(),
            root_key,
            replicas: replicas
                .into_iter()
                .map(|record| (record.set, record.replica))
                .collect(),
        })
    }

    async fn reply(self: Arc<Self>, from: Hello, request: Bytes) -> Reply {
        match posthouse_wire::decode(WireKind::Peer, &request) {
            Ok(Request::Call(call)) => match self.broker.get() {
                Some(broker) => Reply::Call(broker.answer(call).await),
                None => Reply::Refused("this node is starting".to_owned()),
            },
            Ok(Request::Standing) => Reply::Standing(self.standing()),
            Ok(Request::Admit(application)) => match self.admit(application).await {
                Ok(admission) => Reply::Admitted(admission),
                Err(error) => Reply::Refused(format!("{error:#}")),
            },
            Ok(Request::Judge(replicas)) => match self.groups.get() {
                Some(groups) => Reply::Judged(groups.directory.view(|directory| judge(directory, &replicas))),
                None => Reply::Refused("this node is starting".to_owned()),
            },
            Ok(Request::Locate(address)) => match self.locate(from, address).await {
                Ok(()) => Reply::Located,
                Err(error) => Reply::Refused(format!("{error:#}")),
            },
            Ok(Request::Join(given)) => {
                let joined = tokio::task::spawn_blocking(move || self.join(&given)).await;
                match joined {
                    Ok(Ok(())) => Reply::Joined,
                    Ok(Err(error)) => Reply::Refused(format!("{error:#}")),
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            Err(error) => Reply::Refused(format!("unreadable: {error}")),
        }
    }
}

/// What answers the connections.
struct Answers(Arc<Shared>);

impl Answerer for Answers {
    fn group(&self, group: GroupName, frame: Bytes) -> BoxFuture<'static, Result<Bytes, PeerFault>> {
        let shared = Arc::clone(&self.0);
        async move {
            match shared.groups.get() {
                Some(groups) => groups.answer(group, frame).await,
                None => Err(PeerFault::NoGroup(group)),
            }
        }
        .boxed()
    }

    fn request(&self, from: Hello, request: Bytes) -> BoxFuture<'static, Bytes> {
        let shared = Arc::clone(&self.0);
        async move { posthouse_wire::encode(WireKind::Peer, &shared.reply(from, request).await) }.boxed()
    }
}

impl Others for PeerNodes {
    fn ask(
        &self,
        to: ReplicaId,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let request = posthouse_wire::encode(WireKind::Peer, &Request::Call(request));
        let asked = self.network.ask(to, request, within);
        async move {
            match posthouse_wire::decode(WireKind::Peer, &asked.await?) {
                Ok(Reply::Call(answer)) => Ok(answer),
                // It has not got so far as to do anything.
                Ok(Reply::Refused(_)) => Err(NetworkFault::Unreachable(to)),
                Ok(
                    Reply::Standing(_)
                    | Reply::Joined
                    | Reply::Admitted(_)
                    | Reply::Judged(_)
                    | Reply::Located,
                )
                | Err(_) => Err(NetworkFault::NoAnswer("an answer to another question".to_owned())),
            }
        }
        .boxed()
    }

    fn all(&self) -> Vec<ReplicaId> {
        self.shared.others.lock().clone()
    }
}

/// Returns what a directory knows of replicas on a disk.
fn judge(directory: &Directory, replicas: &[(Option<SetId>, ReplicaId)]) -> Verdict {
    // What was moved to another node may go before its node has let go of it; without the directory there is no node.
    let discarded = replicas
        .iter()
        .find(|(set, replica)| set.is_none() && directory.is_discarded(*set, *replica));
    match discarded {
        Some((_, replica)) => Verdict::Discarded(*replica),
        None => Verdict::Fine,
    }
}

fn discarded_text(replica: ReplicaId) -> String {
    format!(
        "replica {replica}, which this data directory holds, was taken out of the cluster and must not vote again; give the \
         node an empty directory, and the cluster takes it in anew"
    )
}

/// Returns the replica of a node that founds the cluster: its number. Later ones get theirs from the directory.
fn founder(node: u16) -> ReplicaId {
    ReplicaId(u64::from(node))
}
