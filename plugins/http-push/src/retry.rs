//! What follows a failed attempt: CMQ's two strategies.

use crate::bindings::exports::posthouse::plugin::delivering::{Delivery, Outcome, Strategy};

/// BACKOFF_RETRY waits a random time within these, both included.
const BACKOFF_MS_MIN: u64 = 19_000;
const BACKOFF_MS_MAX: u64 = 29_000;
/// BACKOFF_RETRY gives up after the first attempt and so many more.
const BACKOFF_RETRIES_MAX: u32 = 3;

/// EXPONENTIAL_DECAY_RETRY waits so long after the first attempt, and twice as long after each further one.
const DECAY_FIRST_MS: u64 = 1_000;

/// Returns what is to be done after an attempt that failed for this reason.
pub(crate) fn after_failure(delivery: &Delivery, reason: &str) -> Outcome {
    match delivery.strategy {
        Strategy::BackoffRetry if delivery.attempt > BACKOFF_RETRIES_MAX => Outcome::Drop(format!(
            "attempt {} of {}: {reason}",
            delivery.attempt,
            BACKOFF_RETRIES_MAX + 1
        )),
        Strategy::BackoffRetry => Outcome::RetryAfter(backoff_ms(delivery.chance)),
        Strategy::ExponentialDecayRetry => {
            let wait_ms = decay_ms(delivery.attempt);
            if delivery.age_ms.saturating_add(wait_ms) > delivery.retention_ms {
                return Outcome::Drop(format!(
                    "kept no longer than to attempt {}: {reason}",
                    delivery.attempt
                ));
            }
            Outcome::RetryAfter(wait_ms)
        }
    }
}

fn backoff_ms(chance: u64) -> u64 {
    BACKOFF_MS_MIN + chance % (BACKOFF_MS_MAX - BACKOFF_MS_MIN + 1)
}

fn decay_ms(attempt: u32) -> u64 {
    DECAY_FIRST_MS.saturating_mul(2u64.saturating_pow(attempt.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{DAY_MS, delivery};
    use proptest::prelude::{prop_assert, proptest};

    fn failed(strategy: Strategy, attempt: u32, age_ms: u64, chance: u64) -> Outcome {
        let delivery = Delivery {
            strategy,
            attempt,
            age_ms,
            chance,
            ..delivery()
        };
        after_failure(&delivery, "status 500")
    }

    fn wait_ms(outcome: &Outcome) -> Option<u64> {
        match outcome {
            Outcome::RetryAfter(wait_ms) => Some(*wait_ms),
            Outcome::Acknowledged | Outcome::Drop(_) => None,
        }
    }

    #[test]
    fn backoff_tries_four_times_and_drops() {
        let waits: Vec<_> = (1..=5)
            .map(|attempt| wait_ms(&failed(Strategy::BackoffRetry, attempt, 0, 0)))
            .collect();
        assert_eq!(waits, [Some(19_000), Some(19_000), Some(19_000), None, None]);
    }

    #[test]
    fn backoff_waits_from_19_to_29_seconds() {
        assert_eq!(backoff_ms(0), 19_000);
        assert_eq!(backoff_ms(10_000), 29_000);
        assert_eq!(backoff_ms(10_001), 19_000);
    }

    #[test]
    fn decay_doubles_its_wait_until_retention_ends() {
        let mut age_ms = 0;
        let mut waits = Vec::new();
        for attempt in 1.. {
            let Some(wait_ms) = wait_ms(&failed(Strategy::ExponentialDecayRetry, attempt, age_ms, 7)) else {
                break;
            };
            waits.push(wait_ms);
            age_ms += wait_ms;
        }
        let doubled: Vec<_> = (0..16).map(|power| 1_000 << power).collect();
        assert_eq!(waits, doubled);
        assert!(age_ms <= DAY_MS);
    }

    #[test]
    fn a_drop_says_why() {
        let Outcome::Drop(reason) = failed(Strategy::BackoffRetry, 4, 0, 0) else {
            panic!("not dropped")
        };
        assert_eq!(reason, "attempt 4 of 4: status 500");
    }

    proptest! {
        #[test]
        fn no_wait_leads_past_retention(attempt: u32, age_ms: u64, chance: u64) {
            let outcome = failed(Strategy::ExponentialDecayRetry, attempt, age_ms, chance);
            if let Some(wait_ms) = wait_ms(&outcome) {
                prop_assert!(wait_ms >= DECAY_FIRST_MS && age_ms + wait_ms <= DAY_MS);
            }
        }
    }
}
