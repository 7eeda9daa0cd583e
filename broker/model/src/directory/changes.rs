//! What applying an entry did to the directory, for those who keep something that is made from it.

use crate::{DirectoryRefusal, DirectoryReply, Kind, Name, NameRecord, PluginVersion, TenantId};

/// What applying one entry did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DirectoryApplied {
    /// What is answered, in the order of the commands.
    pub outcomes: Vec<Result<DirectoryReply, DirectoryRefusal>>,
    /// What is perhaps no longer what it was, in order.
    pub changes: Vec<DirectoryChange>,
}

/// What was made, altered or removed. It names the thing alone: what the thing is now, the directory says. Access
/// keys are not told of, and bindings only as what decides.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DirectoryChange {
    /// A tenant; when it is gone, its master keys and signing keys are gone with it.
    Tenant {
        /// Its number.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
    /// What a name of a queue or topic stands for.
    Name {
        /// Whose.
        tenant: TenantId,
        /// Queue or topic.
        kind: Kind,
        /// The name.
        name: Name,
    },
    /// A version of a plugin.
    Plugin {
        /// Whose; none for everybody's.
        tenant: Option<TenantId>,
        /// The plugin.
        name: Name,
        /// The version.
        version: PluginVersion,
    },
    /// What decides about messages: a binding, or whether something is sealed. What was decided before is out of date.
    Deciding,
    /// A master key.
    MasterKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
    /// A signing key.
    SigningKey {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
}

// === impl DirectoryChange ===

impl From<&NameRecord> for DirectoryChange {
    fn from(record: &NameRecord) -> DirectoryChange {
        DirectoryChange::Name {
            tenant: record.tenant,
            kind: record.kind,
            name: record.name.clone(),
        }
    }
}
