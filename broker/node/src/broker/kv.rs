//! What plugins keep between decisions: lent to them while a decision is made, and written with it.
//!
//! Decisions that use a store are made one after the other, each by what the one before it has written: a store counts its
//! own turns on the set's leader. Made at once, all but one of them would be refused for what they read, and decided again. That
//! a set refuses them is still what makes it right: another leader takes no turns here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_host::{Binding, KvReader, KvSession};
use posthouse_model::{
    Decided, KvEntry, KvId, KvRoom, KvStore, KvUse, KvWrite, Place, PluginVersion, Refusal, Set, SetCommand,
    SetId, TenantId, Time, World, kv_cost,
};
use posthouse_replica::Group;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::queues::DECISIONS_MAX;
use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// Turns that are remembered before those that nobody takes are forgotten.
const TURNS_KEPT_MAX: usize = 1_024;

type Turn = tokio::sync::Mutex<()>;

/// Whose turn it is at the stores of the sets that this node leads.
#[derive(Debug, Default)]
pub(super) struct KvTurns(Mutex<HashMap<(SetId, KvId), Weak<Turn>>>);

/// The stores that one decision uses. It has its turn at each until this is dropped, which is to be once it is stored.
///
/// Stores are taken in their order, or without waiting: so no two decisions wait for each other. One that would have to
/// wait out of order is given up, and made again with all that it wanted taken in order.
pub(super) struct KvUses {
    set: SetId,
    held: BTreeMap<KvId, Held>,
    missed: Option<KvId>,
}

/// A store that a decision uses.
struct Held {
    session: KvSession,
    /// What plugins are shown of it, where they are recorded.
    shown: Option<Shown>,
    _turn: OwnedMutexGuard<()>,
}

/// What plugins were shown of a store during a decision, without what it has written itself. Clones share it.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Found>>);

/// What a plugin found in its store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    /// What it asked for: of what a key held the first answer, or none.
    pub(super) entries: BTreeMap<String, Option<Bytes>>,
    /// How much more there was room for, if it wrote.
    pub(super) room: Option<KvRoom>,
}

/// Which of what a plugin keeps in a set is to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptWanted {
    /// The set.
    pub set: SetId,
    /// The store.
    pub store: KvId,
    /// One key alone.
    pub key: Option<String>,
    /// Keys after this one; all are after an empty one.
    pub after: String,
    /// How many at most.
    pub max: usize,
}

/// What a plugin is lent its store for.
pub(super) struct Lending<'a> {
    pub(super) world: World,
    pub(super) is_sealed: bool,
    pub(super) uses: &'a mut KvUses,
}

/// A store as a decision found it, for another version to be asked the same.
pub(super) struct Seen {
    pub(super) session: KvSession,
    /// How much of it is kept for that, at most.
    pub(super) bytes: u64,
}

/// Reads a store as it was.
struct AsItWas {
    store: Option<Arc<KvStore>>,
    room: KvRoom,
    now: Time,
}

/// Reads a store of a set that this node leads.
struct Applied {
    group: Group<Set>,
    store: KvId,
    shown: Option<Shown>,
}

// === impl KvTurns ===

impl KvTurns {
    fn of(&self, set: SetId, store: KvId) -> Arc<Turn> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(&(set, store)).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= TURNS_KEPT_MAX {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        turns.insert((set, store), Arc::downgrade(&turn));
        turn
    }
}

// === impl KvUses ===

impl KvUses {
    /// Returns which stores a decision wants that was given up because it would have had to wait for one out of order; none
    /// if that is not why.
    pub(super) fn wanted(&self) -> Option<BTreeSet<KvId>> {
        let missed = self.missed?;
        Some(self.held.keys().copied().chain([missed]).collect())
    }

    /// Returns a command with what was read and written while it was decided.
    pub(super) fn with(&self, command: SetCommand) -> SetCommand {
        let uses: Vec<KvUse> = self
            .held
            .iter()
            .filter_map(|(store, held)| held.session.used(*store))
            .collect();
        if uses.is_empty() {
            return command;
        }
        match Decided::new(command.clone()) {
            Some(command) => SetCommand::Decide { uses, command },
            None => command,
        }
    }

