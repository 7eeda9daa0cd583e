//! Attributes as requests give them: some of them, unresolved, to be laid over those there are.

use posthouse_model::{
    ContentFormat, DeadLetterPolicy, DeadLetterRule, Endpoint, FilterType, Incarnation, Key, Name,
    QueueAttributes, RetryStrategy, Span, SubscriptionAttributes, Tag, TopicAttributes, bounds,
};
use serde::Deserialize;

use super::parameters::Parameters;
use super::{CmqError, Config, QueueJson};

/// The most bytes of a `deadLetterPolicy`.
const POLICY_BYTES_MAX: usize = 1_024;

/// Attributes of a queue; what is absent stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct QueueChange {
    /// `maxMsgHeapNum`.
    pub messages_max: Option<u64>,
    /// `pollingWaitSeconds`.
    pub polling_wait_seconds: Option<u64>,
    /// `visibilityTimeout`.
    pub visibility_seconds: Option<u64>,
    /// `maxMsgSize`.
    pub body_bytes_max: Option<u64>,
    /// `msgRetentionSeconds`.
    pub retention_seconds: Option<u64>,
    /// `rewindSeconds`.
    pub rewind_seconds: Option<u64>,
    /// `deadLetterPolicy`.
    pub dead_letter: Option<DeadLetterChange>,
}

/// A dead letter policy whose queue is not looked up yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetterChange {
    /// The dead letter queue.
    pub queue: Name,
    /// When a message goes there.
    pub rule: DeadLetterRule,
}

/// Attributes of a topic; what is absent stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TopicChange {
    /// `maxMsgSize`.
    pub body_bytes_max: Option<u64>,
}

/// Attributes of a subscription; what is absent stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SubscriptionChange {
    /// `notifyStrategy`.
    pub retry: Option<RetryStrategy>,
    /// `notifyContentFormat`.
    pub format: Option<ContentFormat>,
    /// `filterTag`: replaces those there are.
    pub filter_tags: Option<Vec<Tag>>,
    /// `bindingKey`: replaces those there are.
    pub binding_keys: Option<Vec<Key>>,
}

/// A `deadLetterPolicy` as its JSON says it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyText {
    dead_letter_queue: String,
    policy: Integer,
    max_receive_count: Option<Integer>,
    max_time_to_live: Option<Integer>,
}

/// A number that some clients quote.
#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Number(i64),
    Text(String),
}

// === impl QueueChange ===

impl QueueChange {
    pub(super) fn parse(parameters: &Parameters<'_>) -> Result<QueueChange, CmqError> {
        let dead_letter = match parameters.text_not_empty("deadLetterPolicy")? {
            Some(text) => Some(DeadLetterChange::parse(text)?),
            None => None,
        };
        Ok(QueueChange {
            messages_max: parameters.count("maxMsgHeapNum")?,
            polling_wait_seconds: parameters.count("pollingWaitSeconds")?,
            visibility_seconds: parameters.count("visibilityTimeout")?,
            body_bytes_max: parameters.count("maxMsgSize")?,
            retention_seconds: parameters.count("msgRetentionSeconds")?,
            rewind_seconds: parameters.count("rewindSeconds")?,
            dead_letter,
        })
    }

    /// Returns the dead letter queue that is named, for looking it up.
    pub fn dead_letter_queue(&self) -> Option<&Name> {
        self.dead_letter.as_ref().map(|change| &change.queue)
    }

