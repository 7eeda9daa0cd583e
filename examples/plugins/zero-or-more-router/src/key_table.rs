//! Binding keys: words between dots, where `*` is exactly one word and `#` zero or more.
//!
//! All keys form one trie. A routing key walks it word by word, with the set of the nodes where a key that matches so
//! far may stand; since `#` may stand for nothing, whoever stands before it stands behind it as well.

use std::collections::BTreeMap;

/// The number of a node in its table; the root is 0.
type NodeId = usize;

/// Subscriptions by their binding keys.
pub struct KeyTable {
    nodes: Vec<Node>,
}

/// Where keys with the same beginning stand after it.
#[derive(Default)]
struct Node {
    exact: BTreeMap<String, NodeId>,
    /// Behind `*`.
    one_word: Option<NodeId>,
    /// Behind `#`.
    words: Option<NodeId>,
    /// Whether this node is behind a `#`, and so takes any further word as well.
    repeats: bool,
    /// The subscriptions with a key that ends here.
    ends: Vec<u32>,
}

impl KeyTable {
    /// Indexes the subscriptions' binding keys, given in the order of their positions.
    pub fn new(subscriptions: impl Iterator<Item = Vec<String>>) -> Self {
        let mut table = Self {
            nodes: vec![Node::default()],
        };
        for (position, keys) in (0..).zip(subscriptions) {
            for key in keys {
                table.insert(&key, position);
            }
        }
        table
    }

    /// Returns the positions that a routing key reaches: ascending, each once.
    pub fn matches(&self, routing_key: &str) -> Vec<u32> {
        let mut reached = self.with_nothing_for_words(vec![0]);
        for word in words(routing_key) {
            reached = self.with_nothing_for_words(self.after(&reached, word));
        }
        let mut positions: Vec<_> = reached
            .iter()
            .flat_map(|&id| &self.nodes[id].ends)
            .copied()
            .collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    fn insert(&mut self, key: &str, position: u32) {
        let mut id = 0;
        for word in words(key) {
            id = self.child_or_new(id, word);
        }
        self.nodes[id].ends.push(position);
    }

    fn child_or_new(&mut self, parent: NodeId, word: &str) -> NodeId {
        let fresh = self.nodes.len();
        let node = &mut self.nodes[parent];
        let child = match word {
            "*" => *node.one_word.get_or_insert(fresh),
            "#" => *node.words.get_or_insert(fresh),
            _ => *node.exact.entry(word.to_owned()).or_insert(fresh),
        };
        if child == fresh {
            self.nodes.push(Node {
                repeats: word == "#",
                ..Node::default()
            });
        }
        child
    }

    fn after(&self, reached: &[NodeId], word: &str) -> Vec<NodeId> {
        let mut next = Vec::new();
        for &id in reached {
            let node = &self.nodes[id];
            next.extend(node.exact.get(word));
            next.extend(node.one_word);
            if node.repeats {
                next.push(id);
            }
        }
        next
    }

    /// Adds the nodes that stand behind a `#` which stands for nothing. Each node is kept once, or a key such as
    /// `#.#.#` would double the work with each word.
    fn with_nothing_for_words(&self, mut reached: Vec<NodeId>) -> Vec<NodeId> {
        for at in 0..reached.len() {
            let mut next = self.nodes[reached[at]].words;
            while let Some(id) = next {
                reached.push(id);
                next = self.nodes[id].words;
            }
        }
        reached.sort_unstable();
        reached.dedup();
        reached
    }
}

/// Returns a key's words; an empty key has none.
fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').filter(move |_| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(keys: &[&str], routing_key: &str) -> Vec<u32> {
        KeyTable::new(keys.iter().map(|key| vec![key.to_string()])).matches(routing_key)
    }

    /// Whether a binding key matches, decided by its definition.
    fn matches_naively(key: &[&str], words: &[&str]) -> bool {
        match (key, words) {
            ([], []) => true,
            (["#", rest @ ..], _) => {
                matches_naively(rest, words) || (!words.is_empty() && matches_naively(key, &words[1..]))
            }
            ([pattern, key @ ..], [word, words @ ..]) => {
                (*pattern == "*" || pattern == word) && matches_naively(key, words)
            }
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }

    /// Every key of up to so many of these words.
    fn all_keys(words: &[&str], words_max: usize) -> Vec<String> {
        let mut keys = vec![String::new()];
        let mut longest = vec![Vec::new()];
        for _ in 0..words_max {
            let longer = |key: &Vec<String>| {
                let longer = words.iter().map(|word| [&key[..], &[word.to_string()]].concat());
                longer.collect::<Vec<_>>()
            };
            longest = longest.iter().flat_map(longer).collect();
            keys.extend(longest.iter().map(|key| key.join(".")));
        }
        keys
    }

    #[test]
    fn a_hash_stands_for_no_word_too() {
        let keys = ["lazy.#", "a.#.b", "#", "*", "#.#", ""];
        assert_eq!(reached(&keys, "lazy"), [0, 2, 3, 4]);
        assert_eq!(reached(&keys, "lazy.orange.rabbit"), [0, 2, 4]);
        assert_eq!(reached(&keys, "a.b"), [1, 2, 4]);
        assert_eq!(reached(&keys, "a.x.y.b"), [1, 2, 4]);
        assert_eq!(reached(&keys, ""), [2, 4, 5]);
    }

    #[test]
    fn every_short_key_matches_what_its_definition_says() {
        let keys = all_keys(&["a", "b", "*", "#"], 4);
        let table = KeyTable::new(keys.iter().map(|key| vec![key.clone()]));
        for routing_key in all_keys(&["a", "b", "#"], 4) {
            let routing_words: Vec<_> = words(&routing_key).collect();
            let matching = (0..)
                .zip(&keys)
                .filter(|(_, key)| matches_naively(&words(key).collect::<Vec<_>>(), &routing_words));
            let expected: Vec<u32> = matching.map(|(position, _)| position).collect();
            assert_eq!(table.matches(&routing_key), expected, "{routing_key:?}");
        }
    }

    #[test]
    fn a_subscription_is_reached_once_whatever_matches() {
        let keys = ["a.*", "#", "*.b"].map(str::to_owned).to_vec();
        assert_eq!(KeyTable::new([keys].into_iter()).matches("a.b"), [0]);
    }
}
