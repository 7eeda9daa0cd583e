//! Bodies of requests and replies: each within its bound, and all together within one for the node.
//!
//! Small bodies are always taken in: there are no more of them than connections. Large ones are, while there is room: a
//! crowd of clients, or one with a crowd of connections, cannot have the node hold more than it has memory for.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest body that is always taken in.
const SMALL_BYTES: usize = 65_536;
/// The unit that room is counted in.
const UNIT_BYTES: usize = 1_024;

/// Room for the large bodies that the node holds at once. Clones share it.
#[derive(Clone, Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    units: usize,
}

/// Room that a body takes up, given back when dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

/// A body that was read.
#[derive(Debug)]
pub struct Body {
    /// What it says.
    pub bytes: Bytes,
    /// The room that it takes up, to be held as long as the bytes are.
    pub held: Held,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than it may be. The rest was not read.
    #[error("the body is over {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The client went away.
    #[error("the connection broke while the body was read")]
    Broken,
    /// The node holds as many bytes of bodies as it may.
    #[error("the node holds as many bytes of requests and replies as it may")]
    NoRoom,
}

/// Reads a request's body, up to a limit and within a time.
pub async fn read_body(
    body: Incoming,
    bytes_max: usize,
    within: Duration,
    room: &Room,
) -> Result<Body, BodyError> {
    let announced = hyper::body::Body::size_hint(&body).exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge { limit: bytes_max });
    }
    match tokio::time::timeout(within, collect(body, bytes_max, announced, room)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow),
    }
}

async fn collect(
    mut body: Incoming,
    bytes_max: usize,
    announced: Option<u64>,
    room: &Room,
) -> Result<Body, BodyError> {
    let mut came = 0;
    let mut held = Some(Held::default());
    let mut first: Option<Bytes> = None;
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(chunk) = frame.into_data() else { continue };
        came += chunk.len();
        if came > bytes_max {
            return Err(BodyError::TooLarge { limit: bytes_max });
        }
        // Counted as it comes: who only announces a large body takes nothing from others.
        held = held.and_then(|held| room.grown(held, came));
        if held.is_none() {
            // The rest is read and let go: a client that still sends would not see the answer.
            (first, rest) = (None, None);
            continue;
        }
        // Most bodies come in one piece, which is passed on as it is.
        match (first.take(), rest.as_mut()) {
            (None, None) => first = Some(chunk),
            (None, Some(rest)) => rest.extend_from_slice(&chunk),
            (Some(head), _) => {
                let expected = announced
                    .and_then(|bytes| usize::try_from(bytes).ok())
                    .unwrap_or(0);
                let mut joined = BytesMut::with_capacity(expected.max(head.len() + chunk.len()));
                joined.extend_from_slice(&head);
                joined.extend_from_slice(&chunk);
                rest = Some(joined);
            }
        }
    }
    let held = held.ok_or(BodyError::NoRoom)?;
    let bytes = first.or(rest.map(BytesMut::freeze)).unwrap_or_default();
    Ok(Body { bytes, held })
}

// === impl Room ===

impl Room {
    /// Returns room for so many bytes.
    pub fn new(bytes_max: usize) -> Room {
        let units = (bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Room {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// Returns how many bytes the large bodies take that are held now.
    pub fn held_bytes(&self) -> u64 {
        let held = self.units.saturating_sub(self.free.available_permits());
        held as u64 * UNIT_BYTES as u64
    }

    /// Takes room for a body of so many bytes.
    ///
    /// # Errors
    ///
    /// Says that there is none left.
    pub fn take(&self, bytes: usize) -> Result<Held, BodyError> {
        self.grown(Held::default(), bytes).ok_or(BodyError::NoRoom)
    }

    /// Takes room for so many bytes, however few they are: for what there may be more of than connections.
    ///
    /// # Errors
    ///
    /// Says that there is none left.
    pub fn take_all(&self, bytes: usize) -> Result<Held, BodyError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| BodyError::NoRoom)?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units);
        permit
            .map(|permit| Held(Some(permit)))
            .map_err(|_| BodyError::NoRoom)
    }

    /// Takes what a body has not yet that has come to so many bytes, however few they are.
    ///
    /// # Errors
    ///
    /// Says that there is no room left.
    pub fn grow(&self, held: &mut Held, bytes: usize) -> Result<(), BodyError> {
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(held.units());
        let missing = u32::try_from(missing).map_err(|_| BodyError::NoRoom)?;
        let more = Arc::clone(&self.free).try_acquire_many_owned(missing);
        let more = more.map_err(|_| BodyError::NoRoom)?;
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            None => held.0 = Some(more),
        }
        Ok(())
    }

    /// Returns what a body holds that has grown to so many bytes; none when there is no room.
    fn grown(&self, mut held: Held, bytes: usize) -> Option<Held> {
        if bytes <= SMALL_BYTES {
            return Some(held);
        }
        self.grow(&mut held, bytes).ok()?;
        Some(held)
    }
}

// === impl Held ===

impl Held {
    /// Returns whether any room is held.
    pub fn is_any(&self) -> bool {
        self.units() > 0
    }

    /// Takes what so many bytes of it take up, or what is left of it.
    pub fn split(&mut self, bytes: usize) -> Held {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units());
        Held(self.0.as_mut().and_then(|permit| permit.split(units)))
    }

    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_the_room_and_small_ones_need_none() {
        let room = Room::new(200 * 1_024);
        let one = room.take(100 * 1_024).expect("there is room");
        let two = room.take(100 * 1_024).expect("there is room");
        assert_eq!(room.take(70_000).err(), Some(BodyError::NoRoom));
        assert_eq!(room.held_bytes(), 200 * 1_024);
        for _ in 0..100 {
            room.take(SMALL_BYTES).expect("small ones are always taken in");
        }
        drop(one);
        let three = room.take(70_000).expect("one is gone");
        drop((two, three));
        room.take(200 * 1_024).expect("all is given back");
    }

    #[test]
    fn a_body_that_grows_takes_what_it_has_not_yet() {
        let room = Room::new(128 * 1_024);
        let mut held = Held::default();
        for kib in [10, 64, 65, 100, 128] {
            held = room.grown(held, kib * 1_024).expect("there is room");
        }
        assert_eq!(held.units(), 128);
        assert!(room.grown(held, 129 * 1_024).is_none());
        room.take(128 * 1_024).expect("all is given back");
    }
}
