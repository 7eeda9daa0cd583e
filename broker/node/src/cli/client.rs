//! The admin API's client: requests signed and sent, answers and errors read.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use posthouse_model::Name;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::output::Output;
use crate::admin::auth::{Authorization, CONTENT_DIGEST_HEADER, ContentDigest, Signed};
use crate::admin::shapes::Page;
use crate::admin::{AdminError, Operation, ROOT_PATH, Verb};
use crate::config::{DEV_ID, DEV_SECRET};

/// The environment's variable with the access key's id.
pub(super) const ID_VARIABLE: &str = "POSTHOUSE_SECRET_ID";
/// The environment's variable with the access key's secret.
pub(super) const SECRET_VARIABLE: &str = "POSTHOUSE_SECRET_KEY";

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, a wait for a message counted.
const ANSWER: Duration = Duration::from_secs(90);
/// How long an answer to a push may take: the component is compiled first.
const PUSH_ANSWER: Duration = Duration::from_secs(900);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1_048_576;
/// The most pages of a listing that are fetched.
const PAGES_MAX: usize = 10_000;
/// How many bytes of a pushed component go out at a time, for its progress to be seen.
const PUSH_PIECE_BYTES: usize = 64 * 1_024;

/// Which node to speak to, as whom, and how to print its answers.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Connection",
    after_help = "Requests are signed with the access key in POSTHOUSE_SECRET_ID and POSTHOUSE_SECRET_KEY. When \
                  neither is set and the node is on this machine, the development key (AKIDdev, dev) is used."
)]
pub struct Connection {
    /// The node's address.
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_URL",
        default_value = "http://127.0.0.1:7070"
    )]
    url: Url,
    /// Acts for this tenant instead of the access key's own. Needs a root access key.
    #[arg(long, global = true, value_name = "NAME", value_parser = Name::parse)]
    tenant: Option<Name>,
    /// Trusts the certificates in this file (PEM) too.
    #[arg(long, global = true, env = "POSTHOUSE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The node refused.
    #[error("{}", .0.message)]
    Refused(AdminError),
    /// The command line or the environment is wrong.
    #[error("{0}")]
    Usage(String),
    /// No node answered, or what answered is none.
    #[error("{0}")]
    Unreachable(String),
    /// A node was asked to change something, and its answer did not come.
    #[error("{0}")]
    InDoubt(String),
}

/// Speaks to one node.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    tenant: Option<Name>,
    id: String,
    secret: String,
    json: bool,
}

/// A part of a path or query: its name and its text.
pub(super) type Parameter<'a> = (&'a str, &'a str);

/// What is sent with a request.
enum Sending {
    Json(Bytes),
    Component(Bytes, indicatif::ProgressBar),
}

// === impl Connection ===

impl Connection {
    /// Returns whether answers are to be printed for machines.
    pub(super) fn is_for_machines(&self) -> bool {
        self.json
    }
}

// === impl Client ===

impl Client {
    pub(super) fn new(
        connection: &Connection,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Client, CliError> {
        let url = connection.url.clone();
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(CliError::Usage(format!(
                "{url} is not an http:// or https:// address"
            )));
        }
        let (id, secret) = credentials(&url, environment)?;
        Ok(Client {
            http: http_client(&url, connection.ca.as_deref())?,
            url,
            tenant: connection.tenant.clone(),
            id,
            secret,
            json: connection.json,
        })
    }

    /// Returns the same client acting for a tenant.
    pub(super) fn acting_for(&self, tenant: &Name) -> Client {
        Client {
            http: self.http.clone(),
            url: self.url.clone(),
            tenant: Some(tenant.clone()),
            id: self.id.clone(),
            secret: self.secret.clone(),
            json: self.json,
        }
    }

