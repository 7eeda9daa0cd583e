//! What can be asked of the directory, and what it answers: the words of its log.
//!
//! The directory owns what is not one set's: tenants, keys (wrapped), quotas, names with their incarnation and
//! set, plugins and bindings, nodes and the replicas that they hold. As with sets, what a command means never changes and new ones come last.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Definition, DiskId, HttpHost, Incarnation, LogIndex, Name, NodeId, PluginVersion, ReplicaId, SetId, Span,
    SubscriptionId, TenantId, Time,
};

/// What can be asked of the directory.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// Says, once, what the cluster is: its id, how many sets, and the root key's check value.
    Found {
        /// The cluster's random id.
        cluster: [u8; 16],
        /// How many sets there are.
        sets: u8,
        /// Recognises the root key.
        root_check: [u8; 32],
    },
    /// Adds a tenant.
    CreateTenant {
        /// Its name.
        name: Name,
        /// What it may use.
        quotas: Quotas,
    },
    /// Changes what a tenant may use.
    SetQuotas {
        /// The tenant.
        tenant: TenantId,
        /// What it may use.
        quotas: Quotas,
    },
    /// Removes a tenant that has no queues and no topics, with its keys, plugins and bindings.
    RemoveTenant {
        /// The tenant.
        tenant: TenantId,
    },
    /// Adds an access key.
    AddAccessKey {
        /// Whose.
        tenant: TenantId,
        /// What requests are signed as: 1 to 128 printable characters.
        id: String,
        /// What it is signed with, wrapped under the root key.
        wrapped_secret: Bytes,
        /// Whether it may administer the cluster.
        root: bool,
    },
    /// Enables or disables an access key.
    SetAccessKey {
        /// The key.
        id: String,
        /// Whether requests signed by it are served.
        status: AccessKeyStatus,
    },
    /// Removes an access key.
    RemoveAccessKey {
        /// The key.
        id: String,
    },
    /// Claims a name for a new queue or topic, and gives it an incarnation and a set. The directory keeps the
    /// definition until the set has it.
    Create {
        /// Whose.
        tenant: TenantId,
        /// The name.
        name: Name,
        /// What it is.
        definition: Definition,
    },
    /// The set has the definition: the name can be used.
    Confirm {
        /// Which.
        incarnation: Incarnation,
    },
    /// Begins to remove a queue or topic: its name resolves no longer, and is not yet free.
    Remove {
        /// Which.
        incarnation: Incarnation,
    },
    /// The set refused to drop it: the name resolves again.
    Restore {
        /// Which.
        incarnation: Incarnation,
    },
    /// The set has dropped it: the name is free.
    Forget {
        /// Which.
        incarnation: Incarnation,
    },
    /// Records a version of a plugin. The same (tenant, name, digest) answers the version it has.
    PushPlugin {
        /// Whose; none for what every tenant may bind (built-ins, the platform's own).
        tenant: Option<TenantId>,
        /// Its name.
        name: Name,
        /// The world it exports.
        world: World,
        /// SHA-256 of the component.
        digest: [u8; 32],
        /// The component's size.
        bytes: u64,
    },
    /// Attaches a plugin's version to a place, replacing what of the same world was attached there.
    Bind {
        /// Where.
        place: Place,
        /// The version.
        version: PluginVersion,
        /// The plugin's configuration, for it alone to read.
        configuration: Bytes,
        /// What follows when it fails.
        on_failure: FailurePolicy,
    },
    /// Detaches what of a world is attached to a place.
    Unbind {
        /// Where.
        place: Place,
        /// The world.
        world: World,
    },
    /// Makes every binding of a plugin's name use another version of it.
    Activate {
        /// The version.
        version: PluginVersion,
    },
    /// Puts every binding of a plugin's name back to the version it had before the last `Activate`.
    RollBack {
        /// Whose.
        tenant: Option<TenantId>,
        /// The plugin.
        name: Name,
    },
    /// Takes a binding out of use, or puts it back: while it lasts, its failure policy answers for it.
    Quarantine {
        /// Where.
        place: Place,
        /// The world.
        world: World,
        /// Why; none puts it back.
        reason: Option<String>,
    },
    /// Adds a master key, or a new version of one. Old versions go on opening.
    PutMasterKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
        /// The key, wrapped under the root key.
        wrapped: Bytes,
    },
    /// Enables a master key, disables it, or schedules its deletion.
    SetMasterKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
        /// The new state.
        state: MasterKeyState,
    },
    /// Does what is due at the entry's time: destroys master keys whose deletion was scheduled.
    Tick,
    /// Seals what is put into a queue or topic under a master key from now on, or (none) no longer.
    Seal {
        /// The queue or topic.
        incarnation: Incarnation,
        /// The master key.
        key: Option<Name>,
    },
    /// Forgets a version of a plugin that nothing is bound to. Bindings that could have been rolled back to it no longer
    /// can. One that seals is refused: what it sealed can be opened by nothing else.
    RemovePlugin {
        /// The version.
        version: PluginVersion,
    },
    /// Says, once, which nodes the cluster has: each holds a replica of every group, by one id.
    Enroll {
        /// The nodes.
        founders: Vec<Founder>,
    },
    /// Takes in a node that has an empty disk, as a new one or in place of one of its number, and gives it replicas.
    /// With the same disk again, it answers the replicas that it has.
    Admit {
        /// Its number.
        node: NodeId,
        /// Where it listens to the others, as `host:port`.
        address: String,
        /// Tells its disk from others.
        disk: DiskId,
    },
    /// A node that joins has caught up with the directory: from now on it can be given replicas of sets.
    Ready {
        /// Which.
        node: NodeId,
    },
    /// A node is at another address.
    Locate {
        /// Which.
        node: NodeId,
        /// Where it listens to the others, as `host:port`.
        address: String,
    },
    /// Gives a set a replica on one node in place of that on another.
    Relocate {
        /// The set.
        set: SetId,
        /// The node that has one.
        from: NodeId,
        /// The node that has none.
        to: NodeId,
    },
    /// Gives each set that has a replica on a node one on another node in its place, and the node none any more.
    Drain {
        /// Which.
        node: NodeId,
    },
    /// Lets a node go that was drained and whose replicas of sets are all discarded.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// Gives the node of a replica another one of the group in its place, which begins empty.
    Renew {
        /// The set; none is the directory.
        set: Option<SetId>,
        /// The replica whose files are lost or damaged.
        replica: ReplicaId,
    },
    /// A replica that was leaving is a member of its group no longer: its id names nothing ever after.
    Discard {
        /// The set; none is the directory.
        set: Option<SetId>,
        /// The replica.
        replica: ReplicaId,
    },
    /// Gives a replica that is leaving its place back, from the one that was to take it on the same disk.
    Reinstate {
        /// The set; none is the directory.
        set: Option<SetId>,
        /// The replica that is leaving.
        replica: ReplicaId,
    },
    /// Makes a signing key.
    CreateSigningKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
        /// Its first version.
        secret: SigningSecret,
    },
    /// Adds a version to a signing key. Both sign until the older one is retired.
    RotateSigningKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
        /// The new version, which need not be of the same algorithm.
        secret: SigningSecret,
    },
    /// Takes the older of a signing key's two versions out of use, for good.
    RetireSigningKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
    /// Removes a signing key.
    RemoveSigningKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
    /// Changes what a tenant's plugins may do beyond what its quotas say.
    SetGuestLimits {
        /// The tenant.
        tenant: TenantId,
        /// What they may do.
        limits: GuestLimits,
    },
    /// Attaches a plugin's version to a place as `Bind` does, and says when its breaker takes it out of use.
    BindBreaking {
        /// Where.
        place: Place,
        /// The version.
        version: PluginVersion,
        /// The plugin's configuration, for it alone to read.
        configuration: Bytes,
        /// What follows when it fails.
        on_failure: FailurePolicy,
        /// When it is taken out of use.
        breaker: BreakerRecord,
    },
    /// Takes a binding out of use as `Quarantine` with a reason does, and notes since when.
    TakeOut {
        /// Where.
        place: Place,
        /// The world.
        world: World,
        /// Why.
        reason: String,
    },
    /// Tries another version of a bound plugin beside the one in use, in place of the trial before. Routers and filters
    /// can be tried.
    BeginTrial {
        /// Where.
        place: Place,
        /// The world.
        world: World,
        /// The version that is tried.
        version: PluginVersion,
        /// The share of messages that it decides; of the others it is asked only to be compared.
        share: Share,
        /// By what the trial ends by itself.
        gate: Option<Gate>,
    },
    /// Ends the trial that began at an index of the directory's log: a later one is another.
    EndTrial {
        /// Where.
        place: Place,
        /// The world.
        world: World,
        /// When it began.
        began: LogIndex,
        /// How it ends.
        end: TrialEnd,
    },
}

