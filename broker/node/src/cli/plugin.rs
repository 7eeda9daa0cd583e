//! `posthouse plugin`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use posthouse_model::{BREAKER_TRAPS_MAX, BREAKER_WITHIN_MAX, Name};

use super::client::{CliError, Client, Connection};
use super::output::{Output, Record, Table, moment};
use crate::admin::Operation;
use crate::admin::shapes::{
    ActivateRequest, ActiveVersion, BindRequest, BindingView, BreakerView, ComponentDigest, Done, EndView,
    FailureView, Page, PlaceView, PluginPushed, PluginView, QuarantineRequest, RedriveRequest, UnbindRequest,
    WorldView,
};
use crate::broker::{RECORDED_CALLS_MAX, RECORDING_SECONDS_MAX};

mod bench;
mod case;
mod difference;
mod held;
mod kept;
mod log;
mod project;
mod record;
mod redrive;
mod shadow;
mod trial;
mod trial_keys;

use kept::KvCommand;
use project::ProjectCommand;

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Something to do with a project, here.
    #[command(flatten)]
    Project(ProjectCommand),
    /// Something to do with plugins on a running node.
    #[command(flatten)]
    Served(ServedCommand),
}

/// What to do with plugins on a running node.
#[derive(Debug, Subcommand)]
pub enum ServedCommand {
    /// Pushes a version of a plugin: checked, compiled and recorded, not yet used.
    Push {
        /// The plugin's name.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        /// The WebAssembly component.
        file: PathBuf,
        /// The world it must export; whichever it does when absent.
        #[arg(long, value_enum)]
        world: Option<World>,
        /// Pushes it for every tenant. Needs a root access key.
        #[arg(long)]
        platform: bool,
        /// The digest that the component must have, as `plugin build` prints it; any other is refused.
        #[arg(long, value_name = "SHA256", value_parser = ComponentDigest::parse)]
        digest: Option<ComponentDigest>,
    },
    /// Lists plugins.
    List,
    /// Shows a plugin with its versions.
    Show {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
    },
    /// Lists bindings.
    Bindings,
    /// Binds a plugin to a place, instead of what of the same world was bound there.
    Bind {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        #[command(flatten)]
        place: PlaceArgs,
        /// The version; the newest when absent.
        #[arg(long, value_name = "VERSION", id = "plugin_version")]
        plugin_version: Option<u64>,
        /// Its configuration, as text.
        #[arg(long, value_name = "TEXT", conflicts_with = "config_file")]
        config: Option<String>,
        /// Its configuration, from a file.
        #[arg(long, value_name = "FILE")]
        config_file: Option<PathBuf>,
        /// What follows when it fails.
        #[arg(long, value_enum, default_value_t = OnFailure::Reject)]
        on_failure: OnFailure,
        /// Takes it out of use after so many traps; as the nodes are configured when absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BREAKER_TRAPS_MAX)))]
        breaker_traps: Option<u32>,
        /// Counts traps within so long; as the nodes are configured when absent.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=BREAKER_WITHIN_MAX.seconds()))]
        breaker_seconds: Option<u64>,
    },
    /// Unbinds what of a world is bound to a place.
    Unbind {
        #[command(flatten)]
        place: PlaceArgs,
        /// The world.
        #[arg(long, value_enum)]
        world: World,
    },
    /// Makes every binding of a plugin use a version.
    Activate {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        /// The version; the newest when absent.
        #[arg(id = "plugin_version", value_name = "VERSION")]
        plugin_version: Option<u64>,
    },
    /// Puts every binding of a plugin back to the version before.
    Rollback {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
    },
    /// Removes a version that nothing is bound to. One that seals is kept: it alone opens what it sealed.
    Remove {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        /// The version.
        #[arg(id = "plugin_version", value_name = "VERSION")]
        plugin_version: u64,
    },
    /// Takes a binding out of use, or puts it back.
    Quarantine {
        #[command(flatten)]
        place: PlaceArgs,
        /// The world.
        #[arg(long, value_enum)]
        world: World,
        #[command(flatten)]
        verdict: Verdict,
    },
    /// Has all nodes keep the calls of a binding's plugin that fail, for a while, as cases that `plugin test` repeats anywhere.
    /// They say what bodies say; of what is sealed nothing is recorded.
    Record {
        #[command(flatten)]
        place: PlaceArgs,
        /// The world.
        #[arg(long, value_enum)]
        world: World,
        /// For how long.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=RECORDING_SECONDS_MAX))]
        seconds: u64,
        /// The most calls on each node.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(RECORDED_CALLS_MAX)))]
        max: u32,
        /// Begins nothing: writes what was recorded into this folder, a file a call.
        #[arg(long, value_name = "FOLDER", conflicts_with = "end")]
        into: Option<PathBuf>,
        /// Ends it, and has the nodes forget what was recorded.
        #[arg(long)]
        end: bool,
    },
    /// Shows what the plugin of a binding keeps.
    #[command(subcommand)]
    Kv(KvCommand),
    /// Tries a version of a router or filter beside the one in use: compared, or as a canary, with a gate or without.
    Shadow(shadow::ShadowArgs),
    /// Lists versions that are tried, with what came of it and messages on which they differ.
    Trials,
    /// Puts a version that is tried in use. `rollback` goes back.
    Promote(shadow::TrialArgs),
    /// Ends a trial; the version in use stays.
    Stop(shadow::TrialArgs),
    /// Sends messages on their way again that were parked because a plugin failed on them: each once, however often this is
    /// interrupted and begun again. One that it fails on again stays parked.
    Redrive {
        /// The plugin that failed.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        #[command(flatten)]
        from: FromArgs,
        /// The version that is to decide, in use or not; the one in use when absent.
        #[arg(long, value_name = "VERSION", id = "plugin_version")]
        plugin_version: Option<u64>,
        /// The most messages a second.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        rate: u64,
        /// The most messages.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
    },
    /// Prints what a plugin wrote on all nodes, and the traps that were noted of it, newest last.
    Logs {
        /// The plugin.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        /// The most lines.
        #[arg(long, default_value_t = 100)]
        lines: usize,
        /// Goes on with what it writes from now on, until interrupted.
        #[arg(long)]
        follow: bool,
    },
}

