//! How many clients a system is given, and how much each has in flight: what serves each best, found by a search.

use std::fmt;

/// What a system is used with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Queues, or streams, or queues in a set each: work is spread over them, their leaders over the nodes.
    pub(crate) queues: u16,
    /// Connections that send.
    pub(crate) producers: u16,
    /// Messages that each of them has unconfirmed.
    pub(crate) window: u16,
    /// Connections that receive.
    pub(crate) consumers: u16,
    /// Messages that each of them is given ahead, or asks for at once.
    pub(crate) prefetch: u16,
}

/// What of a plan a search varies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Knob {
    /// [`Plan::queues`].
    Queues,
    /// [`Plan::producers`].
    Producers,
    /// [`Plan::window`].
    Window,
    /// [`Plan::consumers`].
    Consumers,
    /// [`Plan::prefetch`].
    Prefetch,
}

/// How fast a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Speed {
    /// Messages sent by second.
    pub(crate) produce: f64,
    /// Messages received and deleted by second.
    pub(crate) consume: f64,
}

/// By how much a plan has to be better: less may be chance, and the plan before has been as good.
const WORTH: f64 = 1.03;

/// Values to try of a knob.
pub(crate) type Tries = (Knob, &'static [u16]);

// === impl Plan ===

impl Plan {
    /// Returns the plan with another value for something.
    pub(crate) fn with(mut self, knob: Knob, value: u16) -> Plan {
        let place = match knob {
            Knob::Queues => &mut self.queues,
            Knob::Producers => &mut self.producers,
            Knob::Window => &mut self.window,
            Knob::Consumers => &mut self.consumers,
            Knob::Prefetch => &mut self.prefetch,
        };
        *place = value;
        self.spread()
    }

    /// Returns the plan with a sender and a receiver for every queue at the least.
    pub(crate) fn spread(mut self) -> Plan {
        self.producers = self.producers.max(self.queues);
        self.consumers = self.consumers.max(self.queues);
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} × {} → {} → {} × {}",
            self.producers, self.window, self.queues, self.consumers, self.prefetch
        )
    }
}

// === impl Knob ===

impl Knob {
    /// Returns how good a speed is for what this changes.
    fn score(self, speed: Speed) -> f64 {
        match self {
            Knob::Queues => speed.produce * speed.consume,
            Knob::Producers | Knob::Window => speed.produce,
            Knob::Consumers | Knob::Prefetch => speed.consume,
        }
    }
}

/// Varies one thing after the other, and keeps of each what is fastest. What was best so far is measured again with each,
/// so that a machine that has become slower meanwhile makes nothing look better or worse.
pub(crate) fn search(
    start: Plan,
    tries: &[Tries],
    mut measure: impl FnMut(Plan) -> anyhow::Result<Speed>,
) -> anyhow::Result<Plan> {
    let mut found = start;
    for (knob, values) in tries {
        let from = found;
        let mut best = (from, measure(from)?);
        for value in *values {
            let plan = from.with(*knob, *value);
            // One that comes to the same as another is not tried again.
            if plan == from || plan == best.0 {
                continue;
            }
            let speed = measure(plan)?;
            if knob.score(speed) > knob.score(best.1) * WORTH {
                best = (plan, speed);
            }
        }
        found = best.0;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Plan = Plan {
        queues: 1,
        producers: 1,
        window: 100,
        consumers: 1,
        prefetch: 100,
    };

    #[test]
    fn a_search_finds_the_best_of_each_for_what_it_serves() {
        // Few producers and many consumers are best, and three queues are for both.
        let measure = |plan: Plan| {
            let spread = if plan.queues == 3 { 2.0 } else { 1.0 };
            Ok(Speed {
                produce: spread * f64::from(100 - plan.producers),
                consume: spread * f64::from(plan.consumers),
            })
        };
        let tries: [Tries; 3] = [
            (Knob::Queues, &[1, 3, 6]),
            (Knob::Producers, &[2, 4]),
            (Knob::Consumers, &[2, 8, 4]),
        ];
        let found = search(START, &tries, measure).expect("nothing fails");
        let best = Plan {
            queues: 3,
            producers: 3,
            consumers: 8,
            ..START
        };
        assert_eq!(found, best);
    }

    #[test]
    fn a_search_measures_what_it_begins_from_once_for_each_thing() {
        let mut measured = 0;
        let count = |_| {
            measured += 1;
            Ok(Speed::default())
        };
        search(START, &[(Knob::Queues, &[1]), (Knob::Window, &[100, 200])], count).expect("nothing fails");
        assert_eq!(measured, 3);
    }

    #[test]
    fn no_queue_is_without_a_sender_and_a_receiver() {
        let plan = START.with(Knob::Queues, 6);
        assert_eq!((plan.producers, plan.consumers), (6, 6));
        assert_eq!(plan.with(Knob::Producers, 3).producers, 6);
    }

    #[test]
    fn a_plan_says_all_of_it() {
        assert_eq!(START.to_string(), "1 × 100 → 1 → 1 × 100");
    }
}
