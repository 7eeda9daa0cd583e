//! What happened in a simulation: calls, what was done to machines, who led; and a digest of all of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{ReplicaId, Term};
use posthouse_replica::GroupName;
use posthouse_tests::history::Call;
use tokio::time::Instant;

/// What happened so far. Clones are the same notes.
#[derive(Clone)]
pub(crate) struct Notes {
    began: Instant,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    calls: Vec<Call>,
    elected: BTreeMap<(GroupName, Term), ReplicaId>,
    wrong: Vec<String>,
    digest: DefaultHasher,
    is_told: bool,
}

// === impl Notes ===

impl Notes {
    /// Returns empty notes; what happens is also printed if it is to be.
    pub(crate) fn new(is_told: bool) -> Notes {
        Notes {
            began: Instant::now(),
            pages: Arc::new(Mutex::new(Pages {
                is_told,
                ..Pages::default()
            })),
        }
    }

    /// Returns how long it has been.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes a call.
    pub(crate) fn call(&self, call: Call) {
        let mut pages = self.pages.lock();
        pages.write(self.now(), &format!("{call:?}"));
        pages.calls.push(call);
    }

    /// Notes what was done to machines, or happened in them.
    pub(crate) fn event(&self, what: impl AsRef<str>) {
        self.pages.lock().write(self.now(), what.as_ref());
    }

    /// Notes what must not be.
    pub(crate) fn wrong(&self, what: String) {
        let mut pages = self.pages.lock();
        pages.write(self.now(), &what);
        pages.wrong.push(what);
    }

    /// Notes who was elected by a group in a term, of whom there must be one. It may be noted again.
    pub(crate) fn elected(&self, replica: ReplicaId, group: GroupName, term: Term) {
        let other = {
            let mut pages = self.pages.lock();
            match pages.elected.insert((group, term), replica) {
                Some(other) if other == replica => return,
                other => other,
            }
        };
        self.event(format!("replica {replica} is elected by {group} in term {term}"));
        if let Some(other) = other {
            self.wrong(format!(
                "replica {other} was elected by {group} in term {term} as well"
            ));
        }
    }

    /// Returns all calls.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.pages.lock().calls.clone()
    }

    /// Returns what must not be and was.
    pub(crate) fn all_wrong(&self) -> Vec<String> {
        self.pages.lock().wrong.clone()
    }

    /// Returns a number that another history would have another of.
    pub(crate) fn digest(&self) -> u64 {
        self.pages.lock().digest.finish()
    }
}

// === impl Pages ===

impl Pages {
    fn write(&mut self, now: Duration, what: &str) {
        now.hash(&mut self.digest);
        what.hash(&mut self.digest);
        if self.is_told {
            println!("{now:?} {what}");
        }
    }
}
