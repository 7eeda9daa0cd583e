//! Signing keys of tenants, in clear: what their versions sign with, newest first.
//!
//! A version of HMAC-SHA256 has a secret of 32 random bytes, which whoever checks signatures knows too. A version of Ed25519
//! has a seed of 32 random bytes, of which the public key is made.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use posthouse_model::{Name, SigningAlgorithm, SigningKeyRecord, SigningSecret, TenantId};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::envelope::KEY_BYTES;
use crate::{KeyError, Keyring, Secret, hmac_sha256_parts};

/// A signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// How it was made.
    pub algorithm: SigningAlgorithm,
    /// It: 32 bytes of HMAC-SHA256, 64 of Ed25519.
    pub bytes: Vec<u8>,
}

/// The signing keys that are known.
#[derive(Default)]
pub(crate) struct SigningKeys {
    known: RwLock<BTreeMap<SigningId, Known>>,
}

/// A tenant's signing key, by its folded name.
type SigningId = (TenantId, String);

struct Known {
    /// As the directory has them, to see what is new.
    record: SigningKeyRecord,
    /// Newest first.
    versions: Arc<[Signer]>,
}

/// What a version signs with.
enum Signer {
    HmacSha256(Secret),
    Ed25519(Ed25519KeyPair),
}

// === impl Keyring ===

impl Keyring {
    /// Makes a version of a signing key, wrapped, for `CreateSigningKey` or `RotateSigningKey` of that tenant and name;
    /// and of HMAC-SHA256 the secret in clear, to be told this once to whoever is to check signatures.
    pub fn generate_signing_secret(
        &self,
        tenant: TenantId,
        name: &Name,
        algorithm: SigningAlgorithm,
    ) -> Result<(SigningSecret, Option<Secret>), KeyError> {
        let mut bytes = vec![0; KEY_BYTES];
        self.entropy.fill(&mut bytes);
        self.wrap_signing_secret(tenant, name, algorithm, bytes)
    }

    /// Wraps a secret that was made elsewhere: any bytes of HMAC-SHA256, a seed of 32 of Ed25519. Returns what
    /// `generate_signing_secret` does.
    pub fn wrap_signing_secret(
        &self,
        tenant: TenantId,
        name: &Name,
        algorithm: SigningAlgorithm,
        secret: Vec<u8>,
    ) -> Result<(SigningSecret, Option<Secret>), KeyError> {
        let secret = Secret::from(secret);
        let wrapped = self.wrap_secret(&context(&signing_id(tenant, name), algorithm), secret.expose())?;
        let (public, shared) = match Signer::new(algorithm, secret)? {
            Signer::HmacSha256(secret) => (Bytes::new(), Some(secret)),
            Signer::Ed25519(pair) => (Bytes::copy_from_slice(pair.public_key().as_ref()), None),
        };
        let made = SigningSecret {
            algorithm,
            wrapped,
            public,
        };
        Ok((made, shared))
    }

    /// Takes in what the directory says of a signing key. On an error the key is not known, and refused.
    pub fn learn_signing_key(&self, record: &SigningKeyRecord) -> Result<(), KeyError> {
        let id = signing_id(record.tenant, &record.name);
        if self.signing.knows(&id, record) {
            return Ok(());
        }
        match self.signers(&id, record) {
            Ok(versions) => {
                let known = Known {
                    record: record.clone(),
                    versions,
                };
                self.signing.put(id, known);
                Ok(())
            }
            Err(error) => {
                self.signing.forget(&id);
                Err(error)
            }
        }
    }

    /// Forgets a signing key that the directory no longer has.
    pub fn forget_signing_key(&self, tenant: TenantId, name: &Name) {
        self.signing.forget(&signing_id(tenant, name));
    }

    /// Signs a text, given in parts as if they were joined, with each version of a tenant's signing key, the newest
    /// first.
    pub fn sign(&self, tenant: TenantId, name: &Name, parts: &[&[u8]]) -> Result<Vec<Signature>, KeyError> {
        let id = signing_id(tenant, name);
        let versions = self.signing.get(&id);
        let versions = versions.ok_or(KeyError::NoSigningKey(id.1))?;
        Ok(versions.iter().map(|signer| signer.sign(parts)).collect())
    }

