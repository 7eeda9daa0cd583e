//! Plugins and where they are bound.

use posthouse_model::{BREAKER_TRAPS_MAX, BREAKER_WITHIN_MAX, FailurePolicy, Name, PluginRecord, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decimal;
use crate::admin::AdminError;
use crate::admin::auth::ContentDigest;
use crate::broker::{RECORDED_CALLS_MAX, RECORDING_SECONDS_MAX, REDRIVE_MAX};

/// What a component's digest begins with.
const DIGEST_PREFIX: &str = "sha256:";
/// The longest configuration of a binding, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 64 * 1024;
/// The longest reason for a quarantine, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// What a plugin decides.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorldView {
    /// Which subscriptions a message reaches.
    Route,
    /// Whether and as what it passes.
    Filter,
    /// How it is handed to an endpoint.
    Deliver,
    /// How it is sealed and opened.
    Seal,
}

/// A plugin with all its versions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// Whose it is; absent is everybody's (built-ins and the platform's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tenant: Option<Name>,
    /// What it decides.
    pub world: WorldView,
    /// Its versions, oldest first.
    pub versions: Vec<PluginVersionView>,
    /// How many bindings use it.
    pub bindings: u64,
    /// Those of them that are out of use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<BindingView>,
}

/// A version of a plugin.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginVersionView {
    /// Its number.
    pub version: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The component's size.
    pub bytes: u64,
    /// When it was pushed.
    pub pushed_ms: u64,
}

/// What was pushed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginPushed {
    /// The plugin's name.
    #[schemars(with = "String")]
    pub name: Name,
    /// What it decides.
    pub world: WorldView,
    /// The version's number: the one it had, if the same component was pushed before.
    pub version: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
}

/// SHA-256 of a component: `sha256:` and 64 hexadecimal digits, or these alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct ComponentDigest(ContentDigest);

/// Makes every binding of a plugin use a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateRequest {
    /// The version; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The version that a plugin's bindings use now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActiveVersion {
    /// The version.
    pub version: u64,
}

/// Where a plugin is bound. The nearest place wins: subscription, then queue or topic, then tenant, then platform.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "at", deny_unknown_fields)]
pub enum PlaceView {
    /// Everything, unless something nearer is bound. For root keys.
    Platform,
    /// All of the tenant's.
    Tenant,
    /// A queue.
    Queue {
        /// Its name.
        #[schemars(with = "String")]
        queue: Name,
    },
    /// A topic.
    Topic {
        /// Its name.
        #[schemars(with = "String")]
        topic: Name,
    },
    /// A subscription.
    Subscription {
        /// The topic's name.
        #[schemars(with = "String")]
        topic: Name,
        /// Its name.
        #[schemars(with = "String")]
        subscription: Name,
    },
    /// Everything delivered by HTTP. For root keys.
    HttpEndpoints,
    /// Everything delivered to queues. For root keys.
    QueueEndpoints,
}

/// Binds a plugin to a place, instead of what of the same world was bound there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindRequest {
    /// Where.
    pub place: PlaceView,
    /// The plugin: the tenant's own of that name, or else everybody's.
    #[schemars(with = "String")]
    pub plugin: Name,
    /// The version; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The plugin's configuration, at most 64 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// What follows when it fails.
    #[serde(default)]
    pub on_failure: FailureView,
    /// When it is taken out of use because its plugin traps.
    #[serde(default, skip_serializing_if = "BreakerView::is_absent")]
    pub breaker: BreakerView,
}

/// When a binding is taken out of use because its plugin traps. What is absent is as the nodes are configured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerView {
    /// After so many traps, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traps: Option<u32>,
    /// Within so many seconds, 1 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What follows when a plugin fails.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureView {
    /// The call is refused, or the delivery tried again later.
    #[default]
    Reject,
    /// The built-in of the same world decides.
    Fallback,
    /// The message is put aside with the trap. Not for `seal`.
    Park,
}

/// Names a binding: a place has at most one of each world.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnbindRequest {
    /// Where.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
}

/// Asks what a binding's plugin keeps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptRequest {
    /// Where it is bound.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// One key alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What to go on after: the last entry that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<KeptAfter>,
}

/// An entry that was told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptAfter {
    /// Its set.
    pub set: u8,
    /// Its key.
    pub key: String,
}

/// What a binding's plugin keeps, by set and key.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptPage {
    /// At most 1,000 entries.
    pub entries: Vec<KeptEntry>,
    /// Whether there may be more.
    pub more: bool,
}

/// A value that a plugin keeps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptEntry {
    /// The set that keeps it.
    pub set: u8,
    /// Its key.
    pub key: String,
    /// What it says, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes.
    pub hexadecimal: String,
    /// Its version.
    pub version: u64,
    /// When it expires, by the set's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// Takes a binding out of use, or puts it back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRequest {
    /// Where.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// Why; `null` or absent puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A binding as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BindingView {
    /// Where.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// The plugin.
    #[schemars(with = "String")]
    pub plugin: Name,
    /// The version in use.
    pub version: u64,
    /// The version before, for going back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The plugin's configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// What follows when it fails.
    pub on_failure: FailureView,
    /// Why it is out of use, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// Since when it is out of use, if it is and that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_ms: Option<u64>,
    /// When it is taken out of use because its plugin traps.
    #[serde(default, skip_serializing_if = "BreakerView::is_absent")]
    pub breaker: BreakerView,
}

