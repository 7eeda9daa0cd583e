//! Versions that are tried beside those in use.

use posthouse_model::{Share, TrialEnd, TrialRecord};

use super::plugins::version_of;
use super::{Acting, listing};
use crate::admin::AdminError;
use crate::admin::shapes::{
    Done, GateView, Page, SampleView, TrialEndRequest, TrialRequest, TrialView, percent, share,
};
use crate::broker::TrialFigures;

pub(super) async fn list(acting: &Acting<'_>) -> Result<Page<TrialView>, AdminError> {
    acting.broker.see_directory().await?;
    let trials = acting.broker.trials().await;
    let views = trials
        .into_iter()
        .filter_map(|(record, figures)| view(acting, &record, figures));
    Ok(listing::whole(views.collect()))
}

pub(super) async fn begin(acting: &Acting<'_>, request: TrialRequest) -> Result<Done, AdminError> {
    let place = acting.place(&request.place)?;
    let plugin = acting.plugin(&request.plugin)?;
    let version = version_of(&plugin, request.version)?;
    let decides: Share = share(request.decides_percent)?;
    let gate = request.gate.map(|gate| gate.gate()).transpose()?;
    acting
        .broker
        .begin_trial(place, plugin.world, version, decides, gate)
        .await?;
    Ok(Done {})
}

pub(super) async fn end(acting: &Acting<'_>, request: &TrialEndRequest) -> Result<Done, AdminError> {
    let place = acting.place(&request.place)?;
    acting
        .broker
        .end_trial(place, request.world.into(), request.end.into())
        .await?;
    Ok(Done {})
}

/// Returns a trial as it is told; none when its place is another tenant's, or gone.
fn view(acting: &Acting<'_>, record: &TrialRecord, figures: TrialFigures) -> Option<TrialView> {
    let place = acting.place_view(record.place)?;
    // What is tried for everybody decides about everybody's messages.
    if place.is_platforms() && !acting.caller.root {
        return None;
    }
    let plugin = acting
        .broker
        .directory
        .view(|directory| directory.plugin(record.version).map(|plugin| plugin.name.clone()))?;
    let (state, reason) = match &record.end {
        None => ("running", None),
        Some(TrialEnd::Promoted) => ("promoted", None),
        Some(TrialEnd::Stopped) => ("stopped", None),
        Some(TrialEnd::FellBack(why)) => ("fell back", Some(why.clone())),
        Some(TrialEnd::Overtaken) => ("overtaken", None),
    };
    let samples = figures.samples.into_iter().map(|sample| SampleView {
        at_ms: sample.at.millis(),
        message_id: sample.message.to_string(),
        in_use: sample.in_use,
        tried: sample.tried,
        body: sample.body,
    });
    Some(TrialView {
        place,
        world: record.world.into(),
        plugin,
        version: record.version.0,
        beside: record.beside.0,
        decides_percent: percent(record.share),
        gate: record.gate.map(GateView::from),
        state: state.to_owned(),
        reason,
        calls: figures.calls,
        decided: figures.decided,
        same: figures.same,
        different: figures.different,
        failed: figures.failed,
        shed: figures.shed,
        call_micros: figures.cpu_micros.checked_div(figures.timed).unwrap_or(0),
        samples: samples.collect(),
    })
}