/// What a plugin decides.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum World {
    /// Which subscriptions a message reaches.
    Route,
    /// Whether and as what it passes.
    Filter,
    /// How it is handed to an endpoint.
    Deliver,
    /// How it is sealed and opened.
    Seal,
}

/// What follows when a plugin fails.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OnFailure {
    /// The call is refused, or the delivery tried again later.
    Reject,
    /// The built-in of the same world decides.
    Fallback,
    /// The message is put aside.
    Park,
}

/// Where a plugin is bound.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// A queue.
    #[arg(long, value_name = "NAME", value_parser = Name::parse, group = "place")]
    queue: Option<Name>,
    /// A topic, or with --subscription one of its subscriptions.
    #[arg(long, value_name = "NAME", value_parser = Name::parse, group = "place")]
    topic: Option<Name>,
    /// A subscription of the topic.
    // That a flag is required counts for nothing in clap once it conflicts with one that is given.
    #[arg(
        long,
        value_name = "NAME",
        value_parser = Name::parse,
        requires = "topic",
        conflicts_with_all = ["queue", "whole_tenant", "whole_platform", "http_endpoints", "queue_endpoints"]
    )]
    subscription: Option<Name>,
    /// All of the tenant's.
    #[arg(long, group = "place")]
    whole_tenant: bool,
    /// Everything, for every tenant. Needs a root access key.
    #[arg(long, group = "place")]
    whole_platform: bool,
    /// Everything delivered by HTTP. Needs a root access key.
    #[arg(long, group = "place")]
    http_endpoints: bool,
    /// Everything delivered to queues. Needs a root access key.
    #[arg(long, group = "place")]
    queue_endpoints: bool,
}

/// Where parked messages come from.
#[derive(Debug, Args)]
pub struct FromArgs {
    /// Only those that were for this queue.
    #[arg(long, value_name = "NAME", value_parser = Name::parse, conflicts_with_all = ["topic", "subscription"])]
    queue: Option<Name>,
    /// Only those that were published to this topic.
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    topic: Option<Name>,
    /// Of these, only those that were for this subscription.
    #[arg(long, value_name = "NAME", value_parser = Name::parse, requires = "topic")]
    subscription: Option<Name>,
}

