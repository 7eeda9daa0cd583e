//! The broker: what every protocol asks and every background task works with.
//!
//! A [`Broker`] is a handle on the node's groups, store, plugin host and keyring. Its methods are the service: they
//! resolve names, let plugins decide, propose commands and read bodies. It knows no protocol; `cmq` and
//! `administration` translate.

mod balance;
mod breaker;
mod components;
mod copying;
mod decide;
mod deciding;
mod delivery;
mod doors;
mod error;
mod events;
mod held;
mod history;
mod holding;
mod inquiry;
mod keys;
mod kv;
mod listings;
mod names;
mod nodes;
mod outbox;
mod plugin_logs;
mod plugins;
mod preparing;
mod queues;
mod reach;
mod reconcile;
mod recorder;
mod redrive;
mod report;
mod scrub;
mod topics;
mod trials;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use posthouse_keyring::{Entropy, Keyring};
use posthouse_model::{
    Definition, Directory, Incarnation, Kind, Name, QueueAttributes, ReplicaId, SetId, Span, TenantId,
};
use posthouse_replica::{Fault, Group, Groups, Machine, Reason};
use posthouse_store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::clock::MedianClock;
use crate::egress::Egress;
use crate::guests::Guests;
use crate::metrics::{Metrics, StoreFigures};
use crate::waiters::Waiters;

use breaker::Breaker;
pub use breaker::Breaking;
pub use components::{Builtins, Components};
pub use copying::{COPY_MAX, Copied, CopyWish};
pub use error::{BrokerError, kind_word, world_word};
pub use events::Events;
pub use held::Seen;
pub use history::{PlaceStay, Stay, Trace, Visit};
pub use keys::Signatory;
pub use kv::KeptWanted;
pub use listings::{Listed, Progress};
pub use names::Resolved;
pub use plugin_logs::{LinesOf, LinesWanted, WrittenLevel, WrittenLine};
pub use plugins::PluginOf;
pub use queues::{Content, LeaseChange, Leases, Received, Reception, Wish};
pub use reach::{Nobody, Others};
pub use recorder::{
    RECORDED_CALLS_MAX, RECORDING_SECONDS_MAX, Recorded, RecordedCall, RecordedOn, RecordingBounds,
};
pub use redrive::{REDRIVE_MAX, RedriveWish, Redriven};
pub use report::{DamageReport, GroupReport, NodeReport};
pub use scrub::Scrubbing;
pub use topics::Draft;
pub use trials::{Sample, TrialFigures};

use components::Awaited;
use deciding::Deciding;
use delivery::Deliveries;
use doors::Doors;
use held::Excerpts;
use inquiry::Inquiry;
use keys::Secrets;
use kv::KvTurns;
use listings::Listings;
use preparing::Loading;
use reach::Session;
use recorder::Recorder;
use scrub::Scrubs;
use trials::Trials;

/// The queue of a tenant where messages are put aside that a plugin failed on.
pub const PARKED_QUEUE: &str = "parked";

/// How long another replica has to take over a group.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(500);
/// How long leaders have to answer for a node to be ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// A handle on the broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Parts>);

