//! A router that does not come back from a message with the tag `loop`; any other reaches every subscription.
//!
//! If the configuration is `start`, making a table does not come back either.

use std::hint::spin_loop;

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::config;
use bindings::posthouse::plugin::types::Envelope;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route" });

    export!(Loops);
    use super::Loops;
}

const GUILTY_TAG: &str = "loop";

struct Loops;

struct Table {
    everyone: Vec<u32>,
}

impl Guest for Loops {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        if config::get() == "start" {
            never_come_back();
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
            never_come_back();
        }
        vec![self.everyone.clone(); batch.len()]
    }
}

fn never_come_back() -> ! {
    loop {
        spin_loop();
    }
}
