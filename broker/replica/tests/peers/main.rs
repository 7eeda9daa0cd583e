//! The network between nodes, over real sockets.

mod calls;
mod failures;
mod kit;
mod refusals;
mod secured;
mod strangers;
