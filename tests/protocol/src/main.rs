//! Writes the code that the streaming door's `.proto` gives: `cargo run -p posthouse-protocol`.
//!
//! What it writes is committed, so that building the broker needs neither this nor protoc; a test checks that it is what
//! the `.proto` gives.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The protocol, below its folder.
const PROTO: &str = "posthouse/stream/v1/stream.proto";
/// What the code generator calls the file that it writes.
const WRITTEN: &str = "posthouse.stream.v1.rs";
/// What stands above the code.
const HEAD: &str = "//! Generated from `proto/posthouse/stream/v1/stream.proto` by `cargo run -p posthouse-protocol`; not to be edited.\n\n";

fn main() -> anyhow::Result<()> {
    std::fs::write(committed(), generate()?).context("the code cannot be written")
}

/// Returns the code that the protocol gives.
fn generate() -> anyhow::Result<String> {
    let folder = crate_folder().join("proto");
    let files = protox::compile([PROTO], [&folder]).context("the protocol cannot be compiled")?;
    let out = tempfile::tempdir()?;
    let mut config = prost_build::Config::new();
    // Bodies are passed on as the buffers that they came in.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_transport(false)
        .codec_path("crate::codec::StreamCodec")
        .compile_fds_with_config(files, config)
        .context("the code cannot be generated")?;
    let code = std::fs::read_to_string(out.path().join(WRITTEN))?;
    Ok(format!("{HEAD}{code}"))
}

/// Returns where the code is kept.
fn committed() -> PathBuf {
    crate_folder().join("src/generated.rs")
}

fn crate_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../broker/stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_what_the_protocol_gives() {
        let given = generate().expect("the protocol gives code");
        let kept = std::fs::read_to_string(committed()).expect("the code is committed");
        assert!(given == kept, "stale: run `cargo run -p posthouse-protocol`");
    }
}
