//! What is compared: systems, how each is set up, and the way into it.

use std::fmt;

use clap::ValueEnum;

use crate::plan::{Knob, Plan, Tries};

/// A system with a way into it. The order is that in which a round has them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Contender {
    /// RabbitMQ, quorum queues.
    RabbitMq,
    /// NATS JetStream, three replicas, `sync_interval: always`.
    NatsSync,
    /// NATS JetStream, three replicas, as it comes: synced every two minutes.
    Nats,
    /// Posthouse with one set, batches of 16 over HTTP.
    Posthouse,
    /// Posthouse with as many sets as serve it best, batches of 16 over HTTP.
    PosthouseSets,
    /// Posthouse with one set, one message a call over HTTP.
    PosthouseSingle,
    /// Posthouse with one set, over streams.
    PosthouseStream,
}

/// Bodies that are measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Body {
    /// 1 KiB.
    Small,
    /// 64 KiB.
    Large,
}

/// The program that serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    /// `rabbitmq-server`.
    RabbitMq,
    /// `nats-server`, and whether it syncs always.
    Nats {
        /// Whether each write is synced before it is confirmed.
        sync: bool,
    },
    /// `posthouse`, and by which of its doors clients come.
    Posthouse {
        /// Whether they come by the streaming door.
        streams: bool,
    },
}

/// How clients speak to it. Another way into Posthouse is one more of these, with its clients beside `systems/http.rs`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// AMQP 0-9-1, by lapin.
    Amqp,
    /// JetStream, by async-nats.
    JetStream,
    /// CMQ's API over HTTP; so many messages a send.
    Http {
        /// Messages a send.
        batch: u16,
    },
    /// Posthouse's streams, by its own client.
    Stream,
}

// === impl Contender ===

impl Contender {
    /// Returns the program that serves.
    pub(crate) fn server(self) -> Server {
        match self {
            Contender::RabbitMq => Server::RabbitMq,
            Contender::NatsSync => Server::Nats { sync: true },
            Contender::Nats => Server::Nats { sync: false },
            Contender::Posthouse | Contender::PosthouseSets | Contender::PosthouseSingle => {
                Server::Posthouse { streams: false }
            }
            Contender::PosthouseStream => Server::Posthouse { streams: true },
        }
    }

    /// Returns the way into it.
    pub(crate) fn door(self) -> Door {
        match self {
            Contender::RabbitMq => Door::Amqp,
            Contender::NatsSync | Contender::Nats => Door::JetStream,
            Contender::Posthouse | Contender::PosthouseSets => Door::Http { batch: 16 },
            Contender::PosthouseSingle => Door::Http { batch: 1 },
            Contender::PosthouseStream => Door::Stream,
        }
    }

