//! Compiled plugins, and the one unsafe step: trusting one as code.
//!
//! An [`Artifact`] exists only for bytes that this process's own compiler made just now, or that it made before and
//! that still carry the checksum it wrote with them, in a folder that nobody else can write to.

use wasmtime::{Engine, component::Component};

/// A compiled plugin that may be trusted.
pub(crate) struct Artifact(Vec<u8>);

// === impl Artifact ===

impl Artifact {
    /// Trusts bytes. To be called by the compiler and by the cache, after it has checked what it read, only.
    pub(crate) fn trusted(bytes: Vec<u8>) -> Artifact {
        Artifact(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes it runnable, unless it was compiled by another version or for other settings, or asks for more than the
    /// engine's pool gives.
    #[expect(
        unsafe_code,
        reason = "compiled code cannot be checked, so its origin is: see the module's text"
    )]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes came from `Engine::precompile_component` unaltered, as `Artifact` promises.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
