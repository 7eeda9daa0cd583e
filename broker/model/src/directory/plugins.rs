//! Versions of plugins, and what they are bound to.
//!
//! Versions are numbered from 1 over all plugins, in order of pushing. A place has at most one binding of each
//! world. A binding whose index of change is the same is the same binding: caches go by it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limit;
use crate::{
    BindingRecord, DirectoryRefusal, FailurePolicy, Incarnation, Kind, LogIndex, Name, Place, PluginRecord,
    PluginVersion, SubscriptionId, TenantId, World,
};

/// The most versions of plugins that are everybody's.
pub const PLATFORM_PLUGINS_MAX: u64 = 1_000;
/// The longest configuration of a binding, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 65_536;
/// The most bindings at a tenant's places.
pub const BINDINGS_MAX: u64 = 20_000;
/// The most bytes of configuration of all bindings at a tenant's places.
pub const CONFIGURATIONS_BYTES_MAX: u64 = 16 * 1_048_576;
/// The most bindings to subscriptions of one topic: two worlds for each that it can have.
pub const SUBSCRIPTION_BINDINGS_MAX: usize = 2 * crate::bounds::SUBSCRIPTIONS_MAX;
/// The longest reason of a quarantine, in bytes; what is longer is cut.
pub const QUARANTINE_BYTES_MAX: usize = 1_024;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Plugins {
    /// The version given last.
    last: PluginVersion,
    plugins: BTreeMap<PluginVersion, PluginRecord>,
    /// Versions by owner and folded name.
    names: BTreeMap<PluginName, BTreeSet<PluginVersion>>,
    bindings: BTreeMap<(Place, World), BindingRecord>,
    usage: BTreeMap<TenantId, Usage>,
}

type PluginName = (Option<TenantId>, String);

/// What the bindings at a tenant's places take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Usage {
    bindings: u64,
    configuration_bytes: u64,
}

/// A binding to be made, its place checked.
pub(super) struct Binding<'a> {
    pub(super) place: Place,
    /// Whose the place is.
    pub(super) owner: Option<TenantId>,
    pub(super) version: PluginVersion,
    pub(super) configuration: &'a Bytes,
    pub(super) on_failure: FailurePolicy,
    pub(super) changed: LogIndex,
}

// === impl Plugins ===

