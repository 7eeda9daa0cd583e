//! Sets against the reference, against their replays, and against themselves through a snapshot.

mod action;
mod bench;
mod delivery;
mod kv;
mod limits;
mod odd;
mod parking;
mod readmission;
mod reference;
mod rules;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::*;
use action::{QUEUES, Script, TOPICS, any_script};
use reference::{Reference, State};

/// A set, what it should be, and how it came to be.
struct Pair {
    set: Set,
    reference: Reference,
    entries: Vec<Batch<SetCommand>>,
    next_id: u64,
    stored: Vec<BodyKey>,
    /// The highest number of each outbox.
    numbers: BTreeMap<(Incarnation, Incarnation), u64>,
}

proptest! {
    #[test]
    fn a_set_is_what_the_reference_says(script in any_script()) {
        run(&script);
    }

    #[test]
    fn a_run_equals_its_replay(script in any_script()) {
        let pair = run(&script);
        let mut replayed = Set::new(SetId(7));
        for (index, entry) in (1..).zip(&pair.entries) {
            replayed.apply(LogIndex(index), entry);
        }
        prop_assert_eq!(replayed, pair.set);
    }

    #[test]
    fn a_set_goes_on_the_same_from_a_snapshot(script in any_script(), at in 0..120_usize) {
        let pair = run(&script);
        let mut whole = Set::new(SetId(7));
        let mut restored = Set::new(SetId(7));
        for (index, entry) in (1..).zip(&pair.entries) {
            let applied = whole.apply(LogIndex(index), entry);
            prop_assert_eq!(applied, restored.apply(LogIndex(index), entry));
            if index as usize == at % pair.entries.len() {
                restored = through_snapshot(&restored);
            }
            prop_assert_eq!(&whole, &restored);
        }
    }

    #[test]
    fn an_excerpt_tells_what_the_set_does_of_one_and_nothing_of_others(script in any_script()) {
        let set = run(&script).set;
        let mut told = Set::new(set.id());
        for place in QUEUES.into_iter().chain(TOPICS) {
            let excerpt = through_snapshot(&set.excerpt(place));
            prop_assert_eq!(excerpt.queue(place), set.queue(place));
            prop_assert_eq!(excerpt.topic(place), set.topic(place));
            prop_assert_eq!(excerpt.now(), set.now());
            prop_assert!(excerpt.queues().chain(excerpt.topics()).all(|other| other == place));
            told.take_in(&excerpt, place);
        }
        for place in QUEUES.into_iter().chain(TOPICS) {
            prop_assert_eq!(told.queue(place), set.queue(place));
            prop_assert_eq!(told.topic(place), set.topic(place));
        }
        told.take_in(&Set::new(set.id()), QUEUES[0]);
        prop_assert_eq!(told.queue(QUEUES[0]), None, "it is gone there");
    }

    #[test]
    fn a_clone_is_not_changed_by_what_follows(script in any_script()) {
        let pair = run(&script);
        let before = through_snapshot(&pair.set);
        let clone = pair.set.clone();
        let mut after = pair;
        after.step(1, vec![]);
        for queue in QUEUES {
            let max = 4;
            after.step(500, vec![(None, SetCommand::Receive { queue, max, visibility: None })]);
        }
        prop_assert_eq!(clone, before);
    }
}

