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
/// emptied by the kernel again page by page, which was a sixth of a node's time. With ten seconds rather than three, sends are up
/// to 7 % more, within what runs differ by, and 60 MB more stay resident.
const PURGE_DELAY_MILLIS: c_long = 3_000;

#[expect(unsafe_code, reason = "mimalloc's crate has no call for it")]
mod declared {
    use std::ffi::{c_int, c_long};

    // SAFETY: they are as `mimalloc.h` declares them, and take any number.
    unsafe extern "C" {
        /// Sets an option, unless the environment does. Nobody else may look at options meanwhile, as other threads do when
        /// they use memory.
        pub(super) fn mi_option_set_default(option: c_int, value: c_long);
        #[cfg(test)]
        pub(super) safe fn mi_option_get(option: c_int) -> c_long;
    }
}

/// Has free memory kept for longer, unless the environment says for how long (`MIMALLOC_PURGE_DELAY`). To be called before
/// there are other threads.
#[expect(unsafe_code, reason = "mimalloc's crate has no call for it")]
pub(crate) fn keep_what_is_free() {
    // SAFETY: there are no other threads yet.
    unsafe { declared::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MILLIS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_one_of_the_purge_delay() {
        let is_set = ["MIMALLOC_PURGE_DELAY", "MIMALLOC_RESET_DELAY"].map(std::env::var_os);
        assert_eq!(is_set, [None, None], "they decide alone");
        let of_mimalloc = 1_000;
        assert_eq!(declared::mi_option_get(PURGE_DELAY), of_mimalloc);
    }
}
