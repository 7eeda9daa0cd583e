//! Signing keys, of which at most two versions sign, and what tenants' plugins may do beyond quotas.

use super::*;

fn secret(algorithm: SigningAlgorithm, wrapped: &'static [u8]) -> SigningSecret {
    SigningSecret {
        algorithm,
        wrapped: Bytes::from_static(wrapped),
        public: Bytes::new(),
    }
}

fn shared(wrapped: &'static [u8]) -> SigningSecret {
    secret(SigningAlgorithm::HmacSha256, wrapped)
}

fn create_key(text: &str, secret: SigningSecret) -> DirectoryCommand {
    DirectoryCommand::CreateSigningKey {
        tenant: TenantId(1),
        name: name(text),
        secret,
    }
}

fn rotate(text: &str, secret: SigningSecret) -> DirectoryCommand {
    DirectoryCommand::RotateSigningKey {
        tenant: TenantId(1),
        name: name(text),
        secret,
    }
}

fn retire(text: &str) -> DirectoryCommand {
    DirectoryCommand::RetireSigningKey {
        tenant: TenantId(1),
        name: name(text),
    }
}

fn remove(tenant: u32, text: &str) -> DirectoryCommand {
    DirectoryCommand::RemoveSigningKey {
        tenant: TenantId(tenant),
        name: name(text),
    }
}

/// The numbers of a key's versions, and what each signs with.
fn versions(log: &Log, text: &str) -> Vec<(u32, Bytes)> {
    let key = log.directory.signing_key(TenantId(1), &name(text));
    let versions = key.map(|key| key.versions.as_slice()).unwrap_or_default();
    let shown = versions.iter();
    shown
        .map(|version| (version.number, version.secret.wrapped.clone()))
        .collect()
}

#[test]
fn two_versions_of_a_signing_key_sign_until_the_older_one_is_retired() {
    let mut log = Log::founded();
    let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
    assert_eq!(
        log.apply(create_key("hooks", shared(b"old"))),
        Ok(DirectoryReply::SigningKey(1))
    );
    assert_eq!(
        log.apply(retire("hooks")),
        Err(DirectoryRefusal::SigningKeyNotRotating(name("hooks")))
    );
    let other_way = secret(SigningAlgorithm::Ed25519, b"new");
    assert_eq!(
        log.apply(rotate("HOOKS", other_way)),
        Ok(DirectoryReply::SigningKey(2))
    );
    assert_eq!(versions(&log, "hooks"), [(1, old), (2, new.clone())]);
    assert_eq!(
        log.apply(rotate("hooks", shared(b"third"))),
        Err(DirectoryRefusal::SigningKeyRotating(name("hooks")))
    );
    log.done(retire("hooks"));
    assert_eq!(versions(&log, "hooks"), [(2, new)]);
    assert_eq!(
        log.apply(rotate("hooks", shared(b"third"))),
        Ok(DirectoryReply::SigningKey(3)),
        "a number is not given again"
    );
}

#[test]
fn a_signing_key_is_its_tenant_s_and_made_once() {
    let mut log = Log::founded();
    log.apply(create_key("hooks", shared(b"one"))).expect("it is new");
    assert_eq!(
        log.apply(create_key("Hooks", shared(b"two"))),
        Err(DirectoryRefusal::Exists(name("Hooks")))
    );
    let refused = Err(DirectoryRefusal::NoSigningKey(name("hooks")));
    assert_eq!(log.apply(remove(2, "hooks")), refused);
    assert_eq!(log.directory.signing_keys(TenantId(2)).count(), 0);
    log.done(remove(1, "hooks"));
    assert_eq!(log.apply(remove(1, "hooks")), refused);
    assert_eq!(log.apply(rotate("hooks", shared(b"two"))), refused);
    assert_eq!(log.apply(retire("hooks")), refused);
}

#[test]
fn signing_keys_are_bounded_in_number_and_size() {
    let mut log = Log::founded();
    for number in 0..SIGNING_KEYS_MAX {
        let created = log.apply(create_key(&format!("k{number}"), shared(b"secret")));
        assert_eq!(created, Ok(DirectoryReply::SigningKey(1)));
    }
    let over = log.apply(create_key("more", shared(b"secret")));
    assert!(matches!(over, Err(DirectoryRefusal::Limit { .. })), "{over:?}");
    log.done(remove(1, "k0"));
    let empty = log.apply(create_key("more", shared(b"")));
    assert!(matches!(empty, Err(DirectoryRefusal::Malformed(_))), "{empty:?}");
    let public = Bytes::from(vec![0; PUBLIC_KEY_BYTES_MAX + 1]);
    let large = SigningSecret {
        public,
        ..shared(b"secret")
    };
    let large = log.apply(create_key("more", large));
    assert!(matches!(large, Err(DirectoryRefusal::Limit { .. })), "{large:?}");
}

#[test]
fn a_tenant_takes_its_signing_keys_and_limits_along() {
    let mut log = Log::founded();
    let limits = GuestLimits {
        http_requests_per_second: 7,
        ..GuestLimits::default()
    };
    let tenant = TenantId(1);
    let set = |limits: &GuestLimits| DirectoryCommand::SetGuestLimits {
        tenant,
        limits: limits.clone(),
    };
    log.apply(create_key("hooks", shared(b"one"))).expect("it is new");
    log.done(set(&limits));
    assert_eq!(log.directory.guest_limits(tenant), limits);
    assert_eq!(log.directory.guest_limits(TenantId(2)), GuestLimits::default());
    log.done(DirectoryCommand::RemoveTenant { tenant });
    assert_eq!(log.directory.signing_keys(tenant).count(), 0);
    assert_eq!(log.directory.guest_limits(tenant), GuestLimits::default());
    assert_eq!(log.apply(set(&limits)), Err(DirectoryRefusal::NoTenant));
    assert_eq!(
        log.apply(create_key("hooks", shared(b"one"))),
        Err(DirectoryRefusal::NoTenant)
    );
}

#[test]
fn a_tenant_s_plugins_are_held_to_a_bounded_number_of_hosts() {
    let mut log = Log::founded();
    let hosts = |count: usize| {
        let host = |number| HttpHost::parse(&format!("h{number}.example")).expect("a host");
        DirectoryCommand::SetGuestLimits {
            tenant: TenantId(1),
            limits: GuestLimits {
                http_hosts: Some((0..count).map(host).collect()),
                ..GuestLimits::default()
            },
        }
    };
    log.done(hosts(HTTP_HOSTS_MAX));
    let over = log.apply(hosts(HTTP_HOSTS_MAX + 1));
    assert!(matches!(over, Err(DirectoryRefusal::Limit { .. })), "{over:?}");
    let kept = log.directory.guest_limits(TenantId(1)).http_hosts;
    assert_eq!(kept.map(|hosts| hosts.len()), Some(HTTP_HOSTS_MAX));
}
