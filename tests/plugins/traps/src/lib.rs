//! A router that traps at a message with the tag `trap`; any other reaches every subscription.
//!
//! If the configuration is `start`, making a table traps too. If it is `deep`, the trap is a stack that is used up.

use std::hint::black_box;

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::types::Envelope;
use bindings::posthouse::plugin::{config, log};

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route" });

    export!(Traps);
    use super::Traps;
}

const GUILTY_TAG: &str = "trap";

struct Traps;

struct Table {
    everyone: Vec<u32>,
}

impl Guest for Traps {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        if config::get() == "start" {
            trap();
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
            trap();
        }
        vec![self.everyone.clone(); batch.len()]
    }
}

#[inline(never)]
fn trap() -> ! {
    log::write(log::Level::Error, "about to trap");
    if config::get() == "deep" {
        use_stack(0);
    }
    panic!("as it was told to");
}

#[expect(unconditional_recursion, reason = "it is to use up the stack")]
fn use_stack(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    use_stack(depth + 1) + frame.iter().sum::<u64>()
}
