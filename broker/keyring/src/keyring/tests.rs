//! Life of master keys and data keys, as the directory and the plugins drive it.

use posthouse_model::Span;
use proptest::prelude::*;

use super::*;
use crate::SystemEntropy;

const TENANT: TenantId = TenantId(1);
const OTHER: TenantId = TenantId(2);
const QUEUE: Incarnation = Incarnation(10);

/// Counts, so that what is made is the same in each run.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use names")
}

fn keyring() -> Keyring {
    let root = RootKey::parse(&[5; 32]).expect("it has 32 bytes");
    Keyring::new(root, Arc::new(SystemEntropy::new()))
}

fn record(keyring: &Keyring, tenant: TenantId, versions: usize) -> MasterKeyRecord {
    let name = name("Key");
    let make = |_| keyring.generate_master_key(tenant, &name);
    MasterKeyRecord {
        tenant,
        versions: (0..versions).map(make).collect(),
        name,
        state: MasterKeyState::Enabled,
    }
}

/// A keyring that knows one enabled master key, with its record.
fn with_master() -> (Keyring, MasterKeyRecord) {
    let keyring = keyring();
    let record = record(&keyring, TENANT, 1);
    keyring.learn_master_key(&record).expect("it was made here");
    (keyring, record)
}

fn current(keyring: &Keyring, seconds: u64) -> Result<DataKey, KeyError> {
    keyring.current_data_key(TENANT, &name("key"), QUEUE, Time::from_seconds(seconds))
}

fn is_same(left: &DataKey, right: &DataKey) -> bool {
    left.wrapped() == right.wrapped()
}

#[test]
fn a_secret_opens_in_its_context_and_under_its_root_key_only() {
    let keyring = keyring();
    let context = access_key_context(TENANT, "AKID");
    let wrapped = keyring.wrap_secret(&context, b"secret").expect("it is short");
    let opened = keyring
        .unwrap_secret(&context, &wrapped)
        .expect("nothing was altered");
    assert_eq!(opened.expose(), b"secret");
    let elsewhere = access_key_context(OTHER, "AKID");
    assert_eq!(
        keyring.unwrap_secret(&elsewhere, &wrapped),
        Err(KeyError::Altered)
    );
    let root = RootKey::parse(&[6; 32]).expect("it has 32 bytes");
    let other = Keyring::new(root, Arc::new(SystemEntropy::new()));
    assert_ne!(other.root_check(), keyring.root_check());
    assert_eq!(other.unwrap_secret(&context, &wrapped), Err(KeyError::Altered));
}

#[test]
fn each_fault_of_a_wrapped_secret_has_its_error() {
    let keyring = keyring();
    let malformed = |fault| {
        Err(KeyError::Malformed {
            what: WRAPPED_SECRET,
            fault,
        })
    };
    assert_eq!(keyring.unwrap_secret(b"", b""), malformed("empty"));
    assert_eq!(
        keyring.unwrap_secret(b"", &[WRAPPED_SECRET_VERSION, 0]),
        malformed("too short")
    );
    assert_eq!(
        keyring.unwrap_secret(b"", &[9, 0]),
        Err(KeyError::UnknownVersion {
            what: WRAPPED_SECRET,
            version: 9
        })
    );
}

#[test]
fn a_secret_is_not_taken_for_a_master_key() {
    let keyring = keyring();
    let mut record = record(&keyring, TENANT, 1);
    let context = master_context(&master_id(TENANT, &record.name));
    let forged = keyring.wrap_secret(&context, &[0; 32]).expect("it is short");
    record.versions.push(forged);
    assert_eq!(keyring.learn_master_key(&record), Err(KeyError::Altered));
    assert_eq!(
        current(&keyring, 0).err(),
        Some(KeyError::NoMasterKey("key".to_owned()))
    );
}

#[test]
fn a_master_key_is_not_taken_for_another_tenant_s_or_name_s() {
    let keyring = keyring();
    let mut record = record(&keyring, TENANT, 1);
    record.tenant = OTHER;
    assert_eq!(keyring.learn_master_key(&record), Err(KeyError::Altered));
    record.tenant = TENANT;
    record.name = name("other");
    assert_eq!(keyring.learn_master_key(&record), Err(KeyError::Altered));
    record.name = name("KEY");
    assert_eq!(keyring.learn_master_key(&record), Ok(()));
}

#[test]
fn a_data_key_is_used_again_for_five_minutes_and_not_longer() {
    let (keyring, _) = with_master();
    let first = current(&keyring, 1_000).expect("the master key is enabled");
    assert!(is_same(&first, &current(&keyring, 1_299).expect("as before")));
    assert!(!is_same(&first, &current(&keyring, 1_300).expect("as before")));
}

