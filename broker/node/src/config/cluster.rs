//! The cluster that a node is one of: its number, its peers, and how they know each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::Flags;
use super::table::Table;

/// The most nodes that are given.
const PEERS_MAX: usize = 128;

/// The cluster that a node is one of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterConfig {
    /// This node's number.
    pub node: u16,
    /// Where all nodes speak to each other, this one included, by their numbers: HOST:PORT.
    pub peers: BTreeMap<u16, String>,
    /// Where this one listens to the others.
    pub listen: SocketAddr,
    /// How they know each other; none is not at all.
    pub tls: Option<PeerTlsConfig>,
}

/// How nodes know each other: each has a certificate that one authority signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerTlsConfig {
    /// This node's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority's certificates, PEM.
    pub ca: PathBuf,
}

/// Reads what file and flags say of the cluster; flags win.
pub(super) fn read(table: &mut Table, flags: &Flags) -> Option<ClusterConfig> {
    let node_in_file = table.number("cluster.node", 0, 0..=u16::MAX);
    let peers_in_file = table.texts("cluster.peers", PEERS_MAX);
    let tls = read_tls(table);
    let allow_plain = table.boolean("cluster.allow_plain", false);
    let node = flags.node.unwrap_or(node_in_file);
    let texts: Vec<String> = match &flags.peers {
        Some(text) => text.split(',').map(str::to_owned).collect(),
        None => peers_in_file,
    };
    if texts.is_empty() && node == 0 {
        return None;
    }
    let peers = read_peers(table, &texts);
    let Some(own) = peers.get(&node) else {
        table.refuse(
            "cluster.node",
            format!("{node} is not the number of a peer"),
            "give the number that this node has in cluster.peers",
        );
        return None;
    };
    let listen = own.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(listen) = listen else {
        table.refuse(
            "cluster.peers",
            format!("{own:?} has no address"),
            "give HOST:PORT of an address of this machine",
        );
        return None;
    };
    if tls.is_none() && !allow_plain && !is_loopback(listen.ip()) {
        table.refuse(
            "cluster.peers",
            format!("{listen} is not a loopback address, and whoever reaches it would be believed"),
            "give cluster.certificate, cluster.key and cluster.ca, or set cluster.allow_plain where the network itself \
             keeps strangers out",
        );
    }
    Some(ClusterConfig {
        node,
        peers,
        listen,
        tls,
    })
}

fn read_tls(table: &mut Table) -> Option<PeerTlsConfig> {
    let certificate = table.path("cluster.certificate");
    let key = table.path("cluster.key");
    let ca = table.path("cluster.ca");
    match (certificate, key, ca) {
        (None, None, None) => None,
        (Some(certificate), Some(key), Some(ca)) => Some(PeerTlsConfig { certificate, key, ca }),
        _ => {
            table.refuse(
                "cluster.certificate",
                "comes without the others",
                "give cluster.certificate, cluster.key and cluster.ca together",
            );
            None
        }
    }
}

fn read_peers(table: &mut Table, texts: &[String]) -> BTreeMap<u16, String> {
    let mut peers = BTreeMap::new();
    for text in texts {
        let parsed = text.split_once('=').and_then(|(number, address)| {
            let number = number.trim().parse::<u16>().ok().filter(|number| *number > 0)?;
            let (host, port) = address.trim().rsplit_once(':')?;
            let known = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
            known.then(|| (number, address.trim().to_owned()))
        });
        match parsed {
            Some((number, address)) => {
                if peers.insert(number, address).is_some() {
                    table.refuse(
                        "cluster.peers",
                        format!("{number} is given twice"),
                        "give each node a number of its own",
                    );
                }
            }
            None => table.refuse(
                "cluster.peers",
                format!("{text:?} is not a peer"),
                "give each as NUMBER=HOST:PORT, numbers from 1",
            ),
        }
    }
    peers
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
