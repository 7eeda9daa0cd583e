//! Topics and their subscriptions.

use posthouse_model::{
    ContentFormat, Endpoint, FilterType, Key, Name, NameRecord, RetryStrategy, SubscriptionAttributes,
    SubscriptionId, Tag, TopicAttributes, bounds,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queues::{Lifetime, StateView};
use super::settings::{set, set_body_bytes_max, set_retention};
use crate::admin::AdminError;

/// Creates a topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicCreate {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// How it chooses subscriptions; cannot be changed later.
    #[serde(default)]
    pub filter_type: FilterTypeView,
    /// What it is set to; what is absent gets its default.
    #[serde(default)]
    pub settings: TopicSettings,
}

/// How a topic chooses subscriptions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterTypeView {
    /// By tags.
    #[default]
    Tags,
    /// By binding keys.
    BindingKeys,
}

/// What a topic is to be set to. What is absent stays as it is, or at its default in a new topic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// The largest body it takes, 1,024 to 1,048,576.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u32>,
    /// How long a message is kept for subscriptions that have not taken it, 60 to 1,296,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
}

/// A topic as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopicView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// The number that this topic got when it was created.
    pub incarnation: u64,
    /// The set that holds it.
    pub set: u8,
    /// How far its making or removal has got.
    pub state: StateView,
    /// When it was created.
    pub created_ms: u64,
    /// When its settings last changed.
    pub modified_ms: u64,
    /// How it chooses subscriptions.
    pub filter_type: FilterTypeView,
    /// The largest body it takes.
    pub body_bytes_max: u32,
    /// How long a message is kept for subscriptions that have not taken it.
    pub retention_seconds: u64,
    /// The master key that new messages are sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sealed_under: Option<Name>,
    /// Messages that a subscription still waits for.
    pub messages: u64,
    /// How many subscriptions it has.
    pub subscriptions: u64,
}

/// Adds a subscription to a topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCreate {
    /// Its name, unique within the topic.
    #[schemars(with = "String")]
    pub name: Name,
    /// Where it hands its messages; cannot be changed later.
    pub endpoint: EndpointView,
    /// The rest; what is absent gets its default.
    #[serde(default)]
    pub settings: SubscriptionSettings,
}

/// Where a subscription hands its messages.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointView {
    /// A URL to post to.
    Url(String),
    /// A queue of the same tenant.
    Queue(#[schemars(with = "String")] Name),
}

/// What a subscription is to be set to. What is absent stays as it is, or at its default in a new one.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubscriptionSettings {
    /// How it tries again; `exponential_decay` in a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryView>,
    /// What an HTTP endpoint gets; `json` in a new one with a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatView>,
    /// Tags it wants, at most 5; an empty list is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub filter_tags: Option<Vec<Tag>>,
    /// Keys it wants, at most 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub binding_keys: Option<Vec<Key>>,
}

/// How a subscription tries again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryView {
    /// Three retries 19 to 29 seconds apart, then the message is dropped.
    Backoff,
    /// After 1, 2, 4, 8 … seconds as long as the topic keeps it.
    ExponentialDecay,
}

/// What an HTTP endpoint gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatView {
    /// A JSON object with the body in it.
    Json,
    /// The body, byte for byte.
    Simplified,
}

/// A subscription as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// Its number in the set that holds the topic.
    pub id: u64,
    /// Where it hands its messages.
    pub endpoint: EndpointView,
    /// How it tries again.
    pub retry: RetryView,
    /// What an HTTP endpoint gets.
    pub format: FormatView,
    /// Tags it wants; none is all.
    pub filter_tags: Vec<String>,
    /// Keys it wants.
    pub binding_keys: Vec<String>,
    /// When it was created.
    pub created_ms: u64,
    /// When its settings last changed.
    pub modified_ms: u64,
    /// Messages that wait for it.
    pub backlog: u64,
}

// === impl TopicSettings ===

