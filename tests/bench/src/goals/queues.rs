//! The memory of many empty queues.

use posthouse_load::drive;
use posthouse_load::processor::resident_bytes;

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const RESIDENT_MEGABYTES_MAX: f64 = 200.0;
const MEGABYTE: f64 = 1e6;

/// Measures a node's resident memory with many queues that hold nothing, all of which can be listed.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut site = Site::start(options)?;
    let queues = options.queues();
    let before = resident_bytes(site.pid()?)?;
    let signing = site.signing();
    let requests = (0..queues).map(|number| signing.create_queue(&format!("queue-{number}")));
    let made = drive::each(site.address(), options.connections(), requests)?;
    list(&site)?;
    let after = resident_bytes(site.pid()?)?;
    let seconds = made.elapsed.as_secs_f64();
    report.add(
        format!("making {queues} queues"),
        seconds,
        Unit::Seconds,
        Bound::None,
    );
    report.add(
        "resident memory without queues",
        before as f64 / MEGABYTE,
        Unit::Megabytes,
        Bound::None,
    );
    let goal = Bound::Below(RESIDENT_MEGABYTES_MAX);
    let name = format!("resident memory with {queues} empty queues");
    report.add(name, after as f64 / MEGABYTE, Unit::Megabytes, goal);
    let ready = site.restart()?;
    report.add(
        "restart until ready, then",
        ready.as_secs_f64(),
        Unit::Seconds,
        Bound::None,
    );
    list(&site)?;
    let again = resident_bytes(site.pid()?)? as f64 / MEGABYTE;
    report.add("resident memory after the restart", again, Unit::Megabytes, goal);
    Ok(())
}

/// Has queues listed: whatever the node keeps for that, it has then.
fn list(site: &Site) -> anyhow::Result<()> {
    let request = site.signing().list_queues();
    drive::each(site.address(), 1, std::iter::once(request)).map(drop)
}
