//! What can go wrong: a component is refused, a guest fails, the host cannot do its work.

use posthouse_model::World;

/// Why a component was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushRefusal {
    /// It is larger than a component may be.
    #[error(
        "the component of {bytes} bytes is over the limit of {limit}: leave debug information and unused code out of it \
         (in Rust `strip = \"debuginfo\"` and `lto = true`)"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It is no component at all.
    #[error("not a WebAssembly component: {0}; `posthouse plugin build` makes one")]
    NotAComponent(String),
    /// It asks for a power that its world is not lent.
    #[error("the component imports `{import}`, which a {world:?} plugin is not given; {remedy}")]
    ImportNotGranted {
        /// What it asks for.
        import: String,
        /// What it was pushed as.
        world: World,
        /// How to build without it.
        remedy: String,
    },
    /// It does not export what its world must.
    #[error(
        "a {world:?} plugin exports `{missing}`; this component exports {found}: push it as the world that it was built for \
         (`--world`), or build it for this one"
    )]
    WrongWorld {
        /// What it was pushed as.
        world: World,
        /// The interface that is not there.
        missing: String,
        /// What is.
        found: String,
    },
    /// It exports what more than one world must.
    #[error("a plugin is of one world; this component exports {found}: build one component for each")]
    SeveralWorlds {
        /// The interfaces of worlds that it exports.
        found: String,
    },
    /// It has the right names with the wrong types behind them.
    #[error(
        "the component does not fit the contract: {0}; build it against the `wit/` of this version, which `posthouse plugin \
         new` writes"
    )]
    WrongTypes(String),
    /// It cannot be compiled.
    #[error(
        "the component does not compile: {0}; build it with the versions of the tools that `posthouse plugin new` names"
    )]
    DoesNotCompile(String),
    /// Compiling it takes more time or memory than there is for it.
    #[error(
        "compiling the component takes too much: {0}; make it smaller, with fewer or smaller dependencies"
    )]
    CompileLimit(String),
    /// It asks for more than either pool has.
    #[error(
        "the component needs more than an instance gets: {0}; build it with less memory and smaller tables"
    )]
    TooDemanding(String),
    /// It compiles, and fails when it is started.
    #[error(
        "the component fails when it is started: {0}; what it does before its first call must end within the limits of time and \
         memory that `wit/types.wit` names"
    )]
    DoesNotStart(GuestFault),
    /// Not the component's fault: the host could not check it. Another try may succeed.
    #[error("the component could not be checked: {0}; push it again")]
    Fault(String),
}

/// Why a call gave no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GuestFault {
    /// The guest trapped.
    #[error("the plugin trapped: {message}")]
    Trap {
        /// What happened.
        message: String,
        /// Where, as far as the component tells.
        backtrace: String,
    },
    /// The guest used up its CPU time.
    #[error("the plugin used up its time")]
    OutOfTime,
    /// The guest asked for more memory than it may have, and could not go on.
    #[error("the plugin used up its memory")]
    OutOfMemory,
    /// What the guest answered makes no sense.
    #[error("the plugin's answer makes no sense: {0}")]
    Nonsense(String),
    /// The guest itself answered that it failed.
    #[error("the plugin failed: {0}")]
    Said(String),
    /// Plugins are using all they may. Not the guest's fault: another try may succeed.
    #[error("the plugin cannot be asked now: {0}")]
    Busy(BusyReason),
    /// No such version is loaded here, or it is not the tenant's, or of another world.
    #[error("the plugin is not loaded on this node")]
    NotLoaded,
    /// The host is stopping.
    #[error("the plugin host is stopping")]
    Stopped,
}

/// What there is no more of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BusyReason {
    /// Places in the queue for a thread.
    #[error("too many calls of its tenant are waiting")]
    Waiting,
    /// The tenant's CPU time.
    #[error("its tenant's plugins use all the CPU time they may")]
    Cpu,
    /// Instances, the tenant's or the pool's.
    #[error("no instance is left")]
    Instances,
    /// The tenant's memory.
    #[error("its tenant's plugins use all the memory they may")]
    Memory,
    /// The memory of all tenants together.
    #[error("all tenants' plugins use all the memory they may")]
    NodeMemory,
    /// The tenant's calls to the host.
    #[error("its tenant's plugins call the host as often as they may")]
    HostCalls,
    /// What the tenant's plugins hand to the host.
    #[error("its tenant's plugins hand over as much as they may")]
    Output,
}

