//! A router whose answers make no sense. Its configuration names the lie; without one it reaches every subscription.
//! `one-byte` is no lie: bodies of one byte reach every subscription, others none, also within a batch.

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::config;
use bindings::posthouse::plugin::types::Envelope;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route" });

    export!(Lies);
    use super::Lies;
}

/// As many positions as 12 MiB hold: more than a guest may give back, and less than its memory.
const GIANT_POSITIONS: usize = 3 * 1_048_576;
/// As many lists as 12 MiB hold, all empty.
const GIANT_LISTS: usize = 3 * 1_048_576 / 2;

struct Lies;

struct Table {
    everyone: Vec<u32>,
}

impl Guest for Lies {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        Self {
            everyone: (0..).zip(&subscriptions).map(|(position, _)| position).collect(),
        }
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        let past = self.everyone.last().map_or(0, |last| last + 1);
        match config::get().as_str() {
            "just-past" => vec![vec![past]; batch.len()],
            "far-past" => vec![vec![u32::MAX]; batch.len()],
            "repeated" => vec![[&self.everyone[..], &self.everyone].concat(); batch.len()],
            "too-few" => vec![self.everyone.clone(); batch.len() - 1],
            "too-many" => vec![self.everyone.clone(); batch.len() + 1],
            "giant-list" => vec![vec![0; GIANT_POSITIONS]],
            "giant-batch" => vec![Vec::new(); GIANT_LISTS],
            "one-byte" => batch
                .iter()
                .map(|envelope| self.those_of_one_byte(envelope))
                .collect(),
            _ => vec![self.everyone.clone(); batch.len()],
        }
    }
}

impl Table {
    fn those_of_one_byte(&self, envelope: &Envelope) -> Vec<u32> {
        match envelope.body_bytes {
            1 => self.everyone.clone(),
            _ => Vec::new(),
        }
    }
}