/// What a broker is made of.
pub struct Parts {
    /// The directory.
    pub directory: Group<Directory>,
    /// The groups as a whole: the directory, and the sets that are here.
    pub groups: Groups,
    /// The store.
    pub store: Store,
    /// The plugins.
    pub guests: Arc<dyn Guests>,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The way out.
    pub egress: Egress,
    /// Rates of tenants.
    pub admission: Admission,
    /// Figures.
    pub metrics: Metrics,
    waiters: Waiters,
    deliveries: Deliveries,
    others: Arc<dyn Others>,
    replica: ReplicaId,
    session: Session,
    is_settled: AtomicBool,
    label: String,
    pub(crate) clock: Arc<MedianClock>,
    /// The other nodes whose disks are nearly full, when they were last heard of.
    full: RwLock<BTreeSet<ReplicaId>>,
    /// Told when this node leads what another is to lead.
    unbalanced: Notify,
    started: Instant,
    secrets: Secrets,
    inquiry: Inquiry,
    deciding: Deciding,
    breaker: Breaker,
    kv_turns: KvTurns,
    recorder: Recorder,
    listings: Listings,
    scrubs: Scrubs,
    tables: RwLock<HashMap<Incarnation, Arc<posthouse_host::RouteTable>>>,
    /// Components by content, for one at a time to read, add or remove: what is recorded is there, and stays.
    components: tokio::sync::Mutex<Components>,
    /// The same, to be read from.
    component_files: Components,
    awaited: Awaited,
    loading: Loading,
    trials: Trials,
    outgoing: Vec<watch::Sender<u64>>,
    set_count: u8,
    excerpts: Excerpts,
    doors: Doors,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a broker is made from.
pub struct Assembly {
    /// The groups.
    pub groups: Groups,
    /// How many sets there are, here or elsewhere.
    pub sets: u8,
    /// The store.
    pub store: Store,
    /// What logs call this node.
    pub label: String,
    /// The cluster's clock.
    pub clock: Arc<MedianClock>,
    /// This replica.
    pub replica: ReplicaId,
    /// The other nodes.
    pub others: Arc<dyn Others>,
    /// The plugins.
    pub guests: Arc<dyn Guests>,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Components by content.
    pub components: Components,
    /// The way out.
    pub egress: Egress,
    /// Figures.
    pub metrics: Metrics,
    /// How many receives may wait, on the whole node.
    pub waiters_max: usize,
    /// How many pushes may be in flight, on the whole node.
    pub pushes_max: usize,
    /// How many pushes to one endpoint of a tenant may be in flight.
    pub endpoint_pushes_max: usize,
    /// How long `explain` knows a message that is gone.
    pub explain: Span,
    /// How everything durable is read again.
    pub scrubbing: Scrubbing,
    /// When a binding is taken out of use by itself.
    pub breaking: Breaking,
}

impl std::ops::Deref for Broker {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

// === impl Broker ===

impl Broker {
    /// Puts a broker together, has it told of events, and starts its background tasks. Fails when the machine has no
    /// thread left.
    pub fn start(assembly: Assembly, events: &Events) -> io::Result<Broker> {
        let directory = assembly.groups.directory.clone();
        let awaited = Awaited::from_start(&assembly.components)?;
        let parts = Arc::new_cyclic(|weak: &std::sync::Weak<Parts>| {
            let parts = weak.clone();
            let give_back = move |queue: Incarnation, leased: Vec<posthouse_model::Leased>| {
                let Some(parts) = parts.upgrade() else { return };
                let broker = Broker(parts);
                if let Some(found) = broker.resolve_incarnation(queue) {
                    broker.release_here(found.set, queue, &leased);
                }
            };
            Parts {
                outgoing: (0..assembly.sets).map(|_| watch::Sender::new(0)).collect(),
                set_count: assembly.sets,
                excerpts: Excerpts::default(),
                doors: Doors::default(),
                deliveries: Deliveries::new(assembly.pushes_max, assembly.endpoint_pushes_max),
                waiters: Waiters::new(assembly.waiters_max, Arc::new(give_back)),
                admission: Admission::default(),
                session: Session::begin(assembly.replica, assembly.entropy.as_ref()),
                replica: assembly.replica,
                others: assembly.others,
                is_settled: AtomicBool::new(false),
                label: assembly.label,
                clock: assembly.clock,
                full: RwLock::default(),
                unbalanced: Notify::new(),
                started: Instant::now(),
                secrets: Secrets::default(),
                inquiry: Inquiry::default(),
                deciding: Deciding::since(directory.applied()),
                breaker: Breaker::new(assembly.breaking),
                kv_turns: KvTurns::default(),
                recorder: Recorder::default(),
                listings: Listings::new(assembly.store.projection()),
                scrubs: Scrubs::new(),
                tables: RwLock::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                directory,
                groups: assembly.groups,
                store: assembly.store,
                guests: assembly.guests,
                keyring: assembly.keyring,
                entropy: assembly.entropy,
                component_files: assembly.components.clone(),
                awaited,
                loading: Loading::default(),
                trials: Trials::default(),
                components: tokio::sync::Mutex::new(assembly.components),
                egress: assembly.egress,
                metrics: assembly.metrics,
            }
        });
        let broker = Broker(parts);
        events.tell(&broker);
        // What was applied meanwhile, nobody was told of.
        broker.deciding.reach(broker.directory.applied());
        broker.listings.feed(broker.directory.clone())?;
        for (number, news) in broker.outgoing.iter().enumerate() {
            let set = SetId(u8::try_from(number).expect("a cluster has at most 128 sets"));
            broker
                .tasks
                .spawn(broker.clone().move_outgoing(set, news.subscribe()));
            broker.deliver_all(set);
        }
        broker
            .tasks
            .spawn(broker.clone().forget_history(assembly.explain));
        broker.tasks.spawn(broker.clone().forget_recordings());
        broker.tasks.spawn(broker.clone().scrub(assembly.scrubbing));
        broker.tasks.spawn(broker.clone().balance());
        broker.tasks.spawn(broker.clone().gather_components());
        broker.tasks.spawn(broker.clone().compile_bound());
        broker.tasks.spawn(broker.clone().watch_trials());
        broker.tasks.spawn(broker.clone().reconcile());
        broker.tasks.spawn(broker.clone().hold());
        Ok(broker)
    }

