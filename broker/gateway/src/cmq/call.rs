//! A request, taken apart far enough to know who asks for what.

use posthouse_model::Time;

use super::form::Form;
use super::parameters::Parameters;
use super::{API_PATH, Action, CmqError, Config, Digest};

/// The most bytes of a host text: a DNS name and a port.
const HOST_BYTES_MAX: usize = 264;
/// The most bytes of a path: longer than any SDK's doubled one.
const PATH_BYTES_MAX: usize = 256;
/// How much of an unknown name is said back to the client, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// A request as it came over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct RawCall<'a> {
    /// The method's name.
    pub method: &'a str,
    /// The text of the `Host` header; it is part of what is signed.
    pub host: Option<&'a str>,
    /// The path, as it came.
    pub path: &'a str,
    /// What follows the path's `?`.
    pub query: &'a [u8],
    /// The body, form-encoded whatever its `Content-Type` says.
    pub body: &'a [u8],
}

/// A request whose parameters are decoded and not yet believed.
#[derive(Debug)]
pub struct Call {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) form: Form,
    action: String,
}

/// How the parameters came; it is part of what is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Get,
    Post,
}

/// Who says to have signed a request, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credentials<'a> {
    /// The access key.
    pub secret_id: &'a str,
    /// When it was signed by the client's clock.
    pub timestamp: Time,
    /// What it was signed with.
    pub digest: Digest,
    /// The signature, in base64.
    pub signature: &'a str,
}

/// Returns whether a path is the API's: `/v2/index.php`, whatever stands before it (PHP doubles it on GET), or none
/// (Go's SDK asks `/` when its URL has no path).
pub fn is_api_path(path: &str) -> bool {
    path.is_empty() || path == "/" || path.ends_with(API_PATH)
}

/// Takes a request apart. Refuses what is no request of this API; the signature is not looked at.
pub fn parse(raw: RawCall<'_>) -> Result<Call, CmqError> {
    let method = match raw.method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => return Err(CmqError::unexpected_method(&shortened(other))),
    };
    if !is_api_path(raw.path) || raw.path.len() > PATH_BYTES_MAX {
        return Err(CmqError::invalid_request().because("unknown path"));
    }
    let host = raw.host.unwrap_or_default();
    if host.len() > HOST_BYTES_MAX {
        return Err(CmqError::invalid_request().because("host is too long"));
    }
    // Python resends a GET without its query, the parameters in the body.
    let (first, second) = match method {
        Method::Get => (raw.query, raw.body),
        Method::Post => (raw.body, raw.query),
    };
    let form = Form::parse(if first.is_empty() { second } else { first })?;
    let action = Parameters::of(&form).required_text("Action")?.trim().to_owned();
    let path = if raw.path.is_empty() { "/" } else { raw.path };
    Ok(Call {
        method,
        host: host.to_owned(),
        path: path.to_owned(),
        form,
        action,
    })
}

/// Returns the start of a text that a client sent, for saying it back.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

// === impl Call ===

impl Call {
    /// Returns who says to have signed this.
    pub fn credentials(&self) -> Result<Credentials<'_>, CmqError> {
        let parameters = Parameters::of(&self.form);
        let secret_id = parameters.required_text("SecretId")?;
        let timestamp = parameters.required_number("Timestamp")?;
        parameters.required_text("Nonce")?;
        Ok(Credentials {
            secret_id,
            timestamp: Time::from_seconds(u64::try_from(timestamp).unwrap_or(0)),
            digest: Digest::of_method(parameters.text("SignatureMethod")?),
            signature: parameters.required_text("Signature")?,
        })
    }

    /// Returns the name of the action as the client wrote it, without blanks around it.
    pub fn action_name(&self) -> &str {
        &self.action
    }

    /// Returns what is asked. Parameters that the action does not know are passed over.
    pub fn action(&self, config: &Config) -> Result<Action, CmqError> {
        Action::parse(&self.action, &Parameters::of(&self.form), config)
    }

    /// Returns the client's own number for this request, to be said back; one that is no number is not.
    pub fn client_request_id(&self) -> Option<u64> {
        let text = Parameters::of(&self.form).text("clientRequestId").ok()??;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    }

    /// Returns what the client says to be, like `SDK_Python_1.3`.
    pub fn request_client(&self) -> Option<&str> {
        Parameters::of(&self.form).text("RequestClient").ok()?
    }
}

#[cfg(test)]
mod tests;
