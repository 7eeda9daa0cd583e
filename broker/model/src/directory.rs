//! The directory: who the tenants are, what their names stand for, which plugins and keys serve them, and which nodes
//! hold which replicas.
//!
//! It is a function of its log, as a set is. What it holds is bounded: per tenant by quotas or by the constants of
//! its parts, and tenants by [`TENANTS_MAX`]. It says of a queue or topic only which incarnation and set a name
//! stands for; attributes and subscriptions are the set's, so bindings to subscriptions are taken on trust.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    AccessKeyRecord, Batch, BindingRecord, BreakerRecord, DirectoryCommand, DirectoryRefusal, DirectoryReply,
    FailurePolicy, GuestLimits, Incarnation, Kind, LogIndex, MasterKeyRecord, Name, NameRecord, NodeId,
    NodeRecord, Place, PluginRecord, PluginVersion, ReplicaId, ReplicaRecord, SetId, SigningKeyRecord,
    TenantId, TenantRecord, Time, TrialEnd, TrialRecord, World,
};

mod changes;
mod guards;
mod guest_limits;
mod master_keys;
mod names;
mod nodes;
mod plugins;
mod sessions;
mod signing_keys;
mod tenants;
mod trials;

#[cfg(test)]
mod tests;

use guards::{Guards, check_breaker};
use guest_limits::TenantsGuestLimits;
use master_keys::MasterKeys;
use names::Names;
use nodes::Nodes;
use plugins::{Binding, Plugins};
use sessions::Sessions;
use signing_keys::SigningKeys;
use tenants::Tenants;
use trials::{Trial, Trials};

pub use changes::{DirectoryApplied, DirectoryChange};
pub use guards::{BREAKER_TRAPS_MAX, BREAKER_WITHIN_MAX};
pub use guest_limits::HTTP_HOSTS_MAX;
pub use master_keys::{MASTER_KEY_VERSIONS_MAX, MASTER_KEYS_MAX};
pub use names::{NAMES_MAX, SETS_MAX};
pub use nodes::{ADDRESS_BYTES_MAX, FOUNDER_REPLICA_MAX, NODES_MAX, REPLICAS_MAX, REPLICAS_PER_SET};
pub use plugins::{
    BINDINGS_MAX, CONFIGURATION_BYTES_MAX, CONFIGURATIONS_BYTES_MAX, PLATFORM_PLUGINS_MAX,
    QUARANTINE_BYTES_MAX, SUBSCRIPTION_BINDINGS_MAX,
};
pub use sessions::{DIRECTORY_SESSION_RESULTS_MAX, DIRECTORY_SESSIONS_MAX};
pub use signing_keys::{PUBLIC_KEY_BYTES_MAX, SIGNING_KEY_VERSIONS_MAX, SIGNING_KEYS_MAX};
pub use tenants::{ACCESS_KEY_CHARS_MAX, ACCESS_KEYS_MAX, TENANTS_MAX};
pub use trials::{GATE_CALLS_MAX, TRIALS_MAX};

/// The longest wrapped secret or key that is kept, in bytes.
pub const WRAPPED_BYTES_MAX: usize = 4_096;

/// Who the tenants are, what their names stand for, and which plugins and keys serve them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    applied: LogIndex,
    now: Time,
    founding: Option<Founding>,
    tenants: Tenants,
    names: Names,
    plugins: Plugins,
    master_keys: MasterKeys,
    sessions: Sessions,
    /// From here on: states that were kept before there was this end here.
    nodes: Nodes,
    signing_keys: SigningKeys,
    guest_limits: TenantsGuestLimits,
    guards: Guards,
    trials: Trials,
}

/// What the cluster is, said once.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster's random id.
    pub cluster: [u8; 16],
    /// How many sets there are, numbered from 0.
    pub sets: u8,
    /// Recognises the root key.
    pub root_check: [u8; 32],
}

// === impl Directory ===

impl Directory {
    /// Returns the directory before the first entry.
    pub fn new() -> Directory {
        Directory::default()
    }

