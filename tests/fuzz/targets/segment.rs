//! Segment files as any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_store::segment::read;

fuzz_target!(|input: &[u8]| {
    if let Ok(records) = read(input) {
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        assert!(bytes <= input.len(), "no more comes out of a file than is in it");
    }
});