/// What the directory answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum DirectoryReply {
    /// Done, with nothing to add.
    Done,
    /// To `CreateTenant`.
    Tenant(TenantId),
    /// To `Create`: also when the same call had begun before and was not confirmed.
    Created(NameRecord),
    /// To `PushPlugin`.
    Plugin(PluginVersion),
    /// To `RollBack`: the version now in use.
    RolledBack(PluginVersion),
    /// To `PutMasterKey`: the key's new version number.
    MasterKey(u32),
    /// To `Admit`: the replicas that the node is to hold, the directory's first.
    Admitted(Vec<ReplicaRecord>),
    /// To `Relocate` and `Renew`: the new replica.
    Replica(ReplicaId),
    /// To `CreateSigningKey` and `RotateSigningKey`: the new version's number.
    SigningKey(u32),
}

/// Why the directory refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum DirectoryRefusal {
    /// The cluster was founded before.
    #[error("the cluster was founded before")]
    Founded,
    /// It was not founded yet.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// The name is taken.
    #[error("{0} exists")]
    Exists(Name),
    /// The name was dropped and its set has not let go of it.
    #[error("{0} is still being released")]
    StillReleasing(Name),
    /// A quota or a bound is reached.
    #[error("the limit of {limit} {what} is reached")]
    Limit {
        /// Of what.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// No such tenant.
    #[error("no such tenant")]
    NoTenant,
    /// The tenant still has queues or topics.
    #[error("the tenant still has queues or topics")]
    TenantInUse,
    /// No such access key.
    #[error("no such access key")]
    NoAccessKey,
    /// The access key exists.
    #[error("the access key exists")]
    AccessKeyExists,
    /// No such queue or topic.
    #[error("no queue or topic {0}")]
    NoIncarnation(Incarnation),
    /// No such plugin or version.
    #[error("no such plugin")]
    NoPlugin,
    /// The plugin is of another tenant.
    #[error("the plugin belongs to another tenant")]
    NotYours,
    /// Another version of the plugin exports another world.
    #[error("earlier versions of the plugin export another world")]
    OtherWorld,
    /// The place cannot have a binding of that world.
    #[error("a plugin of that world cannot be bound there")]
    WrongPlace,
    /// Nothing of that world is bound there.
    #[error("nothing of that world is bound there")]
    NotBound,
    /// There is no earlier version to go back to.
    #[error("there is no earlier version to go back to")]
    NoEarlierVersion,
    /// No such master key, or it is not enabled.
    #[error("no enabled master key {0}")]
    NoMasterKey(Name),
    /// The master key seals a queue or topic.
    #[error("the master key is in use")]
    MasterKeyInUse,
    /// A text is out of bounds.
    #[error("{0} is malformed")]
    Malformed(String),
    /// The version is bound somewhere.
    #[error("the version is bound")]
    PluginInUse,
    /// The plugin seals.
    #[error("a plugin that seals is kept: what it sealed can be opened by nothing else")]
    PluginSeals,
    /// The cluster's nodes were said before.
    #[error("the cluster's nodes are known already")]
    NodesKnown,
    /// No such node, or it is gone.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// The node joins, is drained or is gone.
    #[error("node {0} takes no replicas now: it has not joined yet, or is being drained")]
    NodeNotActive(NodeId),
    /// The node has a replica of the set.
    #[error("node {0} has a replica of the set already")]
    NodeHasReplica(NodeId),
    /// The node has replicas of sets, or some that are leaving are not discarded yet.
    #[error("node {0} still holds replicas of sets; drain it, and wait until they are elsewhere")]
    NodeHoldsReplicas(NodeId),
    /// No other node can take a replica.
    #[error("there are too few other nodes to take its replicas")]
    TooFewNodes,
    /// No such replica, or there is none there.
    #[error("there is no such replica")]
    NoReplica,
    /// The replica is to be a member.
    #[error("the replica is to be a member of its group")]
    ReplicaWanted,
    /// No such signing key.
    #[error("no signing key {0}")]
    NoSigningKey(Name),
    /// The signing key has as many versions as can sign at once.
    #[error("two versions of signing key {0} are in use; retire the older one first")]
    SigningKeyRotating(Name),
    /// The signing key has but one version.
    #[error("signing key {0} has one version in use; rotate it before one is retired, or remove it")]
    SigningKeyNotRotating(Name),
    /// No trial runs there, or it is another one.
    #[error("no such trial runs there")]
    NoTrial,
    /// Plugins of that world cannot be tried beside others.
    #[error(
        "only plugins that route or filter can be tried beside the version in use: what delivers or seals would do so twice"
    )]
    NotTried(World),
    /// What is to be tried is no version of the plugin that is bound.
    #[error("the version is of another plugin than the one that is bound there")]
    OtherPlugin,
    /// What is to be tried is in use.
    #[error("the version is the one in use there")]
    VersionInUse,
}

