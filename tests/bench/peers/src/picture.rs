//! A picture of the medians: bars, written as SVG that is readable on light and dark ground.

use std::fmt::Write;

use crate::contender::{Body, Contender};
use crate::measured::{Figure, Measured};
use crate::table::whole;

/// Widths and heights, in the picture's own units.
const PANEL_WIDTH: f64 = 460.0;
const MARGIN: f64 = 20.0;
const NAMES_WIDTH: f64 = 190.0;
const VALUES_WIDTH: f64 = 70.0;
const TITLE_HEIGHT: f64 = 30.0;
const BAR_HEIGHT: f64 = 16.0;
const BAR_STEP: f64 = 22.0;
const HEAD_HEIGHT: f64 = 62.0;
const GAP: f64 = 16.0;

/// Colours for both grounds, and those that change with it. An image in a page follows the reader's setting.
const STYLE: &str = "\
    text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; }\n\
    .title { font-size: 16px; font-weight: 600; }\n\
    .panel { font-size: 13px; font-weight: 600; }\n\
    .small { font-size: 11px; fill: #59636e; }\n\
    .rabbitmq { fill: #d97706; }\n\
    .nats-sync { fill: #64748b; }\n\
    .nats { fill: #94a3b8; }\n\
    .ours { fill: #0e7490; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3; }\n\
      .small { fill: #9198a1; }\n\
      .ours { fill: #22b8cf; }\n\
    }\n";

/// A group of bars.
struct Panel {
    title: &'static str,
    body: Body,
    figure: Figure,
    unit: Unit,
}

/// What bars are as long as.
#[derive(Clone, Copy)]
enum Unit {
    /// Messages by second.
    PerSecond,
    /// 10^6 bytes of bodies by second.
    Megabytes,
    /// Milliseconds.
    Millis,
    /// Seconds of processor time.
    Seconds,
}

/// What is shown, two panels a row.
const PANELS: [Panel; 8] = [
    Panel::new(
        "Produce, 1 KiB: messages/s",
        Body::Small,
        Figure::Produce,
        Unit::PerSecond,
    ),
    Panel::new(
        "Produce, 64 KiB: MB/s",
        Body::Large,
        Figure::Produce,
        Unit::Megabytes,
    ),
    Panel::new(
        "Receive and delete, 1 KiB: messages/s",
        Body::Small,
        Figure::Consume,
        Unit::PerSecond,
    ),
    Panel::new(
        "Receive and delete, 64 KiB: MB/s",
        Body::Large,
        Figure::Consume,
        Unit::Megabytes,
    ),
    Panel::new(
        "Sent while others receive, 1 KiB: messages/s",
        Body::Small,
        Figure::MixedSend,
        Unit::PerSecond,
    ),
    Panel::new(
        "Sent while others receive, 64 KiB: MB/s",
        Body::Large,
        Figure::MixedSend,
        Unit::Megabytes,
    ),
    Panel::new(
        "p99 of a confirmed send at a steady rate, 1 KiB: ms",
        Body::Small,
        Figure::NinetyNine,
        Unit::Millis,
    ),
    Panel::new(
        "CPU seconds of three nodes a million sends, 1 KiB",
        Body::Small,
        Figure::ProduceSeconds,
        Unit::Seconds,
    ),
];