    /// Returns whether it is ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self.server(), Server::Posthouse { .. })
    }

    /// Returns what it is used with unless a search is asked for.
    pub(crate) fn plan(self, body: Body) -> Plan {
        let [queues, producers, window, consumers, prefetch] = match (self, body) {
            (Contender::RabbitMq, Body::Small) => [6, 6, 800, 6, 400],
            (Contender::RabbitMq, Body::Large) => [3, 3, 50, 3, 50],
            (Contender::NatsSync, Body::Small) => [3, 3, 800, 12, 800],
            (Contender::NatsSync, Body::Large) => [3, 3, 50, 3, 50],
            (Contender::Nats, Body::Small) => [6, 12, 400, 6, 800],
            (Contender::Nats, Body::Large) => [3, 3, 50, 3, 50],
            (Contender::Posthouse, Body::Small) => [1, 64, 16, 64, 16],
            (Contender::Posthouse, Body::Large) => [1, 16, 16, 16, 16],
            (Contender::PosthouseSets, Body::Small) => [3, 64, 16, 64, 16],
            (Contender::PosthouseSets, Body::Large) => [3, 16, 16, 16, 16],
            (Contender::PosthouseSingle, Body::Small) => [1, 128, 1, 64, 16],
            (Contender::PosthouseSingle, Body::Large) => [1, 64, 1, 16, 16],
            (Contender::PosthouseStream, Body::Small) => [1, 32, 512, 64, 1_024],
            (Contender::PosthouseStream, Body::Large) => [1, 8, 16, 8, 16],
        };
        Plan {
            queues,
            producers,
            window,
            consumers,
            prefetch,
        }
    }

    /// Returns what a search tries.
    pub(crate) fn tries(self, body: Body) -> &'static [Tries] {
        const PEER_SMALL: &[Tries] = &[
            (Knob::Queues, &[1, 3, 6]),
            (Knob::Producers, &[1, 3, 6, 12]),
            (Knob::Window, &[100, 200, 400, 800, 1_600]),
            (Knob::Consumers, &[1, 3, 6, 12]),
            (Knob::Prefetch, &[100, 200, 400, 800, 1_600]),
        ];
        const PEER_LARGE: &[Tries] = &[
            (Knob::Queues, &[1, 3, 6]),
            (Knob::Producers, &[1, 3, 6]),
            (Knob::Window, &[12, 25, 50, 100, 200]),
            (Knob::Consumers, &[1, 3, 6]),
            (Knob::Prefetch, &[12, 25, 50, 100, 200]),
        ];
        // A call over HTTP has 16 messages at the most, and a connection one call.
        const OURS_SMALL: &[Tries] = &[
            (Knob::Producers, &[32, 64, 128, 256]),
            (Knob::Consumers, &[32, 64, 128]),
        ];
        const OURS_LARGE: &[Tries] = &[
            (Knob::Producers, &[4, 8, 16, 32, 64]),
            (Knob::Consumers, &[4, 8, 16, 32]),
        ];
        const SETS_SMALL: &[Tries] = &[
            (Knob::Queues, &[2, 3, 6]),
            (Knob::Producers, &[32, 64, 128, 256]),
            (Knob::Consumers, &[32, 64, 128]),
        ];
        const SETS_LARGE: &[Tries] = &[
            (Knob::Queues, &[2, 3, 6]),
            (Knob::Producers, &[4, 8, 16, 32]),
            (Knob::Consumers, &[4, 8, 16, 32]),
        ];
        const STREAM_SMALL: &[Tries] = &[
            (Knob::Producers, &[4, 8, 16, 32]),
            (Knob::Window, &[256, 512, 1_024, 2_048]),
            (Knob::Consumers, &[4, 8, 16, 32, 64]),
            (Knob::Prefetch, &[256, 512, 1_024, 2_048]),
        ];
        const STREAM_LARGE: &[Tries] = &[
            (Knob::Producers, &[2, 4, 8, 16]),
            (Knob::Window, &[8, 16, 32, 64]),
            (Knob::Consumers, &[2, 4, 8, 16]),
            (Knob::Prefetch, &[8, 16, 32, 64]),
        ];
        match (self, body) {
            (Contender::RabbitMq | Contender::NatsSync | Contender::Nats, Body::Small) => PEER_SMALL,
            (Contender::RabbitMq | Contender::NatsSync | Contender::Nats, Body::Large) => PEER_LARGE,
            (Contender::Posthouse | Contender::PosthouseSingle, Body::Small) => OURS_SMALL,
            (Contender::Posthouse | Contender::PosthouseSingle, Body::Large) => OURS_LARGE,
            (Contender::PosthouseSets, Body::Small) => SETS_SMALL,
            (Contender::PosthouseSets, Body::Large) => SETS_LARGE,
            (Contender::PosthouseStream, Body::Small) => STREAM_SMALL,
            (Contender::PosthouseStream, Body::Large) => STREAM_LARGE,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Contender::RabbitMq => "RabbitMQ, quorum queues",
            Contender::NatsSync => "NATS JetStream, sync always",
            Contender::Nats => "NATS JetStream, default",
            Contender::Posthouse => "Posthouse, one set",
            Contender::PosthouseSets => "Posthouse, several sets",
            Contender::PosthouseSingle => "Posthouse, unbatched",
            Contender::PosthouseStream => "Posthouse, streams",
        })
    }
}

// === impl Body ===

impl Body {
    /// Returns its size.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Body::Small => 1 << 10,
            Body::Large => 64 << 10,
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Small => "1 KiB",
            Body::Large => "64 KiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_among_what_a_search_tries() {
        for contender in Contender::value_variants() {
            for body in Body::value_variants() {
                let plan = contender.plan(*body);
                for (knob, values) in contender.tries(*body) {
                    let is_tried = values.iter().any(|value| plan.with(*knob, *value) == plan);
                    assert!(is_tried, "{contender}, {body}: {knob:?} of {plan}");
                }
            }
        }
    }
}
