//! Filter tags: a subscription takes a message that has one of its tags, or any message if it asks for none.

use std::collections::BTreeMap;

/// Subscriptions by the tags that they ask for.
pub(crate) struct TagTable {
    by_tag: BTreeMap<String, Vec<u32>>,
    /// The subscriptions without filter tags, which take everything, tagged or not.
    take_all: Vec<u32>,
}

// === impl TagTable ===

impl TagTable {
    /// Indexes the subscriptions' filter tags, given in the order of their positions.
    pub(crate) fn new<'a>(subscriptions: impl Iterator<Item = &'a [String]>) -> Self {
        let mut table = Self {
            by_tag: BTreeMap::new(),
            take_all: Vec::new(),
        };
        for (position, tags) in (0..).zip(subscriptions) {
            if tags.is_empty() {
                table.take_all.push(position);
            }
            for tag in tags {
                table.by_tag.entry(tag.clone()).or_default().push(position);
            }
        }
        table
    }

    /// Returns the positions that a message with these tags reaches, in no order and perhaps repeated.
    pub(crate) fn matches(&self, tags: &[String]) -> Vec<u32> {
        let mut positions = self.take_all.clone();
        for tag in tags {
            if let Some(asked) = self.by_tag.get(tag) {
                positions.extend_from_slice(asked);
            }
        }
        positions
    }
}
