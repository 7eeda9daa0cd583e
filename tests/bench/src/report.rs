//! Figures beside their goals.

use std::fmt;

use anyhow::Context;
use posthouse_load::statistics::{median, median_ratio};

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    missing: Vec<String>,
    remarks: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: Unit,
    goal: Bound,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// So many a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// 10^6 bytes.
    Megabytes,
    /// Hundredths.
    Percent,
    /// How many times another figure.
    Times,
    /// 10^6 bytes a second.
    MegabytesPerSecond,
    /// Processors kept busy.
    Processors,
    /// Calls.
    Calls,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// Anything: it is told to explain the others.
    None,
}

// === impl Report ===

impl Report {
    /// Adds a figure, and says it at once.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: Unit, goal: Bound) {
        let figure = Figure {
            name: name.into(),
            value,
            unit,
            goal,
        };
        eprintln!("{figure}");
        self.figures.push(figure);
    }

    /// Adds what goes a second in two cases that were measured in turn, and the share that the second has of the first, with
    /// its goal.
    pub(crate) fn add_share(
        &mut self,
        [(one, ones), (other, others)]: [(String, &[f64]); 2],
        (share, goal): (String, Bound),
    ) -> anyhow::Result<()> {
        for (name, figures) in [(one, ones), (other, others)] {
            let middle = median(figures).context("there is a round")?;
            self.add(name, middle, Unit::PerSecond, Bound::None);
        }
        let value = median_ratio(others, ones).context("there is a round")?;
        self.add(share, value, Unit::Times, goal);
        Ok(())
    }

    /// Says that a figure could not be measured, and what to do about it. Its goal is not met.
    pub(crate) fn miss(&mut self, name: &str, remedy: &str) {
        let line = format!("{name}: not measured; {remedy}");
        eprintln!("{line}");
        self.missing.push(line);
    }

    /// Says something that must be known about the figures.
    pub(crate) fn remark(&mut self, line: String) {
        eprintln!("{line}");
        self.remarks.push(line);
    }

    /// Returns whether every goal was measured and is met.
    pub(crate) fn is_met(&self) -> bool {
        self.missing.is_empty() && self.figures.iter().all(Figure::is_met)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.figures {
            writeln!(f, "{figure}")?;
        }
        let mut lines = self.missing.iter().chain(&self.remarks);
        lines.try_for_each(|line| writeln!(f, "{line}"))
    }
}

// === impl Figure ===

impl Figure {
    fn is_met(&self) -> bool {
        match self.goal {
            Bound::AtLeast(goal) => self.value >= goal,
            Bound::AtMost(goal) => self.value <= goal,
            Bound::Below(goal) => self.value < goal,
            Bound::None => true,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_met() { "ok" } else { "under" };
        let value = self.unit.show(self.value);
        let (bound, verdict) = match self.goal {
            Bound::AtLeast(goal) => (format!("≥ {}", self.unit.show(goal)), verdict),
            Bound::AtMost(goal) => (format!("≤ {}", self.unit.show(goal)), verdict),
            Bound::Below(goal) => (format!("< {}", self.unit.show(goal)), verdict),
            Bound::None => (String::new(), ""),
        };
        let line = format!("{:<58} {value:>14}  {bound:<14} {verdict}", self.name);
        f.write_str(line.trim_end())
    }
}

// === impl Unit ===

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Millis => format!("{value:.2} ms"),
            Unit::Micros => format!("{value:.2} us"),
            Unit::Megabytes => format!("{value:.0} MB"),
            Unit::MegabytesPerSecond => format!("{value:.0} MB/s"),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Times => format!("{value:.2} ×"),
            Unit::Processors => format!("{value:.2}"),
            Unit::Calls => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(value: f64, goal: Bound) -> bool {
        let mut report = Report::default();
        report.add("figure", value, Unit::Times, goal);
        report.is_met()
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound() {
        assert!(is_met(0.9, Bound::AtLeast(0.9)) && !is_met(0.89, Bound::AtLeast(0.9)));
        assert!(is_met(5.0, Bound::AtMost(5.0)) && !is_met(5.1, Bound::AtMost(5.0)));
        assert!(is_met(4.9, Bound::Below(5.0)) && !is_met(5.0, Bound::Below(5.0)));
        assert!(is_met(f64::MAX, Bound::None));
    }

    #[test]
    fn a_figure_that_is_none_meets_no_goal() {
        assert!(!is_met(f64::NAN, Bound::AtLeast(1.0)));
        assert!(!is_met(f64::NAN, Bound::AtMost(1.0)));
        assert!(!is_met(f64::NAN, Bound::Below(1.0)));
    }

    #[test]
    fn what_was_not_measured_is_said_and_not_met() {
        let mut report = Report::default();
        report.add("sends", 2.0, Unit::PerSecond, Bound::AtLeast(1.0));
        assert!(report.is_met());
        report.remark("the disk is small".to_owned());
        assert!(report.is_met() && report.to_string().ends_with("the disk is small\n"));
        report.miss("routing", "build the stub");
        assert!(!report.is_met());
        assert!(
            report
                .to_string()
                .contains("routing: not measured; build the stub")
        );
    }

    #[test]
    fn one_figure_under_its_goal_is_said_and_counts() {
        let mut report = Report::default();
        report.add("sends", 9_999.6, Unit::PerSecond, Bound::AtLeast(10_000.0));
        report.add("memory", 120.0, Unit::Megabytes, Bound::Below(400.0));
        assert!(!report.is_met());
        let text = report.to_string();
        let mut lines = text.lines();
        assert!(
            lines
                .next()
                .is_some_and(|line| line.contains("≥ 10000/s") && line.ends_with("under"))
        );
        assert!(
            lines
                .next()
                .is_some_and(|line| line.contains("< 400 MB") && line.ends_with("ok"))
        );
    }
}
