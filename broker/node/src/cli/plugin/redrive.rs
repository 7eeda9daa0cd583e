//! Parked messages, sent on their way again: a page at a time, at a bounded rate.
//!
//! Each page stands for itself. Whoever interrupts this and begins again goes on with what is still parked.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use posthouse_model::Name;
use tokio::time::Instant;

use super::named;
use crate::admin::Operation;
use crate::admin::shapes::{RedriveRequest, RedrivenView, StayedView};
use crate::broker::REDRIVE_MAX;
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, one_line};

/// How many messages that stay parked are named; the others are counted.
const STAYED_NAMED_MAX: usize = 20;
/// How many messages that stay parked are told to a machine.
const STAYED_TOLD_MAX: usize = 10_000;

/// Sends what a request asks for, page by page, and tells what came of it.
pub(super) async fn perform(
    client: &Client,
    plugin: &Name,
    mut request: RedriveRequest,
    rate: u64,
    max: Option<u64>,
) -> Result<Output, CliError> {
    let progress = match client.is_for_machines() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new_spinner(),
    };
    let mut whole = RedrivenView::default();
    let begun = Instant::now();
    let mut tried = 0;
    loop {
        let left = max.map_or(u64::MAX, |max| max.saturating_sub(tried));
        let page = left.min(rate).min(REDRIVE_MAX as u64);
        request.max = usize::try_from(page).ok();
        let asked: Result<RedrivenView, CliError> = client
            .tell(Operation::RedrivePlugin, &named(plugin), &request)
            .await;
        let told = asked.inspect_err(|_| progress.finish_and_clear())?;
        tried += told.sent + told.stayed.len() as u64;
        whole.sent += told.sent;
        (whole.parked, whole.leased) = (told.parked, told.leased);
        whole.uncertain |= told.uncertain;
        let room = STAYED_TOLD_MAX.saturating_sub(whole.stayed.len());
        whole.stayed.extend(told.stayed.into_iter().take(room));
        progress.set_message(format!(
            "{} sent, {} stay, {} parked",
            whole.sent,
            whole.stayed.len(),
            whole.parked
        ));
        progress.tick();
        let is_enough = max.is_some_and(|max| tried >= max);
        whole.next = told.next;
        let Some(next) = told.next.filter(|_| !is_enough) else {
            break;
        };
        request.after = Some(next);
        tokio::time::sleep(due(tried, rate).saturating_sub(begun.elapsed())).await;
    }
    progress.finish_and_clear();
    let complete = whole.stayed.is_empty() && whole.leased == 0 && !whole.uncertain;
    let text = text(&whole);
    Ok(Output {
        complete,
        ..client.output(&whole, text)?
    })
}

/// Returns how long after the beginning so many messages may have been tried, all in all.
fn due(tried: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(tried as f64 / rate as f64)
}

fn text(whole: &RedrivenView) -> String {
    let RedrivenView {
        sent,
        stayed,
        parked,
        leased,
        uncertain,
        ..
    } = whole;
    let mut text = format!(
        "{sent} sent on their way, {} stay; {parked} are parked now\n",
        stayed.len()
    );
    if *leased > 0 {
        text.push_str(&format!(
            "{leased} of them were not looked at, for they are leased: by a receive, or by another redrive\n"
        ));
    }
    if *uncertain {
        text.push_str(
            "a node died before it answered: what it sent is not counted, and none is sent twice\n",
        );
    }
    for StayedView { message_id, reason } in stayed.iter().take(STAYED_NAMED_MAX) {
        text.push_str(&format!("{message_id}: {}\n", one_line(reason)));
    }
    let reasons: BTreeMap<&str, usize> =
        stayed
            .iter()
            .skip(STAYED_NAMED_MAX)
            .fold(BTreeMap::new(), |mut reasons, stayed| {
                *reasons.entry(stayed.reason.as_str()).or_default() += 1;
                reasons
            });
    for (reason, count) in reasons {
        text.push_str(&format!("{count} more: {}\n", one_line(reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::shapes::Decimal;

    #[test]
    fn what_stays_is_named_and_beyond_a_few_counted_by_reason() {
        let stayed = (1..=30).map(|id| StayedView {
            message_id: Decimal(id),
            reason: "it traps".to_owned(),
        });
        let whole = RedrivenView {
            sent: 2,
            stayed: stayed.collect(),
            parked: 31,
            ..RedrivenView::default()
        };
        let text = text(&whole);
        assert!(text.starts_with("2 sent on their way, 30 stay; 31 are parked now\n1: it traps\n"));
        assert!(text.ends_with("\n10 more: it traps\n"), "{text}");
    }
    #[test]
    fn what_is_leased_and_what_is_not_certain_is_told() {
        let whole = RedrivenView {
            sent: 2,
            parked: 3,
            leased: 3,
            uncertain: true,
            ..RedrivenView::default()
        };
        let text = text(&whole);
        let expected = "2 sent on their way, 0 stay; 3 are parked now\n3 of them were not looked at, for they are leased";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("none is sent twice"), "{text}");
    }
}
