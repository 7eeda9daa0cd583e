//! What a plugin wrote, and what it goes on to write.

use std::collections::BTreeMap;
use std::time::Duration;

use posthouse_model::Name;

use super::named;
use crate::admin::shapes::{PluginLogLine, PluginLogs};
use crate::admin::{Operation, PAGE_ITEMS_MAX};
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, moment, one_line};

/// How long after one look at a log the next one is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Reads the newest lines.
pub(super) async fn read(client: &Client, plugin: &Name, lines: usize) -> Result<PluginLogs, CliError> {
    let limit = lines.to_string();
    let query = [("limit", limit.as_str())];
    client
        .ask_with(Operation::ReadPluginLogs, &named(plugin), &query)
        .await
}

/// Prints the newest lines and then each that comes, until the program is interrupted or the node does not answer.
pub(super) async fn follow(client: &Client, plugin: &Name, lines: usize) -> Result<Output, CliError> {
    let mut seen = read(client, plugin, PAGE_ITEMS_MAX).await?.lines;
    let older = seen.len().saturating_sub(lines);
    print(client, &seen[older..])?;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = read(client, plugin, PAGE_ITEMS_MAX).await?.lines;
        print(client, &fresh(&seen, &now))?;
        seen = now;
    }
}

/// Prints lines as they are: for machines, one JSON text a line.
fn print(client: &Client, lines: &[PluginLogLine]) -> Result<(), CliError> {
    let mut text = String::new();
    if client.is_for_machines() {
        for line in lines {
            let json = serde_json::to_string(line);
            text.push_str(&json.expect("the shapes have text keys and no failing parts"));
            text.push('\n');
        }
    } else {
        for line in lines {
            let at = moment(line.at_ms);
            let said = one_line(&line.text);
            text.push_str(&format!("{at}  {}  {:<5}  {said}\n", line.version, line.level));
        }
    }
    Output::said(text).print_first()
}

/// Returns the lines of a later look that an earlier one did not show. Equal lines are told apart by how many there are.
fn fresh(seen: &[PluginLogLine], now: &[PluginLogLine]) -> Vec<PluginLogLine> {
    let mut shown = BTreeMap::new();
    for line in seen {
        *shown.entry(key(line)).or_insert(0_usize) += 1;
    }
    let mut fresh = Vec::new();
    for line in now {
        match shown.get_mut(&key(line)) {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) | None => fresh.push(line.clone()),
        }
    }
    fresh
}

fn key(line: &PluginLogLine) -> (u64, u64, &str, &str) {
    (line.at_ms, line.version, &line.level, &line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, text: &str) -> PluginLogLine {
        PluginLogLine {
            at_ms,
            version: 1,
            level: "info".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_line_is_shown_once_and_an_equal_one_again() {
        let seen = [line(1, "old"), line(2, "a"), line(2, "a")];
        let now = [
            line(2, "a"),
            line(2, "a"),
            line(2, "a"),
            line(2, "b"),
            line(3, "a"),
        ];
        assert_eq!(fresh(&seen, &now), [line(2, "a"), line(2, "b"), line(3, "a")]);
        assert_eq!(fresh(&now, &now), []);
    }
}
