//! A node under measurement: started, set up through its own command line, asked how it is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_load::drive::{self, Tally};
use posthouse_load::requests::{Request, Signing};
use posthouse_load::{ALLOWANCE, QUIET, Trio, command, processor};
use posthouse_tests::{Connection, Node, Pack, Setting};
use tempfile::TempDir;

use crate::options::Options;
use crate::report::{Bound, Report, Unit};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(300);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(5);

/// A node with data on the disk under measurement.
#[derive(Debug)]
pub(crate) struct Site {
    /// Whose command line is used, whatever program the node runs.
    program: PathBuf,
    node: Node,
}

/// How busy processes were, since it was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    start: Instant,
    node: f64,
    load: f64,
}

// === impl Site ===

impl Site {
    /// Starts the program to measure on a new folder, its tenant allowed everything.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Site> {
        Site::start_program(&options.program()?, options)
    }

    /// Starts a given program.
    pub(crate) fn start_program(program: &Path, options: &Options) -> anyhow::Result<Site> {
        Site::start_with(program, options, "")
    }

    /// Starts the program to measure with more in its configuration.
    pub(crate) fn start_configured(options: &Options, configuration: &str) -> anyhow::Result<Site> {
        Site::start_with(&options.program()?, options, configuration)
    }

    fn start_with(program: &Path, options: &Options, configuration: &str) -> anyhow::Result<Site> {
        let setting = Setting {
            configuration: format!("{QUIET}{configuration}"),
            ..Setting::default()
        };
        let node = Node::start_in(program, &parent(options), setting)?;
        let site = Site {
            program: options.program()?,
            node,
        };
        site.wait_ready()?;
        site.command(&ALLOWANCE)?;
        Ok(site)
    }

    /// Returns where the node listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// Returns the URL of its streaming door.
    pub(crate) fn streams_url(&self) -> String {
        self.node.streams_url()
    }

    /// Returns what signs requests for it.
    pub(crate) fn signing(&self) -> Signing {
        Signing::new(self.address())
    }

    /// Returns the node's process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.node.pid().context("the node runs")
    }

    /// Makes a queue.
    pub(crate) fn create_queue(&self, queue: &str) -> anyhow::Result<()> {
        self.ask("CreateQueue", &[("queueName", queue)])
    }

    /// Asks for an action that is to be done.
    pub(crate) fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<()> {
        self.node.client().ask(action, parameters)?.success()?;
        Ok(())
    }

    /// Returns a figure of the node's own, summed over its labels.
    pub(crate) fn figure(&self, name: &str) -> anyhow::Result<f64> {
        let mut connection = Connection::open(self.address())?;
        connection.request("GET", "/metrics", "bench", "", b"")?;
        let page = connection.answer()?.body;
        let page = String::from_utf8_lossy(&page);
        let of_name = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("posthouse_")?.strip_prefix(name)?;
            let labelled = rest.starts_with(['{', ' ']);
            labelled.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        Ok(of_name.sum())
    }

    /// Returns how much memory the node keeps resident.
    pub(crate) fn resident_megabytes(&self) -> anyhow::Result<f64> {
        Ok(processor::resident_bytes(self.pid()?)? as f64 / 1e6)
    }

    /// Returns how many messages wait in a queue.
    pub(crate) fn waiting(&self, queue: &str) -> anyhow::Result<u64> {
        let answer = self
            .node
            .client()
            .ask("GetQueueAttributes", &[("queueName", queue)])?
            .success()?;
        answer.0["activeMsgNum"]
            .as_u64()
            .context("the answer has activeMsgNum")
    }

    /// Sends a request again and again for a while.
    pub(crate) fn repeat(&self, options: &Options, request: &Request) -> anyhow::Result<Tally> {
        drive::repeat(self.address(), options.connections(), request, options.part())
    }

    /// Does so over many connections.
    pub(crate) fn repeat_by_many(&self, options: &Options, request: &Request) -> anyhow::Result<Tally> {
        let connections = options.many_connections();
        drive::repeat(self.address(), connections, request, options.part())
    }

    /// Says something to the node with its own command line.
    pub(crate) fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        command(&self.program, &self.node, arguments).map(drop)
    }

    /// Makes tenants with hostile plugins, one of which is bound to so many topics.
    pub(crate) fn gather_pack(&self, topics: usize) -> anyhow::Result<Pack> {
        Pack::gather(&self.program, &self.node, topics)
    }

    /// Stops the node as an operator would, starts it again, and returns how long the start took until it was ready.
    pub(crate) fn restart(&mut self) -> anyhow::Result<Duration> {
        match self.node.terminate()? {
            Some(0) => self.relaunch(),
            status => bail!("the node stopped with status {status:?}"),
        }
    }

    /// Kills the node, starts it again, and returns how long the start took until it was ready.
    pub(crate) fn kill_and_start(&mut self) -> anyhow::Result<Duration> {
        self.node.kill();
        self.relaunch()
    }

    fn relaunch(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.node.launch()?;
        self.wait_ready()?;
        Ok(start.elapsed())
    }

    fn wait_ready(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < READY {
            let mut connection = Connection::open(self.address())?;
            connection.request("GET", "/readyz", "bench", "", b"")?;
            if connection.answer()?.status == 200 {
                return Ok(());
            }
            std::thread::sleep(READY_POLL);
        }
        bail!("the node was not ready within {} s", READY.as_secs())
    }
}

/// Returns a new folder on the disk under measurement, gone when it is dropped.
pub(crate) fn folder(options: &Options) -> anyhow::Result<TempDir> {
    let parent = parent(options);
    TempDir::new_in(&parent).with_context(|| format!("{} takes no folder", parent.display()))
}

/// Returns how much of the disk under measurement is free.
pub(crate) fn free_bytes(options: &Options) -> anyhow::Result<u64> {
    let parent = parent(options);
    let disk = rustix::fs::statvfs(&parent).with_context(|| format!("{} is no folder", parent.display()))?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Starts three nodes on new folders on the disk under measurement.
pub(crate) fn start_trio(options: &Options, sets: u8) -> anyhow::Result<Trio> {
    Trio::start(&options.program()?, &parent(options), sets)
}

/// Returns the folder below which nodes keep their data.
pub(crate) fn parent(options: &Options) -> PathBuf {
    options.data.clone().unwrap_or_else(std::env::temp_dir)
}

// === impl Busy ===

impl Busy {
    /// Begins to watch a node and this program.
    pub(crate) fn begin(site: &Site) -> anyhow::Result<Busy> {
        Ok(Busy {
            start: Instant::now(),
            node: processor::busy_seconds(site.pid()?)?,
            load: processor::busy_seconds(std::process::id())?,
        })
    }

    /// Tells how many processors each kept busy since.
    pub(crate) fn tell(&self, site: &Site, what: &str, report: &mut Report) -> anyhow::Result<()> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let node = (processor::busy_seconds(site.pid()?)? - self.node) / elapsed;
        let load = (processor::busy_seconds(std::process::id())? - self.load) / elapsed;
        report.add(
            format!("{what}: processors kept busy by the node"),
            node,
            Unit::Processors,
            Bound::None,
        );
        report.add(
            format!("{what}: by the load program"),
            load,
            Unit::Processors,
            Bound::None,
        );
        Ok(())
    }
}
