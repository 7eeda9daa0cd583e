//! Whatever becomes of the directory and of the projection, what is listed is what the directory's own walk finds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use posthouse_model::{
    Batch, Definition, Directory, DirectoryChange, DirectoryCommand, Incarnation, Kind, LogIndex, Name,
    PluginRecord, QueueAttributes, Quotas, Submission, TenantId, TenantRecord, Time, TopicAttributes, World,
};
use posthouse_store::{Config, Op, Projection, ProjectionKind, RealDisk, Store};
use proptest::prelude::*;
use tempfile::TempDir;

use super::feeder::{Feeder, News, Source};
use super::rows::{Listed, Row, plugins_below};
use super::walk::{Stored, Walk};
use super::{BrokerError, Listings};

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Step {
    /// An entry is applied.
    Entry(Vec<DirectoryCommand>),
    /// The feeder gets its turn.
    Feed,
    /// More changed than the feeder is told of.
    TooMuch,
    /// The projection turned out to be damaged.
    Damage,
    /// The node is started again; this is what was made of the projection meanwhile.
    Restart(Vec<Op>),
}

/// A directory that can be looked at while it changes.
type Shared = Arc<RwLock<Directory>>;

/// What of a node has to do with listings.
struct Node {
    directory: Shared,
    projection: Projection,
    news: Arc<News>,
    feeder: Feeder<Shared>,
    _store: Store,
    _folder: TempDir,
}

impl Source for Shared {
    fn view<R>(&self, read: impl FnOnce(&Directory) -> R) -> R {
        read(&self.read())
    }
}

// === impl Node ===

impl Node {
    fn start() -> Node {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config {
            wal_file_bytes: 1 << 16,
            projection: ProjectionKind::Memory,
            ..Config::default()
        };
        let store =
            Store::open(folder.path(), Arc::new(RealDisk), config).expect("the folder can be written");
        let projection = store.projection();
        let directory = Shared::default();
        let news = Arc::new(News::default());
        let mut node = Node {
            feeder: Feeder::new(Arc::clone(&directory), projection.clone(), Arc::clone(&news)),
            directory,
            projection,
            news,
            _store: store,
            _folder: folder,
        };
        let found = DirectoryCommand::Found {
            cluster: [1; 16],
            sets: 3,
            root_check: [2; 32],
        };
        let tenants = ["root", "Acme"].map(|text| DirectoryCommand::CreateTenant {
            name: name(text),
            quotas: Quotas::default(),
        });
        node.apply(std::iter::once(found).chain(tenants).collect());
        node
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Entry(commands) => self.apply(commands),
            Step::Feed => self.feed(),
            Step::TooMuch => self.news.compare(),
            Step::Damage => self.news.make_anew(),
            Step::Restart(ops) => {
                let applied = self.projection.applied().expect("memory can be read");
                self.projection
                    .apply(applied, ops)
                    .expect("memory can be written");
                self.news = Arc::default();
                self.feeder = Feeder::new(
                    Arc::clone(&self.directory),
                    self.projection.clone(),
                    Arc::clone(&self.news),
                );
            }
        }
    }

    fn apply(&mut self, commands: Vec<DirectoryCommand>) {
        let (index, changes) = apply(&self.directory, commands);
        self.news.follow(index, &changes);
    }

    fn feed(&mut self) {
        if let Some(work) = self.news.take() {
            self.feeder.feed(work).expect("memory can be written");
        }
    }

    fn walk<R: Row>(&self, below: Vec<u8>, search: Option<&str>) -> Vec<R> {
        let mut walk = Walk::new(self.projection.clone(), below, search.map(str::to_owned));
        let rows = walk.by_ref().collect();
        walk.end().expect("every row can be read");
        rows
    }

    /// Compares what is listed with what the directory's own walk finds.
    fn check(&self) {
        let directory = self.directory.read();
        let mut rows = 0;
        let mut tenants: Vec<TenantRecord> = directory.tenants().cloned().collect();
        for tenant in &tenants {
            for kind in [Kind::Queue, Kind::Topic] {
                let expected: Vec<Listed> = directory.names(tenant.tenant, kind).map(Listed::from).collect();
                rows += expected.len();
                let below = || Listed::below(tenant.tenant, kind);
                assert_eq!(self.walk::<Listed>(below(), None), expected);
                let with_b = expected.into_iter().filter(|row| row.name.folded().contains('b'));
                assert_eq!(
                    self.walk::<Listed>(below(), Some("B")),
                    with_b.collect::<Vec<_>>()
                );
            }
        }
        for owner in tenants.iter().map(|tenant| Some(tenant.tenant)).chain([None]) {
            let expected: Vec<PluginRecord> = directory.plugins(owner).cloned().collect();
            rows += expected.len();
            assert_eq!(self.walk::<PluginRecord>(plugins_below(owner), None), expected);
        }
        tenants.sort_by_key(|tenant| tenant.name.folded());
        rows += tenants.len();
        assert_eq!(
            self.walk::<TenantRecord>(vec![TenantRecord::TABLE], None),
            tenants
        );
        let all = Stored::new(self.projection.clone(), Vec::new(), None);
        assert_eq!(all.count(), rows, "nothing else is there");
        assert_eq!(self.projection.applied(), Ok(directory.applied()));
        assert_eq!(self.news.shown().borrow().index, Some(directory.applied()));
    }
}

