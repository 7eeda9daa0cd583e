//! What a replica takes of a snapshot, and what it refuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{
    Definition, Generation, Incarnation, Incoming, LogIndex, Message, Name, QueueAttributes, ReplicaId,
    SetCommand, SetId, Span, TenantId,
};
use posthouse_store::{Export, GroupId, SegmentFile, Store};
use posthouse_wire::Kind;
use tempfile::TempDir;

use super::frame::{Answer, Ballot, FileRecord, Offer, Part, Request, Wanted, encode_request};
use super::{PIECE_BYTES_MAX, PeerFault};
use crate::raft::Vote;
use crate::raft::record::{LogIdRecord, Position, VoteRecord};
use crate::test_store::open_store;
use crate::{Config, GroupName, Groups, Lone, SystemClock, Unobserved};

const SET: GroupName = GroupName::Set(SetId(0));
const GROUP: GroupId = GroupId(1);
const QUEUE: Incarnation = Incarnation(7);
const BODIES: usize = 40;
const PATIENCE: Duration = Duration::from_secs(30);

/// A checkpoint of a set, made by a replica without peers.
struct Leader {
    export: Export,
    _dir: TempDir,
}

/// A replica that waits to be given something.
struct Follower {
    groups: Groups,
    store: Store,
    dir: TempDir,
}

/// Makes another offer of one.
type Change<'a> = &'a dyn Fn(&mut Offer);

// === impl Leader ===

impl Leader {
    async fn with_bodies() -> Leader {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open_store(dir.path());
        let groups = open(&store, Config::lone(1)).await;
        groups.wait_ready().await.expect("it leads");
        let set = &groups.sets()[0];
        let define = SetCommand::Define {
            incarnation: QUEUE,
            generation: Generation(1),
            tenant: TenantId(1),
            name: Name::parse("orders").expect("a name"),
            definition: Definition::Queue(QueueAttributes::default()),
        };
        set.propose(define).await.expect("taken").expect("defined");
        for id in set.next_message_ids(BODIES) {
            let message = Message::plain(id, Bytes::from(vec![7; 60_000]));
            let send = SetCommand::Send {
                queue: QUEUE,
                delay: Span::ZERO,
                messages: vec![Incoming { message, keep: true }],
                token: None,
                decided_at: LogIndex(0),
            };
            set.propose(send).await.expect("taken").expect("sent");
        }
        set.propose(SetCommand::Cut).await.expect("taken").expect("cut");
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        let made = async {
            loop {
                looks.tick().await;
                if let Some(export) = store.export(GROUP).expect("readable") {
                    return export;
                }
            }
        };
        let export = tokio::time::timeout(PATIENCE, made)
            .await
            .expect("the cut is made");
        groups.stop().await;
        store.close();
        Leader { export, _dir: dir }
    }

    fn position(&self) -> Position {
        Position::decode(&self.export.checkpoint().meta).expect("written by us")
    }

    fn snapshot(&self) -> Option<LogIdRecord> {
        self.position().log_id.as_ref().map(LogIdRecord::from)
    }

    fn file(&self) -> SegmentFile {
        self.export.files()[0]
    }

    fn offer(&self) -> Offer {
        let state = &self.export.checkpoint().state;
        Offer {
            vote: vote_of(5),
            position: (&self.position()).into(),
            state_bytes: state.len() as u64,
            state_digest: crc32c::crc32c(state),
            files: self.export.files().iter().map(FileRecord::from).collect(),
        }
    }

    fn state_piece(&self) -> Request {
        self.piece(Part::State, 0, self.export.checkpoint().state.clone())
    }

    fn piece(&self, part: Part, offset: u64, bytes: Bytes) -> Request {
        Request::Piece {
            snapshot: self.snapshot(),
            part,
            offset,
            bytes,
        }
    }

    fn install(&self, term: u64) -> Request {
        Request::Install {
            vote: vote_of(term),
            snapshot: self.snapshot(),
        }
    }

    /// Returns the pieces of the segment, after something was done to its bytes.
    fn file_pieces(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Request> {
        let read = self.export.read(self.file(), 0, usize::MAX);
        let mut bytes = read.expect("readable").to_vec();
        change(&mut bytes);
        let pieces = bytes.chunks(PIECE_BYTES_MAX).enumerate().map(|(number, piece)| {
            let offset = (number * PIECE_BYTES_MAX) as u64;
            self.piece(Part::File(0), offset, Bytes::copy_from_slice(piece))
        });
        pieces.collect()
    }
}

// === impl Follower ===

impl Follower {
    async fn empty() -> Follower {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open_store(dir.path());
        let config = Config {
            replica: ReplicaId(2),
            founders: None,
            ..Config::lone(1)
        };
        let groups = open(&store, config).await;
        Follower { groups, store, dir }
    }

    async fn ask(&self, request: &Request) -> Result<Answer, PeerFault> {
        self.ask_as(ReplicaId(2), request).await
    }

    async fn ask_as(&self, asked: ReplicaId, request: &Request) -> Result<Answer, PeerFault> {
        let frame = encode_request(asked, request);
        let answer = self.groups.answer(SET, frame).await?;
        Ok(posthouse_wire::decode(Kind::Peer, &answer)?)
    }

