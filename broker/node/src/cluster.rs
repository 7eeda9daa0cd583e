//! A node among others: its identity, its connections to them, and what it answers them.

mod founding;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use posthouse_keyring::{Entropy, RootKey};
use posthouse_model::{ReplicaId, SetId};
use posthouse_replica::{Answerer, Hello, PeerNetwork, PeerTls};
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

/// How long another node has to say who it is.
const STANDING_WITHIN: Duration = Duration::from_secs(2);
/// How long a node waits before it looks at the others again, as long as there is no cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A node's place in its cluster.
pub struct Cluster {
    network: PeerNetwork,
    shared: Arc<Shared>,
    config: ClusterConfig,
}

/// What is known of the cluster when the groups are opened.
pub struct Place {
    /// This replica.
    pub replica: ReplicaId,
    /// The voters that empty groups begin with, on the node that founds.
    pub founders: Option<BTreeSet<ReplicaId>>,
}

/// What answers other nodes.
struct Shared {
    store: Store,
    sets: u8,
    node: u16,
    root_key_file: PathBuf,
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
}

/// What the other answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Call(Bytes),
    Standing(Standing),
    Joined,
    Refused(String),
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
    replicas: Vec<ReplicaId>,
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
        let shared = Arc::new(Shared {
            sets: config.node.sets,
            node: cluster.node,
            root_key_file: config.node.data.join(crate::serve::ROOT_KEY_FILE),
            founded: Notify::new(),
            groups: OnceLock::new(),
            broker: OnceLock::new(),
            store,
        });
        let network = PeerNetwork::new(shared.hello(), tls);
        for (node, address) in &cluster.peers {
            if *node != cluster.node {
                network.know(founder(*node), address.clone());
            }
        }
        network.serve(listener, Arc::new(Answers(Arc::clone(&shared))));
        Ok(Cluster {
            network,
            shared,
            config: cluster.clone(),
        })
    }

    /// Waits until this node has an identity, and founds the cluster with the others if that is its part.
    pub async fn settle(
        &self,
        entropy: &dyn Entropy,
        shares_root_key: bool,
        clock: &MedianClock,
    ) -> anyhow::Result<Place> {
        let founders: BTreeSet<u16> = self.config.peers.keys().copied().collect();
        let mut waits = false;
        loop {
            let own = self.shared.standing();
            let others = self.standings(clock).await;
            match founding::next_step(&own, &others, &founders) {
                Step::Begin => return self.place(None),
                Step::Found(cluster) => {
                    let cluster = cluster.unwrap_or_else(|| {
                        let mut cluster = [0; 16];
                        entropy.fill(&mut cluster);
                        cluster
                    });
                    if self.found(cluster, entropy, shares_root_key).await? {
                        let founders = founders.iter().map(|node| founder(*node)).collect();
                        return self.place(Some(founders));
                    }
                }
                Step::Stranger => bail!(
                    "the other nodes are a cluster that this data directory is not of; give it the directory that belongs \
                     there, or give the node a number and an empty directory of its own and have the cluster take it in"
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
        let others = self.config.peers.keys().filter(|node| **node != self.config.node);
        Arc::new(PeerNodes {
            network: self.network.clone(),
            replicas: others.map(|node| founder(*node)).collect(),
        })
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
        Ok(Place { replica, founders })
    }

    /// Gives the others and then this node their identity; returns whether all have it.
    async fn found(
        &self,
        cluster: [u8; 16],
        entropy: &dyn Entropy,
        shares_root_key: bool,
    ) -> anyhow::Result<bool> {
        let root_key = match shares_root_key {
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
                match self.ask(address, &Request::Join(identification)).await {
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
            let Some(Reply::Standing(standing)) = self.ask(address, &Request::Standing).await else {
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

    async fn ask(&self, address: &str, request: &Request) -> Option<Reply> {
        let request = posthouse_wire::encode(WireKind::Peer, request);
        let asked = self
            .network
            .ask_address(address.to_owned(), request, STANDING_WITHIN)
            .await;
        let (_, answer) = asked.ok()?;
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

    fn replica(&self) -> Option<ReplicaId> {
        let identity = self.store.identity()?;
        let (_, replica) = identity.replicas.first()?;
        Some(*replica)
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

    fn identify(&self, cluster: [u8; 16]) -> anyhow::Result<()> {
        let replica = founder(self.node);
        let identity = Identity {
            cluster: ClusterId(u128::from_be_bytes(cluster)),
            node: u32::from(self.node),
            replicas: self.groups().map(|group| (group, replica)).collect(),
        };
        if self.store.identity().as_ref() == Some(&identity) {
            return Ok(());
        }
        Ok(self.store.set_identity(identity)?)
    }

    async fn reply(self: Arc<Self>, request: Bytes) -> Reply {
        match posthouse_wire::decode(WireKind::Peer, &request) {
            Ok(Request::Call(call)) => match self.broker.get() {
                Some(broker) => Reply::Call(broker.answer(call).await),
                None => Reply::Refused("this node is starting".to_owned()),
            },
            Ok(Request::Standing) => Reply::Standing(self.standing()),
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

    fn request(&self, _from: Hello, request: Bytes) -> BoxFuture<'static, Bytes> {
        let shared = Arc::clone(&self.0);
        async move { posthouse_wire::encode(WireKind::Peer, &shared.reply(request).await) }.boxed()
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
                Ok(Reply::Standing(_) | Reply::Joined) | Err(_) => {
                    Err(NetworkFault::NoAnswer("an answer to another question".to_owned()))
                }
            }
        }
        .boxed()
    }

    fn all(&self) -> Vec<ReplicaId> {
        self.replicas.clone()
    }
}

/// Returns the replica of a node that founds the cluster: its number. Later ones get theirs from the directory.
fn founder(node: u16) -> ReplicaId {
    ReplicaId(u64::from(node))
}
