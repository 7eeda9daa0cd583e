//! What commands print: tables and records for people, JSON for machines.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::client::CliError;
use crate::admin::shapes::ParkedView;

/// The space between two columns.
const GAP: usize = 2;

/// What a command has to say.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) text: String,
    /// Whether everything that was asked for was done.
    pub(super) complete: bool,
}

/// Rows under headings, aligned.
pub(super) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Names and values, one a line, aligned.
#[derive(Default)]
pub(super) struct Record(Vec<(String, String)>);

// === impl Output ===

impl Output {
    /// Returns a text for people and machines alike.
    pub(super) fn said(text: String) -> Output {
        Output { text, complete: true }
    }

    /// Returns an answer as JSON, or the text for people.
    pub(super) fn of(json: bool, answer: &impl Serialize, text: impl Into<String>) -> Output {
        if !json {
            return Output::said(text.into());
        }
        let json = serde_json::to_string_pretty(answer);
        Output::said(format!(
            "{}\n",
            json.expect("the shapes have text keys and no failing parts")
        ))
    }

    pub(super) fn print(self) -> ExitCode {
        let code = print_text(&self.text);
        if self.complete { code } else { ExitCode::from(1) }
    }

    /// Prints what there is so far, because something is done next that counts on its being printed.
    pub(super) fn print_first(&mut self) -> Result<(), CliError> {
        write_text(&std::mem::take(&mut self.text))
            .map_err(|error| CliError::Usage(format!("the answer cannot be printed: {error}")))
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(headings: &[&str]) -> Table {
        let headings = headings.iter().map(|heading| heading.to_uppercase()).collect();
        Table {
            headings,
            rows: Vec::new(),
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.headings.len(), "a row has a cell under each heading");
        self.rows
            .push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| width(heading)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        write_row(f, &self.headings, &widths)?;
        for row in &self.rows {
            write_row(f, row, &widths)?;
        }
        Ok(())
    }
}

fn write_row(f: &mut std::fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> std::fmt::Result {
    let mut line = String::new();
    for (cell, widest) in cells.iter().zip(widths) {
        let padding = widest - width(cell) + GAP;
        write!(line, "{cell}{}", " ".repeat(padding))?;
    }
    writeln!(f, "{}", line.trim_end())
}

// === impl Record ===

impl Record {
    pub(super) fn new() -> Record {
        Record::default()
    }

    pub(super) fn line(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), one_line(&value.to_string())));
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widest = self.0.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let padding = " ".repeat(widest - width(name) + GAP);
            writeln!(f, "{}", format!("{name}{padding}{value}").trim_end())?;
        }
        Ok(())
    }
}

/// Prints a text. That nobody reads it any more, as behind `head`, is no failure.
pub(super) fn print_text(text: &str) -> ExitCode {
    match write_text(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

fn write_text(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Returns a time for people: `2026-11-22 23:42:12Z`.
pub(super) fn moment(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Returns year, month and day of so many days after 1970 began. Counts eras of 400 years from a first of
/// March, so that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Returns which plugin failed on a parked message.
pub(super) fn failure(parked: &ParkedView) -> String {
    let ParkedView {
        plugin,
        version,
        world,
        attempt,
        ..
    } = parked;
    let plugin = plugin.as_deref().unwrap_or("a plugin that is gone");
    let whose = match &parked.subscription {
        Some(subscription) => format!("{world} for {subscription}"),
        None => world.to_string(),
    };
    format!("{plugin}, version {version}, {whose}, attempt {attempt}")
}

/// Returns the text with what would move the terminal's cursor written out: bodies come from strangers.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "active"]);
        table.row(["orders".to_owned(), "7".to_owned()]);
        table.row(["é".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME    ACTIVE\norders  7\né\n");
    }

    #[test]
    fn nothing_that_is_printed_moves_the_cursor() {
        let mut record = Record::new();
        record.line("body", "a\u{1b}[2Jb\nc");
        assert_eq!(record.to_string(), "body  a\\u{1b}[2Jb\\nc\n");
    }

    #[test]
    fn moments_are_civil_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_700_000_000_123), "2023-11-14 22:13:20Z");
        assert_eq!(moment(4_107_542_399_000), "2100-02-28 23:59:59Z");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01 00:00:00Z");
    }
}
