//! Listings come from the projection: they show what was acknowledged, whatever became of its files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use posthouse_tests::{Client, Node};
use serde_json::Value;

use crate::node;
use crate::sealing::run;

/// Names as written, by folded name: the order of listings.
type Names = BTreeMap<String, String>;

/// What becomes of the projection's folder.
type Damage = fn(&Path);

/// What was made and not removed again, as far as it was acknowledged.
#[derive(Default)]
struct Expected {
    queues: Names,
    topics: Names,
}

impl Expected {
    fn make(&mut self, client: &mut Client, action: &str, name: &str) {
        let (names, parameter) = self.of(action);
        names.insert(name.to_lowercase(), name.to_owned());
        client
            .ask(action, &[(parameter, name)])
            .unwrap()
            .success()
            .unwrap();
    }

    fn remove(&mut self, client: &mut Client, action: &str, name: &str) {
        let (names, parameter) = self.of(action);
        names.remove(&name.to_lowercase()).unwrap();
        client
            .ask(action, &[(parameter, name)])
            .unwrap()
            .success()
            .unwrap();
    }

    fn of(&mut self, action: &str) -> (&mut Names, &'static str) {
        match action.ends_with("Queue") {
            true => (&mut self.queues, "queueName"),
            false => (&mut self.topics, "topicName"),
        }
    }

    /// Compares every listing of the node with what is expected.
    fn check(&self, node: &Node) {
        let mut client = node.client();
        for (action, list, field, names) in [
            ("ListQueue", "queueList", "queueName", &self.queues),
            ("ListTopic", "topicList", "topicName", &self.topics),
        ] {
            for search in ["", "A", "-1", "nowhere"] {
                let wanted = |folded: &str| folded.contains(&search.to_lowercase());
                let names: Vec<&String> = names
                    .iter()
                    .filter(|(folded, _)| wanted(folded))
                    .map(|(_, name)| name)
                    .collect();
                assert_eq!(
                    pages(&mut client, action, (list, field), search),
                    names.into_iter().cloned().collect::<Vec<_>>()
                );
            }
        }
        for (kind, names) in [("queue", &self.queues), ("topic", &self.topics)] {
            let listed = listed(node, &[kind, "list"]);
            assert!(listed.iter().eq(names.values()), "{kind}: {listed:?}");
        }
        assert_eq!(
            listed(node, &["plugin", "list"]),
            ["http-push", "kms-envelope", "queue-push", "topic-router"]
        );
        assert_eq!(listed(node, &["tenant", "list"]), ["Acme", "dev"]);
    }
}

#[test]
fn a_listing_shows_what_was_acknowledged_before_it() {
    let node = node();
    std::thread::scope(|scope| {
        for letter in ['a', 'B', 'c'] {
            let mut client = node.client();
            scope.spawn(move || {
                for number in 0..30 {
                    let name = format!("{letter}-{number}");
                    let found =
                        |client: &mut Client| pages(client, "ListQueue", ("queueList", "queueName"), &name);
                    client
                        .ask("CreateQueue", &[("queueName", &name)])
                        .unwrap()
                        .success()
                        .unwrap();
                    assert!(found(&mut client).contains(&name));
                    client
                        .ask("DeleteQueue", &[("queueName", &name)])
                        .unwrap()
                        .success()
                        .unwrap();
                    assert!(!found(&mut client).contains(&name));
                }
            });
        }
    });
}

#[test]
fn listings_survive_whatever_becomes_of_the_projection() {
    let mut node = node();
    let mut client = node.client();
    let mut expected = Expected::default();
    run(&node, &["tenant", "create", "Acme"]);
    for number in 0..60 {
        let letter = ["a", "B", "c"][number % 3];
        expected.make(&mut client, "CreateQueue", &format!("{letter}-{number}"));
        expected.make(&mut client, "CreateTopic", &format!("{letter}-{number}"));
    }
    for name in ["a-0", "B-31"] {
        expected.remove(&mut client, "DeleteQueue", name);
        expected.remove(&mut client, "DeleteTopic", name);
    }
    expected.check(&node);
    let brought_up = "listings are brought up to the directory";
    let anew = "the projection cannot be opened; it is made anew";
    let restarts: [(&str, Damage, Option<&str>); 7] = [
        ("nothing", |_| {}, None),
        ("its folder is gone", remove, Some(brought_up)),
        ("it is no folder", replace, Some(anew)),
        (
            "its settings are zeroes",
            |folder| overwrite(&folder.join("conf"), 0..4, 0),
            Some(anew),
        ),
        (
            "its rows are zeroes",
            |folder| overwrite(&folder.join("db"), 0..4, 0),
            Some(brought_up),
        ),
        (
            "its rows are garbage",
            |folder| overwrite(&folder.join("db"), 0..4, 0xa5),
            Some(brought_up),
        ),
        // Perhaps none that is still in use.
        (
            "some rows are garbage",
            |folder| overwrite(&folder.join("db"), 1..2, 0xa5),
            Some(""),
        ),
    ];
    for (number, (what, damage, told)) in restarts.into_iter().enumerate() {
        assert_eq!(node.terminate().unwrap(), Some(0));
        node.take_log();
        damage(&node.data().join("projection"));
        node.launch().unwrap();
        expected.check(&node);
        // And it goes on being fed.
        let mut client = node.client();
        expected.make(&mut client, "CreateQueue", &format!("After-{number}"));
        expected.remove(&mut client, "DeleteTopic", &format!("c-{}", 2 + 3 * number));
        expected.check(&node);
        // What was not made durable is found missing, and written again.
        node.kill();
        let log = node.take_log();
        let is_told = |text: &str| log.iter().any(|line| line.contains(text));
        match told {
            Some(told) => assert!(is_told(told), "{what}: {log:#?}"),
            None => assert!(!is_told(brought_up), "{what}: {log:#?}"),
        }
        node.launch().unwrap();
        expected.check(&node);
    }
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
}

fn replace(folder: &Path) {
    remove(folder);
    std::fs::write(folder, "nonsense").unwrap();
}

/// Writes one byte over some of the fourths of a file.
fn overwrite(path: &Path, fourths: Range<usize>, with: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = |fourth| bytes.len() * fourth / 4;
    let (from, to) = (at(fourths.start), at(fourths.end));
    bytes[from..to].fill(with);
    std::fs::write(path, bytes).unwrap();
}

/// Returns all names that a listing has, page by page, and checks that each page says how many there are.
fn pages(client: &mut Client, action: &str, (list, field): (&str, &str), search: &str) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let offset = names.len().to_string();
        let parameters = [("searchWord", search), ("offset", &offset), ("limit", "17")];
        let page = client.ask(action, &parameters).unwrap().success().unwrap();
        let items = page.0[list].as_array().unwrap();
        names.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        if items.len() < 17 {
            assert_eq!(page.0["totalCount"], names.len());
            return names;
        }
    }
}

/// Returns the names that a command lists.
fn listed(node: &Node, command: &[&str]) -> Vec<String> {
    let output = run(node, &[command, &["--json"]].concat());
    let items: Vec<Value> = serde_json::from_str(&output).unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}
