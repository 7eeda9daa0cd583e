//! Binding keys: patterns of words between dots, where `*` is exactly one word and `#` one or more.
//!
//! Words are compared with case, and an empty word is a word: `a..b` has three, and a message without a routing key
//! has one, so that `#` takes every message.
//!
//! The keys of all subscriptions form one trie. A routing key walks it word by word with the set of the nodes where a
//! key that matches so far may stand, so keys that begin otherwise are never looked at.

use std::collections::BTreeMap;

const WORD_END: char = '.';
const ONE_WORD: &str = "*";
const WORDS: &str = "#";

/// The number of a node in its table; the root is 0.
type NodeId = usize;

/// Subscriptions by their binding keys.
pub(crate) struct KeyTable {
    nodes: Vec<Node>,
}

/// The nodes that a routing key's walk has come to: kept from one message to the next, so that no word needs memory of
/// its own.
#[derive(Default)]
pub(crate) struct Walk {
    reached: Vec<NodeId>,
    next: Vec<NodeId>,
}

/// Where keys with the same beginning stand after it.
#[derive(Default)]
struct Node {
    exact: BTreeMap<String, NodeId>,
    one_word: Option<NodeId>,
    words: Option<NodeId>,
    /// Whether this node is its parent's `words`, and so takes any further word as well.
    repeats: bool,
    /// The subscriptions with a key that ends here.
    ends: Vec<u32>,
}

// === impl KeyTable ===

impl KeyTable {
    /// Indexes the subscriptions' binding keys, given in the order of their positions.
    pub(crate) fn new<'a>(subscriptions: impl Iterator<Item = &'a [String]>) -> Self {
        let mut table = Self {
            nodes: vec![Node::default()],
        };
        for (position, keys) in (0..).zip(subscriptions) {
            for key in keys {
                table.insert(key, position);
            }
        }
        table
    }

    /// Returns the positions that a message with this routing key reaches, in no order and perhaps repeated.
    pub(crate) fn matches(&self, routing_key: &str, walk: &mut Walk) -> Vec<u32> {
        walk.begin();
        for word in routing_key.split(WORD_END) {
            walk.step(self, word);
        }
        let ends = || walk.reached.iter().map(|&id| &self.nodes[id].ends);
        // Exactly as many as there are: what is handed to the host is shrunk to that, which is another allocation.
        let mut positions = Vec::with_capacity(ends().map(Vec::len).sum());
        ends().for_each(|ends| positions.extend_from_slice(ends));
        positions
    }

    fn insert(&mut self, key: &str, position: u32) {
        let mut id = 0;
        for word in key.split(WORD_END) {
            id = self.child_or_new(id, word);
        }
        self.nodes[id].ends.push(position);
    }

    fn child_or_new(&mut self, parent: NodeId, word: &str) -> NodeId {
        let fresh = self.nodes.len();
        let node = &mut self.nodes[parent];
        let child = match word {
            ONE_WORD => *node.one_word.get_or_insert(fresh),
            WORDS => *node.words.get_or_insert(fresh),
            _ => *node.exact.entry(word.to_owned()).or_insert(fresh),
        };
        if child == fresh {
            self.nodes.push(Node {
                repeats: word == WORDS,
                ..Node::default()
            });
        }
        child
    }
}

// === impl Walk ===

impl Walk {
    /// Goes back to the root.
    fn begin(&mut self) {
        self.reached.clear();
        self.reached.push(0);
    }

    /// Goes on to the nodes that one more word leads to, each once: a node of `#` is reached from itself and from its
    /// parent, and without this a key such as `#.#.#` would double the work with each word.
    fn step(&mut self, table: &KeyTable, word: &str) {
        self.next.clear();
        for &id in &self.reached {
            let node = &table.nodes[id];
            self.next.extend(node.exact.get(word));
            self.next.extend(node.one_word);
            self.next.extend(node.words);
            if node.repeats {
                self.next.push(id);
            }
        }
        if self.next.len() > 1 {
            self.next.sort_unstable();
            self.next.dedup();
        }
        std::mem::swap(&mut self.reached, &mut self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes that a routing key's walk looks at, summed over its words.
    fn nodes_looked_at(table: &KeyTable, routing_key: &str) -> usize {
        let mut walk = Walk::default();
        walk.begin();
        let mut looked_at = 0;
        for word in routing_key.split(WORD_END) {
            looked_at += walk.reached.len();
            walk.step(table, word);
        }
        looked_at
    }

    #[test]
    fn keys_that_begin_otherwise_are_not_looked_at() {
        let keys: Vec<_> = (0..10_000).map(|shop| vec![format!("shop{shop}.*.#")]).collect();
        let table = KeyTable::new(keys.iter().map(Vec::as_slice));
        assert_eq!(nodes_looked_at(&table, "shop77.order.paid"), 3);
        assert_eq!(table.matches("shop77.order.paid", &mut Walk::default()), [77]);
    }

    #[test]
    fn many_ways_to_match_one_key_cost_no_more_than_its_words() {
        let key = vec![["#"; 16].join(".")];
        let table = KeyTable::new([key.as_slice()].into_iter());
        let routing_key = ["a"; 16].join(".");
        assert!(nodes_looked_at(&table, &routing_key) <= 16 * 17);
        assert_eq!(table.matches(&routing_key, &mut Walk::default()), [0]);
    }
}
