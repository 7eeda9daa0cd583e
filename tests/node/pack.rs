//! A tenant that does nothing wrong, beside many whose plugins do everything that they should not.

use std::time::{Duration, Instant};

use posthouse_tests::{Answered, Client, Node, Pack};

use crate::plugins::{decisions, explain, publish, topic_to_queue};
use crate::{node, program, until};

/// What the quiet tenant publishes, once alone and once beside the pack.
const PUBLISHES: usize = 300;
/// The topics of the one that has many.
const TOPICS: usize = 20;

/// Publishes one after the other, and returns how long each took and the message ids.
fn publish_all(client: &mut Client) -> (Vec<Duration>, Vec<String>) {
    let one = |_| {
        let began = Instant::now();
        let answer = publish(client, "quiet", "x").success().unwrap();
        (began.elapsed(), answer.text("msgId").to_owned())
    };
    (0..PUBLISHES).map(one).unzip()
}

/// Takes everything out of a queue that is to have so much in it.
fn drain(client: &mut Client, queue: &str, count: usize) {
    let mut left = count;
    while left > 0 {
        let asked = [
            ("queueName", queue),
            ("numOfMsg", "16"),
            ("pollingWaitSeconds", "20"),
        ];
        let got = client
            .ask("BatchReceiveMessage", &asked)
            .unwrap()
            .success()
            .unwrap();
        left = left
            .checked_sub(got.0["msgInfoList"].as_array().unwrap().len())
            .unwrap();
    }
}

fn p99(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken[taken.len() * 99 / 100]
}

fn is_ready(node: &Node) -> bool {
    crate::get(node, "/readyz").0 == 200
}

#[test]
fn a_pack_of_hostile_plugins_changes_nothing_for_a_tenant_beside_it() {
    let node = node();
    let mut quiet = node.client();
    topic_to_queue(&mut quiet, "quiet", &[], "q", "");
    let pack = Pack::gather(program(), &node, TOPICS).unwrap();
    let (alone, before) = publish_all(&mut quiet);

    let loose = pack.unleash();
    let (beside, during) = publish_all(&mut quiet);
    assert!(is_ready(&node));
    let answered = loose.end();
    println!(
        "p99 of a quiet tenant's publish: {:?} alone, {:?} beside the pack",
        p99(alone),
        p99(beside)
    );
    println!("the pack was answered {answered:#?}");

    // None of its messages was lost, decided otherwise, or held up; and each of the pack got its answers.
    drain(&mut quiet, "q", 2 * PUBLISHES);
    let of = |id: &String| decisions(&explain(&node, id));
    assert_eq!(of(&before[0]), of(&during[PUBLISHES - 1]));
    for (
        name,
        Answered {
            taken,
            refused,
            unanswered,
        },
    ) in answered
    {
        let asked = name == "compiles" || taken + refused > 0;
        assert!(asked && (unanswered == 0 || name == "compiles"), "{name}");
    }
    // What they used up comes back, and the node is as it was.
    until(|| is_ready(&node).then_some(()));
    publish(&mut quiet, "quiet", "x").success().unwrap();
}
