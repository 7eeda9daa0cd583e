//! What the system keeps in its page cache of a segment around those who read on and on: the drive is asked for what comes
//! next, and what was read is let go.

use std::collections::VecDeque;
use std::ops::Range;

use parking_lot::Mutex;

/// How far the drive is asked for records before they are read.
pub(super) const AHEAD_BYTES: u64 = 2 << 20;
/// How much of what was read stays, for others who read there a little later.
pub(super) const BEHIND_BYTES: u64 = 8 << 20;
/// How many who read at different places are known.
const READERS_MAX: usize = 64;
/// How much of what lies behind must have been wanted for it to be let go: what is between may be others' yet, as records
/// of different queues lie in the order in which they came.
const WANTED_SHARE: (u64, u64) = (3, 4);

/// Those who read on and on, at different places of a file.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Who read last is last.
    known: Mutex<VecDeque<Reader>>,
}

/// Somebody, or several close to each other, who read on and on.
#[derive(Debug)]
struct Reader {
    /// Where what is looked at of what it read begins.
    kept_from: u64,
    /// How much of what lies between that and where it is was wanted.
    wanted_bytes: u64,
    /// Up to where the drive was asked, or read.
    asked_to: u64,
}

/// What to tell the system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Advice {
    /// To be read soon.
    pub(super) ahead: Range<u64>,
    /// Read, and not wanted again.
    pub(super) behind: Range<u64>,
}

// === impl Readers ===

impl Readers {
    /// Returns what to tell the system when somebody reads a range, of which so much is wanted, of records that end where it
    /// is said. Who reads at a new place may not go on, and is not asked for before it does; what is let go of was read
    /// on the way, nearly all of it.
    pub(super) fn advise(&self, read: &Range<u64>, wanted_bytes: u64, end: u64) -> Option<Advice> {
        let mut known = self.known.lock();
        let place = known.iter().position(|reader| reader.is_at(read.end));
        let Some(mut reader) = place.and_then(|place| known.remove(place)) else {
            if known.len() == READERS_MAX {
                known.pop_front();
            }
            known.push_back(Reader {
                kept_from: read.start,
                wanted_bytes,
                asked_to: read.end,
            });
            return None;
        };
        reader.wanted_bytes += wanted_bytes;
        let advice = reader.go_on(read.end, end);
        let is_at_end = read.end >= end;
        if !is_at_end {
            known.push_back(reader);
        }
        advice
    }
}

// === impl Reader ===

impl Reader {
    /// Returns whether who has read up to a position is where this one is: what it wants is in memory, or next.
    fn is_at(&self, position: u64) -> bool {
        self.kept_from < position && position <= self.asked_to + AHEAD_BYTES
    }

