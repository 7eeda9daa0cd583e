//! Doors to endpoints: through each, so many deliveries are under way at once.
//!
//! An endpoint of a tenant has one door, whichever of the tenant's subscriptions lead there. Those who find it full
//! stand in line, first come, first served. A door is there as long as somebody knows it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use posthouse_model::{Endpoint, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The doors to all endpoints.
#[derive(Debug)]
pub(super) struct Doors {
    known: Arc<Known>,
    passes_max: usize,
}

/// The door to an endpoint.
#[derive(Debug)]
pub(super) struct Door {
    endpoint: (TenantId, Endpoint),
    passes: Arc<Semaphore>,
    known: Arc<Known>,
}

/// One delivery's way through a door, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    _permit: OwnedSemaphorePermit,
}

type Known = Mutex<HashMap<(TenantId, Endpoint), Weak<Door>>>;

// === impl Doors ===

impl Doors {
    /// Returns doors that let so many through at once.
    pub(super) fn new(passes_max: usize) -> Doors {
        Doors {
            known: Arc::default(),
            passes_max: passes_max.max(1),
        }
    }

    /// Returns how many one door lets through at once.
    pub(super) fn passes_max(&self) -> usize {
        self.passes_max
    }

    /// Returns the door to an endpoint.
    pub(super) fn to(&self, tenant: TenantId, endpoint: &Endpoint) -> Arc<Door> {
        let endpoint = (tenant, endpoint.clone());
        let mut known = self.known.lock();
        if let Some(door) = known.get(&endpoint).and_then(Weak::upgrade) {
            return door;
        }
        let door = Arc::new(Door {
            endpoint: endpoint.clone(),
            passes: Arc::new(Semaphore::new(self.passes_max)),
            known: Arc::clone(&self.known),
        });
        known.insert(endpoint, Arc::downgrade(&door));
        door
    }
}

// === impl Door ===

impl Door {
    /// Returns as many passes as are free, up to so many.
    pub(super) fn passes(self: &Arc<Self>, count_max: usize) -> Vec<Pass> {
        let mut taken = Vec::new();
        while taken.len() < count_max
            && let Ok(permit) = Arc::clone(&self.passes).try_acquire_owned()
        {
            taken.push(self.pass(permit));
        }
        taken
    }

    /// Waits for a pass.
    pub(super) async fn next_pass(self: Arc<Self>) -> Pass {
        let permit = Arc::clone(&self.passes).acquire_owned().await;
        self.pass(permit.expect("a door's semaphore is never closed"))
    }

    fn pass(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Pass {
        Pass {
            door: Arc::clone(self),
            _permit: permit,
        }
    }
}

/// Whoever asks for the endpoint meanwhile has put a new door into the place, which stays.
impl Drop for Door {
    fn drop(&mut self) {
        let mut known = self.known.lock();
        if known
            .get(&self.endpoint)
            .is_some_and(|door| door.strong_count() == 0)
        {
            known.remove(&self.endpoint);
        }
    }
}

// === impl Pass ===

impl Pass {
    /// Returns whether it leads through this door.
    pub(super) fn leads_through(&self, door: &Arc<Door>) -> bool {
        Arc::ptr_eq(&self.door, door)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn url(path: &str) -> Endpoint {
        Endpoint::Http(format!("http://example.com/{path}"))
    }

    #[test]
    fn all_who_go_to_an_endpoint_of_a_tenant_share_its_passes() {
        let doors = Doors::new(3);
        let first = doors.to(TENANT, &url("a")).passes(2);
        let second = doors.to(TENANT, &url("a")).passes(2);
        assert_eq!((first.len(), second.len()), (2, 1));
        assert_eq!(doors.to(TENANT, &url("b")).passes(9).len(), 3);
        assert_eq!(doors.to(TenantId(2), &url("a")).passes(9).len(), 3);
        drop(first);
        assert_eq!(doors.to(TENANT, &url("a")).passes(9).len(), 2);
    }

    #[test]
    fn one_who_waits_gets_the_next_pass_before_others() {
        let doors = Doors::new(1);
        let door = doors.to(TENANT, &url("a"));
        let held = door.passes(1);
        let mut next = Box::pin(Arc::clone(&door).next_pass());
        assert!(next.as_mut().now_or_never().is_none());
        drop(held);
        assert!(door.passes(1).is_empty(), "it was promised to the one who waits");
        let pass = next.now_or_never().expect("it is free");
        assert!(pass.leads_through(&door));
    }

    #[test]
    fn a_door_that_nobody_knows_is_forgotten() {
        let doors = Doors::new(1);
        let pass = doors.to(TENANT, &url("a")).passes(1);
        assert_eq!(doors.known.lock().len(), 1);
        drop(pass);
        assert!(doors.known.lock().is_empty());
    }
}