/// Returns the picture.
pub(crate) fn draw(measured: &Measured) -> String {
    let panels: Vec<(&Panel, Vec<(Contender, f64)>)> = PANELS
        .iter()
        .map(|panel| (panel, bars(measured, panel)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let row_height = |row: &[(&Panel, Vec<(Contender, f64)>)]| {
        let bars = row.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
        TITLE_HEIGHT + bars as f64 * BAR_STEP + GAP
    };
    let width = 2.0 * PANEL_WIDTH + 3.0 * MARGIN;
    let height = HEAD_HEIGHT + panels.chunks(2).map(row_height).sum::<f64>();
    let mut text = String::new();
    // Text takes whatever is written into it.
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<style>\n{STYLE}</style>"
    );
    write_text(
        &mut text,
        "title",
        MARGIN,
        28.0,
        "Three nodes of each on one machine, in one run: medians",
    );
    let caption = "Every send confirmed by a majority; only the default of NATS confirms before fsync. Longer is better in \
                   rates, shorter in milliseconds and seconds.";
    write_text(&mut text, "small", MARGIN, 48.0, caption);
    let mut y = HEAD_HEIGHT;
    for row in panels.chunks(2) {
        for ((panel, bars), column) in row.iter().zip(0_u8..) {
            let x = MARGIN + f64::from(column) * (PANEL_WIDTH + MARGIN);
            write_panel(&mut text, panel, bars, x, y);
        }
        y += row_height(row);
    }
    text.push_str("</svg>\n");
    text
}

fn bars(measured: &Measured, panel: &Panel) -> Vec<(Contender, f64)> {
    let used = measured.used(panel.body).into_iter();
    used.filter_map(|(contender, _)| {
        let median = measured.median(contender, panel.body, panel.figure)?;
        Some((contender, panel.unit.of(median, panel.body)))
    })
    .collect()
}

fn write_panel(text: &mut String, panel: &Panel, bars: &[(Contender, f64)], x: f64, y: f64) {
    write_text(text, "panel", x, y + 16.0, panel.title);
    let longest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let room = PANEL_WIDTH - NAMES_WIDTH - VALUES_WIDTH;
    for ((contender, value), place) in bars.iter().zip(0_u8..) {
        let top = y + TITLE_HEIGHT + f64::from(place) * BAR_STEP;
        let base = top + BAR_HEIGHT - 4.0;
        let length = if longest > 0.0 {
            room * value / longest
        } else {
            0.0
        };
        write_text(text, "name", x, base, &contender.to_string());
        let start = x + NAMES_WIDTH;
        let class = class(*contender);
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{start:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>"
        );
        write_text(
            text,
            "value",
            start + length + 6.0,
            base,
            &panel.unit.write(*value),
        );
    }
}

fn write_text(text: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let content = escaped(content);
    let _ = writeln!(
        text,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>"
    );
}

fn class(contender: Contender) -> &'static str {
    match contender {
        Contender::RabbitMq => "rabbitmq",
        Contender::NatsSync => "nats-sync",
        Contender::Nats => "nats",
        Contender::Posthouse
        | Contender::PosthouseSets
        | Contender::PosthouseSingle
        | Contender::PosthouseStream => "ours",
    }
}

/// Returns text as it may stand in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

// === impl Panel ===

impl Panel {
    const fn new(title: &'static str, body: Body, figure: Figure, unit: Unit) -> Panel {
        Panel {
            title,
            body,
            figure,
            unit,
        }
    }
}

// === impl Unit ===

impl Unit {
    /// Returns a figure in this unit.
    fn of(self, value: f64, body: Body) -> f64 {
        match self {
            Unit::PerSecond | Unit::Millis | Unit::Seconds => value,
            Unit::Megabytes => value * body.bytes() as f64 / 1e6,
        }
    }

    fn write(self, value: f64) -> String {
        match self {
            Unit::PerSecond | Unit::Megabytes => whole(value),
            Unit::Millis => format!("{value:.2}"),
            Unit::Seconds => format!("{value:.1}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let mut measured = Measured::default();
        for (contender, rate) in [(Contender::Nats, 1_000.0), (Contender::Posthouse, 4_000.0)] {
            measured.plan(contender, Body::Small, contender.plan(Body::Small));
            measured.add(contender, Body::Small, Figure::Produce, rate);
        }
        measured
    }

    #[test]
    fn bars_are_as_long_as_what_they_show() {
        let picture = draw(&measured());
        let widths: Vec<f64> = picture
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .map(|line| {
                let (_, rest) = line.split_once("width=\"").expect("a bar has a width");
                let (width, _) = rest.split_once('"').expect("it ends");
                width.parse().expect("it is a number")
            })
            .collect();
        assert_eq!(widths, [50.0, 200.0]);
        assert!(picture.contains(">4,000</text>"));
    }

    #[test]
    fn what_was_not_measured_has_no_panel() {
        let picture = draw(&measured());
        assert_eq!(picture.matches("class=\"panel\"").count(), 1);
    }

    #[test]
    fn text_breaks_out_of_nothing() {
        assert_eq!(escaped("a < b & c > d"), "a &lt; b &amp; c &gt; d");
        assert!(!draw(&measured()).contains("& "));
    }
}