/// Out of use, or back.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Verdict {
    /// Takes it out of use, for this reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Puts it back.
    #[arg(long)]
    release: bool,
}

// === impl PluginCommand ===

impl PluginCommand {
    /// Does it: a node is spoken to only where one is needed.
    pub(super) async fn perform(
        self,
        connection: &Connection,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Output, CliError> {
        match self {
            PluginCommand::Project(command) => {
                command.perform(connection.is_for_machines(), environment).await
            }
            PluginCommand::Served(command) => command.perform(&Client::new(connection, environment)?).await,
        }
    }
}

// === impl ServedCommand ===

impl ServedCommand {
    async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            ServedCommand::Push {
                plugin,
                file,
                world,
                platform,
                digest,
            } => {
                let wanted = Wanted {
                    world,
                    platform,
                    digest,
                };
                push(client, &plugin, &file, wanted).await
            }
            ServedCommand::List => {
                let plugins: Vec<PluginView> = client.list(Operation::ListPlugins, &[], None).await?;
                client.output(&plugins, plugins_text(&plugins))
            }
            ServedCommand::Show { plugin } => {
                let view: PluginView = client.ask(Operation::ShowPlugin, &named(&plugin)).await?;
                client.output(&view, plugin_text(&view))
            }
            ServedCommand::Bindings => {
                let page: Page<BindingView> = client.ask(Operation::ListBindings, &[]).await?;
                client.output(&page.items, bindings_text(&page.items))
            }
            ServedCommand::Bind {
                plugin,
                place,
                plugin_version,
                config,
                config_file,
                on_failure,
                breaker_traps,
                breaker_seconds,
            } => {
                let configuration = match config_file {
                    Some(path) => read_text(&path)?,
                    None => config.unwrap_or_default(),
                };
                let request = BindRequest {
                    place: place.shape()?,
                    plugin,
                    version: plugin_version,
                    configuration,
                    on_failure: on_failure.into(),
                    breaker: BreakerView {
                        traps: breaker_traps,
                        seconds: breaker_seconds,
                    },
                };
                let view: BindingView = client.tell(Operation::Bind, &[], &request).await?;
                client.output(&view, bindings_text(std::slice::from_ref(&view)))
            }
            ServedCommand::Unbind { place, world } => {
                let request = UnbindRequest {
                    place: place.shape()?,
                    world: world.into(),
                };
                let done: Done = client.tell(Operation::Unbind, &[], &request).await?;
                let UnbindRequest { place, world } = &request;
                client.output(
                    &done,
                    format!("nothing of world {world} is bound to {place} any more\n"),
                )
            }
            ServedCommand::Activate {
                plugin,
                plugin_version,
            } => {
                let request = ActivateRequest {
                    version: plugin_version,
                };
                let active: ActiveVersion = client
                    .tell(Operation::ActivatePlugin, &named(&plugin), &request)
                    .await?;
                print_active(client, &plugin, active)
            }
            ServedCommand::Rollback { plugin } => {
                let active: ActiveVersion = client.ask(Operation::RollBackPlugin, &named(&plugin)).await?;
                print_active(client, &plugin, active)
            }
            ServedCommand::Remove {
                plugin,
                plugin_version,
            } => {
                let version = plugin_version.to_string();
                let named = [("plugin", plugin.as_str()), ("version", version.as_str())];
                let done: Done = client.ask(Operation::RemovePluginVersion, &named).await?;
                client.output(&done, format!("version {version} of {plugin} is removed\n"))
            }
            ServedCommand::Quarantine {
                place,
                world,
                verdict,
            } => {
                let request = QuarantineRequest {
                    place: place.shape()?,
                    world: world.into(),
                    reason: verdict.reason,
                };
                let view: BindingView = client.tell(Operation::Quarantine, &[], &request).await?;
                client.output(&view, bindings_text(std::slice::from_ref(&view)))
            }
            ServedCommand::Record {
                place,
                world,
                seconds,
                max,
                into,
                end,
            } => {
                let named = UnbindRequest {
                    place: place.shape()?,
                    world: world.into(),
                };
                match (into, end) {
                    (Some(folder), _) => record::fetch(client, &named, &folder).await,
                    (None, true) => record::end(client, &named).await,
                    (None, false) => record::begin(client, named, seconds, max).await,
                }
            }
            ServedCommand::Kv(command) => command.perform(client).await,
            ServedCommand::Shadow(args) => shadow::begin(client, args).await,
            ServedCommand::Trials => shadow::list(client).await,
            ServedCommand::Promote(args) => shadow::end(client, args, EndView::Promote).await,
            ServedCommand::Stop(args) => shadow::end(client, args, EndView::Stop).await,
            ServedCommand::Redrive {
                plugin,
                from,
                plugin_version,
                rate,
                max,
            } => {
                let request = RedriveRequest {
                    place: from.shape(),
                    version: plugin_version,
                    ..RedriveRequest::default()
                };
                redrive::perform(client, &plugin, request, rate, max).await
            }
            ServedCommand::Logs {
                plugin,
                lines,
                follow: false,
            } => {
                let logs = log::read(client, &plugin, lines).await?;
                log::warn_of_silent(&logs);
                client.output(&logs, log::text(&logs.lines))
            }
            ServedCommand::Logs {
                plugin,
                lines,
                follow: true,
            } => log::follow(client, &plugin, lines).await,
        }
    }
}

