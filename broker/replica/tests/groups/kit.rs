//! What the tests of groups share: stores, clocks, commands, and waiting for a condition with a bound.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::{
    Definition, DirectoryCommand, Generation, Incarnation, Incoming, LogIndex, Message, MessageId, Name,
    QueueAttributes, Refusal, Set, SetCommand, SetReply, Span, TenantId, Time,
};
use posthouse_replica::{Clock, Config, Fault, Group, Groups, Lone, SystemClock, Unobserved};
use posthouse_store::{OnDamage, ProjectionKind, RealDisk, Store};
use tokio::sync::watch;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The queue that tests use.
pub(crate) const QUEUE: Incarnation = Incarnation(7);

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct StandingClock {
    start: Time,
    passed: watch::Sender<Duration>,
}

// === impl StandingClock ===

impl StandingClock {
    pub(crate) fn at(start: Time) -> StandingClock {
        StandingClock {
            start,
            passed: watch::Sender::new(Duration::ZERO),
        }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.passed.send_modify(|passed| *passed += time);
    }
}

impl Clock for StandingClock {
    fn wall(&self) -> Time {
        let millis = u64::try_from(self.passed.borrow().as_millis()).expect("tests are short");
        self.start + Span::from_millis(millis)
    }

    fn monotonic(&self) -> Duration {
        *self.passed.borrow()
    }

    fn reach(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut passed = self.passed.subscribe();
        async move {
            passed
                .wait_for(|passed| *passed >= at)
                .await
                .expect("the clock outlives the groups");
        }
        .boxed()
    }
}

pub(crate) fn open_store(dir: &Path) -> Store {
    let config = posthouse_store::Config {
        wal_file_bytes: 1 << 20,
        projection: ProjectionKind::Memory,
        on_damage: OnDamage::Tell,
        ..posthouse_store::Config::default()
    };
    Store::open(dir, Arc::new(RealDisk), config).expect("a temporary directory can be opened")
}

/// Opens groups without peers, and waits until they take commands.
pub(crate) async fn open_lone(store: &Store, config: Config) -> Groups {
    open_at(store, config, Arc::new(SystemClock::new())).await
}

pub(crate) async fn open_at(store: &Store, config: Config, clock: Arc<dyn Clock>) -> Groups {
    let groups = Groups::open(config, store.clone(), Arc::new(Lone), clock, Arc::new(Unobserved));
    let groups = groups.await.expect("what was written can be opened");
    within(groups.wait_ready())
        .await
        .expect("a replica without peers leads");
    groups
}

/// Waits for what must come.
pub(crate) async fn within<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes in time")
}

/// Waits until a condition holds that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let held = async {
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, held)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

/// Founds a cluster of two sets.
pub(crate) async fn found(groups: &Groups) {
    let found = DirectoryCommand::Found {
        cluster: [1; 16],
        sets: 2,
        root_check: [0; 32],
    };
    within(groups.directory.propose(found))
        .await
        .expect("taken")
        .expect("founded");
}

pub(crate) fn define() -> SetCommand {
    SetCommand::Define {
        incarnation: QUEUE,
        generation: Generation(1),
        tenant: TenantId(1),
        name: Name::parse("orders").expect("a name"),
        definition: Definition::Queue(QueueAttributes::default()),
    }
}

pub(crate) fn send(id: MessageId, body: &[u8], delay: Span) -> SetCommand {
    SetCommand::Send {
        queue: QUEUE,
        delay,
        messages: vec![Incoming {
            message: Message::plain(id, Bytes::copy_from_slice(body)),
            keep: true,
        }],
        token: None,
        decided_at: LogIndex(0),
    }
}

/// Sends one message, and returns its id.
pub(crate) async fn send_one(set: &Group<Set>, body: &[u8]) -> Result<MessageId, Fault> {
    let ids = set.next_message_ids(1);
    let id = ids[0];
    match set.propose(send(id, body, Span::ZERO)).await? {
        Ok(SetReply::Sent(sent)) => {
            assert_eq!(sent, [id]);
            Ok(id)
        }
        other => panic!("a send was answered by {other:?}"),
    }
}

pub(crate) async fn done(set: &Group<Set>, command: SetCommand) -> SetReply {
    let outcome: Result<SetReply, Refusal> = within(set.propose(command))
        .await
        .expect("the group takes commands");
    outcome.expect("the set does it")
}

pub(crate) fn active(set: &Group<Set>) -> u64 {
    set.view(|state| state.queue(QUEUE).map_or(0, |queue| queue.counts().active))
}
