//! Deliveries that wait for an endpoint's answer, all at once: how many instances of the deliver plugin that takes.
//!
//! The endpoint takes every request and answers none. Between the request and its answer an attempt is nothing but the bytes of
//! its state: no instance waits with it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const DELIVERIES: usize = 10_000;
const QUICK_DELIVERIES: usize = 500;
const INSTANCES_MAX: f64 = 64.0;
const TOPIC: &str = "slow";
const TAG: &str = "x";
/// How long all of them may take to be begun.
const WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// As many as are wanted may wait for one endpoint.
const CONFIGURATION: &str = "[push]\nin_flight_max = 20_000\nper_endpoint_in_flight_max = 10_000\n";

/// Publishes until so many deliveries wait, and looks at the node then.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let deliveries = if options.quick {
        QUICK_DELIVERIES
    } else {
        DELIVERIES
    };
    let silent = TcpListener::bind("127.0.0.1:0").context("a port for an endpoint that never answers")?;
    let endpoint = format!("http://{}/", silent.local_addr()?);
    let waiting = Arc::new(AtomicUsize::new(0));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let accepted = (Arc::clone(&waiting), Arc::clone(&kept));
    std::thread::spawn(move || {
        // Ends with the program: what it holds open is what is measured.
        for stream in silent.incoming().map_while(Result::ok) {
            if let Ok(mut kept) = accepted.1.lock() {
                kept.push(stream);
            }
            accepted.0.fetch_add(1, Ordering::Relaxed);
        }
    });

    let site = Site::start_configured(options, CONFIGURATION)?;
    site.ask("CreateTopic", &[("topicName", TOPIC)])?;
    site.ask(
        "Subscribe",
        &[
            ("topicName", TOPIC),
            ("subscriptionName", "all"),
            ("protocol", "http"),
            ("endpoint", &endpoint),
            ("notifyContentFormat", "SIMPLIFIED"),
        ],
    )?;
    let requests = (0..deliveries).map(|_| site.signing().publish(TOPIC, TAG, BODY_BYTES));
    posthouse_load::drive::each(site.address(), options.connections(), requests)?;
    let began = Instant::now();
    let mut instances_most = 0.0_f64;
    while waiting.load(Ordering::Relaxed) < deliveries {
        instances_most = instances_most.max(site.figure("plugin_instances")?);
        if began.elapsed() > WITHIN {
            bail!(
                "{} of {deliveries} deliveries were begun",
                waiting.load(Ordering::Relaxed)
            );
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    instances_most = instances_most.max(site.figure("plugin_instances")?);
    report.add(
        "deliveries that wait for an answer at once",
        deliveries as f64,
        Unit::Calls,
        Bound::None,
    );
    report.add(
        "plugin instances with them, the router's among them",
        instances_most,
        Unit::Calls,
        Bound::AtMost(INSTANCES_MAX),
    );
    report.add(
        "resident memory with them",
        site.resident_megabytes()?,
        Unit::Megabytes,
        Bound::None,
    );
    Ok(())
}