    /// Returns `current` with this change, if the outcome is within bounds. `dead_letter_target` is the queue that
    /// [`Self::dead_letter_queue`] was found to be, if there is one.
    pub fn apply_to(
        &self,
        current: QueueAttributes,
        dead_letter_target: Option<Incarnation>,
    ) -> Result<QueueAttributes, CmqError> {
        let mut changed = current;
        if let Some(messages) = self.messages_max {
            changed.messages_max = within(&bounds::MESSAGES, messages, "maxMsgHeapNum")?;
        }
        if let Some(seconds) = self.polling_wait_seconds {
            changed.polling_wait = span_within(&bounds::POLLING_WAIT_SECONDS, seconds, "pollingWaitSeconds")?;
        }
        if let Some(seconds) = self.visibility_seconds {
            changed.visibility = span_within(&bounds::VISIBILITY_SECONDS, seconds, "visibilityTimeout")?;
        }
        if let Some(bytes) = self.body_bytes_max {
            changed.body_bytes_max = body_bytes(bytes)?;
        }
        if let Some(seconds) = self.retention_seconds {
            changed.retention = span_within(&bounds::RETENTION_SECONDS, seconds, "msgRetentionSeconds")?;
        }
        if let Some(seconds) = self.rewind_seconds {
            changed.rewind = span_within(&bounds::REWIND_SECONDS, seconds, "rewindSeconds")?;
        }
        if let Some(change) = &self.dead_letter {
            let target = dead_letter_target.ok_or_else(CmqError::no_dead_letter_queue)?;
            changed.dead_letter = Some(Box::new(DeadLetterPolicy {
                name: change.queue.clone(),
                target,
                rule: change.rule,
            }));
        }
        if changed.rewind > changed.retention {
            return Err(CmqError::rewind_above_retention());
        }
        match changed.dead_letter.as_ref().map(|policy| policy.rule) {
            Some(DeadLetterRule::Age { max }) if max >= changed.retention => {
                Err(CmqError::out_of_range("maxTimeToLive"))
            }
            _ => Ok(changed),
        }
    }
}

// === impl DeadLetterChange ===

impl DeadLetterChange {
    fn parse(text: &str) -> Result<DeadLetterChange, CmqError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(CmqError::out_of_range("deadLetterPolicy"));
        }
        let Ok(policy) = serde_json::from_str::<PolicyText>(text) else {
            return Err(CmqError::wrong_type("deadLetterPolicy"));
        };
        let queue = Name::parse(&policy.dead_letter_queue).map_err(|refused| {
            CmqError::queue_name_format().because(&format!("deadLetterQueue {refused}"))
        })?;
        let rule = match policy.policy.value() {
            Some(0) => DeadLetterRule::ReceiveCount {
                max: u32::try_from(limit(
                    policy.max_receive_count,
                    &bounds::DEAD_LETTER_RECEIVES,
                    "maxReceiveCount",
                )?)
                .map_err(|_| CmqError::out_of_range("maxReceiveCount"))?,
            },
            Some(1) => DeadLetterRule::Age {
                max: Span::from_seconds(limit(
                    policy.max_time_to_live,
                    &bounds::DEAD_LETTER_SECONDS,
                    "maxTimeToLive",
                )?),
            },
            Some(_) => return Err(CmqError::out_of_range("policy")),
            None => return Err(CmqError::wrong_type("policy")),
        };
        Ok(DeadLetterChange { queue, rule })
    }
}

impl Integer {
    fn value(&self) -> Option<i64> {
        match self {
            Integer::Number(number) => Some(*number),
            Integer::Text(text) => text.trim().parse().ok(),
        }
    }
}

// === impl TopicChange ===

impl TopicChange {
    pub(super) fn parse(parameters: &Parameters<'_>) -> Result<TopicChange, CmqError> {
        Ok(TopicChange {
            body_bytes_max: parameters.count("maxMsgSize")?,
        })
    }

    /// Returns `current` with this change, if the outcome is within bounds.
    pub fn apply_to(&self, current: TopicAttributes) -> Result<TopicAttributes, CmqError> {
        let mut changed = current;
        if let Some(bytes) = self.body_bytes_max {
            changed.body_bytes_max = body_bytes(bytes)?;
        }
        Ok(changed)
    }
}

// === impl SubscriptionChange ===

impl SubscriptionChange {
    pub(super) fn parse(parameters: &Parameters<'_>) -> Result<SubscriptionChange, CmqError> {
        let retry = parameters
            .text_not_empty("notifyStrategy")?
            .map(retry_strategy)
            .transpose()?;
        let format = parameters
            .text_not_empty("notifyContentFormat")?
            .map(content_format)
            .transpose()?;
        let filter_tags = filter_tags(parameters)?;
        let binding_keys = binding_keys(parameters)?;
        Ok(SubscriptionChange {
            retry,
            format,
            filter_tags: (!filter_tags.is_empty()).then_some(filter_tags),
            binding_keys: (!binding_keys.is_empty()).then_some(binding_keys),
        })
    }