    /// Applies one agreed entry, and answers each of its commands in order. Equal directories given equal entries
    /// stay equal, replica or replay.
    ///
    /// # Panics
    ///
    /// When the index is not above the last one: entries apply in order, each once.
    pub fn apply(&mut self, index: LogIndex, batch: &Batch<DirectoryCommand>) -> DirectoryApplied {
        assert!(index > self.applied, "entries apply in order, each once");
        self.applied = index;
        self.now = self.now.max(batch.now);
        let mut outcomes = Vec::with_capacity(batch.submissions.len());
        let mut changes = Vec::new();
        for submission in &batch.submissions {
            let outcome = match submission.call {
                None => self.perform(&submission.command, &mut changes),
                Some(call) => match self.sessions.answered(call) {
                    Some(outcome) => outcome,
                    None => {
                        let outcome = self.perform(&submission.command, &mut changes);
                        self.sessions.keep(call, index, &outcome);
                        outcome
                    }
                },
            };
            outcomes.push(outcome);
        }
        DirectoryApplied { outcomes, changes }
    }

    /// Returns the index of the last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Returns the time of the last entry applied.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Returns when `Tick` has something to do, if ever.
    pub fn deadline(&self) -> Option<Time> {
        self.master_keys.deadline()
    }

    /// Returns what the cluster is, once it was said.
    pub fn founded(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    /// Returns a tenant.
    pub fn tenant(&self, tenant: TenantId) -> Option<&TenantRecord> {
        self.tenants.get(tenant)
    }

    /// Returns the tenant of a name, whatever its case.
    pub fn tenant_named(&self, name: &Name) -> Option<&TenantRecord> {
        self.tenants.named(name)
    }

    /// Returns all tenants, by number.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantRecord> {
        self.tenants.all()
    }

    /// Returns the tenants that come after a folded name, by folded name; none is before all.
    pub fn tenants_after(&self, after: Option<&str>) -> impl Iterator<Item = &TenantRecord> {
        self.tenants.after(after)
    }

    /// Returns an access key.
    pub fn access_key(&self, id: &str) -> Option<&AccessKeyRecord> {
        self.tenants.access_key(id)
    }

    /// Returns a tenant's access keys, by id.
    pub fn access_keys(&self, tenant: TenantId) -> impl Iterator<Item = &AccessKeyRecord> {
        self.tenants.access_keys(tenant)
    }

    /// Returns what a name stands for, whatever its case and however far its making or removal has got.
    pub fn name(&self, tenant: TenantId, kind: Kind, name: &Name) -> Option<&NameRecord> {
        self.names.named(tenant, kind, name)
    }

    /// Returns the name of an incarnation.
    pub fn record(&self, incarnation: Incarnation) -> Option<&NameRecord> {
        self.names.get(incarnation)
    }

    /// Returns a tenant's queues or topics, sorted by name without regard to case.
    pub fn names(&self, tenant: TenantId, kind: Kind) -> impl Iterator<Item = &NameRecord> {
        self.names.of(tenant, kind)
    }

    /// Returns how many queues or topics a tenant has.
    pub fn name_count(&self, tenant: TenantId, kind: Kind) -> u32 {
        self.names.count(tenant, kind)
    }

    /// Returns the queues and topics of all tenants that come after a folded name, by tenant, kind and folded name;
    /// none is before all.
    pub fn names_after(&self, after: Option<(TenantId, Kind, &str)>) -> impl Iterator<Item = &NameRecord> {
        self.names.after(after)
    }

    /// Returns the names whose making or removal is under way, by incarnation.
    pub fn unfinished(&self) -> impl Iterator<Item = &NameRecord> {
        self.names.unfinished()
    }

    /// Returns a version of a plugin.
    pub fn plugin(&self, version: PluginVersion) -> Option<&PluginRecord> {
        self.plugins.get(version)
    }

    /// Returns every version of every plugin, whoever's.
    pub fn all_plugins(&self) -> impl Iterator<Item = &PluginRecord> {
        self.plugins.all()
    }

