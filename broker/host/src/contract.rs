//! The bindings generated from `wit/`: named in this crate alone, and converted in `convert`.
//!
//! They are generated for one world made up of all four, so that what the worlds share is one Rust type. A component
//! is asked only for the interface of the world that it was pushed as.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package posthouse:host;

        world every-world {
            import posthouse:plugin/types@0.1.0;
            import posthouse:plugin/bodies@0.1.0;
            import posthouse:plugin/config@0.1.0;
            import posthouse:plugin/log@0.1.0;
            import posthouse:plugin/metrics@0.1.0;
            import posthouse:plugin/kv@0.1.0;
            import posthouse:plugin/keyring@0.1.0;
            import posthouse:plugin/signer@0.1.0;
            export posthouse:plugin/router@0.1.0;
            export posthouse:plugin/filtering@0.1.0;
            export posthouse:plugin/delivering@0.1.0;
            export posthouse:plugin/sealing@0.1.0;
        }
    ",
    world: "posthouse:host/every-world",
    imports: { default: trappable },
    with: {
        "posthouse:plugin/bodies.body": crate::lent::LentBody,
        "posthouse:plugin/keyring.data-key": crate::lent::LentDataKey,
    },
});

pub use exports::posthouse::plugin::{delivering, filtering, router, sealing};
pub use posthouse::plugin::{bodies, config, keyring, kv, log, metrics, signer, types};
