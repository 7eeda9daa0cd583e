//! Nodes that know each other by certificates: they serve, and nobody else is one of them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use posthouse_tests::{Cluster, Plan};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{create_queue, kill_leader, program, send, take};

/// How long a stranger waits to be told something.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// What TLS says to one who speaks something else: an alert in a record of its own.
const ALERT_BYTES: usize = 7;

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

// === impl Authority ===

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a node's papers into a folder, and returns the part of its configuration that names them.
    fn configuration(&self, folder: &Path, node: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["posthouse".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut text = "[cluster]\n".to_owned();
        for (name, pem) in [
            ("certificate", certificate.pem()),
            ("key", key.serialize_pem()),
            ("ca", self.0.pem()),
        ] {
            let path = folder.join(format!("{node}-{name}.pem"));
            std::fs::write(&path, pem).unwrap();
            text += &format!("{name} = {:?}\n", path.to_str().unwrap());
        }
        text
    }
}

/// Says something to a node where it listens to the others, and returns all that it says.
fn told(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TOLD_WITHIN)).unwrap();
    // It may have hung up before all of it was said.
    let _ = stream.write_all(said);
    let _ = stream.shutdown(Shutdown::Write);
    let mut told = Vec::new();
    // A reset ends it as well as a close.
    let _ = stream.read_to_end(&mut told);
    told
}

#[test]
fn nodes_of_one_authority_serve_through_a_failover_and_others_are_shut_out() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let own = |node: usize| authority.configuration(folder.path(), &node.to_string());
    let mut cluster = Cluster::start_as(Plan {
        program: program(),
        nodes: 3,
        sets: 1,
        configuration: &own,
        wired: false,
        parent: &std::env::temp_dir(),
    })
    .unwrap();
    create_queue(&mut cluster.node(1).client(), "q");
    for node in 1..=3 {
        send(&mut cluster.node(node).client(), "q", &format!("at {node}"));
    }

    let greeting = b"\x0c\0\0\0\x01\x01\0\0\0\0posthorn\x01\0\0\0";
    for said in [
        &b"GET /readyz HTTP/1.1\r\nHost: there\r\n\r\n"[..],
        greeting,
        &[0; 64],
        b"",
    ] {
        let told = told(cluster.peer_address(1), said);
        assert!(told.len() <= ALERT_BYTES, "{said:?} was answered {told:?}");
    }

    let victim = kill_leader(&mut cluster, 0);
    let (survivor, third) = (victim % 3 + 1, (victim + 1) % 3 + 1);
    send(&mut cluster.node(survivor).client(), "q", "after");

    // It comes back with papers of another authority: it is as good as not there.
    let foreign = other.configuration(folder.path(), "foreign");
    cluster.node_mut(victim).configure(&foreign).unwrap();
    cluster.node_mut(victim).launch().unwrap();
    let refused = cluster
        .node(victim)
        .client()
        .ask("ReceiveMessage", &[("queueName", "q")]);
    assert_eq!(refused.unwrap().codes(), (6000, 10050));
    cluster.wait_unready(victim).unwrap();
    send(&mut cluster.node(third).client(), "q", "meanwhile");
    assert_eq!(cluster.node_mut(victim).terminate().unwrap(), Some(0));

    let own = own(victim);
    cluster.node_mut(victim).configure(&own).unwrap();
    cluster.node_mut(victim).launch().unwrap();
    cluster.wait_ready().unwrap();
    let mut client = cluster.node(victim).client();
    for expected in ["at 1", "at 2", "at 3", "after", "meanwhile"] {
        assert_eq!(take(&mut client, "q").as_deref(), Some(expected));
    }
    assert_eq!(take(&mut client, "q"), None);
}
