//! What a plugin writes for its owner: the newest lines of each version.

use std::collections::VecDeque;

use parking_lot::Mutex;
use posthouse_model::{TenantId, Time};

use crate::config::LOG_LINES_KEPT_MAX;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// For whoever looks for a mistake.
    Debug,
    /// Worth knowing.
    Info,
    /// Perhaps wrong.
    Warn,
    /// Wrong.
    Error,
}

/// A line that a plugin wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// When, by this machine's clock.
    pub at: Time,
    /// On whose behalf the plugin ran; a tenant is shown no other's lines.
    pub tenant: TenantId,
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// The newest lines of one version of a plugin.
#[derive(Default)]
pub(crate) struct PluginLog {
    lines: Mutex<VecDeque<LogLine>>,
}

// === impl PluginLog ===

impl PluginLog {
    pub(crate) fn write(&self, tenant: TenantId, level: Level, text: String) {
        let since_1970 = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let at = Time::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
        let mut lines = self.lines.lock();
        if lines.len() == LOG_LINES_KEPT_MAX {
            lines.pop_front();
        }
        lines.push_back(LogLine {
            at,
            tenant,
            level,
            text,
        });
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_lines_are_kept() {
        let log = PluginLog::default();
        for number in 0..LOG_LINES_KEPT_MAX + 2 {
            log.write(TenantId(1), Level::Info, number.to_string());
        }
        let lines = log.lines();
        assert_eq!(lines.len(), LOG_LINES_KEPT_MAX);
        assert_eq!(lines[0].text, "2");
    }
}
