//! What the broker did not do, in the admin API's words. The one place where that is decided.

use posthouse_keyring::KeyError;
use posthouse_model::Refusal;
use posthouse_replica::Fault;

use crate::admin::{AdminCode, AdminError};
use crate::broker::{BrokerError, kind_word};

impl From<BrokerError> for AdminError {
    fn from(error: BrokerError) -> AdminError {
        let text = error.to_string();
        match error {
            BrokerError::Refused {
                refusal: Refusal::NoIncarnation(_),
                kind,
            } => AdminError::not_found(format!("no {} of that name", kind_word(kind))),
            BrokerError::Refused { refusal, .. } => refusal.into(),
            BrokerError::Directory { refusal, .. } => refusal.into(),
            BrokerError::NoName { .. } | BrokerError::NoDeadLetterQueue { .. } => AdminError::not_found(text),
            BrokerError::DeadLetterRule(_) | BrokerError::NoSubscriptions | BrokerError::NothingMatched => {
                AdminError::conflict(text)
            }
            BrokerError::NoPlugin { .. } | BrokerError::PluginFailed { .. } => {
                AdminError::new(AdminCode::PluginFailed, text)
            }
            BrokerError::DiskFull
            | BrokerError::PluginUnavailable { .. }
            | BrokerError::Unsettled
            | BrokerError::ListingsBehind
            | BrokerError::Unprepared { .. }
            | BrokerError::Unreadable(_)
            | BrokerError::Key(_) => AdminError::not_done(text),
            BrokerError::Fault(Fault::NotDone(_)) => AdminError::not_done(text),
            BrokerError::Fault(Fault::MayBeDone(_)) => AdminError::may_be_done(text),
            BrokerError::Argument(_) => AdminError::malformed(text),
        }
    }
}

/// Returns the error for a key that could not be used.
pub(super) fn of_key(error: &KeyError) -> AdminError {
    let code = match error {
        KeyError::NoMasterKey(_) | KeyError::NoMasterKeyVersion { .. } | KeyError::NoSigningKey(_) => {
            AdminCode::NotFound
        }
        KeyError::RootKeyMalformed
        | KeyError::Malformed { .. }
        | KeyError::UnknownVersion { .. }
        | KeyError::Altered => AdminCode::Malformed,
        KeyError::OtherTenant => AdminCode::Forbidden,
        KeyError::TooLarge { .. } => AdminCode::TooLarge,
        KeyError::MasterKeyDisabled(_)
        | KeyError::MasterKeyDeleting(_)
        | KeyError::MasterKeyDestroyed(_)
        | KeyError::WrongPurpose
        | KeyError::OpenOnly
        | KeyError::UsedUp
        | KeyError::Revoked => AdminCode::Conflict,
    };
    AdminError::new(code, error.to_string())
}
