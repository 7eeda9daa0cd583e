//! A command that plugins' decisions led to, as it rides in a command that also says what they read and wrote.
//!
//! It is one of those that plugins decide about, and never another that wraps one: bytes nest no deeper than that.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Incarnation, Incoming, LogIndex, Publication, Readmitted, Sequence, SetCommand, Settled, Span,
    SubscriptionId, Token,
};

/// A `Send`, `Publish`, `Settle` or `Readmit`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decided(Box<SetCommand>);

/// How it is written.
#[derive(Serialize)]
enum Written<'a> {
    Send {
        queue: Incarnation,
        delay: Span,
        messages: &'a [Incoming],
        token: Option<&'a Token>,
        decided_at: LogIndex,
    },
    Publish {
        topic: Incarnation,
        publications: &'a [Publication],
        token: Option<&'a Token>,
        decided_at: LogIndex,
    },
    Settle {
        topic: Incarnation,
        subscription: SubscriptionId,
        outcomes: &'a [Settled],
    },
    Readmit {
        target: Incarnation,
        source: Incarnation,
        sequence: Sequence,
        gone_below: Sequence,
        content: &'a Readmitted,
        decided_at: LogIndex,
    },
}

/// How it is read.
#[derive(Deserialize)]
enum Read {
    Send {
        queue: Incarnation,
        delay: Span,
        messages: Vec<Incoming>,
        token: Option<Token>,
        decided_at: LogIndex,
    },
    Publish {
        topic: Incarnation,
        publications: Vec<Publication>,
        token: Option<Token>,
        decided_at: LogIndex,
    },
    Settle {
        topic: Incarnation,
        subscription: SubscriptionId,
        outcomes: Vec<Settled>,
    },
    Readmit {
        target: Incarnation,
        source: Incarnation,
        sequence: Sequence,
        gone_below: Sequence,
        content: Box<Readmitted>,
        decided_at: LogIndex,
    },
}

// === impl Decided ===

impl Decided {
    /// Returns a command as one that was decided; none if plugins do not decide about such.
    pub fn new(command: SetCommand) -> Option<Decided> {
        written(&command)?;
        Some(Decided(Box::new(command)))
    }

    /// Returns the command.
    pub fn command(&self) -> &SetCommand {
        &self.0
    }
}

impl Serialize for Decided {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match written(&self.0) {
            Some(written) => written.serialize(serializer),
            None => Err(serde::ser::Error::custom("plugins do not decide about it")),
        }
    }
}

impl<'de> Deserialize<'de> for Decided {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decided, D::Error> {
        let command = match Read::deserialize(deserializer)? {
            Read::Send {
                queue,
                delay,
                messages,
                token,
                decided_at,
            } => SetCommand::Send {
                queue,
                delay,
                messages,
                token,
                decided_at,
            },
            Read::Publish {
                topic,
                publications,
                token,
                decided_at,
            } => SetCommand::Publish {
                topic,
                publications,
                token,
                decided_at,
            },
            Read::Settle {
                topic,
                subscription,
                outcomes,
            } => SetCommand::Settle {
                topic,
                subscription,
                outcomes,
            },
            Read::Readmit {
                target,
                source,
                sequence,
                gone_below,
                content,
                decided_at,
            } => SetCommand::Readmit {
                target,
                source,
                sequence,
                gone_below,
                content,
                decided_at,
            },
        };
        Ok(Decided(Box::new(command)))
    }
}

// === impl SetCommand ===

impl SetCommand {
    /// Returns the command that is to be done to queues and topics: itself, or the one that it wraps.
    pub fn plain(&self) -> &SetCommand {
        match self {
            SetCommand::Decide { command, .. } | SetCommand::Park { command, .. } => command.command(),
            command => command,
        }
    }
}

fn written(command: &SetCommand) -> Option<Written<'_>> {
    match command {
        SetCommand::Send {
            queue,
            delay,
            messages,
            token,
            decided_at,
        } => Some(Written::Send {
            queue: *queue,
            delay: *delay,
            messages,
            token: token.as_ref(),
            decided_at: *decided_at,
        }),
        SetCommand::Publish {
            topic,
            publications,
            token,
            decided_at,
        } => Some(Written::Publish {
            topic: *topic,
            publications,
            token: token.as_ref(),
            decided_at: *decided_at,
        }),
        SetCommand::Settle {
            topic,
            subscription,
            outcomes,
        } => Some(Written::Settle {
            topic: *topic,
            subscription: *subscription,
            outcomes,
        }),
        SetCommand::Readmit {
            target,
            source,
            sequence,
            gone_below,
            content,
            decided_at,
        } => Some(Written::Readmit {
            target: *target,
            source: *source,
            sequence: *sequence,
            gone_below: *gone_below,
            content,
            decided_at: *decided_at,
        }),
        _ => None,
    }
}
