//! TLS between nodes: both sides show a certificate, and both certificates must be signed by the cluster's authority
//! and be made out to the name `posthouse`.
//!
//! The name is a fixed one, not that of a host: nodes find each other by addresses that change, and what a
//! certificate is to say is that its holder is a node. It is asked of both sides, so that other certificates of the
//! same authority open nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio::io;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The name that each node's certificate is made out to.
const NODE_NAME: &str = "posthouse";

/// What a node shows its peers, and what it asks of them.
#[derive(Clone)]
pub struct PeerTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Why peers cannot be met by TLS.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// A text that is no PEM, or has not in it what it should.
    #[error("{what}: {error}")]
    Malformed {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        error: pem::Error,
    },
    /// No certificate where there must be one.
    #[error("{0}: there is no certificate in it")]
    Empty(&'static str),
    /// The certificates of the authority are of no use.
    #[error("the authority's certificates: {0}")]
    Authority(#[from] VerifierBuilderError),
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("certificate and key: {0}")]
    Rejected(#[from] rustls::Error),
}

/// Asks of a node that connects what the library asks only of one that is connected to: its name.
#[derive(Debug)]
struct NodeVerifier {
    authority: Arc<dyn ClientCertVerifier>,
}

// === impl PeerTls ===

impl PeerTls {
    /// Reads the files, each in PEM, of the node's certificate (with those between it and the authority's, if any),
    /// its key and the authority's certificates.
    pub fn open(certificate: &Path, key: &Path, authority: &Path) -> Result<PeerTls, PeerTlsError> {
        PeerTls::from_pem(&read(certificate)?, &read(key)?, &read(authority)?)
    }

    /// The same, from texts in PEM.
    pub fn from_pem(certificate: &[u8], key: &[u8], authority: &[u8]) -> Result<PeerTls, PeerTlsError> {
        let chain = certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| PeerTlsError::Malformed {
            what: "the key",
            error,
        })?;
        let mut roots = RootCertStore::empty();
        for root in certificates("the authority's certificates", authority)? {
            roots.add(root)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = server_config(provider.clone(), roots.clone(), chain.clone(), key.clone_key())?;
        let client = client_config(provider, roots, chain, key)?;
        Ok(PeerTls {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Takes a connection of another node. A stranger sees no byte but of TLS.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Makes a connection to another node. A stranger is told nothing.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        self.connector.connect(node_name(), stream).await
    }
}

// === impl NodeVerifier ===

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.authority.verify_client_cert(certificate, between, now)?;
        let parsed = ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, &node_name())?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, PeerTlsError> {
    let authority = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(NodeVerifier { authority }))
        .with_single_cert(chain, key)?;
    // Connections live long: each shows its certificate anew.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, PeerTlsError> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn node_name() -> ServerName<'static> {
    ServerName::try_from(NODE_NAME).expect("the name is a host's")
}

fn read(path: &Path) -> Result<Vec<u8>, PeerTlsError> {
    std::fs::read(path).map_err(|error| PeerTlsError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

fn certificates(what: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PeerTlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| PeerTlsError::Malformed { what, error })?;
    if found.is_empty() {
        return Err(PeerTlsError::Empty(what));
    }
    Ok(found)
}
