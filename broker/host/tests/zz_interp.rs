//! scratch
use bytes::Bytes;
use posthouse_host::*;
use posthouse_model::*;
use std::{sync::Arc, time::Instant};
#[tokio::test]
async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("code"), CompilerCommand::InProcess);
    config.limits.cpu = std::time::Duration::from_millis(50);
    let host = Host::open(config, Arc::new(NoKeys)).unwrap();
    for (n, file) in std::env::var("FILES").unwrap().split(',').enumerate() {
        let c = Bytes::from(std::fs::read(file).unwrap());
        let t = Instant::now();
        println!(
            "{file} check {:?} {:?}",
            host.check(World::Route, c.clone()).await,
            t.elapsed()
        );
        let t = Instant::now();
        let v = PluginVersion(n as u64 + 1);
        println!(
            "load {:?} {:?}",
            host.load(v, None, World::Route, c).await,
            t.elapsed()
        );
        let b = Binding {
            version: v,
            tenant: TenantId(1),
            configuration: Bytes::new(),
            identity: BindingIdentity {
                changed: LogIndex(1),
                place: Place::Platform,
            },
        };
        let table = Arc::new(RouteTable {
            key: (Incarnation(1), 1),
            filter_type: FilterType::Tags,
            subscriptions: (0..3)
                .map(|n| RouteSubscription {
                    id: SubscriptionId(n),
                    name: format!("s{n}"),
                    filter_tags: vec!["a".into()],
                    binding_keys: vec![],
                })
                .collect(),
        });
        let env = Envelope {
            id: MessageId(1),
            produced: Time::from_seconds(1),
            tags: vec!["a".into()],
            routing_key: String::new(),
            body_bytes: 3,
            attributes: Default::default(),
        };
        for _ in 0..3 {
            let t = Instant::now();
            println!(
                "{:?} {:?}",
                host.route(&b, &table, vec![env.clone()]).await,
                t.elapsed()
            );
        }
        let t = Instant::now();
        for _ in 0..2000 {
            host.route(&b, &table, vec![env.clone()]).await;
        }
        println!("sequential {:?} each", t.elapsed() / 2000);
        let t = Instant::now();
        let mut n = 0;
        while n < 50_000 {
            let fs = (0..500).map(|_| host.route(&b, &table, vec![env.clone()]));
            n += 500;
            for r in futures::future::join_all(fs).await {
                assert!(r[0].is_ok(), "{r:?}");
            }
        }
        println!("concurrent {:?} each", t.elapsed() / 50_000);
        println!("{:?}", host.usage());
    }
}
