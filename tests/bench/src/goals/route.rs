//! What routing costs: publishing through the router that is a plugin, and through a stub that returns every
//! subscription, in turn on two nodes.
//!
//! Every subscription matches, so that both store the same. Its endpoint accepts and never answers: after a few
//! deliveries all wait, and what is measured is publishing.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use posthouse_load::requests::Request;
use posthouse_load::statistics::{median, median_ratio};

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const COST_PERCENT_MAX: f64 = 5.0;
const TOPIC: &str = "news";
const TAG: &str = "sport";
/// The topic's subscriptions.
const SUBSCRIPTIONS: usize = 4;
/// CMQ's number for a topic that goes by tags.
const BY_TAGS: &str = "1";

/// Measures what routing takes off the rate of publishing.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let Some(stub_program) = options.stub_program()? else {
        report.miss(
            "cost of routing",
            "build the stub with `cargo build --release -p posthouse-stub-router`, or name it with --stub-program",
        );
        return Ok(());
    };
    let silent = TcpListener::bind("127.0.0.1:0").context("a port for an endpoint that never answers")?;
    let endpoint = silent.local_addr()?;
    let routed_site = Site::start(options)?;
    let stub_site = Site::start_program(&stub_program, options)?;
    for site in [&routed_site, &stub_site] {
        set_up(site, endpoint)?;
        site.repeat_by_many(options, &publish(site))?;
    }

    let (mut routed, mut stubbed) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        routed.push(
            routed_site
                .repeat_by_many(options, &publish(&routed_site))?
                .rate(),
        );
        stubbed.push(stub_site.repeat_by_many(options, &publish(&stub_site))?.rate());
    }
    let cost = (1.0 - median_ratio(&routed, &stubbed).context("there is a round")?) * 100.0;
    let routed = median(&routed).context("there is a round")?;
    let stubbed = median(&stubbed).context("there is a round")?;
    let connections = options.many_connections();
    for (by, rate) in [("a stub", stubbed), ("the plugin", routed)] {
        let name = format!("publishing of 1 KiB, routed by {by}, {connections} connections");
        report.add(name, rate, Unit::PerSecond, Bound::None);
    }
    report.add(
        "cost of routing",
        cost,
        Unit::Percent,
        Bound::AtMost(COST_PERCENT_MAX),
    );
    Ok(())
}

fn set_up(site: &Site, endpoint: SocketAddr) -> anyhow::Result<()> {
    site.ask("CreateTopic", &[("topicName", TOPIC), ("filterType", BY_TAGS)])?;
    for number in 0..SUBSCRIPTIONS {
        let (name, endpoint) = (format!("reader-{number}"), format!("http://{endpoint}/{number}"));
        site.ask(
            "Subscribe",
            &[
                ("topicName", TOPIC),
                ("subscriptionName", &name),
                ("protocol", "http"),
                ("endpoint", &endpoint),
                ("filterTag.1", TAG),
            ],
        )?;
    }
    Ok(())
}

fn publish(site: &Site) -> Request {
    site.signing().publish(TOPIC, TAG, BODY_BYTES)
}
