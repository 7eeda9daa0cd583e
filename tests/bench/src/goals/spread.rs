//! What it costs to use very many queues in turn instead of one: batches of 16, on one node, all queues in one set.
//!
//! With many queues the load program reads as many requests from its memory, which is in its disfavour.

use posthouse_load::drive;
use posthouse_load::lanes::{self, Lane};
use posthouse_load::requests::BATCH;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report};
use crate::site::Site;

const QUEUES: usize = 10_000;
const QUICK_QUEUES: usize = 500;
const RATE_SHARE_MIN: f64 = 0.8;
/// All of it goes through one log and one state.
const CONFIGURATION: &str = "[node]\nsets = 1\n";

/// Measures both, and compares them.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start_configured(options, CONFIGURATION)?;
    let lane = |queue: String| Lane {
        address: site.address(),
        queue,
    };
    let queues = if options.quick { QUICK_QUEUES } else { QUEUES };
    let one = [lane("alone".to_owned())];
    let many: Vec<Lane> = (0..queues)
        .map(|number| lane(format!("queue-{number}")))
        .collect();
    let signing = site.signing();
    let made = one
        .iter()
        .chain(&many)
        .map(|lane| signing.create_queue(&lane.queue));
    drive::each(site.address(), options.connections(), made)?;
    // Everything is warm, and each queue was used.
    let first = many
        .iter()
        .map(|lane| signing.send_batch(&lane.queue, BODY_BYTES));
    let first = drive::each(site.address(), options.connections(), first)?;
    lanes::take_all(&many, options.connections(), first.messages)?;

    let (mut sends, mut takes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut from = 0;
    for _ in 0..options.rounds() {
        for (place, lanes) in [&one[..], &many[..]].into_iter().enumerate() {
            let sent = lanes::send(lanes, options.connections(), from, BODY_BYTES, options.part())?;
            let taken = lanes::take_all(lanes, options.connections(), sent.messages)?;
            sends[place].push(sent.rate());
            takes[place].push(taken.rate());
            from += usize::try_from(sent.messages / BATCH)?;
        }
    }
    for (what, [one, many]) in [("sends", &sends), ("receives and deletes", &takes)] {
        let share = format!("{what}, {queues} queues in use: by one queue's");
        report.add_share(
            [
                (format!("{what} in batches of 16, one queue"), one),
                (format!("{what} in batches of 16, {queues} queues in turn"), many),
            ],
            (share, Bound::AtLeast(RATE_SHARE_MIN)),
        )?;
    }
    Ok(())
}