/// Applies an entry, and returns where it stands and what it changed.
fn apply(directory: &Shared, commands: Vec<DirectoryCommand>) -> (LogIndex, Vec<DirectoryChange>) {
    let submissions = commands
        .into_iter()
        .map(|command| Submission { call: None, command })
        .collect();
    let batch = Batch {
        now: Time::default(),
        submissions,
    };
    let mut directory = directory.write();
    let index = directory.applied().next();
    (index, directory.apply(index, &batch).changes)
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use names")
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "A", "ab", "b", "Bee", "b-1", "b_1"]).prop_map(name)
}

fn any_tenant() -> impl Strategy<Value = TenantId> {
    (1_u32..4).prop_map(TenantId)
}

fn any_incarnation() -> impl Strategy<Value = Incarnation> {
    (1_u64..12).prop_map(Incarnation)
}

fn any_command() -> impl Strategy<Value = DirectoryCommand> {
    use DirectoryCommand as C;
    prop_oneof![
        6 => (any_tenant(), any_name(), any::<bool>()).prop_map(|(tenant, name, is_queue)| {
            let definition = match is_queue {
                true => Definition::Queue(QueueAttributes::default()),
                false => Definition::Topic(TopicAttributes::default()),
            };
            C::Create { tenant, name, definition }
        }),
        3 => any_incarnation().prop_map(|incarnation| C::Confirm { incarnation }),
        3 => any_incarnation().prop_map(|incarnation| C::Remove { incarnation }),
        1 => any_incarnation().prop_map(|incarnation| C::Restore { incarnation }),
        3 => any_incarnation().prop_map(|incarnation| C::Forget { incarnation }),
        1 => (any_tenant(), any_name()).prop_map(|(tenant, name)| C::PutMasterKey {
            tenant,
            name,
            wrapped: Bytes::from_static(b"wrapped"),
        }),
        2 => (any_incarnation(), prop::option::of(any_name()))
            .prop_map(|(incarnation, key)| C::Seal { incarnation, key }),
        3 => (prop::option::of(any_tenant()), any_name(), any::<u8>()).prop_map(|(tenant, name, digest)| {
            C::PushPlugin { tenant, name, world: World::Route, digest: [digest; 32], bytes: 1 }
        }),
        1 => any_name().prop_map(|name| C::CreateTenant { name, quotas: Quotas::default() }),
        1 => any_tenant().prop_map(|tenant| C::SetQuotas {
            tenant,
            quotas: Quotas { queues: 5, ..Quotas::default() },
        }),
        1 => any_tenant().prop_map(|tenant| C::RemoveTenant { tenant }),
    ]
}