    /// Goes on to a position. Each part is asked for once, and not before half of what was asked for is read.
    fn go_on(&mut self, position: u64, end: u64) -> Option<Advice> {
        let asked_to = (position + AHEAD_BYTES).min(end);
        if asked_to <= self.asked_to || position + AHEAD_BYTES / 2 <= self.asked_to {
            return None;
        }
        let passed = position - self.kept_from;
        let wanted = self.wanted_bytes.min(passed);
        let kept_from = position.saturating_sub(BEHIND_BYTES).max(self.kept_from);
        let behind = match wanted * WANTED_SHARE.1 >= passed * WANTED_SHARE.0 {
            true => self.kept_from..kept_from,
            false => kept_from..kept_from,
        };
        let ahead = self.asked_to.max(position)..asked_to;
        // As much of it as was wanted of all.
        self.wanted_bytes = wanted * (position - kept_from) / passed;
        self.kept_from = kept_from;
        self.asked_to = asked_to;
        Some(Advice { ahead, behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 64 << 20;
    const STEP: u64 = 200_000;

    /// Reads a range in steps. Returns what the system was told.
    fn read(readers: &Readers, range: Range<u64>) -> Vec<Advice> {
        let starts = range.step_by(STEP as usize);
        let advice = starts.map(|start| read_one(readers, start..(start + STEP).min(END)));
        advice.flatten().collect()
    }

    fn read_one(readers: &Readers, range: Range<u64>) -> Option<Advice> {
        readers.advise(&range, range.end - range.start, END)
    }

    fn known(readers: &Readers) -> usize {
        readers.known.lock().len()
    }

    #[test]
    fn each_part_is_asked_for_once_and_let_go_once_it_is_far_behind() {
        let readers = Readers::default();
        let advice = read(&readers, 0..END);
        assert!(
            (32..64).contains(&advice.len()),
            "in large parts: {}",
            advice.len()
        );
        for pair in advice.windows(2) {
            assert_eq!(pair[0].ahead.end, pair[1].ahead.start);
            assert_eq!(pair[0].behind.end, pair[1].behind.start);
        }
        let (first, last) = (&advice[0], &advice[advice.len() - 1]);
        assert_eq!((first.behind.start, last.ahead.end), (0, END));
        let stays = advice.iter().map(|one| one.ahead.end - one.behind.end);
        assert_eq!(stays.max(), Some(AHEAD_BYTES + BEHIND_BYTES));
        assert_eq!(known(&readers), 0, "at the end nobody reads on");
    }

    #[test]
    fn who_reads_where_another_has_just_been_asks_for_nothing() {
        let readers = Readers::default();
        read(&readers, 0..END / 2);
        let near = END / 2 - BEHIND_BYTES + AHEAD_BYTES;
        assert_eq!(read(&readers, near..END / 2 - AHEAD_BYTES), []);
        assert_eq!(known(&readers), 1);
    }

    #[test]
    fn who_reads_once_at_a_place_has_nothing_asked_for_and_nothing_let_go() {
        let readers = Readers::default();
        for start in (0..END).step_by(AHEAD_BYTES as usize * 2) {
            assert_eq!(read_one(&readers, start..start + 20_000), None, "{start}");
        }
    }

    #[test]
    fn nothing_is_let_go_where_others_have_something_between() {
        // Half of what lies there is another queue's, left out or read along.
        for (bytes, wanted) in [(STEP / 2, STEP / 2), (STEP, STEP / 2)] {
            let readers = Readers::default();
            let starts = (0..END - STEP).step_by(STEP as usize);
            let advice = starts.filter_map(|start| readers.advise(&(start..start + bytes), wanted, END));
            let advice: Vec<Advice> = advice.collect();
            assert!(
                (32..64).contains(&advice.len()),
                "it is asked for: {}",
                advice.len()
            );
            assert!(advice.iter().all(|one| one.behind.is_empty()), "{advice:?}");
        }
    }

    #[test]
    fn those_at_different_places_are_each_asked_for_and_let_go_of_nothing_of_each_others() {
        let readers = Readers::default();
        // As far apart as what one has read long ago is from where it is.
        let starts = [0, 10 << 20, 20 << 20, 30 << 20, 40 << 20];
        let mut asked = starts.map(|start| start..start);
        let mut let_go = starts.map(|start| start..start);
        for step in 0..50 {
            for (place, start) in starts.into_iter().enumerate() {
                let from = start + step * STEP;
                for advice in read(&readers, from..from + STEP) {
                    assert!(asked[place].is_empty() || advice.ahead.start == asked[place].end);
                    asked[place].end = advice.ahead.end;
                    assert_eq!(advice.behind.start, let_go[place].end);
                    let_go[place].end = advice.behind.end;
                }
            }
        }
        for ((start, asked), let_go) in starts.into_iter().zip(asked).zip(let_go) {
            let read_to = start + 50 * STEP;
            assert!(asked.end >= read_to + AHEAD_BYTES / 2, "{asked:?} of {read_to}");
            assert!(!let_go.is_empty() && let_go.end <= read_to - BEHIND_BYTES);
        }
    }

    #[test]
    fn of_too_many_places_the_one_read_longest_ago_is_forgotten() {
        let readers = Readers::default();
        let place = |number: usize| (number as u64) * 3 * AHEAD_BYTES;
        let (end, at) = (place(READERS_MAX + 2), |number| {
            place(number)..place(number) + STEP
        });
        let reads = |range: Range<u64>| readers.advise(&range, STEP, end);
        for number in 0..READERS_MAX {
            assert_eq!(reads(at(number)), None);
        }
        let next = |number| place(number) + STEP..place(number) + 2 * STEP;
        assert!(reads(next(0)).is_some(), "it goes on");
        assert_eq!(reads(at(READERS_MAX)), None, "one more");
        assert_eq!(known(&readers), READERS_MAX);
        assert_eq!(reads(next(1)), None, "the first is forgotten");
        assert_eq!(known(&readers), READERS_MAX);
    }
}
