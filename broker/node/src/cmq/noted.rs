//! What is noted of a call while it is answered, for the figures.

use std::time::Duration;

use posthouse_model::TenantId;

use crate::metrics::Metrics;

/// What is known of a call.
pub(super) struct Noted {
    /// When it began, on the monotonic clock.
    begun: Duration,
    /// How long of the time since it waited for a message.
    pub(super) waited: Duration,
    /// What it asks for; a word of our own as long as that is unknown.
    pub(super) action: &'static str,
    /// Whose it is, once its signature was checked.
    pub(super) tenant: Option<TenantId>,
}

// === impl Noted ===

impl Noted {
    /// Returns a call that begins now.
    pub(super) fn new(now: Duration, action: &'static str) -> Noted {
        Noted {
            begun: now,
            waited: Duration::ZERO,
            action,
            tenant: None,
        }
    }

    /// Counts it, now that it has a reply.
    pub(super) fn count(&self, metrics: &Metrics, now: Duration, code: u32, reply_bytes: usize) {
        metrics.cmq_call(self.action, code);
        metrics.cmq_took(self.action, now.saturating_sub(self.begun + self.waited));
        if let Some(tenant) = self.tenant {
            metrics.bytes_out(tenant, reply_bytes as u64);
        }
    }
}
