//! Plugin components as files, by content; and the built-in ones, which every node brings along.
//!
//! A version is recorded once a majority of the nodes keeps its component, so that it can be had whichever node is
//! lost. The others fetch it when they see the record. Once no version is recorded with a component, every node lets go
//! of it; but not of one that was kept a moment ago, which may be about to be recorded.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use posthouse_model::{
    BindingRecord, DirectoryCommand, DirectoryReply, FailurePolicy, Kind, Name, Place, PluginRecord,
    PluginVersion, TenantId, World,
};
use posthouse_replica::{Fault, Reason};

use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// How often a node looks for components that it lacks, or has and needs no more.
const LOOK: Duration = Duration::from_secs(2);
/// How long a component is kept that is not recorded: longer than recording one takes.
const UNRECORDED_KEPT: Duration = Duration::from_secs(60);
/// What the name of a component's file ends in, and while it is being written.
const COMPONENT: &str = "wasm";
const DRAFT: &str = "draft";

/// The built-in plugins: their names, worlds and places.
const BUILTINS: [(&str, World, Place); 4] = [
    ("topic-router", World::Route, Place::Platform),
    ("http-push", World::Deliver, Place::HttpEndpoints),
    ("queue-push", World::Deliver, Place::QueueEndpoints),
    ("kms-envelope", World::Seal, Place::Platform),
];

/// A folder of components, each named by its digest.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
}

/// Components that may be about to be recorded, since when: those that were kept lately, and at the start all.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    since: Arc<Mutex<HashMap<[u8; 32], Instant>>>,
}

/// The built-in components that this node has.
#[derive(Clone, Debug, Default)]
pub struct Builtins {
    found: Vec<(Name, World, Place, Bytes)>,
}

// === impl Components ===

impl Components {
    /// Opens the folder, and makes it if need be.
    pub fn open(folder: PathBuf) -> std::io::Result<Components> {
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(&folder)? {
            let path = file?.path();
            // Nobody writes it any more.
            if path.extension().is_some_and(|extension| extension == DRAFT) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Components { folder })
    }

    /// Keeps a component, durably. Returns its digest.
    pub fn put(&self, component: &[u8]) -> std::io::Result<[u8; 32]> {
        let digest = posthouse_keyring::sha256(component);
        let path = self.path(&digest);
        if self.get(&digest)?.is_some() {
            return Ok(digest);
        }
        // Two may be at the same component.
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = path.with_extension(format!("{number}.{DRAFT}"));
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(component)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        Ok(digest)
    }