    /// Returns what a plugin that is recorded found in its store, before anything that this decision has written.
    pub(super) fn found_at_first(&self, store: KvId) -> Option<Found> {
        let shown = self.held.get(&store)?.shown.as_ref()?;
        Some(shown.0.lock().clone())
    }

    /// Returns what a plugin that is recorded found in its store, after all that this decision has written.
    pub(super) fn found(&self, store: KvId) -> Option<Found> {
        let mut found = self.found_at_first(store)?;
        let used = self.held.get(&store)?.session.used(store);
        for (key, write) in used.into_iter().flat_map(|used| used.writes) {
            found.write(key, write);
        }
        Some(found)
    }

    fn is_after_all(&self, store: KvId) -> bool {
        self.held.last_key_value().is_none_or(|(last, _)| *last < store)
    }
}

impl KvReader for AsItWas {
    fn get(&self, key: &str) -> Option<KvEntry> {
        self.store.as_ref()?.get(key, self.now).cloned()
    }

    fn room(&self) -> KvRoom {
        self.room
    }
}

impl KvReader for Applied {
    fn get(&self, key: &str) -> Option<KvEntry> {
        let now = self.group.now();
        let held = self
            .group
            .view(|state| state.kv(self.store)?.get(key, now).cloned());
        if let Some(shown) = &self.shown {
            let value = held.as_ref().map(|held| held.value.clone());
            shown.0.lock().entries.entry(key.to_owned()).or_insert(value);
        }
        held
    }

    fn room(&self) -> KvRoom {
        let room = self.group.view(|state| state.kv_room(self.store));
        if let Some(shown) = &self.shown {
            shown.0.lock().room.get_or_insert(room);
        }
        room
    }
}

// === impl Found ===

impl Found {
    fn write(&mut self, key: String, write: KvWrite) {
        let cost = |value: &Bytes| kv_cost(&key, value.len());
        let after = match write {
            KvWrite::Put(value, _) => Some(value),
            KvWrite::Delete => None,
        };
        let before = self.entries.get(&key).cloned().flatten();
        if let Some(room) = &mut self.room {
            room.keys =
                (room.keys + usize::from(before.is_some())).saturating_sub(usize::from(after.is_some()));
            let freed = before.as_ref().map_or(0, cost);
            room.bytes = (room.bytes + freed).saturating_sub(after.as_ref().map_or(0, cost));
        }
        self.entries.insert(key, after);
    }
}

// === impl KeptWanted ===

impl KeptWanted {
    pub(super) fn of(&self, state: &Set, now: Time) -> Vec<(String, KvEntry)> {
        let Some(store) = state.kv(self.store) else {
            return Vec::new();
        };
        let shown = |(key, entry): (&str, &KvEntry)| (key.to_owned(), entry.clone());
        match &self.key {
            Some(key) => store
                .get(key, now)
                .map(|entry| shown((key, entry)))
                .into_iter()
                .collect(),
            None => store
                .entries_after(&self.after, now)
                .take(self.max)
                .map(shown)
                .collect(),
        }
    }
}

// === telling ===

impl Broker {
    /// Returns what a plugin keeps in a set.
    pub async fn kept(&self, wanted: &KeptWanted) -> Result<Vec<(String, KvEntry)>, BrokerError> {
        let ask = |_| Ask::Kept(wanted.clone());
        match self.reach(Some(wanted.set), PATIENCE, ask).await? {
            Told::KeptEntries(entries) => Ok(entries),
            other => Err(senseless(&other)),
        }
    }

    /// Returns the sets that may hold stores of what is bound at a place.
    pub fn sets_of(&self, place: Place) -> Vec<SetId> {
        match place {
            Place::Incarnation(at) | Place::Subscription(at, _) => {
                let found = self.resolve_incarnation(at);
                found.map(|found| found.set).into_iter().collect()
            }
            Place::Platform | Place::Tenant(_) | Place::HttpEndpoints | Place::QueueEndpoints => {
                self.all_sets().collect()
            }
        }
    }
}

