//! Who opened a stream, and whether they still may.

use std::sync::Arc;

use posthouse_gateway::cmq::CmqError;
use posthouse_gateway::stream;
use posthouse_keyring::Secret;
use posthouse_model::{AccessKeyStatus, TenantId};
use posthouse_stream::signing::{AUTHORIZATION, Authorization};
use tonic::metadata::MetadataMap;

use crate::calls::Calls;
use crate::cmq::KeyringHmac;

/// Who opened a stream.
pub(super) struct Opener {
    pub(super) tenant: TenantId,
    /// With what; nothing where signatures are not asked for.
    key: Option<Key>,
}

struct Key {
    id: String,
    secret: Arc<Secret>,
}

// === impl Opener ===

impl Opener {
    /// Finds who signed the metadata that a stream came with.
    pub(super) async fn authenticate(
        calls: &Calls,
        metadata: &MetadataMap,
        path: &str,
    ) -> Result<Opener, CmqError> {
        if let Some(tenant) = calls.anonymous()? {
            return Ok(Opener { tenant, key: None });
        }
        let text = metadata
            .get(AUTHORIZATION)
            .and_then(|text| text.to_str().ok())
            .ok_or_else(|| CmqError::authentication_failed().because("the stream is not signed"))?;
        let authorization = Authorization::parse(text)
            .map_err(|malformed| CmqError::authentication_failed().because(&malformed.to_string()))?;
        let id = authorization.opening.id.clone();
        let signatory = calls.signatory(&id).await?;
        stream::verify(
            &authorization,
            path,
            signatory.secret.expose(),
            &KeyringHmac,
            calls.clock.wall(),
            &calls.config,
        )?;
        Ok(Opener {
            tenant: signatory.tenant,
            key: Some(Key {
                id,
                secret: signatory.secret,
            }),
        })
    }

    /// Checks that the tenant and the key are still what they were when the stream opened.
    pub(super) fn check(&self, calls: &Calls) -> Result<(), CmqError> {
        let known = calls
            .broker
            .directory
            .view(|directory| directory.tenant(self.tenant).is_some());
        if !known {
            return Err(CmqError::no_secret_id());
        }
        let Some(key) = &self.key else { return Ok(()) };
        let signatory = calls.broker.signatory(&key.id);
        let signatory = signatory.ok_or_else(CmqError::no_secret_id)?;
        if signatory.tenant != self.tenant || signatory.secret.expose() != key.secret.expose() {
            return Err(CmqError::no_secret_id());
        }
        match signatory.status {
            AccessKeyStatus::Enabled => Ok(()),
            AccessKeyStatus::Disabled => Err(CmqError::secret_id_status()),
        }
    }
}
