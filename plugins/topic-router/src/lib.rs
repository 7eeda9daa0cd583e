//! The built-in router: filter tags and binding keys, as CMQ has them.
//!
//! A table is made once for a topic's subscriptions and then answers batches. Both kinds of it are indexes: what a
//! match costs grows with the message and with what it reaches, not with the subscriptions that it does not reach.

mod binding_keys;
mod tags;

use binding_keys::{KeyTable, Walk};
use bindings::exports::posthouse::plugin::router::{FilterType, Guest, GuestTable, Subscription};
use bindings::posthouse::plugin::types::Envelope;
use tags::TagTable;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "route" });

    export!(TopicRouter);
    use super::TopicRouter;
}

struct TopicRouter;

/// A topic's subscriptions, indexed by what the topic filters on.
enum Table {
    Tags(TagTable),
    BindingKeys(KeyTable),
}

impl Guest for TopicRouter {
    type Table = Table;
}

// === impl Table ===

impl GuestTable for Table {
    fn new(filter_type: FilterType, subscriptions: Vec<Subscription>) -> Self {
        match filter_type {
            FilterType::Tags => Self::Tags(TagTable::new(
                subscriptions
                    .iter()
                    .map(|subscription| subscription.filter_tags.as_slice()),
            )),
            FilterType::BindingKeys => Self::BindingKeys(KeyTable::new(
                subscriptions
                    .iter()
                    .map(|subscription| subscription.binding_keys.as_slice()),
            )),
        }
    }

    fn match_(&self, batch: Vec<Envelope>) -> Vec<Vec<u32>> {
        let mut walk = Walk::default();
        let envelopes = batch.iter();
        envelopes
            .map(|envelope| self.positions(envelope, &mut walk))
            .collect()
    }
}

impl Table {
    /// Returns the positions of the subscriptions that a message reaches: ascending, each once.
    fn positions(&self, envelope: &Envelope, walk: &mut Walk) -> Vec<u32> {
        let mut positions = match self {
            Self::Tags(table) => table.matches(&envelope.tags),
            Self::BindingKeys(table) => table.matches(&envelope.routing_key, walk),
        };
        if positions.len() > 1 {
            positions.sort_unstable();
            positions.dedup();
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn table(filter_type: FilterType, asked: &[Vec<String>]) -> Table {
        let subscriptions = asked.iter().map(|asked| Subscription {
            name: String::new(),
            filter_tags: asked.clone(),
            binding_keys: asked.clone(),
        });
        GuestTable::new(filter_type, subscriptions.collect())
    }

    fn envelope(tags: &[&str], routing_key: &str) -> Envelope {
        Envelope {
            id: 1,
            produced_ms: 0,
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            routing_key: routing_key.to_owned(),
            body_bytes: 0,
            attributes: Vec::new(),
        }
    }

    fn asked(subscriptions: &[&[&str]]) -> Vec<Vec<String>> {
        subscriptions
            .iter()
            .map(|asked| asked.iter().map(|&asked| asked.to_owned()).collect())
            .collect()
    }

    /// Whether a binding key matches, decided by its definition.
    fn matches_naively(key: &[&str], words: &[&str]) -> bool {
        match (key, words) {
            ([], []) => true,
            (["#", key @ ..], [_, words @ ..]) => {
                matches_naively(key, words) || matches_naively(&[&["#"], key].concat(), words)
            }
            ([pattern, key @ ..], [word, words @ ..]) => {
                (*pattern == "*" || pattern == word) && matches_naively(key, words)
            }
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }

    fn positions_where(asked: &[Vec<String>], takes: impl Fn(&[String]) -> bool) -> Vec<u32> {
        (0..)
            .zip(asked)
            .filter(|(_, asked)| takes(asked))
            .map(|(position, _)| position)
            .collect()
    }

    #[test]
    fn keys_match_as_cmq_documents() {
        let keys = asked(&[
            &["1.*.0"],
            &["1.#.0"],
            &["#"],
            &["*.*.rabbit", "lazy.#"],
            &["a.b"],
            &["*"],
        ]);
        let table = table(FilterType::BindingKeys, &keys);
        for (routing_key, expected) in [
            ("1.x.0", &[0, 1, 2][..]),
            ("1.2.3.4.4.2.2.0", &[1, 2]),
            ("1.0", &[2]),
            ("quick.orange.rabbit", &[2, 3]),
            ("lazy.orange.rabbit", &[2, 3]),
            ("lazy", &[2, 5]),
            ("lazy.", &[2, 3]),
            ("a.b", &[2, 4]),
            ("A.b", &[2]),
            ("a..b", &[2]),
            ("1..0", &[0, 1, 2]),
            ("", &[2, 5]),
        ] {
            assert_eq!(
                table.positions(&envelope(&[], routing_key), &mut Walk::default()),
                expected,
                "{routing_key:?}"
            );
        }
    }

    #[test]
    fn tags_match_as_cmq_documents() {
        let table = table(FilterType::Tags, &asked(&[&[], &["a"], &["a", "b"], &["c"]]));
        for (tags, expected) in [
            (&[][..], &[0][..]),
            (&["a"], &[0, 1, 2]),
            (&["b", "c"], &[0, 2, 3]),
            (&["A"], &[0]),
            (&["a", "b"], &[0, 1, 2]),
        ] {
            assert_eq!(
                table.positions(&envelope(tags, ""), &mut Walk::default()),
                expected,
                "{tags:?}"
            );
        }
    }

    #[test]
    fn a_subscription_without_binding_keys_is_reached_by_nothing() {
        let table = table(FilterType::BindingKeys, &asked(&[&[]]));
        assert_eq!(
            table.positions(&envelope(&["a"], "a"), &mut Walk::default()),
            [0; 0]
        );
    }

    #[test]
    fn a_batch_is_answered_message_by_message_in_order() {
        let table = table(FilterType::Tags, &asked(&[&["a"], &["b"]]));
        let batch = vec![envelope(&["b"], ""), envelope(&[], ""), envelope(&["a"], "")];
        assert_eq!(table.match_(batch), [vec![1], vec![], vec![0]]);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_the_definition_of_a_key(
            keys in vec(vec("[ab*#]{0,1}(\\.[ab*#]{0,1}){0,5}", 0..4), 0..12),
            routing_key in "[ab]{0,1}(\\.[ab*#]{0,1}){0,7}",
        ) {
            let words: Vec<_> = routing_key.split('.').collect();
            let expected = positions_where(&keys, |keys| {
                keys.iter().any(|key| matches_naively(&key.split('.').collect::<Vec<_>>(), &words))
            });
            let table = table(FilterType::BindingKeys, &keys);
            prop_assert_eq!(table.positions(&envelope(&[], &routing_key), &mut Walk::default()), expected);
        }

        #[test]
        fn the_index_agrees_with_the_definition_of_tags(
            asked in vec(vec("[abc]", 0..4), 0..12),
            tags in vec("[abcd]", 0..4),
        ) {
            let expected = positions_where(&asked, |asked| {
                asked.is_empty() || asked.iter().any(|tag| tags.contains(tag))
            });
            let tags: Vec<_> = tags.iter().map(String::as_str).collect();
            let table = table(FilterType::Tags, &asked);
            prop_assert_eq!(table.positions(&envelope(&tags, ""), &mut Walk::default()), expected);
        }
    }
}
