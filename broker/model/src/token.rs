//! Client tokens: the calls that a queue or topic took, so that a client's own retry is recognised.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::attributes::out_of_range;
use crate::bounds::{TOKEN_BYTES_MAX, TOKEN_SECONDS, TOKENS_MAX};
use crate::{MessageId, Refusal, Span, Time, Token};

/// The tokens that a queue or topic remembers: for five minutes, and the newest 10,000.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    calls: BTreeMap<Token, Call>,
    order: VecDeque<(Time, Token)>,
}

/// A call that was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Call {
    until: Time,
    ids: Vec<MessageId>,
}

// === impl Tokens ===

impl Tokens {
    /// Returns the ids that the first call with this token got.
    pub(crate) fn recall(&self, token: &Token, now: Time) -> Option<&[MessageId]> {
        let call = self.calls.get(token)?;
        (call.until > now).then_some(call.ids.as_slice())
    }

    /// Remembers a call that was done.
    pub(crate) fn remember(&mut self, token: &Token, ids: &[MessageId], now: Time) {
        self.expire(now);
        if self.order.len() >= TOKENS_MAX {
            self.forget_oldest();
        }
        let until = now + Span::from_seconds(TOKEN_SECONDS);
        let call = Call {
            until,
            ids: ids.to_vec(),
        };
        if self.calls.insert(token.clone(), call).is_none() {
            self.order.push_back((until, token.clone()));
        }
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    /// Returns when the oldest token is forgotten.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Returns whether none is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((_, token)) = self.order.pop_front() {
            self.calls.remove(&token);
        }
    }
}

// === impl Token ===

impl Token {
    /// Returns the token, unless it is too long to keep.
    pub(crate) fn checked(&self) -> Result<&Token, Refusal> {
        if self.0.len() > TOKEN_BYTES_MAX {
            return Err(out_of_range("token"));
        }
        Ok(self)
    }
}
