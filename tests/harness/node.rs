//! A node as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::Client;

/// How long a node has to serve: the first start compiles the built-in plugins, on a busy machine.
const START: Duration = Duration::from_secs(120);
/// How much of its log a node shows when its test fails.
const LOG_SHOWN_LINES: usize = 200;

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Its configuration file's text; development mode is on whatever it says.
    pub configuration: String,
    /// Its variables beside the inherited ones.
    pub environment: Vec<(String, String)>,
    /// Where it listens; a free port of 127.0.0.1 when absent.
    pub listen: Option<SocketAddr>,
    /// More arguments of `posthouse serve`.
    pub arguments: Vec<String>,
}

/// A node as a process of its own. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    program: PathBuf,
    setting: Setting,
    folder: TempDir,
    process: Option<Child>,
    address: SocketAddr,
    streams: SocketAddr,
    log: Option<std::thread::JoinHandle<Vec<String>>>,
    serves: Option<mpsc::Receiver<Served>>,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
struct Served {
    address: SocketAddr,
    streams: SocketAddr,
}

impl Node {
    /// Starts a node on a new folder; returns when it serves.
    pub fn start(program: &Path, setting: Setting) -> anyhow::Result<Node> {
        Node::start_in(program, &std::env::temp_dir(), setting)
    }

    /// Starts a node on a new folder below another, to say which disk it is on; returns when it serves.
    pub fn start_in(program: &Path, parent: &Path, setting: Setting) -> anyhow::Result<Node> {
        let mut node = Node::new_in(program, parent, setting)?;
        node.launch()?;
        Ok(node)
    }

    /// Returns a node with a new folder that does not run yet.
    pub fn new_in(program: &Path, parent: &Path, setting: Setting) -> anyhow::Result<Node> {
        let folder = TempDir::new_in(parent).context("a folder for the node")?;
        std::fs::write(folder.path().join("posthouse.toml"), &setting.configuration)?;
        let usual = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = setting.listen.unwrap_or(usual);
        Ok(Node {
            program: program.to_owned(),
            setting,
            folder,
            process: None,
            address,
            streams: usual,
            log: None,
            serves: None,
        })
    }

    /// Puts another text into the node's configuration file, for its next start.
    pub fn configure(&mut self, configuration: &str) -> anyhow::Result<()> {
        self.setting.configuration = configuration.to_owned();
        std::fs::write(self.folder.path().join("posthouse.toml"), configuration)?;
        Ok(())
    }

    /// Starts the node again on the same folder, after it was stopped or killed.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_serving()
    }

    /// Starts the node without waiting for it to serve.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let usual = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = self.setting.listen.unwrap_or(usual).to_string();
        let mut process = Command::new(&self.program)
            .arg("serve")
            .args(["--dev", "--listen", &listen])
            .args(&self.setting.arguments)
            .arg("--config")
            .arg(self.folder.path().join("posthouse.toml"))
            .arg("--data")
            .arg(self.data())
            .envs(self.setting.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let stderr = process.stderr.take().context("the node's log is piped")?;
        let (found, address) = mpsc::channel();
        self.log = Some(std::thread::spawn(move || read_log(stderr, &found)));
        self.process = Some(process);
        self.serves = Some(address);
        Ok(())
    }

    /// Waits until the node serves that was started.
    pub fn wait_serving(&mut self) -> anyhow::Result<()> {
        let serves = self.serves.take().context("the node was started")?;
        match serves.recv_timeout(START) {
            Ok(Served { address, streams }) => {
                self.address = address;
                self.streams = streams;
                Ok(())
            }
            Err(_) => {
                self.kill();
                bail!(
                    "the node does not serve; its log:\n{}",
                    self.take_log().join("\n")
                )
            }
        }
    }

    /// Returns where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where the node listens for streams.
    pub fn streams_address(&self) -> SocketAddr {
        self.streams
    }

    /// Returns the URL of the node's streaming door.
    pub fn streams_url(&self) -> String {
        format!("http://{}", self.streams)
    }

    /// Returns the URL of the node.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the node's data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Has the node be told this when it is started next.
    pub fn set_arguments(&mut self, arguments: Vec<String>) {
        self.setting.arguments = arguments;
    }

    /// Takes away all that the node has kept, as when its disk is lost. It must not run.
    pub fn lose_disk(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "the node runs");
        Ok(std::fs::remove_dir_all(self.data())?)
    }

    /// Puts a disk in that was kept, in place of what the node has now. It must not run.
    pub fn put_disk(&self, from: &Path) -> anyhow::Result<()> {
        self.lose_disk()?;
        Ok(std::fs::rename(from, self.data())?)
    }

    /// Puts what the node has kept aside, and leaves it an empty disk. It must not run.
    pub fn keep_disk(&self) -> anyhow::Result<PathBuf> {
        anyhow::ensure!(self.process.is_none(), "the node runs");
        let kept = self.folder.path().join("kept");
        std::fs::rename(self.data(), &kept)?;
        Ok(kept)
    }

    /// Waits until the process has ended by itself; returns its exit status.
    pub fn wait_ended(&mut self) -> anyhow::Result<Option<i32>> {
        let mut process = self.process.take().context("the node was started")?;
        let began = std::time::Instant::now();
        while began.elapsed() < START {
            if let Some(status) = process.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
        bail!("the node goes on")
    }

    /// Returns the node's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Returns a client that signs as the tenant `dev`.
    pub fn client(&self) -> Client {
        Client::new(self.address, "AKIDdev", b"dev")
    }

    /// Kills the node as a power switch would, as far as one process can be.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended by itself cannot be killed; it is gone either way.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops the node where it is, as if its machine had no time for it, until it is told to go on.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        // The signal is only sent by then: until one thread has taken it, the others go on serving.
        let process = self.process.as_ref().context("the node runs")?;
        let stopped = WaitId::Pid(Pid::from_child(process));
        waitid(stopped, WaitIdOptions::STOPPED)?.context("the node has stopped")?;
        Ok(())
    }

    /// Lets the node go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the node runs")?;
        Ok(kill_process(Pid::from_child(process), signal)?)
    }

    /// Asks the node to stop, and waits for it. Returns its exit status.
    pub fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        let mut process = self.process.take().context("the node runs")?;
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::TERM)?;
        Ok(process.wait()?.code())
    }

    /// Returns what the node has logged until its end. Call it after the node ended.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.take_log();
            let end = log.len().saturating_sub(LOG_SHOWN_LINES);
            eprintln!(
                "the end of the log of the node at {}:\n{}",
                self.address,
                log[end..].join("\n")
            );
        }
    }
}

/// Reads the log to its end, and says where the node serves once a line tells.
fn read_log(stderr: impl std::io::Read, found: &mpsc::Sender<Served>) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(served) = served(&line) {
            // Whoever started the node may have given up waiting.
            let _ = found.send(served);
        }
        lines.push(line);
    }
    lines
}

fn served(line: &str) -> Option<Served> {
    if !line.contains("serving") {
        return None;
    }
    let clean: String = strip_colour(line);
    Some(Served {
        address: field(&clean, "address=")?,
        streams: field(&clean, "streams=")?,
    })
}

fn field(line: &str, name: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace().next()?.trim_matches('"').parse().ok()
}

/// Returns a line without the escapes that colour it.
fn strip_colour(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut escaped = false;
    for letter in line.chars() {
        match (escaped, letter) {
            (false, '\u{1b}') => escaped = true,
            (false, letter) => clean.push(letter),
            (true, letter) => escaped = !letter.is_ascii_alphabetic(),
        }
    }
    clean
}
