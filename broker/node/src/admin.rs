//! The admin API, `/admin/v1`: what it says, how its requests are signed, and which route does what.
//!
//! The command line speaks it as a client and the node serves it, both with the same [`shapes`]. What is asked
//! for is done behind [`Administration`], which the node's service implements; here is only HTTP and JSON.

mod administration;
pub mod auth;
mod error;
#[cfg(test)]
pub(crate) mod fake;
pub mod openapi;
mod operation;
mod refusals;
mod routes;
pub mod shapes;

pub use administration::{AccessKey, Administration, Caller, ListQuery, LogQuery, PluginPush, Scope};
pub use error::{AdminCode, AdminError};
pub use operation::{Operation, ROOT_PATH, Verb};
pub(crate) use routes::PAGE_ITEMS_MAX;
pub use routes::{Admission, router};