/// A node that founds the cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Founder {
    /// Its number.
    pub node: NodeId,
    /// What all its replicas are called by: 65,535 at most.
    pub replica: ReplicaId,
    /// Where it listens to the others, as `host:port`.
    pub address: String,
}

/// What a node is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its number.
    pub node: NodeId,
    /// Where it listens to the others, as `host:port`.
    pub address: String,
    /// The disk that it has now.
    pub disk: DiskId,
    /// How far it has come or gone.
    pub state: NodeState,
}

/// How far a node has come or gone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum NodeState {
    /// It was taken in, and has not caught up with the directory yet.
    Joining,
    /// It holds replicas, and can be given more.
    Active,
    /// Its replicas of sets go to other nodes, and it gets none.
    Draining,
    /// It is none of the cluster's any more.
    Gone,
}

/// A replica of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its id in its group.
    pub replica: ReplicaId,
    /// The node that it is on.
    pub node: NodeId,
    /// The disk of the node that it is on.
    pub disk: DiskId,
    /// The set; none is the directory.
    pub set: Option<SetId>,
    /// Whether it is to be a member.
    pub state: ReplicaState,
}

/// Whether a replica is to be a member of its group.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ReplicaState {
    /// It is to be one.
    Wanted,
    /// It is to be one no longer.
    Leaving,
}

