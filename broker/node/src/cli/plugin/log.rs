//! What a plugin wrote on all nodes, and what it goes on to write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use posthouse_model::Name;

use super::named;
use crate::admin::shapes::{PluginLogLine, PluginLogs};
use crate::admin::{Operation, PAGE_ITEMS_MAX};
use crate::cli::client::{CliError, Client};
use crate::cli::output::{Output, moment, one_line};

/// How long after one look at a log the next one is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The level of a failure that a node noted.
const TRAP: &str = "trap";

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
    let logs = read(client, plugin, PAGE_ITEMS_MAX).await?;
    warn_of_silent(&logs);
    let (mut seen, mut silent) = (logs.lines, logs.silent);
    let older = seen.len().saturating_sub(lines);
    print(client, &seen[older..])?;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let logs = read(client, plugin, PAGE_ITEMS_MAX).await?;
        if logs.silent != silent {
            warn_of_silent(&logs);
        }
        print(client, &fresh(&seen, &logs.lines))?;
        seen = remembered(seen, logs.lines);
        silent = logs.silent;
    }
}

/// Says on standard error whose lines are not among these.
pub(super) fn warn_of_silent(logs: &PluginLogs) {
    for replica in &logs.silent {
        eprintln!("the node of replica {replica} does not answer: what was written there is not shown");
    }
}

/// Returns lines as people read them: of a trap, what was running stands below it.
pub(super) fn text(lines: &[PluginLogLine]) -> String {
    let mut text = String::new();
    for line in lines {
        let at = moment(line.at_ms);
        let PluginLogLine {
            node, version, level, ..
        } = line;
        let is_trap = level == TRAP;
        let mut said = line.text.split(|letter| is_trap && letter == '\n');
        let first = one_line(said.next().unwrap_or_default());
        text.push_str(&format!("{at}  {node}  {version}  {level:<5}  {first}\n"));
        for frame in said {
            text.push_str(&format!("    {}\n", one_line(frame)));
        }
    }
    text
}

/// Prints lines as they are: for machines, one JSON text a line.
fn print(client: &Client, lines: &[PluginLogLine]) -> Result<(), CliError> {
    if !client.is_for_machines() {
        return Output::said(text(lines)).print_first();
    }
    let mut text = String::new();
    for line in lines {
        let json = serde_json::to_string(line);
        text.push_str(&json.expect("the shapes have text keys and no failing parts"));
        text.push('\n');
    }
    Output::said(text).print_first()
}

/// Returns the lines of a later look that an earlier one did not show. Equal lines are told apart by how many there are,
/// and what is older than all that is remembered of its node was shown before.
fn fresh(seen: &[PluginLogLine], now: &[PluginLogLine]) -> Vec<PluginLogLine> {
    let mut shown = BTreeMap::new();
    let mut oldest: BTreeMap<&str, u64> = BTreeMap::new();
    for line in seen {
        *shown.entry(key(line)).or_insert(0_usize) += 1;
        let oldest = oldest.entry(&line.node).or_insert(line.at_ms);
        *oldest = line.at_ms.min(*oldest);
    }
    let mut fresh = Vec::new();
    for line in now {
        match shown.get_mut(&key(line)) {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) | None if oldest.get(&*line.node).is_some_and(|oldest| line.at_ms < *oldest) => {}
            Some(_) | None => fresh.push(line.clone()),
        }
    }
    fresh
}

/// Returns what is to be remembered of two looks: the later one, and of nodes that are not in it what was seen before. One
/// that did not answer shows the same lines again when it does.
fn remembered(seen: Vec<PluginLogLine>, now: Vec<PluginLogLine>) -> Vec<PluginLogLine> {
    let told: BTreeSet<&str> = now.iter().map(|line| &*line.node).collect();
    let mut remembered: Vec<PluginLogLine> = seen
        .into_iter()
        .filter(|line| !told.contains(&*line.node))
        .collect();
    remembered.extend(now);
    remembered
}

fn key(line: &PluginLogLine) -> (u64, &str, u64, &str, &str) {
    (line.at_ms, &line.node, line.version, &line.level, &line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, text: &str) -> PluginLogLine {
        PluginLogLine {
            at_ms,
            node: "1".to_owned(),
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

    #[test]
    fn a_node_that_did_not_answer_once_shows_nothing_twice() {
        let there = |at_ms, text| PluginLogLine {
            node: "2".to_owned(),
            ..line(at_ms, text)
        };
        let seen = vec![line(1, "a"), there(2, "b")];
        let without = vec![line(1, "a"), line(3, "c")];
        let seen = remembered(seen, without);
        let now = [
            line(1, "a"),
            there(1, "older"),
            there(2, "b"),
            line(3, "c"),
            there(4, "d"),
        ];
        assert_eq!(fresh(&seen, &now), [there(4, "d")]);
    }

    #[test]
    fn what_was_running_stands_below_a_trap_and_nothing_else_breaks_a_line() {
        let trap = PluginLogLine {
            level: TRAP.to_owned(),
            ..line(0, "it trapped\ninner at 0x1")
        };
        let shown = text(&[trap, line(0, "two\nlines")]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert_eq!(lines[1], "    inner at 0x1");
        assert!(lines[2].ends_with("two\\nlines"), "{shown}");
    }
}
