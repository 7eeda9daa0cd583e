//! Versions that are tried beside those in use.

use posthouse_model::{Gate, Name, Share, TrialEnd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PlaceView, WorldView};
use crate::admin::AdminError;

/// Tries a version of a bound plugin beside the one in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRequest {
    /// Where the plugin is bound.
    pub place: PlaceView,
    /// The plugin, of world `route` or `filter`.
    #[schemars(with = "String")]
    pub plugin: Name,
    /// The version; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The share of messages that it decides, in per cent: a canary. Nothing is a shadow, which decides none.
    #[serde(default)]
    pub decides_percent: f64,
    /// By what the trial ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateView>,
}

/// By what a trial ends by itself: the version in use stays when a bound is passed. A bound that is absent is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateView {
    /// The fewest calls after which the version can be found good.
    pub calls_min: u64,
    /// The largest share of calls that fail, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max_percent: Option<f64>,
    /// The largest share of answers that are not those of the version in use, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences_max_percent: Option<f64>,
    /// The most CPU time a call, at the mean, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_micros_max: Option<u32>,
    /// Whether a version that is found good is put in use.
    #[serde(default)]
    pub promotes: bool,
}

/// Ends a trial.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialEndRequest {
    /// Where.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// How.
    pub end: EndView,
}

/// How somebody ends a trial.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndView {
    /// The version that is tried is put in use; the one before can be rolled back to.
    Promote,
    /// The version in use stays.
    Stop,
}

/// A trial: one that runs, or the last one at its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialView {
    /// Where.
    pub place: PlaceView,
    /// The world.
    pub world: WorldView,
    /// The plugin.
    #[schemars(with = "String")]
    pub plugin: Name,
    /// The version that is tried.
    pub version: u64,
    /// The version that was in use when it began.
    pub beside: u64,
    /// The share of messages that it decides, in per cent.
    pub decides_percent: f64,
    /// By what the trial ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateView>,
    /// `running`, `promoted`, `stopped`, `fell back`, or `overtaken` when what was bound there changed.
    pub state: String,
    /// Which bound was passed, when it fell back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Calls of the version that is tried.
    pub calls: u64,
    /// Messages that it decided.
    pub decided: u64,
    /// Messages for which both said the same.
    pub same: u64,
    /// Messages for which they did not.
    pub different: u64,
    /// Calls of it that failed.
    pub failed: u64,
    /// Messages for which they were not compared, for lack of time.
    pub shed: u64,
    /// CPU time of a call of it, at the mean, in microseconds.
    pub call_micros: u64,
    /// The newest differences.
    pub samples: Vec<SampleView>,
}

/// A message for which both versions did not say the same.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleView {
    /// When.
    pub at_ms: u64,
    /// The message's id.
    pub message_id: String,
    /// What the version in use said.
    pub in_use: String,
    /// What the version that is tried said.
    pub tried: String,
    /// The beginning of the body that a filter was given; absent where bodies are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

// === impl GateView ===

impl GateView {
    /// Returns the gate that is meant.
    ///
    /// # Errors
    ///
    /// Refuses what is no share.
    pub fn gate(&self) -> Result<Gate, AdminError> {
        Ok(Gate {
            calls_min: self.calls_min,
            errors_max: self.errors_max_percent.map(share).transpose()?,
            differences_max: self.differences_max_percent.map(share).transpose()?,
            call_micros_max: self.call_micros_max,
            promotes: self.promotes,
        })
    }
}

impl From<Gate> for GateView {
    fn from(gate: Gate) -> GateView {
        GateView {
            calls_min: gate.calls_min,
            errors_max_percent: gate.errors_max.map(percent),
            differences_max_percent: gate.differences_max.map(percent),
            call_micros_max: gate.call_micros_max,
            promotes: gate.promotes,
        }
    }
}

// === impl EndView ===

impl From<EndView> for TrialEnd {
    fn from(end: EndView) -> TrialEnd {
        match end {
            EndView::Promote => TrialEnd::Promoted,
            EndView::Stop => TrialEnd::Stopped,
        }
    }
}

/// Returns the share that so many per cent are.
///
/// # Errors
///
/// Refuses what is not within 0 and 100.
pub fn share(percent: f64) -> Result<Share, AdminError> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(AdminError::malformed(format!("{percent} per cent is no share")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within 0 and 10,000"
    )]
    Ok(Share((percent * 100.0).round() as u16))
}

/// Returns how many per cent a share is.
pub fn percent(share: Share) -> f64 {
    f64::from(share.0) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_so_many_per_cent_are() {
        for (given, expected) in [(0.0, 0), (0.01, 1), (2.5, 250), (100.0, 10_000)] {
            let found = share(given).expect("it is a share");
            assert_eq!(found, Share(expected));
            assert!((percent(found) - given).abs() < 1e-9);
        }
        for bad in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
