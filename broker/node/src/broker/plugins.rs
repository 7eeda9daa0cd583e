//! Plugins as their owners handle them: found by name, bound, activated, rolled back, taken out of use.
//!
//! A change answers once every set has been told how far the directory's log has got: what was decided under the
//! former state is refused from then on and decided again.

use bytes::Bytes;
use futures::future::join_all;
use posthouse_host::PushRefusal;
use posthouse_model::{
    BreakerRecord, DirectoryCommand, DirectoryReply, FailurePolicy, Kind, Name, Place, PluginRecord,
    PluginVersion, SetCommand, TenantId, World,
};
use posthouse_replica::Fault;

use super::names::Resolved;
use super::reach::senseless;
use super::{Broker, BrokerError};

/// Every world.
const WORLDS: [World; 4] = [World::Route, World::Filter, World::Deliver, World::Seal];

/// A plugin with all its versions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PluginOf {
    /// Whose; none for everybody's.
    pub tenant: Option<TenantId>,
    /// Its name, as it was first pushed.
    pub name: Name,
    /// What it decides.
    pub world: World,
    /// Its versions, oldest first; at least one.
    pub versions: Vec<PluginRecord>,
}

impl Broker {
    /// Returns the plugins that a tenant can name, by name. One of its own hides everybody's of that name.
    pub async fn plugins(&self, tenant: TenantId) -> Result<Vec<PluginOf>, BrokerError> {
        let mut plugins = grouped(self.list_plugins(Some(tenant)).await?);
        for plugin in grouped(self.list_plugins(None).await?) {
            let hidden = plugins
                .iter()
                .any(|own| own.name.folded() == plugin.name.folded());
            if !hidden {
                plugins.push(plugin);
            }
        }
        plugins.sort_by_key(|plugin| plugin.name.folded());
        Ok(plugins)
    }

    /// Finds the plugin that a tenant names: its own, or else everybody's.
    pub fn plugin(&self, tenant: TenantId, name: &Name) -> Option<PluginOf> {
        let folded = name.folded();
        let versions = self.directory.view(|directory| {
            let of = |tenant| -> Vec<PluginRecord> {
                let plugins = directory.plugins(tenant);
                plugins
                    .filter(|plugin| plugin.name.folded() == folded)
                    .cloned()
                    .collect()
            };
            let own = of(Some(tenant));
            if own.is_empty() { of(None) } else { own }
        });
        grouped(versions).pop()
    }

    /// Returns which world a component exports.
    pub async fn world_of(&self, component: &Bytes) -> Result<World, BrokerError> {
        let mut refusals = Vec::with_capacity(WORLDS.len());
        for world in WORLDS {
            match self.guests.check(world, component.clone()).await {
                Ok(()) => return Ok(world),
                Err(refusal) => refusals.push(refusal),
            }
        }
        // That it is made for another world says nothing; what is wrong with it in its own does.
        let telling = refusals
            .iter()
            .find(|refusal| !speaks_of_world(refusal))
            .or(refusals.last());
        let text = telling.map(PushRefusal::to_string).unwrap_or_default();
        Err(BrokerError::Argument(text))
    }

    /// Binds a plugin's version to a place, once it can be called wherever it is to decide.
    pub async fn bind(
        &self,
        place: Place,
        version: PluginVersion,
        configuration: Bytes,
        on_failure: FailurePolicy,
        breaker: BreakerRecord,
    ) -> Result<(), BrokerError> {
        self.prepare(version, [place]).await?;
        self.make_room_for_kv(place, version).await?;
        let command = DirectoryCommand::BindBreaking {
            place,
            version,
            configuration,
            on_failure,
            breaker,
        };
        self.change_bindings(command).await.map(|_| ())
    }

    /// Unbinds what of a world is bound to a place.
    pub async fn unbind(&self, place: Place, world: World) -> Result<(), BrokerError> {
        let bound = self
            .directory
            .view(|directory| directory.binding(place, world).map(|record| record.version));
        let command = DirectoryCommand::Unbind { place, world };
        self.change_bindings(command).await?;
        // What it kept serves nothing any more; whoever is bound there next, or leads next, sees to it if this fails.
        let keeps = match bound {
            Some(version) => self.load(version).await.is_err() || self.guests.uses_kv(version),
            None => true,
        };
        if keeps && let Err(error) = self.forget_kv(place, world).await {
            tracing::debug!(?place, %error, "what a binding kept stays for now");
        }
        Ok(())
    }

