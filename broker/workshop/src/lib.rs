//! Where plugins are made: projects written from templates, and built into components by each language's own tools.
//!
//! What always holds: a project that was just written builds, and its cases hold, with nothing to be filled in. A tool
//! that is missing is named, with what to install. Nothing is run here that a project's author could not run by hand.
//!
//! It leaves to others to run what was built: this crate knows no wasm engine.

mod error;
mod javascript;
mod project;
mod python;
mod rust;
mod template;
mod tool;

pub use error::WorkshopError;
pub use project::{CASES_FOLDER, COMPONENT_FILE, Language, Project};
pub use rust::{RustCrate, RustToolchain};
