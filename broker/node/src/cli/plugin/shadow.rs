//! `posthouse plugin shadow`, `trials`, `promote` and `stop`: a version beside the one in use.

use clap::Args;

use super::{PlaceArgs, World};
use crate::admin::Operation;
use crate::admin::shapes::{
    Done, EndView, GateView, Page, PlaceView, TrialEndRequest, TrialRequest, TrialView, WorldView,
};
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, Record, Table, moment};
use posthouse_model::Name;

/// What is tried, and by what it ends by itself.
#[derive(Debug, Args)]
pub struct ShadowArgs {
    /// The plugin, which is bound there in another version.
    #[arg(value_parser = Name::parse)]
    plugin: Name,
    #[command(flatten)]
    place: PlaceArgs,
    /// The version; the newest when absent.
    #[arg(long, value_name = "VERSION", id = "plugin_version")]
    plugin_version: Option<u64>,
    /// Has it decide about so many per cent of the messages; without this it decides none and is only compared.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    canary: f64,
    /// Finds it good after so many calls within the bounds below.
    #[arg(long, value_name = "CALLS")]
    gate_calls: Option<u64>,
    /// Falls back when more calls fail, in per cent.
    #[arg(long, value_name = "PERCENT", requires = "gate_calls")]
    errors_max: Option<f64>,
    /// Falls back when more answers are not those of the version in use, in per cent.
    #[arg(long, value_name = "PERCENT", requires = "gate_calls")]
    differences_max: Option<f64>,
    /// Falls back when a call takes more CPU time at the mean, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", requires = "gate_calls")]
    call_micros_max: Option<u32>,
    /// Puts it in use once it is found good.
    #[arg(long, requires = "gate_calls")]
    promote: bool,
}

/// Which trial.
#[derive(Debug, Args)]
pub struct TrialArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The world.
    #[arg(long, value_enum)]
    world: World,
}

pub(super) async fn begin(client: &Client, args: ShadowArgs) -> Result<Output, CliError> {
    let gate = args.gate_calls.map(|calls_min| GateView {
        calls_min,
        errors_max_percent: args.errors_max,
        differences_max_percent: args.differences_max,
        call_micros_max: args.call_micros_max,
        promotes: args.promote,
    });
    let request = TrialRequest {
        place: args.place.shape()?,
        plugin: args.plugin,
        version: args.plugin_version,
        decides_percent: args.canary,
        gate,
    };
    let done: Done = client.tell(Operation::BeginTrial, &[], &request).await?;
    let TrialRequest { place, plugin, .. } = &request;
    client.output(
        &done,
        format!("{plugin} is tried at {place}; `posthouse plugin trials` shows what comes of it\n"),
    )
}

pub(super) async fn end(client: &Client, args: TrialArgs, end: EndView) -> Result<Output, CliError> {
    let (place, world): (PlaceView, WorldView) = (args.place.shape()?, args.world.into());
    let request = TrialEndRequest { place, world, end };
    let done: Done = client.tell(Operation::EndTrial, &[], &request).await?;
    let said = match end {
        EndView::Promote => "the version that was tried is in use",
        EndView::Stop => "the trial has ended",
    };
    client.output(&done, format!("{said} at {}\n", request.place))
}

pub(super) async fn list(client: &Client) -> Result<Output, CliError> {
    let page: Page<TrialView> = client.ask(Operation::ListTrials, &[]).await?;
    let texts: Vec<String> = page.items.iter().map(text).collect();
    client.output(&page.items, texts.join("\n"))
}

fn text(view: &TrialView) -> String {
    let mut record = Record::new();
    record.line("place", &view.place);
    record.line("world", view.world);
    record.line("plugin", &view.plugin);
    record.line("version", format!("{} beside {}", view.version, view.beside));
    record.line("decides", format!("{} %", view.decides_percent));
    let state = match &view.reason {
        Some(reason) => format!("{}: {reason}", view.state),
        None => view.state.clone(),
    };
    record.line("state", state);
    record.line("calls", view.calls);
    record.line("decided", view.decided);
    record.line("same", view.same);
    record.line("different", view.different);
    record.line("failed", view.failed);
    record.line("shed", view.shed);
    record.line("us a call", view.call_micros);
    let mut table = Table::new(&["at", "message", "in use", "tried", "body"]);
    for sample in &view.samples {
        table.row([
            moment(sample.at_ms),
            sample.message_id.clone(),
            sample.in_use.clone(),
            sample.tried.clone(),
            sample.body.clone().unwrap_or_default(),
        ]);
    }
    match view.samples.is_empty() {
        true => record.to_string(),
        false => format!("{record}\n{table}"),
    }
}
