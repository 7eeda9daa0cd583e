//! A random course: producers and consumers at work while nodes are killed, paused, stopped and cut off, and come
//! back, while replicas are moved, nodes join and leave, and disks are lost; then the history of all calls is checked.
//!
//! `POSTHOUSE_COURSE_SECONDS` says how long, `POSTHOUSE_COURSE_SEED` which one: the seed decides what is done to which
//! node and what clients ask; the machine's own timing stays its own, and with it how far a change of members has come
//! when something happens to a node.

mod changes;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posthouse_tests::history::{Call, End, Got, Name, Rules, Span, violations};
use posthouse_tests::{Answer, Client, Cluster, Node};

use crate::LOOK_AGAIN;
use crate::cuts::wired;
use crate::slow::{set_delay, with_slow_disks};

use changes::Members;

const SECONDS_USUAL: u64 = 120;
/// How many nodes there are: one more than a set has replicas, so that one of them may be out.
const NODES: usize = 4;
const SETS: u8 = 3;
/// After how many mishaps a change of members begins, on average.
const MISHAPS_A_CHANGE: u64 = 3;
const QUEUES: usize = 3;
const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;
/// The queue that the first consumer reads alone.
const ORDERED_QUEUE: usize = 0;
const VISIBILITY: Duration = Duration::from_secs(6);
/// How much faster than this machine's clock set time runs while it is led towards the wall clock.
const SLEW_PARTS_PER_MILLION: u32 = 500;
/// How long each piece takes between nodes that are far from each other.
const SLOW: Duration = Duration::from_millis(20);

/// How much longer a sync of a slow disk takes.
const SLOW_SYNC: Duration = Duration::from_millis(200);

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Kill,
    Pause,
    Stop,
    /// It neither hears the others nor is heard.
    Isolate,
    /// One of the others does not hear it.
    Mute,
    /// All between it and the others takes longer.
    Slow,
    /// Each sync of its disk takes longer.
    SlowDisk,
    /// Nothing.
    Spare,
}

const MISHAPS: [Mishap; 8] = [
    Mishap::Kill,
    Mishap::Pause,
    Mishap::Stop,
    Mishap::Isolate,
    Mishap::Mute,
    Mishap::Slow,
    Mishap::SlowDisk,
    Mishap::Spare,
];

/// Numbers from a seed (SplitMix64).
struct Chance(u64);

/// What the clients of a course share.
struct Course {
    began: Instant,
    calls: Mutex<Vec<Call>>,
    stop: AtomicBool,
}

/// A client that goes from node to node, one for each call.
struct Wanderer {
    clients: Vec<Client>,
    chance: Chance,
}

// === impl Chance ===

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

// === impl Course ===

