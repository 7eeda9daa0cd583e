//! Who is told what groups do: a trait that the node implements, to wake waiters, deliver and index.

use posthouse_model::{Applied, Batch, DirectoryChange, LogIndex, SetCommand, SetId, Term};

/// Which group of a node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum GroupName {
    /// The directory.
    Directory,
    /// A set.
    Set(SetId),
}

/// Is told what groups do. Called on the task that applies entries, so each call must be quick and must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A set applied an entry: its state shows it now, replies follow after this call.
    fn applied(&self, set: SetId, applied: &Applied);

    /// The same, for those who want to see the entry too: called in place of `applied`, which it calls.
    fn applied_entry(&self, set: SetId, index: LogIndex, batch: &Batch<SetCommand>, applied: &Applied) {
        let _ = (index, batch);
        self.applied(set, applied);
    }

    /// The directory applied the entry at `index`, which changed this.
    fn directory_applied(&self, index: LogIndex, changes: &[DirectoryChange]);

    /// The directory's state was replaced by a checkpoint's: anything in it may be another.
    fn directory_replaced(&self);

    /// This replica began to lead a group at a term and takes commands, or (none) leads it no longer.
    fn leading(&self, group: GroupName, term: Option<Term>);
}

/// An observer that nobody needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

// === impl GroupName ===

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GroupName::Directory => f.write_str("directory"),
            GroupName::Set(set) => write!(f, "set {set}"),
        }
    }
}

// === impl Unobserved ===

impl Observer for Unobserved {
    fn applied(&self, _set: SetId, _applied: &Applied) {}

    fn directory_applied(&self, _index: LogIndex, _changes: &[DirectoryChange]) {}

    fn directory_replaced(&self) {}

    fn leading(&self, _group: GroupName, _term: Option<Term>) {}
}
