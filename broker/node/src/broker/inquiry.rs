//! Looks at the directory as it is now, for what is not known here, on behalf of those whom nobody knows.
//!
//! A node may be behind, so what it does not know may be there all the same. But strangers can ask for what does not exist
//! as often as they like. So all who ask before a look begins share it, and looks begin a while apart, whoever asks.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long after one look the next begins, at least.
const APART: Duration = Duration::from_millis(200);

/// The look that comes next, and when the one before began.
#[derive(Default)]
pub(super) struct Inquiry {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: Option<watch::Receiver<Option<Sight>>>,
    began: Option<Instant>,
}

/// Whether this node saw the directory as it was when the look began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sight {
    Current,
    /// Nobody could tell.
    Unknown,
}

/// A look that is yet to be made, by whoever asked first for it.
pub(super) struct Look {
    /// When it may begin.
    pub(super) at: Instant,
    /// What those are told by who share it.
    pub(super) tell: watch::Sender<Option<Sight>>,
}

// === impl Inquiry ===

impl Inquiry {
    /// Returns where the outcome of the next look is told, and that look if nobody else makes it.
    pub(super) fn join(&self, now: Instant) -> (watch::Receiver<Option<Sight>>, Option<Look>) {
        let mut state = self.state.lock();
        if let Some(next) = &state.next {
            return (next.clone(), None);
        }
        let (tell, told) = watch::channel(None);
        state.next = Some(told.clone());
        let at = state.began.map_or(now, |began| now.max(began + APART));
        (told, Some(Look { at, tell }))
    }

    /// Takes notice that the look begins: who asks from now on waits for another.
    pub(super) fn begin(&self, now: Instant) {
        *self.state.lock() = State {
            next: None,
            began: Some(now),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_before_a_look_begins_shares_it_and_who_asks_later_does_not() {
        let inquiry = Inquiry::default();
        let now = Instant::now();
        let (first, look) = inquiry.join(now);
        let look = look.expect("nobody looks yet");
        assert_eq!(look.at, now);
        let (second, none) = inquiry.join(now);
        assert!(none.is_none(), "the first one looks");
        inquiry.begin(now);
        let (third, another) = inquiry.join(now);
        assert!(
            another.is_some(),
            "what began may have missed what was there before this one asked"
        );
        look.tell.send_replace(Some(Sight::Current));
        assert_eq!([*first.borrow(), *second.borrow()], [Some(Sight::Current); 2]);
        assert_eq!(*third.borrow(), None);
    }

    #[test]
    fn looks_begin_a_while_apart_however_many_ask() {
        let inquiry = Inquiry::default();
        let mut now = Instant::now();
        let mut began = Vec::new();
        for _ in 0..1_000 {
            if let (_, Some(look)) = inquiry.join(now) {
                now = now.max(look.at);
                inquiry.begin(now);
                began.push(now);
            }
            now += Duration::from_millis(1);
        }
        assert!(began.is_sorted_by(|one, next| *next - *one >= APART));
        assert!(began.len() > 3, "those who come later look too");
    }
}
