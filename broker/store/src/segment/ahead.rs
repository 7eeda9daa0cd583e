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
/// What is let go of at once, or stays.
const CHUNK_BYTES: u64 = 1 << 20;
/// How much of a chunk must have been wanted for it to be let go: what is between may be others' yet, as records of
/// different queues lie in the order in which they came. What is read twice counts twice.
const WANTED_BYTES_MIN: u64 = CHUNK_BYTES / 16 * 15;

/// Those who read on and on, at different places of a file.
#[derive(Debug, Default)]
pub(super) struct Readers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who read last is last.
    known: VecDeque<Reader>,
    /// How much of each chunk was wanted, by whomever, since it was let go of; chunks after the last were not read.
    wanted_bytes: Vec<u64>,
}

/// Somebody who reads on and on, or several close to each other, in whatever order.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Where what it has read begins, that was not looked at yet whether it is to be let go.
    kept_from: u64,
    /// The furthest that was read.
    position: u64,
    /// Up to where the drive was asked, or read.
    asked_to: u64,
}

/// What to tell the system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Advice {
    /// To be read soon.
    pub(super) ahead: Range<u64>,
    /// Read, and not wanted again.
    pub(super) behind: Vec<Range<u64>>,
}

// === impl Readers ===

impl Readers {
    /// Returns what to tell the system when somebody reads a range, of which so much is wanted, of records that end where it
    /// is said. Who reads at a new place may not go on, and is not asked for before it does; what is let go of was read
    /// on the way, nearly all of it.
    pub(super) fn advise(&self, read: &Range<u64>, wanted_bytes: u64, end: u64) -> Option<Advice> {
        let mut state = self.state.lock();
        state.count(read, wanted_bytes);
        let Some(mut reader) = state.take(read) else {
            if state.known.len() == READERS_MAX {
                state.known.pop_front();
            }
            state.known.push_back(Reader {
                kept_from: read.start,
                position: read.end,
                asked_to: read.end,
            });
            return None;
        };
        let advice = Advice {
            ahead: reader.ask(end),
            behind: state.let_go(&mut reader),
        };
        if reader.position < end {
            state.known.push_back(reader);
        }
        (!advice.ahead.is_empty() || !advice.behind.is_empty()).then_some(advice)
    }
}

// === impl State ===

impl State {
    /// Notes how much of a range is wanted, as if it were spread over it evenly.
    fn count(&mut self, read: &Range<u64>, wanted_bytes: u64) {
        let bytes = read.end.saturating_sub(read.start).max(1);
        for chunk in chunks(read.start..read.end.next_multiple_of(CHUNK_BYTES)) {
            let start = (chunk * CHUNK_BYTES).max(read.start);
            let end = ((chunk + 1) * CHUNK_BYTES).min(read.end);
            let place = chunk as usize;
            if place >= self.wanted_bytes.len() {
                self.wanted_bytes.resize(place + 1, 0);
            }
            self.wanted_bytes[place] += wanted_bytes * (end - start) / bytes;
        }
    }

    /// Takes out whoever is where somebody reads, and makes one of them if they are several.
    fn take(&mut self, read: &Range<u64>) -> Option<Reader> {
        let there = self.known.iter().copied().filter(|reader| reader.is_at(read.end));
        let mut reader = there.reduce(Reader::with)?;
        self.known.retain(|reader| !reader.is_at(read.end));
        reader.kept_from = reader.kept_from.min(read.start);
        reader.position = reader.position.max(read.end);
        Some(reader)
    }

    /// Returns what is to be let go of behind who has read on.
    fn let_go(&mut self, reader: &mut Reader) -> Vec<Range<u64>> {
        let keep_from = reader.position.saturating_sub(BEHIND_BYTES);
        let mut behind: Vec<Range<u64>> = Vec::new();
        for chunk in chunks(reader.kept_from..keep_from) {
            let Some(wanted_bytes) = self.wanted_bytes.get_mut(chunk as usize) else {
                continue;
            };
            if *wanted_bytes < WANTED_BYTES_MIN {
                continue;
            }
            *wanted_bytes = 0;
            let start = chunk * CHUNK_BYTES;
            match behind.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end += CHUNK_BYTES,
                None => behind.push(start..start + CHUNK_BYTES),
            }
        }
        reader.kept_from = reader.kept_from.max(keep_from);
        behind
    }
}

/// Returns the chunks that end within a range.
fn chunks(range: Range<u64>) -> Range<u64> {
    range.start / CHUNK_BYTES..range.end / CHUNK_BYTES
}

// === impl Reader ===

