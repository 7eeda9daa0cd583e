//! A case: what a plugin is given, and what it must answer, as a JSON file.

mod seal;
mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use posthouse_host::{
    Action, Binding, Delivery, Envelope, Filtered, GuestFault, KvSession, Response, RouteSubscription,
    RouteTable, Step,
};
use posthouse_model::{
    Attribute, ContentFormat, Endpoint, FilterType, Incarnation, MessageId, Name, RetryStrategy, Span,
    SubscriptionId, Time, World,
};
use posthouse_workshop::Project;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::difference::Difference;
use super::held::{self, Held, Room};
use super::trial::Trial;
use super::trial_keys::GivenSecret;
use crate::case_values::{FAIL, action_value, body_value, filtered_value};
use seal::SealCase;
use secret::SecretText;

/// The most messages that a router is asked about at once.
const BATCH_MAX: usize = 64;
/// The most steps of an attempt to deliver.
const STEPS_MAX: usize = 8;

/// A case that was read.
#[derive(Debug)]
pub(super) struct Case {
    /// Its file's name, without the ending.
    pub(super) name: String,
    given: Given,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaseError {
    #[error("{}: {told}", path.display())]
    Unreadable { path: PathBuf, told: String },
    #[error("{} has no case whose name has `{wanted}` in it", folder.display())]
    None { folder: PathBuf, wanted: String },
}

#[derive(Debug)]
enum Given {
    Route(RouteCase),
    Filter(FilterCase),
    Deliver(DeliverCase),
    Seal(SealCase),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteCase {
    #[serde(default)]
    config: String,
    #[serde(default)]
    kv: BTreeMap<String, BodyText>,
    kv_room: Option<Room>,
    expect_kv: Option<Value>,
    #[serde(default)]
    filter_type: FilterTypeText,
    subscriptions: Vec<SubscriptionText>,
    messages: Vec<RoutedText>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FilterTypeText {
    #[default]
    Tags,
    BindingKeys,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionText {
    name: String,
    #[serde(default)]
    filter_tags: Vec<String>,
    #[serde(default)]
    binding_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutedText {
    #[serde(default)]
    envelope: EnvelopeText,
    #[serde(default)]
    body: BodyText,
    /// The size of the body, of which a router is told nothing else, where this is a recording.
    body_bytes: Option<u32>,
    /// Any answer will do but a failure, without it.
    expect: Option<Value>,
    /// What the plugin failed with where this was recorded.
    failed: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterCase {
    #[serde(default)]
    config: String,
    #[serde(default)]
    kv: BTreeMap<String, BodyText>,
    kv_room: Option<Room>,
    expect_kv: Option<Value>,
    #[serde(default)]
    envelope: EnvelopeText,
    #[serde(default)]
    body: BodyText,
    expect: Option<Value>,
    failed: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliverCase {
    #[serde(default)]
    config: String,
    #[serde(default)]
    kv: BTreeMap<String, BodyText>,
    kv_room: Option<Room>,
    expect_kv: Option<Value>,
    delivery: DeliveryText,
    /// The tenant's, by name: the versions of each, the newest last.
    #[serde(default)]
    signing_keys: BTreeMap<Name, Vec<SecretText>>,
    #[serde(default)]
    body: BodyText,
    steps: Vec<StepText>,
}

/// What of a message is known beside its body.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EnvelopeText {
    id: u64,
    produced_ms: u64,
    tags: Vec<String>,
    routing_key: String,
    attributes: BTreeMap<String, AttributeText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum AttributeText {
    Text(String),
    Number { number: String },
    Binary { base64: Base64 },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum BodyText {
    Text(String),
    Bytes { base64: Base64 },
}

/// Bytes that are written in base64.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Base64(Bytes);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveryText {
    endpoint: EndpointText,
    #[serde(default = "one")]
    message_id: u64,
    #[serde(default = "one")]
    request_id: u64,
    #[serde(default = "owner")]
    topic_owner: String,
    #[serde(default = "topic")]
    topic: String,
    #[serde(default = "subscription")]
    subscription: String,
    #[serde(default)]
    format: FormatText,
    #[serde(default)]
    strategy: StrategyText,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    attributes: BTreeMap<String, AttributeText>,
    #[serde(default)]
    published_ms: u64,
    #[serde(default = "first_attempt")]
    attempt: u32,
    #[serde(default)]
    age_ms: u64,
    #[serde(default = "a_day_ms")]
    retention_ms: u64,
    #[serde(default)]
    chance: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndpointText {
    Http(String),
    Queue(Name),
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormatText {
    #[default]
    Json,
    Simplified,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StrategyText {
    #[default]
    BackoffRetry,
    ExponentialDecayRetry,
}

/// What the plugin must have done, and how that went.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    /// What the plugin's store holds when it is asked; what it held at the step before, without it.
    kv: Option<BTreeMap<String, BodyText>>,
    kv_room: Option<Room>,
    expect: Option<Value>,
    response: Option<ResponseText>,
    failed: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponseText {
    Http(AnswerText),
    Enqueued,
    Failed(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerText {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: BodyText,
}

// === impl Case ===

impl Case {
    /// Reads a project's cases, those whose names have a text in them, by name.
    pub(super) fn read_all(project: &Project, wanted: &str) -> Result<Vec<Case>, CaseError> {
        let folder = project.cases();
        let unreadable = |path: &std::path::Path, told: String| CaseError::Unreadable {
            path: path.to_owned(),
            told,
        };
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error.to_string()))?;
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry
                .map_err(|error| unreadable(&folder, error.to_string()))?
                .path();
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let is_case = path.extension().is_some_and(|ending| ending == "json");
            if let (Some(name), true) = (name, is_case) {
                files.insert(name, path);
            }
        }
        files.retain(|name, _| name.contains(wanted));
        if files.is_empty() {
            return Err(CaseError::None {
                folder,
                wanted: wanted.to_owned(),
            });
        }
        let mut cases = Vec::with_capacity(files.len());
        for (name, path) in files {
            let text =
                std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error.to_string()))?;
            let given = match project.world {
                World::Route => Given::Route(parsed(&path, &text)?),
                World::Filter => Given::Filter(parsed(&path, &text)?),
                World::Deliver => Given::Deliver(parsed(&path, &text)?),
                World::Seal => Given::Seal(parsed(&path, &text)?),
            };
            cases.push(Case { name, given });
        }
        Ok(cases)
    }

    /// Returns a binding that nobody has used, with the configuration and the keys that the plugin is given.
    pub(super) fn binding(&self, trial: &Trial) -> Binding {
        match &self.given {
            Given::Route(case) => trial.binding(&case.config),
            Given::Filter(case) => trial.binding(&case.config),
            Given::Deliver(case) => {
                let binding = trial.binding(&case.config);
                for (name, secrets) in &case.signing_keys {
                    let secrets: Vec<GivenSecret> = secrets.iter().map(|secret| secret.0.clone()).collect();
                    trial
                        .keys
                        .give_signing_key(binding.tenant, name, &secrets)
                        .expect("each secret was read as one that its algorithm takes");
                }
                binding
            }
            Given::Seal(case) => {
                let binding = trial.binding(&case.config);
                trial
                    .keys
                    .make_master_key(binding.tenant, &case.master_key)
                    .expect("a key that was wrapped a moment ago is unwrapped");
                binding
            }
        }
    }

    /// Asks the plugin in a fresh instance, and returns where its answers, and what it writes, are not as expected.
    pub(super) async fn differences(&self, trial: &Trial) -> Vec<Difference> {
        let mut lent = Lent::new(trial, self.binding(trial), self.held());
        let mut differences = match &self.given {
            Given::Route(case) => case.differences(&mut lent).await,
            Given::Filter(case) => case.differences(&mut lent).await,
            Given::Deliver(case) => case.differences(&mut lent).await,
            Given::Seal(case) => case.differences(trial, &lent.binding).await,
        };
        if let Some(expected) = self.expected_kv() {
            let written = held::written(&lent.session, body_value);
            differences.extend(Difference::of_all("what it keeps", expected, written));
        }
        trial.forget(&lent.binding);
        differences
    }

    /// Asks the plugin, whatever it answers.
    pub(super) async fn ask(&self, trial: &Trial, binding: &Binding) {
        let mut lent = Lent::new(trial, binding.clone(), self.held());
        match &self.given {
            Given::Route(case) => drop(case.answers(&lent).await),
            Given::Filter(case) => drop(case.answer(&lent).await),
            Given::Deliver(case) => drop(case.steps(&mut lent).await),
            Given::Seal(case) => case.ask(trial, binding).await,
        }
    }

    /// Returns what the plugin's store holds before.
    fn held(&self) -> Held {
        match &self.given {
            Given::Route(case) => held(&case.kv, case.kv_room),
            Given::Filter(case) => held(&case.kv, case.kv_room),
            Given::Deliver(case) => held(&case.kv, case.kv_room),
            // It is lent none.
            Given::Seal(_) => held(&BTreeMap::new(), None),
        }
    }

    fn expected_kv(&self) -> Option<&Value> {
        match &self.given {
            Given::Route(case) => case.expect_kv.as_ref(),
            Given::Filter(case) => case.expect_kv.as_ref(),
            Given::Deliver(case) => case.expect_kv.as_ref(),
            Given::Seal(_) => None,
        }
    }
}

/// What a plugin is asked with: its binding, and its store as the decision under way sees it.
struct Lent<'a> {
    trial: &'a Trial,
    binding: Binding,
    held: Held,
    session: KvSession,
}

// === impl Lent ===

impl<'a> Lent<'a> {
    fn new(trial: &'a Trial, binding: Binding, held: Held) -> Lent<'a> {
        let session = held.session();
        let mut lent = Lent {
            trial,
            binding,
            held,
            session,
        };
        lent.begin();
        lent
    }

    /// Begins another step of an attempt, by what the case says that the store holds then.
    fn begin_step(&mut self, step: Option<&StepText>) {
        if let Some(StepText {
            kv: Some(kv),
            kv_room,
            ..
        }) = step
        {
            self.held = held(kv, *kv_room);
        }
        self.begin();
    }

    /// Begins another decision: what the one before has written is let go.
    fn begin(&mut self) {
        self.session = self.held.session();
        // Plugins without a store are asked as a node asks them.
        let uses_kv = self.trial.host.uses_kv(self.binding.version);
        self.binding.kv = uses_kv.then(|| self.session.clone());
    }
}

fn held(kv: &BTreeMap<String, BodyText>, room: Option<Room>) -> Held {
    Held::new(kv.iter().map(|(key, value)| (key.clone(), value.bytes())), room)
}

fn parsed<T: DeserializeOwned>(path: &std::path::Path, text: &str) -> Result<T, CaseError> {
    serde_json::from_str(text).map_err(|error| CaseError::Unreadable {
        path: path.to_owned(),
        told: error.to_string(),
    })
}

// === impl RouteCase ===

impl RouteCase {
    async fn differences(&self, lent: &mut Lent<'_>) -> Vec<Difference> {
        let answers = self.answers(lent).await;
        let mut differences = Vec::new();
        for (number, (message, answer)) in (1..).zip(self.messages.iter().zip(answers)) {
            let mut expected = message.expect.clone();
            // In which order a router names them means nothing.
            if let Some(Value::Array(names)) = &mut expected {
                names.sort_by_key(|name| self.position(name));
            }
            let (answered, note) = told(answer, |reached| self.names(reached));
            let expected = (expected.as_ref(), message.failed.as_deref());
            let at = format!("message {number}");
            differences.extend(Difference::of_recorded(at, expected, answered, note));
        }
        differences
    }

    async fn answers(&self, lent: &Lent<'_>) -> Vec<Result<Vec<SubscriptionId>, GuestFault>> {
        let Lent { trial, binding, .. } = lent;
        let table = Arc::new(self.table());
        let mut answers = Vec::with_capacity(self.messages.len());
        for batch in self.messages.chunks(BATCH_MAX) {
            let envelopes = batch
                .iter()
                .map(|message| {
                    let envelope = message.envelope.envelope(&message.body);
                    Envelope {
                        body_bytes: message.body_bytes.unwrap_or(envelope.body_bytes),
                        ..envelope
                    }
                })
                .collect();
            answers.extend(trial.host.route(binding, &table, envelopes).await);
        }
        answers
    }

    fn table(&self) -> RouteTable {
        let subscriptions = self.subscriptions.iter().zip(0..);
        RouteTable {
            key: (Incarnation(1), 1),
            filter_type: match self.filter_type {
                FilterTypeText::Tags => FilterType::Tags,
                FilterTypeText::BindingKeys => FilterType::BindingKeys,
            },
            subscriptions: subscriptions
                .map(|(subscription, position)| RouteSubscription {
                    id: SubscriptionId(position),
                    name: subscription.name.clone(),
                    filter_tags: subscription.filter_tags.clone(),
                    binding_keys: subscription.binding_keys.clone(),
                })
                .collect(),
        }
    }

    fn names(&self, mut reached: Vec<SubscriptionId>) -> Value {
        reached.sort_unstable();
        let names = (0..).zip(&self.subscriptions);
        names
            .filter(|(position, _)| reached.contains(&SubscriptionId(*position)))
            .map(|(_, subscription)| Value::from(subscription.name.as_str()))
            .collect()
    }

    fn position(&self, name: &Value) -> usize {
        let mut names = self.subscriptions.iter();
        names
            .position(|subscription| *name == *subscription.name)
            .unwrap_or(self.subscriptions.len())
    }
}

// === impl FilterCase ===

impl FilterCase {
    async fn differences(&self, lent: &mut Lent<'_>) -> Vec<Difference> {
        let (answered, note) = told(self.answer(lent).await, filtered_value);
        let expected = (self.expect.as_ref(), self.failed.as_deref());
        Difference::of_recorded("the answer", expected, answered, note)
            .into_iter()
            .collect()
    }

    async fn answer(&self, lent: &Lent<'_>) -> Result<Filtered, GuestFault> {
        let envelope = self.envelope.envelope(&self.body);
        let Lent { trial, binding, .. } = lent;
        trial.host.filter(binding, envelope, self.body.bytes()).await
    }
}

// === impl DeliverCase ===

impl DeliverCase {
    async fn differences(&self, lent: &mut Lent<'_>) -> Vec<Difference> {
        let steps = self.steps(lent).await;
        let mut differences = Vec::new();
        let mut expected = self.steps.iter();
        for (number, step) in (1..).zip(steps) {
            let (answered, note) = told(step, |step| action_value(&step.action));
            let at = format!("step {number}");
            differences.extend(match expected.next() {
                Some(StepText { expect, failed, .. }) => {
                    let expected = (expect.as_ref(), failed.as_deref());
                    Difference::of_recorded(at, expected, answered, note)
                }
                None => Difference::of(at, &json!(null), answered, note),
            });
        }
        for expect in expected.filter_map(|step| step.expect.as_ref()) {
            let at = "a step that the plugin did not come to";
            differences.extend(Difference::of(at, expect, json!(null), None));
        }
        differences
    }

    /// Has the plugin go on for as long as the case says how its steps went.
    async fn steps(&self, lent: &mut Lent<'_>) -> Vec<Result<Step, GuestFault>> {
        let delivery = self.delivery.delivery();
        let host = &lent.trial.host;
        lent.begin_step(self.steps.first());
        let mut step = host
            .deliver_begin(&lent.binding, delivery.clone(), self.body.bytes())
            .await;
        let mut steps = Vec::new();
        for (number, text) in (1..).zip(self.steps.iter().take(STEPS_MAX)) {
            let next = match (&step, &text.response) {
                (Ok(Step { action, state }), Some(response)) if !matches!(action, Action::Done(_)) => {
                    Some((state.clone(), response.response()))
                }
                _ => None,
            };
            steps.push(step);
            let Some((state, response)) = next else {
                return steps;
            };
            lent.begin_step(self.steps.get(number));
            step = host
                .deliver_resume(&lent.binding, delivery.clone(), state, response)
                .await;
        }
        let had_all_steps = steps.len() == STEPS_MAX;
        steps.push(step.and_then(|step| match step.action {
            // As a node says of one that does not come to its end.
            Action::Http(_) | Action::Enqueue(_) if had_all_steps => {
                Err(GuestFault::Nonsense(format!("took more than {STEPS_MAX} steps")))
            }
            Action::Http(_) | Action::Enqueue(_) | Action::Done(_) => Ok(step),
        }));
        steps
    }
}

// === impl EnvelopeText ===

impl EnvelopeText {
    fn envelope(&self, body: &BodyText) -> Envelope {
        Envelope {
            id: MessageId(self.id),
            produced: Time::from_millis(self.produced_ms),
            tags: self.tags.clone(),
            routing_key: self.routing_key.clone(),
            body_bytes: u32::try_from(body.bytes().len()).unwrap_or(u32::MAX),
            attributes: attributes(&self.attributes),
        }
    }
}

impl Default for EnvelopeText {
    fn default() -> Self {
        EnvelopeText {
            id: one(),
            produced_ms: 0,
            tags: Vec::new(),
            routing_key: String::new(),
            attributes: BTreeMap::new(),
        }
    }
}

// === impl BodyText ===

impl BodyText {
    fn bytes(&self) -> Bytes {
        match self {
            BodyText::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            BodyText::Bytes { base64 } => base64.0.clone(),
        }
    }
}

impl Default for BodyText {
    fn default() -> Self {
        BodyText::Text(String::new())
    }
}

// === impl Base64 ===

impl TryFrom<String> for Base64 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(|bytes| Base64(Bytes::from(bytes)))
            .map_err(|error| format!("no base64: {error}"))
    }
}

// === impl DeliveryText ===

impl DeliveryText {
    fn delivery(&self) -> Delivery {
        Delivery {
            message: MessageId(self.message_id),
            request: self.request_id,
            topic_owner: self.topic_owner.clone(),
            topic: self.topic.clone(),
            subscription: self.subscription.clone(),
            endpoint: match &self.endpoint {
                EndpointText::Http(url) => Endpoint::Http(url.clone()),
                EndpointText::Queue(name) => Endpoint::Queue(name.clone()),
            },
            format: match self.format {
                FormatText::Json => ContentFormat::Json,
                FormatText::Simplified => ContentFormat::Simplified,
            },
            retry: match self.strategy {
                StrategyText::BackoffRetry => RetryStrategy::Backoff,
                StrategyText::ExponentialDecayRetry => RetryStrategy::ExponentialDecay,
            },
            tags: self.tags.clone(),
            routing_key: self.routing_key.clone(),
            attributes: attributes(&self.attributes),
            published: Time::from_millis(self.published_ms),
            attempt: self.attempt,
            age: Span::from_millis(self.age_ms),
            retention: Span::from_millis(self.retention_ms),
            chance: self.chance,
        }
    }
}

// === impl ResponseText ===

impl ResponseText {
    fn response(&self) -> Response {
        match self {
            ResponseText::Http(answer) => Response::Http {
                status: answer.status,
                headers: answer.headers.clone().into_iter().collect(),
                body: answer.body.bytes(),
            },
            ResponseText::Enqueued => Response::Enqueued,
            ResponseText::Failed(told) => Response::Failed(told.clone()),
        }
    }
}

fn attributes(attributes: &BTreeMap<String, AttributeText>) -> BTreeMap<String, Attribute> {
    let values = attributes.iter().map(|(name, value)| {
        let value = match value {
            AttributeText::Text(text) => Attribute::Text(text.clone()),
            AttributeText::Number { number } => Attribute::Number(number.clone()),
            AttributeText::Binary { base64 } => Attribute::Binary(base64.0.clone()),
        };
        (name.clone(), value)
    });
    values.collect()
}

/// Returns an answer as a case would say it, and what more is known of a failure.
fn told<T>(answer: Result<T, GuestFault>, value: impl FnOnce(T) -> Value) -> (Value, Option<String>) {
    match answer {
        Ok(answer) => (value(answer), None),
        Err(fault) => {
            let note = match &fault {
                GuestFault::Trap { backtrace, .. } => Some(backtrace.clone()),
                GuestFault::OutOfTime
                | GuestFault::OutOfMemory
                | GuestFault::Nonsense(_)
                | GuestFault::Said(_)
                | GuestFault::Busy(_)
                | GuestFault::NotLoaded
                | GuestFault::Stopped => None,
            };
            (json!({ FAIL: fault.to_string() }), note)
        }
    }
}

fn one() -> u64 {
    1
}

fn first_attempt() -> u32 {
    1
}

fn a_day_ms() -> u64 {
    86_400_000
}

fn owner() -> String {
    "tenant".to_owned()
}

fn topic() -> String {
    "topic".to_owned()
}

fn subscription() -> String {
    "subscription".to_owned()
}
