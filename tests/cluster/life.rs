//! The life of a plugin while three nodes serve: another version of it decides from one moment on, everywhere, and the one
//! before again; and a component is on every node that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Cluster, Node};
use serde_json::Value;

use crate::{WITHIN, ask_as, cluster, command, create_queue, done, leader, refusal, tried, until, wait_for};

/// How many messages there are at least before, between and after the changes.
const ENOUGH: usize = 60;
/// How long the way back takes on a quiet machine at most, and what a busy one may make of that.
const ROLLED_BACK_WITHIN: Duration = Duration::from_secs(1);
const BUSY: u32 = 10;
/// A component as large as an interpreter with its libraries.
const LARGE_BYTES: usize = 20 * 1_048_576;

/// What decided about a message, where it went.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Decided {
    sequence: u64,
    directory: u64,
    version: u64,
}

#[test]
fn another_version_decides_from_one_moment_on_under_load_and_the_one_before_again() {
    let cluster = cluster(2);
    let first = cluster.node(1);
    let mut client = first.client();
    create_queue(&mut client, "sink");
    create_queue(&mut client, "q");
    done(
        &mut client,
        "CreateTopic",
        &[("topicName", "t"), ("filterType", "2")],
    );
    let subscription = [
        ("topicName", "t"),
        ("subscriptionName", "s"),
        ("protocol", "queue"),
        ("endpoint", "sink"),
        ("notifyContentFormat", "SIMPLIFIED"),
        ("bindingKey.1", "lazy.#"),
    ];
    done(&mut client, "Subscribe", &subscription);
    let folder = tempfile::tempdir().unwrap();
    let router = component("plugins/topic-router");
    let filter = component("examples/plugins/json-filter");
    let versions = |plugin: &str, component: &Path, larger_by: usize| {
        let later = padded(component, &folder.path().join(plugin), larger_by);
        [component, &later].map(|file| push(first, plugin, file))
    };
    let routers = versions("router", &router, 1_000);
    command(
        first,
        &[
            "plugin",
            "bind",
            "router",
            "--topic",
            "t",
            "--plugin-version",
            &routers[0].to_string(),
        ],
    );
    let filters = versions("filter", &filter, LARGE_BYTES);
    let config = r#"{"when":{"field":"/price","above":0}}"#;
    command(
        first,
        &[
            "plugin",
            "bind",
            "filter",
            "--queue",
            "q",
            "--config",
            config,
            "--plugin-version",
            &filters[0].to_string(),
        ],
    );

    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut published, mut queued) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let producers: Vec<_> = cluster
            .nodes()
            .iter()
            .zip(1..)
            .map(|(node, number)| {
                let (stop, sent) = (&stop, &sent);
                let client = node.client();
                scope.spawn(move || produce(client, number, stop, sent))
            })
            .collect();
        wait_for(&sent, ENOUGH);
        for plugin in ["router", "filter"] {
            let active = command(cluster.node(2), &["plugin", "activate", plugin]);
            wait_for(&sent, ENOUGH);
            let began = Instant::now();
            let back = command(cluster.node(3), &["plugin", "rollback", plugin]);
            let took = began.elapsed();
            println!("{plugin} was rolled back in {} ms under load", took.as_millis());
            assert!(took < BUSY * ROLLED_BACK_WITHIN, "{took:?}");
            assert!(
                active["version"].as_u64() > back["version"].as_u64(),
                "{active} {back}"
            );
            wait_for(&sent, ENOUGH);
        }
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            let (topic, queue) = producer.join().expect("no publish and no send fails");
            published.extend(topic);
            queued.extend(queue);
        }
    });
    let by_router = decided(&cluster, &published, "route", "t");
    switches_there_and_back(&by_router, routers);
    let by_filter = decided(&cluster, &queued, "filter", "q");
    switches_there_and_back(&by_filter, filters);
}

#[test]
fn a_component_of_twenty_mebibytes_comes_to_every_node_whole() {
    let mut cluster = cluster(1);
    let folder = tempfile::tempdir().unwrap();
    let router = component("plugins/topic-router");
    let large = padded(&router, &folder.path().join("large"), LARGE_BYTES);
    let bytes = std::fs::read(&large).unwrap();
    assert!(bytes.len() > LARGE_BYTES);
    let before = files(cluster.node(1));
    let version = push(cluster.node(1), "large", &large);
    let kept: Vec<String> = files(cluster.node(1)).difference(&before).cloned().collect();
    let [file] = &kept[..] else { panic!("{kept:?}") };
    let holds = |node: &Node| {
        let kept = std::fs::read(node.data().join("components").join(file));
        kept.is_ok_and(|kept| kept == bytes)
    };
    until("all nodes have it", || cluster.nodes().iter().all(holds));
    // It is not in the log: what the log has grown by would show it.
    for node in cluster.nodes() {
        assert!(
            !log_contains(node, &bytes[bytes.len() - 64..]),
            "it is in the log"
        );
    }
    // One node would send wrong bytes, had it not looked at them.
    let damaged = cluster.node(1).data().join("components").join(file);
    let mut wrong = bytes.clone();
    wrong[LARGE_BYTES / 2] ^= 1;
    std::fs::write(&damaged, &wrong).unwrap();
    cluster.add().unwrap();
    until("the new node has it whole", || holds(cluster.node(4)));
    // The one with the wrong bytes is mended when it is to run them.
    let mut client = cluster.node(4).client();
    done(&mut client, "CreateTopic", &[("topicName", "t")]);
    for number in 1..=4 {
        cluster.node_mut(number).kill();
        cluster.node_mut(number).launch().unwrap();
    }
    cluster.wait_ready().unwrap();
    let bind = ["plugin", "bind", "large", "--topic", "t"];
    let bound = command(cluster.node(4), &bind);
    assert_eq!(bound["version"].as_u64(), Some(version), "{bound}");
    until("all nodes have it whole", || cluster.nodes().iter().all(holds));
}

