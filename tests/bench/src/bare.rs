//! Three processes that keep records and do nothing else: what a set of three cannot be faster than on this machine.
//!
//! One of them, the leader, takes records over TCP, passes them on to the two others, writes and syncs them, and answers
//! once one of the others says that it has done so too. What comes while it is busy is passed on, written and synced at
//! once. Files are laid out in advance and written round and round, as logs are.
//!
//! The bench starts itself for them. They end when whoever is connected to them is gone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use posthouse_load::drive;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::options::Options;
use crate::site::folder;

/// A record: a body of the goals and what a log writes around it.
const RECORD_BYTES: usize = 1_536;
/// The most that is read at once, and so written and synced together.
const READ_BYTES: usize = 64 * RECORD_BYTES;
/// What a process writes to, round and round.
const FILE_BYTES: u64 = 64 << 20;
/// An answer: how many records are kept until now.
const ANSWER_BYTES: usize = 8;
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(60);
/// What the processes are started as.
const LEADER: &str = "bare-leader";
const FOLLOWER: &str = "bare-follower";

/// What this process is to be, when it is not the bench.
#[derive(Debug)]
pub(crate) enum Role {
    Leader {
        folder: PathBuf,
        followers: Vec<SocketAddr>,
    },
    Follower {
        folder: PathBuf,
    },
}

/// The three processes, and a connection to their leader. Killed when dropped.
#[derive(Debug)]
pub(crate) struct BareTrio {
    stream: TcpStream,
    /// Records sent, and answered, until now.
    kept: u64,
    _processes: Vec<Process>,
    _folder: TempDir,
}

/// A process, killed when dropped.
#[derive(Debug)]
struct Process(Child);

/// The file that a process writes to.
#[derive(Debug)]
struct Log {
    file: File,
    end: u64,
}

/// Bytes that came, of which the whole records are taken.
#[derive(Debug, Default)]
struct Came(Vec<u8>);

// === impl Role ===

impl Role {
    /// Returns what the arguments say; none when they are the bench's.
    pub(crate) fn of_arguments() -> Option<Role> {
        let mut arguments = std::env::args().skip(1);
        let role = arguments.next()?;
        match role.as_str() {
            LEADER => Some(Role::Leader {
                folder: arguments.next()?.into(),
                followers: arguments
                    .map(|address| address.parse().ok())
                    .collect::<Option<_>>()?,
            }),
            FOLLOWER => Some(Role::Follower {
                folder: arguments.next()?.into(),
            }),
            _ => None,
        }
    }

