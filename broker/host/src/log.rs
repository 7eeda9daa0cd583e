//! What a plugin writes for its owner, and what the host notes of its failures: the newest lines of each version.

use std::collections::VecDeque;

use parking_lot::Mutex;
use posthouse_model::{TenantId, Time};

use crate::config::{LOG_LINES_KEPT_MAX, TRAP_LINE_BYTES_MAX};
use crate::fault::GuestFault;

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
    /// Noted by the host: a call gave no answer.
    Trap,
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
    /// What it says. Of a trap, the lines after the first say where it was.
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

    /// Notes that a call failed, if the plugin is to blame and did not say so itself.
    pub(crate) fn note(&self, tenant: TenantId, fault: &GuestFault) {
        let text = match fault {
            GuestFault::Trap { backtrace, .. } => format!("{fault}\n{backtrace}"),
            GuestFault::OutOfTime | GuestFault::OutOfMemory | GuestFault::Nonsense(_) => fault.to_string(),
            GuestFault::Said(_) | GuestFault::Busy(_) | GuestFault::NotLoaded | GuestFault::Stopped => return,
        };
        let text = crate::text::cut(text.trim_end().to_owned(), TRAP_LINE_BYTES_MAX);
        self.write(tenant, Level::Trap, text);
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

    #[test]
    fn a_failure_is_noted_with_where_it_was_unless_the_plugin_said_so_itself() {
        let log = PluginLog::default();
        log.note(TenantId(1), &GuestFault::Said("no".to_owned()));
        let trap = GuestFault::Trap {
            message: "unreachable".to_owned(),
            backtrace: "inner at 0x1\n".repeat(TRAP_LINE_BYTES_MAX),
        };
        log.note(TenantId(1), &trap);
        let lines = log.lines();
        assert_eq!((lines.len(), lines[0].level), (1, Level::Trap));
        assert!(
            lines[0]
                .text
                .starts_with("the plugin trapped: unreachable\ninner at 0x1\n")
        );
        assert_eq!(lines[0].text.len(), TRAP_LINE_BYTES_MAX);
    }
}