/// What a tenant may use. Zero is nothing at all, not "no limit".
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
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
    /// Microseconds of guests' CPU time a second.
    pub guest_micros_per_second: u32,
    /// Bytes of guests' memory at once.
    pub guest_memory_bytes: u64,
    /// Guest instances at once.
    pub guest_instances: u32,
}

/// What a tenant's plugins may do beyond what its quotas say. Zero is nothing at all, not "no limit".
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GuestLimits {
    /// Calls to the host a second.
    pub host_calls_per_second: u32,
    /// Bytes a second that they hand to the host: answers, log lines, what is to be signed.
    pub output_bytes_per_second: u64,
    /// HTTP requests a second that are made for them.
    pub http_requests_per_second: u32,
    /// The only hosts that those may go to; none is all that the platform allows.
    pub http_hosts: Option<Vec<HttpHost>>,
}

/// Whether an access key's requests are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum AccessKeyStatus {
    /// They are.
    Enabled,
    /// They are refused (CMQ 4100/10080).
    Disabled,
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// Whose.
    pub tenant: TenantId,
    /// The name as written.
    pub name: Name,
    /// Queue or topic.
    pub kind: Kind,
    /// The set that holds it.
    pub set: SetId,
    /// How far its making or removal has got.
    pub state: NameState,
    /// The master key that it is sealed under.
    pub sealed_under: Option<Name>,
}

