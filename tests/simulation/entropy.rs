//! All chance of the process follows from a seed: this is the `getrandom` that everything in it ends at.
//!
//! The standard library (for the order in which hash maps are gone through), the runtime (for whom it wakes first, and
//! which branch of a `select!` it looks at first) and the Raft library (for election timeouts) all ask the operating
//! system for bytes and take it from there. So no seam is needed in any of them.

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// Has all chance follow from a seed from now on. To be called before anything has asked for some.
pub(crate) fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// Fills a buffer in place of the C library's function of this name. SplitMix64.
#[expect(
    unsafe_code,
    reason = "the C library's function is replaced for this test alone"
)]
#[unsafe(no_mangle)]
extern "C" fn getrandom(into: *mut u8, bytes: usize, _flags: u32) -> isize {
    for at in 0..bytes {
        let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // SAFETY: the caller has so many bytes there, as the C library's function demands.
        unsafe { into.add(at).write((mixed ^ (mixed >> 31)) as u8) };
    }
    bytes.cast_signed()
}
