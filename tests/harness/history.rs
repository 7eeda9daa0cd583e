//! What clients asked and were answered, with times, and whether it keeps what the broker promises.
//!
//! A body names one send and is never sent again under another message id. Times are taken before a call is made and
//! after its answer came, so what happened in the broker happened between them; nothing is concluded from less. The
//! clients may be of real nodes or of simulated ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a span loses by being counted in milliseconds: at its beginning, and at its end.
const ROUNDING: Duration = Duration::from_millis(2);

/// When something happened, since the history began.
pub type At = Duration;

/// Names one message: its queue, its producer, and the producer's count.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Name {
    /// Which queue it is sent to.
    pub queue: usize,
    /// Who sends it.
    pub producer: usize,
    /// Rises with each message of its producer.
    pub number: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It was done.
    Done,
    /// It was not, and will not be.
    NotDone,
    /// It may have been, or may be yet.
    MayBeDone,
}

/// A call from before it was made until it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Before it was made.
    pub began: At,
    /// After it was answered.
    pub ended: At,
}

/// A message as a consumer got it.
#[derive(Clone, Debug)]
pub struct Got {
    /// Which send it is of.
    pub name: Name,
    /// The broker's id of it.
    pub id: String,
    /// How often it was received, this time counted.
    pub count: u64,
}

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    /// A message was sent.
    Send {
        /// When.
        span: Span,
        /// Which one.
        name: Name,
        /// How long it is to stay hidden.
        delay: Duration,
        /// How it ended.
        end: End,
    },
    /// Messages were asked for.
    Receive {
        /// When.
        span: Span,
        /// Of which queue.
        queue: usize,
        /// How many at most.
        max: u64,
        /// What came, or how it ended.
        got: Result<Vec<Got>, End>,
    },
    /// A message was deleted by its latest handle.
    Delete {
        /// When.
        span: Span,
        /// Which one.
        name: Name,
        /// How it ended.
        end: End,
    },
}

/// What the queues of a history were set to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a lease lasts.
    pub visibility: Duration,
    /// How much faster than the clients' clock the broker's time may run, in parts of a million.
    pub fast_parts_per_million: u32,
    /// The queue that one consumer reads, in order.
    pub ordered_queue: usize,
}

/// One message's part of a history.
#[derive(Default)]
struct Story {
    sent: Option<(Span, Duration, End)>,
    got: Vec<(Span, Got)>,
    deleted: Vec<(Span, End)>,
}

/// A receive that may have leased more than its consumer saw.
struct Unseen {
    /// When it was begun. It may be done at any time after that: what lies in the log of a node that is down is done
    /// when it is back.
    began: At,
    /// How often it may have leased one message unseen.
    leases_max: u64,
    /// How many messages it may have leased each time.
    max: u64,
}

/// Returns everything in a history that cannot be, given what is promised. It ends with all queues read until empty.
pub fn violations(calls: &[Call], rules: &Rules) -> Vec<String> {
    let mut stories: BTreeMap<Name, Story> = BTreeMap::new();
    let mut unseen: BTreeMap<usize, Vec<Unseen>> = BTreeMap::new();
    for call in calls {
        match call {
            Call::Send {
                span,
                name,
                delay,
                end,
            } => {
                stories.entry(name.clone()).or_default().sent = Some((*span, *delay, *end));
            }
            Call::Receive {
                span,
                queue,
                max,
                got,
            } => {
                let may_have = rules.unseen(*span, *max, got);
                unseen.entry(*queue).or_default().extend(may_have);
                for one in got.iter().flatten() {
                    stories
                        .entry(one.name.clone())
                        .or_default()
                        .got
                        .push((*span, one.clone()));
                }
            }
            Call::Delete { span, name, end } => {
                stories
                    .entry(name.clone())
                    .or_default()
                    .deleted
                    .push((*span, *end));
            }
        }
    }
    let mut found = Vec::new();
    for (name, story) in &mut stories {
        // By their counts: a receive may be answered long after it leased, and another one that leased later before it.
        story.got.sort_by_key(|(span, got)| (got.count, span.ended));
        let unseen = unseen.get(&name.queue).map_or(&[][..], Vec::as_slice);
        found.extend(
            story
                .violations(rules, unseen)
                .into_iter()
                .map(|what| format!("{name:?}: {what}")),
        );
    }
    let of_ordered = unseen.get(&rules.ordered_queue).map_or(&[][..], Vec::as_slice);
    found.extend(order_violations(calls, &stories, rules));
    // A message whose own counts cannot be says it better.
    if found.is_empty() {
        found.extend(unexplained(&stories, rules, of_ordered));
    }
    found
}