/// Queue or topic: names of the two kinds do not collide.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Kind {
    /// A queue.
    Queue,
    /// A topic.
    Topic,
}

/// How far the making or removal of a name has got.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum NameState {
    /// The set does not have it yet; this is what it is to be.
    Creating(Box<Definition>),
    /// In use.
    Ready,
    /// The set is to drop it.
    Removing,
}

/// A world of `wit/`: what a plugin decides.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum World {
    /// Which subscriptions a message reaches.
    Route,
    /// Whether and as what it passes.
    Filter,
    /// How it is handed to an endpoint.
    Deliver,
    /// How it is sealed and opened.
    Seal,
}

/// Where a plugin is attached. The nearest place wins: subscription, then queue or topic, then tenant, then
/// the platform.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Place {
    /// Everything, unless something nearer is bound.
    Platform,
    /// All of a tenant's.
    Tenant(TenantId),
    /// A queue or topic.
    Incarnation(Incarnation),
    /// A subscription of a topic.
    Subscription(Incarnation, SubscriptionId),
    /// Everything delivered by HTTP (`deliver` only): where `http-push` is bound.
    HttpEndpoints,
    /// Everything delivered to queues (`deliver` only): where `queue-push` is bound.
    QueueEndpoints,
}

/// What follows when a plugin fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// The call is refused, or the delivery tried again later.
    Reject,
    /// The built-in of the same world decides.
    Fallback,
    /// The message is put aside with the trap. Not for `seal`.
    Park,
}

/// A recorded version of a plugin.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Its number.
    pub version: PluginVersion,
    /// Whose; none for everybody's.
    pub tenant: Option<TenantId>,
    /// Its name.
    pub name: Name,
    /// The world it exports.
    pub world: World,
    /// SHA-256 of the component.
    pub digest: [u8; 32],
    /// The component's size.
    pub bytes: u64,
    /// When it was pushed.
    pub pushed: Time,
}

/// A plugin attached to a place.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BindingRecord {
    /// Where.
    pub place: Place,
    /// The world.
    pub world: World,
    /// The version in use.
    pub version: PluginVersion,
    /// The version before, for `RollBack`.
    pub previous: Option<PluginVersion>,
    /// The plugin's configuration.
    pub configuration: Bytes,
    /// What follows when it fails.
    pub on_failure: FailurePolicy,
    /// Why it is out of use, if it is.
    pub quarantined: Option<String>,
    /// The directory index at which it last changed: another index is another binding to a cache.
    pub changed: LogIndex,
}

/// When a binding whose plugin traps is taken out of use. What is not said is as the nodes are configured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct BreakerRecord {
    /// After so many traps.
    pub traps: Option<u32>,
    /// Within so long.
    pub within: Option<Span>,
}

/// A version that is tried beside the one in use.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Where.
    pub place: Place,
    /// The world.
    pub world: World,
    /// Whose the place is; none is the platform's.
    pub owner: Option<TenantId>,
    /// The version that is tried.
    pub version: PluginVersion,
    /// The version that was in use when it began.
    pub beside: PluginVersion,
    /// The share of messages that it decides.
    pub share: Share,
    /// By what the trial ends by itself.
    pub gate: Option<Gate>,
    /// The directory index at which it began, which tells it from others at its place.
    pub began: LogIndex,
    /// How it ended; none while it runs.
    pub end: Option<TrialEnd>,
}

/// A share of messages or calls, in ten-thousandths.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Share(pub u16);

