//! Files of the log as any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_store::wal::{Tail, read_file};

fuzz_target!(|input: &[u8]| {
    let Ok(reading) = read_file(input) else {
        return;
    };
    let mut before = 0;
    for record in &reading.records {
        assert!(record.offset > before, "records come in the order of the file");
        assert!(record.offset + record.payload.len() as u64 <= input.len() as u64);
        before = record.offset;
    }
    assert!(
        reading
            .end
            .last_batch
            .is_none_or(|last| last < reading.end.offset)
    );
    match reading.end.tail {
        Tail::Clean => {}
        Tail::Torn { bytes } => assert!(reading.end.offset + bytes <= input.len() as u64),
        Tail::Damaged { followed_by } => assert!(followed_by > reading.end.offset),
    }
});
