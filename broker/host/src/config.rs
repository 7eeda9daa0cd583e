//! What the host is told when it opens, with defaults, and the bounds of the contract that nobody can change.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use posthouse_model::{GuestLimits, Quotas};

/// The largest component that can be pushed, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 24 * 1_048_576;
/// The largest component that the small pool takes, in bytes; a larger one counts as an interpreter.
pub const SMALL_COMPONENT_BYTES_MAX: usize = 1_048_576;
/// The most bytes that a guest hands to the host in one call.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1_048_576;
/// The most messages that a router is given in one call.
pub const ROUTE_BATCH_MAX: usize = 64;
/// The longest configuration of a binding, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 65_536;
/// The largest state that a deliver plugin keeps between two steps, in bytes.
pub const STATE_BYTES_MAX: usize = 4_096;
/// The largest header of a sealed body, in bytes.
pub const SEAL_HEADER_BYTES_MAX: usize = 4_096;
/// How much larger than the plain body a sealed one may be, in bytes.
pub const SEAL_GROWTH_BYTES_MAX: usize = 65_536;
/// The longest associated data that a data key seals with, in bytes.
pub const ASSOCIATED_BYTES_MAX: usize = 4_096;
/// The longest prefix that a deliver plugin has signed before a body, in bytes.
pub const SIGNED_PREFIX_BYTES_MAX: usize = 4_096;
/// The log lines kept of one call.
pub const LOG_LINES_PER_CALL_MAX: u32 = 64;
/// The longest log line, in bytes.
pub const LOG_LINE_BYTES_MAX: usize = 1_024;
/// The longest note of a failure that is kept in a plugin's log; what is longer is cut.
pub const TRAP_LINE_BYTES_MAX: usize = 2_048;
/// The log lines kept of one version of a plugin.
pub const LOG_LINES_KEPT_MAX: usize = 1_000;
/// How often a call can raise a figure.
pub const FIGURES_PER_CALL_MAX: usize = 256;
/// The longest name of a figure, in bytes.
pub const FIGURE_NAME_BYTES_MAX: usize = 48;
/// The names of figures of one version for one tenant.
pub const FIGURES_PER_VERSION_MAX: usize = 32;
/// The names of figures of all versions for one tenant.
pub const FIGURES_PER_TENANT_MAX: u64 = 128;
/// The names of figures of all versions for all tenants.
pub const FIGURES_PER_NODE_MAX: u64 = 4_096;
/// The longest text of a fault, in bytes.
pub const FAULT_TEXT_BYTES_MAX: usize = 4_096;
/// CPU time to compile a component: an interpreter's takes 10 s of it, one that is built to take long is found out.
pub const COMPILE_CPU_MAX: Duration = Duration::from_secs(120);
/// Time by the clock to compile a component, so much longer that being one of many on a busy machine is no fault of a
/// component's.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(600);
/// Address space to compile a component, in bytes.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 4 * 1_024 * 1_048_576;
/// The largest compiled component, in bytes.
pub const ARTIFACT_BYTES_MAX: usize = 256 * 1_048_576;

/// What the host is told when it opens.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where compiled plugins are kept. Made if absent; nobody else may be able to write to it.
    pub cache_dir: PathBuf,
    /// What they may take up there, in bytes; the oldest go first.
    pub cache_bytes_max: u64,
    /// How plugins are compiled.
    pub compiler: CompilerCommand,
    /// What compiling one plugin may use.
    pub compile_limits: CompileLimits,
    /// Threads that guests run on.
    pub threads: usize,
    /// How nice those threads and the compiler are: 0 is as urgent as the broker, 19 the least.
    pub niceness: i32,
    /// Instances of plugins up to [`SMALL_COMPONENT_BYTES_MAX`].
    pub small: Pool,
    /// Instances of larger plugins, with a language's runtime in them.
    pub interpreter: Pool,
    /// What one call may use.
    pub limits: CallLimits,
    /// Memory of all instances together, in bytes.
    pub memory_bytes_max: u64,
    /// What a tenant may use that nothing was said about.
    pub quota: GuestQuota,
    /// How often running guests are looked at.
    pub tick: Duration,
    /// Calls of one tenant that wait for a thread; more are refused as busy.
    pub waiting_max: usize,
}