    /// Asks for something that needs no body.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[Parameter<'_>],
    ) -> Result<T, CliError> {
        self.call(operation, path, &[], Sending::Json(Bytes::new())).await
    }

    /// Asks for something with query parameters.
    pub(super) async fn ask_with<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[Parameter<'_>],
        query: &[Parameter<'_>],
    ) -> Result<T, CliError> {
        self.call(operation, path, query, Sending::Json(Bytes::new()))
            .await
    }

    /// Asks for something with a body.
    pub(super) async fn tell<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[Parameter<'_>],
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).expect("the shapes have text keys and no failing parts");
        self.call(operation, path, &[], Sending::Json(body.into())).await
    }

    /// Pushes a component, showing how far it has got.
    pub(super) async fn push<T: DeserializeOwned>(
        &self,
        path: &[Parameter<'_>],
        query: &[Parameter<'_>],
        component: Bytes,
        progress: indicatif::ProgressBar,
    ) -> Result<T, CliError> {
        self.call(
            Operation::PushPlugin,
            path,
            query,
            Sending::Component(component, progress),
        )
        .await
    }

    /// Returns everything of a listing, page by page.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[Parameter<'_>],
        search: Option<&str>,
    ) -> Result<Vec<T>, CliError> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("limit", "1000")];
            query.extend(search.map(|search| ("search", search)));
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Page<T> = self.ask_with(operation, path, &query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                Some(_) | None => return Ok(items),
            }
        }
        Ok(items)
    }

    /// Returns what to print: the answer as JSON, or the text for people.
    pub(super) fn output(
        &self,
        answer: &impl Serialize,
        text: impl Into<String>,
    ) -> Result<Output, CliError> {
        Ok(Output::of(self.json, answer, text))
    }

    /// Returns whether answers are printed for machines.
    pub(super) fn is_for_machines(&self) -> bool {
        self.json
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[Parameter<'_>],
        query: &[Parameter<'_>],
        sending: Sending,
    ) -> Result<T, CliError> {
        let (verb, template, _) = operation.route();
        let url = self.target(template, path, query);
        let content = match &sending {
            Sending::Json(body) | Sending::Component(body, _) => ContentDigest::of(body),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let signed = Signed {
            method: verb.as_str(),
            target: &target,
            content,
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let authorization = Authorization::sign(&self.id, self.secret.as_bytes(), now, &signed);
        let method = Method::from_bytes(verb.as_str().as_bytes()).expect("verbs are methods");
        let request = self
            .http
            .request(method, url.clone())
            .header(reqwest::header::AUTHORIZATION, authorization.to_string())
            .header(CONTENT_DIGEST_HEADER, content.to_string());
        let request = match sending {
            Sending::Json(body) => request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .timeout(ANSWER)
                .body(body),
            Sending::Component(component, progress) => request
                .header(reqwest::header::CONTENT_TYPE, "application/wasm")
                .header(reqwest::header::CONTENT_LENGTH, component.len())
                .timeout(PUSH_ANSWER)
                .body(in_pieces(component, progress)),
        };
        let answer = request
            .send()
            .await
            .map_err(|error| self.unanswered(verb, &error))?;
        self.read(verb, answer).await
    }

    /// Returns the address of an operation with its parameters filled in.
    fn target(&self, template: &str, path: &[Parameter<'_>], query: &[Parameter<'_>]) -> Url {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        {
            let mut segments = url
                .path_segments_mut()
                .expect("checked to be a base at the start");
            segments.pop_if_empty().extend(ROOT_PATH.split('/').skip(1));
            for part in template.split('/').skip(1) {
                let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
                segments.push(match name {
                    None => part,
                    Some(name) => value_of(path, name),
                });
            }
        }
        let tenant = self.tenant.as_ref().map(|tenant| ("tenant", tenant.as_str()));
        if tenant.is_some() || !query.is_empty() {
            url.query_pairs_mut().extend_pairs(tenant.iter().chain(query));
        }
        url
    }

    async fn read<T: DeserializeOwned>(
        &self,
        verb: Verb,
        mut answer: reqwest::Response,
    ) -> Result<T, CliError> {
        let status = answer.status();
        let mut body = Vec::new();
        let broken_off = |error| self.unanswered(verb, &error);
        while let Some(piece) = answer.chunk().await.map_err(broken_off)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.not_a_node("the answer is too long"));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.not_a_node(&error.to_string()));
        }
        match serde_json::from_slice::<AdminError>(&body) {
            Ok(error) => Err(CliError::Refused(error)),
            Err(_) => Err(self.not_a_node(&format!("status {status}"))),
        }
    }

    /// Says why there is no answer, and whether what was asked may have been done all the same.
    fn unanswered(&self, verb: Verb, error: &reqwest::Error) -> CliError {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            reason = next.to_string();
            cause = next.source();
        }
        let text = format!("no answer from {}: {reason}", self.url);
        match (error.is_connect(), verb) {
            (true, _) => CliError::Unreachable(format!(
                "{text}; is the node running, and is --url or POSTHOUSE_URL right?"
            )),
            (false, Verb::Get) => CliError::Unreachable(text),
            (false, Verb::Post | Verb::Put | Verb::Patch | Verb::Delete) => {
                CliError::InDoubt(format!("{text}; what was asked may have been done"))
            }
        }
    }

    fn not_a_node(&self, reason: &str) -> CliError {
        CliError::Unreachable(format!(
            "what answers at {} is no posthouse node, or one of another version: {reason}",
            self.url
        ))
    }
}

