//! Crashes, by the thousand: a store on a disk that forgets is stopped anywhere and must come back with all that it
//! said yes to, and nothing that it took away. And a test for each sync: without it, a crash loses something.
//!
//! `POSTHOUSE_CRASHES` is how many seeds are run (10,000 if it is not set), and `POSTHOUSE_CRASH_SEED` the one to
//! run alone.

mod world;

use std::panic::AssertUnwindSafe;

use posthouse_store::SyncPoint;
use world::World;

const SEEDS: u64 = 10_000;
/// A sync that is left out is noticed within so many seeds.
const MUTATION_SEEDS: u64 = 3_000;

#[test]
fn what_was_promised_is_there_after_any_crash() {
    if let Some(seed) = number("POSTHOUSE_CRASH_SEED") {
        World::run(seed, None).expect("the seed that was asked for");
        return;
    }
    let seeds = number("POSTHOUSE_CRASHES").unwrap_or(SEEDS);
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            for seed in (half..seeds).step_by(2) {
                if let Err(text) = World::run(seed, None) {
                    panic!("{text}; run again with POSTHOUSE_CRASH_SEED={seed} cargo test -p posthouse-store --test crash what_was");
                }
            }
        })
    });
    for half in halves {
        half.join().expect("no seed fails");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Asserts that a crash without one kind of sync is noticed, and that it is the lack of it that is noticed.
fn assert_needed(point: SyncPoint) {
    // Broken worlds may break assertions of the store; that is noticing too, and need not be read.
    let noticed = (0..MUTATION_SEEDS).find(|seed| {
        let run = AssertUnwindSafe(|| World::run(*seed, Some(point)));
        !matches!(std::panic::catch_unwind(run), Ok(Ok(())))
    });
    let seed = noticed.unwrap_or_else(|| panic!("nothing is lost without {point:?}"));
    World::run(seed, None).expect("with the sync, the same seed loses nothing");
}

macro_rules! needed {
    ($($name:ident: $point:ident,)*) => {
        $(
            #[test]
            fn $name() {
                assert_needed(SyncPoint::$point);
            }
        )*
    };
}

needed! {
    a_crash_without_the_sync_of_the_layout_is_noticed: Layout,
    a_crash_without_the_sync_of_a_setting_is_noticed: SettingFile,
    a_crash_without_the_sync_of_a_settings_name_is_noticed: SettingDirectory,
    a_crash_without_the_sync_of_a_batch_is_noticed: WalBatch,
    a_crash_without_the_sync_of_a_new_log_file_is_noticed: WalFile,
    a_crash_without_the_sync_of_a_new_log_files_name_is_noticed: WalDirectory,
    a_crash_without_the_sync_of_a_released_log_files_name_is_noticed: WalRelease,
    a_crash_without_the_sync_of_the_recovered_tail_is_noticed: WalRecovered,
    a_crash_without_the_sync_of_recovered_names_is_noticed: RecoveredDirectory,
    a_crash_without_the_sync_of_a_segment_is_noticed: SegmentFile,
    a_crash_without_the_sync_of_a_segments_name_is_noticed: SegmentDirectory,
    a_crash_without_the_sync_of_decisions_is_noticed: DecisionsFile,
    a_crash_without_the_sync_of_a_checkpoint_is_noticed: CheckpointFile,
    a_crash_without_the_sync_of_a_checkpoints_name_is_noticed: CheckpointDirectory,
    a_crash_without_the_sync_of_cleared_names_is_noticed: ClearedDirectory,
}
