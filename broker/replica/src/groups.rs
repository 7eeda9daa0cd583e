//! All groups of a node: opened together over one store, stopped together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::SnapshotPolicy;
use openraft::errors::{InitializeError, RaftError};
use parking_lot::RwLock;
use posthouse_model::{Directory, ReplicaId, Set, SetId};
use posthouse_store::{GroupId, Store};
use tokio::sync::{Notify, watch};

use crate::checkpointer::Checkpointer;
use crate::condition::{Condition, Health};
use crate::cutter::{Budget, Cutter};
use crate::directory_effects::DirectoryEffects;
use crate::group::{Group, GroupParts};
use crate::held::{Effects, Held, HeldApplier};
use crate::mender::{Alarms, Mender};
use crate::purger::Purger;
use crate::raft::Engine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::log::Log;
use crate::raft::peer::{PeerFault, Peers, Reception};
use crate::raft::record::Position;
use crate::raft::state::AppliedState;
use crate::set_effects::SetEffects;
use crate::{Clock, Config, GroupName, Machine, Network, Observer};

/// Sets of a cluster, at most: message ids have seven bits for them.
const SETS_MAX: u8 = 128;
/// Log entries that one message to a follower holds, at most; bytes bound it before that.
const APPEND_ENTRIES_MAX: u64 = 256;
/// Requests that wait for one engine.
const ENGINE_QUEUE_MAX: u64 = 1_024;

/// All groups of a node: the directory, and the sets that it has replicas of, which come and go. Clones are handles to
/// the same ones.
#[derive(Clone)]
pub struct Groups {
    /// The directory.
    pub directory: Group<Directory>,
    sets: Arc<RwLock<BTreeMap<SetId, Group<Set>>>>,
    opening: Arc<Opening>,
}

/// Why groups could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// More sets than message ids can tell apart.
    #[error("{0} sets are more than the 128 that message ids can tell apart")]
    TooManySets(u8),
    /// Raft's settings contradict each other.
    #[error("timing: {0}")]
    Timing(String),
    /// What is stored cannot be read.
    #[error("{group}: {error}")]
    Stored {
        /// Whose it is.
        group: GroupName,
        /// What is wrong.
        error: io::Error,
    },
    /// The engine did not start.
    #[error("{group}: {text}")]
    Engine {
        /// Whose it is.
        group: GroupName,
        /// What it said.
        text: String,
    },
}

/// What all groups of a node share.
struct Opening {
    config: Config,
    store: Store,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    alarms: watch::Receiver<u64>,
    /// Changes whenever there is more log than there should be.
    over_budget: watch::Receiver<()>,
}

/// A group as its newest checkpoint left it.
struct Found<M> {
    name: GroupName,
    checkpoints: Arc<Checkpoints>,
    position: Position,
    state: M,
}

// === impl Groups ===