/// Returns the access key to sign with.
fn credentials(
    url: &Url,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, String), CliError> {
    let given = |variable: &str| environment(variable).filter(|value| !value.is_empty());
    match (given(ID_VARIABLE), given(SECRET_VARIABLE)) {
        (Some(id), Some(secret)) => Ok((id, secret)),
        (None, None) if is_loopback(url) => Ok((DEV_ID.to_owned(), DEV_SECRET.to_owned())),
        (None, None) => Err(CliError::Usage(format!(
            "set {ID_VARIABLE} and {SECRET_VARIABLE} to an access key"
        ))),
        (Some(_), None) => Err(CliError::Usage(format!("set {SECRET_VARIABLE} too"))),
        (None, Some(_)) => Err(CliError::Usage(format!("set {ID_VARIABLE} too"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn http_client(url: &Url, ca: Option<&std::path::Path>) -> Result<reqwest::Client, CliError> {
    // Somebody in this process may have been first; either way there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("posthouse/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca {
        let unusable =
            |error: &dyn std::fmt::Display| CliError::Usage(format!("--ca {}: {error}", path.display()));
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| CliError::Usage(format!("no HTTP client can be made: {error}")))
}

fn value_of<'a>(parameters: &[Parameter<'a>], wanted: &str) -> &'a str {
    let found = parameters.iter().find(|(name, _)| *name == wanted);
    found
        .expect("the command gives what the operation's path needs")
        .1
}

fn in_pieces(component: Bytes, progress: indicatif::ProgressBar) -> reqwest::Body {
    let pieces = futures::stream::unfold(component, move |mut rest| {
        let progress = progress.clone();
        async move {
            if rest.is_empty() {
                progress.set_message("checking and compiling");
                return None;
            }
            let piece = rest.split_to(rest.len().min(PUSH_PIECE_BYTES));
            progress.inc(piece.len() as u64);
            Some((Ok::<Bytes, std::io::Error>(piece), rest))
        }
    });
    reqwest::Body::wrap_stream(pieces)
}

// === impl CliError ===

impl CliError {
    /// Prints the error and returns the exit status that goes with it.
    pub(super) fn print(&self) -> ExitCode {
        eprintln!("posthouse: {self}");
        ExitCode::from(self.exit_status())
    }

    /// Returns the exit status: 1 when the node refused or nobody knows, 2 when nothing was done.
    pub fn exit_status(&self) -> u8 {
        match self {
            CliError::Refused(_) | CliError::InDoubt(_) => 1,
            CliError::Usage(_) | CliError::Unreachable(_) => 2,
        }
    }
}
