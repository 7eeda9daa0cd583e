//! What was measured, in tables: figures, ratios beside their goals.

use std::fmt::Write;

use crate::contender::{Body, Contender};
use crate::measured::{Figure, Measured};
use crate::plan::Plan;

/// What is compared with goals, and what it is at least to be by each peer's: RabbitMQ, NATS that syncs, NATS as it comes.
const GOALS: [(&str, Figure, [f64; 3]); 3] = [
    ("produce", Figure::Produce, [6.0, 3.0, 1.3]),
    ("receive + delete", Figure::Consume, [4.0, 2.5, 1.7]),
    ("mixed, send side", Figure::MixedSend, [5.0, 3.0, 2.5]),
];
const PEERS: [Contender; 3] = [Contender::RabbitMq, Contender::NatsSync, Contender::Nats];

/// How a figure is written.
#[derive(Clone, Copy)]
enum Form {
    /// As a whole number, thousands apart.
    Whole,
    /// With so many digits behind the point.
    Digits(usize),
}

/// Returns all tables, in Markdown.
pub(crate) fn show(measured: &Measured, bodies: &[Body]) -> String {
    let mut text = String::new();
    for body in bodies {
        // Text takes whatever is written into it.
        let _ = writeln!(text, "\n### Bodies of {body}\n");
        rates(&mut text, measured, *body);
        if *body == Body::Small {
            let _ = writeln!(text, "\nRatios in this run, with the goals of 1 KiB:\n");
            ratios(&mut text, measured);
        }
    }
    let _ = writeln!(
        text,
        "\nChecked: {} messages were confirmed, every one was received, and all queues were empty afterwards; {}.",
        whole(measured.checked as f64),
        repeated(measured)
    );
    text
}

/// Says whose messages came more than once.
fn repeated(measured: &Measured) -> String {
    if measured.repeated.is_empty() {
        return "none came more than once".to_owned();
    }
    let each = measured
        .repeated
        .iter()
        .map(|(contender, messages)| format!("{contender} ({})", whole(*messages as f64)));
    format!("more than once came: {}", each.collect::<Vec<_>>().join("; "))
}

/// Returns whether each goal is met by one of ours; a goal whose peer was not measured is not.
pub(crate) fn are_met(measured: &Measured) -> bool {
    let ours = measured.used(Body::Small);
    let is_met = |figure, peer, goal| {
        let mut ratios = ours
            .iter()
            .filter(|(contender, _)| contender.is_ours())
            .filter_map(|(contender, _)| measured.ratio(*contender, peer, Body::Small, figure));
        ratios.any(|ratio| ratio >= goal)
    };
    GOALS.iter().all(|(_, figure, goals)| {
        let mut with = PEERS.iter().zip(goals);
        with.all(|(peer, goal)| is_met(*figure, *peer, *goal))
    })
}