#[test]
fn a_version_that_a_node_cannot_run_is_not_activated_and_a_dead_node_holds_nothing_up() {
    let mut cluster = cluster(1);
    let folder = tempfile::tempdir().unwrap();
    let router = component("plugins/topic-router");
    done(
        &mut cluster.node(1).client(),
        "CreateTopic",
        &[("topicName", "t")],
    );
    let first = push(cluster.node(1), "router", &router);
    command(cluster.node(1), &["plugin", "bind", "router", "--topic", "t"]);
    let later = padded(&router, &folder.path().join("later"), 1_000);
    let second = push(cluster.node(1), "router", &later);
    // The code of what it compiles has nowhere to go, and what is wrong with it is said.
    let victim = leader(cluster.node(1), 0) % 3 + 1;
    let asked = victim % 3 + 1;
    until("all nodes have both", || {
        let counts: BTreeSet<usize> = cluster.nodes().iter().map(|node| files(node).len()).collect();
        counts.len() == 1
    });
    let components = cluster.node(victim).data().join("components");
    let aside = cluster.node(victim).data().join("aside");
    std::fs::rename(&components, &aside).unwrap();
    std::fs::write(&components, b"no folder").unwrap();
    let told = refusal(cluster.node(asked), &["plugin", "activate", "router"]);
    assert!(
        told.contains("cannot run the plugin") && told.contains(&format!("node {victim}")),
        "{told}"
    );
    assert_eq!(
        in_use(cluster.node(asked)),
        first,
        "what was refused changed nothing"
    );
    std::fs::remove_file(&components).unwrap();
    std::fs::rename(&aside, &components).unwrap();
    cluster.node_mut(victim).kill();
    let active = command(cluster.node(asked), &["plugin", "activate", "router"]);
    assert_eq!(active["version"].as_u64(), Some(second));
    // Once it is there again it compiles what is bound before anybody asks.
    let code = cluster.node(victim).data().join("plugin-cache");
    let compiled = || std::fs::read_dir(&code).map_or(0, Iterator::count);
    let before = compiled();
    cluster.node_mut(victim).launch().unwrap();
    until("it is compiled", || compiled() > before);
}

#[test]
fn a_trial_goes_on_by_another_leader() {
    let mut cluster = cluster(1);
    let folder = tempfile::tempdir().unwrap();
    let router = component("plugins/topic-router");
    let mut client = cluster.node(1).client();
    create_queue(&mut client, "sink");
    done(&mut client, "CreateTopic", &[("topicName", "t")]);
    let subscription = [
        ("topicName", "t"),
        ("subscriptionName", "s"),
        ("protocol", "queue"),
        ("endpoint", "sink"),
        ("notifyContentFormat", "SIMPLIFIED"),
    ];
    done(&mut client, "Subscribe", &subscription);
    let first = push(cluster.node(1), "router", &router);
    command(cluster.node(1), &["plugin", "bind", "router", "--topic", "t"]);
    let later = padded(&router, &folder.path().join("later"), 1_000);
    let second = push(cluster.node(1), "router", &later);
    let begin = [
        "plugin",
        "shadow",
        "router",
        "--topic",
        "t",
        "--canary",
        "50",
        "--gate-calls",
        "40",
        "--differences-max",
        "1",
        "--promote",
    ];
    command(cluster.node(2), &begin);
    let mut published = 0;
    let mut publish = |client: &mut Client| {
        published += 1;
        let token = format!("tried-{published}");
        let message = [("topicName", "t"), ("msgBody", "x")];
        let answer = ask_as(client, Some(&token), "PublishMessage", &message);
        answer.success().unwrap();
    };
    for _ in 0..10 {
        publish(&mut client);
    }
    let trial = |node: &Node| command(node, &["plugin", "trials"])[0].clone();
    until("they were compared", || trial(cluster.node(3))["same"] == 10);
    let victim = crate::kill_leader(&mut cluster, 0);
    let left = victim % 3 + 1;
    let mut client = cluster.node(left).client();
    publish(&mut client);
    assert_eq!(trial(cluster.node(left))["state"], "running");
    assert_eq!(in_use(cluster.node(left)), first);
    until("the gate puts it in use", || {
        publish(&mut client);
        trial(cluster.node(left))["state"] == "promoted"
    });
    assert_eq!(in_use(cluster.node(left)), second);
}

