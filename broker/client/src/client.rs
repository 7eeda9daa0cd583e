//! The nodes of a cluster, and the key to them.

use std::sync::Arc;

use tonic::transport::ClientTlsConfig;

use crate::consumer::{Consumer, Window};
use crate::error::ConfigError;
use crate::link::{self, Nodes};
use crate::publisher::Publisher;

/// An access key.
#[derive(Clone, Eq, PartialEq)]
pub struct Key {
    pub(crate) id: String,
    pub(crate) secret: Vec<u8>,
}

/// What publishers and consumers are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    nodes: Arc<Nodes>,
}

// === impl Key ===

impl Key {
    /// Returns a key by its id and secret.
    pub fn new(id: impl Into<String>, secret: impl Into<Vec<u8>>) -> Key {
        Key {
            id: id.into(),
            secret: secret.into(),
        }
    }
}

/// Never shows the secret.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.id)
    }
}

// === impl Client ===

impl Client {
    /// Returns a client of these nodes, by the URLs of their streaming doors. It connects when it is first used, and to others
    /// that these name as leaders.
    ///
    /// # Errors
    ///
    /// Refuses what is no URL, and no nodes at all.
    pub fn new(addresses: &[impl AsRef<str>], key: Key) -> Result<Client, ConfigError> {
        Client::with(addresses, key, None)
    }

    /// Returns a client likewise, which trusts what is given for `https` URLs.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn with_tls(
        addresses: &[impl AsRef<str>],
        key: Key,
        tls: ClientTlsConfig,
    ) -> Result<Client, ConfigError> {
        Client::with(addresses, key, Some(tls))
    }

    fn with(
        addresses: &[impl AsRef<str>],
        key: Key,
        tls: Option<ClientTlsConfig>,
    ) -> Result<Client, ConfigError> {
        let mut endpoints = Vec::new();
        for address in addresses {
            let address = address.as_ref();
            let wrong = |error: tonic::transport::Error| ConfigError::Address {
                address: address.to_owned(),
                why: error.to_string(),
            };
            endpoints.push(link::endpoint(address, tls.as_ref()).map_err(wrong)?);
        }
        if endpoints.is_empty() {
            return Err(ConfigError::NoNode);
        }
        Ok(Client {
            nodes: Arc::new(Nodes::new(endpoints, key, tls)),
        })
    }

    /// Returns a publisher. Call it within a tokio runtime: its task runs there until it is dropped and what it took is
    /// answered.
    pub fn publisher(&self) -> Publisher {
        Publisher::start(Arc::clone(&self.nodes))
    }

    /// Returns a consumer of a queue. Call it within a tokio runtime: its task runs there until it is dropped.
    pub fn consumer(&self, queue: impl Into<String>, window: Window) -> Consumer {
        Consumer::start(Arc::clone(&self.nodes), queue.into(), window)
    }
}
