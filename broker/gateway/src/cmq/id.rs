//! The ids that clients see of queues, topics and subscriptions: CMQ's look, our numbers.

use posthouse_model::{Incarnation, SubscriptionId};

/// The fewest digits of a queue's or topic's number.
const DIGITS_MIN: usize = 8;
/// The fewest digits of a subscription's number, which follow its topic's.
const SUBSCRIPTION_DIGITS_MIN: usize = 4;

/// Returns a queue's id, like `queue-0000002r`.
pub fn queue_id(queue: Incarnation) -> String {
    format!("queue-{}", base36(queue.0, DIGITS_MIN))
}

/// Returns a topic's id, like `topic-0000002r`.
pub fn topic_id(topic: Incarnation) -> String {
    format!("topic-{}", base36(topic.0, DIGITS_MIN))
}

/// Returns a subscription's id, like `subsc-0000002r0001`: subscriptions are numbered within a set, so the topic
/// is part of what makes it unique.
pub fn subscription_id(topic: Incarnation, subscription: SubscriptionId) -> String {
    let topic = base36(topic.0, DIGITS_MIN);
    let subscription = base36(subscription.0, SUBSCRIPTION_DIGITS_MIN);
    format!("subsc-{topic}{subscription}")
}

fn base36(mut number: u64, digits_min: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.len() < digits_min {
        let digit = u32::try_from(number % 36).expect("a remainder by 36 is below 36");
        digits.push(char::from_digit(digit, 36).expect("below 36"));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_documented_look() {
        assert_eq!(queue_id(Incarnation(0)), "queue-00000000");
        assert_eq!(queue_id(Incarnation(99)), "queue-0000002r");
        assert_eq!(topic_id(Incarnation(36)), "topic-00000010");
        assert_eq!(
            subscription_id(Incarnation(99), SubscriptionId(1)),
            "subsc-0000002r0001"
        );
        assert_eq!(queue_id(Incarnation(u64::MAX)), "queue-3w5e11264sgsf");
    }
}