/// How plugins are compiled.
#[derive(Clone, Debug)]
pub enum CompilerCommand {
    /// In a child process, which calls [`crate::compile_main`]: it gets the limits, and may die.
    Child {
        /// The executable.
        program: PathBuf,
        /// What makes it call [`crate::compile_main`].
        args: Vec<OsString>,
    },
    /// In this process, without limits: for components that are known to be good.
    InProcess,
}

/// What compiling one plugin may use.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// CPU time of all its threads, in whole seconds: what a component costs, however busy the machine is.
    pub cpu: Duration,
    /// Time by the clock, for a compiler that hangs.
    pub time: Duration,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// The compiled plugin, in bytes.
    pub artifact_bytes: usize,
}

/// A pool of instances.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Instances at once.
    pub instances: u32,
    /// Memory of one, in bytes.
    pub memory_bytes: usize,
    /// Elements of a table of one.
    pub table_elements: usize,
    /// Core instances that make up one.
    pub core_instances: u32,
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// CPU time of a call.
    pub cpu: Duration,
    /// CPU time to start an instance, and to make a router's table.
    pub start_cpu: Duration,
    /// Stack of a guest, in bytes.
    pub stack_bytes: usize,
    /// Calls to the host.
    pub host_calls: u32,
    /// Bytes of bodies that are read or made.
    pub lent_bytes: u64,
    /// Handles held at once.
    pub handles: usize,
}

/// What a tenant's guests may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuestQuota {
    /// Microseconds of CPU time a second.
    pub cpu_micros_per_second: u32,
    /// Bytes of memory at once, over all instances.
    pub memory_bytes: u64,
    /// Instances at once.
    pub instances: u32,
    /// Calls to the host a second.
    pub host_calls_per_second: u32,
    /// Bytes a second that they hand to the host.
    pub output_bytes_per_second: u64,
}

// === impl Config ===

impl Config {
    /// Returns the defaults for a node that keeps compiled plugins in `cache_dir`.
    pub fn new(cache_dir: PathBuf, compiler: CompilerCommand) -> Config {
        Config {
            cache_dir,
            cache_bytes_max: 4 * 1_024 * 1_048_576,
            compiler,
            compile_limits: CompileLimits::default(),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            niceness: 5,
            small: Pool {
                instances: 512,
                memory_bytes: 16 * 1_048_576,
                table_elements: 20_000,
                core_instances: 8,
            },
            interpreter: Pool {
                instances: 64,
                memory_bytes: 128 * 1_048_576,
                table_elements: 100_000,
                core_instances: 64,
            },
            limits: CallLimits::default(),
            memory_bytes_max: 1_024 * 1_048_576,
            quota: GuestQuota::new(&Quotas::default(), &GuestLimits::default()),
            tick: Duration::from_millis(2),
            waiting_max: 4_096,
        }
    }
}

// === impl CompileLimits ===

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            cpu: COMPILE_CPU_MAX,
            time: COMPILE_TIME_MAX,
            memory_bytes: COMPILE_MEMORY_BYTES_MAX,
            artifact_bytes: ARTIFACT_BYTES_MAX,
        }
    }
}

// === impl CallLimits ===

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(50),
            start_cpu: Duration::from_millis(250),
            stack_bytes: 1_048_576,
            host_calls: 100_000,
            lent_bytes: 64 * 1_048_576,
            handles: 1_024,
        }
    }
}

// === impl GuestQuota ===

impl GuestQuota {
    /// Returns what a tenant's quotas, and its limits beyond those, leave to its guests.
    pub fn new(quotas: &Quotas, limits: &GuestLimits) -> GuestQuota {
        GuestQuota {
            cpu_micros_per_second: quotas.guest_micros_per_second,
            memory_bytes: quotas.guest_memory_bytes,
            instances: quotas.guest_instances,
            host_calls_per_second: limits.host_calls_per_second,
            output_bytes_per_second: limits.output_bytes_per_second,
        }
    }
}
