//! `posthouse topic`.

use clap::{Args, Subcommand, ValueEnum};
use posthouse_model::{Name, Tag};

use super::client::{CliError, Client};
use super::named::{Bodies, SealArgs, Told, delete, send, something_to_change, told_in_a_row};
use super::output::{Output, Table};
use crate::admin::Operation;
use crate::admin::shapes::{FilterTypeView, NameView, PublishRequest, TopicCreate, TopicSettings, TopicView};

/// What messages and routes call it.
const KIND: &str = "topic";

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Creates a topic.
    Create {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        topic: Name,
        /// How it chooses subscriptions.
        #[arg(long, value_enum, default_value_t = Filter::Tags)]
        filter: Filter,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists topics.
    List {
        /// Only names that contain this.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Shows a topic.
    Show {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        topic: Name,
    },
    /// Changes a topic's settings.
    Set {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        topic: Name,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes a topic that has no subscriptions.
    Delete {
        /// Its name.
        #[arg(value_parser = Name::parse)]
        topic: Name,
    },
    /// Seals new messages under a master key, or no longer.
    Seal {
        /// The topic.
        #[arg(value_parser = Name::parse)]
        topic: Name,
        #[command(flatten)]
        seal: SealArgs,
    },
    /// Publishes messages.
    Publish {
        /// The topic.
        #[arg(value_parser = Name::parse)]
        topic: Name,
        #[command(flatten)]
        bodies: Bodies,
        /// A tag of theirs; up to 5.
        #[arg(long = "tag", value_name = "TAG", value_parser = Tag::parse)]
        tags: Vec<Tag>,
        /// Their routing key.
        #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
        routing_key: String,
    },
}

/// How a topic chooses subscriptions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Filter {
    /// By tags.
    Tags,
    /// By binding keys.
    BindingKeys,
}

/// What a topic is set to.
#[derive(Debug, Args)]
pub struct Settings {
    /// The largest body it takes.
    #[arg(long, value_name = "BYTES")]
    body_max: Option<u32>,
    /// How long a message is kept for subscriptions that have not taken it.
    #[arg(long, value_name = "SECONDS")]
    retention: Option<u64>,
}

// === impl TopicCommand ===

impl TopicCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            TopicCommand::Create {
                topic,
                filter,
                settings,
            } => {
                let filter_type = match filter {
                    Filter::Tags => FilterTypeView::Tags,
                    Filter::BindingKeys => FilterTypeView::BindingKeys,
                };
                let request = TopicCreate {
                    name: topic,
                    filter_type,
                    settings: settings.shape(),
                };
                let view: TopicView = client.tell(Operation::CreateTopic, &[], &request).await?;
                client.output(&view, topic_text(&view))
            }
            TopicCommand::List { search } => {
                let topics: Vec<NameView> =
                    client.list(Operation::ListTopics, &[], search.as_deref()).await?;
                client.output(&topics, topics_text(&topics))
            }
            TopicCommand::Show { topic } => {
                let view: TopicView = client.ask(Operation::ShowTopic, &named(&topic)).await?;
                client.output(&view, topic_text(&view))
            }
            TopicCommand::Set { topic, settings } => {
                let settings = settings.shape();
                something_to_change(&settings)?;
                let view: TopicView = client
                    .tell(Operation::SetTopic, &named(&topic), &settings)
                    .await?;
                client.output(&view, topic_text(&view))
            }
            TopicCommand::Delete { topic } => delete(client, Operation::DeleteTopic, KIND, &topic).await,
            TopicCommand::Seal { topic, seal } => {
                seal.apply(client, Operation::SealTopic, KIND, &topic).await
            }
            TopicCommand::Publish {
                topic,
                bodies,
                tags,
                routing_key,
            } => {
                let messages = bodies.read()?;
                let request = PublishRequest {
                    messages,
                    tags,
                    routing_key,
                    token: None,
                };
                send(client, Operation::PublishMessages, KIND, &topic, &request).await
            }
        }
    }
}

// === impl Settings ===

impl Settings {
    fn shape(&self) -> TopicSettings {
        TopicSettings {
            body_bytes_max: self.body_max,
            retention_seconds: self.retention,
        }
    }
}

fn named(topic: &Name) -> [(&'static str, &str); 1] {
    [(KIND, topic.as_str())]
}

fn topic_text(view: &TopicView) -> String {
    Told {
        kind: KIND,
        name: &view.name,
        state: view.state,
        set: view.set,
        created_ms: view.created_ms,
        modified_ms: view.modified_ms,
        body_bytes_max: view.body_bytes_max,
        retention_seconds: view.retention_seconds,
        sealed_under: view.sealed_under.as_ref(),
    }
    .text(|record| {
        let filter = match view.filter_type {
            FilterTypeView::Tags => "tags",
            FilterTypeView::BindingKeys => "binding keys",
        };
        record.line("chooses by", filter);
        record.line("subscriptions", view.subscriptions);
        record.line("messages", view.messages);
    })
}

fn topics_text(topics: &[NameView]) -> String {
    let mut table = Table::new(&["name", "state", "set", "sealed under"]);
    for view in topics {
        table.row(told_in_a_row(view));
    }
    table.to_string()
}