#[test]
fn a_data_key_made_in_a_far_future_is_not_used_for_ever() {
    let (keyring, _) = with_master();
    let first = current(&keyring, 10_000).expect("the master key is enabled");
    assert!(is_same(&first, &current(&keyring, 9_990).expect("as before")));
    assert!(!is_same(&first, &current(&keyring, 9_700).expect("as before")));
}

#[test]
fn a_data_key_is_replaced_before_its_messages_run_out() {
    let (keyring, _) = with_master();
    let first = current(&keyring, 0).expect("the master key is enabled");
    for _ in 0..DATA_KEY_MESSAGES_MAX - DATA_KEY_MESSAGES_SPARE {
        assert!(is_same(&first, &current(&keyring, 0).expect("as before")));
        first.seal(b"", b"body").expect("it is not used up");
    }
    assert!(!is_same(&first, &current(&keyring, 0).expect("as before")));
    assert!(first.seal(b"", b"body").is_ok(), "who has it may finish");
}

#[test]
fn each_queue_and_tenant_has_a_data_key_of_its_own() {
    let (keyring, _) = with_master();
    keyring
        .learn_master_key(&record(&keyring, OTHER, 1))
        .expect("it was made here");
    let key = |tenant, incarnation| {
        keyring
            .current_data_key(tenant, &name("key"), incarnation, Time::default())
            .expect("the master key is enabled")
    };
    let first = key(TENANT, QUEUE);
    assert!(is_same(&first, &key(TENANT, QUEUE)));
    assert!(!is_same(&first, &key(TENANT, Incarnation(11))));
    assert!(!is_same(&first, &key(OTHER, QUEUE)));
}

#[test]
fn a_sealed_body_opens_with_the_unwrapped_key_on_another_node() {
    let (keyring, record) = with_master();
    let key = current(&keyring, 0).expect("the master key is enabled");
    let (nonce, sealed) = key.seal(b"context", b"body").expect("it is new");
    let other = self::keyring();
    other.learn_master_key(&record).expect("it has the same root key");
    let unwrapped = other
        .unwrap_data_key(TENANT, key.wrapped())
        .expect("it is the tenant's");
    let body = Ok(Bytes::from_static(b"body"));
    assert_eq!(unwrapped.open(nonce, b"context", &sealed), body);
    let again = other.unwrap_data_key(TENANT, key.wrapped()).expect("it is kept");
    assert_eq!(again.open(nonce, b"context", &sealed), body);
    assert_eq!(again.seal(b"", b"").err(), Some(KeyError::OpenOnly));
}

#[test]
fn another_tenant_s_data_key_is_refused_kept_or_not() {
    let (keyring, _) = with_master();
    keyring
        .learn_master_key(&record(&keyring, OTHER, 1))
        .expect("it was made here");
    let key = current(&keyring, 0).expect("the master key is enabled");
    let refused = Some(KeyError::OtherTenant);
    assert_eq!(keyring.unwrap_data_key(OTHER, key.wrapped()).err(), refused);
    keyring
        .unwrap_data_key(TENANT, key.wrapped())
        .expect("it is the tenant's");
    assert_eq!(keyring.unwrap_data_key(OTHER, key.wrapped()).err(), refused);
}

#[test]
fn rotation_seals_with_the_new_version_and_opens_with_the_old() {
    let (keyring, mut record) = with_master();
    let old = current(&keyring, 0).expect("the master key is enabled");
    let (nonce, sealed) = old.seal(b"", b"body").expect("it is new");
    record
        .versions
        .push(keyring.generate_master_key(TENANT, &record.name));
    keyring.learn_master_key(&record).expect("it was made here");
    let new = current(&keyring, 0).expect("the master key is enabled");
    assert!(!is_same(&old, &new));
    let (header, _, _) = Header::parse(new.wrapped()).expect("it was made here");
    assert_eq!(header.master_version, 2);
    let opened = keyring
        .unwrap_data_key(TENANT, old.wrapped())
        .expect("old versions stay");
    assert_eq!(opened.open(nonce, b"", &sealed), Ok(Bytes::from_static(b"body")));
    assert!(old.seal(b"", b"body").is_ok(), "a rotation does not revoke");
}

#[test]
fn the_same_record_again_changes_nothing() {
    let (keyring, record) = with_master();
    let key = current(&keyring, 0).expect("the master key is enabled");
    keyring.learn_master_key(&record).expect("it was made here");
    assert!(is_same(&key, &current(&keyring, 0).expect("as before")));
}