impl Groups {
    /// Opens the directory and the sets, each as its log and its newest checkpoint left it.
    pub async fn open(
        config: Config,
        store: Store,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Result<Groups, OpenError> {
        if config.sets > SETS_MAX {
            return Err(OpenError::TooManySets(config.sets));
        }
        let alarms = watch::Sender::new(0);
        let heard = alarms.subscribe();
        store.observe_damage(Arc::new(Alarms(alarms)));
        let (told, over_budget) = watch::channel(());
        store.on_over_budget(Box::new(move || told.send_replace(())));
        let opening = Opening {
            config,
            store,
            network,
            clock,
            observer,
            alarms: heard,
            over_budget,
        };
        let directory = opening.open_directory().await?;
        let mut sets = BTreeMap::new();
        let held = opening.config.held.as_ref();
        for set in (0..opening.config.sets).map(SetId) {
            if held.is_none_or(|held| held.contains(&set)) {
                let replica = opening.config.replica_in(GroupName::Set(set));
                sets.insert(set, opening.open_set(set, replica).await?);
            }
        }
        Ok(Groups {
            directory,
            sets: Arc::new(RwLock::new(sets)),
            opening: Arc::new(opening),
        })
    }

    /// Returns the sets that this node has replicas of, by their number.
    pub fn sets(&self) -> Vec<Group<Set>> {
        self.sets.read().values().cloned().collect()
    }

    /// Returns a set, if this node has a replica of it.
    pub fn set(&self, set: SetId) -> Option<Group<Set>> {
        self.sets.read().get(&set).cloned()
    }

    /// Opens a set that this node has got a replica of, which waits to be made a member.
    pub async fn open_set(&self, set: SetId, replica: ReplicaId) -> Result<(), OpenError> {
        let group = self.opening.open_set(set, replica).await?;
        self.sets.write().insert(set, group);
        Ok(())
    }

    /// Stops a set, and has no replica of it any more. What is kept of it stays.
    pub async fn close_set(&self, set: SetId) {
        let closed = self.sets.write().remove(&set);
        if let Some(group) = closed {
            group.stop().await;
        }
    }

    /// Waits until each group can be used.
    pub async fn wait_ready(&self) -> Result<(), crate::Fault> {
        self.directory.wait_ready().await?;
        for set in self.sets() {
            set.wait_ready().await?;
        }
        Ok(())
    }

    /// Takes a frame that another replica's [`Network`] brought for a group, and returns the answer.
    pub async fn answer(&self, group: GroupName, frame: Bytes) -> Result<Bytes, PeerFault> {
        match group {
            GroupName::Directory => self.directory.answer(&frame).await,
            GroupName::Set(set) => {
                let found = self.set(set).ok_or(PeerFault::NoGroup(group))?;
                found.answer(&frame).await
            }
        }
    }

    /// Stops all groups. The store can be closed afterwards.
    pub async fn stop(&self) {
        let sets = self.sets();
        let sets = futures::future::join_all(sets.iter().map(Group::stop));
        futures::join!(self.directory.stop(), sets);
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("directory", &self.directory)
            .field("sets", &self.sets())
            .finish()
    }
}

// === impl Opening ===

impl Opening {
    async fn open_directory(&self) -> Result<Group<Directory>, OpenError> {
        let wanted = Arc::new(Notify::new());
        let checkpoint_bytes = self.config.checkpoint_bytes;
        let effects = DirectoryEffects::new(self.observer.clone(), wanted.clone(), checkpoint_bytes);
        let found = self.find(GroupName::Directory, Directory::new())?;
        let replica = self.config.replica_in(GroupName::Directory);
        let group = self.open_group(found, replica, effects).await?;
        let checkpointer = Checkpointer {
            engine: group.engine().clone(),
            store: self.store.clone(),
            wanted,
            over_budget: self.over_budget.clone(),
            stopping: group.stopping(),
        };
        group.add_task(checkpointer.run());
        Ok(group)
    }

    async fn open_set(&self, set: SetId, replica: ReplicaId) -> Result<Group<Set>, OpenError> {
        let name = GroupName::Set(set);
        let found = self.find(name, Set::new(set))?;
        let checkpoints = found.checkpoints.clone();
        let budget = Arc::new(Budget::new(self.config.cut_bytes));
        let bodies = self.store.bodies(set);
        let effects = SetEffects::new(
            set,
            bodies.clone(),
            self.store.decisions(set),
            self.observer.clone(),
            checkpoints.clone(),
            budget.clone(),
        );
        let group = self.open_group(found, replica, effects).await?;
        let purger = Purger {
            group: name,
            engine: group.engine().clone(),
            checkpoints,
            stopping: group.stopping(),
        };
        let cutter = Cutter {
            set,
            intake: group.intake(),
            held: group.held(),
            leadership: group.leadership(),
            store: self.store.clone(),
            over_budget: self.over_budget.clone(),
            bodies,
            budget,
        };
        group.add_task(purger.run());
        group.add_task(cutter.run(group.stopping()));
        Ok(group)
    }

    /// Reads a group's newest checkpoint; without one, it is empty.
    fn find<M: Machine>(&self, name: GroupName, empty: M) -> Result<Found<M>, OpenError> {
        let stored = |error| OpenError::Stored { group: name, error };
        let (checkpoints, newest) = Checkpoints::open(self.store.clone(), group_id(name)).map_err(stored)?;
        let (position, state) = match newest {
            Some((position, bytes)) => {
                let state = M::decode_state(&bytes).map_err(|error| stored(io::Error::other(error)))?;
                (position, state)
            }
            None => (Position::default(), empty),
        };
        Ok(Found {
            name,
            checkpoints,
            position,
            state,
        })
    }

