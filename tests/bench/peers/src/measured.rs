//! What the rounds measured, and medians of it.

use std::collections::BTreeMap;

use posthouse_load::statistics;

use crate::contender::{Body, Contender};
use crate::plan::Plan;

/// What is measured in a round.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Figure {
    /// Messages sent and confirmed by second, with nobody who receives.
    Produce,
    /// Messages received and deleted by second, with nobody who sends and as long as there are some.
    Consume,
    /// Messages sent and confirmed by second, while others receive.
    MixedSend,
    /// Messages received and deleted by second, while others send.
    MixedTake,
    /// Milliseconds that half of the sends at a steady rate were confirmed within.
    Half,
    /// The same of 99 %.
    NinetyNine,
    /// The same of 99.9 %.
    NinetyNineNine,
    /// Seconds of processor time for a million messages sent.
    ProduceSeconds,
    /// The same for a million received and deleted.
    ConsumeSeconds,
    /// Bytes that each replica wrote for a byte sent, with nobody who receives.
    ProduceWritten,
    /// The same while others receive.
    MixedWritten,
    /// Processors that the load program kept busy while it sent.
    LoadBusy,
}

/// Figures of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    figures: BTreeMap<(Contender, Body, Figure), Vec<f64>>,
    plans: BTreeMap<(Contender, Body), Plan>,
    /// Messages that were confirmed, and all received.
    pub(crate) checked: u64,
    /// Messages that were received more than once, of each that had any.
    pub(crate) repeated: BTreeMap<Contender, u64>,
}

// === impl Measured ===

impl Measured {
    /// Notes what something was used with.
    pub(crate) fn plan(&mut self, contender: Contender, body: Body, plan: Plan) {
        self.plans.insert((contender, body), plan);
    }

    /// Returns what something is used with.
    pub(crate) fn planned(&self, contender: Contender, body: Body) -> Option<Plan> {
        self.plans.get(&(contender, body)).copied()
    }

    /// Adds a round's figure.
    pub(crate) fn add(&mut self, contender: Contender, body: Body, figure: Figure, value: f64) {
        self.figures
            .entry((contender, body, figure))
            .or_default()
            .push(value);
    }

    /// Returns the median of a figure.
    pub(crate) fn median(&self, contender: Contender, body: Body, figure: Figure) -> Option<f64> {
        statistics::median(self.figures.get(&(contender, body, figure))?)
    }

    /// Returns the median of what a figure is of the other's in the same round.
    pub(crate) fn ratio(&self, ours: Contender, peer: Contender, body: Body, figure: Figure) -> Option<f64> {
        let ours = self.figures.get(&(ours, body, figure))?;
        let peer = self.figures.get(&(peer, body, figure))?;
        statistics::median_ratio(ours, peer)
    }

    /// Returns what was measured with bodies of a size, and what it was used with.
    pub(crate) fn used(&self, body: Body) -> Vec<(Contender, Plan)> {
        let with = self.plans.iter().filter(|((_, of), _)| *of == body);
        with.map(|((contender, _), plan)| (*contender, *plan)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut measured = Measured::default();
        for (ours, peer) in [(90.0, 30.0), (40.0, 10.0), (80.0, 20.0)] {
            measured.add(Contender::Posthouse, Body::Small, Figure::Produce, ours);
            measured.add(Contender::Nats, Body::Small, Figure::Produce, peer);
        }
        let ratio = |peer| measured.ratio(Contender::Posthouse, peer, Body::Small, Figure::Produce);
        assert_eq!(ratio(Contender::Nats), Some(4.0));
        assert_eq!(ratio(Contender::RabbitMq), None);
        let median = measured.median(Contender::Nats, Body::Small, Figure::Produce);
        assert_eq!(median, Some(20.0));
    }
}
