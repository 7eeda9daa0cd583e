//! JavaScript: componentize-js, installed by npm, called from the project's own `build.mjs`.

use std::path::Path;
use std::process::Command;

use crate::error::WorkshopError;
use crate::project::Project;
use crate::tool::Tool;

const NODE: Tool = Tool {
    name: "node",
    remedy: "Install Node.js 20 or later (on Debian: apt-get install nodejs npm)",
};
const NPM: Tool = Tool {
    name: "npm",
    remedy: "Install Node.js 20 or later with npm (on Debian: apt-get install nodejs npm)",
};
/// What is found where the packages of the project are installed.
const INSTALLED: &str = "node_modules/@bytecodealliance/componentize-js/package.json";

pub(crate) fn build(project: &Project) -> Result<(), WorkshopError> {
    if !is_installed(project.folder()) {
        let mut install = Command::new(NPM.name);
        install.args(["ci", "--no-audit", "--no-fund"]);
        NPM.run(install.current_dir(project.folder()))?;
    }
    NODE.run(
        Command::new(NODE.name)
            .arg("build.mjs")
            .current_dir(project.folder()),
    )
}

/// Returns whether node finds the packages: it looks in the folder and in each above it.
fn is_installed(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    folder.ancestors().any(|folder| folder.join(INSTALLED).is_file())
}
