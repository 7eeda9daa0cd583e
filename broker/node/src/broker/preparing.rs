//! Versions of plugins made ready where they are to decide, before they do: no message waits for a compiler.
//!
//! What is about to be bound or activated is compiled and loaded by every node that has a replica of a set it will decide
//! in. A node that does not answer is passed over, so that a dead one does not hold up a change; once it is there again
//! it compiles what is bound by itself, as does one that was taken in, or whose engine is another than it was.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use posthouse_model::{Directory, Place, PluginVersion, ReplicaId, SetId};

use super::reach::{Ask, PATIENCE, Told};
use super::{Broker, BrokerError};

/// How long the nodes have to compile a version that is to be used: less than a client waits for the answer. Those that
/// take longer go on, and have it when they are asked again.
const PREPARED_WITHIN: Duration = Duration::from_secs(75);
/// How long a node has to show that it is there.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);
/// How often a node looks for versions that are bound and that it has not compiled.
const LOOK: Duration = Duration::from_secs(2);

/// The versions that are being loaded, each by one at a time.
#[derive(Debug, Default)]
pub(super) struct Loading {
    turns: Mutex<HashMap<PluginVersion, Arc<tokio::sync::Mutex<()>>>>,
}

// === impl Loading ===

impl Loading {
    /// Returns whose turn it is to load a version.
    pub(super) fn turn(&self, version: PluginVersion) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        // What nobody holds any more nobody waits for.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(version).or_default())
    }
}

// === impl Broker ===

impl Broker {
    /// Has a version ready on every node that has a replica of a set in which it is to decide, and that is there.
    pub(super) async fn prepare(
        &self,
        version: PluginVersion,
        places: impl IntoIterator<Item = Place>,
    ) -> Result<(), BrokerError> {
        self.load(version).await?;
        let hosts = self.hosts_deciding_at(places);
        let prepared = hosts.into_iter().map(|host| self.have_prepared(host, version));
        join_all(prepared).await.into_iter().collect()
    }

    /// Returns the places where a plugin is bound of which this is a version.
    pub(super) fn bound_places(&self, version: PluginVersion) -> Vec<Place> {
        self.directory.view(|directory| {
            let Some(plugin) = directory.plugin(version) else {
                return Vec::new();
            };
            let folded = plugin.name.folded();
            let of_plugin = |other: PluginVersion| {
                directory
                    .plugin(other)
                    .is_some_and(|other| other.tenant == plugin.tenant && other.name.folded() == folded)
            };
            let bindings = directory.bindings();
            let bound = bindings.filter(|binding| of_plugin(binding.version));
            bound.map(|binding| binding.place).collect()
        })
    }

    async fn have_prepared(&self, host: ReplicaId, version: PluginVersion) -> Result<(), BrokerError> {
        if !self.shows(host).await {
            tracing::warn!(%host, %version, "a node does not answer; it compiles the plugin once it is there");
            return Ok(());
        }
        let ask = Ask::Prepare { version };
        let refused = match self.ask_or_hear(host, &ask, PREPARED_WITHIN).await {
            Ok(Some(Told::Prepared)) => return Ok(()),
            Ok(Some(other)) => format!("it answered {other:?}"),
            Ok(None) if !self.shows(host).await => return Ok(()),
            Ok(None) => "it is not compiled there yet; try again".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(BrokerError::Unprepared {
            node: self.node_name(host),
            why: refused,
        })
    }

    async fn shows(&self, host: ReplicaId) -> bool {
        self.ask_one(host, &Ask::Report, SHOWS_WITHIN).await.is_some()
    }

    /// Returns what people call a node.
    fn node_name(&self, host: ReplicaId) -> String {
        match self.node_records().get(&host) {
            Some(record) => record.node.to_string(),
            None => host.to_string(),
        }
    }

    /// Returns the other nodes that have a replica of a set in which something bound to these places may decide.
    fn hosts_deciding_at(&self, places: impl IntoIterator<Item = Place>) -> BTreeSet<ReplicaId> {
        let others: BTreeSet<ReplicaId> = self.others.all().into_iter().collect();
        let sets = self
            .directory
            .view(|directory| sets_of(directory, places.into_iter()));
        let Some(sets) = sets.filter(|_| self.knows_nodes()) else {
            return others;
        };
        let records = self.replica_records().into_iter();
        let of_sets = records.filter(|record| record.set.is_some_and(|set| sets.contains(&set)));
        let hosts = of_sets.filter_map(|record| self.host_of(record.set, record.replica));
        hosts.filter(|host| others.contains(host)).collect()
    }

    /// Loads a version because another node is about to have it used, which this one may not have seen recorded.
    pub(super) async fn prepare_here(&self, version: PluginVersion) -> Result<(), BrokerError> {
        if self
            .directory
            .view(|directory| directory.plugin(version).is_none())
        {
            tokio::time::timeout(PATIENCE, self.see_directory())
                .await
                .unwrap_or(Ok(()))?;
        }
        self.load(version).await
    }

    /// Compiles what is bound, what can be rolled back to and what is tried, so that it is there before it is asked, until
    /// the broker stops.
    pub(super) async fn compile_bound(self) {
        let mut compiled: HashSet<PluginVersion> = HashSet::new();
        let mut complete_at = None;
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let applied = self.directory.applied();
            if complete_at == Some(applied) {
                continue;
            }
            let bound = self.directory.view(bound_versions);
            compiled.retain(|version| bound.contains(version));
            let mut is_complete = true;
            for version in bound {
                if compiled.contains(&version) || self.is_stopping() {
                    continue;
                }
                match self.compile(version).await {
                    Ok(()) => {
                        compiled.insert(version);
                    }
                    Err(error) => {
                        tracing::debug!(%version, %error, "a bound plugin is not compiled here yet");
                        is_complete = false;
                    }
                }
            }
            if is_complete {
                complete_at = Some(applied);
            }
        }
    }

    /// Has a version's code in the cache, without keeping it loaded.
    async fn compile(&self, version: PluginVersion) -> Result<(), BrokerError> {
        if self.guests.is_loaded(version) {
            return Ok(());
        }
        let (record, component) = self.recorded_component(version).await?;
        self.guests
            .check(record.world, component)
            .await
            .map_err(|refusal| BrokerError::Unreadable(refusal.to_string()))
    }
}

/// Returns the sets in which what is bound to some places may decide; none is all.
fn sets_of(directory: &Directory, places: impl Iterator<Item = Place>) -> Option<BTreeSet<SetId>> {
    let mut sets = BTreeSet::new();
    for place in places {
        match place {
            Place::Incarnation(incarnation) | Place::Subscription(incarnation, _) => {
                sets.extend(directory.record(incarnation).map(|record| record.set));
            }
            Place::Platform | Place::Tenant(_) | Place::HttpEndpoints | Place::QueueEndpoints => return None,
        }
    }
    Some(sets)
}

fn bound_versions(directory: &Directory) -> BTreeSet<PluginVersion> {
    let bindings = directory.bindings();
    let bound = bindings.flat_map(|binding| std::iter::once(binding.version).chain(binding.previous));
    let running = directory.trials().filter(|trial| trial.end.is_none());
    bound.chain(running.map(|trial| trial.version)).collect()
}