// === impl Rules ===

impl Rules {
    /// Returns when a span of the broker's time that began then is over at the earliest, by the clients' clock. It counts
    /// in milliseconds.
    fn earliest_end(&self, began: At, span: Duration) -> At {
        let sooner = span.mul_f64(f64::from(self.fast_parts_per_million) / 1e6) + ROUNDING;
        began + span.saturating_sub(sooner)
    }

    /// Returns what a receive may have leased unseen. Asked again within the cluster it answers no lease that ended
    /// meanwhile, and leases anew: one that lasted may have leased a message several times, the last time seen or not. What
    /// was refused as not done has leased nothing.
    fn unseen(&self, span: Span, max: u64, got: &Result<Vec<Got>, End>) -> Option<Unseen> {
        let ended = self.leases_between(span.began, span.ended);
        let leases_max = match got {
            Err(End::NotDone) => return None,
            Ok(_) if ended == 0 => return None,
            Ok(_) => ended,
            Err(End::Done | End::MayBeDone) => 1 + ended,
        };
        Some(Unseen {
            began: span.began,
            leases_max,
            max,
        })
    }

    /// Returns how many leases of one message can have come to their end between two times.
    fn leases_between(&self, began: At, ended: At) -> u64 {
        let lease = self.earliest_end(Duration::ZERO, self.visibility);
        let lasted = ended.saturating_sub(began);
        u64::try_from(lasted.as_micros() / lease.as_micros().max(1)).unwrap_or(u64::MAX)
    }
}

// === impl Story ===

impl Story {
    fn violations(&self, rules: &Rules, unseen: &[Unseen]) -> Vec<String> {
        let mut found = Vec::new();
        let Some((sent, delay, end)) = self.sent else {
            return vec!["received, and nobody sent it".to_owned()];
        };
        if end == End::Done && self.got.is_empty() {
            found.push("acknowledged, and lost".to_owned());
        }
        if end == End::NotDone && !self.got.is_empty() {
            found.push("refused as not done, and delivered".to_owned());
        }
        let ids: BTreeSet<&str> = self.got.iter().map(|(_, got)| got.id.as_str()).collect();
        if ids.len() > 1 {
            found.push(format!("stored {} times", ids.len()));
        }
        let gone = self
            .deleted
            .iter()
            .filter(|(_, end)| *end == End::Done)
            .map(|(span, _)| span.ended);
        if let Some(gone) = gone.min()
            && self.got.iter().any(|(span, _)| span.began > gone)
        {
            found.push("delivered after its delete was acknowledged".to_owned());
        }
        let visible = rules.earliest_end(sent.began, delay);
        if self.got.iter().any(|(span, _)| span.ended < visible) {
            found.push("delivered before its delay was over".to_owned());
        }
        for (earlier, later) in self.got.iter().zip(self.got.iter().skip(1)) {
            // The earlier lease was made when its call began at the earliest, the later one when its call ended at
            // the latest.
            if later.0.ended < rules.earliest_end(earlier.0.began, rules.visibility) {
                found.push(format!(
                    "leased twice within {:?}",
                    later.0.ended.saturating_sub(earlier.0.began)
                ));
            }
            if later.1.count <= earlier.1.count {
                found.push(format!(
                    "receive counts {} and then {}",
                    earlier.1.count, later.1.count
                ));
            }
        }
        found.extend(self.miscounted(visible, rules, unseen));
        found
    }

