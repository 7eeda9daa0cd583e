//! A machine: a disk that outlives processes, clocks, and the process of a node that runs on it, or none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{Applied, DirectoryChange, LogIndex, ReplicaId, SetId, Term};
use posthouse_replica::{Config, GroupName, Groups, Observer};
use posthouse_store::crash::{Chance, CrashDisk};
use posthouse_store::wal::read_file;
use posthouse_store::{Disk, Driving, ProjectionKind, Store};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{Dial, NodeClock};
use crate::life::{Life, Process};
use crate::mount::Mount;
use crate::network::Wires;
use crate::notes::Notes;

const DIR: &str = "/data";
/// Applied bytes after which a set is cut: so few that it happens all the time.
const CUT_BYTES: u64 = 12 << 10;
const WAL_FILE_BYTES: u64 = 64 << 10;
const MEMTABLE_BYTES_MAX: usize = 64 << 10;
/// How long a write of the log takes with its sync, at the most, in microseconds; and one in so many takes longer.
const WRITE_MICROS_MAX: u64 = 1_500;
const STALL_MICROS_MAX: u64 = 150_000;
const STALL_ONE_IN: u64 = 500;
/// How long a cut or another job beside the log takes, at the most: as it does where it writes megabytes, so that much can
/// happen meanwhile.
const JOB_MICROS_MAX: u64 = 300_000;
/// How long it is quiet before the last batch is said to be durable.
const QUIET: Duration = Duration::from_millis(10);

/// How a machine's process ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// The power is cut: what was not synced is there, or not, or in part.
    PowerCut,
    /// The process is killed, and the page cache stays.
    Kill,
}

/// How long nodes wait for each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) election_min: Duration,
    pub(crate) election_max: Duration,
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) replica: ReplicaId,
    pub(crate) disk: CrashDisk,
    pub(crate) dial: Arc<Dial>,
    sets: u8,
    timing: Timing,
    wires: Wires,
    notes: Notes,
    chance: Mutex<Chance>,
    is_slow: AtomicBool,
    process: Mutex<Option<Arc<Process>>>,
}

/// Notes who leads, and wakes who carries outboxes.
struct Attentive {
    replica: ReplicaId,
    life: Life,
    notes: Notes,
    outgoing: BTreeMap<SetId, Arc<Notify>>,
}

// === impl Timing ===

impl Timing {
    /// As nodes have it.
    pub(crate) const USUAL: Timing = Timing {
        heartbeat: Duration::from_millis(200),
        election_min: Duration::from_millis(500),
        election_max: Duration::from_millis(1_000),
    };
    /// So that hours pass quickly.
    pub(crate) const PATIENT: Timing = Timing {
        heartbeat: Duration::from_secs(1),
        election_min: Duration::from_secs(3),
        election_max: Duration::from_secs(6),
    };
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new(
        replica: ReplicaId,
        sets: u8,
        timing: Timing,
        wires: Wires,
        notes: Notes,
        mut chance: Chance,
    ) -> Machine {
        let drift = i64::try_from(chance.below(201)).unwrap_or(0) - 100;
        Machine {
            replica,
            disk: CrashDisk::new(chance.any()),
            dial: Arc::new(Dial::new(Instant::now(), drift)),
            sets,
            timing,
            wires,
            notes,
            chance: Mutex::new(chance),
            is_slow: AtomicBool::new(false),
            process: Mutex::new(None),
        }
    }