    /// Makes every binding of a plugin use a version, once it can be called wherever it is to decide.
    pub async fn activate(&self, version: PluginVersion) -> Result<(), BrokerError> {
        self.prepare(version, self.bound_places(version)).await?;
        let command = DirectoryCommand::Activate { version };
        self.change_bindings(command).await.map(|_| ())
    }

    /// Puts every binding of a plugin back to the version before, and returns it. That one was ready when it was in use,
    /// and nodes keep its code: nothing is waited for.
    pub async fn roll_back(&self, plugin: &PluginOf) -> Result<PluginVersion, BrokerError> {
        let command = DirectoryCommand::RollBack {
            tenant: plugin.tenant,
            name: plugin.name.clone(),
        };
        match self.change_bindings(command).await? {
            DirectoryReply::RolledBack(version) => Ok(version),
            other => Err(senseless(&other)),
        }
    }

    /// Takes a binding out of use, or (without a reason) puts it back.
    pub async fn quarantine(
        &self,
        place: Place,
        world: World,
        reason: Option<String>,
    ) -> Result<(), BrokerError> {
        let command = match reason {
            Some(reason) => DirectoryCommand::TakeOut { place, world, reason },
            None => DirectoryCommand::Quarantine { place, world, reason },
        };
        self.change_bindings(command).await.map(|_| ())
    }

    /// Has what comes into a queue or topic sealed under a master key from now on, or no longer.
    pub async fn seal_under(&self, found: &Resolved, key: Option<Name>) -> Result<(), BrokerError> {
        let command = DirectoryCommand::Seal {
            incarnation: found.incarnation,
            key,
        };
        self.change_bindings(command).await.map(|_| ())
    }

    pub(super) async fn change_bindings(
        &self,
        command: DirectoryCommand,
    ) -> Result<DirectoryReply, BrokerError> {
        let reply = self.direct(command, Kind::Topic).await?;
        // What this node has not seen yet it cannot tell the sets of.
        self.refresh(None).await?;
        let directory = self.directory.applied();
        self.deciding.reach(directory);
        let told = self
            .all_sets()
            .map(|set| self.command(set, SetCommand::Observe { directory }));
        for outcome in join_all(told).await {
            // The directory has changed, whatever became of telling the sets.
            if let Err(BrokerError::Fault(Fault::NotDone(reason) | Fault::MayBeDone(reason))) = outcome {
                return Err(Fault::MayBeDone(reason).into());
            }
        }
        Ok(reply)
    }
}

/// Puts versions together that have one name.
fn grouped(records: Vec<PluginRecord>) -> Vec<PluginOf> {
    let mut plugins: Vec<PluginOf> = Vec::new();
    for record in records {
        let folded = record.name.folded();
        match plugins.iter_mut().find(|plugin| plugin.name.folded() == folded) {
            Some(plugin) => plugin.versions.push(record),
            None => plugins.push(PluginOf {
                tenant: record.tenant,
                name: record.name.clone(),
                world: record.world,
                versions: vec![record],
            }),
        }
    }
    for plugin in &mut plugins {
        plugin.versions.sort_by_key(|record| record.version);
    }
    plugins
}

fn speaks_of_world(refusal: &PushRefusal) -> bool {
    match refusal {
        PushRefusal::WrongWorld { .. } => true,
        // What one world is not lent, another may be.
        PushRefusal::ImportNotGranted { import, .. } => import.starts_with("posthouse:plugin/"),
        PushRefusal::TooLarge { .. }
        | PushRefusal::NotAComponent(_)
        | PushRefusal::SeveralWorlds { .. }
        | PushRefusal::WrongTypes(_)
        | PushRefusal::DoesNotCompile(_)
        | PushRefusal::CompileLimit(_)
        | PushRefusal::TooDemanding(_)
        | PushRefusal::DoesNotStart(_)
        | PushRefusal::Fault(_) => false,
    }
}
