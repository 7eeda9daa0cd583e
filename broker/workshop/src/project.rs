//! A project: a folder with `plugin.toml`, the sources, the contract that they are built against, and cases.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use posthouse_model::{Name, World};
use serde::{Deserialize, Serialize};

use crate::error::{WorkshopError, at};
use crate::{javascript, python, rust, template};

/// What a build makes, in the project's folder.
pub const COMPONENT_FILE: &str = "component.wasm";
/// Where the cases are that a component is tried against.
pub const CASES_FOLDER: &str = "cases";
/// What tells that a folder is a project.
const MANIFEST_FILE: &str = "plugin.toml";

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, compiled for WebAssembly.
    Rust,
    /// JavaScript, with an engine beside it.
    #[serde(rename = "js")]
    JavaScript,
    /// Python, with an interpreter beside it.
    Python,
}

/// A plugin's project.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Project {
    /// The plugin's name.
    pub name: Name,
    /// What it is written in.
    pub language: Language,
    /// What it decides.
    pub world: World,
    /// Whether it keeps something between its decisions.
    pub keeps: bool,
    folder: PathBuf,
}

/// `plugin.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: Language,
    world: ManifestWorld,
    /// Whether it is lent a store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    kv: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ManifestWorld {
    Route,
    Filter,
    Deliver,
    Seal,
}

// === impl Project ===

impl Project {
    /// Writes a project into a folder that is not there yet, of a plugin that keeps something between its decisions or does not.
    pub fn create(
        folder: &Path,
        name: Name,
        language: Language,
        world: World,
        keeps: bool,
    ) -> Result<Project, WorkshopError> {
        let files = template::files(language, world).ok_or(WorkshopError::NoTemplate { language, world })?;
        let of_contract = template::world(world, keeps).ok_or(WorkshopError::KeepsNothing(world))?;
        if folder.exists() {
            return Err(WorkshopError::Exists(folder.to_owned()));
        }
        let project = Project {
            name,
            language,
            world,
            keeps,
            folder: folder.to_owned(),
        };
        for file in files {
            project.write(
                file.path,
                &template::filled(file.text, &project.name, of_contract),
            )?;
        }
        project.write(MANIFEST_FILE, &project.manifest())?;
        Ok(project)
    }

    /// Opens the project in a folder.
    pub fn open(folder: &Path) -> Result<Project, WorkshopError> {
        let path = folder.join(MANIFEST_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(WorkshopError::NoProject(folder.to_owned()));
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let bad = |told: String| WorkshopError::BadManifest {
            path: path.clone(),
            told,
        };
        let manifest: Manifest = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let name = Name::parse(&manifest.name).map_err(|error| bad(format!("name: {error}")))?;
        let world = World::from(manifest.world);
        if template::world(world, manifest.kv).is_none() {
            return Err(bad(WorkshopError::KeepsNothing(world).to_string()));
        }
        Ok(Project {
            name,
            language: manifest.language,
            world,
            keeps: manifest.kv,
            folder: folder.to_owned(),
        })
    }

    /// Builds the component, and returns where it is.
    pub fn build(&self) -> Result<PathBuf, WorkshopError> {
        match self.language {
            Language::Rust => rust::build(self)?,
            Language::JavaScript => javascript::build(self)?,
            Language::Python => python::build(self)?,
        }
        let component = self.component();
        if component.is_file() {
            Ok(component)
        } else {
            Err(WorkshopError::NotMade {
                told: format!("the build made no {}", component.display()),
            })
        }
    }

    /// Returns the project's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns where a build leaves the component.
    pub fn component(&self) -> PathBuf {
        self.folder.join(COMPONENT_FILE)
    }

    /// Returns where the cases are.
    pub fn cases(&self) -> PathBuf {
        self.folder.join(CASES_FOLDER)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), WorkshopError> {
        let path = self.folder.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::write(&path, text).map_err(at(&path))
    }

    fn manifest(&self) -> String {
        let manifest = Manifest {
            name: self.name.as_str().to_owned(),
            language: self.language,
            world: self.world.into(),
            kv: self.keeps,
        };
        let values = toml::to_string(&manifest).expect("three texts and a truth are TOML");
        format!("# What `posthouse plugin build`, `test` and `bench` know of this project.\n{values}")
    }
}

// === impl Language ===

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Rust => "Rust",
            Language::JavaScript => "JavaScript",
            Language::Python => "Python",
        })
    }
}

// === impl ManifestWorld ===

impl From<World> for ManifestWorld {
    fn from(world: World) -> Self {
        match world {
            World::Route => Self::Route,
            World::Filter => Self::Filter,
            World::Deliver => Self::Deliver,
            World::Seal => Self::Seal,
        }
    }
}

impl From<ManifestWorld> for World {
    fn from(world: ManifestWorld) -> Self {
        match world {
            ManifestWorld::Route => Self::Route,
            ManifestWorld::Filter => Self::Filter,
            ManifestWorld::Deliver => Self::Deliver,
            ManifestWorld::Seal => Self::Seal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGUAGES: [Language; 3] = [Language::Rust, Language::JavaScript, Language::Python];

    fn name() -> Name {
        Name::parse("no-tests").expect("it is a name")
    }

    #[test]
    fn a_project_opens_as_it_was_written() {
        for language in LANGUAGES {
            for world in [World::Route, World::Filter, World::Deliver, World::Seal] {
                if world == World::Seal && language != Language::Rust {
                    continue;
                }
                let parent = tempfile::tempdir().expect("a temporary folder");
                let folder = parent.path().join("project");
                let keeps = world == World::Filter;
                let written =
                    Project::create(&folder, name(), language, world, keeps).expect("it is written");
                assert_eq!(Project::open(&folder).expect("it opens"), written);
                for file in ["README.md", ".gitignore", "wit/worlds.wit", "wit/types.wit"] {
                    assert!(folder.join(file).is_file(), "{language} {world:?}: {file}");
                }
                assert!(fs::read_dir(written.cases()).expect("there are cases").count() > 1);
            }
        }
    }

    #[test]
    fn a_project_is_written_over_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let refused = Project::create(folder.path(), name(), Language::Rust, World::Filter, false);
        assert!(matches!(refused, Err(WorkshopError::Exists(_))), "{refused:?}");
    }

    #[test]
    fn a_seal_plugin_is_written_in_rust() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("project");
        let refused = Project::create(&folder, name(), Language::Python, World::Seal, false);
        assert!(
            matches!(refused, Err(WorkshopError::NoTemplate { .. })),
            "{refused:?}"
        );
        assert!(!folder.exists());
        assert!(
            refused
                .expect_err("it is refused")
                .to_string()
                .contains("in Rust")
        );
    }

    #[test]
    fn a_manifest_that_makes_no_sense_says_where_and_what() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let refused = Project::open(folder.path()).expect_err("nothing is there");
        assert!(refused.to_string().contains("posthouse plugin new"), "{refused}");
        for (text, told) in [
            ("name = \"a\"\nlanguage = \"cobol\"\nworld = \"filter\"", "cobol"),
            ("name = \"1\"\nlanguage = \"js\"\nworld = \"filter\"", "name"),
            ("name = \"a\"\nlanguage = \"js\"", "world"),
        ] {
            fs::write(folder.path().join(MANIFEST_FILE), text).expect("a file");
            let refused = Project::open(folder.path())
                .expect_err("it makes no sense")
                .to_string();
            assert!(
                refused.contains("plugin.toml") && refused.contains(told),
                "{refused}"
            );
        }
    }
}