impl TopicSettings {
    /// Returns `current` with these settings over it.
    ///
    /// # Errors
    ///
    /// Refuses what is out of bounds, naming the setting and its range.
    pub fn over(&self, current: TopicAttributes) -> Result<TopicAttributes, AdminError> {
        let mut attributes = current;
        set_body_bytes_max(&mut attributes.body_bytes_max, self.body_bytes_max)?;
        set_retention(&mut attributes.retention, self.retention_seconds)?;
        Ok(attributes)
    }
}

// === impl TopicCreate ===

impl TopicCreate {
    /// Returns what the new topic is set to.
    ///
    /// # Errors
    ///
    /// Refuses what is out of bounds, naming the setting and its range.
    pub fn attributes(&self) -> Result<TopicAttributes, AdminError> {
        let filter_type = FilterType::from(self.filter_type);
        self.settings.over(TopicAttributes {
            filter_type,
            ..TopicAttributes::default()
        })
    }
}

// === impl TopicView ===

impl TopicView {
    /// Returns the view of a topic, from what the directory and the set know of it.
    pub fn new(
        record: &NameRecord,
        attributes: &TopicAttributes,
        lifetime: Lifetime,
        holds: TopicHolds,
    ) -> TopicView {
        TopicView {
            name: record.name.clone(),
            incarnation: record.incarnation.0,
            set: record.set.0,
            state: StateView::from(&record.state),
            created_ms: lifetime.created.millis(),
            modified_ms: lifetime.modified.millis(),
            filter_type: FilterTypeView::from(attributes.filter_type),
            body_bytes_max: attributes.body_bytes_max,
            retention_seconds: attributes.retention.seconds(),
            sealed_under: record.sealed_under.clone(),
            messages: holds.messages,
            subscriptions: holds.subscriptions,
        }
    }
}

/// What a topic holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TopicHolds {
    /// Messages that a subscription still waits for.
    pub messages: u64,
    /// Its subscriptions.
    pub subscriptions: u64,
}

// === impl SubscriptionCreate ===

impl SubscriptionCreate {
    /// Returns what the new subscription is set to.
    ///
    /// # Errors
    ///
    /// Refuses a URL that is none, too many tags or keys, and a queue that is to get JSON.
    pub fn attributes(&self) -> Result<SubscriptionAttributes, AdminError> {
        let endpoint = self.endpoint.to_model()?;
        let format = match endpoint {
            Endpoint::Http(_) => ContentFormat::Json,
            Endpoint::Queue(_) => ContentFormat::Simplified,
        };
        self.settings.over(SubscriptionAttributes {
            endpoint,
            retry: RetryStrategy::ExponentialDecay,
            format,
            filter_tags: Vec::new(),
            binding_keys: Vec::new(),
        })
    }
}

// === impl SubscriptionSettings ===

impl SubscriptionSettings {
    /// Returns `current` with these settings over it.
    ///
    /// # Errors
    ///
    /// Refuses too many tags or keys, and a queue that is to get JSON.
    pub fn over(&self, current: SubscriptionAttributes) -> Result<SubscriptionAttributes, AdminError> {
        at_most("filter_tags", self.filter_tags.as_ref().map_or(0, Vec::len))?;
        at_most("binding_keys", self.binding_keys.as_ref().map_or(0, Vec::len))?;
        let mut attributes = current;
        set(&mut attributes.retry, self.retry.map(RetryStrategy::from));
        set(&mut attributes.format, self.format.map(ContentFormat::from));
        set(&mut attributes.filter_tags, self.filter_tags.clone());
        set(&mut attributes.binding_keys, self.binding_keys.clone());
        match (&attributes.endpoint, attributes.format) {
            (Endpoint::Queue(_), ContentFormat::Json) => Err(AdminError::malformed(
                "a queue endpoint gets the body as it is: `format` must be `simplified`",
            )),
            (Endpoint::Queue(_) | Endpoint::Http(_), _) => Ok(attributes),
        }
    }
}