    /// Returns the process that runs, if one does.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        let process = self.process.lock();
        process
            .as_ref()
            .filter(|process| !process.life.is_over())
            .cloned()
    }

    /// Starts a process, unless one runs.
    pub(crate) async fn start(self: &Arc<Self>) {
        if self.process().is_some() {
            return;
        }
        let life = Life::begin();
        let mount = Arc::new(Mount {
            disk: self.disk.clone(),
            life: life.clone(),
        });
        let store = match Store::open(Path::new(DIR), mount, store_config()) {
            Ok(store) => store,
            Err(error) => panic!("replica {} does not open its store: {error}", self.replica),
        };
        self.drive(&store, &life);
        let outgoing: BTreeMap<SetId, Arc<Notify>> =
            (0..self.sets).map(|set| (SetId(set), Arc::default())).collect();
        let observer = Attentive {
            replica: self.replica,
            life: life.clone(),
            notes: self.notes.clone(),
            outgoing: outgoing.clone(),
        };
        let groups = Groups::open(
            self.config(),
            store.clone(),
            Arc::new(self.wires.port(self.replica, life.clone())),
            Arc::new(NodeClock::start(self.dial.clone())),
            Arc::new(observer),
        );
        let groups = match groups.await {
            Ok(groups) => groups,
            Err(error) => panic!("replica {} does not open its groups: {error}", self.replica),
        };
        let process = Arc::new(Process {
            replica: self.replica,
            life,
            groups,
            store,
            session: self.chance.lock().any(),
            calls: AtomicU64::new(0),
        });
        *self.process.lock() = Some(process.clone());
        self.wires.connect(process.clone());
        for (set, news) in outgoing {
            let mover = crate::outbox::carry(process.clone(), self.wires.clone(), set, news);
            tokio::spawn(mover);
        }
    }

    /// Has writes take long from now on, or not.
    pub(crate) fn slow_down(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Ends the process at once. What it still does reaches nobody.
    pub(crate) fn end(&self, how: Ending) {
        let Some(process) = self.process.lock().take() else {
            return;
        };
        process.life.end();
        match how {
            Ending::PowerCut => self.disk.cut_power(),
            Ending::Kill => self.disk.kill(),
        }
        bury(process);
    }

    /// Changes a bit of the last batch in the log, while no process runs.
    pub(crate) fn flip_last_batch(&self) {
        let folder = Path::new(DIR).join("wal");
        let mut logs = self.disk.list(&folder).unwrap_or_default();
        logs.retain(|name| name.ends_with(".log"));
        logs.sort();
        let Some(newest) = logs.pop().map(|name| folder.join(name)) else {
            return;
        };
        let bytes = self.disk.contents(&newest).unwrap_or_default();
        let Ok(end) = read_file(&bytes).map(|reading| reading.end) else {
            return;
        };
        if let Some(start) = end.last_batch {
            let mut chance = self.chance.lock();
            let offset = start + chance.below(end.offset - start);
            self.disk.flip(&newest, offset, chance.below(8) as u8);
        }
    }

    /// Stops the process as a node is stopped that is told to.
    pub(crate) async fn stop(&self) {
        let Some(process) = self.process.lock().take() else {
            return;
        };
        for set in process.groups.sets() {
            let other = set.voters().into_iter().find(|voter| *voter != self.replica);
            if let Some(other) = other
                && set.is_leader()
            {
                // Who does not take over is elected later.
                let _ = set.hand_over(other).await;
            }
        }
        process.groups.stop().await;
        process.store.close();
        process.life.end();
    }

    /// Has the log and the jobs of a store done in turn, each in its time, as its threads would.
    fn drive(self: &Arc<Self>, store: &Store, life: &Life) {
        let (log, jobs) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (log_wake, jobs_wake) = (log.clone(), jobs.clone());
        store.on_work(
            Box::new(move || log_wake.notify_one()),
            Box::new(move || jobs_wake.notify_one()),
        );
        tokio::spawn(self.clone().write_log(store.clone(), life.clone(), log));
        tokio::spawn(self.clone().do_jobs(store.clone(), life.clone(), jobs));
        // What opening queued was queued before anybody was told.
    }

    async fn write_log(self: Arc<Self>, store: Store, life: Life, work: Arc<Notify>) {
        let mut is_quiet = true;
        loop {
            let quiet = async {
                match is_quiet {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(QUIET).await,
                }
            };
            tokio::select! {
                biased;
                () = life.over() => return,
                () = work.notified() => {}
                () = quiet => {
                    store.settle();
                    is_quiet = true;
                    self.notice_power_cut(&life);
                    continue;
                }
            }
            loop {
                let time = self.write_time();
                tokio::time::sleep(time).await;
                if life.is_over() {
                    return;
                }
                let wrote = store.step_log();
                is_quiet = false;
                self.notice_power_cut(&life);
                if !wrote {
                    break;
                }
            }
        }
    }

    async fn do_jobs(self: Arc<Self>, store: Store, life: Life, work: Arc<Notify>) {
        loop {
            loop {
                let time = self.job_time();
                tokio::time::sleep(time).await;
                if life.is_over() {
                    return;
                }
                let did = store.step_job();
                self.notice_power_cut(&life);
                if !did {
                    break;
                }
            }
            tokio::select! {
                biased;
                () = life.over() => return,
                () = work.notified() => {}
            }
        }
    }

    fn write_time(&self) -> Duration {
        let mut chance = self.chance.lock();
        let stalls = self.is_slow.load(Ordering::Relaxed) || chance.one_in(STALL_ONE_IN);
        let most = if stalls {
            STALL_MICROS_MAX
        } else {
            WRITE_MICROS_MAX
        };
        Duration::from_micros(100 + chance.below(most))
    }

    fn job_time(&self) -> Duration {
        Duration::from_micros(100 + self.chance.lock().below(JOB_MICROS_MAX))
    }

    /// Ends the process if its machine stopped in the middle of what it did: nothing of it was told to anybody yet.
    fn notice_power_cut(&self, life: &Life) {
        if self.disk.has_stopped() && !life.is_over() {
            self.notes
                .event(format!("replica {} stopped in the middle", self.replica));
            self.end(Ending::PowerCut);
        }
    }

    fn config(&self) -> Config {
        Config {
            replica: self.replica,
            founders: Some([1, 2, 3].map(ReplicaId).into()),
            heartbeat: self.timing.heartbeat,
            election_min: self.timing.election_min,
            election_max: self.timing.election_max,
            cut_bytes: CUT_BYTES,
            checkpoint_bytes: CUT_BYTES,
            ..Config::lone(self.sets)
        }
    }
}

fn store_config() -> posthouse_store::Config {
    posthouse_store::Config {
        wal_file_bytes: WAL_FILE_BYTES,
        wal_bytes_max: 8 * WAL_FILE_BYTES,
        memtable_bytes_max: MEMTABLE_BYTES_MAX,
        reserve_bytes: 0,
        driving: Driving::Caller,
        projection: ProjectionKind::Memory,
        ..posthouse_store::Config::default()
    }
}

/// Lets go of a process that has ended: its tasks end, and see no disk and no network any more.
fn bury(process: Arc<Process>) {
    process.store.close();
    tokio::spawn(async move { process.groups.stop().await });
}

// === impl Attentive ===

impl Observer for Attentive {
    fn applied(&self, set: SetId, applied: &Applied) {
        if applied.outgoing
            && let Some(news) = self.outgoing.get(&set)
        {
            news.notify_one();
        }
    }

    fn directory_applied(&self, _index: LogIndex, _changes: &[DirectoryChange]) {}

    fn directory_replaced(&self) {}

    fn leading(&self, group: GroupName, term: Option<Term>) {
        if self.life.is_over() {
            return;
        }
        if let Some(term) = term {
            self.notes
                .event(format!("replica {} leads {group} in term {term}", self.replica));
        }
        if let GroupName::Set(set) = group
            && let Some(news) = self.outgoing.get(&set)
        {
            news.notify_one();
        }
    }
}