    async fn is_offered(&self, offer: Offer) -> Wanted {
        match self.ask(&Request::Offer(offer)).await {
            Ok(Answer::Wanted(wanted)) => wanted,
            other => panic!("an offer was answered by {other:?}"),
        }
    }

    async fn refuses(&self, what: &str, request: &Request) {
        let answer = self.ask(request).await;
        assert!(
            matches!(
                answer,
                Err(PeerFault::Impossible(_) | PeerFault::Malformed(_) | PeerFault::Store(_))
            ),
            "{what}: {answer:?}"
        );
        self.is_untouched();
    }

    async fn takes(&self, request: &Request) {
        let answer = self.ask(request).await;
        assert!(matches!(answer, Ok(Answer::Taken { .. })), "{answer:?}");
    }

    fn is_untouched(&self) {
        assert_eq!(self.store.checkpoint(GROUP), Ok(None));
        assert_eq!(self.groups.sets()[0].applied(), LogIndex(0));
        assert!(self.store.bodies(SetId(0)).segments().is_empty());
    }

    fn partial_files(&self) -> usize {
        let names = std::fs::read_dir(self.dir.path().join("groups")).expect("there");
        let names = names.map(|entry| entry.expect("readable").file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(".partial"))
            .count()
    }
}

async fn open(store: &Store, config: Config) -> Groups {
    let clock = Arc::new(SystemClock::new());
    let groups = Groups::open(config, store.clone(), Arc::new(Lone), clock, Arc::new(Unobserved));
    groups.await.expect("a new directory")
}

fn vote_of(term: u64) -> VoteRecord {
    (&Vote::new_committed(term, 1)).into()
}

#[tokio::test]
async fn a_snapshot_is_installed_when_all_of_it_is_there() {
    let (leader, follower) = (Leader::with_bodies().await, Follower::empty().await);
    follower.refuses("nothing was offered", &leader.install(5)).await;
    follower
        .refuses("nothing was offered", &leader.state_piece())
        .await;
    let wanted = follower.is_offered(leader.offer()).await;
    assert_eq!((wanted.state, wanted.files), (Some(0), vec![(0, 0)]));
    follower.takes(&leader.state_piece()).await;
    let answer = follower.ask(&leader.install(5)).await;
    assert!(
        matches!(&answer, Ok(Answer::Wanted(wanted)) if wanted.state.is_none() && wanted.files == [(0, 0)]),
        "{answer:?}"
    );
    follower.is_untouched();

    let pieces = leader.file_pieces(|_| {});
    assert!(pieces.len() > 2, "the segment is of several pieces");
    follower.takes(&pieces[0]).await;
    follower.takes(&pieces[2]).await;
    let wanted = follower.is_offered(leader.offer()).await;
    assert_eq!(
        (wanted.state, wanted.files),
        (None, vec![(0, PIECE_BYTES_MAX as u64)]),
        "what does not follow is passed over, the rest is kept"
    );
    for piece in &pieces[1..] {
        follower.takes(piece).await;
    }
    assert_eq!(follower.partial_files(), 0);
    let answer = follower.ask(&leader.install(5)).await;
    assert!(
        matches!(answer, Ok(Answer::Installed { vote }) if vote == vote_of(5)),
        "{answer:?}"
    );
    let checkpoint = follower.store.checkpoint(GROUP).expect("readable");
    assert_eq!(checkpoint.as_ref(), Some(leader.export.checkpoint()));
    assert_eq!(follower.groups.sets()[0].applied(), leader.export.checkpoint().at);
    let answer = follower.ask(&Request::Offer(leader.offer())).await;
    assert!(matches!(answer, Ok(Answer::Installed { .. })), "{answer:?}");
    follower.groups.stop().await;
}

#[tokio::test]
async fn an_offer_that_cannot_be_is_refused() {
    let (leader, follower) = (Leader::with_bodies().await, Follower::empty().await);
    let made_at = leader.file().made_at;
    let files = |files: &[SegmentFile]| files.iter().map(FileRecord::from).collect();
    let file = leader.file();
    let changes: [(&str, Change); 8] = [
        ("nobody voted for it", &|offer| {
            offer.vote = (&Vote::new(5, 1)).into()
        }),
        ("its term is to come", &|offer| offer.vote = vote_of(0)),
        ("it is of nothing", &|offer| {
            offer.position = (&Position::default()).into()
        }),
        ("its state is too large", &|offer| offer.state_bytes = u64::MAX),
        ("a segment is empty", &|offer| {
            offer.files = files(&[SegmentFile { bytes: 0, ..file }])
        }),
        ("a segment is named twice", &|offer| {
            offer.files = files(&[file, SegmentFile { digest: 1, ..file }])
        }),
        ("a segment is too young", &|offer| {
            offer.files = files(&[SegmentFile {
                made_at: LogIndex(made_at.0 + 1),
                ..file
            }]);
        }),
        ("there is no room", &|offer| {
            offer.files = files(&[SegmentFile {
                bytes: u64::MAX,
                ..file
            }])
        }),
    ];
    for (what, change) in changes {
        let mut offer = leader.offer();
        change(&mut offer);
        follower.refuses(what, &Request::Offer(offer)).await;
    }
    follower.groups.stop().await;
}

#[tokio::test]
async fn pieces_that_cannot_be_are_refused() {
    let (leader, follower) = (Leader::with_bodies().await, Follower::empty().await);
    follower.is_offered(leader.offer()).await;
    let byte = Bytes::from_static(&[1]);
    let long = Bytes::from(vec![1; PIECE_BYTES_MAX + 1]);
    let (file_end, state_end) = (leader.file().bytes, leader.offer().state_bytes);
    for (part, offset, bytes) in [
        (Part::State, state_end, byte.clone()),
        (Part::State, u64::MAX, byte.clone()),
        (Part::File(0), file_end, byte.clone()),
        (Part::File(0), u64::MAX, byte.clone()),
        (Part::File(1), 0, byte.clone()),
        (Part::File(0), 0, long),
    ] {
        let piece = leader.piece(part, offset, bytes);
        follower.refuses("it is out of range", &piece).await;
    }
    let other = Request::Piece {
        snapshot: None,
        part: Part::State,
        offset: 0,
        bytes: byte,
    };
    follower.refuses("it is of another snapshot", &other).await;

    let mut pieces = leader.file_pieces(|bytes| bytes[100_000] ^= 1);
    let last = pieces.pop().expect("there is one");
    for piece in &pieces {
        follower.takes(piece).await;
    }
    follower.refuses("a bit was flipped", &last).await;
    let wanted = follower.is_offered(leader.offer()).await;
    assert_eq!(wanted.files, [(0, 0)], "it is wanted anew");
    for piece in &leader.file_pieces(|_| {}) {
        follower.takes(piece).await;
    }
    let mut state = leader.export.checkpoint().state.to_vec();
    state[0] ^= 1;
    follower.takes(&leader.piece(Part::State, 0, state.into())).await;
    follower.refuses("the state is another", &leader.install(5)).await;
    follower.takes(&leader.state_piece()).await;
    follower.refuses("its term is to come", &leader.install(0)).await;
    let answer = follower.ask(&leader.install(5)).await;
    assert!(matches!(answer, Ok(Answer::Installed { .. })), "{answer:?}");
    follower.groups.stop().await;
}

#[tokio::test]
async fn who_leads_no_longer_is_told_so() {
    let (leader, follower) = (Leader::with_bodies().await, Follower::empty().await);
    follower.is_offered(leader.offer()).await;
    follower.takes(&leader.state_piece()).await;
    for piece in &leader.file_pieces(|_| {}) {
        follower.takes(piece).await;
    }
    let heartbeat = Request::Append {
        vote: vote_of(9),
        previous: None,
        entries: Vec::new(),
        committed: None,
    };
    let answer = follower.ask(&heartbeat).await;
    assert!(matches!(answer, Ok(Answer::Appended(_))), "{answer:?}");
    for request in [leader.install(5), Request::Offer(leader.offer())] {
        let answer = follower.ask(&request).await;
        assert!(
            matches!(answer, Ok(Answer::Installed { vote }) if vote == vote_of(9)),
            "{answer:?}"
        );
        follower.is_untouched();
    }
    let answer = follower.ask(&leader.install(9)).await;
    assert!(
        matches!(answer, Ok(Answer::Installed { vote }) if vote == vote_of(9)),
        "{answer:?}"
    );
    assert_eq!(follower.groups.sets()[0].applied(), leader.export.checkpoint().at);
    follower.groups.stop().await;
}

#[tokio::test]
async fn what_was_fetched_goes_when_it_is_not_needed() {
    let (leader, follower) = (Leader::with_bodies().await, Follower::empty().await);
    follower.is_offered(leader.offer()).await;
    follower.takes(&leader.file_pieces(|_| {})[0]).await;
    assert_eq!(follower.partial_files(), 1);
    let mut offer = leader.offer();
    offer.files.clear();
    follower.is_offered(offer).await;
    assert_eq!(follower.partial_files(), 0, "a later offer does not want it");

    follower.is_offered(leader.offer()).await;
    follower.takes(&leader.file_pieces(|_| {})[0]).await;
    assert_eq!(follower.partial_files(), 1);
    follower.groups.stop().await;
    assert_eq!(follower.partial_files(), 0, "the group has stopped");
}

#[tokio::test]
async fn what_another_replica_is_asked_is_not_answered() {
    let follower = Follower::empty().await;
    let ballot = Request::Vote(Ballot {
        vote: (&Vote::new(5, 1)).into(),
        last: None,
        transfer: false,
    });
    let answer = follower.ask_as(ReplicaId(3), &ballot).await;
    assert!(
        matches!(
            answer,
            Err(PeerFault::OtherReplica {
                asked: ReplicaId(3),
                here: ReplicaId(2)
            })
        ),
        "{answer:?}"
    );
    assert_eq!(follower.store.log(GROUP).state().vote, None, "it has not voted");
    follower.groups.stop().await;
}