#[test]
fn a_key_that_is_not_enabled_refuses_both_uses_of_kept_and_handed_out_keys() {
    for (state, error) in [
        (
            MasterKeyState::Disabled,
            KeyError::MasterKeyDisabled("key".to_owned()),
        ),
        (
            MasterKeyState::DeletionAt(Time::MAX),
            KeyError::MasterKeyDeleting("key".to_owned()),
        ),
        (
            MasterKeyState::Destroyed,
            KeyError::MasterKeyDestroyed("key".to_owned()),
        ),
    ] {
        let (keyring, mut record) = with_master();
        let key = current(&keyring, 0).expect("the master key is enabled");
        let (nonce, sealed) = key.seal(b"", b"body").expect("it is new");
        let unwrapped = keyring.unwrap_data_key(TENANT, key.wrapped()).expect("as before");
        // Replaced, and so no longer the one in use, but still in somebody's hands.
        current(&keyring, 1_000).expect("as before");

        let enabled = record.clone();
        record.state = state;
        if state == MasterKeyState::Destroyed {
            record.versions.clear();
        }
        keyring
            .learn_master_key(&record)
            .expect("nothing needs to be opened");
        assert_eq!(current(&keyring, 0).err(), Some(error.clone()));
        assert_eq!(
            keyring.unwrap_data_key(TENANT, key.wrapped()).err(),
            Some(error.clone())
        );
        assert_eq!(keyring.check_master_key(TENANT, &record.name), Err(error.clone()));
        assert_eq!(keyring.generate_data_key(TENANT, &record.name).err(), Some(error));
        assert_eq!(key.seal(b"", b"body"), Err(KeyError::Revoked));
        assert_eq!(unwrapped.open(nonce, b"", &sealed), Err(KeyError::Revoked));

        if state != MasterKeyState::Destroyed {
            keyring.learn_master_key(&enabled).expect("it was made here");
            let unwrapped = keyring
                .unwrap_data_key(TENANT, key.wrapped())
                .expect("enabled again");
            assert_eq!(
                unwrapped.open(nonce, b"", &sealed),
                Ok(Bytes::from_static(b"body"))
            );
        }
    }
}

#[test]
fn a_forgotten_master_key_is_unknown() {
    let (keyring, record) = with_master();
    let key = current(&keyring, 0).expect("the master key is enabled");
    keyring.forget_master_key(TENANT, &record.name);
    let unknown = KeyError::NoMasterKey("key".to_owned());
    assert_eq!(current(&keyring, 0).err(), Some(unknown.clone()));
    assert_eq!(key.seal(b"", b""), Err(KeyError::Revoked));
    keyring.learn_master_key(&record).expect("it was made here");
    keyring.forget_tenant(OTHER);
    assert!(current(&keyring, 0).is_ok());
    keyring.forget_tenant(TENANT);
    assert_eq!(current(&keyring, 0).err(), Some(unknown));
}

#[test]
fn a_version_that_the_master_key_lacks_is_refused() {
    let keyring = keyring();
    let two = record(&keyring, TENANT, 2);
    keyring.learn_master_key(&two).expect("it was made here");
    let key = current(&keyring, 0).expect("the master key is enabled");
    let other = self::keyring();
    let one = MasterKeyRecord {
        versions: two.versions[..1].to_vec(),
        ..two
    };
    other.learn_master_key(&one).expect("it has the same root key");
    assert_eq!(
        other.unwrap_data_key(TENANT, key.wrapped()).err(),
        Some(KeyError::NoMasterKeyVersion {
            name: "key".to_owned(),
            version: 2
        })
    );
}

#[test]
fn a_client_s_data_key_comes_back_and_is_no_key_for_bodies() {
    let (keyring, _) = with_master();
    let (plain, wrapped) = keyring
        .generate_data_key(TENANT, &name("key"))
        .expect("the master key is enabled");
    assert_eq!(plain.expose().len(), KEY_BYTES);
    assert_eq!(keyring.decrypt_data_key(TENANT, &wrapped), Ok(plain));
    assert_eq!(
        keyring.decrypt_data_key(OTHER, &wrapped),
        Err(KeyError::OtherTenant)
    );
    let refused = Some(KeyError::WrongPurpose);
    assert_eq!(keyring.unwrap_data_key(TENANT, &wrapped).err(), refused);
    let body_key = current(&keyring, 0).expect("the master key is enabled");
    assert_eq!(
        keyring.decrypt_data_key(TENANT, body_key.wrapped()).err(),
        refused
    );
}

#[test]
fn debug_prints_show_no_key() {
    let (keyring, _) = with_master();
    assert_eq!(format!("{keyring:?}"), "Keyring(1 master keys)");
}

