//! Ways through rows in order of their keys, a bounded number of them in memory: those that the projection holds,
//! and those that the directory would have there.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;
use posthouse_model::Directory;
use posthouse_store::{Projection, StoreFault};

use super::feeder::Source;
use super::rows::Row;

/// How many rows are in memory at once, and read while the directory is held.
const PAGE: usize = 500;

/// Goes through rows of one table below a key, as the projection holds them.
pub(super) struct Walk<R> {
    stored: Stored,
    fault: Option<StoreFault>,
    row: PhantomData<R>,
}

/// Goes through keys and values that begin with `below`, as the projection holds them.
pub(super) struct Stored {
    projection: Projection,
    below: Vec<u8>,
    search: Option<String>,
    after: Option<Bytes>,
    page: VecDeque<(Bytes, Bytes)>,
    at_end: bool,
}

// === impl Walk ===

impl<R: Row> Walk<R> {
    pub(super) fn new(projection: Projection, below: Vec<u8>, search: Option<String>) -> Walk<R> {
        Walk {
            stored: Stored::new(projection, below, search),
            fault: None,
            row: PhantomData,
        }
    }

    /// Returns whether all of it could be read.
    pub(super) fn end(self) -> Result<(), StoreFault> {
        self.fault.map_or(Ok(()), Err)
    }

    fn read(&mut self) -> Result<Option<R>, StoreFault> {
        let Some((key, value)) = self.stored.next().transpose()? else {
            return Ok(None);
        };
        let unread = || StoreFault::Projection {
            text: "a row is not what this release writes".to_owned(),
        };
        R::read(&key, &value).map(Some).ok_or_else(unread)
    }
}

impl<R: Row> Iterator for Walk<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        if self.fault.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|fault| {
            self.fault = Some(fault);
            None
        })
    }
}

// === impl Stored ===

impl Stored {
    pub(super) fn new(projection: Projection, below: Vec<u8>, search: Option<String>) -> Stored {
        Stored {
            projection,
            below,
            search,
            after: None,
            page: VecDeque::new(),
            at_end: false,
        }
    }

    fn turn(&mut self) -> Result<(), StoreFault> {
        let search = self.search.as_deref();
        let page = self
            .projection
            .page(&self.below, self.after.as_deref(), PAGE, search)?;
        self.at_end = page.len() < PAGE;
        self.after = page.last().map(|(key, _)| key.clone());
        self.page = page.into();
        Ok(())
    }
}

impl Iterator for Stored {
    type Item = Result<(Bytes, Bytes), StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.at_end
            && let Err(fault) = self.turn()
        {
            self.at_end = true;
            return Some(Err(fault));
        }
        self.page.pop_front().map(Ok)
    }
}

/// Goes through all rows of a table that the directory gives. It is held for no longer than a page takes, so what
/// comes later shows what changed meanwhile.
pub(super) fn given<R: Row>(source: &impl Source) -> impl Iterator<Item = (Bytes, Bytes)> {
    let mut after: Option<R> = None;
    let mut page: VecDeque<R> = VecDeque::new();
    let mut at_end = false;
    let rows = std::iter::from_fn(move || {
        if page.is_empty() && !at_end {
            let rows = source.view(|directory: &Directory| R::after(directory, after.as_ref(), PAGE));
            at_end = rows.len() < PAGE;
            after = rows.last().cloned();
            page = rows.into();
        }
        page.pop_front()
    });
    rows.map(|row| (Bytes::from(row.key()), row.value()))
}
