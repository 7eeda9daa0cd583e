//! The repository's own rules: which crate may import which, and who alone names which library.

#![expect(clippy::expect_used, reason = "a broken repository ends the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each may import: what lies down its arrows.
const ARROWS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("wire", &["model"]),
    ("store", &["wire", "model"]),
    ("replica", &["store", "wire", "model"]),
    ("keyring", &["model"]),
    ("host", &["keyring", "model"]),
    ("stream", &[]),
    ("gateway", &["stream", "model"]),
    ("client", &["stream", "keyring"]),
    ("workshop", &["model"]),
    (
        "node",
        &[
            "replica", "store", "wire", "host", "keyring", "gateway", "stream", "workshop", "model",
        ],
    ),
];

/// Libraries that one crate alone may name.
const ALONE: [(&str, &[&str]); 8] = [
    ("openraft", &["replica"]),
    ("sled", &["store"]),
    ("wasmtime", &["host"]),
    ("ring", &["keyring"]),
    ("postcard", &["wire"]),
    ("hyper", &["node"]),
    ("tonic", &["stream", "node", "client"]),
    ("reqwest", &["node"]),
];

/// File names that say nothing of what is in them.
const EMPTY_NAMES: [&str; 6] = [
    "mod.rs",
    "util.rs",
    "utils.rs",
    "common.rs",
    "helpers.rs",
    "types.rs",
];

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for (name, manifest) in manifests() {
        let allowed = allowed
            .get(name.as_str())
            .expect("every crate has its arrows in this file");
        for dependency in dependencies(&manifest, "dependencies") {
            let Some(ours) = dependency.strip_prefix("posthouse-") else {
                continue;
            };
            assert!(allowed.contains(&ours), "{name} must not import {ours}");
        }
    }
}

#[test]
fn each_library_is_named_by_its_crate_alone() {
    let alone: BTreeMap<&str, &[&str]> = ALONE.into_iter().collect();
    for (name, manifest) in manifests() {
        for dependency in dependencies(&manifest, "dependencies") {
            if let Some(owners) = alone.get(dependency.as_str()) {
                assert!(
                    owners.contains(&name.as_str()),
                    "{name} must not name {dependency}"
                );
            }
        }
    }
}

#[test]
fn pure_crates_have_no_clock_and_no_hash_order() {
    for name in ["model", "wire"] {
        let lints = fs::read_to_string(root().join("broker").join(name).join("clippy.toml"))
            .expect("the file is there");
        for forbidden in ["SystemTime::now", "Instant::now", "HashMap"] {
            assert!(
                lints.contains(forbidden),
                "{name}/clippy.toml forbids {forbidden}"
            );
        }
    }
}

#[test]
fn files_are_named_for_what_is_in_them() {
    for file in sources() {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        assert!(!EMPTY_NAMES.contains(&name), "{}", file.display());
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        assert!(
            text.starts_with("//!"),
            "{} does not open with a module doc",
            file.display()
        );
    }
}

#[test]
fn nothing_is_left_to_do_on_the_real_path() {
    let left = [["to", "do!("].concat(), ["unimple", "mented!("].concat()];
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        for mark in &left {
            assert!(!text.contains(mark.as_str()), "{} has {mark}", file.display());
        }
    }
}

#[test]
fn bugs_are_let_loose_by_the_simulation_alone() {
    let mark = ["let_", "loose("].concat();
    let mut seen = 0;
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        if text.contains(mark.as_str()) {
            let owns = ["broker/replica/src/bugs.rs", "tests/simulation/seeds.rs"];
            let is_owned = owns.iter().any(|owned| file.ends_with(owned));
            assert!(is_owned, "{} lets bugs loose", file.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "they can be let loose");
}

#[test]
fn guests_see_the_contract_and_nothing_of_the_broker() {
    let mut seen = 0;
    for folder in ["plugins", "examples/plugins", "tests/plugins", "templates"] {
        for path in files(&root().join(folder), "toml") {
            let text = fs::read_to_string(&path).expect("a manifest can be read");
            let manifest: toml::Table = text.parse().expect("a manifest is TOML");
            for dependency in dependencies(&manifest, "dependencies") {
                assert!(
                    !dependency.starts_with("posthouse"),
                    "{} imports {dependency}",
                    path.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 4, "the guests' manifests were found");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
        .to_owned()
}

fn manifests() -> Vec<(String, toml::Table)> {
    ARROWS
        .into_iter()
        .map(|(name, _)| {
            let path = root().join("broker").join(name).join("Cargo.toml");
            let text = fs::read_to_string(path).expect("every crate has a manifest");
            (name.to_owned(), text.parse().expect("a manifest is TOML"))
        })
        .collect()
}

fn dependencies(manifest: &toml::Table, section: &str) -> Vec<String> {
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Returns our sources, without what a build wrote.
fn sources() -> Vec<PathBuf> {
    ["broker", "tests", "plugins", "examples", "templates"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && name != "node_modules" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found
}