#[test]
fn what_a_key_seals_can_be_told_beforehand_from_its_entropy() {
    let wrapped = || {
        let root = RootKey::parse(&[5; 32]).expect("it has 32 bytes");
        let keyring = Keyring::new(root, Arc::new(Counting::default()));
        keyring
            .learn_master_key(&record(&keyring, TENANT, 1))
            .expect("it was made here");
        current(&keyring, 0)
            .expect("the master key is enabled")
            .wrapped()
            .to_vec()
    };
    assert_eq!(wrapped(), wrapped());
}

/// What version 1 of each format made, under a root key of 32 fives and from counted entropy.
const KEPT_SECRET: &str = "0110000000000000001100000000000000120000000000000013000000b55b20e1ccef5c72b5d7e606f4e120\
     fbfc4505cb6659";
const KEPT_MASTER_KEY: &str = "01040000000000000005000000000000000600000000000000070000008cd4e9e5949e451d0c76a1004f59f2\
     31239de3766682fc91130ec83ff3ed4e0bd341a0b001f2f624f41f614df209408c";
const KEPT_DATA_KEY: &str = "01010100000001000000036b65790c000000000000000d000000000000000e000000000000000f0000002922\
     bb756d91bfe3b66133654e6e86d2fcee21fefb63b7353356e9dead5e02c3a77f4a75d867c08e493a62db55a7\
     3269";
const KEPT_CLIENT_KEY: &str = "01020100000001000000036b6579180000000000000019000000000000001a000000000000001b0000005baa\
     43da389b6c75113badae2a5e568846ab911149aea33c56f1c249d125c8765ec4517de6f0b27e2b105dc2f5e1\
     c804";
const KEPT_NONCE: &str = "000000000000000000000000";
const KEPT_BODY: &str = "ac2c750322af37b6876322f1bb3f9b38450b7525";

#[test]
fn what_version_1_wrapped_and_sealed_still_opens() {
    let keyring = keyring();
    let secret = keyring.unwrap_secret(b"secret's context", &unhex(KEPT_SECRET));
    assert_eq!(secret, Ok(Secret::from(b"secret".to_vec())));
    let master_key = MasterKeyRecord {
        tenant: TENANT,
        name: name("Key"),
        versions: vec![Bytes::from(unhex(KEPT_MASTER_KEY))],
        state: MasterKeyState::Enabled,
    };
    keyring
        .learn_master_key(&master_key)
        .expect("version 1 is read for ever");
    let key = keyring
        .unwrap_data_key(TENANT, &unhex(KEPT_DATA_KEY))
        .expect("as before");
    let nonce = unhex(KEPT_NONCE).try_into().expect("a nonce has 12 bytes");
    let body = key.open(nonce, b"context", &unhex(KEPT_BODY));
    assert_eq!(body, Ok(Bytes::from_static(b"body")));
    assert!(keyring.decrypt_data_key(TENANT, &unhex(KEPT_CLIENT_KEY)).is_ok());
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("they are digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

proptest! {
    #[test]
    fn any_flipped_bit_of_a_wrapped_data_key_is_seen(at in any::<prop::sample::Index>()) {
        let (keyring, _) = with_master();
        let key = current(&keyring, 0).expect("the master key is enabled");
        let mut wrapped = key.wrapped().to_vec();
        let bit = at.index(wrapped.len() * 8);
        wrapped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(keyring.unwrap_data_key(TENANT, &wrapped).is_err());
        prop_assert!(keyring.decrypt_data_key(TENANT, &wrapped).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_as_anything_wrapped(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (keyring, mut record) = with_master();
        prop_assert!(keyring.unwrap_secret(b"", &bytes).is_err());
        prop_assert!(keyring.unwrap_data_key(TENANT, &bytes).is_err());
        prop_assert!(keyring.decrypt_data_key(TENANT, &bytes).is_err());
        record.versions = vec![Bytes::from(bytes)];
        prop_assert!(keyring.learn_master_key(&record).is_err());
    }

    #[test]
    fn a_data_key_is_never_older_than_its_span(
        steps in proptest::collection::vec(0_u64..400, 1..30),
    ) {
        let (keyring, _) = with_master();
        let mut now = Time::from_seconds(1_000);
        let mut made = std::collections::BTreeMap::new();
        for step in steps {
            now = now + Span::from_seconds(step);
            let key = current(&keyring, now.seconds()).expect("the master key is enabled");
            let first_seen = *made.entry(key.wrapped().to_vec()).or_insert(now);
            prop_assert!(now.since(first_seen) < DATA_KEY_SPAN_MAX);
        }
    }
}