    /// Removes a component. One that is not there is fine.
    pub fn remove(&self, digest: &[u8; 32]) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Returns a component, if it is here and is what its digest says.
    pub fn get(&self, digest: &[u8; 32]) -> std::io::Result<Option<Bytes>> {
        match std::fs::read(self.path(digest)) {
            Ok(bytes) if posthouse_keyring::sha256(&bytes) == *digest => Ok(Some(Bytes::from(bytes))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the digests of all components that are here, as their files are named.
    pub(super) fn all(&self) -> std::io::Result<Vec<[u8; 32]>> {
        let mut digests = Vec::new();
        for file in std::fs::read_dir(&self.folder)? {
            let path = file?.path();
            let is_component = path.extension().is_some_and(|extension| extension == COMPONENT);
            let name = path.file_stem().and_then(|name| name.to_str());
            digests.extend(name.filter(|_| is_component).and_then(parsed_digest));
        }
        Ok(digests)
    }

    /// Returns whether a component is here; what is in its file is looked at when it is read.
    fn has(&self, digest: &[u8; 32]) -> bool {
        self.path(digest).is_file()
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(COMPONENT)
    }
}

// === impl Awaited ===

impl Awaited {
    /// Begins with what is there at the start: who had it kept may be about to record it.
    pub(super) fn from_start(components: &Components) -> std::io::Result<Awaited> {
        let now = Instant::now();
        let all = components.all()?.into_iter().map(|digest| (digest, now));
        Ok(Awaited {
            since: Arc::new(Mutex::new(all.collect())),
        })
    }

    fn expect(&self, digest: [u8; 32]) {
        self.since.lock().insert(digest, Instant::now());
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.since.lock().remove(digest);
    }

    fn contains(&self, digest: &[u8; 32]) -> bool {
        let mut since = self.since.lock();
        since.retain(|_, since| since.elapsed() < UNRECORDED_KEPT);
        since.contains_key(digest)
    }

    /// Removes a component unless it is expected to be recorded. Who expects it from now on finds it gone.
    fn remove_unless_awaited(&self, components: &Components, digest: &[u8; 32]) -> std::io::Result<()> {
        let since = self.since.lock();
        match since.contains_key(digest) {
            true => Ok(()),
            false => components.remove(digest),
        }
    }
}

// === impl Builtins ===

impl Builtins {
    /// Returns those that were built into this program.
    pub fn embedded() -> Builtins {
        let mut builtins = Builtins::default();
        for builtin in posthouse_host::builtins() {
            builtins.add(builtin.name, Bytes::from_static(builtin.component));
        }
        builtins
    }

    /// Returns those that are in a folder, as `NAME/component.wasm` or `NAME.wasm`.
    pub fn from_folder(folder: &Path) -> std::io::Result<Builtins> {
        let mut builtins = Builtins::default();
        for (name, _, _) in BUILTINS {
            for path in [
                folder.join(name).join("component.wasm"),
                folder.join(name).with_extension("wasm"),
            ] {
                match std::fs::read(path) {
                    Ok(component) => builtins.add(name, Bytes::from(component)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(builtins)
    }

    fn add(&mut self, name: &str, component: Bytes) {
        let known = BUILTINS.iter().find(|(known, _, _)| *known == name);
        if let Some((name, world, place)) = known {
            let name = Name::parse(name).expect("the constants are names");
            self.found.push((name, *world, *place, component));
        }
    }
}

// === impl Broker ===

impl Broker {
    /// Has the directory know the built-in plugins that this node brings, bound where they belong; and no others.
    pub async fn install_builtins(&self, builtins: &Builtins) -> Result<(), BrokerError> {
        for (name, world, place, component) in &builtins.found {
            let version = self
                .push_plugin(None, name.clone(), *world, component.clone())
                .await?;
            let bound = self.binding_at(*place, *world);
            let current = bound.as_ref().is_some_and(|record| record.version == version);
            let foreign = bound.is_some_and(|record| !self.is_builtin(record.version, name));
            if !current && !foreign {
                let command = DirectoryCommand::Bind {
                    place: *place,
                    version,
                    configuration: Bytes::new(),
                    on_failure: FailurePolicy::Reject,
                };
                self.direct(command, Kind::Topic).await?;
            }
        }
        self.unbind_missing(builtins).await
    }

    async fn unbind_missing(&self, builtins: &Builtins) -> Result<(), BrokerError> {
        for (name, world, place) in BUILTINS {
            let name = Name::parse(name).expect("the constants are names");
            if builtins.found.iter().any(|(found, _, _, _)| *found == name) {
                continue;
            }
            let bound = self.binding_at(place, world);
            if bound.is_some_and(|record| self.is_builtin(record.version, &name)) {
                tracing::warn!(%name, "built-in plugin is missing; what it decides is refused");
                self.direct(DirectoryCommand::Unbind { place, world }, Kind::Topic)
                    .await?;
            }
        }
        Ok(())
    }

    /// Returns the names of the built-in plugins that decide where they belong.
    pub fn builtins_in_force(&self) -> Vec<Name> {
        let known = BUILTINS.into_iter().filter_map(|(name, world, place)| {
            let name = Name::parse(name).expect("the constants are names");
            let bound = self.binding_at(place, world)?;
            self.is_builtin(bound.version, &name).then_some(name)
        });
        known.collect()
    }

    fn binding_at(&self, place: Place, world: World) -> Option<BindingRecord> {
        self.directory
            .view(|directory| directory.binding(place, world).cloned())
    }

    fn is_builtin(&self, version: PluginVersion, name: &Name) -> bool {
        self.directory.view(|directory| {
            directory
                .plugin(version)
                .is_some_and(|record| record.tenant.is_none() && record.name == *name)
        })
    }

    /// Takes in a component: checked, compiled, kept, and recorded as a version of its name.
    pub async fn push_plugin(
        &self,
        tenant: Option<TenantId>,
        name: Name,
        world: World,
        component: Bytes,
    ) -> Result<PluginVersion, BrokerError> {
        let bytes = component.len() as u64;
        self.guests
            .check(world, component.clone())
            .await
            .map_err(|refusal| BrokerError::Argument(refusal.to_string()))?;
        let _components = self.components.lock().await;
        let digest = self.keep_component(component.clone()).await?;
        self.have_kept(&component).await?;
        let command = DirectoryCommand::PushPlugin {
            tenant,
            name,
            world,
            digest,
            bytes,
        };
        match self.direct(command, Kind::Topic).await? {
            DirectoryReply::Plugin(version) => Ok(version),
            other => Err(senseless(&other)),
        }
    }

    /// Keeps the built-in components that this node brings, whoever records them.
    pub async fn keep_builtins(&self, builtins: &Builtins) -> Result<(), BrokerError> {
        for (_, _, _, component) in &builtins.found {
            self.keep_component(component.clone()).await?;
        }
        Ok(())
    }

    /// Keeps a component here that is recorded or about to be, and returns its digest.
    pub(super) async fn keep_component(&self, component: Bytes) -> Result<[u8; 32], BrokerError> {
        let (components, awaited) = (self.component_files.clone(), self.awaited.clone());
        blocking(move || {
            awaited.expect(posthouse_keyring::sha256(&component));
            components.put(&component)
        })
        .await
    }

    /// Has as many other nodes keep a component as make a majority with this one.
    async fn have_kept(&self, component: &Bytes) -> Result<(), BrokerError> {
        let others = self.others.all();
        let mut missing = others.len().div_ceil(2);
        let ask = Ask::Keep {
            component: component.clone(),
        };
        let mut asked: FuturesUnordered<_> = others
            .into_iter()
            .map(|other| self.ask_one(other, &ask, PATIENCE))
            .collect();
        while missing > 0 {
            match asked.next().await {
                Some(Some(Told::Kept)) => missing -= 1,
                Some(_) => {}
                None => return Err(Fault::NotDone(Reason::NoMajority).into()),
            }
        }
        Ok(())
    }

    /// Takes notice of a version that was recorded, or is recorded no more.
    pub(super) fn learn_plugin(&self, version: PluginVersion) {
        let digest = self
            .directory
            .view(|directory| directory.plugin(version).map(|record| record.digest));
        match digest {
            Some(digest) => self.awaited.forget(&digest),
            None => self.guests.unload(version),
        }
    }

    /// Fetches what is recorded and not here, and lets go of what is recorded no more, until the broker stops.
    pub(super) async fn gather_components(self) {
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
            let is_complete = self.gather_once().await;
            let components = self.components.lock().await;
            if self.drop_unrecorded(&components).await && is_complete {
                complete_at = Some(applied);
            }
        }
    }

    /// Removes what no version is recorded with; returns whether there is nothing of that any more.
    async fn drop_unrecorded(&self, components: &Components) -> bool {
        match self.try_drop_unrecorded(components).await {
            Ok(is_done) => is_done,
            Err(error) => {
                // It is recorded no more; all that it takes is room.
                tracing::warn!(%error, "components that are not needed stay");
                false
            }
        }
    }

    async fn try_drop_unrecorded(&self, components: &Components) -> Result<bool, BrokerError> {
        let listed = components.clone();
        let here = blocking(move || listed.all()).await?;
        if self.unrecorded(&here).is_empty() {
            return Ok(true);
        }
        // What was recorded meanwhile may not be seen here yet.
        self.refresh(None).await?;
        let unrecorded = self.unrecorded(&here);
        let (unneeded, awaited): (Vec<_>, Vec<_>) = unrecorded
            .into_iter()
            .partition(|digest| !self.awaited.contains(digest));
        let (files, expected) = (components.clone(), self.awaited.clone());
        blocking(move || {
            unneeded
                .iter()
                .try_for_each(|digest| expected.remove_unless_awaited(&files, digest))
        })
        .await?;
        Ok(awaited.is_empty())
    }

    fn unrecorded(&self, here: &[[u8; 32]]) -> Vec<[u8; 32]> {
        let recorded: HashSet<[u8; 32]> = self
            .directory
            .view(|directory| directory.all_plugins().map(|record| record.digest).collect());
        here.iter()
            .filter(|digest| !recorded.contains(*digest))
            .copied()
            .collect()
    }

    /// Fetches what is recorded and not here; returns whether nothing is missing any more.
    async fn gather_once(&self) -> bool {
        let records: Vec<PluginRecord> = self
            .directory
            .view(|directory| directory.all_plugins().cloned().collect());
        let mut complete = true;
        for record in records {
            if self.component_files.has(&record.digest) {
                continue;
            }
            if let Err(error) = self.component(&self.component_files, &record).await {
                tracing::debug!(name = %record.name, %error, "a component is not here yet");
                complete = false;
            }
        }
        complete
    }

    /// Returns a version's component: from here, or from another node, to be kept here.
    async fn component(&self, components: &Components, record: &PluginRecord) -> Result<Bytes, BrokerError> {
        let unreadable = |error: std::io::Error| BrokerError::Unreadable(error.to_string());
        if let Some(component) = components.get(&record.digest).map_err(unreadable)? {
            return Ok(component);
        }
        let Some(component) = self.fetch_component(record.digest).await else {
            let text = format!("the component of {} is missing", record.name);
            return Err(BrokerError::Unreadable(text));
        };
        self.keep_component(component.clone()).await?;
        self.learn_plugin(record.version);
        Ok(component)
    }

    /// Forgets a version that nothing is bound to, and its component unless another version is the same. The other nodes
    /// do when they see it.
    pub async fn remove_plugin(&self, version: PluginVersion) -> Result<(), BrokerError> {
        let components = self.components.lock().await;
        self.direct(DirectoryCommand::RemovePlugin { version }, Kind::Topic)
            .await?;
        self.drop_unrecorded(&components).await;
        Ok(())
    }

    /// Makes a plugin's version callable: from its compiled form, or compiled anew, which holds up no other version.
    pub(super) async fn load_component(&self, version: PluginVersion) -> Result<(), BrokerError> {
        let turn = self.loading.turn(version);
        let _one_at_a_time = turn.lock().await;
        if self.guests.is_loaded(version) {
            return Ok(());
        }
        let (record, component) = self.recorded_component(version).await?;
        self.guests
            .load(version, record.tenant, record.world, component)
            .await
            .map_err(BrokerError::unreadable)?;
        // It may have been removed meanwhile, and unloaded before it was loaded.
        if self
            .directory
            .view(|directory| directory.plugin(version).is_none())
        {
            self.guests.unload(version);
        }
        Ok(())
    }

    /// Returns a version's record and its component.
    pub(super) async fn recorded_component(
        &self,
        version: PluginVersion,
    ) -> Result<(PluginRecord, Bytes), BrokerError> {
        let components = self.components.lock().await;
        let record: PluginRecord = self
            .directory
            .view(|directory| directory.plugin(version).cloned())
            .ok_or_else(|| BrokerError::Unreadable(format!("no plugin version {version}")))?;
        let component = self.component(&components, &record).await?;
        Ok((record, component))
    }
}

/// Does something with files where that holds up nothing else.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<R> + Send + 'static,
) -> Result<R, BrokerError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(BrokerError::unreadable)?
        .map_err(BrokerError::unreadable)
}

/// Returns the digest that a file is named by.
fn parsed_digest(name: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if name.len() != 2 * digest.len() || !name.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(name.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Components) {
        let folder = tempfile::tempdir().expect("a folder");
        let components = Components::open(folder.path().join("components")).expect("it can be made");
        (folder, components)
    }

    #[test]
    fn components_are_listed_by_their_digests_and_other_files_are_not() {
        let (folder, components) = folder();
        let mut kept = [b"one", b"two"].map(|bytes| components.put(bytes).expect("it is kept"));
        kept.sort_unstable();
        for other in ["draft", "ab.wasm", &format!("{}.wasm", "x".repeat(64))] {
            std::fs::write(folder.path().join("components").join(other), b"").expect("it is written");
        }
        let mut listed = components.all().expect("it can be read");
        listed.sort_unstable();
        assert_eq!(listed, kept);
    }

    #[test]
    fn a_component_stays_as_long_as_it_may_be_about_to_be_recorded() {
        let (_folder, components) = folder();
        let [found, kept] = [b"one", b"two"].map(|bytes| components.put(bytes).expect("it is kept"));
        let awaited = Awaited::from_start(&components).expect("it can be read");
        awaited.forget(&kept);
        assert!(awaited.contains(&found) && !awaited.contains(&kept));
        awaited.expect(kept);
        for digest in [&found, &kept] {
            awaited
                .remove_unless_awaited(&components, digest)
                .expect("it stays");
            assert!(components.has(digest));
        }
        awaited.forget(&kept);
        awaited
            .remove_unless_awaited(&components, &kept)
            .expect("it goes");
        assert!(!components.has(&kept) && components.has(&found));
    }
}
