//! One replica alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthouse_model::{
    BodyKey, DirectoryCommand, MessageId, Name, Quotas, SetCommand, SetId, SetReply, Span, Time,
};
use posthouse_replica::{Config, Fault, Reason};
use posthouse_store::crash::CrashDisk;
use posthouse_store::{GroupId, ProjectionKind, RealDisk, Store, SyncPoint};

use crate::kit::{
    QUEUE, StandingClock, active, define, done, found, open_at, open_lone, open_store, send, send_one, until,
    within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let groups = open_lone(&store, Config::lone(2)).await;
    let set = &groups.sets()[1];
    done(set, define()).await;
    let id = within(send_one(set, b"hello")).await.expect("sent");
    let name = Name::parse("someone").expect("a name");
    let create = DirectoryCommand::CreateTenant {
        name: name.clone(),
        quotas: Quotas::default(),
    };
    found(&groups).await;
    within(groups.directory.propose(create))
        .await
        .expect("taken")
        .expect("created");
    let before = (set.view(Clone::clone), set.applied());
    within(groups.stop()).await;
    store.close();
    drop((groups, store));

    let store = open_store(dir.path());
    let groups = open_lone(&store, Config::lone(2)).await;
    let set = &groups.sets()[1];
    assert!(set.applied() > before.1);
    assert!(set.now() >= before.0.now());
    assert_eq!(active(set), 1);
    assert!(
        groups
            .directory
            .view(|directory| directory.tenant_named(&name).is_some())
    );
    let received = done(
        set,
        SetCommand::Receive {
            queue: QUEUE,
            max: 10,
            visibility: None,
        },
    )
    .await;
    let SetReply::Leased(leased) = received else {
        panic!("another answer: {received:?}")
    };
    let body = store
        .bodies(SetId(1))
        .read(leased[0].body)
        .expect("readable")
        .expect("there");
    assert_eq!(body.message.id, id);
    assert!(set.next_message_ids(1)[0] > id);
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_are_all_answered_each_in_its_order_and_share_entries() {
    const CALLERS: usize = 64;
    const SENDS: usize = 10_000 / CALLERS;
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let groups = open_lone(&store, Config::lone(1)).await;
    let set = &groups.sets()[0];
    done(set, define()).await;
    let before = set.applied();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let set = set.clone();
        callers.push(tokio::spawn(async move {
            for count in 0..SENDS {
                let body = format!("{caller} {count}");
                send_one(&set, body.as_bytes()).await.expect("sent");
            }
        }));
    }
    for caller in callers {
        within(caller).await.expect("the caller got all its answers");
    }
    let sent = (CALLERS * SENDS) as u64;
    assert_eq!(active(set), sent);
    let entries = set.applied().0 - before.0;
    assert!(entries < sent / 4, "{entries} entries for {sent} commands");

    let mut next = [0; CALLERS];
    for sequence in 1..=sent {
        let key = BodyKey {
            stream: QUEUE,
            sequence: posthouse_model::Sequence(sequence),
        };
        let stored = store
            .bodies(SetId(0))
            .read(key)
            .expect("readable")
            .expect("there");
        let posthouse_model::Body::Clear(body) = stored.message.body else {
            panic!("not sealed")
        };
        let text = String::from_utf8(body.to_vec()).expect("written above");
        let (caller, count) = text.split_once(' ').expect("two numbers");
        let caller: usize = caller.parse().expect("a number");
        assert_eq!(
            count.parse(),
            Ok(next[caller]),
            "the calls of one caller are done in its order"
        );
        next[caller] += 1;
    }
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_cut_after_so_many_bytes_and_opens_from_its_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        cut_bytes: 200_000,
        ..Config::lone(1)
    };
    let store = open_store(dir.path());
    let groups = open_lone(&store, config.clone()).await;
    let set = &groups.sets()[0];
    done(set, define()).await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(within(send_one(set, &[7; 1_000])).await.expect("sent"));
    }
    let log = store.log(GroupId::of(SetId(0)));
    until("the log is purged up to a cut", || log.state().purged.is_some()).await;
    let checkpoint = store
        .checkpoint(GroupId::of(SetId(0)))
        .expect("readable")
        .expect("there");
    assert!(!store.bodies(SetId(0)).segments().is_empty());
    let last = within(send_one(set, b"after the cut")).await.expect("sent");
    ids.push(last);
    let state = set.view(Clone::clone);
    within(groups.stop()).await;
    store.close();
    drop((groups, store));

    let store = open_store(dir.path());
    let first = store
        .log(GroupId::of(SetId(0)))
        .state()
        .purged
        .expect("purged before")
        .index;
    assert!(first >= checkpoint.at);
    let groups = open_lone(&store, config).await;
    let set = &groups.sets()[0];
    assert_eq!(active(set), 301);
    assert_eq!(set.view(|set| set.last_message_id()), last);
    assert!(set.view(|set| set.queue(QUEUE) == state.queue(QUEUE)));
    for (place, id) in ids.iter().enumerate() {
        let key = BodyKey {
            stream: QUEUE,
            sequence: posthouse_model::Sequence(place as u64 + 1),
        };
        let stored = store
            .bodies(SetId(0))
            .read(key)
            .expect("readable")
            .expect("there");
        assert_eq!(stored.message.id, *id);
    }
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_writes_checkpoints_and_opens_from_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        checkpoint_bytes: 2_000,
        ..Config::lone(0)
    };
    let store = open_store(dir.path());
    let groups = open_lone(&store, config.clone()).await;
    found(&groups).await;
    for number in 0..100 {
        let name = Name::parse(&format!("tenant-{number}")).expect("a name");
        let create = DirectoryCommand::CreateTenant {
            name,
            quotas: Quotas::default(),
        };
        within(groups.directory.propose(create))
            .await
            .expect("taken")
            .expect("created");
    }
    let log = store.log(GroupId::DIRECTORY);
    until("the log is purged up to a checkpoint", || {
        log.state().purged.is_some()
    })
    .await;
    let state = groups.directory.view(Clone::clone);
    within(groups.stop()).await;
    store.close();
    drop((groups, store));

    let store = open_store(dir.path());
    let groups = open_lone(&store, config).await;
    groups
        .directory
        .view(|directory| assert!(directory.tenants().eq(state.tenants())));
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_in_which_nothing_happens_do_not_keep_the_log_of_others() {
    const FILE_BYTES: u64 = 1 << 16;
    const BODY: [u8; 16_000] = [7; 16_000];
    let dir = tempfile::tempdir().expect("a directory");
    let config = posthouse_store::Config {
        wal_file_bytes: FILE_BYTES,
        wal_bytes_max: 4 * FILE_BYTES,
        projection: ProjectionKind::Memory,
        ..posthouse_store::Config::default()
    };
    let store = Store::open(dir.path(), Arc::new(RealDisk), config).expect("opens");
    let config = Config {
        cut_bytes: 2 * FILE_BYTES,
        ..Config::lone(2)
    };
    let groups = open_lone(&store, config).await;
    found(&groups).await;
    let (busy, idle) = (&groups.sets()[0], GroupId::of(SetId(1)));
    done(busy, define()).await;
    let is_purged = |group| store.log(group).state().purged.is_some();
    let mut sent = 0;
    while !is_purged(GroupId::DIRECTORY) || !is_purged(idle) {
        within(send_one(busy, &BODY)).await.expect("sent");
        sent += BODY.len() as u64;
        assert!(
            sent < 128 * FILE_BYTES,
            "a log of {sent} bytes waits for groups of a few"
        );
    }
    within(groups.stop()).await;
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_group_says_not_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let groups = open_lone(&store, Config::lone(1)).await;
    let set = groups.sets()[0].clone();
    done(&set, define()).await;
    let mut senders = Vec::new();
    for _ in 0..64 {
        let set = set.clone();
        senders.push(tokio::spawn(async move {
            let mut sent = 0_u64;
            loop {
                match send_one(&set, b"x").await {
                    Ok(_) => sent += 1,
                    Err(fault) => return (sent, fault),
                }
            }
        }));
    }
    until("some were sent", || active(&set) > 100).await;
    within(groups.stop()).await;
    let mut sent = 0;
    for sender in senders {
        let (count, fault) = within(sender).await.expect("the sender ends");
        assert_eq!(
            fault,
            Fault::NotDone(Reason::Stopping),
            "what was in flight was answered first"
        );
        sent += count;
    }
    assert_eq!(active(&set), sent, "what was said not to be done was not done");
    assert_eq!(
        within(set.propose(define())).await,
        Err(Fault::NotDone(Reason::Stopping))
    );
    assert_eq!(within(set.confirm()).await, Err(Fault::NotDone(Reason::Stopping)));
    assert!(!set.is_leader());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_falls_due_is_done_at_set_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let clock = StandingClock::at(Time::from_seconds(1_800_000_000));
    let groups = open_at(&store, Config::lone(1), Arc::new(clock.clone())).await;
    let set = &groups.sets()[0];
    done(set, define()).await;
    let id = set.next_message_ids(1)[0];
    done(set, send(id, b"later", Span::from_seconds(60))).await;
    clock.pass(Duration::from_secs(59));
    // Nothing announces that nothing happens: an entry that follows shows it.
    done(set, define()).await;
    assert_eq!(active(set), 0);
    clock.pass(Duration::from_secs(2));
    until("the message became visible by itself", || active(set) == 1).await;
    assert!(set.now() >= Time::from_seconds(1_800_000_060));
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_time_makes_up_for_downtime_and_never_runs_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = 1_800_000_000;
    let mut last = Time::default();
    for (began, expected) in [
        (start, start),
        (start + 3_600, start + 3_600),
        (start - 86_400, start + 3_600),
    ] {
        let store = open_store(dir.path());
        let clock = StandingClock::at(Time::from_seconds(began));
        let groups = open_at(&store, Config::lone(1), Arc::new(clock)).await;
        assert_eq!(groups.sets()[0].now().seconds(), expected);
        assert!(groups.sets()[0].now() >= last);
        last = groups.sets()[0].now();
        within(groups.stop()).await;
        store.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_leadership_has_a_term_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut last = None;
    for _ in 0..3 {
        let store = open_store(dir.path());
        let groups = open_lone(&store, Config::lone(1)).await;
        let term = groups.sets()[0].term();
        assert!(term > last, "{term:?} follows {last:?}");
        assert_eq!(
            groups.sets()[0].view(|set| Some(set.led())),
            term,
            "the set knows who leads"
        );
        within(groups.sets()[0].confirm()).await.expect("it leads");
        last = term;
        within(groups.stop()).await;
        store.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_ids_rise_over_all_callers() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let groups = open_lone(&store, Config::lone(1)).await;
    let set = &groups.sets()[0];
    let mut last = MessageId::default();
    for _ in 0..100 {
        for id in set.next_message_ids(1_000) {
            assert!(id > last);
            assert_eq!(id.set(), SetId(0));
            last = id;
        }
    }
    within(groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_left_after_a_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_store(dir.path());
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let groups = open_lone(&store, Config::lone(3)).await;
    done(&groups.sets()[0], define()).await;
    assert!(tasks.num_alive_tasks() > before);
    within(groups.stop()).await;
    drop(groups);
    until("the last task ends", || tasks.num_alive_tasks() == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_says_what_may_have_been_done_and_takes_nothing_more() {
    let disk = CrashDisk::new(1);
    let config = posthouse_store::Config {
        projection: ProjectionKind::Memory,
        ..posthouse_store::Config::default()
    };
    let store = Store::open(Path::new("/data"), Arc::new(disk.clone()), config).expect("an empty disk opens");
    let groups = open_lone(&store, Config::lone(1)).await;
    let set = &groups.sets()[0];
    done(set, define()).await;
    disk.fail_next(SyncPoint::WalBatch);
    let fault = within(send_one(set, b"lost or not"))
        .await
        .expect_err("its sync failed");
    assert_eq!(fault, Fault::MayBeDone(Reason::StoreFailed));
    until("the group has stopped", || set.term().is_none()).await;
    let refused = within(set.propose(define())).await;
    assert_eq!(refused, Err(Fault::NotDone(Reason::StoreFailed)));
    within(groups.stop()).await;
}