impl Plugins {
    pub(super) fn get(&self, version: PluginVersion) -> Option<&PluginRecord> {
        self.plugins.get(&version)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &PluginRecord> {
        self.plugins.values()
    }

    pub(super) fn of(&self, tenant: Option<TenantId>) -> impl Iterator<Item = &PluginRecord> {
        let names = self.names.range((tenant, String::new())..);
        names
            .take_while(move |((of, _), _)| *of == tenant)
            .flat_map(|(_, versions)| versions)
            .filter_map(|version| self.plugins.get(version))
    }

    /// Returns the versions that come after one, by owner, folded name and version; none is before all.
    pub(super) fn after(
        &self,
        after: Option<(Option<TenantId>, &str, PluginVersion)>,
    ) -> impl Iterator<Item = &PluginRecord> {
        let from = after.map_or((None, String::new()), |(of, folded, _)| (of, folded.to_owned()));
        let names = self.names.range(from..);
        names
            .flat_map(|((of, folded), versions)| {
                versions
                    .iter()
                    .map(move |version| (*of, folded.as_str(), *version))
            })
            .skip_while(move |at| after.is_some_and(|after| *at <= after))
            .filter_map(|(_, _, version)| self.plugins.get(&version))
    }

    pub(super) fn binding(&self, place: Place, world: World) -> Option<&BindingRecord> {
        self.bindings.get(&(place, world))
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = &BindingRecord> {
        self.bindings.values()
    }

    /// Records a version, and returns the number that it gets, or has.
    pub(super) fn push(
        &mut self,
        mut pushed: PluginRecord,
        plugins_max: u64,
    ) -> Result<PluginVersion, DirectoryRefusal> {
        let name = (pushed.tenant, pushed.name.folded());
        for version in self.names.get(&name).into_iter().flatten() {
            let Some(known) = self.plugins.get(version) else {
                continue;
            };
            if known.world != pushed.world {
                return Err(DirectoryRefusal::OtherWorld);
            }
            if known.digest == pushed.digest {
                return Ok(*version);
            }
        }
        if self.of(pushed.tenant).count() as u64 >= plugins_max {
            return Err(limit("plugin versions", plugins_max));
        }
        let Some(number) = self.last.0.checked_add(1) else {
            return Err(limit("plugin versions ever pushed", u64::MAX));
        };
        self.last = PluginVersion(number);
        pushed.version = self.last;
        self.names.entry(name).or_default().insert(self.last);
        self.plugins.insert(self.last, pushed);
        Ok(self.last)
    }

    /// Forgets a version that nothing is bound to, and returns what it was. Its number is not given again.
    pub(super) fn remove(&mut self, version: PluginVersion) -> Result<PluginRecord, DirectoryRefusal> {
        let plugin = self.plugins.get(&version).ok_or(DirectoryRefusal::NoPlugin)?;
        if plugin.world == World::Seal {
            return Err(DirectoryRefusal::PluginSeals);
        }
        if self.bindings.values().any(|binding| binding.version == version) {
            return Err(DirectoryRefusal::PluginInUse);
        }
        let removed = plugin.clone();
        let name = (removed.tenant, removed.name.folded());
        self.plugins.remove(&version);
        if let Some(versions) = self.names.get_mut(&name) {
            versions.remove(&version);
            if versions.is_empty() {
                self.names.remove(&name);
            }
        }
        for binding in self.bindings.values_mut() {
            binding.previous = binding.previous.filter(|previous| *previous != version);
        }
        Ok(removed)
    }

    pub(super) fn bind(&mut self, binding: Binding<'_>) -> Result<(), DirectoryRefusal> {
        let plugin = self.plugins.get(&binding.version);
        let world = plugin.ok_or(DirectoryRefusal::NoPlugin)?.world;
        if world == World::Seal && binding.on_failure == FailurePolicy::Park {
            // What a seal failed on is in clear, and would be parked in clear.
            let what = "failure policy of a seal binding".to_owned();
            return Err(DirectoryRefusal::Malformed(what));
        }
        if binding.configuration.len() > CONFIGURATION_BYTES_MAX {
            return Err(limit("bytes of configuration", CONFIGURATION_BYTES_MAX as u64));
        }
        let old = self.bindings.get(&(binding.place, world));
        if old.is_none()
            && let Place::Subscription(topic, _) = binding.place
            && self.of_subscriptions(topic).count() >= SUBSCRIPTION_BINDINGS_MAX
        {
            let bindings_max = SUBSCRIPTION_BINDINGS_MAX as u64;
            return Err(limit("bindings to a topic's subscriptions", bindings_max));
        }
        // A new version here is a new binding; only an `Activate` can be rolled back.
        let unchanged = old.filter(|old| old.version == binding.version);
        let previous = unchanged.and_then(|old| old.previous);
        let usage = self.usage_with(&binding, old)?;
        if let Some(owner) = binding.owner {
            self.usage.insert(owner, usage);
        }
        let record = BindingRecord {
            place: binding.place,
            world,
            version: binding.version,
            previous,
            configuration: binding.configuration.clone(),
            on_failure: binding.on_failure,
            quarantined: None,
            changed: binding.changed,
        };
        self.bindings.insert((binding.place, world), record);
        Ok(())
    }

    /// Detaches what is bound at a place of `owner`.
    pub(super) fn unbind(
        &mut self,
        place: Place,
        world: World,
        owner: Option<TenantId>,
    ) -> Result<(), DirectoryRefusal> {
        let removed = self.bindings.remove(&(place, world));
        let removed = removed.ok_or(DirectoryRefusal::NotBound)?;
        if let Some(owner) = owner {
            self.give_back(owner, &removed);
        }
        Ok(())
    }

    /// Detaches everything from a queue or topic of `owner` and from its subscriptions.
    pub(super) fn unbind_incarnation(&mut self, owner: TenantId, incarnation: Incarnation) {
        let place = Place::Incarnation(incarnation);
        let own = self.bindings.range((place, World::Route)..=(place, World::Seal));
        let of_subscriptions = self.of_subscriptions(incarnation);
        let all = own.map(|(at, _)| *at).chain(of_subscriptions);
        for at in all.collect::<Vec<_>>() {
            if let Some(removed) = self.bindings.remove(&at) {
                self.give_back(owner, &removed);
            }
        }
    }

    /// Removes a tenant's plugins, and what is bound to it as a whole. It has no queues and topics any more.
    pub(super) fn remove_tenant(&mut self, tenant: TenantId) {
        self.names.retain(|(of, _), _| *of != Some(tenant));
        self.plugins.retain(|_, plugin| plugin.tenant != Some(tenant));
        self.bindings
            .retain(|(place, _), _| *place != Place::Tenant(tenant));
        self.usage.remove(&tenant);
    }

    pub(super) fn activate(
        &mut self,
        version: PluginVersion,
        changed: LogIndex,
    ) -> Result<(), DirectoryRefusal> {
        let plugin = self.plugins.get(&version).ok_or(DirectoryRefusal::NoPlugin)?;
        let name = (plugin.tenant, plugin.name.folded());
        let Some(versions) = self.names.get(&name) else {
            return Err(DirectoryRefusal::NoPlugin);
        };
        for binding in self.bindings.values_mut() {
            if binding.version != version && versions.contains(&binding.version) {
                binding.previous = Some(binding.version);
                binding.version = version;
                binding.quarantined = None;
                binding.changed = changed;
            }
        }
        Ok(())
    }

    /// Returns the version that is in use now; of several the latest.
    pub(super) fn roll_back(
        &mut self,
        tenant: Option<TenantId>,
        name: &Name,
        changed: LogIndex,
    ) -> Result<PluginVersion, DirectoryRefusal> {
        let Some(versions) = self.names.get(&(tenant, name.folded())) else {
            return Err(DirectoryRefusal::NoPlugin);
        };
        let mut latest = None;
        for binding in self.bindings.values_mut() {
            if versions.contains(&binding.version)
                && let Some(previous) = binding.previous.take()
            {
                binding.version = previous;
                binding.quarantined = None;
                binding.changed = changed;
                latest = latest.max(Some(previous));
            }
        }
        latest.ok_or(DirectoryRefusal::NoEarlierVersion)
    }

    /// Has one binding use another version of its plugin.
    pub(super) fn promote(
        &mut self,
        place: Place,
        world: World,
        version: PluginVersion,
        changed: LogIndex,
    ) -> Result<(), DirectoryRefusal> {
        let binding = self.bindings.get_mut(&(place, world));
        let binding = binding.ok_or(DirectoryRefusal::NotBound)?;
        binding.previous = Some(binding.version);
        binding.version = version;
        binding.quarantined = None;
        binding.changed = changed;
        Ok(())
    }

    pub(super) fn quarantine(
        &mut self,
        place: Place,
        world: World,
        reason: Option<&str>,
        changed: LogIndex,
    ) -> Result<(), DirectoryRefusal> {
        let binding = self.bindings.get_mut(&(place, world));
        let binding = binding.ok_or(DirectoryRefusal::NotBound)?;
        let reason = reason.map(|reason| cut(reason, QUARANTINE_BYTES_MAX));
        if binding.quarantined.as_deref() != reason {
            binding.quarantined = reason.map(str::to_owned);
            binding.changed = changed;
        }
        Ok(())
    }

    /// Returns what the owner's bindings take once `binding` has replaced `old`, if that is within bounds.
    fn usage_with(
        &self,
        binding: &Binding<'_>,
        old: Option<&BindingRecord>,
    ) -> Result<Usage, DirectoryRefusal> {
        let owner = binding.owner.and_then(|owner| self.usage.get(&owner));
        let mut usage = owner.copied().unwrap_or_default();
        if let Some(old) = old {
            usage.take_out(old);
        }
        usage.bindings += 1;
        usage.configuration_bytes += binding.configuration.len() as u64;
        if usage.bindings > BINDINGS_MAX {
            return Err(limit("bindings", BINDINGS_MAX));
        }
        if usage.configuration_bytes > CONFIGURATIONS_BYTES_MAX {
            return Err(limit("bytes of configurations", CONFIGURATIONS_BYTES_MAX));
        }
        Ok(usage)
    }

    #[cfg(test)]
    pub(super) fn configuration_bytes(&self, tenant: TenantId) -> u64 {
        self.usage
            .get(&tenant)
            .map_or(0, |usage| usage.configuration_bytes)
    }

    fn give_back(&mut self, owner: TenantId, removed: &BindingRecord) {
        let Some(usage) = self.usage.get_mut(&owner) else {
            return;
        };
        usage.take_out(removed);
        if *usage == Usage::default() {
            self.usage.remove(&owner);
        }
    }

    fn of_subscriptions(&self, topic: Incarnation) -> impl Iterator<Item = (Place, World)> {
        let first = (Place::Subscription(topic, SubscriptionId(0)), World::Route);
        let last = (Place::Subscription(topic, SubscriptionId(u64::MAX)), World::Seal);
        self.bindings.range(first..=last).map(|(at, _)| *at)
    }
}

// === impl Usage ===

impl Usage {
    fn take_out(&mut self, binding: &BindingRecord) {
        let bytes = binding.configuration.len() as u64;
        self.bindings = self.bindings.saturating_sub(1);
        self.configuration_bytes = self.configuration_bytes.saturating_sub(bytes);
    }
}

/// Returns whether a plugin of a world can be bound to a place; `kind` is that of the place's queue or topic.
pub(super) fn fits(world: World, place: Place, kind: Option<Kind>) -> bool {
    let on_topic = kind == Some(Kind::Topic);
    match (world, place) {
        (World::Route, Place::Platform | Place::Tenant(_)) => true,
        (World::Route, Place::Incarnation(_)) => on_topic,
        (World::Filter, Place::Tenant(_) | Place::Incarnation(_)) => true,
        (World::Filter, Place::Subscription(..)) => on_topic,
        (World::Deliver, Place::HttpEndpoints | Place::QueueEndpoints | Place::Tenant(_)) => true,
        (World::Deliver, Place::Incarnation(_) | Place::Subscription(..)) => on_topic,
        (World::Seal, Place::Platform | Place::Tenant(_) | Place::Incarnation(_)) => true,
        (World::Route, Place::Subscription(..) | Place::HttpEndpoints | Place::QueueEndpoints)
        | (World::Filter, Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints)
        | (World::Deliver, Place::Platform)
        | (World::Seal, Place::Subscription(..) | Place::HttpEndpoints | Place::QueueEndpoints) => false,
    }
}

/// Returns the beginning of a text, at most so many bytes of it.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