    /// Returns the versions of a tenant's plugins, or (none) of the platform's, by name and version.
    pub fn plugins(&self, tenant: Option<TenantId>) -> impl Iterator<Item = &PluginRecord> {
        self.plugins.of(tenant)
    }

    /// Returns the versions of everybody's plugins and then of all tenants', by owner, folded name and version, that
    /// come after one of them; none is before all.
    pub fn plugins_after(
        &self,
        after: Option<(Option<TenantId>, &str, PluginVersion)>,
    ) -> impl Iterator<Item = &PluginRecord> {
        self.plugins.after(after)
    }

    /// Returns what of a world is bound at exactly that place.
    pub fn binding(&self, place: Place, world: World) -> Option<&BindingRecord> {
        self.plugins.binding(place, world)
    }

    /// Returns what of a world is bound at the first of some places that has any: give the nearest first. A
    /// quarantined binding is returned as well, because it does not make a farther one take over.
    pub fn resolve_binding(&self, places: &[Place], world: World) -> Option<&BindingRecord> {
        places.iter().find_map(|place| self.binding(*place, world))
    }

    /// Returns when a binding is taken out of use, as far as it was said for it.
    pub fn breaker(&self, place: Place, world: World) -> BreakerRecord {
        self.guards.breaker(place, world)
    }

    /// Returns since when a binding is out of use, if it is and that was noted.
    pub fn out_since(&self, place: Place, world: World) -> Option<Time> {
        self.guards.out_since(place, world)
    }

    /// Returns all bindings, by place and world.
    pub fn bindings(&self) -> impl Iterator<Item = &BindingRecord> {
        self.plugins.bindings()
    }

    /// Returns what of a world is or was last tried at exactly that place.
    pub fn trial(&self, place: Place, world: World) -> Option<&TrialRecord> {
        self.trials.get(place, world)
    }

    /// Returns all trials, by place and world: those that run, and how the last one at a place ended.
    pub fn trials(&self) -> impl Iterator<Item = &TrialRecord> {
        self.trials.all()
    }

    /// Returns a tenant's master key of a name, whatever its case.
    pub fn master_key(&self, tenant: TenantId, name: &Name) -> Option<&MasterKeyRecord> {
        self.master_keys.get(tenant, name)
    }

    /// Returns a tenant's master keys, by name.
    pub fn master_keys(&self, tenant: TenantId) -> impl Iterator<Item = &MasterKeyRecord> {
        self.master_keys.of(tenant)
    }

    /// Returns a tenant's signing key of a name, whatever its case.
    pub fn signing_key(&self, tenant: TenantId, name: &Name) -> Option<&SigningKeyRecord> {
        self.signing_keys.get(tenant, name)
    }

    /// Returns a tenant's signing keys, by name.
    pub fn signing_keys(&self, tenant: TenantId) -> impl Iterator<Item = &SigningKeyRecord> {
        self.signing_keys.of(tenant)
    }

    /// Returns what a tenant's plugins may do beyond what its quotas say.
    pub fn guest_limits(&self, tenant: TenantId) -> GuestLimits {
        self.guest_limits.of(tenant)
    }

