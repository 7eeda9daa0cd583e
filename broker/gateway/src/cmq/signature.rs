//! Whether a request was signed with a key.
//!
//! The signed text is `METHOD host path ? name=value & …` with decoded values, names in byte order. SDKs differ in
//! what they take for the host and the path, and some leave out values that begin with `@`, so several texts may be
//! meant by one request; they are tried in turn, the likely ones first, and there are few.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthouse_model::Time;

use super::call::Method;
use super::form::Form;
use super::{API_PATH, Call, CmqError, Config, HOSTS_MAX};

/// The arithmetic of signatures. The text comes in pieces, so that a long body is not copied for each try.
pub trait Hmac {
    /// Returns the HMAC-SHA1 of the pieces, one after the other.
    fn sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20];
    /// Returns the HMAC-SHA256 of the pieces, one after the other.
    fn sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32];
    /// Returns whether two signatures are equal, in a time that does not tell how much of them is.
    fn equal(&self, a: &[u8], b: &[u8]) -> bool;
}

/// What a request is signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digest {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
}

/// What is done with values that begin with `@`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AtValues {
    Signed,
    LeftOut,
}

// === impl Digest ===

impl Digest {
    /// Returns what a `SignatureMethod` stands for. Any other than the two for SHA-256 is SHA-1.
    pub(super) fn of_method(method: Option<&str>) -> Digest {
        match method {
            // The second is what a Java client sends for the first.
            Some("HmacSHA256" | "sha256") => Digest::Sha256,
            _ => Digest::Sha1,
        }
    }

    /// Returns the `SignatureMethod` that stands for this.
    pub(super) fn method(self) -> &'static str {
        match self {
            Digest::Sha1 => "HmacSHA1",
            Digest::Sha256 => "HmacSHA256",
        }
    }

    /// Signs a text.
    pub(super) fn sign(self, hmac: &dyn Hmac, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Digest::Sha1 => hmac.sha1(key, parts).to_vec(),
            Digest::Sha256 => hmac.sha256(key, parts).to_vec(),
        }
    }
}

// === impl Call ===

impl Call {
    /// Checks that this was signed with `secret`, about now.
    pub fn verify(&self, secret: &[u8], hmac: &dyn Hmac, now: Time, config: &Config) -> Result<(), CmqError> {
        let credentials = self.credentials()?;
        check_time(credentials.timestamp, now, config)?;
        let Ok(given) = STANDARD.decode(credentials.signature) else {
            return Err(CmqError::authentication_failed());
        };
        let names = signed_names(&self.form);
        for values in self.ways_with_at_values() {
            let text = signed_parameters(&self.form, &names, *values);
            for host in self.hosts(config) {
                for path in self.paths() {
                    let mut parts = vec![self.method.name(), host.as_bytes(), path.as_bytes(), b"?"];
                    parts.extend_from_slice(&text);
                    if hmac.equal(&credentials.digest.sign(hmac, secret, &parts), &given) {
                        return Ok(());
                    }
                }
            }
        }
        Err(CmqError::authentication_failed())
    }

    /// Only Python and PHP leave such values out, and only when they post.
    fn ways_with_at_values(&self) -> &'static [AtValues] {
        let has_such = (0..self.form.len()).any(|at| self.form.value(at).starts_with(b"@"));
        if self.method == Method::Get || !has_such {
            return &[AtValues::Signed];
        }
        let client = self.request_client().unwrap_or_default();
        if client.starts_with("SDK_Python") || client.starts_with("SDK_PHP") {
            return &[AtValues::LeftOut, AtValues::Signed];
        }
        &[AtValues::Signed, AtValues::LeftOut]
    }

    /// HTTP libraries drop a default port from `Host` that the SDK was given, and signs.
    fn hosts(&self, config: &Config) -> Vec<String> {
        let mut hosts = vec![self.host.clone()];
        if !has_port(&self.host) {
            hosts.push(format!("{}:80", self.host));
            hosts.push(format!("{}:443", self.host));
        }
        hosts.extend(config.hosts.iter().take(HOSTS_MAX).cloned());
        hosts
    }

    /// PHP signs the plain path whatever it asks for.
    fn paths(&self) -> Vec<&str> {
        if self.path == API_PATH {
            vec![API_PATH]
        } else {
            vec![&self.path, API_PATH]
        }
    }
}

impl Method {
    fn name(self) -> &'static [u8] {
        match self {
            Method::Get => b"GET",
            Method::Post => b"POST",
        }
    }
}

/// Checks that something was signed near enough to now.
pub(crate) fn check_time(signed: Time, now: Time, config: &Config) -> Result<(), CmqError> {
    let away = now.since(signed).max(signed.since(now));
    if away > config.skew {
        let detail = format!("Timestamp is {} s away from the broker's time", away.seconds());
        return Err(CmqError::authentication_failed().because(&detail));
    }
    Ok(())
}

/// Returns the signed parameters in their order, each with its name as it is signed.
fn signed_names(form: &Form) -> Vec<(usize, Cow<'_, [u8]>)> {
    let mut order: Vec<usize> = (0..form.len())
        .filter(|at| form.name(*at) != b"Signature")
        .collect();
    order.sort_by_key(|at| form.name(*at));
    order
        .into_iter()
        .map(|at| (at, signed_name(form.name(at))))
        .collect()
}

/// Returns a name as it is signed. The order of names is that before this.
pub(super) fn signed_name(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'_') {
        return Cow::Borrowed(name);
    }
    Cow::Owned(
        name.iter()
            .map(|byte| if *byte == b'_' { b'.' } else { *byte })
            .collect(),
    )
}

/// Returns the pieces of `name=value&…`.
fn signed_parameters<'a>(
    form: &'a Form,
    names: &'a [(usize, Cow<'_, [u8]>)],
    values: AtValues,
) -> Vec<&'a [u8]> {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(names.len() * 4);
    for (at, name) in names {
        let value = form.value(*at);
        if values == AtValues::LeftOut && value.starts_with(b"@") {
            continue;
        }
        if !parts.is_empty() {
            parts.push(b"&");
        }
        parts.extend([&name[..], b"=", value]);
    }
    parts
}

/// Returns whether a host text ends in a port. An IPv6 address stands in brackets.
fn has_port(host: &str) -> bool {
    match host.rsplit_once(':') {
        Some((_, port)) => !port.contains(']'),
        None => false,
    }
}

#[cfg(test)]
mod tests;
