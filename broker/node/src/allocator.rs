//! The allocator of `posthouse`, and how long it keeps what is free.

use std::ffi::{c_int, c_long};

use mimalloc::MiMalloc;

/// Bodies are allocated on the thread that reads them and freed on the one that keeps or applies them, and most are
/// larger than what glibc's malloc has quick lists for: with it, a fifth of a node's time under load went there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What `mimalloc.h` calls `mi_option_purge_delay`: after so many milliseconds free memory is given back.
const PURGE_DELAY: c_int = 15;
/// As it comes it is a second. Under load all memory of entries and frames was given back each second, and then found and
/// emptied by the kernel again page by page, which was a seventh of a node's time.
const PURGE_DELAY_MILLIS: c_long = 10_000;

#[allow(unsafe_code)]
unsafe extern "C" {
    // SAFETY: they are mimalloc's own declarations; both take any number, and leave alone what no option has.
    safe fn mi_option_set_default(option: c_int, value: c_long);
    #[cfg(test)]
    safe fn mi_option_get(option: c_int) -> c_long;
}

/// Has free memory kept for longer, unless the environment says for how long (`MIMALLOC_PURGE_DELAY`).
pub(crate) fn keep_what_is_free() {
    mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MILLIS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_one_of_the_purge_delay() {
        assert!(
            std::env::var_os("MIMALLOC_PURGE_DELAY").is_none(),
            "it decides alone"
        );
        assert_eq!(
            mi_option_get(PURGE_DELAY),
            1_000,
            "mimalloc's own, which no other option has"
        );
        keep_what_is_free();
        assert_eq!(mi_option_get(PURGE_DELAY), PURGE_DELAY_MILLIS);
    }
}