// === deciding ===

impl Broker {
    /// Returns what a decision on a set uses, with its turn at stores that are known to be wanted.
    pub(super) async fn kv_uses(&self, set: SetId, wanted: &BTreeSet<KvId>) -> Result<KvUses, BrokerError> {
        let mut uses = KvUses {
            set,
            held: BTreeMap::new(),
            missed: None,
        };
        for store in wanted {
            self.take_kv(&mut uses, *store).await?;
        }
        Ok(uses)
    }

    /// Lends a binding's plugin its store, if it asks for one. The plugin must be loaded.
    pub(super) async fn lend_kv(
        &self,
        binding: &Binding,
        lending: &mut Lending<'_>,
    ) -> Result<Binding, BrokerError> {
        if !self.guests.uses_kv(binding.version) {
            return Ok(binding.clone());
        }
        let session = match lending.is_sealed {
            true => KvSession::sealed(),
            false => {
                let store = store_of(binding, lending.world);
                self.take_kv(lending.uses, store).await?
            }
        };
        Ok(Binding {
            kv: Some(session),
            ..binding.clone()
        })
    }

    /// Returns a binding's store as a decision finds it now, if either of two versions asks for one. Both must be loaded.
    pub(super) async fn see_kv(
        &self,
        binding: &Binding,
        tried: &Binding,
        lending: &mut Lending<'_>,
    ) -> Result<Option<Seen>, BrokerError> {
        let asks = |version| self.guests.uses_kv(version);
        if !asks(binding.version) && !asks(tried.version) {
            return Ok(None);
        }
        if lending.is_sealed {
            let session = KvSession::sealed();
            return Ok(Some(Seen { session, bytes: 0 }));
        }
        let store = store_of(binding, lending.world);
        let live = self.take_kv(lending.uses, store).await?;
        let group = self.member(lending.uses.set)?;
        let now = group.now();
        let (kept, room) = group.view(|state| (state.kv_as_it_is(store), state.kv_room(store)));
        let bytes = kept.as_ref().map_or(0, |kept| kept.bytes());
        let session = live.beside(Box::new(AsItWas {
            store: kept,
            room,
            now,
        }));
        Ok(Some(Seen { session, bytes }))
    }

    async fn take_kv(&self, uses: &mut KvUses, store: KvId) -> Result<KvSession, BrokerError> {
        if let Some(held) = uses.held.get(&store) {
            return Ok(held.session.clone());
        }
        let turn = self.kv_turns.of(uses.set, store);
        let turn = match uses.is_after_all(store) {
            true => turn.lock_owned().await,
            false => match turn.try_lock_owned() {
                Ok(turn) => turn,
                Err(_) => {
                    uses.missed = Some(store);
                    return Err(BrokerError::Unsettled);
                }
            },
        };
        let group = self.member(uses.set)?.clone();
        let shown = self.records(store).then(Shown::default);
        let session = KvSession::new(Box::new(Applied {
            group,
            store,
            shown: shown.clone(),
        }));
        let held = Held {
            session: session.clone(),
            shown,
            _turn: turn,
        };
        uses.held.insert(store, held);
        Ok(session)
    }
}

/// Returns the store of a binding, on behalf of the tenant that it is used for.
pub(super) fn store_of(binding: &Binding, world: World) -> KvId {
    KvId {
        place: binding.identity.place,
        world,
        tenant: binding.tenant,
    }
}

// === the ends of stores ===