fn rates(text: &mut String, measured: &Measured, body: Body) {
    const COLUMNS: [(&str, Figure, Form); 12] = [
        ("produce/s", Figure::Produce, Form::Whole),
        ("receive + delete/s", Figure::Consume, Form::Whole),
        ("mixed: sent/s", Figure::MixedSend, Form::Whole),
        ("mixed: received/s", Figure::MixedTake, Form::Whole),
        ("CPU s/M sent", Figure::ProduceSeconds, Form::Digits(1)),
        ("CPU s/M received", Figure::ConsumeSeconds, Form::Digits(1)),
        ("written/sent", Figure::ProduceWritten, Form::Digits(2)),
        ("written/sent, mixed", Figure::MixedWritten, Form::Digits(2)),
        ("p50 ms", Figure::Half, Form::Digits(2)),
        ("p99 ms", Figure::NinetyNine, Form::Digits(2)),
        ("p99.9 ms", Figure::NinetyNineNine, Form::Digits(2)),
        ("CPUs of the load", Figure::LoadBusy, Form::Digits(2)),
    ];
    let names = COLUMNS.map(|(name, ..)| name);
    let _ = writeln!(text, "| system | clients | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " ---: |".repeat(COLUMNS.len()));
    for (contender, plan) in measured.used(body) {
        let cells = COLUMNS.map(|(_, figure, form)| {
            let median = measured.median(contender, body, figure);
            median.map_or_else(|| "–".to_owned(), |value| form.write(value))
        });
        let clients = clients(contender, plan);
        let _ = writeln!(text, "| {contender} | {clients} | {} |", cells.join(" | "));
    }
}

fn ratios(text: &mut String, measured: &Measured) {
    let _ = writeln!(
        text,
        "| work | ours | RabbitMQ | NATS, sync always | NATS, default |"
    );
    let _ = writeln!(text, "| --- | --- | --- | --- | --- |");
    let used = measured.used(Body::Small);
    for (work, figure, goals) in GOALS {
        for (ours, _) in used.iter().filter(|(contender, _)| contender.is_ours()) {
            let cells: Vec<String> = PEERS
                .iter()
                .zip(goals)
                .map(|(peer, goal)| cell(measured.ratio(*ours, *peer, Body::Small, figure), goal))
                .collect();
            let _ = writeln!(text, "| {work} | {ours} | {} |", cells.join(" | "));
        }
    }
}

fn cell(ratio: Option<f64>, goal: f64) -> String {
    match ratio {
        Some(ratio) if ratio >= goal => format!("{ratio:.2} × (≥ {goal}, met)"),
        Some(ratio) => format!("{ratio:.2} × (≥ {goal}, missed)"),
        None => "–".to_owned(),
    }
}

/// Says what a system was used with.
fn clients(contender: Contender, plan: Plan) -> String {
    let Plan {
        queues,
        producers,
        window,
        consumers,
        prefetch,
    } = plan;
    let sets = match queues {
        1 => "1 set".to_owned(),
        _ => format!("{queues} sets"),
    };
    match contender {
        Contender::RabbitMq => format!(
            "{queues} queues; {producers} senders, {window} unconfirmed each; {consumers} receivers, prefetch {prefetch}"
        ),
        Contender::NatsSync | Contender::Nats => format!(
            "{queues} streams; {producers} senders, {window} unconfirmed each; {consumers} receivers, 2 pulls of \
             {prefetch} each"
        ),
        Contender::Posthouse | Contender::PosthouseSets => format!(
            "{sets}; {producers} senders of batches of {window}; {consumers} receivers of batches of {prefetch}"
        ),
        Contender::PosthouseSingle => {
            format!("{sets}; {producers} senders; {consumers} receivers of batches of {prefetch}")
        }
        Contender::PosthouseStream => format!(
            "{sets}; {producers} senders, {window} unconfirmed each; {consumers} receivers, {prefetch} ahead each"
        ),
    }
}

/// Returns a whole number with its thousands apart.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

// === impl Form ===

impl Form {
    fn write(self, value: f64) -> String {
        match self {
            Form::Whole => whole(value),
            Form::Digits(digits) => format!("{value:.digits$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ours: f64, peers: f64) -> Measured {
        let mut measured = Measured::default();
        for contender in PEERS {
            measured.plan(contender, Body::Small, contender.plan(Body::Small));
            for (_, figure, _) in GOALS {
                measured.add(contender, Body::Small, figure, peers);
            }
        }
        let contender = Contender::Posthouse;
        measured.plan(contender, Body::Small, contender.plan(Body::Small));
        for (_, figure, _) in GOALS {
            measured.add(contender, Body::Small, figure, ours);
        }
        measured
    }

    #[test]
    fn goals_are_met_by_each_ratio_or_not_at_all() {
        assert!(are_met(&measured(60_000.0, 10_000.0)));
        assert!(!are_met(&measured(59_000.0, 10_000.0)));
        assert!(!are_met(&Measured::default()), "what was not measured");
    }

    #[test]
    fn tables_say_which_goal_is_missed_and_what_was_not_measured() {
        let text = show(&measured(59_000.0, 10_000.0), &[Body::Small]);
        assert!(
            text.contains("| produce | Posthouse, one set | 5.90 × (≥ 6, missed) | 5.90 × (≥ 3, met) |"),
            "{text}"
        );
        let row = text
            .lines()
            .find(|line| line.starts_with("| RabbitMQ"))
            .expect("a row");
        assert!(row.contains("| 10,000 | 10,000 | 10,000 | – |"), "{row}");
        let columns = |line: &str| line.matches('|').count();
        let head = text
            .lines()
            .find(|line| line.starts_with("| system"))
            .expect("a head");
        assert_eq!(columns(head), columns(row));
    }

    #[test]
    fn it_is_told_whose_messages_came_more_than_once() {
        let mut measured = measured(60_000.0, 10_000.0);
        assert!(show(&measured, &[]).contains("; none came more than once."));
        measured.repeated.insert(Contender::RabbitMq, 1_400);
        measured.repeated.insert(Contender::Nats, 2);
        let text = show(&measured, &[]);
        assert!(
            text.contains(
                "; more than once came: RabbitMQ, quorum queues (1,400); NATS JetStream, default (2)."
            ),
            "{text}"
        );
    }

    #[test]
    fn thousands_are_apart() {
        let texts = [0.0, 999.0, 1_000.0, 1_234_567.4].map(whole);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
