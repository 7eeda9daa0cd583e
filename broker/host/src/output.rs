//! How much a guest handed over in an answer, as its tenant is charged for it.

use bytes::Bytes;
use posthouse_model::{Attribute, SubscriptionId};

use crate::call::{Action, Filtered, Outcome, Payload, Sealed, Step};

/// A position in an answer.
const POSITION_BYTES: usize = 4;

/// An answer that was checked.
pub(crate) trait Output {
    /// Returns how many bytes of it are the guest's.
    fn output_bytes(&self) -> usize;
}

impl Output for Vec<Vec<SubscriptionId>> {
    fn output_bytes(&self) -> usize {
        self.iter().map(|ids| ids.len() * POSITION_BYTES).sum()
    }
}

impl Output for Filtered {
    fn output_bytes(&self) -> usize {
        match self {
            Filtered::Pass | Filtered::Drop => 0,
            Filtered::Replace { body, attributes } => {
                let attributes = attributes.iter().map(|(name, value)| {
                    let value = match value {
                        Attribute::Text(text) | Attribute::Number(text) => text.len(),
                        Attribute::Binary(bytes) => bytes.len(),
                    };
                    name.len() + value
                });
                body.len() + attributes.sum::<usize>()
            }
        }
    }
}

impl Output for Step {
    fn output_bytes(&self) -> usize {
        let action = match &self.action {
            Action::Http(request) => {
                let body = match &request.body {
                    Payload::Message => 0,
                    Payload::Bytes(bytes) => bytes.len(),
                };
                let headers = request.headers.iter();
                let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
                request.url.len() + headers + body
            }
            Action::Enqueue(queue) => queue.as_str().len(),
            Action::Done(Outcome::Acknowledged | Outcome::RetryAfter(_)) => 0,
            Action::Done(Outcome::Drop(reason)) => reason.len(),
        };
        self.state.len() + action
    }
}

/// The sealed body is the host's work.
impl Output for Sealed {
    fn output_bytes(&self) -> usize {
        self.header.len()
    }
}

/// An opened body is the host's work.
impl Output for Bytes {
    fn output_bytes(&self) -> usize {
        0
    }
}