    /// Returns what of the receive counts cannot be. Each count is of a lease that was seen, or of one that a receive whose
    /// answer was lost, or that lasted, made in between; and a lease begins when the one before is over.
    fn miscounted(&self, visible: At, rules: &Rules, unseen: &[Unseen]) -> Option<String> {
        let mut before = 0;
        let mut since = visible;
        for (span, got) in &self.got {
            let missing = got.count.saturating_sub(before + 1);
            let seen = u64::from(before > 0);
            let fit = rules.leases_between(since, span.ended).saturating_sub(seen);
            let made = || {
                let began = unseen.iter().filter(|receive| receive.began < span.ended);
                began.map(|receive| receive.leases_max).sum::<u64>()
            };
            if got.count == 0 || missing > fit || missing > 0 && missing > made() {
                return Some(format!(
                    "counted {} at {:?}, after {before} since {since:?}",
                    got.count, span.ended
                ));
            }
            (before, since) = (got.count, span.began);
        }
        None
    }
}

/// Returns the messages that reached the one consumer of the ordered queue out of order. A message that was acknowledged
/// before the send of another one began lies before it, and comes first unless it is leased just then: never leased
/// until it is received for the first time, nothing later may have come before. A lease that ends puts it back in
/// its place.
fn order_violations(calls: &[Call], stories: &BTreeMap<Name, Story>, rules: &Rules) -> Vec<String> {
    let mut receives: Vec<(Span, &[Got])> = Vec::new();
    for call in calls {
        if let Call::Receive {
            span,
            queue,
            got: Ok(got),
            ..
        } = call
            && *queue == rules.ordered_queue
        {
            receives.push((*span, got));
        }
    }
    receives.sort_by_key(|(span, _)| span.began);
    let mut found = Vec::new();
    // Of what came until now, the message whose send began last.
    let mut newest: Option<(At, &Name)> = None;
    for one in receives.iter().flat_map(|(_, got)| got.iter()) {
        let Some((sent, _, end)) = stories.get(&one.name).and_then(|story| story.sent) else {
            continue;
        };
        if let Some((began, later)) = newest
            // What was not acknowledged may have been stored long after its call.
            && (one.count, end) == (1, End::Done)
            && sent.ended < began
        {
            found.push(format!(
                "{:?}: out of order, received for the first time after {later:?}, sent later",
                one.name
            ));
        }
        newest = newest.max(Some((sent.began, &one.name)));
    }
    found
}