    async fn open_group<M: Machine>(
        &self,
        found: Found<M>,
        replica: ReplicaId,
        effects: impl Effects<M>,
    ) -> Result<Group<M>, OpenError> {
        let Found {
            name,
            checkpoints,
            position,
            state,
        } = found;
        let log = Log::open(self.store.log(group_id(name)), self.clock.clone(), M::stamp_of)
            .map_err(|error| OpenError::Stored { group: name, error })?;
        let held = Arc::new(Held::new(state, self.clock.clone(), log.lags()));
        let applier = HeldApplier::new(held.clone(), Box::new(effects), log.last_index());
        let reception = Reception::new(checkpoints.clone(), |state| Ok(M::decode_state(state)?.applied()));
        let applied = AppliedState::new(position, Box::new(applier), checkpoints.clone());
        let mut damage = self.store.damage();
        damage.retain(|damaged| damaged.group == group_id(name));
        let condition = match self.config.is_lone() {
            true => Condition::Whole,
            false => Condition::of(&damage),
        };
        let health = Arc::new(Health::new(condition));
        let engine = self.start_engine(name, replica, condition, log, applied).await?;
        let parts = GroupParts {
            name,
            engine,
            reception,
            peers: Peers::new(name, self.network.clone()),
            checkpoints,
            health: health.clone(),
            held,
            observer: self.observer.clone(),
        };
        let group = Group::start(parts);
        let mender = Mender {
            name,
            group: group_id(name),
            engine: group.engine().clone(),
            store: self.store.clone(),
            peers: Peers::new(name, self.network.clone()),
            health,
            seat: group.seat(),
            alarms: self.alarms.clone(),
            stopping: group.stopping(),
        };
        group.add_task(mender.run());
        Ok(group)
    }

    /// Starts a group's engine; an empty group's founders say who they are, and who has no peers wants to lead at
    /// once.
    async fn start_engine(
        &self,
        name: GroupName,
        replica: ReplicaId,
        condition: Condition,
        log: Log,
        applied: AppliedState,
    ) -> Result<Engine, OpenError> {
        let failed = |text: String| OpenError::Engine { group: name, text };
        let mut settings = self.engine_settings(name)?;
        settings.enable_elect = condition.may_vote();
        let peers = Peers::new(name, self.network.clone());
        let engine = Engine::new(replica.0, Arc::new(settings), peers, log, applied)
            .await
            .map_err(|error| failed(error.to_string()))?;
        // Who lost its log is not new, though it looks like it.
        let founders = self.config.founders.as_ref().filter(|_| condition.may_append());
        if let Some(founders) = founders.filter(|founders| founders.contains(&replica)) {
            let founders: BTreeSet<u64> = founders.iter().map(|replica| replica.0).collect();
            match engine.initialize(founders).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        if self.config.is_lone() && replica == self.config.replica {
            engine
                .trigger()
                .elect(false)
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
        Ok(engine)
    }

    fn engine_settings(&self, name: GroupName) -> Result<openraft::Config, OpenError> {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let settings = openraft::Config {
            cluster_name: name.to_string(),
            heartbeat_interval: millis(self.config.heartbeat),
            election_timeout_min: millis(self.config.election_min),
            election_timeout_max: millis(self.config.election_max),
            max_payload_entries: APPEND_ENTRIES_MAX,
            // Checkpoints are written by ours at cuts, and the log is purged up to the newest.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            api_channel_size: Some(ENGINE_QUEUE_MAX),
            notification_channel_size: Some(ENGINE_QUEUE_MAX),
            enable_pre_vote: Some(true),
            // Each leadership has a term of its own: claims of an earlier one are void.
            enable_leader_restore: Some(false),
            // A machine whose power went had its log's last batch in doubt, and cut it: its log ends earlier than what it
            // acknowledged, if it was a damaged one. It is sent what it lacks; without this a leader counts on it still.
            allow_log_reversion: Some(true),
            ..openraft::Config::default()
        };
        settings
            .validate()
            .map_err(|error| OpenError::Timing(error.to_string()))
    }
}

fn group_id(name: GroupName) -> GroupId {
    match name {
        GroupName::Directory => GroupId::DIRECTORY,
        GroupName::Set(set) => GroupId::of(set),
    }
}
