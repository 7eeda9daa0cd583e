//! How a node that listens elsewhere than before is found by the others.
//!
//! The others know it by the address that they were told, or that it joined with. It writes down where it is known to
//! be; when it starts and listens elsewhere, it says so to all that it knows, until one of them has had the directory
//! record it. From then on everybody looks for it there first ([`super::roster`]).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use posthouse_model::NodeId;
use posthouse_replica::Hello;

use super::{ADMITTED_WITHIN, Cluster, Reply, Request, Shared};

/// The file in the data directory that says where the others know this node to be.
const FILE: &str = "peer-address";
/// How long a node rests before it says again where it is.
const SAY_AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Has the others know where this node is, unless they do.
    pub async fn announce(self) {
        let address = self.own_address().to_owned();
        if std::fs::read_to_string(self.announced_file()).is_ok_and(|known| known == address) {
            return;
        }
        while !self.announce_once(&address).await {
            tokio::time::sleep(SAY_AGAIN).await;
        }
        tracing::info!(%address, "the others know where this node listens");
        if let Err(error) = self.announced() {
            // It is said again at the next start.
            tracing::warn!(
                error = format!("{error:#}"),
                "where this node is known to be is not written down"
            );
        }
    }

    /// Writes down that the others know this node to be where it is.
    pub(super) fn announced(&self) -> anyhow::Result<()> {
        let file = self.announced_file();
        crate::serve::write_secret(&file, self.own_address().as_bytes())
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    async fn announce_once(&self, address: &str) -> bool {
        let request = Request::Locate(address.to_owned());
        for (node, other) in self.other_addresses() {
            match self.ask(other, &request, ADMITTED_WITHIN).await {
                Some(Reply::Located) => return true,
                Some(Reply::Refused(why)) => {
                    tracing::debug!(node, %why, "a node does not take this one's address")
                }
                Some(_) | None => {}
            }
        }
        // Those that it was told of may all be elsewhere, and found by the directory.
        self.shared
            .locate(self.shared.hello(), address.to_owned())
            .await
            .is_ok()
    }

    fn own_address(&self) -> &str {
        &self.config.peers[&self.config.node]
    }

    fn announced_file(&self) -> PathBuf {
        self.shared.data.join(FILE)
    }
}

impl Shared {
    /// Has the directory record where a node says that it is.
    pub(super) async fn locate(&self, from: Hello, address: String) -> anyhow::Result<()> {
        let Some(broker) = self.broker.get() else {
            bail!("this node is starting");
        };
        let replica = from.replica.context("a node without an identity")?;
        Ok(broker.locate(NodeId(from.node), replica, address).await?)
    }
}