/// Why the host cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine cannot be set up.
    #[error("the plugin engine cannot start: {0}")]
    Engine(String),
    /// The cache cannot be used.
    #[error("the plugin cache {path} cannot be used: {source}")]
    Cache {
        /// Where it is.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can write to the cache, and so could run what they like in this process.
    #[error("the plugin cache {0} belongs to or can be written by another user")]
    CacheExposed(std::path::PathBuf),
    /// A thread cannot be started.
    #[error("a thread for plugins cannot be started: {0}")]
    Thread(std::io::Error),
    /// The component is not one that this host runs.
    #[error(transparent)]
    Refused(#[from] PushRefusal),
}

// === impl BusyReason ===

impl BusyReason {
    /// Every reason.
    pub const ALL: [BusyReason; 7] = [
        BusyReason::Waiting,
        BusyReason::Cpu,
        BusyReason::Instances,
        BusyReason::Memory,
        BusyReason::NodeMemory,
        BusyReason::HostCalls,
        BusyReason::Output,
    ];

    /// Returns a word for it, as figures are labelled.
    pub fn word(self) -> &'static str {
        match self {
            BusyReason::Waiting => "waiting",
            BusyReason::Cpu => "cpu",
            BusyReason::Instances => "instances",
            BusyReason::Memory => "memory",
            BusyReason::NodeMemory => "node_memory",
            BusyReason::HostCalls => "host_calls",
            BusyReason::Output => "output",
        }
    }

    /// Returns where it is among all.
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

// === impl GuestFault ===

impl GuestFault {
    /// Returns whether the plugin is to blame: a failure policy and a breaker count these, and not the others.
    pub fn is_guilty(&self) -> bool {
        match self {
            GuestFault::Trap { .. }
            | GuestFault::OutOfTime
            | GuestFault::OutOfMemory
            | GuestFault::Nonsense(_)
            | GuestFault::Said(_) => true,
            GuestFault::Busy(_) | GuestFault::NotLoaded | GuestFault::Stopped => false,
        }
    }

    /// Returns whether the instance may have been left in disorder, so that another might answer.
    pub(crate) fn spoils_instance(&self) -> bool {
        match self {
            GuestFault::Trap { .. }
            | GuestFault::OutOfTime
            | GuestFault::OutOfMemory
            | GuestFault::Nonsense(_)
            | GuestFault::Busy(BusyReason::NodeMemory)
            | GuestFault::Stopped => true,
            GuestFault::Said(_) | GuestFault::Busy(_) | GuestFault::NotLoaded => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal, and what it tells its reader to do.
    fn refusals() -> [(PushRefusal, &'static str); 10] {
        let text = || "told".to_owned();
        [
            (
                PushRefusal::TooLarge { bytes: 2, limit: 1 },
                "leave debug information",
            ),
            (PushRefusal::NotAComponent(text()), "posthouse plugin build"),
            (
                PushRefusal::ImportNotGranted {
                    import: text(),
                    world: World::Filter,
                    remedy: "build it otherwise".to_owned(),
                },
                "build it otherwise",
            ),
            (
                PushRefusal::WrongWorld {
                    world: World::Filter,
                    missing: text(),
                    found: text(),
                },
                "--world",
            ),
            (
                PushRefusal::SeveralWorlds { found: text() },
                "one component for each",
            ),
            (PushRefusal::WrongTypes(text()), "posthouse plugin new"),
            (PushRefusal::DoesNotCompile(text()), "posthouse plugin new"),
            (PushRefusal::CompileLimit(text()), "make it smaller"),
            (PushRefusal::TooDemanding(text()), "less memory"),
            (
                PushRefusal::DoesNotStart(GuestFault::OutOfTime),
                "before its first call",
            ),
        ]
    }

    #[test]
    fn each_reason_is_in_its_place() {
        for (place, reason) in BusyReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.place(), place, "{reason:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        for (refusal, remedy) in refusals() {
            assert!(refusal.to_string().contains(remedy), "{refusal}");
        }
    }
}