    /// Returns how many receives wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns whether the broker is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the broker is stopping.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Has something done until it ends, or the broker does.
    pub(crate) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Has something done until it ends or the broker stops, whichever comes first.
    pub(crate) fn while_running(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Says that the cluster is what it is to be, as far as this node sees.
    pub(crate) fn settled(&self) {
        self.is_settled.store(true, Ordering::Release);
    }

    /// Returns whether this node has seen what the cluster is. Before, there may be what it does not know.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Returns whether there are tenants.
    pub(crate) fn has_tenants(&self) -> bool {
        self.directory
            .view(|directory| directory.tenants().next().is_some())
    }

    /// Returns the cluster's id: the data directory's, or a new one.
    pub(crate) fn cluster_id(&self) -> [u8; 16] {
        match self.store.identity() {
            Some(identity) => identity.cluster.0.to_be_bytes(),
            None => {
                let mut cluster = [0; 16];
                self.entropy.fill(&mut cluster);
                cluster
            }
        }
    }

    /// Returns why not everything can be asked of this node; none when it can: every group has a leader that a
    /// majority follows and that this node reaches.
    pub async fn unready(&self) -> Option<&'static str> {
        if self.is_stopping() {
            return Some("stopping");
        }
        if self.store.failed().is_some() {
            return Some("the store failed");
        }
        if !self.is_settled() {
            return Some("starting");
        }
        if self.is_alone() {
            let leads = self.sets().iter().all(|set| set.is_leader()) && self.directory.is_leader();
            return (!leads).then_some("no leader");
        }
        let groups = std::iter::once(None).chain(self.all_sets().map(Some));
        let seen = futures::future::try_join_all(groups.map(|set| self.refresh(set)));
        match tokio::time::timeout(READY_WITHIN, seen).await {
            Ok(Ok(_)) => None,
            Ok(Err(_)) | Err(_) => Some("no leader that a majority follows"),
        }
    }

    /// Tells all who wait that there is no message, and lets nobody wait from now on.
    pub fn dismiss(&self) {
        self.stop.cancel();
        self.waiters.dismiss_all();
    }

    /// Tells the figures that are looked up rather than counted.
    pub fn observe_metrics(&self) {
        self.metrics.observe_waiters(self.waiters.len());
        self.metrics.observe_guests(&self.guests.usage());
        let figures = self.guests.figures().into_iter();
        let named = self.directory.view(|directory| {
            // A version that was removed meanwhile has no name any more.
            let named = figures.filter_map(|own| {
                let plugin = directory.plugin(own.version)?;
                Some((plugin.name.as_str().to_owned(), own))
            });
            named.collect()
        });
        self.metrics.observe_own(named);
        self.observe_store();
    }

