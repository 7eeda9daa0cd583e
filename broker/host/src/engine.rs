//! The wasm engine's settings, in one place: what guests' code may be, and the two pools that instances come from.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{
    Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use crate::config::{Config, Pool};

/// Memories that one core module can have.
const MEMORIES_MAX: u32 = 1;
/// Tables that one core module can have.
const TABLES_MAX: u32 = 4;
/// What the engine may keep about one core instance, or one component, in bytes.
const INSTANCE_BYTES_MAX: usize = 1_048_576;
/// Frames in a guest's backtrace.
const BACKTRACE_FRAMES_MAX: usize = 32;

/// Which pool an instance comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum PoolKind {
    Small,
    Interpreter,
}

/// An engine for each pool. What is compiled for one runs on both.
pub(crate) struct Engines {
    small: Engine,
    interpreter: Engine,
    small_pool: Pool,
    interpreter_pool: Pool,
    compatibility: u64,
}

// === impl Engines ===

impl Engines {
    pub(crate) fn open(config: &Config) -> wasmtime::Result<Engines> {
        let small = pooled(config, &config.small)?;
        let interpreter = pooled(config, &config.interpreter)?;
        let mut hasher = DefaultHasher::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        small.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Engines {
            small,
            interpreter,
            small_pool: config.small,
            interpreter_pool: config.interpreter,
            compatibility: hasher.finish(),
        })
    }

    pub(crate) fn engine(&self, kind: PoolKind) -> &Engine {
        match kind {
            PoolKind::Small => &self.small,
            PoolKind::Interpreter => &self.interpreter,
        }
    }

    pub(crate) fn pool(&self, kind: PoolKind) -> &Pool {
        match kind {
            PoolKind::Small => &self.small_pool,
            PoolKind::Interpreter => &self.interpreter_pool,
        }
    }

    /// Returns what differs when compiled code would not run: the engine's version, its settings, the processor.
    pub(crate) fn compatibility(&self) -> u64 {
        self.compatibility
    }

    /// Lets running guests be looked at.
    pub(crate) fn tick(&self) {
        self.small.increment_epoch();
        self.interpreter.increment_epoch();
    }
}

/// Returns an engine that compiles for the pools, and runs nothing.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    Engine::new(&settings())
}

fn pooled(config: &Config, pool: &Pool) -> wasmtime::Result<Engine> {
    let mut settings = settings();
    settings.max_wasm_stack(config.limits.stack_bytes);
    settings.async_stack_size(config.limits.stack_bytes);
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool)));
    Engine::new(&settings)
}

fn pooling(pool: &Pool) -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::default();
    pooling
        .total_component_instances(pool.instances)
        .total_core_instances(pool.instances.saturating_mul(pool.core_instances))
        .total_memories(pool.instances)
        .total_tables(pool.instances.saturating_mul(TABLES_MAX))
        .max_core_instances_per_component(pool.core_instances)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_memory_size(pool.memory_bytes)
        .table_elements(pool.table_elements);
    pooling
}

/// What decides how guests' code comes out: the compiler in its own process and the pools here must agree on it.
fn settings() -> wasmtime::Config {
    let mut settings = wasmtime::Config::new();
    settings
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .wasm_component_model(true)
        // Not needed by any toolchain that makes guests, or another answer on another machine.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        // Names of functions are enough: line tables of a stranger are one more thing to parse.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
    settings
}
