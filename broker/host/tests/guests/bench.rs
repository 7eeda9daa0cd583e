//! What the tests stand on: a host with a folder of its own, plugins loaded into it, and things to ask.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use posthouse_host::{
    Binding, BindingIdentity, CompilerCommand, Config, Delivery, Envelope, Host, KeyringLender,
    RouteSubscription, RouteTable,
};
use posthouse_keyring::{Keyring, RootKey, SystemEntropy};
use posthouse_model::{
    ContentFormat, Endpoint, FilterType, Incarnation, LogIndex, MasterKeyRecord, MasterKeyState, MessageId,
    Name, Place, PluginVersion, RetryStrategy, SealContext, SigningAlgorithm, SigningKeyRecord,
    SigningKeyVersion, Span, SubscriptionId, TenantId, Time, World,
};

/// The tenant that most tests act for.
pub(crate) const TENANT: TenantId = TenantId(7);
/// Another one.
pub(crate) const OTHER: TenantId = TenantId(8);
/// The version that [`Bench::load`] loads.
pub(crate) const VERSION: PluginVersion = PluginVersion(1);

/// A host with a folder of its own.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn open() -> Bench {
        Bench::open_with(|_| {})
    }

    pub(crate) fn open_with(change: impl FnOnce(&mut Config)) -> Bench {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(dir.path().join("code"));
        change(&mut config);
        let keyring = Arc::new(keyring());
        let lender = KeyringLender::new(Arc::clone(&keyring), || Time::from_seconds(1_000));
        let host = Host::open(config, Arc::new(lender)).expect("a host opens");
        Bench { host, keyring, dir }
    }

    /// Loads a guest of `tests/plugins` for everybody.
    pub(crate) async fn load(&self, world: World, guest: &str) {
        self.host
            .load(VERSION, None, world, guest_component(guest))
            .await
            .expect("the guest loads");
    }
}

/// Returns the settings of a small host.
pub(crate) fn config(cache_dir: PathBuf) -> Config {
    let mut config = Config::new(cache_dir, CompilerCommand::InProcess);
    config.threads = 2;
    config.small.instances = 64;
    config.interpreter.instances = 4;
    // The machine that runs the tests may be busy with others: what is measured is CPU time all the same.
    config.limits.cpu = Duration::from_millis(50);
    config
}

fn keyring() -> Keyring {
    let entropy = Arc::new(SystemEntropy::new());
    let keyring = Keyring::new(RootKey::generate(entropy.as_ref()), entropy);
    for (tenant, name) in [(TENANT, "mine"), (OTHER, "theirs")] {
        let name = Name::parse(name).expect("it is a name");
        let versions = vec![keyring.generate_master_key(tenant, &name)];
        let record = MasterKeyRecord {
            tenant,
            name,
            versions,
            state: MasterKeyState::Enabled,
        };
        keyring.learn_master_key(&record).expect("it was made just now");
    }
    let name = Name::parse("hooks").expect("it is a name");
    let version = |number, algorithm| {
        let made = keyring.generate_signing_secret(TENANT, &name, algorithm);
        SigningKeyVersion {
            number,
            secret: made.expect("a secret").0,
            made: Time::default(),
        }
    };
    let versions = vec![
        version(1, SigningAlgorithm::HmacSha256),
        version(2, SigningAlgorithm::Ed25519),
    ];
    let tenant = TENANT;
    let record = SigningKeyRecord {
        tenant,
        name,
        versions,
    };
    keyring.learn_signing_key(&record).expect("it was made just now");
    keyring
}

/// Reads a component of `tests/plugins`.
pub(crate) fn guest_component(name: &str) -> Bytes {
    component(&format!("../../tests/plugins/{name}/component.wasm"))
}

/// Reads a component of `plugins`.
pub(crate) fn builtin_component(name: &str) -> Bytes {
    component(&format!("../../plugins/{name}/component.wasm"))
}

fn component(path: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    Bytes::from(std::fs::read(&path).expect("components are committed"))
}

/// Returns a binding of [`VERSION`] for [`TENANT`].
pub(crate) fn binding(configuration: &str) -> Binding {
    binding_of(TENANT, configuration)
}

pub(crate) fn binding_of(tenant: TenantId, configuration: &str) -> Binding {
    Binding {
        version: VERSION,
        tenant,
        configuration: Bytes::copy_from_slice(configuration.as_bytes()),
        identity: BindingIdentity {
            changed: LogIndex(5),
            place: Place::Incarnation(Incarnation(9)),
        },
        kv: None,
    }
}

/// Returns a table of subscriptions with filter tags; their numbers begin at 100.
pub(crate) fn table(tags: &[&[&str]]) -> Arc<RouteTable> {
    let subscriptions = tags.iter().zip(100..).map(|(tags, number)| RouteSubscription {
        id: SubscriptionId(number),
        name: format!("s{number}"),
        filter_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        binding_keys: Vec::new(),
    });
    Arc::new(RouteTable {
        key: (Incarnation(9), 1),
        filter_type: FilterType::Tags,
        subscriptions: subscriptions.collect(),
    })
}

/// Returns an envelope with tags.
pub(crate) fn envelope(tags: &[&str]) -> Envelope {
    Envelope {
        id: MessageId(1),
        produced: Time::from_seconds(1_000),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        routing_key: String::new(),
        body_bytes: 10,
        attributes: BTreeMap::new(),
    }
}

/// Returns the first attempt of a delivery.
pub(crate) fn delivery(endpoint: Endpoint) -> Delivery {
    Delivery {
        message: MessageId(1),
        request: 2,
        topic_owner: "tenant".to_owned(),
        topic: "topic".to_owned(),
        subscription: "subscription".to_owned(),
        endpoint,
        format: ContentFormat::Simplified,
        retry: RetryStrategy::Backoff,
        tags: Vec::new(),
        routing_key: String::new(),
        attributes: BTreeMap::new(),
        published: Time::from_seconds(1_000),
        attempt: 1,
        age: Span::ZERO,
        retention: Span::from_seconds(86_400),
        chance: 3,
    }
}

pub(crate) fn http() -> Endpoint {
    Endpoint::Http("http://example.com/in".to_owned())
}

/// Returns what a message is sealed to.
pub(crate) fn context(message: u64) -> SealContext {
    SealContext {
        tenant: TENANT,
        incarnation: Incarnation(9),
        message: MessageId(message),
    }
}

pub(crate) fn master_key(name: &str) -> Name {
    Name::parse(name).expect("it is a name")
}