/// Has all nodes keep the calls of a binding's plugin that fail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// Where it is bound. What is sealed is not recorded.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// For how long, 1 to 86,400 seconds; ten minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// How many calls on each node at most, 1 to 100; 20 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
}

/// What was recorded of a binding.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingView {
    /// The nodes that record.
    pub recording: Vec<String>,
    /// The calls of all nodes, the oldest first.
    pub calls: Vec<RecordedCallView>,
    /// How many more failed for which there was no room.
    #[serde(default)]
    pub missed: u64,
    /// The replicas of nodes that did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<u64>,
}

/// A call that failed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedCallView {
    /// When, by the node's clock.
    pub at_ms: u64,
    /// The node that made it.
    pub node: String,
    /// Which of those that the node recorded, from 1.
    pub number: u64,
    /// The version that failed.
    pub version: u64,
    /// What the plugin was given and what it failed with: a case file for `posthouse plugin test`.
    pub case: String,
}

/// Sends messages on their way again that were parked because a plugin failed on them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveRequest {
    /// Only those that come from there: a queue, a topic, or a subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceView>,
    /// The version of the plugin that is to decide, in use or not; the one in use when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Only those after this one: `next` of the call before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Decimal>,
    /// How many at most, 1 to 100; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

/// What came of sending parked messages on their way again.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RedrivenView {
    /// How many were sent.
    pub sent: u64,
    /// Those that stay parked, as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stayed: Vec<StayedView>,
    /// Where to go on from; absent when all were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Decimal>,
    /// How many messages are parked now, whatever failed on them.
    pub parked: u64,
    /// How many of these are leased, by a receive or by another call like this one, and were not looked at.
    #[serde(default)]
    pub leased: u64,
    /// Whether the node that did it first died before it answered: it may have sent some that are not counted. None is sent
    /// twice.
    #[serde(default)]
    pub uncertain: bool,
}

/// A message that stays parked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StayedView {
    /// Its id; 0 when it could not be read.
    pub message_id: Decimal,
    /// Why.
    pub reason: String,
}

/// Lines that a plugin wrote, newest last.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginLogs {
    /// The lines of all nodes.
    pub lines: Vec<PluginLogLine>,
    /// The replicas of nodes that did not say what was written there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<u64>,
}

/// A line that a plugin wrote, or that was noted of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginLogLine {
    /// When, by the node's clock.
    pub at_ms: u64,
    /// The node that it was written on.
    pub node: String,
    /// The version that wrote it.
    pub version: u64,
    /// `debug`, `info`, `warn`, `error`, or `trap` for a call that gave no answer: the lines after the first are the
    /// guest's functions that were running, the innermost first.
    pub level: String,
    /// What it says.
    pub text: String,
}

// === impl PluginVersionView ===

impl From<&PluginRecord> for PluginVersionView {
    fn from(record: &PluginRecord) -> PluginVersionView {
        PluginVersionView {
            version: record.version.0,
            digest: hexadecimal(&record.digest),
            bytes: record.bytes,
            pushed_ms: record.pushed.millis(),
        }
    }
}

// === impl BreakerView ===

impl BreakerView {
    /// Returns whether it says nothing.
    fn is_absent(&self) -> bool {
        *self == BreakerView::default()
    }
}

// === impl ComponentDigest ===

impl ComponentDigest {
    /// Returns a component's digest.
    pub fn of(component: &[u8]) -> ComponentDigest {
        ComponentDigest(ContentDigest::of(component))
    }

    /// Reads what somebody wrote.
    ///
    /// # Errors
    ///
    /// Refuses another algorithm, and what is not as long as a digest.
    pub fn parse(text: &str) -> Result<ComponentDigest, String> {
        let digits = text.strip_prefix(DIGEST_PREFIX).unwrap_or(text);
        let digest = ContentDigest::parse(digits);
        digest
            .map(ComponentDigest)
            .map_err(|_| format!("a digest is `{DIGEST_PREFIX}` and 64 hexadecimal digits"))
    }
}

impl TryFrom<String> for ComponentDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ComponentDigest::parse(&text)
    }
}

impl std::fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{DIGEST_PREFIX}{}", self.0)
    }
}

// === impl BindRequest ===

