//! Queues and topics as names: made, found, changed, removed.
//!
//! Making one takes two logs. The directory claims the name and keeps the definition; the set defines it; the
//! directory confirms. Whatever stops this half-way, [`Broker::finish_names`] goes on with it: both steps can be
//! repeated. Removing goes the same way back.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::{
    Definition, Directory, DirectoryCommand, DirectoryRefusal, DirectoryReply, Generation, Incarnation, Kind,
    Name, NameRecord, NameState, QueueAttributes, Refusal, Set, SetCommand, SetId, TenantId, TopicAttributes,
};

use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// A name in use: what it stands for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Whose.
    pub tenant: TenantId,
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The set that holds it.
    pub set: SetId,
    /// The master key it is sealed under, if it is.
    pub sealed_under: Option<Name>,
}

impl Broker {
    /// Makes a queue or topic.
    pub async fn create(
        &self,
        tenant: TenantId,
        name: Name,
        definition: Definition,
    ) -> Result<Incarnation, BrokerError> {
        let kind = definition.kind();
        self.check_dead_letter(tenant, &name, &definition).await?;
        let command = DirectoryCommand::Create {
            tenant,
            name,
            definition,
        };
        let record = match self.direct(command, kind).await? {
            DirectoryReply::Created(record) => record,
            other => return Err(senseless(&other)),
        };
        self.define_created(record).await
    }

    /// Finds a name in use. One that is not known here is asked for before it is said not to exist: this node may be
    /// behind.
    pub async fn find(&self, tenant: TenantId, kind: Kind, name: &Name) -> Result<Resolved, BrokerError> {
        if let Ok(found) = self.resolve(tenant, kind, name) {
            return Ok(found);
        }
        self.refresh(None).await?;
        self.resolve(tenant, kind, name)
    }

    /// Has this node see the directory as it is now.
    pub async fn see_directory(&self) -> Result<(), BrokerError> {
        match self.is_alone() {
            true => Ok(()),
            false => self.refresh(None).await,
        }
    }

    /// Has this node see the directory, and the set of a name, as they are now.
    pub async fn see(&self, tenant: TenantId, kind: Kind, name: &Name) -> Result<(), BrokerError> {
        if self.is_alone() {
            return Ok(());
        }
        self.refresh(None).await?;
        match self.resolve(tenant, kind, name) {
            Ok(found) => self.see_incarnation(&found).await,
            // Whoever goes on will be told so.
            Err(_) => Ok(()),
        }
    }

