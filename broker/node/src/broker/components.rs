//! Plugin components as files, by content; and the built-in ones, which every node brings along.
//!
//! A version is recorded once a majority of the nodes keeps its component, so that it can be had whichever node is
//! lost. The others fetch it when they see the record.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use posthouse_model::{
    BindingRecord, DirectoryCommand, DirectoryReply, FailurePolicy, Kind, Name, Place, PluginRecord,
    PluginVersion, TenantId, World,
};
use posthouse_replica::{Fault, Reason};

use super::reach::{Ask, PATIENCE, Told};
use super::{Broker, BrokerError};

/// How often a node looks for components that it lacks.
const LOOK: Duration = Duration::from_secs(2);
/// What the name of a component's file ends in while it is being written.
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

    /// Returns whether a component is here; what is in its file is looked at when it is read.
    fn has(&self, digest: &[u8; 32]) -> bool {
        self.path(digest).is_file()
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension("wasm")
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
            other => unreachable!("a push is answered with a version, not {other:?}"),
        }
    }

    /// Keeps the built-in components that this node brings, whoever records them.
    pub async fn keep_builtins(&self, builtins: &Builtins) -> Result<(), BrokerError> {
        for (_, _, _, component) in &builtins.found {
            self.keep_component(component.clone()).await?;
        }
        Ok(())
    }

    /// Keeps a component here, and returns its digest.
    pub(super) async fn keep_component(&self, component: Bytes) -> Result<[u8; 32], BrokerError> {
        let components = self.component_files.clone();
        tokio::task::spawn_blocking(move || components.put(&component))
            .await
            .map_err(|error| BrokerError::Unreadable(error.to_string()))?
            .map_err(|error| BrokerError::Unreadable(error.to_string()))
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

    /// Fetches what is recorded and not here, now and then, until the broker stops.
    pub(super) async fn gather_components(self) {
        let mut complete_at = None;
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let applied = self.directory.applied();
            if complete_at != Some(applied) && self.gather_once().await {
                complete_at = Some(applied);
            }
        }
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
        Ok(component)
    }

    /// Forgets a version that nothing is bound to, and its component unless another version is the same.
    pub async fn remove_plugin(&self, version: PluginVersion) -> Result<(), BrokerError> {
        let components = self.components.lock().await;
        let digest = self
            .directory
            .view(|directory| directory.plugin(version).map(|record| record.digest));
        self.direct(DirectoryCommand::RemovePlugin { version }, Kind::Topic)
            .await?;
        self.guests.unload(version);
        let unused = digest.filter(|digest| {
            self.directory
                .view(|directory| !directory.all_plugins().any(|record| record.digest == *digest))
        });
        if let Some(Err(error)) = unused.map(|digest| components.remove(&digest)) {
            // It is recorded no more; all that it takes is room.
            tracing::warn!(%version, %error, "the component of a removed plugin stays");
        }
        Ok(())
    }

    /// Makes a plugin's version callable: from its compiled form, or compiled anew.
    pub(super) async fn load_component(&self, version: PluginVersion) -> Result<(), BrokerError> {
        let components = self.components.lock().await;
        if self.guests.is_loaded(version) {
            return Ok(());
        }
        let record: PluginRecord = self
            .directory
            .view(|directory| directory.plugin(version).cloned())
            .ok_or_else(|| BrokerError::Unreadable(format!("no plugin version {version}")))?;
        let component = self.component(&components, &record).await?;
        self.guests
            .load(version, record.tenant, record.world, component)
            .await
            .map_err(|error| BrokerError::Unreadable(error.to_string()))
    }
}
