//! What can go wrong for a client.

use posthouse_stream::{Effect, Error};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No node is named.
    #[error("no node is named")]
    NoNode,
    /// A node's address is no URL.
    #[error("{address:?} is no URL such as http://127.0.0.1:7270: {why}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a message is not known to be stored.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// The node refused it; it was not stored.
    #[error("refused ({code}/{module_code}): {text}")]
    Refused {
        /// The code, as CMQ's API has it.
        code: u32,
        /// The finer code.
        module_code: u32,
        /// What is wrong.
        text: String,
    },
    /// No node did it within the time that the client has patience for, and none may have done it.
    #[error("not done: {0}")]
    NotDone(String),
    /// A node may have done it: none said within that time whether it did.
    #[error("may have been done: {0}")]
    InDoubt(String),
    /// The publisher is gone.
    #[error("the publisher is closed; the message may have been stored")]
    Closed,
}

/// Why there are no messages any more.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConsumeError {
    /// The key is unknown, disabled, or its secret another.
    #[error("the key is not accepted: {0}")]
    Key(String),
    /// There is no such queue.
    #[error("{0}")]
    NoQueue(String),
    /// What was asked for is out of bounds.
    #[error("{0}")]
    Bounds(String),
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
}

/// Why a message is not known to be settled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettleError {
    /// The lease is over: the message is another's, visible again, or gone.
    #[error("the lease is over")]
    Void,
    /// The node refused it.
    #[error("refused ({code}): {text}")]
    Refused {
        /// The code, as CMQ's API has it.
        code: u32,
        /// What is wrong.
        text: String,
    },
    /// It may have been done.
    #[error("may have been done: {0}")]
    InDoubt(String),
    /// The consumer is gone.
    #[error("the consumer is closed; it may have been settled")]
    Closed,
}

/// Whether asking again may get another answer: the broker's own trouble, and rates that are used up.
pub(crate) fn is_passing(error: &Error) -> bool {
    is_in_doubt(error) || matches!((error.code, error.module_code), (6000, _) | (4420, _))
}

/// Whether what was asked may have been done all the same.
pub(crate) fn is_in_doubt(error: &Error) -> bool {
    error.effect() == Effect::MayHaveBeenDone
}
