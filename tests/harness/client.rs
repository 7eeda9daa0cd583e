//! A CMQ client: signs, asks over a kept connection, reads JSON.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use posthouse_gateway::cmq::{API_PATH, Digest, Hmac, Signer};
use posthouse_model::Time;
use serde_json::Value;

use crate::http::{Connection, HttpAnswer};

/// A client of one node with one key.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    host: String,
    secret_id: String,
    secret: Vec<u8>,
    connection: Option<Connection>,
    nonce: AtomicU64,
}

/// What a node answered to a CMQ action.
#[derive(Clone, Debug)]
pub struct Answer(pub Value);

/// The arithmetic of signatures.
struct KeyringHmac;

impl Hmac for KeyringHmac {
    fn sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        posthouse_keyring::hmac_sha1_parts(key, parts)
    }

    fn sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        posthouse_keyring::hmac_sha256_parts(key, parts)
    }

    fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        posthouse_keyring::verify_equal(a, b)
    }
}

impl Client {
    /// Returns a client that connects when it first asks.
    pub fn new(address: SocketAddr, secret_id: &str, secret: &[u8]) -> Client {
        Client {
            address,
            host: address.to_string(),
            secret_id: secret_id.to_owned(),
            secret: secret.to_vec(),
            connection: None,
            nonce: AtomicU64::new(1),
        }
    }

    /// Asks for an action, and returns the answer whatever it says. An error means that none came.
    pub fn ask(&mut self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let parameters: Vec<(&str, &[u8])> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        self.ask_bytes(action, &parameters)
    }

    /// Asks for an action under a token: asked again with it, it is done once.
    pub fn ask_once(
        &mut self,
        token: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let parameters: Vec<(&str, &[u8])> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let form = self.form(action, &parameters);
        self.answer(action, &form, &format!("x-posthouse-token: {token}\r\n"))
    }

    /// Asks for an action whose parameters may be any bytes.
    pub fn ask_bytes(&mut self, action: &str, parameters: &[(&str, &[u8])]) -> anyhow::Result<Answer> {
        let form = self.form(action, parameters);
        self.answer(action, &form, "")
    }

    fn answer(&mut self, action: &str, form: &[u8], headers: &str) -> anyhow::Result<Answer> {
        let answer = self.post_with(form, headers);
        if answer.is_err() {
            self.connection = None;
        }
        let answer = answer?;
        anyhow::ensure!(
            answer.status == 200,
            "{action} was answered with status {}",
            answer.status
        );
        let value = serde_json::from_slice(&answer.body).context("the answer is no JSON")?;
        Ok(Answer(value))
    }

    /// Returns the signed form of an action.
    pub fn form(&self, action: &str, parameters: &[(&str, &[u8])]) -> Vec<u8> {
        let signer = Signer {
            secret_id: &self.secret_id,
            secret: &self.secret,
            digest: Digest::Sha1,
            method: "POST",
            host: &self.host,
            path: API_PATH,
        };
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        signer.form(&KeyringHmac, action, parameters, now(), nonce)
    }

    /// Posts a form over the kept connection.
    pub fn post(&mut self, form: &[u8]) -> anyhow::Result<HttpAnswer> {
        self.post_with(form, "")
    }

    fn post_with(&mut self, form: &[u8], headers: &str) -> anyhow::Result<HttpAnswer> {
        let connection = kept(&mut self.connection, self.address)?;
        connection.request("POST", API_PATH, &self.host, headers, form)?;
        connection.answer()
    }

    /// Connects to the node unless a connection is kept, which may be broken by now.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        kept(&mut self.connection, self.address)?;
        Ok(())
    }

    /// Forgets the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }
}

impl Answer {
    /// Returns the code: 0 is success.
    pub fn code(&self) -> i64 {
        self.0["code"].as_i64().unwrap_or(-1)
    }

    /// Returns the code and module code, as in the reference's table.
    pub fn codes(&self) -> (i64, i64) {
        let message = self.0["message"].as_str().unwrap_or_default();
        let module = message
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .and_then(|(module, _)| module.parse().ok())
            .unwrap_or(0);
        (self.code(), module)
    }

    /// Returns this answer if it is a success.
    pub fn success(self) -> anyhow::Result<Answer> {
        anyhow::ensure!(self.code() == 0, "refused: {}", self.0);
        Ok(self)
    }

    /// Returns a field that is text.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }
}

fn kept(connection: &mut Option<Connection>, address: SocketAddr) -> anyhow::Result<&mut Connection> {
    Ok(match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(address)?),
    })
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
