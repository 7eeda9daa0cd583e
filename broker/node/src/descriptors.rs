//! Descriptors of the process: as many as the system lets it have, and never all of them to strangers.
//!
//! A process without descriptors can open no file of its log, and a store that cannot write stops for good. So
//! connections and pushes get what is left when everything else has its share.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for files, peers and everything else that strangers do not ask for.
const OWN: u64 = 1_024;
/// The part of all descriptors that either connections or pushes may have when there are few.
const SHARE_DIVISOR: u64 = 4;

/// Sockets that others may make the process have at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sockets {
    /// Connections of clients.
    pub connections: usize,
    /// Pushes to endpoints.
    pub pushes: usize,
}

/// Raises the limit on descriptors as far as the process may, and returns it; none is no limit.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            limit.current
        }
    }
}

// === impl Sockets ===

impl Sockets {
    /// Returns how many there may be of those that are wished for.
    pub fn within(self, limit: Option<u64>) -> Sockets {
        let Some(limit) = limit else { return self };
        let share = limit / SHARE_DIVISOR;
        let pushes = least(self.pushes, share);
        let left = limit.saturating_sub(OWN).saturating_sub(pushes as u64);
        Sockets {
            connections: least(self.connections, left.max(share)),
            pushes,
        }
    }
}

/// Returns the smaller one, and at least one: with none, nothing could be done at all.
fn least(wished: usize, room: u64) -> usize {
    usize::try_from(room)
        .unwrap_or(usize::MAX)
        .clamp(1, wished.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISHED: Sockets = Sockets {
        connections: 20_000,
        pushes: 1_000,
    };

    #[test]
    fn there_are_as_many_as_are_wished_for_where_there_is_room() {
        for limit in [None, Some(1_048_576), Some(22_024)] {
            assert_eq!(WISHED.within(limit), WISHED, "{limit:?}");
        }
    }

    #[test]
    fn sockets_never_get_what_files_need() {
        for limit in 8..=22_024 {
            let Sockets { connections, pushes } = WISHED.within(Some(limit));
            let left = limit - connections as u64 - pushes as u64;
            assert!(left >= OWN.min(limit / 2), "{limit}: {left} are left");
        }
    }
}
