//! A thousand tenants, each with a plugin of its own: what they take of memory, and how long the first call of one takes that
//! nobody has asked for since the node started.

use std::time::Instant;

use anyhow::Context;
use posthouse_load::statistics::{median, percentile};
use posthouse_tests::{Client, named};

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const TENANTS: usize = 1_000;
const QUICK_TENANTS: usize = 20;
const RESIDENT_MEGABYTES_MAX: f64 = 1_073.0;
const COLD_MILLIS_MAX: f64 = 5.0;
const TOPIC: &str = "t";
const SECRET: &str = "one-of-a-thousand-0123456789";

/// Makes the tenants, has each publish, starts the node again, and has each publish again.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let tenants = if options.quick { QUICK_TENANTS } else { TENANTS };
    let mut site = Site::start(options)?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let filter = std::fs::read(root.join("examples/plugins/json-filter/component.wasm"))
        .context("components are committed")?;
    let folder = tempfile::tempdir()?;
    for number in 0..tenants {
        let component = folder.path().join(format!("{number}.wasm"));
        // Another name in it, and so another digest: code of its own.
        std::fs::write(&component, named(&filter, &number.to_string()))?;
        settle(&site, number, component.to_str().context("the path is text")?)?;
    }
    publish_all(&site, tenants)?;
    report.add(
        format!("{tenants} tenants with a plugin each: resident memory"),
        site.resident_megabytes()?,
        Unit::Megabytes,
        Bound::AtMost(RESIDENT_MEGABYTES_MAX),
    );

    site.restart()?;
    let cold = publish_all(&site, tenants)?;
    let warm = publish_all(&site, tenants)?;
    let typical = median(&warm).context("there are tenants")?;
    for (name, taken) in [("first", &cold), ("second", &warm)] {
        for percent in [50.0, 99.0] {
            let millis = percentile(taken, percent).context("there are tenants")?;
            report.add(
                format!("a tenant's {name} publish: p{percent}"),
                millis,
                Unit::Millis,
                Bound::None,
            );
        }
    }
    let first = percentile(&cold, 99.0).context("there are tenants")?;
    report.add(
        "a cold tenant's first call: p99 of a first publish, less a later one",
        first - typical,
        Unit::Millis,
        Bound::AtMost(COLD_MILLIS_MAX),
    );
    report.add(
        format!("{tenants} tenants after a restart: resident memory"),
        site.resident_megabytes()?,
        Unit::Megabytes,
        Bound::AtMost(RESIDENT_MEGABYTES_MAX),
    );
    Ok(())
}

/// Makes a tenant with a topic whose filter is its own.
fn settle(site: &Site, number: usize, component: &str) -> anyhow::Result<()> {
    let (name, id) = (format!("tenant-{number}"), secret_id(number));
    site.command(&["tenant", "create", &name])?;
    site.command(&["tenant", "key", "add", &name, "--id", &id, "--secret", SECRET])?;
    let mut client = client(site, number);
    client.ask("CreateTopic", &[("topicName", TOPIC)])?.success()?;
    client.ask("CreateQueue", &[("queueName", "q")])?.success()?;
    let subscription = [
        ("topicName", TOPIC),
        ("subscriptionName", "all"),
        ("protocol", "queue"),
        ("endpoint", "q"),
    ];
    client.ask("Subscribe", &subscription)?.success()?;
    let rule = r#"{"when":{"field":"/price","above":100}}"#;
    site.command(&["plugin", "push", "own", component, "--tenant", &name])?;
    site.command(&[
        "plugin", "bind", "own", "--topic", TOPIC, "--config", rule, "--tenant", &name,
    ])
}

/// Has each tenant publish once; returns how long each took, in milliseconds.
fn publish_all(site: &Site, tenants: usize) -> anyhow::Result<Vec<f64>> {
    let mut taken = Vec::with_capacity(tenants);
    for number in 0..tenants {
        let mut client = client(site, number);
        client.connect()?;
        let begun = Instant::now();
        let publish = [("topicName", TOPIC), ("msgBody", r#"{"price":250}"#)];
        client.ask("PublishMessage", &publish)?.success()?;
        taken.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(taken)
}

fn client(site: &Site, number: usize) -> Client {
    Client::new(site.address(), &secret_id(number), SECRET.as_bytes())
}

fn secret_id(number: usize) -> String {
    format!("AKIDtenant{number}")
}
