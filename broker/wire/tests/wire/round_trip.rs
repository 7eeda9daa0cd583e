//! What is encoded comes back.

use posthouse_model::{Batch, Directory, LogIndex};
use posthouse_wire::*;
use proptest::prelude::*;

use crate::{any_value, examples};

proptest! {
    #[test]
    fn a_set_s_entry_comes_back(batch in any_value::set_batch()) {
        let bytes = encode_set_batch(&batch);
        prop_assert_eq!(encoded_len(&batch), bytes.len());
        prop_assert_eq!(decode_set_batch(&bytes), Ok(batch));
    }

    #[test]
    fn a_directory_s_entry_comes_back(batch in any_value::directory_batch()) {
        let bytes = encode_directory_batch(&batch);
        prop_assert_eq!(decode_directory_batch(&bytes), Ok(batch));
    }

    #[test]
    fn a_stored_message_comes_back(message in any_value::stored_message()) {
        let bytes = encode_stored_message(&message);
        let mut onto = b"before".to_vec();
        encode_stored_message_onto(&mut onto, &message.message, message.produced);
        prop_assert_eq!(&onto, &[b"before", &bytes[..]].concat(), "a message that someone else holds");
        prop_assert_eq!(decode_stored_message(&bytes), Ok(message));
    }

    #[test]
    fn a_directory_comes_back(many in 0_usize..50) {
        let mut directory = Directory::new();
        let batch = examples::directory_batch();
        for (index, submission) in (1..).zip(batch.submissions.into_iter().take(many)) {
            let batch = Batch { now: batch.now, submissions: vec![submission] };
            directory.apply(LogIndex(index), &batch);
        }
        let bytes = encode_directory_state(&directory);
        prop_assert_eq!(decode_directory_state(&bytes), Ok(directory));
    }
}

#[test]
fn a_set_comes_back() {
    let set = examples::set_3();
    let held = set.queues().count() + set.topics().count();
    assert_eq!(held, 2, "the example holds something");
    assert_eq!(set.kv_stores().count(), 2, "plugins keep something in it");
    assert_eq!(decode_set_state(&encode_set_state(&set)), Ok(set));
}

#[test]
fn every_outcome_comes_back() {
    for outcome in [
        examples::set_outcomes(),
        examples::set_outcomes_2(),
        examples::set_outcomes_3(),
        examples::set_outcomes_4(),
    ]
    .concat()
    {
        assert_eq!(decode_set_outcome(&encode_set_outcome(&outcome)), Ok(outcome));
    }
    for outcome in [
        examples::directory_outcomes(),
        examples::directory_outcomes_2(),
        examples::directory_outcomes_3(),
        examples::directory_outcomes_4(),
        examples::directory_outcomes_5(),
    ]
    .concat()
    {
        assert_eq!(
            decode_directory_outcome(&encode_directory_outcome(&outcome)),
            Ok(outcome)
        );
    }
}
