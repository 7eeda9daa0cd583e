//! The built-in plugins on the host.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use posthouse_host::{
    Action, Delivery, GuestFault, Outcome, Payload, Response, Step, ToOpen, ToSeal, builtins,
};
use posthouse_model::{ContentFormat, Endpoint, SigningAlgorithm, Span, SubscriptionId, World};

use crate::bench::{
    Bench, OTHER, TENANT, VERSION, binding, binding_of, builtin_component, context, delivery, envelope, http,
    master_key, table,
};

#[tokio::test]
async fn every_built_in_passes_the_check_that_strangers_must() {
    let bench = Bench::open();
    assert_eq!(builtins().len(), 4);
    for builtin in builtins() {
        let component = Bytes::from_static(builtin.component);
        let checked = bench.host.check(builtin.world, component).await;
        assert!(checked.is_ok(), "{}: {checked:?}", builtin.name);
    }
}

#[tokio::test]
async fn the_router_matches_tags_for_each_message_of_a_batch() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Route, builtin_component("topic-router"))
        .await
        .expect("it loads");
    let table = table(&[&["a"], &["b"], &[]]);
    let batch = vec![envelope(&["a"]), envelope(&["b", "a"]), envelope(&["c"])];
    let answers = bench.host.route(&binding(""), &table, batch).await;
    let ids = |ids: &[u64]| Ok(ids.iter().map(|id| SubscriptionId(*id)).collect::<Vec<_>>());
    assert_eq!(answers, [ids(&[100, 102]), ids(&[100, 101, 102]), ids(&[102])]);
}

#[tokio::test]
async fn a_changed_table_is_another_table() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Route, builtin_component("topic-router"))
        .await
        .expect("it loads");
    let before = table(&[&["a"]]);
    let mut after = (*table(&[&["b"]])).clone();
    after.key.1 += 1;
    let after = std::sync::Arc::new(after);
    for _ in 0..3 {
        let first = bench
            .host
            .route(&binding(""), &before, vec![envelope(&["b"])])
            .await;
        assert_eq!(first, [Ok(Vec::new())]);
        let second = bench
            .host
            .route(&binding(""), &after, vec![envelope(&["b"])])
            .await;
        assert_eq!(second, [Ok(vec![SubscriptionId(100)])]);
    }
}

#[tokio::test]
async fn the_seal_opens_what_it_sealed_and_nothing_else() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Seal, builtin_component("kms-envelope"))
        .await
        .expect("it loads");
    let items: Vec<ToSeal> = (0..3)
        .map(|number| ToSeal {
            context: context(number),
            plain: Bytes::from(vec![number as u8; 100]),
        })
        .collect();
    let sealed = bench
        .host
        .seal_batch(&binding(""), &master_key("mine"), items.clone())
        .await;
    for (item, sealed) in items.iter().zip(sealed) {
        let sealed = sealed.expect("it seals");
        assert!(!sealed.ciphertext.windows(100).any(|window| window == item.plain));
        let good = ToOpen {
            context: item.context,
            header: sealed.header.clone(),
            ciphertext: sealed.ciphertext,
        };
        let mut moved = good.clone();
        moved.context.message.0 += 1;
        let mut cut = good.clone();
        cut.header.truncate(3);
        let opened = bench
            .host
            .open_sealed_batch(&binding(""), vec![good, moved, cut])
            .await;
        assert_eq!(opened[0], Ok(item.plain.clone()));
        assert!(matches!(opened[1], Err(GuestFault::Said(_))), "{:?}", opened[1]);
        assert!(matches!(opened[2], Err(GuestFault::Said(_))), "{:?}", opened[2]);
    }
    let unknown = bench
        .host
        .seal(&binding(""), &master_key("unknown"), items[0].clone())
        .await;
    assert!(matches!(unknown, Err(GuestFault::Said(_))), "{unknown:?}");
}

