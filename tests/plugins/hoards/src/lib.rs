//! A router that allocates without end for a message with the tag `hoard`; any other reaches every subscription.
//!
//! If the configuration is `start`, making a table does so too. If it is `keep`, each call keeps another mebibyte for
//! as long as the instance lives.

use std::cell::RefCell;
use std::hint::black_box;

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::config;
use bindings::posthouse::plugin::types::Envelope;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route" });

    export!(Hoards);
    use super::Hoards;
}

const GUILTY_TAG: &str = "hoard";
const HOARDED_BYTES: usize = 1_048_576;

thread_local! {
    static HOARD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Hoards;

struct Table {
    everyone: Vec<u32>,
}

impl Guest for Hoards {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        if config::get() == "start" {
            hoard_all();
        }
        Self {
            everyone: (0..).zip(&subscriptions).map(|(position, _)| position).collect(),
        }
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        if batch
            .iter()
            .any(|envelope| envelope.tags.iter().any(|tag| tag == GUILTY_TAG))
        {
            hoard_all();
        }
        if config::get() == "keep" {
            hoard_more();
        }
        vec![self.everyone.clone(); batch.len()]
    }
}

fn hoard_all() -> ! {
    loop {
        hoard_more();
    }
}

fn hoard_more() {
    HOARD.with_borrow_mut(|hoard| hoard.push(black_box(vec![1; HOARDED_BYTES])));
}