impl Reader {
    /// Returns whether who has read up to a position is where this one is: what it wants was read, or is next to that.
    fn is_at(&self, position: u64) -> bool {
        let is_behind = self.position < position + BEHIND_BYTES && self.kept_from < position + AHEAD_BYTES;
        is_behind && position <= self.asked_to + AHEAD_BYTES
    }

    fn with(self, other: Reader) -> Reader {
        Reader {
            kept_from: self.kept_from.min(other.kept_from),
            position: self.position.max(other.position),
            asked_to: self.asked_to.max(other.asked_to),
        }
    }

    /// Returns what the drive is to be asked for. Each part is asked for once, and not before half of what was asked for is
    /// read.
    fn ask(&mut self, end: u64) -> Range<u64> {
        let from = self.asked_to.max(self.position);
        let asked_to = (self.position + AHEAD_BYTES).min(end);
        if asked_to <= self.asked_to || self.position + AHEAD_BYTES / 2 <= self.asked_to {
            return from..from;
        }
        self.asked_to = asked_to;
        from..asked_to
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
        readers.state.lock().known.len()
    }

    #[test]
    fn each_part_is_asked_for_once_and_let_go_once_it_is_far_behind() {
        let readers = Readers::default();
        let (mut asked, mut let_go, mut asked_to) = (0, 0, 0);
        for advice in read(&readers, 0..END) {
            if !advice.ahead.is_empty() {
                assert!(asked == 0 || advice.ahead.start == asked_to);
                asked_to = advice.ahead.end;
                asked += 1;
            }
            for behind in advice.behind {
                assert_eq!(behind.start, let_go);
                let_go = behind.end;
            }
            let stays = asked_to - let_go;
            assert!(stays < AHEAD_BYTES + BEHIND_BYTES + CHUNK_BYTES, "{stays}");
        }
        assert!((32..64).contains(&asked), "in large parts: {asked}");
        assert_eq!(asked_to, END);
        assert!(let_go >= END - 2 * BEHIND_BYTES, "{let_go}");
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
    fn many_who_share_what_they_read_are_one_in_whatever_order_they_come() {
        let readers = Readers::default();
        // Each takes the next part, and they come to read as it happens: up to 28 parts, half of what stays, before others.
        let parts: Vec<u64> = (0..END / STEP).collect();
        let mut mixed: Vec<u64> = Vec::new();
        for some in parts.chunks(28) {
            let (first, second) = some.split_at(some.len() / 2);
            mixed.extend(second.iter().rev().chain(first.iter().rev()));
        }
        let advice = mixed.into_iter().flat_map(|part| {
            let start = part * STEP;
            read_one(&readers, start..start + STEP)
        });
        let advice: Vec<Advice> = advice.collect();
        let bytes = |range: &Range<u64>| range.end - range.start;
        let asked: u64 = advice.iter().map(|one| bytes(&one.ahead)).sum();
        let let_go: u64 = advice.iter().flat_map(|one| &one.behind).map(bytes).sum();
        assert!(asked <= END, "each part is asked for once: {asked}");
        assert!(let_go >= END - 2 * BEHIND_BYTES, "nearly all is let go: {let_go}");
        assert!(known(&readers) <= 1);
    }

    #[test]
    fn who_comes_up_to_where_another_began_is_asked_for_until_there() {
        let readers = Readers::default();
        let began = 9 << 20;
        read(&readers, began..10 << 20);
        let mut asked_to = 0;
        for start in (0..began - STEP).step_by(STEP as usize) {
            let advice = read_one(&readers, start..start + STEP);
            asked_to = advice.map_or(asked_to, |advice| advice.ahead.end);
            assert!(
                start == 0 || asked_to >= began.min(start + STEP + AHEAD_BYTES / 2),
                "{start}: {asked_to}"
            );
        }
        assert_eq!(known(&readers), 1, "from there on they are one");
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
    fn what_several_wanted_in_turn_is_let_go() {
        let readers = Readers::default();
        // Of each part, each wants half.
        let pass = || {
            let starts = (0..END - STEP).step_by(STEP as usize);
            let advice = starts.filter_map(|start| readers.advise(&(start..start + STEP), STEP / 2, END));
            advice.map(|advice| advice.behind.len()).sum::<usize>()
        };
        assert_eq!(pass(), 0);
        // Where the first was last.
        readers.advise(&(END - STEP..END), STEP, END);
        assert!(pass() >= 20);
        assert_eq!(pass(), 0, "from the beginning again");
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
                    for behind in advice.behind {
                        assert_eq!(behind.start, let_go[place].end);
                        let_go[place].end = behind.end;
                    }
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
        let place = |number: usize| (number as u64) * (BEHIND_BYTES + AHEAD_BYTES);
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
