//! The built-in delivery to queues: the message as it is, put in the queue that the subscription names.
//!
//! The host's outbox does the carrying, so a failure here is a queue that is missing or refuses. It may come
//! back: attempts go on, ever more rarely, for as long as the topic keeps the message.

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, EndpointKind, EnqueueRequest, Guest, Outcome, Response, Step,
};

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "deliver" });

    export!(QueuePush);
    use super::QueuePush;
}

const FIRST_WAIT_MS: u64 = 1_000;
const WAIT_MS_MAX: u64 = 60_000;

struct QueuePush;

impl Guest for QueuePush {
    fn begin(delivery: Delivery, _body: &Body) -> Result<Step, String> {
        match delivery.endpoint_kind {
            EndpointKind::Queue => Ok(step(Action::Enqueue(EnqueueRequest {
                queue: delivery.endpoint,
            }))),
            EndpointKind::Http => Err("queue-push delivers to queues, not to URLs".to_owned()),
        }
    }

    fn resume(delivery: Delivery, _state: Vec<u8>, response: Response) -> Result<Step, String> {
        let outcome = match response {
            Response::Enqueued => Outcome::Acknowledged,
            Response::Failed(reason) => {
                after_failure(delivery.attempt, delivery.age_ms, delivery.retention_ms, reason)
            }
            Response::Http(_) => {
                return Err("a request for a queue was answered by HTTP".to_owned());
            }
        };
        Ok(step(Action::Done(outcome)))
    }
}

/// Everything that an attempt needs to know is told again at each call, so nothing is kept between them.
fn step(action: Action) -> Step {
    Step {
        action,
        state: Vec::new(),
    }
}

fn after_failure(attempt: u32, age_ms: u64, retention_ms: u64, reason: String) -> Outcome {
    let wait_ms = wait_ms(attempt);
    if age_ms.saturating_add(wait_ms) > retention_ms {
        return Outcome::Drop(reason);
    }
    Outcome::RetryAfter(wait_ms)
}

fn wait_ms(attempt: u32) -> u64 {
    let doubled = FIRST_WAIT_MS.saturating_mul(2u64.saturating_pow(attempt.saturating_sub(1)));
    doubled.min(WAIT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<_> = [1, 2, 3, 6, 7, 8, u32::MAX].map(wait_ms).into();
        assert_eq!(waits, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn a_failed_message_is_tried_again_until_its_topic_keeps_it_no_longer() {
        let within = after_failure(7, DAY_MS - 60_000, DAY_MS, "no such queue".to_owned());
        assert!(matches!(within, Outcome::RetryAfter(60_000)));
        let past = after_failure(7, DAY_MS - 59_999, DAY_MS, "no such queue".to_owned());
        assert!(matches!(past, Outcome::Drop(reason) if reason == "no such queue"));
    }
}