impl Broker {
    /// Makes sure that a plugin that keeps something can be bound to a place, and finds nothing there that another kept.
    pub(super) async fn make_room_for_kv(
        &self,
        place: Place,
        version: PluginVersion,
    ) -> Result<(), BrokerError> {
        self.load(version).await?;
        if !self.guests.uses_kv(version) {
            return Ok(());
        }
        self.refresh(None).await?;
        if self.is_sealed(place) {
            let text = "a plugin that imports `kv` cannot be bound where bodies are sealed: what it keeps would stand in clear";
            return Err(BrokerError::Argument(text.to_owned()));
        }
        let bound = self.directory.view(|directory| {
            let plugin = directory.plugin(version)?;
            let before = directory.binding(place, plugin.world)?;
            let before = directory.plugin(before.version)?;
            let same = before.tenant == plugin.tenant && before.name.folded() == plugin.name.folded();
            Some((plugin.world, same))
        });
        match bound {
            Some((_, true)) => Ok(()),
            Some((world, false)) => self.forget_kv(place, world).await,
            None => {
                let world = self
                    .directory
                    .view(|directory| directory.plugin(version).map(|plugin| plugin.world));
                match world {
                    Some(world) => self.forget_kv(place, world).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Returns whether bodies are sealed at a place.
    pub(super) fn is_sealed(&self, place: Place) -> bool {
        match place {
            Place::Incarnation(at) | Place::Subscription(at, _) => self
                .resolve_incarnation(at)
                .is_some_and(|found| found.sealed_under.is_some()),
            Place::Platform | Place::Tenant(_) | Place::HttpEndpoints | Place::QueueEndpoints => false,
        }
    }

    /// Lets go of what was kept by a binding that is no more, on all sets. Nothing that it decided comes after that.
    pub(super) async fn forget_kv(&self, place: Place, world: World) -> Result<(), BrokerError> {
        let forgetting = self
            .all_sets()
            .map(|set| self.forget_kv_in(set, place, world, None));
        futures::future::try_join_all(forgetting).await?;
        Ok(())
    }

    async fn forget_kv_in(
        &self,
        set: SetId,
        place: Place,
        world: World,
        tenant: Option<TenantId>,
    ) -> Result<(), BrokerError> {
        for _ in 0..DECISIONS_MAX {
            let decided_at = self.directory.applied();
            let command = SetCommand::ForgetKv {
                place,
                world,
                tenant,
                decided_at,
            };
            match self.command(set, command).await? {
                Ok(_) => {
                    self.deciding.reach(decided_at);
                    return Ok(());
                }
                Err(Refusal::DecidedTooEarly { seen, .. }) => self.directory.wait_applied(seen).await?,
                Err(refusal) => return Err(BrokerError::topic(refusal)),
            }
        }
        Err(BrokerError::Unsettled)
    }

    /// Lets go of what is left of bindings and tenants that are no more, in a set that this node has begun to lead: whoever
    /// ended them may not have reached the set.
    pub(super) async fn sweep_kv(&self, set: SetId) -> Result<(), BrokerError> {
        let stores: Vec<KvId> = self.set(set).view(|state| state.kv_stores().collect());
        if stores.is_empty() {
            return Ok(());
        }
        self.refresh(None).await?;
        for KvId { place, world, tenant } in stores {
            let is_over = self.directory.view(|directory| {
                directory.binding(place, world).is_none() || directory.tenant(tenant).is_none()
            });
            if is_over {
                self.forget_kv_in(set, place, world, Some(tenant)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decision_has_written_is_found_after_it_and_takes_its_room() {
        let put = |value: &'static str| KvWrite::Put(Bytes::from_static(value.as_bytes()), None);
        let room = KvRoom {
            keys: 5,
            bytes: 1_000,
        };
        let mut found = Found {
            entries: BTreeMap::from([
                ("a".to_owned(), Some(Bytes::from_static(b"1"))),
                ("b".to_owned(), None),
            ]),
            room: Some(room),
        };
        found.write("a".to_owned(), put("22"));
        found.write("b".to_owned(), put("3"));
        let bytes = 1_000 - 1 - kv_cost("b", 1);
        assert_eq!(found.room, Some(KvRoom { keys: 4, bytes }));
        found.write("b".to_owned(), KvWrite::Delete);
        let after = BTreeMap::from([
            ("a".to_owned(), Some(Bytes::from_static(b"22"))),
            ("b".to_owned(), None),
        ]);
        assert_eq!(found.entries, after);
        assert_eq!(found.room, Some(KvRoom { keys: 5, bytes: 999 }));
    }
}
