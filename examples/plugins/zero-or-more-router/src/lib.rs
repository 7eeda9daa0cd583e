//! A router in which `#` stands for zero or more words, as in RabbitMQ.

mod key_table;

use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::types::Envelope;
use key_table::KeyTable;

/// What `wit-bindgen` makes of the contract. `export!` is last: it needs to see the type below.
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "route" });

    export!(ZeroOrMoreRouter);
    use super::ZeroOrMoreRouter;
}

struct ZeroOrMoreRouter;

enum Table {
    /// Each subscription's filter tags. There are at most 500 subscriptions, so looking at all of them will do.
    Tags(Vec<Vec<String>>),
    BindingKeys(KeyTable),
}

impl Guest for ZeroOrMoreRouter {
    type Table = Table;
}

impl GuestTable for Table {
    fn new(filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        let subscriptions = subscriptions.into_iter();
        match filter_type {
            FilterType::Tags => Self::Tags(subscriptions.map(|each| each.filter_tags).collect()),
            FilterType::BindingKeys => {
                Self::BindingKeys(KeyTable::new(subscriptions.map(|each| each.binding_keys)))
            }
        }
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        batch.iter().map(|envelope| self.positions(envelope)).collect()
    }
}

impl Table {
    fn positions(&self, envelope: &Envelope) -> Vec<u32> {
        match self {
            Self::Tags(subscriptions) => {
                let numbered = (0..).zip(subscriptions);
                let taking = numbered.filter(|(_, wanted)| takes(wanted, &envelope.tags));
                taking.map(|(position, _)| position).collect()
            }
            Self::BindingKeys(table) => table.matches(&envelope.routing_key),
        }
    }
}

fn takes(wanted: &[String], tags: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|tag| tags.contains(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_tags_work_as_they_do_in_the_built_in_router() {
        let tags = |tags: &[&str]| tags.iter().map(|tag| tag.to_string()).collect::<Vec<_>>();
        assert!(takes(&tags(&[]), &tags(&[])));
        assert!(takes(&tags(&["a", "b"]), &tags(&["b", "c"])));
        assert!(!takes(&tags(&["a"]), &tags(&["c"])));
        assert!(!takes(&tags(&["a"]), &tags(&[])));
    }
}