/// What a component that is pushed must be, and for whom.
struct Wanted {
    world: Option<World>,
    platform: bool,
    digest: Option<ComponentDigest>,
}

async fn push(client: &Client, plugin: &Name, file: &Path, wanted: Wanted) -> Result<Output, CliError> {
    let component = std::fs::read(file)
        .map(Bytes::from)
        .map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    let progress = if client.is_for_machines() {
        ProgressBar::hidden()
    } else {
        // Draws on standard error, and only where that is a terminal.
        ProgressBar::new(component.len() as u64).with_style(progress_style())
    };
    let world = wanted.world.map(|world| WorldView::from(world).to_string());
    let digest = wanted.digest.map(|digest| digest.to_string());
    let mut query = Vec::new();
    query.extend(world.as_deref().map(|world| ("world", world)));
    query.extend(wanted.platform.then_some(("platform", "true")));
    query.extend(digest.as_deref().map(|digest| ("digest", digest)));
    let outcome: Result<PluginPushed, CliError> = client
        .push(&named(plugin), &query, component, progress.clone())
        .await;
    progress.finish_and_clear();
    let pushed = outcome?;
    let mut record = Record::new();
    record.line("plugin", &pushed.name);
    record.line("world", pushed.world);
    record.line("version", pushed.version);
    record.line("digest", &pushed.digest);
    client.output(&pushed, record.to_string())
}

fn progress_style() -> ProgressStyle {
    let template = "{bar:30} {bytes}/{total_bytes} {msg}";
    ProgressStyle::with_template(template).expect("the template is well formed")
}

fn print_active(client: &Client, plugin: &Name, active: ActiveVersion) -> Result<Output, CliError> {
    client.output(
        &active,
        format!("bindings of {plugin} use version {}\n", active.version),
    )
}

