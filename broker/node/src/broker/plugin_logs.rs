//! What plugins wrote, on whichever node they ran.
//!
//! A plugin runs where its set's leader is, and each node keeps the lines that were written there. So all are asked.

use std::time::Duration;

use futures::future::join_all;
use posthouse_host::{Level, LogLine};
use posthouse_model::{PluginVersion, ReplicaId, TenantId, Time};
use serde::{Deserialize, Serialize};

use super::Broker;
use super::reach::{Ask, Told};

/// How long another node has to say what was written there.
const LINES_WITHIN: Duration = Duration::from_secs(2);

/// Which lines are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinesWanted {
    /// In whose calls they were written.
    pub tenant: TenantId,
    /// By which versions.
    pub versions: Vec<PluginVersion>,
    /// How many of the newest, at most.
    pub max: usize,
}

/// What was written on one node, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinesOf {
    /// What logs call the node.
    pub node: String,
    /// The lines.
    pub lines: Vec<WrittenLine>,
}

/// A line that a version wrote, or that was noted of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct WrittenLine {
    /// The version.
    pub version: PluginVersion,
    /// When, by the node's clock.
    pub at: Time,
    /// How much it matters.
    pub level: WrittenLevel,
    /// What it says.
    pub text: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum WrittenLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// Worth knowing.
    Info,
    /// Perhaps wrong.
    Warn,
    /// Wrong.
    Error,
    /// Noted by the node: a call gave no answer.
    Trap,
}

// === impl Broker ===

impl Broker {
    /// Returns what was written on each node, this one first, and which nodes did not say.
    pub async fn plugin_lines(&self, wanted: &LinesWanted) -> (Vec<LinesOf>, Vec<ReplicaId>) {
        let ask = Ask::PluginLines(wanted.clone());
        let ask = &ask;
        let asked = self.others.all().into_iter().map(|other| async move {
            match self.ask_one(other, ask, LINES_WITHIN).await {
                Some(Told::PluginLines(lines)) => Ok(lines),
                Some(_) | None => Err(other),
            }
        });
        let mut told = vec![self.plugin_lines_here(wanted)];
        let mut silent = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(lines) => told.push(lines),
                Err(other) => silent.push(other),
            }
        }
        (told, silent)
    }

    /// Returns what was written on this node.
    pub(super) fn plugin_lines_here(&self, wanted: &LinesWanted) -> LinesOf {
        let mut lines = Vec::new();
        for version in &wanted.versions {
            let written = self.guests.logs(*version).into_iter();
            let own = written.filter(|line| line.tenant == wanted.tenant);
            lines.extend(own.map(|line| written_line(*version, line)));
        }
        lines.sort_by_key(|line| line.at);
        lines.drain(..lines.len().saturating_sub(wanted.max));
        LinesOf {
            node: self.label.clone(),
            lines,
        }
    }
}

fn written_line(version: PluginVersion, line: LogLine) -> WrittenLine {
    let level = match line.level {
        Level::Debug => WrittenLevel::Debug,
        Level::Info => WrittenLevel::Info,
        Level::Warn => WrittenLevel::Warn,
        Level::Error => WrittenLevel::Error,
        Level::Trap => WrittenLevel::Trap,
    };
    WrittenLine {
        version,
        at: line.at,
        level,
        text: line.text,
    }
}