    fn signers(&self, id: &SigningId, record: &SigningKeyRecord) -> Result<Arc<[Signer]>, KeyError> {
        let mut signers = Vec::with_capacity(record.versions.len());
        for version in record.versions.iter().rev() {
            let SigningSecret {
                algorithm, wrapped, ..
            } = &version.secret;
            let secret = self.unwrap_secret(&context(id, *algorithm), wrapped)?;
            signers.push(Signer::new(*algorithm, secret)?);
        }
        Ok(signers.into())
    }
}

// === impl SigningKeys ===

impl SigningKeys {
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _), _| *of != tenant);
    }

    fn knows(&self, id: &SigningId, record: &SigningKeyRecord) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|known| known.record == *record)
    }

    fn get(&self, id: &SigningId) -> Option<Arc<[Signer]>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).map(|known| Arc::clone(&known.versions))
    }

    fn put(&self, id: SigningId, key: Known) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, key);
    }

    fn forget(&self, id: &SigningId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(id);
    }
}

// === impl Signer ===

impl Signer {
    fn new(algorithm: SigningAlgorithm, secret: Secret) -> Result<Signer, KeyError> {
        match algorithm {
            SigningAlgorithm::HmacSha256 => Ok(Signer::HmacSha256(secret)),
            SigningAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(secret.expose());
                pair.map(Signer::Ed25519).map_err(|_| KeyError::Malformed {
                    what: "signing key",
                    fault: "not of 32 bytes",
                })
            }
        }
    }

    fn sign(&self, parts: &[&[u8]]) -> Signature {
        match self {
            Signer::HmacSha256(secret) => Signature {
                algorithm: SigningAlgorithm::HmacSha256,
                bytes: hmac_sha256_parts(secret.expose(), parts).to_vec(),
            },
            // It reads the text twice, so it takes it as a whole.
            Signer::Ed25519(pair) => Signature {
                algorithm: SigningAlgorithm::Ed25519,
                bytes: pair.sign(&parts.concat()).as_ref().to_vec(),
            },
        }
    }
}

/// Returns whether a text was signed, by Ed25519, by whoever has the secret that belongs to a public key.
pub fn verify_ed25519(public: &[u8], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(text, signature)
        .is_ok()
}

fn signing_id(tenant: TenantId, name: &Name) -> SigningId {
    (tenant, name.folded())
}