/// What a disk could make of rows: some are gone, some are others, some nobody wrote.
fn any_tampering() -> impl Strategy<Value = Op> {
    let key = prop_oneof![
        (any_tenant(), any::<bool>(), any_name()).prop_map(|(tenant, is_queue, name)| {
            let kind = if is_queue { Kind::Queue } else { Kind::Topic };
            let mut key = Listed::below(tenant, kind);
            key.extend_from_slice(name.folded().as_bytes());
            key
        }),
        any_name().prop_map(|name| {
            let mut key = vec![TenantRecord::TABLE];
            key.extend_from_slice(name.folded().as_bytes());
            key
        }),
        prop::collection::vec(0_u8..5, 0..5),
    ];
    (key, prop::option::of(Just(Bytes::from_static(b"tampered")))).prop_map(|(key, value)| match value {
        Some(value) => Op::Put(Bytes::from(key), value),
        None => Op::Delete(Bytes::from(key)),
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(any_command(), 0..4).prop_map(Step::Entry),
        6 => Just(Step::Feed),
        1 => Just(Step::TooMuch),
        1 => Just(Step::Damage),
        2 => prop::collection::vec(any_tampering(), 0..4).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_listed_is_what_the_directory_walks(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut node = Node::start();
        for step in steps {
            let is_fed = matches!(step, Step::Feed);
            node.take(step);
            if is_fed {
                node.check();
            }
        }
        node.feed();
        node.check();
    }
}

#[test]
fn more_changes_than_are_remembered_are_listed_and_more_rows_than_a_page_holds() {
    let mut node = Node::start();
    node.feed();
    let quotas = Quotas {
        queues: 30_000,
        ..Quotas::default()
    };
    let tenant = TenantId(1);
    node.apply(vec![DirectoryCommand::SetQuotas { tenant, quotas }]);
    let mut made = 0;
    for _ in 0..12 {
        let names = (made..made + 1_000).map(|number| name(&format!("q{number}")));
        made += 1_000;
        let create = |name| DirectoryCommand::Create {
            tenant,
            name,
            definition: Definition::Queue(QueueAttributes::default()),
        };
        node.apply(names.map(create).collect());
    }
    node.feed();
    node.check();
    // A few changes after that are followed one by one again.
    let incarnation = Incarnation(7_777);
    node.apply(vec![DirectoryCommand::Confirm { incarnation }]);
    node.feed();
    node.check();
    node.take(Step::Damage);
    node.feed();
    node.check();
}

#[test]
fn a_listing_is_not_shown_before_it_was_compared_and_not_while_it_is_made_anew() {
    let mut node = Node::start();
    let shown = node.news.shown();
    assert_eq!(shown.borrow().index, None);
    node.feed();
    let before = *shown.borrow();
    assert_eq!(before.index, Some(LogIndex(1)));
    node.take(Step::Damage);
    node.feed();
    // Who reads meanwhile sees that rows were taken away under the reading.
    assert_ne!(shown.borrow().times_anew, before.times_anew);
    assert_eq!(shown.borrow().index, before.index);
}

/// Listings of a node, fed by a thread of its own.
fn fed(node: &Node) -> Listings {
    let listings = Listings::new(node.projection.clone());
    listings
        .feed(Arc::clone(&node.directory))
        .expect("there are threads");
    listings
}

/// Returns the tenants that are listed.
async fn tenants_of(listings: &Listings, index: LogIndex) -> Result<Vec<String>, BrokerError> {
    let below = vec![TenantRecord::TABLE];
    let read = |rows: &mut dyn Iterator<Item = TenantRecord>| rows.map(|row| row.name.folded()).collect();
    listings.read(index, below, None, read).await
}

/// Waits until the projection was made anew and shows everything.
async fn made_anew(listings: &Listings) {
    let mut shown = listings.news.shown();
    let anew = shown.wait_for(|shown| shown.times_anew > 0 && shown.index.is_some());
    anew.await.expect("the thread lives");
}

#[tokio::test]
async fn a_listing_that_meets_damage_fails_and_those_after_it_are_whole() {
    let node = Node::start();
    let listings = fed(&node);
    let index = LogIndex(1);
    let whole = ["acme".to_owned(), "root".to_owned()];
    assert_eq!(tenants_of(&listings, index).await.expect("all is well"), whole);
    let damaged = vec![Op::Put(
        Bytes::from_static(b"\x03root"),
        Bytes::from_static(b"damaged"),
    )];
    node.projection
        .apply(index, damaged)
        .expect("memory can be written");
    let failed = tenants_of(&listings, index).await;
    assert!(matches!(failed, Err(BrokerError::Unreadable(_))), "{failed:?}");
    made_anew(&listings).await;
    assert_eq!(
        tenants_of(&listings, index).await.expect("all is well again"),
        whole
    );
    listings.stop().await;
}

#[tokio::test]
async fn whatever_part_of_the_files_is_damaged_listings_are_whole_again() {
    const PARTS: usize = 8;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = || Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    let directory = Shared::default();
    let found = DirectoryCommand::Found {
        cluster: [1; 16],
        sets: 1,
        root_check: [2; 32],
    };
    let tenants = (0..2_000).map(|number| DirectoryCommand::CreateTenant {
        name: name(&format!("tenant-{number:04}")),
        quotas: Quotas::default(),
    });
    let (index, _) = apply(&directory, std::iter::once(found).chain(tenants).collect());
    for part in 0..=PARTS {
        let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens, anew if need be");
        let listings = Listings::new(store.projection());
        listings.feed(Arc::clone(&directory)).expect("there are threads");
        let mut listed = tenants_of(&listings, index).await;
        if listed.is_err() {
            // Damage showed to the listing, and not to the thread before.
            made_anew(&listings).await;
            listed = tenants_of(&listings, index).await;
        }
        let listed = listed.expect("all is well again");
        assert!(
            listed
                .iter()
                .eq(directory.read().tenants().map(|tenant| tenant.name.as_str()))
        );
        listings.stop().await;
        store.close();
        drop((listings, store));
        if part == PARTS {
            return;
        }
        let file = folder.path().join("projection").join("db");
        let mut bytes = std::fs::read(&file).expect("it is there");
        let at = |part| bytes.len() * part / PARTS;
        let (from, to) = (at(part), at(part + 1));
        bytes[from..to].fill(0xa5);
        std::fs::write(&file, bytes).expect("writable");
    }
}

#[tokio::test]
async fn a_listing_waits_for_what_was_applied_before_it_within_a_bound() {
    let node = Node::start();
    let mut listings = fed(&node);
    let waiting = tenants_of(&listings, LogIndex(2));
    let applying = async {
        let command = DirectoryCommand::CreateTenant {
            name: name("late"),
            quotas: Quotas::default(),
        };
        let (index, changes) = apply(&node.directory, vec![command]);
        listings.follow(index, &changes);
    };
    let (listed, ()) = tokio::join!(waiting, applying);
    assert_eq!(listed.expect("it came"), ["acme", "late", "root"]);
    listings.wait_max = Duration::ZERO;
    let never = tenants_of(&listings, LogIndex(3)).await;
    assert!(matches!(never, Err(BrokerError::ListingsBehind)), "{never:?}");
    listings.stop().await;
}

#[tokio::test]
async fn what_was_followed_before_the_end_is_written() {
    let mut node = Node::start();
    node.news = Arc::default();
    let listings = fed(&node);
    for number in 2..200 {
        let command = DirectoryCommand::PutMasterKey {
            tenant: TenantId(1),
            name: name(&format!("k{number}")),
            wrapped: Bytes::from_static(b"wrapped"),
        };
        let (index, changes) = apply(&node.directory, vec![command]);
        listings.follow(index, &changes);
    }
    listings.stop().await;
    assert_eq!(node.projection.applied(), Ok(LogIndex(199)));
}
