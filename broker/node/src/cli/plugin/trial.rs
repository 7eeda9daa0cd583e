//! A component in a host of its own, as a broker would run it, to be asked by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use posthouse_host::{
    Binding, BindingIdentity, CompilerCommand, Config, Host, HostError, Level, LogLine, PushRefusal, Usage,
};
use posthouse_model::{GuestLimits, Incarnation, LogIndex, Place, PluginVersion, Quotas, TenantId, World};

use super::trial_keys::TrialKeys;
use crate::cli::COMPILE_COMMAND;

/// The environment's variables that say where what can be made again is kept: the folder, or the one above `.cache`.
const CACHE_VARIABLE: &str = "XDG_CACHE_HOME";
const HOME_VARIABLE: &str = "HOME";
/// How long compiling may take here, where whoever waits can see that it does, on a machine that is busy with more. Its
/// CPU time is bounded as in a broker.
const COMPILE: Duration = Duration::from_secs(1_800);
/// The version that is tried. It is the only one.
const VERSION: PluginVersion = PluginVersion(1);

/// A component that can be asked.
pub(super) struct Trial {
    pub(super) host: Host,
    pub(super) keys: TrialKeys,
    /// Tenants given out: each case has one, so that none is short of what another used.
    tenants: AtomicU32,
}

/// Why a component cannot be tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrialError {
    #[error("{0}")]
    Refused(PushRefusal),
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("set {CACHE_VARIABLE} to a folder for compiled plugins: there is no home folder")]
    NoCache,
    #[error("this program does not know its own path: {0}")]
    Program(std::io::Error),
}

// === impl Trial ===

impl Trial {
    /// Checks a component as a push does, and loads it.
    pub(super) async fn open(
        world: World,
        component: Bytes,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Trial, TrialError> {
        let cache = cache_folder(environment).ok_or(TrialError::NoCache)?;
        let compiler = CompilerCommand::Child {
            program: std::env::current_exe().map_err(TrialError::Program)?,
            args: vec![COMPILE_COMMAND.into()],
        };
        let mut config = Config::new(cache, compiler);
        config.compile_limits.time = COMPILE;
        let keys = TrialKeys::new();
        let host = Host::open(config, Arc::new(keys.lender()))?;
        host.check(world, component.clone())
            .await
            .map_err(TrialError::Refused)?;
        host.load(VERSION, None, world, component)
            .await
            .map_err(TrialError::Refused)?;
        Ok(Trial {
            host,
            keys,
            tenants: AtomicU32::new(0),
        })
    }

    /// Returns a binding that nobody has used, of a tenant with nothing used of its quota.
    pub(super) fn binding(&self, configuration: &str) -> Binding {
        let tenant = TenantId(self.tenants.fetch_add(1, Ordering::Relaxed) + 1);
        // What is tried runs as often as it can, which is no tenant's way of using it.
        let quotas = Quotas {
            guest_micros_per_second: u32::MAX,
            ..Quotas::default()
        };
        let limits = GuestLimits {
            host_calls_per_second: u32::MAX,
            output_bytes_per_second: u64::MAX,
            ..GuestLimits::default()
        };
        self.host.set_quota(tenant, &quotas, &limits);
        Binding {
            version: VERSION,
            tenant,
            configuration: Bytes::copy_from_slice(configuration.as_bytes()),
            identity: BindingIdentity {
                changed: LogIndex(1),
                place: Place::Incarnation(Incarnation(1)),
            },
            kv: None,
        }
    }

    /// Returns what a binding's calls have used.
    pub(super) fn usage(&self, binding: &Binding) -> Usage {
        let used = self.host.usage().into_iter();
        let mut own = used.filter(|(tenant, _)| *tenant == binding.tenant);
        own.next().map(|(_, usage)| usage).unwrap_or_default()
    }

    /// Lets go of a binding's instances and keys.
    pub(super) fn forget(&self, binding: &Binding) {
        self.keys.forget(binding.tenant);
        self.host.forget_tenant(binding.tenant);
    }

    /// Returns the lines that the plugin wrote for the binding that was made last.
    pub(super) fn log(&self) -> Vec<String> {
        let tenants = self.tenants.load(Ordering::Relaxed);
        let lines = self.host.logs(VERSION);
        let newest = lines.iter().filter(|line| line.tenant == TenantId(tenants));
        newest.filter_map(shown).collect()
    }

    /// Ends the host's threads.
    pub(super) async fn close(self) {
        self.host.stop().await;
    }
}

fn shown(line: &LogLine) -> Option<String> {
    let level = match line.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
        // The answer says so.
        Level::Trap => return None,
    };
    Some(format!("{level} {}", line.text))
}

/// Returns where compiled plugins are kept between commands.
fn cache_folder(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let given = |variable| environment(variable).filter(|value| !value.is_empty());
    let caches = match given(CACHE_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(given(HOME_VARIABLE)?).join(".cache"),
    };
    Some(caches.join("posthouse/plugins"))
}