/// Returns the context under which a version's secret is wrapped: a secret of one algorithm is none of another.
fn context(id: &SigningId, algorithm: SigningAlgorithm) -> Vec<u8> {
    let algorithm: &[u8] = match algorithm {
        SigningAlgorithm::HmacSha256 => b"hmac-sha256 ",
        SigningAlgorithm::Ed25519 => b"ed25519 ",
    };
    [b"signing key ", algorithm, &id.0.0.to_le_bytes(), id.1.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use posthouse_model::{SigningKeyVersion, Time};

    use super::*;
    use crate::{RootKey, SystemEntropy, hmac_sha256};

    const TENANT: TenantId = TenantId(1);

    fn name(text: &str) -> Name {
        Name::parse(text).expect("tests use names")
    }

    fn keyring() -> Keyring {
        let root = RootKey::parse(&[5; 32]).expect("it has 32 bytes");
        Keyring::new(root, Arc::new(SystemEntropy::new()))
    }

    /// A key of some versions, the newest last, with their secrets.
    fn made(keyring: &Keyring, algorithms: &[SigningAlgorithm]) -> (SigningKeyRecord, Vec<Option<Secret>>) {
        let mut versions = Vec::new();
        let mut secrets = Vec::new();
        for (number, algorithm) in (1..).zip(algorithms) {
            let made = keyring.generate_signing_secret(TENANT, &name("Hooks"), *algorithm);
            let (secret, clear) = made.expect("a secret");
            versions.push(SigningKeyVersion {
                number,
                secret,
                made: Time::default(),
            });
            secrets.push(clear);
        }
        let record = SigningKeyRecord {
            tenant: TENANT,
            name: name("Hooks"),
            versions,
        };
        (record, secrets)
    }

    #[test]
    fn ed25519_gives_the_signature_of_rfc_8032() {
        // The third test of its section 7.1.
        let seed = unhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let public = unhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let expected = unhex(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
        let signer = Signer::new(SigningAlgorithm::Ed25519, Secret::from(seed)).expect("a seed");
        let signature = signer.sign(&[&[0xaf], &[], &[0x82]]);
        assert_eq!(signature.bytes, expected);
        assert!(verify_ed25519(&public, &[0xaf, 0x82], &signature.bytes));
        assert!(!verify_ed25519(&public, &[0xaf, 0x83], &signature.bytes));
        assert!(!verify_ed25519(&public[1..], &[0xaf, 0x82], &signature.bytes));
    }

    #[test]
    fn both_versions_sign_and_the_newest_comes_first() {
        let keyring = keyring();
        let (mut record, secrets) = made(
            &keyring,
            &[SigningAlgorithm::HmacSha256, SigningAlgorithm::Ed25519],
        );
        keyring.learn_signing_key(&record).expect("it was made here");
        let signed = keyring.sign(TENANT, &name("hooks"), &[b"id.", b"body"]);
        let signed = signed.expect("it is known");
        let [newest, older] = signed.as_slice() else {
            panic!("{signed:?}")
        };
        assert_eq!(newest.algorithm, SigningAlgorithm::Ed25519);
        let public = &record.versions[1].secret.public;
        assert!(verify_ed25519(public, b"id.body", &newest.bytes));
        let [Some(shared), None] = secrets.as_slice() else {
            panic!("a public key is enough to check Ed25519")
        };
        assert_eq!(older.bytes, hmac_sha256(shared.expose(), b"id.body"));

        record.versions.remove(0);
        keyring.learn_signing_key(&record).expect("it was made here");
        let signed = keyring.sign(TENANT, &name("hooks"), &[b"id.body"]);
        assert_eq!(signed.as_deref(), Ok(std::slice::from_ref(newest)));
    }

    #[test]
    fn a_key_is_its_tenant_s_and_gone_with_it() {
        let keyring = keyring();
        let (record, _) = made(&keyring, &[SigningAlgorithm::HmacSha256]);
        let unknown = Err(KeyError::NoSigningKey("hooks".to_owned()));
        assert_eq!(keyring.sign(TENANT, &name("hooks"), &[]), unknown);
        keyring.learn_signing_key(&record).expect("it was made here");
        assert!(keyring.sign(TENANT, &name("hooks"), &[]).is_ok());
        assert_eq!(keyring.sign(TenantId(2), &name("hooks"), &[]), unknown);
        keyring.forget_tenant(TENANT);
        assert_eq!(keyring.sign(TENANT, &name("hooks"), &[]), unknown);
        keyring.learn_signing_key(&record).expect("it was made here");
        keyring.forget_signing_key(TENANT, &name("HOOKS"));
        assert_eq!(keyring.sign(TENANT, &name("hooks"), &[]), unknown);
    }

    #[test]
    fn a_secret_of_another_name_tenant_or_algorithm_is_not_taken() {
        let keyring = keyring();
        let (record, _) = made(&keyring, &[SigningAlgorithm::HmacSha256]);
        let mut other_name = record.clone();
        other_name.name = name("other");
        let mut other_tenant = record.clone();
        other_tenant.tenant = TenantId(2);
        let mut other_algorithm = record.clone();
        other_algorithm.versions[0].secret.algorithm = SigningAlgorithm::Ed25519;
        keyring.learn_signing_key(&record).expect("it was made here");
        for altered in [other_name, other_tenant, other_algorithm] {
            assert_eq!(keyring.learn_signing_key(&altered), Err(KeyError::Altered));
            let refused = keyring.sign(altered.tenant, &altered.name, &[]);
            assert!(matches!(refused, Err(KeyError::NoSigningKey(_))), "{refused:?}");
        }
    }

    fn unhex(digits: &str) -> Vec<u8> {
        let pairs = digits.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16);
        pairs.map(|pair| byte(pair).expect("a byte")).collect()
    }
}