    fn observe_store(&self) {
        let Ok(usage) = self.store.usage() else { return };
        self.metrics.observe_store(StoreFigures {
            used_bytes: usage.wal_bytes + usage.segment_bytes,
            free_bytes: usage.space.free_bytes,
            wal_bytes: usage.wal_bytes,
            nearly_full: self.store.nearly_full(),
            failed: self.store.failed().is_some(),
            damaged: self.store.damage().len() as u64,
        });
    }

    /// Ends background tasks, stops the groups and closes the store.
    pub async fn stop(&self) {
        self.dismiss();
        self.tasks.close();
        self.hand_over().await;
        self.tasks.wait().await;
        self.guests.stop().await;
        self.groups.stop().await;
        self.listings.stop().await;
        self.store.close();
    }

    /// Has other nodes lead what this one leads, as far as they take it.
    async fn hand_over(&self) {
        let sets = self.sets();
        let sets = futures::future::join_all(sets.iter().map(hand_over));
        futures::join!(hand_over(&self.directory), sets);
    }

    /// Refuses to take more into a set that this node leads when the disks of too many of its replicas are nearly full.
    /// When it is this node's disk alone, another is to lead, and the call is for that one.
    fn check_room(&self, set: SetId) -> Result<(), BrokerError> {
        let is_full = self.store.nearly_full();
        let group = self.member(set)?;
        // Nobody's is, as is usual: who votes does not matter.
        if !is_full && self.full.read().is_empty() {
            return Ok(());
        }
        let (own, voters) = (group.replica(), group.voters());
        let has_room = |voter: ReplicaId| match voter == own {
            true => !is_full,
            false => {
                let host = self.host_of(Some(set), voter);
                host.is_none_or(|host| !self.full.read().contains(&host))
            }
        };
        let with_room = voters.iter().filter(|voter| has_room(**voter));
        if with_room.count() <= voters.len() / 2 {
            return Err(BrokerError::DiskFull);
        }
        if is_full {
            self.unbalanced.notify_one();
            return Err(Fault::NotDone(Reason::NoRoom).into());
        }
        Ok(())
    }

    /// Finds the queue where a tenant's failed messages are put aside, or makes it.
    async fn parked_queue(&self, tenant: TenantId) -> Result<Resolved, BrokerError> {
        let name = Name::parse(PARKED_QUEUE).expect("the constant is a name");
        if let Ok(found) = self.resolve(tenant, Kind::Queue, &name) {
            return Ok(found);
        }
        let attributes = QueueAttributes {
            body_bytes_max: u32::try_from(*posthouse_model::bounds::BODY_BYTES.end())
                .expect("the bound is a mebibyte"),
            ..QueueAttributes::default()
        };
        match self
            .create(tenant, name.clone(), Definition::Queue(attributes))
            .await
        {
            Ok(_) => self.resolve(tenant, Kind::Queue, &name),
            // Another made it in this moment.
            Err(BrokerError::Directory {
                refusal: posthouse_model::DirectoryRefusal::Exists(_),
                ..
            }) => self.resolve(tenant, Kind::Queue, &name),
            Err(error) => Err(error),
        }
    }
}

/// Has another replica lead a group in place of this one; one that does not take it within the time is passed over.
async fn hand_over<M: Machine>(group: &Group<M>) {
    for other in group.voters() {
        if other == group.replica() || !group.is_leader() {
            continue;
        }
        hand_over_to(group, other).await;
    }
}

/// Has a certain replica lead a group in place of this one, and waits until another leads, or the time is over.
async fn hand_over_to<M: Machine>(group: &Group<M>, to: ReplicaId) {
    if group.hand_over(to).await.is_ok() {
        let taken = group.led_by_other_than(Some(group.replica()));
        let _ = tokio::time::timeout(HAND_OVER_WITHIN, taken).await;
    }
}