fn run(script: &Script) -> Pair {
    let mut pair = Pair::new();
    for (wait, asked, arrivals) in script {
        let asked = asked
            .iter()
            .map(|(call, action)| (*call, action.command(&pair.reference, &mut pair.next_id)));
        let asked = asked.collect();
        pair.step(*wait, asked);
        pair.ship(usize::from(*arrivals));
    }
    pair
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            set: Set::new(SetId(7)),
            reference: Reference::default(),
            entries: Vec::new(),
            next_id: 0,
            stored: Vec::new(),
            numbers: BTreeMap::new(),
        };
        let define = |(shape, incarnation): (usize, Incarnation)| {
            let definition = if QUEUES.contains(&incarnation) {
                Definition::Queue(action::queue_attributes([2, 1, 0][shape % 3]))
            } else {
                Definition::Topic(TopicAttributes::default())
            };
            let (generation, tenant) = (Generation(1), TenantId(1));
            let name = action::name(shape as u8);
            (
                None,
                SetCommand::Define {
                    incarnation,
                    generation,
                    tenant,
                    name,
                    definition,
                },
            )
        };
        let streams = QUEUES.into_iter().chain(TOPICS).enumerate();
        pair.step(1_700_000_000_250, streams.map(define).collect());
        pair
    }

    /// Applies one entry to both and compares all that can be seen.
    fn step(&mut self, wait: u64, asked: Vec<(Option<u8>, SetCommand)>) {
        let submissions = asked.into_iter().map(|(call, command)| {
            let call = call.map(|number| SessionCall {
                origin: ReplicaId(u64::from(number) % 2),
                session: 1,
                number: u64::from(number) / 2,
            });
            Submission { call, command }
        });
        let batch = Batch {
            now: self.reference.now + Span::from_millis(wait),
            submissions: submissions.collect(),
        };
        let ready_before = self.ready();
        let expected = self.reference.apply(&batch);
        let applied = self.set.apply(LogIndex(self.entries.len() as u64 + 1), &batch);
        self.entries.push(batch);
        assert_eq!(applied.outcomes, expected);
        let stored = applied.stored.iter().map(|s| (s.body, s.submission, s.ordinal));
        assert_eq!(stored.collect::<Vec<_>>(), self.reference.stored);
        self.stored
            .extend(applied.stored.iter().map(|stored| stored.body));
        for place in self.ready() {
            let is_new = !ready_before.contains(&place);
            assert!(
                !is_new || applied.awake.contains(&place.0),
                "{place:?} was not woken"
            );
        }
        self.compare();
    }

    /// Says that the first parcels on their way have arrived.
    fn ship(&mut self, arrivals: usize) {
        for outgoing in self.set.outgoing(arrivals) {
            let Outgoing {
                source,
                target,
                number,
                body,
                ..
            } = outgoing;
            let numbers = vec![number];
            self.reference.ship(source, target, body.sequence.0);
            self.step(
                0,
                vec![(
                    None,
                    SetCommand::Shipped {
                        source,
                        target,
                        numbers,
                    },
                )],
            );
        }
    }

    fn ready(&self) -> Vec<(Awake, u64)> {
        let mut ready = Vec::new();
        for (queue, known) in &self.reference.queues {
            for (index, message) in known.messages.iter().enumerate() {
                if message.state == State::Ready {
                    ready.push((Awake::Queue(*queue), index as u64 + 1));
                }
            }
        }
        for (topic, known) in &self.reference.topics {
            for subscription in &known.subscriptions {
                let place = Awake::Subscription(*topic, subscription.id);
                let messages = subscription.backlog.iter();
                let is_ready = messages.filter(|(_, message)| message.state == State::Ready);
                ready.extend(is_ready.map(|(sequence, _)| (place, *sequence)));
            }
        }
        ready
    }

    fn compare(&mut self) {
        assert_eq!(self.set.now(), self.reference.now);
        assert_eq!(self.set.last_message_id(), self.reference.last_message);
        assert!(self.set.queues().eq(self.reference.queues.keys().copied()));
        assert!(self.set.topics().eq(self.reference.topics.keys().copied()));
        self.compare_queues();
        self.compare_topics();
        self.compare_outboxes();
        self.compare_kept();
        self.compare_kv();
        if let Some(change) = self.reference.next_change() {
            let deadline = self.set.deadline();
            assert!(
                deadline.is_some_and(|deadline| deadline <= change),
                "{deadline:?} {change:?}"
            );
        }
    }

    fn compare_queues(&self) {
        for (incarnation, expected) in &self.reference.queues {
            let queue = self.set.queue(*incarnation).expect("both have the same queues");
            let counts = QueueCounts {
                active: expected.count(|state| *state == State::Ready),
                leased: expected.count(|state| matches!(state, State::Leased(..))),
                delayed: expected.count(|state| matches!(state, State::Waiting(_))),
                rewindable: expected.count(|state| *state == State::Rewindable),
                oldest: expected.oldest(),
            };
            assert_eq!(queue.counts(), counts);
            assert_eq!(queue.has_visible(), counts.active > 0);
            assert_eq!(queue.attributes(), &expected.attributes);
            assert_eq!(
                queue.outboxed(),
                expected.count(|state| *state == State::Outboxed)
            );
        }
    }

    fn compare_topics(&self) {
        for (incarnation, expected) in &self.reference.topics {
            let topic = self.set.topic(*incarnation).expect("both have the same topics");
            assert_eq!(topic.subscriptions().len(), expected.subscriptions.len());
            for expected in &expected.subscriptions {
                let subscription = topic.subscription(expected.id).expect("both have the same");
                assert_eq!(subscription.backlog(), expected.backlog.len() as u64);
                let is_ready = expected.backlog.values().any(|m| m.state == State::Ready);
                assert_eq!(subscription.claimable(), is_ready);
                let place = (*incarnation, expected.id);
                assert_eq!(self.set.subscriptions_claimable().contains(&place), is_ready);
                for (sequence, message) in &expected.backlog {
                    assert_eq!(subscription.attempts(Sequence(*sequence)), message.count());
                }
            }
        }
    }

    fn compare_outboxes(&mut self) {
        let outgoing = self.set.outgoing(usize::MAX);
        let key =
            |parcel: &reference::RefParcel| (parcel.source, parcel.target, parcel.sequence, parcel.count);
        let mut found: Vec<_> = outgoing
            .iter()
            .map(|outgoing| reference::RefParcel {
                source: outgoing.source,
                target: outgoing.target,
                sequence: outgoing.body.sequence.0,
                count: outgoing.receive_count,
                cause: outgoing.cause.clone(),
            })
            .collect();
        let mut expected = self.reference.outbox.clone();
        found.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(found, expected);
        // Numbers go on from the highest that ever was, without a gap, for as long as the source is there.
        self.numbers
            .retain(|(source, _), _| self.set.queue(*source).is_some() || self.set.topic(*source).is_some());
        let mut numbers: Vec<_> = outgoing
            .iter()
            .map(|o| ((o.source, o.target), o.number))
            .collect();
        numbers.sort_unstable();
        for (lane, number) in numbers {
            let highest = self.numbers.entry(lane).or_default();
            assert!(
                number <= *highest + 1,
                "{lane:?} leaves out a number before {number}"
            );
            *highest = number.max(*highest);
        }
    }

    fn compare_kv(&self) {
        let now = self.reference.now;
        let mut expected: Vec<_> = self.reference.kv.iter().collect();
        expected.retain(|kept| kept.until.is_none_or(|until| until > now));
        expected.sort_by(|one, other| (one.store, &one.key).cmp(&(other.store, &other.key)));
        let expected: Vec<_> = expected
            .into_iter()
            .map(|kept| {
                let (value, version, until) = (kept.value.clone(), kept.version, kept.until);
                (
                    kept.store,
                    kept.key.clone(),
                    KvEntry {
                        value,
                        version,
                        until,
                    },
                )
            })
            .collect();
        let mut found = Vec::new();
        for id in self.set.kv_stores() {
            let store = self.set.kv(id).expect("it was just named");
            let live = store.entries_after("", now);
            found.extend(live.map(|(key, entry)| (id, key.to_owned(), entry.clone())));
        }
        assert_eq!(found, expected);
    }

    fn compare_kept(&self) {
        let mut by_stream = BTreeMap::<Incarnation, Vec<u64>>::new();
        for body in &self.stored {
            let is_kept = self.reference.is_kept(*body);
            assert_eq!(self.set.is_kept(*body), is_kept, "{body:?}");
            assert_eq!(self.set.keep_until(*body).is_some(), is_kept, "{body:?}");
            if is_kept {
                by_stream.entry(body.stream).or_default().push(body.sequence.0);
            }
        }
        for stream in QUEUES.into_iter().chain(TOPICS) {
            let mut kept = by_stream.remove(&stream).unwrap_or_default();
            kept.sort_unstable();
            kept.dedup();
            for (from, to) in [(1, u64::MAX), (2, 5), (4, 4), (5, 2)] {
                let expected = kept.iter().filter(|s| (from..=to).contains(*s)).count() as u64;
                let range = Sequence(from)..=Sequence(to);
                assert_eq!(self.set.kept_in(stream, range), expected);
            }
        }
    }
}

fn through_snapshot(set: &Set) -> Set {
    let bytes = postcard::to_allocvec(set).expect("a set can be written");
    postcard::from_bytes(&bytes).expect("what was written can be read")
}
