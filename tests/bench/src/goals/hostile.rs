//! What a tenant that does nothing wrong notices of many whose plugins do everything that they should not: how long its
//! publishes take, in turn alone and beside them.

use std::time::Duration;

use anyhow::Context;
use posthouse_load::drive;
use posthouse_load::statistics::percentile;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const PUBLISHES_PER_SECOND: u32 = 200;
/// How many connections share the publishes.
const CONNECTIONS: u16 = 8;
const TOPIC: &str = "quiet";
const TAG: &str = "x";
/// The topics of the hostile tenant that binds its plugin to very many: each wants an instance.
const TOPICS: usize = 1_000;
const QUICK_TOPICS: usize = 20;
/// The p99 beside the pack is to be within so many times that alone, or above it by so much at most.
const TIMES_MAX: f64 = 2.0;
const MORE_MILLIS_MAX: f64 = 5.0;
/// How long what was begun in one part may take until it is over for the next.
const CALM: Duration = Duration::from_secs(2);

/// Measures both, and compares their 99th percentiles.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    site.ask("CreateTopic", &[("topicName", TOPIC)])?;
    site.create_queue(TOPIC)?;
    site.ask(
        "Subscribe",
        &[
            ("topicName", TOPIC),
            ("subscriptionName", "all"),
            ("protocol", "queue"),
            ("endpoint", TOPIC),
        ],
    )?;
    let topics = if options.quick { QUICK_TOPICS } else { TOPICS };
    let pack = site.gather_pack(topics)?;
    publish(&site, options)?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        std::thread::sleep(CALM);
        alone.extend(publish(&site, options)?);
        let loose = pack.unleash();
        beside.extend(publish(&site, options)?);
        for (name, answered) in loose.end() {
            eprintln!(
                "   {name}: {} taken, {} refused",
                answered.taken, answered.refused
            );
        }
    }
    for (name, taken) in [("alone", &alone), ("beside the pack", &beside)] {
        for percent in [50.0, 99.0] {
            let millis = percentile(taken, percent).context("something was measured")?;
            report.add(
                format!("a quiet tenant's publish, {name}: p{percent}"),
                millis,
                Unit::Millis,
                Bound::None,
            );
        }
    }
    let alone = percentile(&alone, 99.0).context("something was measured")?;
    let beside = percentile(&beside, 99.0).context("something was measured")?;
    report.add(
        "p99 of a quiet tenant's publish beside hostile plugins",
        beside,
        Unit::Millis,
        Bound::AtMost((alone * TIMES_MAX).max(alone + MORE_MILLIS_MAX)),
    );
    Ok(())
}

fn publish(site: &Site, options: &Options) -> anyhow::Result<Vec<f64>> {
    let request = site.signing().publish(TOPIC, TAG, BODY_BYTES);
    drive::steady(
        site.address(),
        CONNECTIONS,
        &request,
        PUBLISHES_PER_SECOND,
        options.part(),
    )
}
