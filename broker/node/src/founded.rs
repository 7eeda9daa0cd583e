//! A directory as three founders leave it, for tests.

use posthouse_model::{
    Batch, Directory, DirectoryCommand, Founder, LogIndex, NodeId, ReplicaId, Submission, Time,
};

/// Returns the directory of three founders with so many sets, after some commands.
pub(crate) fn directory(sets: u8, commands: impl IntoIterator<Item = DirectoryCommand>) -> Directory {
    let found = DirectoryCommand::Found {
        cluster: [1; 16],
        sets,
        root_check: [2; 32],
    };
    let founders = (1..=3).map(|node| Founder {
        node: NodeId(node),
        replica: ReplicaId(u64::from(node)),
        address: format!("host:{node}"),
    });
    let enroll = DirectoryCommand::Enroll {
        founders: founders.collect(),
    };
    let submissions = [found, enroll].into_iter().chain(commands);
    let mut directory = Directory::new();
    let batch = Batch {
        now: Time::default(),
        submissions: submissions
            .map(|command| Submission { call: None, command })
            .collect(),
    };
    let applied = directory.apply(LogIndex(1), &batch);
    assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
    directory
}