    /// Returns `current` with this change.
    pub fn apply_to(
        &self,
        current: SubscriptionAttributes,
        config: &Config,
    ) -> Result<SubscriptionAttributes, CmqError> {
        let mut changed = current;
        if let Some(retry) = self.retry {
            changed.retry = retry;
        }
        if let Some(format) = self.format {
            changed.format = fitting_format(&changed.endpoint, format, config)?;
        }
        if let Some(tags) = &self.filter_tags {
            changed.filter_tags.clone_from(tags);
        }
        if let Some(keys) = &self.binding_keys {
            changed.binding_keys.clone_from(keys);
        }
        Ok(changed)
    }

    /// Returns the attributes of a new subscription.
    pub(super) fn found(
        self,
        endpoint: Endpoint,
        config: &Config,
    ) -> Result<SubscriptionAttributes, CmqError> {
        let format = match (&endpoint, self.format) {
            (Endpoint::Http(_), None) => ContentFormat::Json,
            (Endpoint::Queue(_), None) => ContentFormat::Simplified,
            (endpoint, Some(format)) => fitting_format(endpoint, format, config)?,
        };
        Ok(SubscriptionAttributes {
            endpoint,
            retry: self.retry.unwrap_or(RetryStrategy::ExponentialDecay),
            format,
            filter_tags: self.filter_tags.unwrap_or_default(),
            binding_keys: self.binding_keys.unwrap_or_default(),
        })
    }
}

/// Reads a `filterType`.
pub(super) fn filter_type(parameters: &Parameters<'_>) -> Result<Option<FilterType>, CmqError> {
    match parameters.number("filterType")? {
        None => Ok(None),
        Some(1) => Ok(Some(FilterType::Tags)),
        Some(2) => Ok(Some(FilterType::BindingKeys)),
        Some(_) => Err(CmqError::out_of_range("filterType")),
    }
}

/// Reads a key, routing or binding, that `parameter` gives.
pub(crate) fn key(text: &str, parameter: &str) -> Result<Key, CmqError> {
    Key::parse(text).map_err(|refused| match refused {
        posthouse_model::NameError::TooManyWords { .. } => CmqError::too_many_words(),
        posthouse_model::NameError::Empty
        | posthouse_model::NameError::TooLong { .. }
        | posthouse_model::NameError::FirstNotLetter
        | posthouse_model::NameError::Character => CmqError::out_of_range(parameter),
    })
}

/// Reads tags, of a message or to filter by.
pub(super) fn tags(
    parameters: &Parameters<'_>,
    parameter: &str,
    too_many: fn() -> CmqError,
) -> Result<Vec<Tag>, CmqError> {
    let texts = parameters.texts(parameter)?;
    if texts.len() > bounds::TAGS_MAX {
        return Err(too_many());
    }
    texts
        .into_iter()
        .map(|text| Tag::parse(text).map_err(|_| CmqError::out_of_range(parameter)))
        .collect()
}

fn filter_tags(parameters: &Parameters<'_>) -> Result<Vec<Tag>, CmqError> {
    tags(parameters, "filterTag", CmqError::filter_tags_over_limit)
}

fn binding_keys(parameters: &Parameters<'_>) -> Result<Vec<Key>, CmqError> {
    let mut texts = parameters.texts("bindingKey")?;
    if texts.is_empty() {
        // PHP's spelling.
        texts = parameters.texts("bindindKey")?;
    }
    if texts.len() > bounds::TAGS_MAX {
        return Err(CmqError::too_many_binding_keys());
    }
    texts.into_iter().map(|text| key(text, "bindingKey")).collect()
}

fn retry_strategy(text: &str) -> Result<RetryStrategy, CmqError> {
    if text.eq_ignore_ascii_case("BACKOFF_RETRY") {
        return Ok(RetryStrategy::Backoff);
    }
    if text.eq_ignore_ascii_case("EXPONENTIAL_DECAY_RETRY") {
        return Ok(RetryStrategy::ExponentialDecay);
    }
    Err(CmqError::unknown_strategy())
}

