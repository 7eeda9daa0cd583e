//! Stores for tests.

use std::path::Path;
use std::sync::Arc;

use posthouse_store::{Config, ProjectionKind, RealDisk, Store};

/// Opens a store in a directory.
pub(crate) fn open_store(dir: &Path) -> Store {
    let config = Config {
        wal_file_bytes: 4 << 20,
        projection: ProjectionKind::Memory,
        ..Config::default()
    };
    Store::open(dir, Arc::new(RealDisk), config).expect("the directory can be written")
}
