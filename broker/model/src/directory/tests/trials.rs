//! The rules of trials by example, and what always holds of them.

use super::*;
use crate::{Gate, Share, TrialEnd};

const PLACE: Place = Place::Tenant(TenantId(1));

/// A tenant with a filter bound to all that it has, and a later version of it.
fn bound() -> (Log, PluginVersion, PluginVersion) {
    let mut log = Log::founded();
    let first = log.push(Some(1), "mine", World::Filter, 1);
    let second = log.push(Some(1), "mine", World::Filter, 2);
    log.done(bind(PLACE, first));
    (log, first, second)
}

fn begin(place: Place, world: World, version: PluginVersion, share: u16) -> DirectoryCommand {
    DirectoryCommand::BeginTrial {
        place,
        world,
        version,
        share: Share(share),
        gate: None,
    }
}

fn end(log: &Log, end: TrialEnd) -> DirectoryCommand {
    let began = running(log).expect("a trial runs");
    DirectoryCommand::EndTrial {
        place: PLACE,
        world: World::Filter,
        began,
        end,
    }
}

fn running(log: &Log) -> Option<LogIndex> {
    let trial = log.directory.trial(PLACE, World::Filter);
    trial.filter(|trial| trial.end.is_none()).map(|trial| trial.began)
}

fn ended(log: &Log) -> Option<TrialEnd> {
    log.directory.trial(PLACE, World::Filter)?.end.clone()
}

#[test]
fn a_later_version_is_tried_beside_the_one_in_use_and_put_in_its_place() {
    let (mut log, first, second) = bound();
    log.done(begin(PLACE, World::Filter, second, 100));
    assert_eq!(log.in_use(PLACE, World::Filter), Some(first), "it is only tried");
    log.done(end(&log, TrialEnd::Promoted));
    assert_eq!(log.in_use(PLACE, World::Filter), Some(second));
    assert_eq!(ended(&log), Some(TrialEnd::Promoted));
    let back = DirectoryCommand::RollBack {
        tenant: Some(TenantId(1)),
        name: name("mine"),
    };
    assert_eq!(log.apply(back), Ok(DirectoryReply::RolledBack(first)));
}

#[test]
fn a_trial_is_ended_once_and_no_other_in_its_place() {
    let (mut log, first, second) = bound();
    log.done(begin(PLACE, World::Filter, second, 0));
    let late = end(&log, TrialEnd::Promoted);
    log.done(begin(PLACE, World::Filter, second, 0));
    assert_eq!(
        log.apply(late),
        Err(DirectoryRefusal::NoTrial),
        "it is another trial"
    );
    let stop = end(&log, TrialEnd::Stopped);
    log.done(stop.clone());
    assert_eq!(log.apply(stop), Err(DirectoryRefusal::NoTrial));
    assert_eq!(log.in_use(PLACE, World::Filter), Some(first));
}

#[test]
fn whatever_changes_the_binding_ends_the_trial() {
    let rollback = || DirectoryCommand::RollBack {
        tenant: Some(TenantId(1)),
        name: name("mine"),
    };
    let (mut log, first, second) = bound();
    let third = log.push(Some(1), "mine", World::Filter, 3);
    log.done(begin(PLACE, World::Filter, third, 0));
    log.done(DirectoryCommand::Activate { version: second });
    assert_eq!(ended(&log), Some(TrialEnd::Overtaken));
    log.done(begin(PLACE, World::Filter, third, 0));
    assert_eq!(log.apply(rollback()), Ok(DirectoryReply::RolledBack(first)));
    assert_eq!(ended(&log), Some(TrialEnd::Overtaken));
    log.done(begin(PLACE, World::Filter, third, 0));
    log.done(bind_with(PLACE, first, b"otherwise", FailurePolicy::Reject));
    assert_eq!(ended(&log), Some(TrialEnd::Overtaken));
    log.done(begin(PLACE, World::Filter, third, 0));
    log.done(DirectoryCommand::Unbind {
        place: PLACE,
        world: World::Filter,
    });
    assert_eq!(log.directory.trials().count(), 0);
}

#[test]
fn what_cannot_be_compared_is_not_tried() {
    let (mut log, first, second) = bound();
    let other = log.push(Some(1), "other", World::Filter, 3);
    for (command, refusal) in [
        (
            begin(PLACE, World::Filter, other, 0),
            DirectoryRefusal::OtherPlugin,
        ),
        (
            begin(PLACE, World::Filter, first, 0),
            DirectoryRefusal::VersionInUse,
        ),
        (begin(PLACE, World::Route, second, 0), DirectoryRefusal::NotBound),
        (
            begin(PLACE, World::Deliver, second, 0),
            DirectoryRefusal::NotTried(World::Deliver),
        ),
        (
            begin(PLACE, World::Seal, second, 0),
            DirectoryRefusal::NotTried(World::Seal),
        ),
        (
            begin(PLACE, World::Filter, PluginVersion(99), 0),
            DirectoryRefusal::NoPlugin,
        ),
    ] {
        assert_eq!(log.apply(command), Err(refusal));
    }
    assert!(is_malformed(&log.apply(begin(
        PLACE,
        World::Filter,
        second,
        10_001
    ))));
    assert_eq!(log.directory.trials().count(), 0);
}