fn content_format(text: &str) -> Result<ContentFormat, CmqError> {
    if text.eq_ignore_ascii_case("JSON") {
        return Ok(ContentFormat::Json);
    }
    if text.eq_ignore_ascii_case("SIMPLIFIED") {
        return Ok(ContentFormat::Simplified);
    }
    Err(CmqError::unknown_format())
}

/// Returns the format that an endpoint gets when `asked` is asked for it.
fn fitting_format(
    endpoint: &Endpoint,
    asked: ContentFormat,
    config: &Config,
) -> Result<ContentFormat, CmqError> {
    match (endpoint, asked, config.queue_json) {
        (Endpoint::Queue(_), ContentFormat::Json, QueueJson::Simplified) => Ok(ContentFormat::Simplified),
        (Endpoint::Queue(_), ContentFormat::Json, QueueJson::Refused) => {
            Err(CmqError::queue_format_not_simplified())
        }
        (Endpoint::Queue(_), ContentFormat::Simplified, _) | (Endpoint::Http(_), _, _) => Ok(asked),
    }
}

fn limit(
    given: Option<Integer>,
    range: &std::ops::RangeInclusive<u64>,
    parameter: &str,
) -> Result<u64, CmqError> {
    let given = given.ok_or_else(|| CmqError::lacked(parameter))?;
    let number = given.value().ok_or_else(|| CmqError::wrong_type(parameter))?;
    let number = u64::try_from(number).map_err(|_| CmqError::out_of_range(parameter))?;
    within(range, number, parameter)
}

fn body_bytes(bytes: u64) -> Result<u32, CmqError> {
    let bytes = within(&bounds::BODY_BYTES, bytes, "maxMsgSize")?;
    u32::try_from(bytes).map_err(|_| CmqError::out_of_range("maxMsgSize"))
}

fn span_within(
    range: &std::ops::RangeInclusive<u64>,
    seconds: u64,
    parameter: &str,
) -> Result<Span, CmqError> {
    within(range, seconds, parameter).map(Span::from_seconds)
}