/// Returns whether more leases of the ordered queue's messages were seen by nobody than receives can have made. A lease
/// that nobody saw is all that lets later messages pass.
fn unexplained(stories: &BTreeMap<Name, Story>, rules: &Rules, unseen: &[Unseen]) -> Option<String> {
    let missing: u64 = stories
        .iter()
        .filter(|(name, _)| name.queue == rules.ordered_queue)
        .filter_map(|(_, story)| {
            let last = story.got.last()?;
            Some(last.1.count.saturating_sub(story.got.len() as u64))
        })
        .sum();
    let made: u64 = unseen
        .iter()
        .map(|receive| receive.leases_max * receive.max)
        .sum();
    (missing > made)
        .then(|| format!("{missing} leases that nobody saw, and at most {made} can have been made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        visibility: Duration::from_secs(10),
        fast_parts_per_million: 500,
        ordered_queue: 0,
    };

    fn name(number: u64) -> Name {
        Name {
            queue: 0,
            producer: 1,
            number,
        }
    }

    fn span(began: u64, ended: u64) -> Span {
        Span {
            began: Duration::from_secs(began),
            ended: Duration::from_secs(ended),
        }
    }

    fn send(number: u64, at: u64, end: End) -> Call {
        Call::Send {
            span: span(at, at + 1),
            name: name(number),
            delay: Duration::ZERO,
            end,
        }
    }

    fn receive(number: u64, began: u64, ended: u64, count: u64) -> Call {
        Call::Receive {
            span: span(began, ended),
            queue: 0,
            max: 1,
            got: Ok(vec![Got {
                name: name(number),
                id: "7".to_owned(),
                count,
            }]),
        }
    }

    fn delete(number: u64, at: u64, end: End) -> Call {
        Call::Delete {
            span: span(at, at + 1),
            name: name(number),
            end,
        }
    }

    fn one(calls: &[Call]) -> String {
        let found = violations(calls, &RULES);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("there is one")
    }

    #[test]
    fn a_history_as_promised_has_none() {
        let calls = [
            send(1, 0, End::Done),
            send(2, 2, End::MayBeDone),
            send(3, 4, End::NotDone),
            receive(1, 5, 6, 1),
            receive(1, 16, 17, 2),
            delete(1, 18, End::Done),
            receive(1, 17, 30, 3),
        ];
        assert_eq!(violations(&calls, &RULES), Vec::<String>::new());
    }

    #[test]
    fn a_lost_receive_counts_as_often_as_it_may_have_leased() {
        let lost = |until: u64| Call::Receive {
            span: span(2, until),
            queue: 0,
            max: 1,
            got: Err(End::MayBeDone),
        };
        let counted = |until: u64, count: u64| {
            let calls = [send(1, 0, End::Done), lost(until), receive(1, 40, 41, count)];
            violations(&calls, &RULES).is_empty()
        };
        assert!(counted(9, 2) && !counted(9, 3));
        assert!(counted(23, 4) && !counted(23, 5));
    }

    #[test]
    fn a_count_is_of_leases_that_can_have_been() {
        let ended_by = |began: u64, end: End| Call::Receive {
            span: span(began, began + 1),
            queue: 0,
            max: 1,
            got: Err(end),
        };
        let refused = [
            send(1, 0, End::Done),
            ended_by(2, End::NotDone),
            receive(1, 40, 41, 2),
        ];
        assert!(one(&refused).contains("counted 2"), "it has leased nothing");
        let after = [
            send(1, 0, End::Done),
            receive(1, 40, 41, 2),
            ended_by(42, End::MayBeDone),
        ];
        assert!(one(&after).contains("counted 2"), "it came later");
        let soon = [
            send(1, 0, End::Done),
            ended_by(2, End::MayBeDone),
            receive(1, 7, 8, 2),
        ];
        assert!(one(&soon).contains("counted 2"), "the first lease was not over");
        let again = |at: u64| {
            let calls = [
                send(1, 0, End::Done),
                receive(1, 2, 3, 1),
                ended_by(13, End::MayBeDone),
                receive(1, at, at + 1, 3),
            ];
            violations(&calls, &RULES).is_empty()
        };
        assert!(again(22) && !again(20), "one lease after the other");
        let lasted = |ended: u64| {
            let calls = [send(1, 0, End::Done), receive(1, 2, ended, 2)];
            violations(&calls, &RULES).is_empty()
        };
        assert!(lasted(13) && !lasted(11), "one that lasted may have leased twice");
    }

    #[test]
    fn each_broken_promise_is_found() {
        assert!(one(&[send(1, 0, End::Done)]).contains("lost"));
        assert!(one(&[send(1, 0, End::NotDone), receive(1, 5, 6, 1)]).contains("not done"));
        assert!(one(&[receive(1, 5, 6, 1)]).contains("nobody sent"));
        let deleted = [
            send(1, 0, End::Done),
            receive(1, 2, 3, 1),
            delete(1, 4, End::Done),
            receive(1, 20, 21, 2),
        ];
        assert!(one(&deleted).contains("after its delete"));
        let twice = [send(1, 0, End::Done), receive(1, 2, 3, 1), receive(1, 4, 11, 2)];
        assert!(one(&twice).contains("leased twice"));
        let counted = [send(1, 0, End::Done), receive(1, 2, 3, 1), receive(1, 14, 15, 1)];
        assert!(one(&counted).contains("receive counts"));
        let skipped = [send(1, 0, End::Done), receive(1, 2, 3, 3)];
        assert!(one(&skipped).contains("counted 3"));
        let mut delayed = [send(1, 0, End::Done), receive(1, 2, 3, 1)];
        if let Call::Send { delay, .. } = &mut delayed[0] {
            *delay = Duration::from_secs(5);
        }
        assert!(one(&delayed).contains("delay"));
        let mut stored = [send(1, 0, End::Done), receive(1, 2, 3, 1), receive(1, 20, 21, 2)];
        if let Call::Receive { got: Ok(got), .. } = &mut stored[2] {
            got[0].id = "8".to_owned();
        }
        assert!(one(&stored).contains("stored 2 times"));
        let unordered = [
            send(1, 0, End::Done),
            send(2, 2, End::Done),
            receive(2, 5, 6, 1),
            receive(1, 7, 8, 1),
        ];
        assert!(one(&unordered).contains("out of order"));
    }

    #[test]
    fn order_is_looked_at_message_by_message() {
        let lost = |at: u64| Call::Receive {
            span: span(at, at + 1),
            queue: 0,
            max: 1,
            got: Err(End::MayBeDone),
        };
        let sends = [send(1, 0, End::Done), send(2, 2, End::Done), lost(3)];
        let passed = [sends.as_slice(), &[receive(2, 5, 6, 1), receive(1, 25, 26, 1)]].concat();
        assert!(
            one(&passed).contains("out of order"),
            "never leased before: no lost receive explains it"
        );
        let at_once = [
            send(1, 0, End::Done),
            send(2, 2, End::Done),
            Call::Receive {
                span: span(5, 6),
                queue: 0,
                max: 2,
                got: Ok([2, 1]
                    .map(|number| Got {
                        name: name(number),
                        id: "7".to_owned(),
                        count: 1,
                    })
                    .to_vec()),
            },
        ];
        assert!(one(&at_once).contains("out of order"));
        let overlapping = [
            send(1, 0, End::Done),
            send(2, 0, End::Done),
            receive(2, 5, 6, 1),
            receive(1, 7, 8, 1),
        ];
        assert_eq!(violations(&overlapping, &RULES), Vec::<String>::new());
        let in_doubt = [
            send(1, 0, End::MayBeDone),
            send(2, 2, End::Done),
            receive(2, 5, 6, 1),
            receive(1, 7, 8, 1),
        ];
        assert_eq!(violations(&in_doubt, &RULES), Vec::<String>::new());
        let two_by_one = [sends.as_slice(), &[receive(2, 25, 26, 2), receive(1, 27, 28, 2)]].concat();
        assert!(
            one(&two_by_one).contains("nobody saw"),
            "one receive of one message"
        );
    }

    #[test]
    fn an_answer_that_is_given_late_is_of_an_earlier_lease() {
        let calls = [
            send(1, 0, End::Done),
            receive(1, 13, 14, 2),
            delete(1, 15, End::Done),
            receive(1, 2, 17, 1),
        ];
        assert_eq!(violations(&calls, &RULES), Vec::<String>::new());
        let overlapping = [send(1, 0, End::Done), receive(1, 3, 4, 2), receive(1, 5, 6, 1)];
        assert!(one(&overlapping).contains("leased twice"));
    }

    #[test]
    fn a_lost_answer_explains_a_count_and_an_order() {
        let lost = Call::Receive {
            span: span(3, 4),
            queue: 0,
            max: 1,
            got: Err(End::MayBeDone),
        };
        let calls = [
            send(1, 0, End::Done),
            send(2, 2, End::Done),
            lost,
            receive(2, 5, 6, 1),
            receive(1, 15, 16, 2),
        ];
        assert_eq!(violations(&calls, &RULES), Vec::<String>::new());
    }
}
