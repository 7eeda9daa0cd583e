//! What the model's refusals are called in the admin API. The one place where that is decided.

use posthouse_model::{DirectoryRefusal, Refusal};

use super::{AdminCode, AdminError};

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        AdminError::new(code_of(&refusal), refusal.to_string())
    }
}

impl From<DirectoryRefusal> for AdminError {
    fn from(refusal: DirectoryRefusal) -> AdminError {
        AdminError::new(code_of_directory(&refusal), refusal.to_string())
    }
}

fn code_of(refusal: &Refusal) -> AdminCode {
    match refusal {
        Refusal::NoIncarnation(_) | Refusal::WrongKind(_) | Refusal::NoSubscription => AdminCode::NotFound,
        Refusal::OutOfRange { .. }
        | Refusal::RewindAboveRetention
        | Refusal::RewindOutOfRange
        | Refusal::EndpointFixed
        | Refusal::Malformed(_) => AdminCode::Malformed,
        Refusal::BodyTooLarge { .. } => AdminCode::TooLarge,
        Refusal::Full { .. }
        | Refusal::TooManyLeased { .. }
        | Refusal::TooManyDelayed { .. }
        | Refusal::TooManySubscriptions { .. }
        | Refusal::OutboxFull { .. }
        | Refusal::KvFull => AdminCode::LimitReached,
        Refusal::BadHandle(_) | Refusal::NotRewindable | Refusal::HasSubscriptions => AdminCode::Conflict,
        Refusal::SubscriptionExists => AdminCode::Exists,
        Refusal::DecidedTooEarly { .. } | Refusal::StaleTerm | Refusal::StaleRead => AdminCode::NotDone,
        Refusal::SessionForgotten => AdminCode::MayBeDone,
    }
}

fn code_of_directory(refusal: &DirectoryRefusal) -> AdminCode {
    match refusal {
        DirectoryRefusal::Exists(_) | DirectoryRefusal::AccessKeyExists => AdminCode::Exists,
        DirectoryRefusal::NoTenant
        | DirectoryRefusal::NoAccessKey
        | DirectoryRefusal::NoIncarnation(_)
        | DirectoryRefusal::NoPlugin
        | DirectoryRefusal::NotBound
        | DirectoryRefusal::NoNode(_)
        | DirectoryRefusal::NoReplica
        | DirectoryRefusal::NoMasterKey(_)
        | DirectoryRefusal::NoSigningKey(_)
        | DirectoryRefusal::NoTrial => AdminCode::NotFound,
        DirectoryRefusal::Limit { .. } => AdminCode::LimitReached,
        DirectoryRefusal::NotYours => AdminCode::Forbidden,
        DirectoryRefusal::Founded
        | DirectoryRefusal::StillReleasing(_)
        | DirectoryRefusal::TenantInUse
        | DirectoryRefusal::OtherWorld
        | DirectoryRefusal::NoEarlierVersion
        | DirectoryRefusal::PluginInUse
        | DirectoryRefusal::PluginSeals
        | DirectoryRefusal::NodesKnown
        | DirectoryRefusal::NodeNotActive(_)
        | DirectoryRefusal::NodeHasReplica(_)
        | DirectoryRefusal::NodeHoldsReplicas(_)
        | DirectoryRefusal::TooFewNodes
        | DirectoryRefusal::ReplicaWanted
        | DirectoryRefusal::SigningKeyRotating(_)
        | DirectoryRefusal::NotTried(_)
        | DirectoryRefusal::OtherPlugin
        | DirectoryRefusal::VersionInUse
        | DirectoryRefusal::SigningKeyNotRotating(_)
        | DirectoryRefusal::MasterKeyInUse => AdminCode::Conflict,
        DirectoryRefusal::WrongPlace | DirectoryRefusal::Malformed(_) => AdminCode::Malformed,
        DirectoryRefusal::NotFounded => AdminCode::NotDone,
    }
}
