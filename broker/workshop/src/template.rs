//! The beginnings of projects, from `templates/`. In one world they decide alike in every language, so that the cases
//! are the same.

use posthouse_model::{Name, World};

use crate::project::Language;

/// Stands in a template for the plugin's name.
const NAME_MARK: &str = "my-plugin";
/// Stands in a template for the world.
const WORLD_MARK: &str = "my-world";

/// A file of a template.
#[derive(Clone, Copy)]
pub(crate) struct File {
    /// Where it goes in a project.
    pub(crate) path: &'static str,
    /// What it says.
    pub(crate) text: &'static str,
    /// Where it is in `templates/`, or in `wit/`.
    #[cfg(test)]
    source: &'static str,
}

/// Embeds files: where each goes, and where it is from the repository's root.
macro_rules! files {
    ($($path:literal: $source:literal),* $(,)?) => {
        &[$(File {
            path: $path,
            text: include_str!(concat!("../../../", $source)),
            #[cfg(test)]
            source: $source,
        }),*]
    };
}

const EVERYWHERE: &[File] = files! {
    "README.md": "templates/README.md",
    ".gitignore": "templates/gitignore",
    "wit/types.wit": "wit/types.wit",
    "wit/worlds.wit": "wit/worlds.wit",
};

const RUST: &[File] = files! {
    "Cargo.toml": "templates/rust/Cargo.toml",
    "Cargo.lock": "templates/rust/Cargo.lock",
};
const RUST_ROUTE: &[File] = files! { "src/lib.rs": "templates/rust/route/src/lib.rs" };
const RUST_FILTER: &[File] = files! { "src/lib.rs": "templates/rust/filter/src/lib.rs" };
const RUST_DELIVER: &[File] = files! { "src/lib.rs": "templates/rust/deliver/src/lib.rs" };
const RUST_SEAL: &[File] = files! { "src/lib.rs": "templates/rust/seal/src/lib.rs" };

const JAVASCRIPT: &[File] = files! {
    "package.json": "templates/js/package.json",
    "package-lock.json": "templates/js/package-lock.json",
    "build.mjs": "templates/js/build.mjs",
};
const JAVASCRIPT_ROUTE: &[File] = files! { "plugin.js": "templates/js/route/plugin.js" };
const JAVASCRIPT_FILTER: &[File] = files! { "plugin.js": "templates/js/filter/plugin.js" };
const JAVASCRIPT_DELIVER: &[File] = files! { "plugin.js": "templates/js/deliver/plugin.js" };

const PYTHON: &[File] = files! { "requirements.txt": "templates/python/requirements.txt" };
const PYTHON_ROUTE: &[File] = files! {
    "plugin.py": "templates/python/route/plugin.py",
    "router.py": "templates/python/route/router.py",
};
const PYTHON_FILTER: &[File] = files! { "plugin.py": "templates/python/filter/plugin.py" };
const PYTHON_DELIVER: &[File] = files! { "plugin.py": "templates/python/deliver/plugin.py" };

const CASES_ROUTE: &[File] = files! {
    "cases/by-tag.json": "templates/cases/route/by-tag.json",
    "cases/to-nobody.json": "templates/cases/route/to-nobody.json",
};
const CASES_FILTER: &[File] = files! {
    "cases/keeps-out-tests.json": "templates/cases/filter/keeps-out-tests.json",
    "cases/keeps-out-what-is-configured.json": "templates/cases/filter/keeps-out-what-is-configured.json",
    "cases/leaves-nothing-but-blanks.json": "templates/cases/filter/leaves-nothing-but-blanks.json",
    "cases/passes-the-rest.json": "templates/cases/filter/passes-the-rest.json",
    "cases/takes-blanks-away.json": "templates/cases/filter/takes-blanks-away.json",
};
const CASES_DELIVER: &[File] = files! {
    "cases/gives-up.json": "templates/cases/deliver/gives-up.json",
    "cases/hands-to-a-queue.json": "templates/cases/deliver/hands-to-a-queue.json",
    "cases/posts-and-is-acknowledged.json": "templates/cases/deliver/posts-and-is-acknowledged.json",
    "cases/tries-again.json": "templates/cases/deliver/tries-again.json",
};

const CASES_SEAL: &[File] = files! {
    "cases/opens-nothing-that-was-changed.json": "templates/cases/seal/opens-nothing-that-was-changed.json",
    "cases/opens-what-it-sealed.json": "templates/cases/seal/opens-what-it-sealed.json",
    "cases/seals-under-configured-keys-only.json": "templates/cases/seal/seals-under-configured-keys-only.json",
};

/// Returns the files of a template; none for a world that has none in a language. Sealing is on the way of every message, so it is
/// written in Rust.
pub(crate) fn files(language: Language, world: World) -> Option<impl Iterator<Item = File>> {
    let cases = match world {
        World::Route => CASES_ROUTE,
        World::Filter => CASES_FILTER,
        World::Deliver => CASES_DELIVER,
        World::Seal => CASES_SEAL,
    };
    let own = match (language, world) {
        (Language::Rust, World::Route) => RUST_ROUTE,
        (Language::Rust, World::Filter) => RUST_FILTER,
        (Language::Rust, World::Deliver) => RUST_DELIVER,
        (Language::Rust, World::Seal) => RUST_SEAL,
        (Language::JavaScript, World::Route) => JAVASCRIPT_ROUTE,
        (Language::JavaScript, World::Filter) => JAVASCRIPT_FILTER,
        (Language::JavaScript, World::Deliver) => JAVASCRIPT_DELIVER,
        (Language::Python, World::Route) => PYTHON_ROUTE,
        (Language::Python, World::Filter) => PYTHON_FILTER,
        (Language::Python, World::Deliver) => PYTHON_DELIVER,
        (Language::JavaScript | Language::Python, World::Seal) => return None,
    };
    let of_language = match language {
        Language::Rust => RUST,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
    };
    Some(
        [EVERYWHERE, of_language, own, cases]
            .into_iter()
            .flatten()
            .copied(),
    )
}

/// Returns a template's text for a plugin of this name and world, by the world's name in the contract.
pub(crate) fn filled(text: &str, name: &Name, world: &str) -> String {
    text.replace(NAME_MARK, name.as_str()).replace(WORLD_MARK, world)
}

/// Returns a world's name in the contract, or that of the same world with a store; none if there is no such world.
pub(crate) fn world(world: World, keeps: bool) -> Option<&'static str> {
    Some(match (world, keeps) {
        (World::Route, false) => "route",
        (World::Route, true) => "route-with-kv",
        (World::Filter, false) => "filter",
        (World::Filter, true) => "filter-with-kv",
        (World::Deliver, false) => "deliver",
        (World::Deliver, true) => "deliver-with-kv",
        (World::Seal, false) => "seal",
        (World::Seal, true) => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_templates_goes_into_a_project() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut kept = BTreeSet::new();
        add_files(&root, "templates", &mut kept);
        let mut used = BTreeSet::new();
        for language in [Language::Rust, Language::JavaScript, Language::Python] {
            for world in [World::Route, World::Filter, World::Deliver, World::Seal] {
                let files = files(language, world).into_iter().flatten();
                used.extend(files.map(|file| file.source.to_owned()));
            }
        }
        used.retain(|file| file.starts_with("templates/"));
        assert_eq!(used, kept);
    }

    fn add_files(root: &Path, folder: &str, files: &mut BTreeSet<String>) {
        for entry in fs::read_dir(root.join(folder)).expect("a folder of templates") {
            let entry = entry.expect("an entry");
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                add_files(root, &name, files);
            } else {
                files.insert(name);
            }
        }
    }
}
