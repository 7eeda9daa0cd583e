//! A router that wants the time, which no world lends: it is to be refused when it is pushed.

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::types::Envelope;
use bindings::wasi::clocks::monotonic_clock;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package test:grabs;

            world grabs {
                include posthouse:plugin/route@0.1.0;
                import wasi:clocks/monotonic-clock@0.2.0;
            }

            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    now: func() -> u64;
                }
            }
        ",
        world: "test:grabs/grabs",
        generate_all,
    });

    export!(GrabsClock);
    use super::GrabsClock;
}

struct GrabsClock;

struct Table;

impl Guest for GrabsClock {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_filter_type: FilterType, _subscriptions: Vec<Subscription>) -> Self {
        Self
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        let positions = if monotonic_clock::now() == 0 {
            Vec::new()
        } else {
            vec![0]
        };
        vec![positions; batch.len()]
    }
}
