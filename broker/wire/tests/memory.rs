//! Decoding asks for no more memory than the bytes at hand can fill, whatever lengths they claim.
//!
//! Alone in its binary, because it counts what is allocated.

#![expect(unsafe_code, reason = "an allocator cannot be wrapped without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use posthouse_model::{Directory, SetCommand, Submission};
use posthouse_wire::*;

/// What one byte of input may cost: the largest thing that two bytes can encode, in a vector that doubled.
const BYTES_PER_BYTE_MAX: usize = 2 * size_of::<Submission<SetCommand>>();
/// What an error text and the like may cost.
const BYTES_MAX: usize = 4_096;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ASKED_FOR: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED_FOR.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Returns how many bytes are asked for, over all, while reading a payload as everything there is.
fn cost(payload: &[u8]) -> usize {
    let as_kind = |kind: Kind| [&[kind as u8, kind.version()], payload].concat();
    let inputs = [
        as_kind(Kind::SetBatch),
        as_kind(Kind::DirectoryBatch),
        as_kind(Kind::StoredMessage),
        as_kind(Kind::SetOutcome),
        as_kind(Kind::DirectoryState),
    ];
    let [
        set_batch,
        directory_batch,
        stored_message,
        set_outcome,
        directory_state,
    ] = &inputs;
    let mut most = 0;
    let mut measure = |read: &dyn Fn() -> bool| {
        let before = ASKED_FOR.load(Ordering::Relaxed);
        let _is_read = read();
        most = most.max(ASKED_FOR.load(Ordering::Relaxed) - before);
    };
    let entry = Bytes::copy_from_slice(set_batch);
    measure(&|| decode_set_batch(&entry).is_ok());
    measure(&|| decode_directory_batch(directory_batch).is_ok());
    measure(&|| decode_stored_message(stored_message).is_ok());
    measure(&|| decode_set_outcome(set_outcome).is_ok());
    measure(&|| decode_directory_state::<Directory>(directory_state).is_ok());
    most
}

// One test: another beside it would be counted too.
#[test]
fn no_claimed_length_makes_decoding_ask_for_more_than_its_input_can_fill() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let large = [0xff, 0xff, 0xff, 0x7f];
    let mut payloads = Vec::new();
    for length in [&huge[..], &large, &[0x7f]] {
        for zeros in 0..40 {
            let before = vec![0; zeros];
            payloads.push([&before[..], length].concat());
            payloads.push([&before[..], length, length, length].concat());
        }
    }
    // A length that is true, of the smallest commands there are.
    let ticks = 10_000_usize;
    let mut many = vec![0, 0x90, 0x4e];
    many.extend([0, 15].repeat(ticks));
    assert_eq!(
        decode_set_batch(&[&[1, 1], &many[..]].concat().into()).map(|b| b.submissions.len()),
        Ok(ticks)
    );
    payloads.push(many);
    for payload in payloads {
        let cost = cost(&payload);
        let allowed = BYTES_MAX + payload.len() * BYTES_PER_BYTE_MAX;
        assert!(cost <= allowed, "{cost} bytes asked for {payload:02x?}");
    }
}
