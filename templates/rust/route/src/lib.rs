//! A router: a message reaches the subscriptions that ask for one of its tags, and those that ask for none.
//!
//! The table is made once for a topic's subscriptions and then answers batches, so it is an index: what a message
//! costs grows with what it reaches, not with the number of subscriptions.

use std::collections::{BTreeSet, HashMap};

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::types::Envelope;

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "my-world" });
    export!(Plugin);
    use super::Plugin;
}

struct Plugin;

/// Positions of subscriptions.
struct Table {
    by_tag: HashMap<String, Vec<u32>>,
    of_everything: Vec<u32>,
}

impl Guest for Plugin {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        let mut table = Table {
            by_tag: HashMap::new(),
            of_everything: Vec::new(),
        };
        for (position, subscription) in (0..).zip(subscriptions) {
            if subscription.filter_tags.is_empty() {
                table.of_everything.push(position);
            }
            for tag in subscription.filter_tags {
                table.by_tag.entry(tag).or_default().push(position);
            }
        }
        table
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        batch.iter().map(|envelope| self.reached(envelope)).collect()
    }
}

impl Table {
    /// Returns the subscriptions that a message reaches, each once.
    fn reached(&self, envelope: &Envelope) -> Vec<u32> {
        let mut reached: BTreeSet<u32> = self.of_everything.iter().copied().collect();
        for tag in &envelope.tags {
            reached.extend(self.by_tag.get(tag).into_iter().flatten());
        }
        reached.into_iter().collect()
    }
}
