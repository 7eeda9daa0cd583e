//! The table as published, and where the model's words fall in it.

use std::collections::BTreeSet;

use posthouse_model::{Incarnation, LogIndex, Name, ReceiptHandle};

use super::*;

#[test]
fn the_rows_are_the_published_ones() {
    let published: BTreeSet<&str> = include_str!("../../../kept/errors.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let mut ours = BTreeSet::new();
    for row in CmqError::rows() {
        ours.insert(format!("{}\t{}\t{}", row.code, row.module, row.text));
    }
    for row in &published {
        assert!(ours.remove(*row), "missing or misspelt: {row}");
    }
    let topics = CmqError::topic_still_releasing();
    let variant = format!("{}\t{}\t{}", topics.code, topics.module, topics.text);
    assert_eq!(
        ours.into_iter().collect::<Vec<_>>(),
        [variant],
        "rows that nobody published"
    );
}

#[test]
fn the_module_code_stands_before_the_text() {
    let error = CmqError::unknown_action("CreateTopic");
    assert_eq!(error.code, 4000);
    assert_eq!(error.message(), "(10430)action name CreateTopic is not existed");
}

#[test]
fn faults_say_whether_the_call_was_done() {
    let error = CmqError::not_done("no leader");
    assert_eq!((error.code, error.module), (6000, 10050));
    assert_eq!(
        error.text,
        "server internal error: not done, try again (no leader)"
    );
    let error = CmqError::may_have_been_done("leader lost");
    assert_eq!((error.code, error.module), (6000, 10050));
    assert_eq!(
        error.text,
        "server internal error: may have been done (leader lost)"
    );
}

#[test]
fn each_refusal_has_its_row() {
    let here = Incarnation(7);
    let limit = 1;
    let cases = [
        (Refusal::NoIncarnation(here), (4440, 10100), (4440, 10600)),
        (Refusal::WrongKind(here), (4440, 10100), (4440, 10600)),
        (
            Refusal::OutOfRange {
                attribute: "maxMsgSize".into(),
            },
            (4000, 10350),
            (4000, 10350),
        ),
        (Refusal::RewindAboveRetention, (4000, 10700), (4000, 10700)),
        (
            Refusal::BodyTooLarge { bytes: 2, limit },
            (4400, 10230),
            (4400, 10230),
        ),
        (Refusal::Full { limit }, (4410, 10240), (4410, 10240)),
        (Refusal::TooManyLeased { limit }, (6070, 10690), (6070, 10690)),
        (Refusal::TooManyDelayed { limit }, (6070, 10690), (6070, 10690)),
        (Refusal::BadHandle(ReceiptHandle(1)), (4430, 10260), (4430, 10260)),
        (Refusal::NotRewindable, (6050, 10670), (6050, 10670)),
        (Refusal::RewindOutOfRange, (4000, 10680), (4000, 10680)),
        (Refusal::SubscriptionExists, (4490, 10470), (4490, 10470)),
        (Refusal::NoSubscription, (4000, 10560), (4000, 10560)),
        (
            Refusal::TooManySubscriptions { limit },
            (4500, 10480),
            (4500, 10480),
        ),
        (Refusal::HasSubscriptions, (4000, 10540), (4000, 10540)),
        (Refusal::EndpointFixed, (4000, 10630), (4000, 10630)),
        (Refusal::StaleTerm, (6000, 10050), (6000, 10050)),
        (Refusal::OutboxFull { limit }, (6000, 10050), (6000, 10050)),
        (Refusal::SessionForgotten, (6000, 10050), (6000, 10050)),
        (Refusal::StaleRead, (6000, 10050), (6000, 10050)),
        (Refusal::KvFull, (6000, 10050), (6000, 10050)),
        (Refusal::Malformed("x".into()), (6000, 10050), (6000, 10050)),
        (
            Refusal::DecidedTooEarly {
                decided_at: LogIndex(1),
                seen: LogIndex(2),
            },
            (6000, 10050),
            (6000, 10050),
        ),
    ];
    for (refusal, queue, topic) in cases {
        let error = CmqError::of_refusal(&refusal, Kind::Queue);
        assert_eq!((error.code, error.module), queue, "{refusal:?}");
        let error = CmqError::of_refusal(&refusal, Kind::Topic);
        assert_eq!((error.code, error.module), topic, "{refusal:?}");
    }
    let forgotten = CmqError::of_refusal(&Refusal::SessionForgotten, Kind::Queue);
    assert!(forgotten.text.contains("may have been done"), "{forgotten}");
    let stale = CmqError::of_refusal(&Refusal::StaleTerm, Kind::Queue);
    assert!(stale.text.contains("not done, try again"), "{stale}");
}

#[test]
fn each_refusal_of_the_directory_has_its_row() {
    let name = Name::parse("orders").expect("a name");
    let cases = [
        (
            DirectoryRefusal::Exists(name.clone()),
            (4460, 10210),
            (4460, 10550),
        ),
        (
            DirectoryRefusal::StillReleasing(name.clone()),
            (6040, 10660),
            (6040, 10660),
        ),
        (
            DirectoryRefusal::Limit {
                what: "queues".into(),
                limit: 1,
            },
            (4450, 10220),
            (4450, 10610),
        ),
        (
            DirectoryRefusal::NoIncarnation(Incarnation(1)),
            (4440, 10100),
            (4440, 10600),
        ),
        (DirectoryRefusal::NoTenant, (4100, 10270), (4100, 10270)),
        (DirectoryRefusal::NoAccessKey, (4100, 10270), (4100, 10270)),
        (
            DirectoryRefusal::Malformed("x".into()),
            (4000, 10110),
            (4000, 10110),
        ),
        (DirectoryRefusal::NoMasterKey(name), (6000, 10050), (6000, 10050)),
        (DirectoryRefusal::NotFounded, (6000, 10050), (6000, 10050)),
    ];
    for (refusal, queue, topic) in cases {
        let error = CmqError::of_directory_refusal(&refusal, Kind::Queue);
        assert_eq!((error.code, error.module), queue, "{refusal:?}");
        let error = CmqError::of_directory_refusal(&refusal, Kind::Topic);
        assert_eq!((error.code, error.module), topic, "{refusal:?}");
    }
}