    /// Returns the nodes, by number, with those that are gone; none as long as nobody said which there are.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.all()
    }

    /// Returns a node, also when it is gone.
    pub fn node(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(node)
    }

    /// Returns the replicas of all groups, by group and id: those that are wanted, and those that are leaving.
    pub fn replicas(&self) -> impl Iterator<Item = &ReplicaRecord> {
        self.nodes.replicas()
    }

    /// Returns a replica of a set, or (none) of the directory.
    pub fn replica(&self, set: Option<SetId>, replica: ReplicaId) -> Option<&ReplicaRecord> {
        self.nodes.replica(set, replica)
    }

    /// Returns the replicas that are to be members of a set, or (none) of the directory.
    pub fn replicas_wanted(&self, set: Option<SetId>) -> impl Iterator<Item = &ReplicaRecord> {
        self.nodes.wanted(set)
    }

    /// Returns the replica of a set, or (none) of the directory, that a node is to hold.
    pub fn replica_wanted_on(&self, node: NodeId, set: Option<SetId>) -> Option<&ReplicaRecord> {
        self.nodes.wanted_on(node, set)
    }

    /// Returns whether an id named a replica of a set, or (none) of the directory, once, and never will again.
    pub fn is_discarded(&self, set: Option<SetId>, replica: ReplicaId) -> bool {
        self.nodes.is_discarded(set, replica)
    }

    /// Returns whether a node said itself where it is. Others may know it elsewhere, from before.
    pub fn is_located(&self, node: NodeId) -> bool {
        self.nodes.is_located(node)
    }

    /// Returns the index of the entry that last changed nodes or replicas.
    pub fn nodes_changed(&self) -> LogIndex {
        self.nodes.changed()
    }

    fn perform(
        &mut self,
        command: &DirectoryCommand,
        changes: &mut Vec<DirectoryChange>,
    ) -> Result<DirectoryReply, DirectoryRefusal> {
        if let DirectoryCommand::Found {
            cluster,
            sets,
            root_check,
        } = command
        {
            return self.found(Founding {
                cluster: *cluster,
                sets: *sets,
                root_check: *root_check,
            });
        }
        let Some(founding) = self.founding else {
            return Err(DirectoryRefusal::NotFounded);
        };
        match command {
            DirectoryCommand::Found { .. } => Err(DirectoryRefusal::Founded),
            DirectoryCommand::CreateTenant { name, quotas } => {
                let tenant = self.tenants.create(name, *quotas)?;
                self.tell_tenant(tenant, changes);
                Ok(DirectoryReply::Tenant(tenant))
            }
            DirectoryCommand::SetQuotas { tenant, quotas } => {
                self.tenants.set_quotas(*tenant, *quotas)?;
                self.tell_tenant(*tenant, changes);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::RemoveTenant { tenant } => self.remove_tenant(*tenant, changes),
            DirectoryCommand::AddAccessKey {
                tenant,
                id,
                wrapped_secret,
                root,
            } => {
                self.tenants.add_access_key(*tenant, id, wrapped_secret, *root)?;
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::SetAccessKey { id, status } => {
                self.tenants.set_access_key(id, *status)?;
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::RemoveAccessKey { id } => {
                self.tenants.remove_access_key(id)?;
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Create {
                tenant,
                name,
                definition,
            } => {
                let quotas = self.tenant_or_refuse(*tenant)?.quotas;
                let record = self.names.create(*tenant, name, definition, &quotas)?;
                changes.push(DirectoryChange::from(&record));
                Ok(DirectoryReply::Created(record))
            }
            DirectoryCommand::Confirm { incarnation } => {
                self.names.confirm(*incarnation)?;
                self.tell_name(*incarnation, changes);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Remove { incarnation } => {
                self.names.remove(*incarnation)?;
                self.tell_name(*incarnation, changes);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Restore { incarnation } => {
                self.names.restore(*incarnation)?;
                self.tell_name(*incarnation, changes);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Forget { incarnation } => {
                if let Some(record) = self.names.forget(*incarnation)? {
                    // Nothing is decided any more for what is gone: that its bindings go with it is not told.
                    self.plugins.unbind_incarnation(record.tenant, *incarnation);
                    self.follow_bindings();
                    changes.push(DirectoryChange::from(&record));
                }
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::PushPlugin {
                tenant,
                name,
                world,
                digest,
                bytes,
            } => {
                let plugins_max = match tenant {
                    Some(tenant) => u64::from(self.tenant_or_refuse(*tenant)?.quotas.plugins),
                    None => PLATFORM_PLUGINS_MAX,
                };
                let pushed = PluginRecord {
                    version: PluginVersion::default(),
                    tenant: *tenant,
                    name: name.clone(),
                    world: *world,
                    digest: *digest,
                    bytes: *bytes,
                    pushed: self.now,
                };
                let version = self.plugins.push(pushed, plugins_max)?;
                changes.push(DirectoryChange::Plugin {
                    tenant: *tenant,
                    name: name.clone(),
                    version,
                });
                Ok(DirectoryReply::Plugin(version))
            }
            DirectoryCommand::RemovePlugin { version } => {
                if self.trials.tries(*version) {
                    return Err(DirectoryRefusal::PluginInUse);
                }
                let removed = self.plugins.remove(*version)?;
                self.trials.forget_version(*version);
                changes.push(DirectoryChange::Plugin {
                    tenant: removed.tenant,
                    name: removed.name,
                    version: removed.version,
                });
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Bind {
                place,
                version,
                configuration,
                on_failure,
            } => self.bind(
                *place,
                *version,
                configuration,
                *on_failure,
                BreakerRecord::default(),
                changes,
            ),
            DirectoryCommand::BindBreaking {
                place,
                version,
                configuration,
                on_failure,
                breaker,
            } => self.bind(*place, *version, configuration, *on_failure, *breaker, changes),
            DirectoryCommand::Unbind { place, world } => {
                let owner = self.owner_of(*place);
                self.plugins.unbind(*place, *world, owner)?;
                self.follow_bindings();
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Activate { version } => {
                self.plugins.activate(*version, self.applied)?;
                self.follow_bindings();
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::RollBack { tenant, name } => {
                let version = self.plugins.roll_back(*tenant, name, self.applied)?;
                self.follow_bindings();
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::RolledBack(version))
            }
            DirectoryCommand::Quarantine { place, world, reason } => {
                self.plugins
                    .quarantine(*place, *world, reason.as_deref(), self.applied)?;
                self.follow_bindings();
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::TakeOut { place, world, reason } => {
                self.plugins
                    .quarantine(*place, *world, Some(reason), self.applied)?;
                self.guards.take_out(*place, *world, self.now);
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::PutMasterKey {
                tenant,
                name,
                wrapped,
            } => {
                self.tenant_or_refuse(*tenant)?;
                let version = self.master_keys.put(*tenant, name, wrapped)?;
                changes.push(DirectoryChange::MasterKey {
                    tenant: *tenant,
                    name: name.clone(),
                });
                Ok(DirectoryReply::MasterKey(version))
            }
            DirectoryCommand::SetMasterKey { tenant, name, state } => {
                self.tenant_or_refuse(*tenant)?;
                let in_use = self.names.seals(*tenant, name);
                self.master_keys.set(*tenant, name, *state, in_use)?;
                changes.push(DirectoryChange::MasterKey {
                    tenant: *tenant,
                    name: name.clone(),
                });
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Tick => {
                for (tenant, name) in self.master_keys.destroy_due(self.now) {
                    changes.push(DirectoryChange::MasterKey { tenant, name });
                }
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Seal { incarnation, key } => {
                let tenant = self.names.in_use(*incarnation)?.tenant;
                let key = match key {
                    Some(key) => Some(self.master_keys.enabled(tenant, key)?.name.clone()),
                    None => None,
                };
                self.names.seal(*incarnation, key)?;
                self.tell_name(*incarnation, changes);
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::Enroll { founders } => {
                self.change_nodes(|nodes| nodes.enroll(founders, founding.sets))
            }
            DirectoryCommand::Admit { node, address, disk } => {
                self.change_nodes(|nodes| nodes.admit(*node, address, *disk))
            }
            DirectoryCommand::Ready { node } => self.change_nodes(|nodes| nodes.ready(*node, founding.sets)),
            DirectoryCommand::Locate { node, address } => {
                self.change_nodes(|nodes| nodes.locate(*node, address))
            }
            DirectoryCommand::Relocate { set, from, to } => {
                self.change_nodes(|nodes| nodes.relocate(*set, *from, *to))
            }
            DirectoryCommand::Drain { node } => self.change_nodes(|nodes| nodes.drain(*node)),
            DirectoryCommand::RemoveNode { node } => self.change_nodes(|nodes| nodes.remove(*node)),
            DirectoryCommand::Renew { set, replica } => {
                self.change_nodes(|nodes| nodes.renew(*set, *replica))
            }
            DirectoryCommand::Reinstate { set, replica } => {
                self.change_nodes(|nodes| nodes.reinstate(*set, *replica))
            }
            DirectoryCommand::Discard { set, replica } => {
                self.change_nodes(|nodes| nodes.discard(*set, *replica))
            }
            DirectoryCommand::CreateSigningKey { tenant, name, secret } => {
                self.tenant_or_refuse(*tenant)?;
                self.signing_keys.create(*tenant, name, secret, self.now)?;
                changes.push(signing_key_changed(*tenant, name));
                Ok(DirectoryReply::SigningKey(1))
            }
            DirectoryCommand::RotateSigningKey { tenant, name, secret } => {
                let version = self.signing_keys.rotate(*tenant, name, secret, self.now)?;
                changes.push(signing_key_changed(*tenant, name));
                Ok(DirectoryReply::SigningKey(version))
            }
            DirectoryCommand::RetireSigningKey { tenant, name } => {
                self.signing_keys.retire(*tenant, name)?;
                changes.push(signing_key_changed(*tenant, name));
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::RemoveSigningKey { tenant, name } => {
                self.signing_keys.remove(*tenant, name)?;
                changes.push(signing_key_changed(*tenant, name));
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::BeginTrial {
                place,
                world,
                version,
                share,
                gate,
            } => {
                let trial = Trial {
                    place: *place,
                    world: *world,
                    owner: self.owner_of(*place),
                    version: *version,
                    share: *share,
                    gate: *gate,
                    began: self.applied,
                };
                self.trials.begin(trial, &self.plugins)?;
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::EndTrial {
                place,
                world,
                began,
                end,
            } => {
                let trial = self.trials.end(*place, *world, *began, end)?;
                if *end == TrialEnd::Promoted {
                    self.plugins
                        .promote(*place, *world, trial.version, self.applied)?;
                    self.follow_bindings();
                }
                changes.push(DirectoryChange::Deciding);
                Ok(DirectoryReply::Done)
            }
            DirectoryCommand::SetGuestLimits { tenant, limits } => {
                self.tenant_or_refuse(*tenant)?;
                self.guest_limits.set(*tenant, limits)?;
                self.tell_tenant(*tenant, changes);
                Ok(DirectoryReply::Done)
            }
        }
    }

    fn bind(
        &mut self,
        place: Place,
        version: PluginVersion,
        configuration: &Bytes,
        on_failure: FailurePolicy,
        breaker: BreakerRecord,
        changes: &mut Vec<DirectoryChange>,
    ) -> Result<DirectoryReply, DirectoryRefusal> {
        check_breaker(breaker)?;
        let plugin = self.plugins.get(version).ok_or(DirectoryRefusal::NoPlugin)?;
        let (world, owner) = (plugin.world, self.check_place(place, plugin)?);
        self.plugins.bind(Binding {
            place,
            owner,
            version,
            configuration,
            on_failure,
            changed: self.applied,
        })?;
        self.guards.begin(place, world, breaker);
        self.trials.overtake(place, world);
        changes.push(DirectoryChange::Deciding);
        Ok(DirectoryReply::Done)
    }

    /// Lets go of what guards bindings that are gone, or in use again, and ends trials beside what is in use no longer.
    fn follow_bindings(&mut self) {
        let plugins = &self.plugins;
        self.trials.follow(plugins);
        self.guards.tidy(|place, world| {
            let binding = plugins.binding(place, world);
            binding.map(|binding| binding.quarantined.is_some())
        });
    }

    /// Has something done with the nodes, and takes notice of the entry if it was not refused.
    fn change_nodes(
        &mut self,
        change: impl FnOnce(&mut Nodes) -> Result<DirectoryReply, DirectoryRefusal>,
    ) -> Result<DirectoryReply, DirectoryRefusal> {
        let reply = change(&mut self.nodes)?;
        self.nodes.change(self.applied);
        Ok(reply)
    }

    fn found(&mut self, founding: Founding) -> Result<DirectoryReply, DirectoryRefusal> {
        if self.founding.is_some() {
            return Err(DirectoryRefusal::Founded);
        }
        self.names.found(founding.sets)?;
        self.founding = Some(founding);
        Ok(DirectoryReply::Done)
    }

    fn remove_tenant(
        &mut self,
        tenant: TenantId,
        changes: &mut Vec<DirectoryChange>,
    ) -> Result<DirectoryReply, DirectoryRefusal> {
        self.tenant_or_refuse(tenant)?;
        if self.names.has_any(tenant) {
            return Err(DirectoryRefusal::TenantInUse);
        }
        self.tell_tenant(tenant, changes);
        let plugins = self.plugins.of(Some(tenant));
        changes.extend(plugins.map(|plugin| DirectoryChange::Plugin {
            tenant: plugin.tenant,
            name: plugin.name.clone(),
            version: plugin.version,
        }));
        self.plugins.remove_tenant(tenant);
        self.follow_bindings();
        self.master_keys.remove_tenant(tenant);
        self.signing_keys.remove_tenant(tenant);
        self.guest_limits.remove_tenant(tenant);
        self.tenants.remove(tenant);
        Ok(DirectoryReply::Done)
    }

    fn tell_tenant(&self, tenant: TenantId, changes: &mut Vec<DirectoryChange>) {
        changes.extend(self.tenants.get(tenant).map(|record| DirectoryChange::Tenant {
            tenant,
            name: record.name.clone(),
        }));
    }

    fn tell_name(&self, incarnation: Incarnation, changes: &mut Vec<DirectoryChange>) {
        changes.extend(self.names.get(incarnation).map(DirectoryChange::from));
    }

    fn tenant_or_refuse(&self, tenant: TenantId) -> Result<&TenantRecord, DirectoryRefusal> {
        self.tenants.get(tenant).ok_or(DirectoryRefusal::NoTenant)
    }

    /// Returns whose a place is, if it is there and a plugin may be bound to it.
    fn check_place(&self, place: Place, plugin: &PluginRecord) -> Result<Option<TenantId>, DirectoryRefusal> {
        let owner = match place {
            Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints => None,
            Place::Tenant(tenant) => Some(self.tenant_or_refuse(tenant)?.tenant),
            Place::Incarnation(incarnation) | Place::Subscription(incarnation, _) => {
                Some(self.names.in_use(incarnation)?.tenant)
            }
        };
        let kind = match place {
            Place::Incarnation(incarnation) | Place::Subscription(incarnation, _) => {
                Some(self.names.in_use(incarnation)?.kind)
            }
            Place::Platform | Place::Tenant(_) | Place::HttpEndpoints | Place::QueueEndpoints => None,
        };
        if !plugins::fits(plugin.world, place, kind) {
            return Err(DirectoryRefusal::WrongPlace);
        }
        if plugin.tenant.is_some() && plugin.tenant != owner {
            return Err(DirectoryRefusal::NotYours);
        }
        Ok(owner)
    }

    fn owner_of(&self, place: Place) -> Option<TenantId> {
        match place {
            Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints => None,
            Place::Tenant(tenant) => Some(tenant),
            Place::Incarnation(incarnation) | Place::Subscription(incarnation, _) => {
                self.names.get(incarnation).map(|record| record.tenant)
            }
        }
    }
}

fn signing_key_changed(tenant: TenantId, name: &Name) -> DirectoryChange {
    DirectoryChange::SigningKey {
        tenant,
        name: name.clone(),
    }
}

/// Returns the refusal for a limit that is reached.
fn limit(what: &str, limit: u64) -> DirectoryRefusal {
    DirectoryRefusal::Limit {
        what: what.to_owned(),
        limit,
    }
}

/// Refuses a wrapped secret or key that nothing of ours could be.
fn check_wrapped(wrapped: &[u8]) -> Result<(), DirectoryRefusal> {
    if wrapped.is_empty() {
        return Err(DirectoryRefusal::Malformed("empty wrapped key".to_owned()));
    }
    if wrapped.len() > WRAPPED_BYTES_MAX {
        return Err(limit("bytes of a wrapped key", WRAPPED_BYTES_MAX as u64));
    }
    Ok(())
}