#[tokio::test]
async fn http_push_posts_and_takes_success_for_an_acknowledgement() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Deliver, builtin_component("http-push"))
        .await
        .expect("it loads");
    let body = Bytes::from_static(b"body");
    let step = bench
        .host
        .deliver_begin(&binding(""), delivery(http()), body)
        .await
        .expect("it begins");
    let Action::Http(request) = &step.action else {
        panic!("{step:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "http://example.com/in")
    );
    assert_eq!(request.body, Payload::Message);
    let resume = async |status| {
        let response = Response::Http {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        let step = bench
            .host
            .deliver_resume(&binding(""), delivery(http()), step.state.clone(), response)
            .await;
        step.expect("it goes on").action
    };
    assert_eq!(resume(200).await, Action::Done(Outcome::Acknowledged));
    assert!(matches!(resume(500).await, Action::Done(Outcome::RetryAfter(_))));
}

#[tokio::test]
async fn http_push_signs_what_it_sends_when_its_configuration_names_a_key() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Deliver, builtin_component("http-push"))
        .await
        .expect("it loads");
    let named = binding(r#"{"sign":"hooks"}"#);
    for format in [ContentFormat::Simplified, ContentFormat::Json] {
        let delivery = Delivery {
            format,
            age: Span::from_millis(2_900),
            ..delivery(http())
        };
        let body = Bytes::from_static(b"body");
        let step = bench.host.deliver_begin(&named, delivery, body.clone()).await;
        let Ok(Step {
            action: Action::Http(request),
            ..
        }) = step
        else {
            panic!("{step:?}")
        };
        let header = |name: &str| {
            let found = request.headers.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("webhook-id"), Some("1"));
        // Published at 1,000 s, and sent 2.9 s later.
        assert_eq!(header("webhook-timestamp"), Some("1002"));
        let sent = match request.body.clone() {
            Payload::Message => body,
            Payload::Bytes(bytes) => bytes,
        };
        let hooks = master_key("hooks");
        let signed = bench.keyring.sign(TENANT, &hooks, &[b"1.1002.", &sent]);
        let expected: Vec<String> = signed
            .expect("the key is known")
            .iter()
            .map(|signature| match signature.algorithm {
                SigningAlgorithm::HmacSha256 => format!("v1,{}", STANDARD.encode(&signature.bytes)),
                SigningAlgorithm::Ed25519 => format!("v1a,{}", STANDARD.encode(&signature.bytes)),
            })
            .collect();
        assert_eq!(expected.len(), 2);
        assert_eq!(header("webhook-signature"), Some(expected.join(" ").as_str()));
    }
}

#[tokio::test]
async fn http_push_sends_nothing_unsigned_that_is_to_be_signed() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Deliver, builtin_component("http-push"))
        .await
        .expect("it loads");
    for (configuration, told) in [
        (r#"{"sign":"unknown"}"#, "no signing key unknown"),
        (r#"{"sign":"no name"}"#, "no such signing key"),
        (r#"{"sing":"hooks"}"#, r#"{"sign":"#),
    ] {
        let begun = bench
            .host
            .deliver_begin(&binding(configuration), delivery(http()), Bytes::new())
            .await;
        let Err(GuestFault::Said(text)) = begun else {
            panic!("{begun:?}")
        };
        assert!(text.contains(told), "{text}");
    }
    let others = bench
        .host
        .deliver_begin(
            &binding_of(OTHER, r#"{"sign":"hooks"}"#),
            delivery(http()),
            Bytes::new(),
        )
        .await;
    assert!(
        matches!(others, Err(GuestFault::Said(_))),
        "the key is another tenant's: {others:?}"
    );
}

#[tokio::test]
async fn queue_push_enqueues() {
    let bench = Bench::open();
    bench
        .host
        .load(VERSION, None, World::Deliver, builtin_component("queue-push"))
        .await
        .expect("it loads");
    let queue = master_key("a-queue");
    let delivery = delivery(Endpoint::Queue(queue.clone()));
    let step = bench
        .host
        .deliver_begin(&binding(""), delivery.clone(), Bytes::new())
        .await
        .expect("it begins");
    assert_eq!(step.action, Action::Enqueue(queue));
    let step = bench
        .host
        .deliver_resume(&binding(""), delivery, step.state, Response::Enqueued)
        .await;
    assert_eq!(
        step.expect("it goes on").action,
        Action::Done(Outcome::Acknowledged)
    );
}
