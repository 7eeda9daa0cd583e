//! Why the broker did not do what was asked, before a protocol gives it a code.

use std::fmt::Display;

use posthouse_model::{DirectoryRefusal, Kind, Name, Refusal, World};
use posthouse_replica::Fault;
use serde::{Deserialize, Serialize};

/// Why the broker did not do what was asked.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum BrokerError {
    /// The set refused.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What was spoken to, which decides the code.
        kind: Kind,
    },
    /// The directory refused.
    #[error("{refusal}")]
    Directory {
        /// Why.
        refusal: DirectoryRefusal,
        /// What was spoken of.
        kind: Kind,
    },
    /// Nothing has that name.
    #[error("no {} of that name", kind_word(*.kind))]
    NoName {
        /// What was looked for.
        kind: Kind,
    },
    /// A policy names a dead letter queue that does not exist.
    #[error("no dead letter queue {name}")]
    NoDeadLetterQueue {
        /// Its name.
        name: Name,
    },
    /// A dead letter queue has a dead letter queue, or serves too many.
    #[error("{0}")]
    DeadLetterRule(String),
    /// The topic has no subscription.
    #[error("the topic has no subscription")]
    NoSubscriptions,
    /// No subscription takes the message.
    #[error("no subscription takes the message")]
    NothingMatched,
    /// No plugin of a world is bound, so nothing can decide.
    #[error("no plugin of world `{}` is bound; nothing was done", world_word(*.world))]
    NoPlugin {
        /// The world.
        world: World,
    },
    /// A plugin failed and its policy is to refuse.
    #[error("plugin of world `{}` failed, nothing was done: {fault}", world_word(*.world))]
    PluginFailed {
        /// The world.
        world: World,
        /// Its fault.
        fault: String,
    },
    /// The directory changed each time that it was decided what to do. Not done; another try may succeed.
    #[error("the directory changes too quickly; not done")]
    Unsettled,
    /// What is listed is not up to the directory yet. Not done; another try may succeed.
    #[error("listings are not up to date yet; not done")]
    ListingsBehind,
    /// The disk is nearly full: nothing more is taken in.
    #[error("the disk is nearly full; not done")]
    DiskFull,
    /// A body could not be read from the store.
    #[error("the store could not be read: {0}")]
    Unreadable(String),
    /// A key could not be used.
    #[error("key: {0}")]
    Key(String),
    /// Agreement could not be reached.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// An argument is wrong; says which and why.
    #[error("{0}")]
    Argument(String),
    /// A node on which a plugin's version is to decide cannot run it, or not yet. Nothing was changed.
    #[error("node {node} cannot run the plugin, nothing was changed: {why}")]
    Unprepared {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A plugin could not be asked, through no fault of its own. Not done; another try may succeed.
    #[error("the plugin of world `{}` was not asked, nothing was done: {fault}", world_word(*.world))]
    PluginUnavailable {
        /// The world.
        world: World,
        /// Why.
        fault: String,
    },
}

impl BrokerError {
    /// Returns a set's refusal, spoken of a queue.
    pub fn queue(refusal: Refusal) -> BrokerError {
        BrokerError::Refused {
            refusal,
            kind: Kind::Queue,
        }
    }

    /// Returns that the disk failed, or the task at it.
    pub(super) fn unreadable(fault: impl Display) -> BrokerError {
        BrokerError::Unreadable(fault.to_string())
    }

    /// Returns whether the set did not know what it was asked about.
    pub(super) fn is_of_a_stranger(&self) -> bool {
        matches!(
            self,
            BrokerError::NoName { .. }
                | BrokerError::Refused {
                    refusal: Refusal::NoIncarnation(_),
                    ..
                }
        )
    }

    /// Returns whether this was concluded from what a node sees of a set.
    pub(super) fn is_of_what_is_seen(&self) -> bool {
        match self {
            BrokerError::Refused { .. }
            | BrokerError::NoName { .. }
            | BrokerError::NoSubscriptions
            | BrokerError::NothingMatched => true,
            BrokerError::Directory { .. }
            | BrokerError::NoDeadLetterQueue { .. }
            | BrokerError::DeadLetterRule(_)
            | BrokerError::NoPlugin { .. }
            | BrokerError::PluginFailed { .. }
            | BrokerError::PluginUnavailable { .. }
            | BrokerError::Unsettled
            | BrokerError::ListingsBehind
            | BrokerError::DiskFull
            | BrokerError::Unreadable(_)
            | BrokerError::Key(_)
            | BrokerError::Fault(_)
            | BrokerError::Argument(_)
            | BrokerError::Unprepared { .. } => false,
        }
    }

    /// Returns a set's refusal, spoken of a topic.
    pub fn topic(refusal: Refusal) -> BrokerError {
        BrokerError::Refused {
            refusal,
            kind: Kind::Topic,
        }
    }
}

/// Returns what clients call a kind.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Queue => "queue",
        Kind::Topic => "topic",
    }
}

/// Returns what `wit/` calls a world.
pub fn world_word(world: World) -> &'static str {
    match world {
        World::Route => "route",
        World::Filter => "filter",
        World::Deliver => "deliver",
        World::Seal => "seal",
    }
}