#[test]
fn a_gate_waits_for_a_call_at_least_and_has_bounds() {
    let (mut log, _, second) = bound();
    let gated = |calls_min, errors_max| DirectoryCommand::BeginTrial {
        place: PLACE,
        world: World::Filter,
        version: second,
        share: Share(0),
        gate: Some(Gate {
            calls_min,
            errors_max,
            differences_max: None,
            call_micros_max: None,
            promotes: false,
        }),
    };
    for bad in [
        gated(0, None),
        gated(GATE_CALLS_MAX + 1, None),
        gated(1, Some(Share(10_001))),
    ] {
        assert!(is_malformed(&log.apply(bad)));
    }
    log.done(gated(GATE_CALLS_MAX, Some(Share::ALL)));
}

#[test]
fn a_version_is_kept_while_it_is_tried() {
    let (mut log, _, second) = bound();
    log.done(begin(PLACE, World::Filter, second, 0));
    let remove = DirectoryCommand::RemovePlugin { version: second };
    assert_eq!(log.apply(remove.clone()), Err(DirectoryRefusal::PluginInUse));
    log.done(end(&log, TrialEnd::Stopped));
    log.done(remove);
    assert_eq!(
        log.directory.trials().count(),
        0,
        "nobody asks for a trial of what is no more"
    );
}

#[test]
fn trials_are_bounded_for_each_owner() {
    let mut log = Log::founded();
    let first = log.push(None, "everybody-s", World::Filter, 1);
    let second = log.push(None, "everybody-s", World::Filter, 2);
    let topics = [1, 2].map(|tenant| log.ready(tenant, topic(), "t"));
    let place = |of: Incarnation, number| Place::Subscription(of, SubscriptionId(number));
    for number in 0..=TRIALS_MAX {
        log.done(bind(place(topics[0], number), first));
    }
    log.done(bind(place(topics[1], 0), first));
    for number in 0..TRIALS_MAX {
        log.done(begin(place(topics[0], number), World::Filter, second, 0));
    }
    let one_more = begin(place(topics[0], TRIALS_MAX), World::Filter, second, 0);
    assert_eq!(limit_of(log.apply(one_more)), Some(TRIALS_MAX));
    log.done(begin(place(topics[0], 0), World::Filter, second, 1));
    log.done(begin(place(topics[1], 0), World::Filter, second, 0));
}

/// Boxed, as those of nodes are.
pub(super) fn any_begin() -> BoxedStrategy<DirectoryCommand> {
    let share = prop_oneof![9 => 0_u16..=10_000, 1 => any::<u16>()];
    let bound = || prop::option::of((0_u16..=10_001).prop_map(Share));
    let gate = (0_u64..3, bound(), bound(), any::<bool>()).prop_map(
        |(calls_min, errors_max, differences_max, promotes)| Gate {
            calls_min,
            errors_max,
            differences_max,
            call_micros_max: None,
            promotes,
        },
    );
    (
        any_place(),
        any_world(),
        any_version(),
        share,
        prop::option::of(gate),
    )
        .prop_map(
            |(place, world, version, share, gate)| DirectoryCommand::BeginTrial {
                place,
                world,
                version,
                share: Share(share),
                gate,
            },
        )
        .boxed()
}

/// Boxed, as those of nodes are.
pub(super) fn any_end() -> BoxedStrategy<DirectoryCommand> {
    let end = prop_oneof![
        Just(TrialEnd::Promoted),
        Just(TrialEnd::Stopped),
        any_text().prop_map(TrialEnd::FellBack),
        Just(TrialEnd::Overtaken),
    ];
    (any_place(), any_world(), 0_u64..60, end)
        .prop_map(|(place, world, began, end)| DirectoryCommand::EndTrial {
            place,
            world,
            began: LogIndex(began),
            end,
        })
        .boxed()
}

/// A trial that runs is of another version of the very plugin that is bound where it runs.
pub(super) fn check_consistent(directory: &Directory) {
    for trial in directory.trials() {
        let binding = directory.binding(trial.place, trial.world);
        let binding = binding.expect("something is bound where something is tried");
        assert_eq!(trial.owner, directory.owner_of(trial.place));
        assert!(trial.share <= Share::ALL);
        assert!(matches!(trial.world, World::Route | World::Filter));
        let tried = directory.plugin(trial.version).expect("what is tried is kept");
        assert_eq!(tried.world, trial.world);
        if trial.end.is_none() {
            let bound = directory.plugin(binding.version).expect("what is bound is kept");
            assert_eq!(
                (tried.tenant, tried.name.folded()),
                (bound.tenant, bound.name.folded())
            );
            assert_eq!(trial.beside, binding.version);
            assert_ne!(trial.version, binding.version);
        }
    }
}