/// By what a trial ends by itself. A bound that is not given is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The fewest calls after which the version can be found good: 1 to [`crate::GATE_CALLS_MAX`].
    pub calls_min: u64,
    /// The largest share of calls that fail.
    pub errors_max: Option<Share>,
    /// The largest share of answers that are not those of the version in use.
    pub differences_max: Option<Share>,
    /// The most CPU time a call, at the mean, in microseconds.
    pub call_micros_max: Option<u32>,
    /// Whether a version that is found good is put in use.
    pub promotes: bool,
}

/// How a trial ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum TrialEnd {
    /// The version is in use; the one before can be rolled back to.
    Promoted,
    /// Somebody ended it.
    Stopped,
    /// A bound of the gate was passed; says which.
    FellBack(String),
    /// What was bound there changed.
    Overtaken,
}

/// What a master key is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MasterKeyRecord {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// Its versions from 1, each wrapped under the root key; the last one seals.
    pub versions: Vec<Bytes>,
    /// What it may be used for.
    pub state: MasterKeyState,
}

/// What a master key may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum MasterKeyState {
    /// Sealing and opening.
    Enabled,
    /// Nothing, until enabled again.
    Disabled,
    /// Nothing, and destroyed at that time unless enabled before.
    DeletionAt(Time),
    /// Destroyed: what was sealed under it cannot be opened by anybody.
    Destroyed,
}

/// What a signing key is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SigningKeyRecord {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// Its versions that sign, one or two, the newest last.
    pub versions: Vec<SigningKeyVersion>,
}

/// A version of a signing key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SigningKeyVersion {
    /// Its number, from 1.
    pub number: u32,
    /// What it signs with.
    pub secret: SigningSecret,
    /// When it was made.
    pub made: Time,
}

/// What a version of a signing key signs with.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// How.
    pub algorithm: SigningAlgorithm,
    /// The secret, wrapped under the root key.
    pub wrapped: Bytes,
    /// What checks its signatures and can be shown to anybody; empty for an algorithm that has no such thing.
    pub public: Bytes,
}

/// How a signing key signs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// HMAC-SHA256: whoever checks signatures knows the secret.
    HmacSha256,
    /// Ed25519: whoever checks signatures knows the public key.
    Ed25519,
}

/// What a tenant is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its number.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// What it may use.
    pub quotas: Quotas,
}

/// What an access key is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    /// What requests are signed as.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What it is signed with, wrapped under the root key.
    pub wrapped_secret: Bytes,
    /// Whether its requests are served.
    pub status: AccessKeyStatus,
    /// Whether it may administer the cluster.
    pub root: bool,
}

impl Default for Quotas {
    /// What a tenant gets that nobody set anything for: CMQ's counts, and a fair share of a small node.
    fn default() -> Self {
        Self {
            calls_per_second: 50_000,
            bytes_per_second: 256 * 1_048_576,
            queues: 1_000,
            topics: 1_000,
            plugins: 100,
            guest_micros_per_second: 500_000,
            guest_memory_bytes: 256 * 1_048_576,
            guest_instances: 64,
        }
    }
}

impl Default for GuestLimits {
    /// What a tenant's plugins get that nobody set anything for: more than the CPU time of a default quota is good for.
    fn default() -> Self {
        Self {
            host_calls_per_second: 2_000_000,
            output_bytes_per_second: 256 * 1_048_576,
            http_requests_per_second: 10_000,
            http_hosts: None,
        }
    }
}

impl Share {
    /// All of them.
    pub const ALL: Share = Share(10_000);

    /// Returns how many of `all` these are, in ten-thousandths of one.
    pub fn of(self, all: u64) -> u128 {
        u128::from(self.0) * u128::from(all)
    }
}

impl NameState {
    /// Returns what it is to be, as long as its set does not have it.
    pub fn definition(&self) -> Option<&Definition> {
        match self {
            NameState::Creating(definition) => Some(definition),
            NameState::Ready | NameState::Removing => None,
        }
    }
}

impl Definition {
    /// Returns which of the two kinds this defines.
    pub fn kind(&self) -> Kind {
        match self {
            Definition::Queue(_) => Kind::Queue,
            Definition::Topic(_) => Kind::Topic,
        }
    }
}