    /// Finds a name in use, and has this node see all that its set was answered before.
    pub async fn find_fresh(
        &self,
        tenant: TenantId,
        kind: Kind,
        name: &Name,
    ) -> Result<Resolved, BrokerError> {
        let mut found = self.find(tenant, kind, name).await?;
        loop {
            self.see_incarnation(&found).await?;
            let known = self.set(found.set).view(|state| match kind {
                Kind::Queue => state.queue(found.incarnation).is_some(),
                Kind::Topic => state.topic(found.incarnation).is_some(),
            });
            let outcome = known.then(|| found.clone()).ok_or(BrokerError::NoName { kind });
            if let Some(outcome) = self.unless_renewed(&mut found, kind, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Returns the outcome of what was done with what a name stood for; none if the set did not know it, and the name
    /// stands for something else by now, which this node had not seen: then it is to be done with that.
    pub(super) async fn unless_renewed<T>(
        &self,
        found: &mut Resolved,
        kind: Kind,
        name: &Name,
        outcome: Result<T, BrokerError>,
    ) -> Option<Result<T, BrokerError>> {
        match outcome {
            Err(error) if error.is_of_a_stranger() => {
                if let Err(error) = self.refresh(None).await {
                    return Some(Err(error));
                }
                match self.resolve(found.tenant, kind, name) {
                    Ok(again) if again.incarnation != found.incarnation => {
                        *found = again;
                        None
                    }
                    Ok(_) | Err(_) => Some(Err(error)),
                }
            }
            outcome => Some(outcome),
        }
    }

    /// Finds what another node asks about, which this one may not have heard of yet.
    pub(super) async fn find_incarnation(
        &self,
        incarnation: Incarnation,
        kind: Kind,
    ) -> Result<Resolved, BrokerError> {
        if let Some(found) = self.resolve_incarnation(incarnation) {
            return Ok(found);
        }
        self.refresh(None).await?;
        self.resolve_incarnation(incarnation)
            .ok_or(BrokerError::NoName { kind })
    }

    /// Finds a name in use, as far as this node knows.
    pub fn resolve(&self, tenant: TenantId, kind: Kind, name: &Name) -> Result<Resolved, BrokerError> {
        self.directory
            .view(|directory| directory.name(tenant, kind, name).and_then(in_use))
            .ok_or(BrokerError::NoName { kind })
    }

    /// Finds an incarnation in use.
    pub fn resolve_incarnation(&self, incarnation: Incarnation) -> Option<Resolved> {
        self.directory
            .view(|directory| directory.record(incarnation).and_then(in_use))
    }

    /// Changes a queue's attributes.
    pub async fn alter_queue(
        &self,
        tenant: TenantId,
        name: &Name,
        change: impl FnOnce(QueueAttributes) -> Result<QueueAttributes, BrokerError> + Send,
    ) -> Result<QueueAttributes, BrokerError> {
        let found = self.find_fresh(tenant, Kind::Queue, name).await?;
        let (known, generation) = self
            .set(found.set)
            .view(|state| {
                state
                    .queue(found.incarnation)
                    .map(|queue| (queue.attributes().clone(), queue.generation()))
            })
            .ok_or(BrokerError::NoName { kind: Kind::Queue })?;
        let attributes = change(known)?;
        let definition = Definition::Queue(attributes.clone());
        self.check_dead_letter(tenant, name, &definition).await?;
        self.define(&found, name.clone(), Generation(generation.0 + 1), definition)
            .await?;
        Ok(attributes)
    }

    /// Changes a topic's attributes.
    pub async fn alter_topic(
        &self,
        tenant: TenantId,
        name: &Name,
        change: impl FnOnce(TopicAttributes) -> Result<TopicAttributes, BrokerError> + Send,
    ) -> Result<(), BrokerError> {
        let found = self.find_fresh(tenant, Kind::Topic, name).await?;
        let (known, generation) = self
            .set(found.set)
            .view(|state| {
                state
                    .topic(found.incarnation)
                    .map(|topic| (topic.attributes().clone(), topic.generation()))
            })
            .ok_or(BrokerError::NoName { kind: Kind::Topic })?;
        let definition = Definition::Topic(change(known)?);
        self.define(&found, name.clone(), Generation(generation.0 + 1), definition)
            .await
    }

    /// Removes a queue or topic with all that it holds.
    pub async fn remove(&self, tenant: TenantId, kind: Kind, name: &Name) -> Result<(), BrokerError> {
        let found = self.find(tenant, kind, name).await?;
        self.direct(
            DirectoryCommand::Remove {
                incarnation: found.incarnation,
            },
            kind,
        )
        .await?;
        self.drop_removed(found.incarnation, found.set, kind).await
    }

    /// Goes on with what was left half-way: creations that no set confirmed, removals that no set did.
    pub async fn finish_names(&self) -> Result<(), BrokerError> {
        let unfinished: Vec<NameRecord> = self
            .directory
            .view(|directory: &Directory| directory.unfinished().cloned().collect());
        for record in unfinished {
            match record.state {
                NameState::Creating(_) => {
                    self.define_created(record).await?;
                }
                NameState::Removing => {
                    self.drop_removed(record.incarnation, record.set, record.kind)
                        .await?
                }
                NameState::Ready => {}
            }
        }
        Ok(())
    }

    async fn define_created(&self, record: NameRecord) -> Result<Incarnation, BrokerError> {
        let (incarnation, kind) = (record.incarnation, record.kind);
        let NameState::Creating(definition) = record.state.clone() else {
            return Ok(incarnation);
        };
        let found = Resolved {
            tenant: record.tenant,
            incarnation,
            set: record.set,
            sealed_under: record.sealed_under,
        };
        if let Err(error) = self.define(&found, record.name, Generation(1), *definition).await {
            if let BrokerError::Refused { .. } = error {
                // The set will never take this definition: the name is given up.
                self.direct(DirectoryCommand::Forget { incarnation }, kind)
                    .await?;
            }
            return Err(error);
        }
        self.direct(DirectoryCommand::Confirm { incarnation }, kind)
            .await?;
        Ok(incarnation)
    }

    async fn drop_removed(
        &self,
        incarnation: Incarnation,
        set: SetId,
        kind: Kind,
    ) -> Result<(), BrokerError> {
        match self.command(set, SetCommand::Drop { incarnation }).await? {
            Ok(_) | Err(Refusal::NoIncarnation(_)) => {
                self.direct(DirectoryCommand::Forget { incarnation }, kind)
                    .await?;
                Ok(())
            }
            Err(refusal) => {
                self.direct(DirectoryCommand::Restore { incarnation }, kind)
                    .await?;
                Err(BrokerError::Refused { refusal, kind })
            }
        }
    }

    async fn define(
        &self,
        found: &Resolved,
        name: Name,
        generation: Generation,
        definition: Definition,
    ) -> Result<(), BrokerError> {
        let kind = definition.kind();
        let command = SetCommand::Define {
            incarnation: found.incarnation,
            generation,
            tenant: found.tenant,
            name,
            definition,
        };
        match self.command_seen(found.set, command).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(BrokerError::Refused { refusal, kind }),
        }
    }

    /// Asks the directory.
    pub async fn direct(&self, command: DirectoryCommand, kind: Kind) -> Result<DirectoryReply, BrokerError> {
        match self.directory_command(command).await? {
            Ok(reply) => Ok(reply),
            Err(DirectoryRefusal::NoIncarnation(_)) => Err(BrokerError::NoName { kind }),
            Err(refusal) => Err(BrokerError::Directory { refusal, kind }),
        }
    }

    /// Checks what one queue's policy says of another queue.
    ///
    /// The queues may be in other sets, so this is checked here and not at apply: two changes that race can break the
    /// rule. Nothing depends on it but how far a message can travel, and every hop is bounded by its own policy.
    async fn check_dead_letter(
        &self,
        tenant: TenantId,
        name: &Name,
        definition: &Definition,
    ) -> Result<(), BrokerError> {
        let Definition::Queue(attributes) = definition else {
            return Ok(());
        };
        let Some(policy) = &attributes.dead_letter else {
            return Ok(());
        };
        if policy.name.folded() == name.folded() {
            return Err(BrokerError::DeadLetterRule(
                "a queue cannot be its own dead letter queue".to_owned(),
            ));
        }
        let target =
            self.resolve(tenant, Kind::Queue, &policy.name)
                .map_err(|_| BrokerError::NoDeadLetterQueue {
                    name: policy.name.clone(),
                })?;
        if self.here(target.set).is_none() {
            self.see_incarnation(&target).await?;
        }
        let nested = self.set(target.set).view(|state| {
            state
                .queue(target.incarnation)
                .is_some_and(|queue| queue.attributes().dead_letter.is_some())
        });
        if nested {
            return Err(BrokerError::DeadLetterRule(
                "the dead letter queue has a dead letter queue itself".to_owned(),
            ));
        }
        let others = self.dead_letter_sources(tenant, target.incarnation).await?;
        let serves = others
            .iter()
            .filter(|source| source.1.folded() != name.folded())
            .count();
        if serves >= posthouse_model::bounds::DEAD_LETTER_SOURCES_MAX {
            return Err(BrokerError::DeadLetterRule(
                "the dead letter queue serves its limit of queues".to_owned(),
            ));
        }
        Ok(())
    }

    /// Returns the queues whose policy names this queue, by name.
    pub fn dead_letter_sources(
        &self,
        tenant: TenantId,
        target: Incarnation,
    ) -> BoxFuture<'_, Result<Vec<(Incarnation, Name)>, BrokerError>> {
        // Boxed, because what is asked of a leader may begin with this very call.
        self.look_for_sources(tenant, target).boxed()
    }

    async fn look_for_sources(
        &self,
        tenant: TenantId,
        target: Incarnation,
    ) -> Result<Vec<(Incarnation, Name)>, BrokerError> {
        let names: Vec<NameRecord> = self
            .directory
            .view(|directory| directory.names(tenant, Kind::Queue).cloned().collect());
        let mut by_set: BTreeMap<SetId, Vec<Incarnation>> = BTreeMap::new();
        for record in &names {
            by_set.entry(record.set).or_default().push(record.incarnation);
        }
        let mut sources = BTreeSet::new();
        for (set, queues) in by_set {
            let found = match self.here(set) {
                Some(group) => group.view(|state| sources_among(state, &queues, target)),
                None => {
                    let ask = |_| Ask::Sources {
                        set,
                        queues: queues.clone(),
                        target,
                    };
                    match self.reach(Some(set), PATIENCE, ask).await? {
                        Told::Sources(found) => found,
                        other => return Err(senseless(&other)),
                    }
                }
            };
            sources.extend(found);
        }
        let named = names
            .into_iter()
            .filter(|record| sources.contains(&record.incarnation));
        Ok(named.map(|record| (record.incarnation, record.name)).collect())
    }
}

/// Returns those of some queues of a set whose policy names a dead letter queue.
pub(super) fn sources_among(state: &Set, queues: &[Incarnation], target: Incarnation) -> Vec<Incarnation> {
    let names_it = |queue: &&Incarnation| {
        let queue = state.queue(**queue);
        let policy = queue.and_then(|queue| queue.attributes().dead_letter.as_ref());
        policy.is_some_and(|policy| policy.target == target)
    };
    queues.iter().filter(names_it).copied().collect()
}

fn in_use(record: &NameRecord) -> Option<Resolved> {
    match record.state {
        NameState::Ready => Some(Resolved {
            tenant: record.tenant,
            incarnation: record.incarnation,
            set: record.set,
            sealed_under: record.sealed_under.clone(),
        }),
        NameState::Creating(_) | NameState::Removing => None,
    }
}
