//! Python: componentize-py, installed into an environment of the project's own.

use std::path::{self, Path, PathBuf};
use std::process::Command;

use crate::error::WorkshopError;
use crate::project::{COMPONENT_FILE, Project};
use crate::template;
use crate::tool::Tool;

const PYTHON: Tool = Tool {
    name: "python3",
    remedy: "Install Python 3.10 or later with its venv module (on Debian: apt-get install python3 python3-venv)",
};
const PIP: Tool = Tool {
    name: "pip",
    remedy: "Remove the folder .venv and build again",
};
const COMPONENTIZE: Tool = Tool {
    name: "componentize-py",
    remedy: "Remove the folder .venv and build again",
};

pub(crate) fn build(project: &Project) -> Result<(), WorkshopError> {
    let folder = project.folder();
    let programs = folder.join(".venv/bin");
    let componentize = programs.join(COMPONENTIZE.name);
    if !componentize.is_file() {
        PYTHON.run(
            Command::new(PYTHON.name)
                .args(["-m", "venv", ".venv"])
                .current_dir(folder),
        )?;
        let mut install = Command::new(absolute(&programs.join(PIP.name)));
        install.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "requirements.txt",
        ]);
        PIP.run(install.current_dir(folder))?;
    }
    let world =
        template::world(project.world, project.keeps).ok_or(WorkshopError::KeepsNothing(project.world))?;
    let mut command = Command::new(absolute(&componentize));
    command.args(["--quiet", "--wit-path", "wit", "--world", world]);
    // Without WASI, which plugins are not lent.
    command.args([
        "componentize",
        "--stub-wasi",
        "plugin",
        "--output",
        COMPONENT_FILE,
    ]);
    COMPONENTIZE.run(command.current_dir(folder))
}

/// Returns a path that means the same in another folder.
fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