fn at_most(field: &str, count: usize) -> Result<(), AdminError> {
    if count > bounds::TAGS_MAX {
        return Err(AdminError::malformed(format!(
            "`{field}` has more than {}",
            bounds::TAGS_MAX
        )));
    }
    Ok(())
}

// === impl EndpointView ===

impl EndpointView {
    /// Returns the endpoint. Whether the address may be pushed to is checked where it is resolved.
    fn to_model(&self) -> Result<Endpoint, AdminError> {
        match self {
            EndpointView::Queue(name) => Ok(Endpoint::Queue(name.clone())),
            EndpointView::Url(url) if is_http_url(url) => Ok(Endpoint::Http(url.clone())),
            EndpointView::Url(_) => Err(AdminError::malformed(format!(
                "`endpoint.url` must be an http:// or https:// address of at most {} characters",
                bounds::ENDPOINT_CHARS_MAX
            ))),
        }
    }
}

fn is_http_url(text: &str) -> bool {
    let short_enough = text.chars().count() <= bounds::ENDPOINT_CHARS_MAX;
    let parsed = reqwest::Url::parse(text);
    short_enough
        && !text.contains(char::is_whitespace)
        && parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

// === impl SubscriptionView ===

impl SubscriptionView {
    /// Returns the view of a subscription, from what its set knows of it.
    pub fn new(
        id: SubscriptionId,
        name: &Name,
        attributes: &SubscriptionAttributes,
        lifetime: Lifetime,
        backlog: u64,
    ) -> SubscriptionView {
        SubscriptionView {
            name: name.clone(),
            id: id.0,
            endpoint: EndpointView::from(&attributes.endpoint),
            retry: RetryView::from(attributes.retry),
            format: FormatView::from(attributes.format),
            filter_tags: attributes.filter_tags.iter().map(Tag::to_string).collect(),
            binding_keys: attributes.binding_keys.iter().map(Key::to_string).collect(),
            created_ms: lifetime.created.millis(),
            modified_ms: lifetime.modified.millis(),
            backlog,
        }
    }
}

impl From<&Endpoint> for EndpointView {
    fn from(endpoint: &Endpoint) -> EndpointView {
        match endpoint {
            Endpoint::Http(url) => EndpointView::Url(url.clone()),
            Endpoint::Queue(name) => EndpointView::Queue(name.clone()),
        }
    }
}

impl From<FilterTypeView> for FilterType {
    fn from(view: FilterTypeView) -> FilterType {
        match view {
            FilterTypeView::Tags => FilterType::Tags,
            FilterTypeView::BindingKeys => FilterType::BindingKeys,
        }
    }
}

impl From<FilterType> for FilterTypeView {
    fn from(filter_type: FilterType) -> FilterTypeView {
        match filter_type {
            FilterType::Tags => FilterTypeView::Tags,
            FilterType::BindingKeys => FilterTypeView::BindingKeys,
        }
    }
}

impl From<RetryView> for RetryStrategy {
    fn from(view: RetryView) -> RetryStrategy {
        match view {
            RetryView::Backoff => RetryStrategy::Backoff,
            RetryView::ExponentialDecay => RetryStrategy::ExponentialDecay,
        }
    }
}

impl From<RetryStrategy> for RetryView {
    fn from(strategy: RetryStrategy) -> RetryView {
        match strategy {
            RetryStrategy::Backoff => RetryView::Backoff,
            RetryStrategy::ExponentialDecay => RetryView::ExponentialDecay,
        }
    }
}

impl From<FormatView> for ContentFormat {
    fn from(view: FormatView) -> ContentFormat {
        match view {
            FormatView::Json => ContentFormat::Json,
            FormatView::Simplified => ContentFormat::Simplified,
        }
    }
}

impl From<ContentFormat> for FormatView {
    fn from(format: ContentFormat) -> FormatView {
        match format {
            ContentFormat::Json => FormatView::Json,
            ContentFormat::Simplified => FormatView::Simplified,
        }
    }
}