fn read_text(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

// === impl PlaceArgs ===

impl PlaceArgs {
    pub(super) fn shape(self) -> Result<PlaceView, CliError> {
        let flags = [
            (self.whole_tenant, PlaceView::Tenant),
            (self.whole_platform, PlaceView::Platform),
            (self.http_endpoints, PlaceView::HttpEndpoints),
            (self.queue_endpoints, PlaceView::QueueEndpoints),
        ];
        match (self.queue, self.topic, self.subscription) {
            (Some(queue), _, _) => Ok(PlaceView::Queue { queue }),
            (None, Some(topic), Some(subscription)) => Ok(PlaceView::Subscription { topic, subscription }),
            (None, Some(topic), None) => Ok(PlaceView::Topic { topic }),
            (None, None, _) => match flags.into_iter().find(|(given, _)| *given) {
                Some((_, place)) => Ok(place),
                None => Err(CliError::Usage(
                    "say where: --queue, --topic, --whole-tenant, --whole-platform, --http-endpoints or \
                     --queue-endpoints"
                        .to_owned(),
                )),
            },
        }
    }
}

// === impl FromArgs ===

impl FromArgs {
    fn shape(self) -> Option<PlaceView> {
        match (self.queue, self.topic, self.subscription) {
            (Some(queue), _, _) => Some(PlaceView::Queue { queue }),
            (None, Some(topic), Some(subscription)) => Some(PlaceView::Subscription { topic, subscription }),
            (None, Some(topic), None) => Some(PlaceView::Topic { topic }),
            (None, None, _) => None,
        }
    }
}

impl From<World> for WorldView {
    fn from(world: World) -> WorldView {
        match world {
            World::Route => WorldView::Route,
            World::Filter => WorldView::Filter,
            World::Deliver => WorldView::Deliver,
            World::Seal => WorldView::Seal,
        }
    }
}

impl From<World> for posthouse_model::World {
    fn from(world: World) -> Self {
        WorldView::from(world).into()
    }
}

impl From<OnFailure> for FailureView {
    fn from(on_failure: OnFailure) -> FailureView {
        match on_failure {
            OnFailure::Reject => FailureView::Reject,
            OnFailure::Fallback => FailureView::Fallback,
            OnFailure::Park => FailureView::Park,
        }
    }
}

fn named(plugin: &Name) -> [(&'static str, &str); 1] {
    [("plugin", plugin.as_str())]
}

fn owner(view: &PluginView) -> String {
    view.tenant
        .as_ref()
        .map_or_else(|| "(everybody)".to_owned(), Name::to_string)
}

fn plugins_text(plugins: &[PluginView]) -> String {
    let mut table = Table::new(&[
        "name",
        "world",
        "owner",
        "versions",
        "newest",
        "bindings",
        "out of use",
    ]);
    for view in plugins {
        table.row([
            view.name.to_string(),
            view.world.to_string(),
            owner(view),
            view.versions.len().to_string(),
            view.versions
                .last()
                .map(|newest| newest.version.to_string())
                .unwrap_or_default(),
            view.bindings.to_string(),
            view.quarantined.len().to_string(),
        ]);
    }
    table.to_string()
}

fn plugin_text(view: &PluginView) -> String {
    let mut record = Record::new();
    record.line("plugin", &view.name);
    record.line("world", view.world);
    record.line("owner", owner(view));
    record.line("bindings", view.bindings);
    let mut table = Table::new(&["version", "pushed", "bytes", "digest"]);
    for version in &view.versions {
        table.row([
            version.version.to_string(),
            moment(version.pushed_ms),
            version.bytes.to_string(),
            version.digest.clone(),
        ]);
    }
    if view.quarantined.is_empty() {
        return format!("{record}\n{table}");
    }
    let mut out = Table::new(&["out of use", "since", "reason"]);
    for binding in &view.quarantined {
        out.row([
            binding.place.to_string(),
            binding.quarantined_ms.map(moment).unwrap_or_default(),
            binding.quarantined.clone().unwrap_or_default(),
        ]);
    }
    format!("{record}\n{table}\n{out}")
}

fn bindings_text(bindings: &[BindingView]) -> String {
    let mut table = Table::new(&[
        "place",
        "world",
        "plugin",
        "version",
        "previous",
        "on failure",
        "breaker",
        "out of use",
    ]);
    for view in bindings {
        let on_failure = match view.on_failure {
            FailureView::Reject => "reject",
            FailureView::Fallback => "fallback",
            FailureView::Park => "park",
        };
        table.row([
            view.place.to_string(),
            view.world.to_string(),
            view.plugin.to_string(),
            view.version.to_string(),
            view.previous
                .map(|previous| previous.to_string())
                .unwrap_or_default(),
            on_failure.to_owned(),
            breaker_text(view.breaker),
            out_of_use_text(view),
        ]);
    }
    table.to_string()
}

fn breaker_text(breaker: BreakerView) -> String {
    match (breaker.traps, breaker.seconds) {
        (Some(traps), Some(seconds)) => format!("{traps} in {seconds} s"),
        _ => String::new(),
    }
}

fn out_of_use_text(view: &BindingView) -> String {
    match (&view.quarantined, view.quarantined_ms) {
        (Some(reason), Some(since)) => format!("since {}: {reason}", moment(since)),
        (Some(reason), None) => reason.clone(),
        (None, _) => String::new(),
    }
}
