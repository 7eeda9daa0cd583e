//! The protocol of the streaming door, for the node that serves it and for clients.
//!
//! The manual is `proto/posthouse/stream/v1/stream.proto`. The code in `generated.rs` is what it
//! gives, committed, so that building needs no protoc; `cargo run -p posthouse-protocol` writes it again. Beside it are
//! the bounds that both sides keep, and how a stream is signed when it opens ([`signing`]).

pub mod bounds;
mod codec;
#[rustfmt::skip]
#[expect(missing_docs, reason = "what is generated has the protocol's comments, where there are any")]
mod generated;
pub mod signing;

pub use generated::*;

/// The path of `Publish`, which is signed.
pub const PUBLISH_PATH: &str = "/posthouse.stream.v1.Stream/Publish";
/// The path of `Consume`, which is signed.
pub const CONSUME_PATH: &str = "/posthouse.stream.v1.Stream/Consume";
