//! A plugin's life on a node: checked, compiled, loaded, found again, let go.

use bytes::Bytes;
use posthouse_host::{GuestFault, Host, NoKeys, PushRefusal};
use posthouse_model::{PluginVersion, World};

use crate::bench::{
    Bench, OTHER, TENANT, VERSION, binding, binding_of, builtin_component, config, envelope, guest_component,
    table,
};

#[tokio::test]
async fn a_component_that_asks_for_wasi_is_told_how_to_do_without() {
    let bench = Bench::open();
    let refusal = bench
        .host
        .check(World::Route, guest_component("grabs-clock"))
        .await
        .expect_err("it asks for a clock");
    let PushRefusal::ImportNotGranted { import, remedy, .. } = &refusal else {
        panic!("{refusal:?}")
    };
    assert!(import.starts_with("wasi:clocks/"), "{import}");
    for toolchain in ["wasm32-unknown-unknown", "disableFeatures", "--stub-wasi"] {
        assert!(remedy.contains(toolchain), "{remedy}");
    }
    let loaded = bench
        .host
        .load(VERSION, None, World::Route, guest_component("grabs-clock"))
        .await;
    assert_eq!(loaded, Err(refusal));
    assert!(!bench.host.is_loaded(VERSION));
}

#[tokio::test]
async fn a_component_of_another_world_is_refused() {
    let bench = Bench::open();
    let refusal = bench
        .host
        .check(World::Filter, builtin_component("topic-router"))
        .await;
    assert!(
        matches!(refusal, Err(PushRefusal::WrongWorld { .. })),
        "{refusal:?}"
    );
    let refusal = bench
        .host
        .check(World::Route, builtin_component("kms-envelope"))
        .await;
    assert!(
        matches!(refusal, Err(PushRefusal::ImportNotGranted { .. })),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_damaged_component_is_refused_wherever_it_is_damaged() {
    let bench = Bench::open();
    let whole = builtin_component("topic-router");
    for at in (0..whole.len()).step_by(whole.len() / 16) {
        let refusal = bench.host.check(World::Route, whole.slice(..at)).await;
        assert!(
            matches!(
                refusal,
                Err(PushRefusal::NotAComponent(_) | PushRefusal::WrongWorld { .. })
            ),
            "cut at {at}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn damaged_code_is_compiled_again() {
    let bench = Bench::open();
    let component = builtin_component("topic-router");
    bench
        .host
        .check(World::Route, component.clone())
        .await
        .expect("it is a router");
    let file = only_file(&bench.dir.path().join("code"));
    let whole = std::fs::read(&file).expect("it was written");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    std::fs::write(&file, &damaged).expect("the folder is ours");
    bench
        .host
        .load(VERSION, None, World::Route, component)
        .await
        .expect("it is compiled again");
    let answers = bench
        .host
        .route(&binding(""), &table(&[&[]]), vec![envelope(&[])])
        .await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(
        std::fs::read(&file).expect("it was written again").len(),
        whole.len()
    );
}

#[tokio::test]
async fn code_is_found_again_by_the_next_host() {
    let bench = Bench::open();
    bench
        .host
        .check(World::Route, builtin_component("topic-router"))
        .await
        .expect("it is a router");
    let folder = bench.dir.path().join("code");
    let file = only_file(&folder);
    let written = std::fs::metadata(&file)
        .expect("it is there")
        .modified()
        .expect("Linux knows");
    bench.host.stop().await;
    let next = Host::open(config(folder), std::sync::Arc::new(NoKeys)).expect("a host opens");
    next.load(VERSION, None, World::Route, builtin_component("topic-router"))
        .await
        .expect("it loads");
    assert_eq!(
        std::fs::metadata(&file)
            .expect("it is there")
            .modified()
            .expect("Linux knows"),
        written
    );
}

#[tokio::test]
async fn code_of_another_engine_is_thrown_away_and_compiled_again() {
    let bench = Bench::open();
    let router = builtin_component("topic-router");
    bench
        .host
        .check(World::Route, router.clone())
        .await
        .expect("it is a router");
    let folder = bench.dir.path().join("code");
    let ours = only_file(&folder);
    bench.host.stop().await;
    // As if another version of the engine had compiled it: what must agree is in the name, and under the checksum.
    let name = ours
        .file_name()
        .expect("it has one")
        .to_string_lossy()
        .into_owned();
    let (digest, _) = name.split_once('-').expect("the digest comes first");
    let foreign = folder.join(format!("{digest}-{:016x}.code", 7));
    std::fs::copy(&ours, &foreign).expect("the folder is ours");
    std::fs::write(&ours, std::fs::read(&foreign).expect("it is there").split_off(40))
        .expect("the folder is ours");
    let next = Host::open(config(folder.clone()), std::sync::Arc::new(NoKeys)).expect("a host opens");
    assert!(!foreign.exists(), "nobody here can run it");
    next.load(VERSION, None, World::Route, router)
        .await
        .expect("it is compiled again");
    let answers = next
        .route(&binding(""), &table(&[&[]]), vec![envelope(&[])])
        .await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(only_file(&folder), ours);
}

#[tokio::test]
async fn a_plugin_serves_its_owner_alone() {
    let bench = Bench::open();
    let router = builtin_component("topic-router");
    bench
        .host
        .load(VERSION, Some(TENANT), World::Route, router)
        .await
        .expect("it loads");
    let (table, batch) = (table(&[&[]]), vec![envelope(&[])]);
    assert!(bench.host.route(&binding(""), &table, batch.clone()).await[0].is_ok());
    let theirs = bench.host.route(&binding_of(OTHER, ""), &table, batch).await;
    assert_eq!(theirs, [Err(GuestFault::NotLoaded)]);
}

#[tokio::test]
async fn what_is_not_loaded_or_of_another_world_is_not_asked() {
    let bench = Bench::open();
    let (table, batch) = (table(&[&[]]), vec![envelope(&[])]);
    let not_loaded = [Err(GuestFault::NotLoaded)];
    assert_eq!(
        bench.host.route(&binding(""), &table, batch.clone()).await,
        not_loaded
    );
    bench
        .host
        .load(VERSION, None, World::Route, builtin_component("topic-router"))
        .await
        .expect("it loads");
    assert!(bench.host.is_loaded(VERSION));
    assert!(!bench.host.is_loaded(PluginVersion(2)));
    assert!(bench.host.route(&binding(""), &table, batch.clone()).await[0].is_ok());
    let filtered = bench.host.filter(&binding(""), envelope(&[]), Bytes::new()).await;
    assert_eq!(filtered, Err(GuestFault::NotLoaded));
    bench.host.unload(VERSION);
    assert!(!bench.host.is_loaded(VERSION));
    assert_eq!(bench.host.route(&binding(""), &table, batch).await, not_loaded);
    assert_eq!(bench.host.usage()[0].1.instances, 0, "its instances are gone too");
}

#[tokio::test]
async fn another_configuration_is_never_answered_by_an_instance_of_the_first() {
    let bench = Bench::open();
    bench.load(World::Route, "lies").await;
    for (configuration, honest) in [("", true), ("too-few", false), ("", true)] {
        let answers = bench
            .host
            .route(&binding(configuration), &table(&[&[]]), vec![envelope(&[])])
            .await;
        assert_eq!(answers[0].is_ok(), honest, "{answers:?}");
    }
}

#[tokio::test]
async fn a_host_stops_though_a_guest_loops() {
    let bench = Bench::open_with(|config| config.limits.cpu = std::time::Duration::from_secs(3_600));
    bench.load(World::Route, "loops").await;
    let host = bench.host.clone();
    let looping = tokio::spawn(async move {
        host.route(&binding(""), &table(&[&[]]), vec![envelope(&["loop"])])
            .await
    });
    while bench
        .host
        .usage()
        .first()
        .is_none_or(|(_, usage)| usage.instances == 0)
    {
        tokio::task::yield_now().await;
    }
    bench.host.stop().await;
    assert_eq!(
        looping.await.expect("it does not panic"),
        [Err(GuestFault::Stopped)]
    );
    let later = bench
        .host
        .route(&binding(""), &table(&[&[]]), vec![envelope(&[])])
        .await;
    assert_eq!(later, [Err(GuestFault::Stopped)]);
}

fn only_file(folder: &std::path::Path) -> std::path::PathBuf {
    let files: Vec<_> = std::fs::read_dir(folder).expect("it is there").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files
        .into_iter()
        .next()
        .expect("there is one")
        .expect("it can be read")
        .path()
}
