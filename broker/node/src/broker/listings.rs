//! Listings: what the directory names, kept in the store's projection to be searched and paged through.
//!
//! ```text
//! apply ─ observer ─ what changed ─ feeder ══ projection ─ walk ─ page
//!                     (bounded)        └─ looks it up in the directory
//! ```
//!
//! A thread of its own feeds the projection, behind the directory by what has not been written yet. A listing waits
//! until all is there that the directory had applied when it was asked for. What the projection holds when a node
//! starts is compared with the directory as a whole, row by row: damage that its library does not notice looks like
//! rows that were never written. What cannot be read is made anew.

mod feeder;
mod rows;
mod walk;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{Directory, DirectoryChange, Kind, LogIndex, TenantId, TenantRecord};
use posthouse_store::{Projection, StoreFault};
use tokio::sync::Semaphore;

use super::{Broker, BrokerError};
use feeder::{Feeder, News, Shown, Source};
use rows::Row;
use walk::Walk;

pub use rows::{Listed, Progress};

/// How long a listing waits to see what was applied before it.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How many listings read at once; others wait.
const READS_MAX: usize = 4;

/// The listings of a node.
pub(super) struct Listings {
    projection: Projection,
    news: Arc<News>,
    reads: Arc<Semaphore>,
    wait_max: Duration,
    feeder: Mutex<Option<std::thread::JoinHandle<()>>>,
}

// === impl Listings ===

impl Listings {
    pub(super) fn new(projection: Projection) -> Listings {
        Listings {
            projection,
            news: Arc::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            wait_max: WAIT_MAX,
            feeder: Mutex::default(),
        }
    }

    /// Begins to feed the projection from a directory whose changes are followed from now on.
    pub(super) fn feed(&self, directory: impl Source) -> io::Result<()> {
        let feeder = Feeder::new(directory, self.projection.clone(), Arc::clone(&self.news));
        let thread = std::thread::Builder::new().name("listings".to_owned());
        *self.feeder.lock() = Some(thread.spawn(move || feeder.run())?);
        Ok(())
    }

    /// Takes notice of what an entry changed. Called on the task that applies entries: it waits for nothing.
    pub(super) fn follow(&self, index: LogIndex, changes: &[DirectoryChange]) {
        self.news.follow(index, changes);
    }

    /// Takes notice that everything may have changed.
    pub(super) fn follow_all(&self) {
        self.news.compare();
    }

    /// Writes what is left to write, durably, and ends the thread.
    pub(super) async fn stop(&self) {
        self.news.stop();
        let Some(feeder) = self.feeder.lock().take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || feeder.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that feeds the listings ended badly");
        }
    }

    /// Returns what `read` makes of the rows below a key, in order; only of those that contain a text, if one is
    /// given. They show at least what the directory had applied at `index`.
    async fn read<R: Row, T: Send + 'static>(
        &self,
        index: LogIndex,
        below: Vec<u8>,
        search: Option<String>,
        read: impl FnOnce(&mut dyn Iterator<Item = R>) -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let ready = async {
            let permit = Arc::clone(&self.reads).acquire_owned().await;
            let permit = permit.map_err(|_| BrokerError::ListingsBehind)?;
            let mut shown = self.news.shown();
            let shown = shown.wait_for(|shown| shown.index >= Some(index)).await;
            let shown: Shown = *shown.map_err(|_| BrokerError::ListingsBehind)?;
            Ok::<_, BrokerError>((permit, shown))
        };
        let ready = tokio::time::timeout(self.wait_max, ready).await;
        let (permit, shown) = ready.map_err(|_| BrokerError::ListingsBehind)??;
        let projection = self.projection.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut walk = Walk::<R>::new(projection, below, search);
            let made = read(&mut walk);
            walk.end().map(|()| made)
        });
        let made = reading.await.unwrap_or_else(|error| {
            Err(StoreFault::Projection {
                text: error.to_string(),
            })
        });
        match made {
            // Rows may have been missed that were taken away under the walk.
            _ if self.news.shown().borrow().times_anew != shown.times_anew => {
                Err(BrokerError::ListingsBehind)
            }
            Ok(made) => Ok(made),
            Err(fault) => {
                tracing::error!(%fault, "the projection cannot be read; it is made anew");
                self.news.make_anew();
                Err(BrokerError::unreadable(fault))
            }
        }
    }
}

// === impl Broker ===

impl Broker {
    /// Returns what `read` makes of a tenant's queues or topics, by folded name; only of those whose name contains a
    /// text in any case, if one is given. All is there that was answered before this call.
    pub async fn list_names<T: Send + 'static>(
        &self,
        tenant: TenantId,
        kind: Kind,
        search: Option<String>,
        read: impl FnOnce(&mut dyn Iterator<Item = Listed>) -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let below = Listed::below(tenant, kind);
        self.listings
            .read(self.directory_index(), below, search, read)
            .await
    }

    /// The same for tenants.
    pub async fn list_tenants<T: Send + 'static>(
        &self,
        search: Option<String>,
        read: impl FnOnce(&mut dyn Iterator<Item = TenantRecord>) -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let below = vec![TenantRecord::TABLE];
        self.listings
            .read(self.directory_index(), below, search, read)
            .await
    }

    /// Returns the versions of plugins that are a tenant's, or (none) everybody's, by folded name and version.
    pub(super) async fn list_plugins(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Vec<posthouse_model::PluginRecord>, BrokerError> {
        let below = rows::plugins_below(tenant);
        self.listings
            .read(self.directory_index(), below, None, |rows| rows.collect())
            .await
    }

    /// Returns the last entry that is in the directory's state. The log may be farther, by entries without content.
    fn directory_index(&self) -> LogIndex {
        self.directory.view(Directory::applied)
    }
}