fn within(range: &std::ops::RangeInclusive<u64>, number: u64, parameter: &str) -> Result<u64, CmqError> {
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(CmqError::out_of_range(parameter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(change: QueueChange) -> Result<QueueAttributes, CmqError> {
        change.apply_to(QueueAttributes::default(), Some(Incarnation(1)))
    }

    #[test]
    fn each_attribute_is_taken_at_its_bounds_and_refused_beyond() {
        type Set = fn(u64) -> QueueChange;
        let cases: [(Set, u64, u64, &str); 5] = [
            (
                |n| QueueChange {
                    messages_max: Some(n),
                    ..QueueChange::default()
                },
                1_000_000,
                1_000_000_000,
                "maxMsgHeapNum",
            ),
            (
                |n| QueueChange {
                    polling_wait_seconds: Some(n),
                    ..QueueChange::default()
                },
                0,
                30,
                "pollingWaitSeconds",
            ),
            (
                |n| QueueChange {
                    visibility_seconds: Some(n),
                    ..QueueChange::default()
                },
                1,
                43_200,
                "visibilityTimeout",
            ),
            (
                |n| QueueChange {
                    body_bytes_max: Some(n),
                    ..QueueChange::default()
                },
                1_024,
                1_048_576,
                "maxMsgSize",
            ),
            (
                |n| QueueChange {
                    retention_seconds: Some(n),
                    ..QueueChange::default()
                },
                60,
                1_296_000,
                "msgRetentionSeconds",
            ),
        ];
        for (set, low, high, name) in cases {
            assert!(applied(set(low)).is_ok(), "{name}");
            assert!(applied(set(high)).is_ok(), "{name}");
            assert_eq!(applied(set(high + 1)), Err(CmqError::out_of_range(name)));
            if low > 0 {
                assert_eq!(applied(set(low - 1)), Err(CmqError::out_of_range(name)));
            }
        }
    }

    #[test]
    fn rewind_is_at_most_retention_whichever_of_them_changes() {
        let rewind = |seconds| QueueChange {
            rewind_seconds: Some(seconds),
            ..QueueChange::default()
        };
        assert!(applied(rewind(345_600)).is_ok());
        assert_eq!(applied(rewind(345_601)), Err(CmqError::rewind_above_retention()));
        assert_eq!(
            applied(rewind(1_296_001)),
            Err(CmqError::out_of_range("rewindSeconds"))
        );
        let current = applied(rewind(120)).expect("in bounds");
        let shorter = QueueChange {
            retention_seconds: Some(60),
            ..QueueChange::default()
        };
        assert_eq!(
            shorter.apply_to(current, None),
            Err(CmqError::rewind_above_retention())
        );
    }

    #[test]
    fn a_policy_is_json_in_either_kind() {
        let name = Name::parse("dead").expect("a name");
        let count = DeadLetterChange::parse(
            r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1000,"other":null}"#,
        );
        let rule = DeadLetterRule::ReceiveCount { max: 1_000 };
        assert_eq!(
            count,
            Ok(DeadLetterChange {
                queue: name.clone(),
                rule
            })
        );
        let age = DeadLetterChange::parse(r#"{"deadLetterQueue":"dead","policy":"1","maxTimeToLive":"300"}"#);
        let rule = DeadLetterRule::Age {
            max: Span::from_seconds(300),
        };
        assert_eq!(age, Ok(DeadLetterChange { queue: name, rule }));
    }

    #[test]
    fn a_policy_that_does_not_say_all_is_refused() {
        for (text, module) in [
            ("", 10360),
            ("[]", 10360),
            ("{", 10360),
            (r#"{"policy":0,"maxReceiveCount":1}"#, 10360),
            (r#"{"deadLetterQueue":"dead","maxReceiveCount":1}"#, 10360),
            (r#"{"deadLetterQueue":"1","policy":0,"maxReceiveCount":1}"#, 10020),
            (r#"{"deadLetterQueue":"dead","policy":2}"#, 10350),
            (r#"{"deadLetterQueue":"dead","policy":"x"}"#, 10360),
            (r#"{"deadLetterQueue":"dead","policy":0}"#, 10390),
            (
                r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":0}"#,
                10350,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1001}"#,
                10350,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":-1}"#,
                10350,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":"x"}"#,
                10360,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":1,"maxReceiveCount":1}"#,
                10390,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":1,"maxTimeToLive":299}"#,
                10350,
            ),
            (
                r#"{"deadLetterQueue":"dead","policy":1,"maxTimeToLive":43201}"#,
                10350,
            ),
        ] {
            let refused = DeadLetterChange::parse(text).expect_err(text);
            assert_eq!((refused.code, refused.module), (4000, module), "{text}");
        }
        let deep = "[".repeat(POLICY_BYTES_MAX + 1);
        assert_eq!(DeadLetterChange::parse(&deep).expect_err("long").module, 10350);
        let deep = "[".repeat(POLICY_BYTES_MAX);
        assert_eq!(DeadLetterChange::parse(&deep).expect_err("deep").module, 10360);
    }

    #[test]
    fn a_policy_needs_its_queue_and_stays_below_retention() {
        let dead_letter = |seconds| QueueChange {
            dead_letter: Some(DeadLetterChange {
                queue: Name::parse("dead").expect("a name"),
                rule: DeadLetterRule::Age {
                    max: Span::from_seconds(seconds),
                },
            }),
            ..QueueChange::default()
        };
        let unknown = dead_letter(300).apply_to(QueueAttributes::default(), None);
        assert_eq!(unknown, Err(CmqError::no_dead_letter_queue()));
        let current = applied(dead_letter(300)).expect("in bounds");
        let shorter = QueueChange {
            retention_seconds: Some(300),
            ..QueueChange::default()
        };
        assert_eq!(
            shorter.apply_to(current, None),
            Err(CmqError::out_of_range("maxTimeToLive"))
        );
    }
}
