//! What clients speak: requests parsed, signatures checked, replies written.
//!
//! Everything here is a function of its arguments. Bytes of a request come in and typed actions go out, results
//! come in and bytes of a reply go out. Sockets, clocks, keys and the queues themselves are the caller's; even
//! the HMAC is asked for in a trait.
//!
//! [`cmq`] is CMQ's HTTP API 2.0. What that API's documents leave open is decided in `COMPATIBILITY.md`. [`stream`] is the streaming
//! door, whose requests are the same actions.

pub mod cmq;
pub mod stream;