impl Course {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Makes a call, and returns when, and how it ended.
    fn call(&self, ask: impl FnOnce() -> anyhow::Result<Answer>) -> (Span, anyhow::Result<Answer>) {
        let began = self.began.elapsed();
        let answer = ask();
        let ended = self.began.elapsed();
        (Span { began, ended }, answer)
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn produce(&self, producer: usize, mut wanderer: Wanderer) {
        let mut number = 0;
        while self.goes_on() {
            number += 1;
            let queue = usize::try_from(wanderer.chance.below(QUEUES as u64)).unwrap();
            let name = Name {
                queue,
                producer,
                number,
            };
            let delay = match queue != ORDERED_QUEUE && wanderer.chance.one_in(8) {
                true => wanderer.chance.below(5) + 1,
                false => 0,
            };
            let body = format!("{queue}/{producer}/{number}");
            let (queue_name, delay_text) = (queue_name(queue), delay.to_string());
            let client = wanderer.client();
            let (span, answer) = self.call(|| {
                client.ask(
                    "SendMessage",
                    &[
                        ("queueName", &queue_name),
                        ("msgBody", &body),
                        ("delaySeconds", &delay_text),
                    ],
                )
            });
            self.note(Call::Send {
                span,
                name,
                delay: Duration::from_secs(delay),
                end: end(&answer),
            });
        }
    }

    fn consume(&self, consumer: usize, mut wanderer: Wanderer) {
        while self.goes_on() {
            let queue = match consumer {
                0 => ORDERED_QUEUE,
                _ => 1 + usize::try_from(wanderer.chance.below(QUEUES as u64 - 1)).unwrap(),
            };
            // One at a time where order is looked at, and nothing left undeleted.
            let most = if queue == ORDERED_QUEUE {
                1
            } else {
                1 + wanderer.chance.below(8)
            };
            let wait = wanderer.chance.below(3);
            let got = self.receive(&mut wanderer, queue, most, wait);
            for (name, handle) in got {
                if queue != ORDERED_QUEUE && wanderer.chance.one_in(10) {
                    continue;
                }
                self.delete(&mut wanderer, name, &handle);
            }
        }
    }

    fn receive(&self, wanderer: &mut Wanderer, queue: usize, most: u64, wait: u64) -> Vec<(Name, String)> {
        let (queue_name, most_text, wait) = (queue_name(queue), most.to_string(), wait.to_string());
        let client = wanderer.client();
        let (span, answer) = self.call(|| {
            client.ask(
                "BatchReceiveMessage",
                &[
                    ("queueName", &queue_name),
                    ("numOfMsg", &most_text),
                    ("pollingWaitSeconds", &wait),
                ],
            )
        });
        let no_message = answer.as_ref().is_ok_and(|answer| answer.code() == 7000);
        let messages = match &answer {
            Ok(answer) if answer.code() == 0 => {
                answer.0["msgInfoList"].as_array().cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut handles = Vec::new();
        let got: Vec<Got> = messages
            .iter()
            .map(|message| {
                let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
                let body = text("msgBody");
                let mut parts = body.split('/').map(|part| part.parse::<u64>().unwrap());
                let mut part = || parts.next().unwrap();
                let name = Name {
                    queue: usize::try_from(part()).unwrap(),
                    producer: usize::try_from(part()).unwrap(),
                    number: part(),
                };
                handles.push((name.clone(), text("receiptHandle")));
                Got {
                    name,
                    id: text("msgId"),
                    count: message["dequeueCount"].as_u64().unwrap_or_default(),
                }
            })
            .collect();
        let got = match no_message {
            true => Ok(got),
            false => match end(&answer) {
                End::Done => Ok(got),
                other => Err(other),
            },
        };
        self.note(Call::Receive {
            span,
            queue,
            max: most,
            got,
        });
        handles
    }

    fn delete(&self, wanderer: &mut Wanderer, name: Name, handle: &str) {
        let queue_name = queue_name(name.queue);
        let client = wanderer.client();
        let (span, answer) = self.call(|| {
            client.ask(
                "DeleteMessage",
                &[("queueName", &queue_name), ("receiptHandle", handle)],
            )
        });
        let end = end(&answer);
        self.note(Call::Delete { span, name, end });
    }
}

// === impl Wanderer ===

impl Wanderer {
    /// Returns the client of a node that can be reached, if any can just now.
    fn client(&mut self) -> &mut Client {
        let count = self.clients.len();
        let first = usize::try_from(self.chance.below(count as u64)).unwrap();
        let nodes = (first..first + count).map(|node| node % count);
        let found = nodes
            .into_iter()
            .find(|node| self.clients[*node].connect().is_ok());
        if found.is_none() {
            std::thread::sleep(LOOK_AGAIN);
        }
        &mut self.clients[found.unwrap_or(first)]
    }
}

/// Returns how a call ended, as far as its client can tell.
fn end(answer: &anyhow::Result<Answer>) -> End {
    match answer {
        Ok(answer) if answer.code() == 0 => End::Done,
        Ok(answer) if answer.text("message").contains("may have been done") => End::MayBeDone,
        Ok(_) => End::NotDone,
        Err(_) => End::MayBeDone,
    }
}

/// Writes all calls down, one a line, for whoever looks for what went wrong.
fn keep(calls: &[Call], seed: u64) -> PathBuf {
    let path = std::env::temp_dir().join(format!("posthouse-course-{seed}.history"));
    let lines: Vec<String> = calls.iter().map(|call| format!("{call:?}\n")).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    path
}

fn queue_name(queue: usize) -> String {
    format!("course-{queue}")
}

fn setting(variable: &str, usual: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// Has something happen to a node for a while, if it runs. What it is muted to is the other one.
fn mishap(cluster: &mut Cluster, what: Mishap, (node, other): (usize, usize), pause: Duration) {
    let what = match cluster.node(node).pid() {
        Some(_) => what,
        None => Mishap::Spare,
    };
    match what {
        Mishap::Kill => {
            cluster.node_mut(node).kill();
            std::thread::sleep(pause);
            cluster.node_mut(node).launch().unwrap();
        }
        Mishap::Pause => {
            cluster.node(node).pause().unwrap();
            std::thread::sleep(pause);
            cluster.node(node).resume().unwrap();
        }
        Mishap::Stop => {
            assert_eq!(cluster.node_mut(node).terminate().unwrap(), Some(0));
            std::thread::sleep(pause);
            cluster.node_mut(node).launch().unwrap();
        }
        Mishap::Isolate => cluster.wires().unwrap().isolate(node),
        Mishap::Mute => cluster.wires().unwrap().cut(node, other),
        Mishap::Slow => cluster.wires().unwrap().slow(node, SLOW),
        Mishap::SlowDisk => {
            set_delay(cluster, node, SLOW_SYNC);
            std::thread::sleep(pause);
            set_delay(cluster, node, Duration::ZERO);
        }
        Mishap::Spare => {}
    }
    match what {
        Mishap::Kill | Mishap::Pause | Mishap::Stop | Mishap::SlowDisk => {}
        Mishap::Isolate | Mishap::Mute | Mishap::Slow | Mishap::Spare => {
            std::thread::sleep(pause);
            cluster.wires().unwrap().mend();
        }
    }
}

#[test]
fn a_random_course_keeps_every_promise() {
    let fresh = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let seed = setting("POSTHOUSE_COURSE_SEED", fresh);
    let seconds = setting("POSTHOUSE_COURSE_SECONDS", SECONDS_USUAL);
    println!("POSTHOUSE_COURSE_SEED={seed} POSTHOUSE_COURSE_SECONDS={seconds}");
    let mut chance = Chance(seed);
    let mut cluster = wired(SETS);
    cluster.plan_one_more().unwrap();
    cluster.introduce_all();
    let mut cluster = with_slow_disks(cluster);
    let mut members = Members::without_the_last(SETS);
    for queue in 0..QUEUES {
        let visibility = VISIBILITY.as_secs().to_string();
        cluster
            .node(1)
            .client()
            .ask(
                "CreateQueue",
                &[
                    ("queueName", &queue_name(queue)),
                    ("visibilityTimeout", &visibility),
                ],
            )
            .unwrap()
            .success()
            .unwrap();
    }
    let course = Arc::new(Course {
        began: Instant::now(),
        calls: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let wanderer = |chance: &mut Chance| Wanderer {
        clients: cluster.nodes().iter().map(Node::client).collect(),
        chance: Chance(chance.next()),
    };
    let mut workers = Vec::new();
    for producer in 0..PRODUCERS {
        let (course, wanderer) = (Arc::clone(&course), wanderer(&mut chance));
        workers.push(std::thread::spawn(move || course.produce(producer, wanderer)));
    }
    for consumer in 0..CONSUMERS {
        let (course, wanderer) = (Arc::clone(&course), wanderer(&mut chance));
        workers.push(std::thread::spawn(move || course.consume(consumer, wanderer)));
    }
    let mut reader = wanderer(&mut chance);
    while course.began.elapsed() < Duration::from_secs(seconds) {
        let pause = Duration::from_millis(500 + chance.below(4_000));
        let node = members.or_next(1 + usize::try_from(chance.below(NODES as u64)).unwrap());
        let other = members.or_next(node % NODES + 1);
        let what = MISHAPS[usize::try_from(chance.below(MISHAPS.len() as u64)).unwrap()];
        if chance.one_in(MISHAPS_A_CHANGE) {
            members.begin(&mut cluster, &mut chance);
        }
        println!("{:?}: {what:?} node {node} for {pause:?}", course.began.elapsed());
        mishap(&mut cluster, what, (node, other), pause);
        members.go_on(&mut cluster);
    }
    course.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    members.wait_settled(&mut cluster);
    cluster.wait_ready().unwrap();
    // Whatever is left becomes visible within the visibility timeout: leases end, delays are over before.
    let mut quiet = Instant::now();
    while quiet.elapsed() < VISIBILITY + Duration::from_secs(4) {
        for queue in 0..QUEUES {
            for (name, handle) in course.receive(&mut reader, queue, 16, 0) {
                quiet = Instant::now();
                course.delete(&mut reader, name, &handle);
            }
        }
    }
    let calls = std::mem::take(&mut *course.calls.lock().unwrap());
    let done = |call: &&Call| matches!(call, Call::Send { end: End::Done, .. });
    println!(
        "{} calls, {} sends acknowledged, {} changes of members",
        calls.len(),
        calls.iter().filter(done).count(),
        members.began()
    );
    let rules = Rules {
        visibility: VISIBILITY,
        fast_parts_per_million: SLEW_PARTS_PER_MILLION,
        ordered_queue: ORDERED_QUEUE,
    };
    let found = violations(&calls, &rules);
    if !found.is_empty() {
        let kept = keep(&calls, seed);
        panic!(
            "seed {seed}: {} violations, all calls are in {}, first {:#?}",
            found.len(),
            kept.display(),
            &found[..found.len().min(20)]
        );
    }
    assert!(
        calls.iter().filter(done).count() > 100,
        "hardly anything was sent"
    );
}
