//! `posthouse sub`.

use clap::{Args, Subcommand, ValueEnum};
use posthouse_model::{Key, Name, Tag};

use super::client::{CliError, Client};
use super::named::something_to_change;
use super::output::{Output, Record, Table, moment};
use crate::admin::Operation;
use crate::admin::shapes::{
    Done, EndpointView, FormatView, RetryView, SubscriptionCreate, SubscriptionSettings, SubscriptionView,
};

/// What to do with a topic's subscriptions.
#[derive(Debug, Subcommand)]
pub enum SubCommand {
    /// Adds a subscription to a topic.
    Create {
        #[command(flatten)]
        name: SubName,
        #[command(flatten)]
        endpoint: EndpointArgs,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists a topic's subscriptions.
    List {
        /// The topic.
        #[arg(value_parser = Name::parse)]
        topic: Name,
        /// Only names that contain this.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Shows a subscription.
    Show {
        #[command(flatten)]
        name: SubName,
    },
    /// Changes a subscription's settings. Tags and keys that are given replace all that it had.
    Set {
        #[command(flatten)]
        name: SubName,
        #[command(flatten)]
        settings: Settings,
        /// Takes all filter tags off: it wants every message.
        #[arg(long, conflicts_with = "tags")]
        no_tags: bool,
    },
    /// Deletes a subscription with its backlog.
    Delete {
        #[command(flatten)]
        name: SubName,
    },
}

/// A subscription of a topic.
#[derive(Debug, Args)]
pub struct SubName {
    /// The topic.
    #[arg(value_parser = Name::parse)]
    topic: Name,
    /// The subscription.
    #[arg(value_parser = Name::parse)]
    subscription: Name,
}

/// Where a subscription hands its messages.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct EndpointArgs {
    /// Posts messages to this URL.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Puts messages into this queue.
    #[arg(long, value_name = "QUEUE", value_parser = Name::parse)]
    queue: Option<Name>,
}

/// What a subscription is set to.
#[derive(Debug, Args)]
pub struct Settings {
    /// How it tries again.
    #[arg(long, value_enum)]
    retry: Option<Retry>,
    /// What an HTTP endpoint gets.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// A tag it wants; up to 5, none is all.
    #[arg(long = "filter-tag", value_name = "TAG", value_parser = Tag::parse, id = "tags")]
    tags: Vec<Tag>,
    /// A key it wants, such as `*.error.#`; up to 5.
    #[arg(long = "binding-key", value_name = "KEY", value_parser = Key::parse)]
    keys: Vec<Key>,
}

/// How a subscription tries again.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Retry {
    /// Three times, 19 to 29 seconds apart, then the message is dropped.
    Backoff,
    /// After 1, 2, 4, 8 … seconds as long as the topic keeps it.
    ExponentialDecay,
}

/// What an HTTP endpoint gets.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// A JSON object with the body in it.
    Json,
    /// The body, byte for byte.
    Simplified,
}

// === impl SubCommand ===

impl SubCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            SubCommand::Create {
                name,
                endpoint,
                settings,
            } => {
                let request = SubscriptionCreate {
                    name: name.subscription,
                    endpoint: endpoint.shape()?,
                    settings: settings.shape(),
                };
                let path = [("topic", name.topic.as_str())];
                let view: SubscriptionView = client
                    .tell(Operation::CreateSubscription, &path, &request)
                    .await?;
                client.output(&view, subscription_text(&view))
            }
            SubCommand::List { topic, search } => {
                let path = [("topic", topic.as_str())];
                let subscriptions: Vec<SubscriptionView> = client
                    .list(Operation::ListSubscriptions, &path, search.as_deref())
                    .await?;
                client.output(&subscriptions, subscriptions_text(&subscriptions))
            }
            SubCommand::Show { name } => {
                let view: SubscriptionView = client.ask(Operation::ShowSubscription, &name.path()).await?;
                client.output(&view, subscription_text(&view))
            }
            SubCommand::Set {
                name,
                settings,
                no_tags,
            } => {
                let mut settings = settings.shape();
                if no_tags {
                    settings.filter_tags = Some(Vec::new());
                }
                something_to_change(&settings)?;
                let view: SubscriptionView = client
                    .tell(Operation::SetSubscription, &name.path(), &settings)
                    .await?;
                client.output(&view, subscription_text(&view))
            }
            SubCommand::Delete { name } => {
                let done: Done = client.ask(Operation::DeleteSubscription, &name.path()).await?;
                let SubName { topic, subscription } = &name;
                client.output(
                    &done,
                    format!("subscription {subscription} of {topic} is deleted\n"),
                )
            }
        }
    }
}

// === impl SubName ===

impl SubName {
    fn path(&self) -> [(&'static str, &str); 2] {
        [
            ("topic", self.topic.as_str()),
            ("subscription", self.subscription.as_str()),
        ]
    }
}

// === impl EndpointArgs ===

impl EndpointArgs {
    fn shape(self) -> Result<EndpointView, CliError> {
        match (self.endpoint, self.queue) {
            (Some(url), _) => Ok(EndpointView::Url(url)),
            (None, Some(queue)) => Ok(EndpointView::Queue(queue)),
            (None, None) => Err(CliError::Usage("give --endpoint or --queue".to_owned())),
        }
    }
}

// === impl Settings ===

impl Settings {
    fn shape(self) -> SubscriptionSettings {
        let retry = self.retry.map(|retry| match retry {
            Retry::Backoff => RetryView::Backoff,
            Retry::ExponentialDecay => RetryView::ExponentialDecay,
        });
        let format = self.format.map(|format| match format {
            Format::Json => FormatView::Json,
            Format::Simplified => FormatView::Simplified,
        });
        SubscriptionSettings {
            retry,
            format,
            filter_tags: (!self.tags.is_empty()).then_some(self.tags),
            binding_keys: (!self.keys.is_empty()).then_some(self.keys),
        }
    }
}

fn endpoint_text(endpoint: &EndpointView) -> String {
    match endpoint {
        EndpointView::Url(url) => url.clone(),
        EndpointView::Queue(queue) => format!("queue {queue}"),
    }
}

fn subscription_text(view: &SubscriptionView) -> String {
    let mut record = Record::new();
    record.line("subscription", &view.name);
    record.line("endpoint", endpoint_text(&view.endpoint));
    let retry = match view.retry {
        RetryView::Backoff => "backoff",
        RetryView::ExponentialDecay => "exponential decay",
    };
    record.line("retry", retry);
    let format = match view.format {
        FormatView::Json => "json",
        FormatView::Simplified => "simplified",
    };
    record.line("format", format);
    record.line("filter tags", view.filter_tags.join(" "));
    record.line("binding keys", view.binding_keys.join(" "));
    record.line("created", moment(view.created_ms));
    record.line("modified", moment(view.modified_ms));
    record.line("backlog", view.backlog);
    record.to_string()
}

fn subscriptions_text(subscriptions: &[SubscriptionView]) -> String {
    let mut table = Table::new(&["name", "endpoint", "tags", "binding keys", "backlog"]);
    for view in subscriptions {
        table.row([
            view.name.to_string(),
            endpoint_text(&view.endpoint),
            view.filter_tags.join(" "),
            view.binding_keys.join(" "),
            view.backlog.to_string(),
        ]);
    }
    table.to_string()
}