    /// Is it, until nobody is connected any more.
    pub(crate) fn play(self) -> ExitCode {
        let played = match self {
            Role::Leader { folder, followers } => lead(&folder, &followers),
            Role::Follower { folder } => follow(&folder),
        };
        match played {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("posthouse-bench, a bare process: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

// === impl BareTrio ===

impl BareTrio {
    /// Starts the three on the disk under measurement.
    pub(crate) fn start(options: &Options) -> anyhow::Result<BareTrio> {
        let folder = folder(options)?;
        let mut processes = Vec::new();
        let mut followers = Vec::new();
        for number in 1..=2 {
            let (process, address) = start(FOLLOWER, &folder.path().join(number.to_string()), &[])?;
            processes.push(process);
            followers.push(address);
        }
        let (process, address) = start(LEADER, &folder.path().join("leader"), &followers)?;
        processes.push(process);
        let stream = TcpStream::connect(address).context("the leader does not accept")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(BareTrio {
            stream,
            kept: 0,
            _processes: processes,
            _folder: folder,
        })
    }

    /// Sends records at a steady rate, whether or not those before were answered. Returns how long each took, in milliseconds.
    pub(crate) fn steady(&mut self, per_second: u32, span: Duration) -> anyhow::Result<Vec<f64>> {
        let gap = Duration::from_secs(1) / per_second;
        let records = u32::try_from(span.as_nanos() / gap.as_nanos())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let before = self.kept;
        let taken = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(self.stream.try_clone()?)?;
            let (mut answers, mut sends) = stream.into_split();
            let begun = RefCell::new(VecDeque::new());
            let kept = Cell::new(before);
            let send = async {
                let start = Instant::now();
                for number in 0..records {
                    let at = drive::reach(start + gap * number).await;
                    begun.borrow_mut().push_back(at);
                    sends.write_all(&[b'x'; RECORD_BYTES]).await?;
                }
                anyhow::Ok(())
            };
            let note = async {
                let mut taken = Vec::new();
                while kept.get() < before + u64::from(records) {
                    let mut answer = [0; ANSWER_BYTES];
                    tokio::time::timeout(ANSWER, answers.read_exact(&mut answer))
                        .await
                        .context("the bare leader does not answer")??;
                    let now = Instant::now();
                    for _ in kept.get()..u64::from_le_bytes(answer) {
                        let at: Instant = begun
                            .borrow_mut()
                            .pop_front()
                            .context("more is answered than was sent")?;
                        taken.push((now - at).as_secs_f64() * 1_000.0);
                    }
                    kept.set(u64::from_le_bytes(answer));
                }
                Ok(taken)
            };
            let ((), taken) = tokio::try_join!(send, note)?;
            // The connection goes on in the next round.
            sends.forget();
            anyhow::Ok(taken)
        })?;
        self.kept = before + u64::from(records);
        Ok(taken)
    }
}

// === impl Process ===

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed; it is gone either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl Log ===

impl Log {
    fn lay_out(folder: &Path) -> anyhow::Result<Log> {
        std::fs::create_dir_all(folder)?;
        let mut file = File::create_new(folder.join("log")).context("a file to write to")?;
        let piece = vec![0; 1 << 20];
        for _ in 0..FILE_BYTES / piece.len() as u64 {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        Ok(Log { file, end: 0 })
    }

    /// Writes records and syncs them.
    fn keep(&mut self, records: &[u8]) -> anyhow::Result<()> {
        if self.end + records.len() as u64 > FILE_BYTES {
            self.end = 0;
        }
        self.file.write_all_at(records, self.end)?;
        self.file.sync_data()?;
        self.end += records.len() as u64;
        Ok(())
    }
}

// === impl Came ===

impl Came {
    fn room(&mut self) -> &mut Vec<u8> {
        self.0.reserve(READ_BYTES);
        &mut self.0
    }

    /// Takes the whole records that are there.
    fn take_whole(&mut self) -> Vec<u8> {
        let whole = self.0.len() / RECORD_BYTES * RECORD_BYTES;
        let rest = self.0.split_off(whole);
        std::mem::replace(&mut self.0, rest)
    }
}

/// Starts this program as something else; returns where it listens, too.
fn start(role: &str, folder: &Path, followers: &[SocketAddr]) -> anyhow::Result<(Process, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(role)
        .arg(folder)
        .args(followers.iter().map(SocketAddr::to_string))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the bench cannot start itself")?;
    let output = child.stdout.take();
    let process = Process(child);
    let mut line = String::new();
    BufReader::new(output.context("its output is piped")?).read_line(&mut line)?;
    let address = line
        .trim()
        .parse()
        .with_context(|| format!("a bare process says {line:?} instead of where it listens"))?;
    Ok((process, address))
}

/// Listens, says where, and returns the first who connects.
fn accept() -> anyhow::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn follow(folder: &Path) -> anyhow::Result<()> {
    let mut log = Log::lay_out(folder)?;
    let mut leader = accept()?;
    let mut came = Came::default();
    let mut piece = vec![0; READ_BYTES];
    let mut kept = 0;
    loop {
        let read = leader.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        came.room().extend_from_slice(&piece[..read]);
        let records = came.take_whole();
        if records.is_empty() {
            continue;
        }
        log.keep(&records)?;
        kept += (records.len() / RECORD_BYTES) as u64;
        leader.write_all(&u64::to_le_bytes(kept))?;
    }
}

fn lead(folder: &Path, followers: &[SocketAddr]) -> anyhow::Result<()> {
    let mut log = Log::lay_out(folder)?;
    ensure!(followers.len() == 2, "a leader has two followers");
    let client = accept()?;
    client.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut client = tokio::net::TcpStream::from_std(client)?;
            let mut one = Follower::connect(followers[0]).await?;
            let mut other = Follower::connect(followers[1]).await?;
            let mut came = Came::default();
            let mut kept = 0;
            while client.read_buf(came.room()).await? > 0 {
                let records = came.take_whole();
                if records.is_empty() {
                    continue;
                }
                for follower in [&mut one, &mut other] {
                    follower.stream.write_all(&records).await?;
                }
                // This process does nothing else meanwhile; the followers do the same in theirs.
                log.keep(&records)?;
                kept += (records.len() / RECORD_BYTES) as u64;
                while one.kept < kept && other.kept < kept {
                    tokio::select! {
                        noted = one.note() => noted?,
                        noted = other.note() => noted?,
                    }
                }
                client.write_all(&u64::to_le_bytes(kept)).await?;
            }
            Ok(())
        })
}

/// A follower as its leader sees it.
struct Follower {
    stream: tokio::net::TcpStream,
    read: Vec<u8>,
    kept: u64,
}

// === impl Follower ===

impl Follower {
    async fn connect(address: SocketAddr) -> anyhow::Result<Follower> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Follower {
            stream,
            read: Vec::new(),
            kept: 0,
        })
    }

    /// Notes what it says next. Nothing is lost when this is dropped half-way.
    async fn note(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("a follower is gone");
        }
        while let Some((answer, rest)) = self.read.split_first_chunk::<ANSWER_BYTES>() {
            self.kept = u64::from_le_bytes(*answer);
            self.read = rest.to_vec();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_are_taken_and_the_rest_waits() {
        let mut came = Came::default();
        came.room().extend_from_slice(&[1; RECORD_BYTES - 1]);
        assert!(came.take_whole().is_empty());
        came.room().extend_from_slice(&[1; RECORD_BYTES + 2]);
        assert_eq!(came.take_whole().len(), 2 * RECORD_BYTES);
        assert_eq!(came.0, [1]);
    }

    #[test]
    fn a_log_is_written_round_and_round() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Log::lay_out(&folder.path().join("one")).expect("a log");
        log.end = FILE_BYTES - RECORD_BYTES as u64;
        log.keep(&[7; 2 * RECORD_BYTES]).expect("kept");
        assert_eq!(log.end, 2 * RECORD_BYTES as u64);
        let length = log.file.metadata().expect("it is there").len();
        assert_eq!(length, FILE_BYTES, "it does not grow");
    }
}
