//! Guests that behave, and guests that do not, on a host as a node opens it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it should be"
)]

mod bench;
mod builtin;
mod figures;
mod here;
mod hostile;
mod kv;
mod life;
mod quotas;
