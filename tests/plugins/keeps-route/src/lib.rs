//! A router whose subscriptions take turns: each message reaches the next one, counted in the binding's store.

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::kv;
use bindings::posthouse::plugin::types::Envelope;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route-with-kv" });

    export!(TakesTurns);
    use super::TakesTurns;
}

struct TakesTurns;

struct Table {
    subscriptions: u32,
}

impl Guest for TakesTurns {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(_: FilterType, subscriptions: Vec<Subscription>) -> Self {
        Table {
            subscriptions: subscriptions.len() as u32,
        }
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        let held = kv::get("turn").expect("there is a store");
        let mut turn = held.map_or(0, |held| {
            let bytes = held.value.try_into().expect("four bytes, as they were put");
            u32::from_le_bytes(bytes)
        });
        let mut reached = Vec::with_capacity(batch.len());
        for _ in batch {
            reached.push(turn.checked_rem(self.subscriptions).into_iter().collect());
            turn = turn.wrapping_add(1);
        }
        kv::put("turn", &turn.to_le_bytes(), None).expect("there is room");
        reached
    }
}