impl BindRequest {
    /// Checks what can be checked without knowing the plugin.
    ///
    /// # Errors
    ///
    /// Refuses a configuration that is too long, and a breaker that never breaks or breaks at once.
    pub fn check(&self) -> Result<(), AdminError> {
        if self.configuration.len() > CONFIGURATION_BYTES_MAX {
            return Err(AdminError::malformed(format!(
                "`configuration` is over {CONFIGURATION_BYTES_MAX} bytes"
            )));
        }
        let BreakerView { traps, seconds } = self.breaker;
        if traps.is_some_and(|traps| !(1..=BREAKER_TRAPS_MAX).contains(&traps)) {
            return Err(AdminError::malformed(format!(
                "`breaker.traps` must be 1 to {BREAKER_TRAPS_MAX}"
            )));
        }
        let seconds_max = BREAKER_WITHIN_MAX.seconds();
        if seconds.is_some_and(|seconds| !(1..=seconds_max).contains(&seconds)) {
            return Err(AdminError::malformed(format!(
                "`breaker.seconds` must be 1 to {seconds_max}"
            )));
        }
        Ok(())
    }
}

// === impl RecordRequest ===

impl RecordRequest {
    /// Checks what can be checked without knowing the binding.
    ///
    /// # Errors
    ///
    /// Refuses what has no bound, and no time or number at all.
    pub fn check(&self) -> Result<(), AdminError> {
        if self
            .seconds
            .is_some_and(|seconds| !(1..=RECORDING_SECONDS_MAX).contains(&seconds))
        {
            return Err(AdminError::malformed(format!(
                "`seconds` must be 1 to {RECORDING_SECONDS_MAX}"
            )));
        }
        if self
            .calls
            .is_some_and(|calls| !(1..=RECORDED_CALLS_MAX).contains(&calls))
        {
            return Err(AdminError::malformed(format!(
                "`calls` must be 1 to {RECORDED_CALLS_MAX}"
            )));
        }
        Ok(())
    }
}

// === impl RedriveRequest ===

impl RedriveRequest {
    /// Checks what can be checked without knowing the plugin.
    ///
    /// # Errors
    ///
    /// Refuses none and too many at once.
    pub fn check(&self) -> Result<(), AdminError> {
        match self.max {
            Some(max) if !(1..=REDRIVE_MAX).contains(&max) => {
                Err(AdminError::malformed(format!("`max` must be 1 to {REDRIVE_MAX}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

// === impl QuarantineRequest ===

impl QuarantineRequest {
    /// Checks what can be checked without knowing the binding.
    ///
    /// # Errors
    ///
    /// Refuses a reason that is empty or too long.
    pub fn check(&self) -> Result<(), AdminError> {
        match &self.reason {
            Some(reason) if reason.is_empty() || reason.len() > REASON_BYTES_MAX => Err(
                AdminError::malformed(format!("`reason` must have 1 to {REASON_BYTES_MAX} bytes")),
            ),
            Some(_) | None => Ok(()),
        }
    }
}

// === impl PlaceView ===

impl PlaceView {
    /// Returns whether only a root key may bind there: the place touches every tenant.
    pub fn is_platforms(&self) -> bool {
        match self {
            PlaceView::Platform | PlaceView::HttpEndpoints | PlaceView::QueueEndpoints => true,
            PlaceView::Tenant
            | PlaceView::Queue { .. }
            | PlaceView::Topic { .. }
            | PlaceView::Subscription { .. } => false,
        }
    }
}

/// As it is told to people: `topic orders`.
impl std::fmt::Display for PlaceView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PlaceView::Platform => f.write_str("platform"),
            PlaceView::Tenant => f.write_str("tenant"),
            PlaceView::Queue { queue } => write!(f, "queue {queue}"),
            PlaceView::Topic { topic } => write!(f, "topic {topic}"),
            PlaceView::Subscription { topic, subscription } => {
                write!(f, "subscription {topic}/{subscription}")
            }
            PlaceView::HttpEndpoints => f.write_str("HTTP endpoints"),
            PlaceView::QueueEndpoints => f.write_str("queue endpoints"),
        }
    }
}

impl std::fmt::Display for WorldView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WorldView::Route => "route",
            WorldView::Filter => "filter",
            WorldView::Deliver => "deliver",
            WorldView::Seal => "seal",
        })
    }
}

impl From<World> for WorldView {
    fn from(world: World) -> WorldView {
        match world {
            World::Route => WorldView::Route,
            World::Filter => WorldView::Filter,
            World::Deliver => WorldView::Deliver,
            World::Seal => WorldView::Seal,
        }
    }
}

impl From<WorldView> for World {
    fn from(view: WorldView) -> World {
        match view {
            WorldView::Route => World::Route,
            WorldView::Filter => World::Filter,
            WorldView::Deliver => World::Deliver,
            WorldView::Seal => World::Seal,
        }
    }
}

impl From<FailurePolicy> for FailureView {
    fn from(policy: FailurePolicy) -> FailureView {
        match policy {
            FailurePolicy::Reject => FailureView::Reject,
            FailurePolicy::Fallback => FailureView::Fallback,
            FailurePolicy::Park => FailureView::Park,
        }
    }
}

impl From<FailureView> for FailurePolicy {
    fn from(view: FailureView) -> FailurePolicy {
        match view {
            FailureView::Reject => FailurePolicy::Reject,
            FailureView::Fallback => FailurePolicy::Fallback,
            FailureView::Park => FailurePolicy::Park,
        }
    }
}

/// Returns bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
