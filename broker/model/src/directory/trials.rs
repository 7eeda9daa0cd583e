//! Versions that are tried beside the one in use.
//!
//! A place has at most one trial of each world, and a trial that runs has a binding there of another version of the same
//! plugin. Whatever changes that binding ends it. How a trial ended is kept until the next one at its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit;
use super::plugins::{Plugins, cut};
use crate::{
    DirectoryRefusal, Gate, LogIndex, Place, PluginRecord, PluginVersion, QUARANTINE_BYTES_MAX, Share,
    TenantId, TrialEnd, TrialRecord, World,
};

/// The most trials at places of one owner, those counted that have ended and whose end is kept.
pub const TRIALS_MAX: u64 = 64;
/// The most calls that a gate can wait for.
pub const GATE_CALLS_MAX: u64 = 1_000_000_000;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Trials {
    trials: BTreeMap<(Place, World), TrialRecord>,
}

/// A trial to be begun.
pub(super) struct Trial {
    pub(super) place: Place,
    pub(super) world: World,
    /// Whose the place is.
    pub(super) owner: Option<TenantId>,
    pub(super) version: PluginVersion,
    pub(super) share: Share,
    pub(super) gate: Option<Gate>,
    pub(super) began: LogIndex,
}

// === impl Trials ===

impl Trials {
    pub(super) fn get(&self, place: Place, world: World) -> Option<&TrialRecord> {
        self.trials.get(&(place, world))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &TrialRecord> {
        self.trials.values()
    }

    /// Begins a trial, in place of the one before.
    pub(super) fn begin(&mut self, trial: Trial, plugins: &Plugins) -> Result<(), DirectoryRefusal> {
        match trial.world {
            World::Route | World::Filter => {}
            World::Deliver | World::Seal => return Err(DirectoryRefusal::NotTried(trial.world)),
        }
        check_gate(trial.share, trial.gate.as_ref())?;
        let tried = plugins.get(trial.version).ok_or(DirectoryRefusal::NoPlugin)?;
        let binding = plugins.binding(trial.place, trial.world);
        let binding = binding.ok_or(DirectoryRefusal::NotBound)?;
        let bound = plugins.get(binding.version).ok_or(DirectoryRefusal::NoPlugin)?;
        if !is_same_plugin(tried, bound) {
            return Err(DirectoryRefusal::OtherPlugin);
        }
        if binding.version == trial.version {
            return Err(DirectoryRefusal::VersionInUse);
        }
        let key = (trial.place, trial.world);
        let others = self.trials.iter().filter(|(other, _)| **other != key);
        let owned = others.filter(|(_, record)| record.owner == trial.owner).count() as u64;
        if owned >= TRIALS_MAX {
            return Err(limit("trials", TRIALS_MAX));
        }
        let record = TrialRecord {
            place: trial.place,
            world: trial.world,
            owner: trial.owner,
            version: trial.version,
            beside: binding.version,
            share: trial.share,
            gate: trial.gate,
            began: trial.began,
            end: None,
        };
        self.trials.insert(key, record);
        Ok(())
    }

    /// Ends the trial that began at an index, and returns it as it was.
    pub(super) fn end(
        &mut self,
        place: Place,
        world: World,
        began: LogIndex,
        end: &TrialEnd,
    ) -> Result<TrialRecord, DirectoryRefusal> {
        let trial = self.trials.get_mut(&(place, world));
        let trial = trial.filter(|trial| trial.end.is_none() && trial.began == began);
        let trial = trial.ok_or(DirectoryRefusal::NoTrial)?;
        let as_it_was = trial.clone();
        trial.end = Some(match end {
            TrialEnd::FellBack(why) => TrialEnd::FellBack(cut(why, QUARANTINE_BYTES_MAX).to_owned()),
            TrialEnd::Promoted | TrialEnd::Stopped => end.clone(),
            TrialEnd::Overtaken => {
                return Err(DirectoryRefusal::Malformed("end of a trial".to_owned()));
            }
        });
        Ok(as_it_was)
    }

    /// Ends the trial at a place because something else is bound there.
    pub(super) fn overtake(&mut self, place: Place, world: World) {
        if let Some(trial) = self.trials.get_mut(&(place, world)) {
            trial.end.get_or_insert(TrialEnd::Overtaken);
        }
    }

    /// Ends the trials beside versions that are in use no longer, and forgets those at places where nothing is bound.
    pub(super) fn follow(&mut self, plugins: &Plugins) {
        self.trials
            .retain(|(place, world), _| plugins.binding(*place, *world).is_some());
        for ((place, world), trial) in &mut self.trials {
            let in_use = plugins.binding(*place, *world).map(|binding| binding.version);
            if in_use != Some(trial.beside) {
                trial.end.get_or_insert(TrialEnd::Overtaken);
            }
        }
    }

    /// Returns whether a version is being tried.
    pub(super) fn tries(&self, version: PluginVersion) -> bool {
        self.trials
            .values()
            .any(|trial| trial.end.is_none() && trial.version == version)
    }

    /// Forgets how trials of a version ended that is no more.
    pub(super) fn forget_version(&mut self, version: PluginVersion) {
        self.trials.retain(|_, trial| trial.version != version);
    }
}

fn is_same_plugin(one: &PluginRecord, other: &PluginRecord) -> bool {
    one.tenant == other.tenant && one.name.folded() == other.name.folded()
}

fn check_gate(share: Share, gate: Option<&Gate>) -> Result<(), DirectoryRefusal> {
    let mut shares = vec![share];
    if let Some(gate) = gate {
        if gate.calls_min == 0 || gate.calls_min > GATE_CALLS_MAX {
            let what = "the calls that a gate waits for".to_owned();
            return Err(DirectoryRefusal::Malformed(what));
        }
        shares.extend([gate.errors_max, gate.differences_max].into_iter().flatten());
    }
    match shares.iter().all(|share| *share <= Share::ALL) {
        true => Ok(()),
        false => Err(DirectoryRefusal::Malformed("share".to_owned())),
    }
}
