//! Acks, gathered while a delete is under way, so that one command does many of them.

use std::collections::VecDeque;
use std::ops::Range;

use posthouse_model::ReceiptHandle;
use posthouse_stream::bounds::HANDLES_MAX;

/// Acks that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Acks(VecDeque<(u64, Vec<ReceiptHandle>)>);

/// Acks that one command does.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Each request, and where its handles end.
    requests: Vec<(u64, usize)>,
    handles: Vec<ReceiptHandle>,
}

// === impl Acks ===

impl Acks {
    /// Adds a request, of no more handles than one command takes.
    pub(super) fn add(&mut self, id: u64, handles: Vec<ReceiptHandle>) {
        self.0.push_back((id, handles));
    }

    /// Takes as many out as one command does.
    pub(super) fn next(&mut self) -> Option<Part> {
        let (id, handles) = self.0.pop_front()?;
        let mut part = Part {
            requests: vec![(id, handles.len())],
            handles,
        };
        while let Some((id, handles)) = self
            .0
            .pop_front_if(|(_, handles)| part.handles.len() + handles.len() <= HANDLES_MAX)
        {
            part.handles.extend(handles);
            part.requests.push((id, part.handles.len()));
        }
        Some(part)
    }
}

// === impl Part ===

impl Part {
    /// Returns the handles of all requests.
    pub(super) fn handles(&self) -> &[ReceiptHandle] {
        &self.handles
    }

    /// Returns each request, and which of the handles are its.
    pub(super) fn each(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut begin = 0;
        self.requests.iter().map(move |(id, end)| {
            let range = begin..*end;
            begin = *end;
            (*id, range)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_acks_as_one_command_takes_are_done_by_one() {
        let mut acks = Acks::default();
        for id in 0..4 {
            let first = id * 400;
            acks.add(id, (first..first + 400).map(ReceiptHandle).collect());
        }
        let part = acks.next().expect("some wait");
        assert_eq!(part.handles().len(), 800);
        assert_eq!(part.each().collect::<Vec<_>>(), [(0, 0..400), (1, 400..800)]);
        let part = acks.next().expect("some wait");
        assert_eq!(part.handles()[0], ReceiptHandle(800));
        assert_eq!(part.each().collect::<Vec<_>>(), [(2, 0..400), (3, 400..800)]);
        assert!(acks.next().is_none());
    }

    #[test]
    fn one_that_fills_a_command_is_done_alone() {
        let mut acks = Acks::default();
        acks.add(7, vec![ReceiptHandle(1); HANDLES_MAX]);
        acks.add(8, vec![ReceiptHandle(2)]);
        assert_eq!(acks.next().expect("one waits").each().count(), 1);
        assert_eq!(acks.next().expect("one waits").each().count(), 1);
    }
}
