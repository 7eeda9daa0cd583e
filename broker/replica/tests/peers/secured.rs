//! Mutual TLS, with an authority made for each test.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_replica::{Lane, NetworkFault, PeerNetwork, PeerTls, PeerTlsError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::kit::{Answers, Node, Raw, THERE, call, echo, frame, greeting_of, hello, until_answered, within};

const UNREACHABLE: Result<Bytes, NetworkFault> = Err(NetworkFault::Unreachable(THERE));

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Papers {
    certificate: String,
    key: String,
}

// === impl Authority ===

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        Authority(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    fn papers_for(&self, name: &str) -> Papers {
        let key = KeyPair::generate().expect("keys can be made");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
        let certificate = params.signed_by(&key, &self.0).expect("it signs others");
        Papers {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Returns what a node has whose certificate is made out to a name, and that believes this authority.
    fn tls_for(&self, name: &str) -> PeerTls {
        self.tls_of(&self.papers_for(name)).expect("all of it fits")
    }

    fn tls_of(&self, papers: &Papers) -> Result<PeerTls, PeerTlsError> {
        PeerTls::from_pem(
            papers.certificate.as_bytes(),
            papers.key.as_bytes(),
            self.0.pem().as_bytes(),
        )
    }
}

/// Starts a node with TLS, and another with other TLS, or none, that asks it.
async fn pair(there: PeerTls, here: Option<PeerTls>) -> (Node, PeerNetwork) {
    let there = Node::start(hello(THERE.0), Some(there), Arc::new(Answers(echo))).await;
    let network = PeerNetwork::new(hello(1), here);
    network.know(THERE, there.address.clone());
    (there, network)
}

#[tokio::test]
async fn nodes_of_one_authority_meet() {
    let authority = Authority::new();
    let [there, here] = [authority.tls_for("posthouse"), authority.tls_for("posthouse")];
    let (_there, here) = pair(there, Some(here)).await;
    let large = Bytes::from(vec![9; 5 << 20]);
    for lane in [Lane::Log, Lane::Heartbeat, Lane::Snapshot] {
        let answer = within(call(&here, lane, large.clone())).await;
        assert!(answer == Ok(large.clone()), "{lane:?}");
    }
}

#[tokio::test]
async fn a_node_without_the_right_certificate_reaches_nobody() {
    let authority = Authority::new();
    let strangers = [
        (
            "of another authority",
            Some(Authority::new().tls_for("posthouse")),
        ),
        ("of another name", Some(authority.tls_for("mail"))),
        ("without TLS", None),
    ];
    for (what, stranger) in strangers {
        let (_there, here) = pair(authority.tls_for("posthouse"), stranger).await;
        assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE, "{what}");
    }
}

#[tokio::test]
async fn a_node_asks_nobody_who_has_not_the_right_certificate() {
    let authority = Authority::new();
    // The stranger believes the authority, so it would take this node's call.
    for stranger in ["mail", "127.0.0.1"] {
        let good = authority.tls_for("posthouse");
        let (_there, here) = pair(authority.tls_for(stranger), Some(good)).await;
        assert_eq!(
            within(call(&here, Lane::Log, "x")).await,
            UNREACHABLE,
            "{stranger}"
        );
    }
    let plain = Node::there(echo).await;
    let here = PeerNetwork::new(hello(1), Some(authority.tls_for("posthouse")));
    here.know(THERE, plain.address.clone());
    assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE);
}

/// Greets by TLS with some papers or none, and returns how many bytes came back.
async fn bytes_told(address: &str, authority: &Authority, papers: Option<Papers>) -> usize {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("it is a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots);
    let config = match papers {
        Some(papers) => {
            let chain = vec![CertificateDer::from_pem_slice(papers.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("they fit")
        }
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("posthouse").expect("a name");
    let mut stream = match within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(stream) => stream,
        Err(_) => return 0,
    };
    // What is written may be lost: the other side may have hung up already.
    let _ = stream.write_all(&frame(1, &greeting_of(hello(1)).await)).await;
    let mut told = Vec::new();
    loop {
        match within(stream.read_buf(&mut told)).await {
            Ok(0) => return told.len(),
            Ok(_) if told.len() > 20 => return told.len(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return told.len(),
        }
    }
}

#[tokio::test]
async fn a_stranger_gets_no_byte_of_the_protocol() {
    let authority = Authority::new();
    let tls = authority.tls_for("posthouse");
    let there = Node::start(hello(THERE.0), Some(tls.clone()), Arc::new(Answers(echo))).await;
    let of_another = Authority::new().papers_for("posthouse");
    let of_another_name = authority.papers_for("mail");
    for papers in [None, Some(of_another), Some(of_another_name)] {
        assert_eq!(bytes_told(&there.address, &authority, papers).await, 0);
    }
    let known = authority.papers_for("posthouse");
    assert!(
        bytes_told(&there.address, &authority, Some(known)).await > 20,
        "a node is greeted"
    );

    // In clear, there is nothing but TLS's own word that this is none.
    let mut raw = Raw::connect(&there.address).await;
    raw.send(1, &greeting_of(hello(1)).await).await;
    let told = raw.rest().await;
    assert!(told.len() < 10 && !told.starts_with(b"posthorn"), "{told:?}");

    let here = PeerNetwork::new(hello(1), Some(tls));
    here.know(THERE, there.address.clone());
    assert_eq!(until_answered(&here, Lane::Log, b"x").await, "x");
}

#[tokio::test]
async fn what_makes_no_tls_is_told() {
    let authority = Authority::new();
    let papers = authority.papers_for("posthouse");
    let with_key_of_another = Papers {
        certificate: papers.certificate.clone(),
        key: authority.papers_for("posthouse").key,
    };
    let refused = authority
        .tls_of(&with_key_of_another)
        .err()
        .expect("they do not fit");
    assert!(matches!(refused, PeerTlsError::Rejected(_)), "{refused}");
    let without_certificate = Papers {
        certificate: papers.key.clone(),
        key: papers.key.clone(),
    };
    let refused = authority.tls_of(&without_certificate).err().expect("it is a key");
    assert_eq!(
        refused.to_string(),
        "the certificate: there is no certificate in it"
    );
    let without_key = Papers {
        certificate: papers.certificate.clone(),
        key: papers.certificate.clone(),
    };
    let refused = authority.tls_of(&without_key).err().expect("it is a certificate");
    assert!(refused.to_string().starts_with("the key: "), "{refused}");

    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let certificate = file("node.pem", &papers.certificate);
    let key = file("node.key", &papers.key);
    let root = file("ca.pem", &authority.0.pem());
    assert!(PeerTls::open(&certificate, &key, &root).is_ok());
    let refused = PeerTls::open(&certificate, &dir.path().join("none"), &root).err();
    let refused = refused.expect("there is no such file").to_string();
    assert!(refused.contains("none: "), "{refused}");
}
