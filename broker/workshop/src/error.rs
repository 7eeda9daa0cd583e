//! Why a project was not written or built.

use std::io;
use std::path::{Path, PathBuf};

use posthouse_model::World;

use crate::project::Language;

/// Why a project was not written or built.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    /// There is something where the project is to be written.
    #[error("{} is there already: choose another folder with --dir", .0.display())]
    Exists(PathBuf),
    /// There is no beginning for such a plugin.
    #[error("there is no template for a {world:?} plugin in {language}: write it in Rust")]
    NoTemplate {
        /// The language asked for.
        language: Language,
        /// The world asked for.
        world: World,
    },
    /// A plugin of that world is lent no store.
    #[error(
        "a {0:?} plugin keeps nothing between its decisions: only route, filter and deliver plugins are lent a store"
    )]
    KeepsNothing(World),
    /// A folder holds no project.
    #[error("{} has no plugin.toml: `posthouse plugin new` writes a project", .0.display())]
    NoProject(PathBuf),
    /// A project's manifest makes no sense.
    #[error("{}: {told}", path.display())]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        told: String,
    },
    /// A tool is missing.
    #[error("{tool} was not found. {remedy}")]
    ToolMissing {
        /// What was looked for.
        tool: &'static str,
        /// What to install.
        remedy: &'static str,
    },
    /// A tool is there, and could not be run.
    #[error("{tool} could not be run: {source}")]
    ToolNotRun {
        /// Which.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A tool was run and failed. What it said went to standard error.
    #[error("{tool} failed: what it says is above")]
    ToolFailed {
        /// Which.
        tool: &'static str,
    },
    /// A tool was run and did not make what it should have.
    #[error("{told}")]
    NotMade {
        /// What is not there.
        told: String,
    },
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Names the file or folder of an error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> WorkshopError + '_ {
    |source| WorkshopError::Files {
        path: path.to_owned(),
        source,
    }
}