/// Publishes to the topic and sends to the queue by turns, until it is told to stop; returns what the messages are called.
fn produce(
    mut client: Client,
    number: usize,
    stop: &AtomicBool,
    sent: &AtomicUsize,
) -> (Vec<String>, Vec<String>) {
    let (mut published, mut queued) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let count = published.len();
        let publish = [("topicName", "t"), ("msgBody", "x"), ("routingKey", "lazy.x")];
        let send = [("queueName", "q"), ("msgBody", r#"{"price":1}"#)];
        for (action, parameters, ids) in [
            ("PublishMessage", &publish[..], &mut published),
            ("SendMessage", &send[..], &mut queued),
        ] {
            let token = format!("{action}-{number}-{count}");
            let answer = ask_as(&mut client, Some(&token), action, parameters);
            ids.push(answer.success().unwrap().text("msgId").to_owned());
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    (published, queued)
}

/// Returns what each message was decided by on its way into a place, in the order of the place.
fn decided(cluster: &Cluster, ids: &[String], world: &str, place: &str) -> Vec<Decided> {
    let explained = ids.iter().map(|id| command(cluster.node(1), &["explain", id]));
    let mut all: Vec<Decided> = explained
        .map(|explanation| decided_once(&explanation, world, place))
        .collect();
    all.sort();
    all
}

/// Returns what a message was decided by: once.
fn decided_once(explanation: &Value, world: &str, place: &str) -> Decided {
    let decisions = explanation["decisions"].as_array().unwrap().iter();
    let by: Vec<&Value> = decisions.filter(|one| one["world"] == world).collect();
    let [by] = by[..] else {
        panic!("decided {} times: {explanation}", by.len())
    };
    let places = explanation["places"].as_array().unwrap();
    let at = places.iter().find(|at| at["name"] == place).unwrap();
    Decided {
        sequence: at["sequence"].as_u64().unwrap(),
        directory: by["directory_index"].as_u64().unwrap(),
        version: by["version"].as_u64().unwrap(),
    }
}

/// In the order of the place, the first version decides, then the second, then the first: each from one index of the
/// directory on.
fn switches_there_and_back(decided: &[Decided], versions: [u64; 2]) {
    let mut spans: Vec<(u64, BTreeSet<u64>)> = Vec::new();
    for one in decided {
        match spans.last_mut() {
            Some((version, indexes)) if *version == one.version => {
                indexes.insert(one.directory);
            }
            Some(_) | None => spans.push((one.version, BTreeSet::from([one.directory]))),
        }
    }
    let [first, second] = versions;
    let found: Vec<u64> = spans.iter().map(|(version, _)| *version).collect();
    assert_eq!(found, [first, second, first], "{spans:?}");
    let indexes: Vec<u64> = decided.iter().map(|one| one.directory).collect();
    assert!(
        indexes.is_sorted(),
        "a decision came after one of a later index: {spans:?}"
    );
    let mut by_index: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for one in decided {
        by_index.entry(one.directory).or_default().insert(one.version);
    }
    assert!(
        by_index.values().all(|versions| versions.len() == 1),
        "one index, two versions: {by_index:?}"
    );
}

fn component(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder)
        .join("component.wasm")
}

/// Writes a component that does what another does and is so much larger.
fn padded(component: &Path, file: &Path, by: usize) -> PathBuf {
    let mut bytes = std::fs::read(component).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let padding = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let mut section = b"\x07padding".to_vec();
    section.extend(padding.take(by));
    bytes.push(0);
    let mut size = section.len();
    while size > 0x7f {
        bytes.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    bytes.extend(section);
    std::fs::File::create(file).unwrap().write_all(&bytes).unwrap();
    file.to_owned()
}

/// Pushes a version, and returns its number. A busy machine may take longer to agree on it than a call has.
fn push(node: &Node, plugin: &str, file: &Path) -> u64 {
    let arguments = ["plugin", "push", plugin, file.to_str().unwrap()];
    let began = Instant::now();
    loop {
        match tried(node, &arguments) {
            Ok(pushed) => return pushed["version"].as_u64().unwrap(),
            Err(told) => assert!(began.elapsed() < WITHIN, "{told}"),
        }
    }
}

fn in_use(node: &Node) -> u64 {
    let bindings = command(node, &["plugin", "bindings"]);
    let of_topic = bindings
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["place"]["topic"] == "t");
    of_topic.unwrap()["version"].as_u64().unwrap()
}

/// Returns the names of the components that a node keeps.
fn files(node: &Node) -> BTreeSet<String> {
    let files = std::fs::read_dir(node.data().join("components")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".wasm")).collect()
}

/// Returns whether some bytes are in a file of the node's that is no component and no compiled one.
fn log_contains(node: &Node, bytes: &[u8]) -> bool {
    let mut folders = vec![node.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["components", "plugin-cache"].contains(&&*name) {
                    folders.push(path);
                }
                continue;
            }
            // A file may be let go of meanwhile.
            let Ok(content) = std::fs::read(&path) else {
                continue;
            };
            if content.windows(bytes.len()).any(|window| window == bytes) {
                return true;
            }
        }
    }
    false
}
