//! Guests that loop, hoard, trap and lie: each fails its own call, in its own way, and no other.

use bytes::Bytes;
use posthouse_host::{Action, Filtered, GuestFault, Outcome, Response, ToOpen, ToSeal};
use posthouse_model::{Span, SubscriptionId, World};

use crate::bench::{Bench, VERSION, binding, context, delivery, envelope, http, master_key, table};

/// Asks a router for three messages, of which the second is guilty, and returns the second's fault.
async fn guilty(bench: &Bench, configuration: &str, tag: &str) -> GuestFault {
    let table = table(&[&[], &[]]);
    let batch = vec![envelope(&[]), envelope(&[tag]), envelope(&[])];
    let mut answers = bench.host.route(&binding(configuration), &table, batch).await;
    let everyone = Ok(vec![SubscriptionId(100), SubscriptionId(101)]);
    assert_eq!(answers.len(), 3);
    assert_eq!(answers.remove(2), everyone, "{configuration}");
    assert_eq!(answers.remove(0), everyone, "{configuration}");
    answers.remove(0).expect_err("the guilty one fails")
}

#[tokio::test]
async fn a_router_that_loops_fails_the_message_it_loops_on() {
    let bench = Bench::open();
    bench.load(World::Route, "loops").await;
    assert_eq!(guilty(&bench, "", "loop").await, GuestFault::OutOfTime);
}

#[tokio::test]
async fn a_router_that_hoards_fails_the_message_it_hoards_on() {
    let bench = Bench::open();
    bench.load(World::Route, "hoards").await;
    assert_eq!(guilty(&bench, "", "hoard").await, GuestFault::OutOfMemory);
}

#[tokio::test]
async fn a_router_that_traps_fails_the_message_it_traps_on_and_says_where() {
    let bench = Bench::open();
    bench.load(World::Route, "traps").await;
    let fault = guilty(&bench, "", "trap").await;
    let GuestFault::Trap { message, backtrace } = fault else {
        panic!("{fault:?}")
    };
    assert!(message.contains("unreachable"), "{message}");
    assert!(backtrace.contains("match"), "{backtrace}");
}

#[tokio::test]
async fn a_stack_that_is_used_up_is_a_trap() {
    let bench = Bench::open();
    bench.load(World::Route, "traps").await;
    let fault = guilty(&bench, "deep", "trap").await;
    assert!(matches!(&fault, GuestFault::Trap { .. }), "{fault:?}");
}

#[tokio::test]
async fn a_table_that_cannot_be_made_fails_its_messages() {
    let bench = Bench::open_with(|config| config.limits.start_cpu = config.limits.cpu);
    for guest in ["loops", "hoards", "traps"] {
        bench.load(World::Route, guest).await;
        let answers = bench
            .host
            .route(&binding("start"), &table(&[&[]]), vec![envelope(&[])])
            .await;
        let fault = answers[0].clone().expect_err("the table cannot be made");
        match guest {
            "loops" => assert_eq!(fault, GuestFault::OutOfTime),
            "hoards" => assert_eq!(fault, GuestFault::OutOfMemory),
            _ => assert!(matches!(fault, GuestFault::Trap { .. }), "{fault:?}"),
        }
    }
}

#[tokio::test]
async fn a_router_that_lies_is_not_believed() {
    let bench = Bench::open();
    bench.load(World::Route, "lies").await;
    for lie in [
        "just-past",
        "far-past",
        "repeated",
        "too-few",
        "too-many",
        "giant-list",
        "giant-batch",
    ] {
        let answers = bench
            .host
            .route(
                &binding(lie),
                &table(&[&[], &[]]),
                vec![envelope(&[]), envelope(&[])],
            )
            .await;
        for answer in answers {
            let fault = answer.expect_err(lie);
            // A giant answer may be more than the guest itself can hold.
            let giant = lie.starts_with("giant")
                && matches!(fault, GuestFault::Trap { .. } | GuestFault::OutOfMemory);
            assert!(
                giant || matches!(fault, GuestFault::Nonsense(_)),
                "{lie}: {fault:?}"
            );
        }
    }
    let answers = bench
        .host
        .route(&binding("honest"), &table(&[&[]]), vec![envelope(&[])])
        .await;
    assert_eq!(answers, [Ok(vec![SubscriptionId(100)])]);
}

#[tokio::test]
async fn a_filter_fails_for_the_guilty_message_alone() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    let guilty = Bytes::from_static(b"guilty");
    for how in [
        "loop",
        "call",
        "hoard",
        "recurse",
        "forge",
        "trap",
        "fail",
        "fail-long",
        "giant-body",
        "giant-output",
        "many-attributes",
        "same-attribute",
        "nameless-attribute",
        "no-number",
    ] {
        let innocent = (envelope(&[]), Bytes::from_static(b"innocent"));
        let batch = vec![innocent.clone(), (envelope(&[]), guilty.clone()), innocent];
        let answers = bench.host.filter_batch(&binding(how), batch).await;
        assert_eq!(answers[0], Ok(Filtered::Pass), "{how}");
        assert_eq!(answers[2], Ok(Filtered::Pass), "{how}");
        let fault = answers[1].clone().expect_err(how);
        let expected = match how {
            "loop" => matches!(fault, GuestFault::OutOfTime),
            // Whichever runs out first.
            "call" => matches!(fault, GuestFault::OutOfTime | GuestFault::Trap { .. }),
            "hoard" => matches!(fault, GuestFault::OutOfMemory),
            "recurse" | "forge" | "trap" | "giant-output" => matches!(fault, GuestFault::Trap { .. }),
            // The text may be more than a guest may give back, and is cut if it is not.
            "fail" | "fail-long" => matches!(&fault, GuestFault::Said(text) if text.len() <= 4_096),
            _ => matches!(fault, GuestFault::Nonsense(_)),
        };
        assert!(expected, "{how}: {fault:?}");
    }
    let read_past = bench
        .host
        .filter(&binding("read-past"), envelope(&[]), guilty)
        .await;
    assert_eq!(
        read_past,
        Ok(Filtered::Drop),
        "nothing lies past the end of a body"
    );
}

#[tokio::test]
async fn what_a_guest_logs_is_bounded() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    let answer = bench
        .host
        .filter(&binding("chatter"), envelope(&[]), Bytes::from_static(b"guilty"))
        .await;
    assert_eq!(answer, Ok(Filtered::Pass));
    let lines = bench.host.logs(VERSION);
    assert_eq!(lines.len(), 64);
    assert!(
        lines
            .iter()
            .all(|line| line.text.len() == 1_024 && line.tenant == crate::bench::TENANT)
    );
}

#[tokio::test]
async fn a_delivery_that_breaks_its_frame_is_refused() {
    let bench = Bench::open();
    bench.load(World::Deliver, "hostile-deliver").await;
    for how in [
        "giant-state",
        "many-headers",
        "long-header",
        "line-in-header",
        "line-in-header-name",
        "frames-request",
        "other-host",
        "line-in-method",
        "connect",
        "file",
        "long-url",
        "other-queue",
    ] {
        let answer = bench
            .host
            .deliver_begin(&binding(how), delivery(http()), Bytes::new())
            .await;
        assert!(
            matches!(answer, Err(GuestFault::Nonsense(_))),
            "{how}: {answer:?}"
        );
    }
    for how in ["trap", "giant-payload"] {
        let answer = bench
            .host
            .deliver_begin(&binding(how), delivery(http()), Bytes::new())
            .await;
        assert!(
            matches!(answer, Err(GuestFault::Trap { .. })),
            "{how}: {answer:?}"
        );
    }
    let looping = bench
        .host
        .deliver_begin(&binding("loop"), delivery(http()), Bytes::new())
        .await;
    assert_eq!(looping, Err(GuestFault::OutOfTime));
    let for_ever = bench
        .host
        .deliver_begin(&binding("for-ever"), delivery(http()), Bytes::new())
        .await;
    let Ok(Action::Http(request)) = for_ever.map(|step| step.action) else {
        panic!("it is a request")
    };
    assert_eq!(request.timeout, Span::from_seconds(60));
}

#[tokio::test]
async fn a_delivery_that_goes_on_wrongly_is_refused() {
    let bench = Bench::open();
    bench.load(World::Deliver, "hostile-deliver").await;
    let resume = async |how: &str| {
        bench
            .host
            .deliver_resume(&binding(how), delivery(http()), Bytes::new(), Response::Enqueued)
            .await
    };
    assert_eq!(resume("resume-loop").await, Err(GuestFault::OutOfTime));
    assert!(matches!(
        resume("resume-trap").await,
        Err(GuestFault::Trap { .. })
    ));
    assert!(matches!(resume("resume-fail").await, Err(GuestFault::Said(_))));
    assert!(matches!(
        resume("resume-never").await,
        Err(GuestFault::Nonsense(_))
    ));
    let dropped = resume("resume-long-drop").await.expect("its reason is cut");
    assert!(matches!(dropped.action, Action::Done(Outcome::Drop(reason)) if reason.len() == 1_024));
}

#[tokio::test]
async fn a_seal_that_keeps_a_body_in_clear_is_refused() {
    let bench = Bench::open();
    bench.load(World::Seal, "hostile-seal").await;
    let item = ToSeal {
        context: context(1),
        plain: Bytes::from(vec![b's'; 8_192]),
    };
    for how in ["clear", "giant-header", "clear-header"] {
        let answer = bench
            .host
            .seal(&binding(how), &master_key("mine"), item.clone())
            .await;
        assert!(
            matches!(answer, Err(GuestFault::Nonsense(_))),
            "{how}: {answer:?}"
        );
    }
    // What is short enough to be a header is none either.
    for plain in [&b"one two three four five"[..], b"passw0rd"] {
        let short = ToSeal {
            plain: Bytes::from_static(plain),
            ..item.clone()
        };
        let answer = bench
            .host
            .seal(&binding("clear-header"), &master_key("mine"), short)
            .await;
        assert!(matches!(answer, Err(GuestFault::Nonsense(_))), "{answer:?}");
    }
    for how in ["trap", "hoard", "giant-associated"] {
        let answer = bench
            .host
            .seal(&binding(how), &master_key("mine"), item.clone())
            .await;
        assert!(
            matches!(answer, Err(GuestFault::Trap { .. } | GuestFault::OutOfTime)),
            "{how}: {answer:?}"
        );
    }
    let again = bench
        .host
        .seal(&binding("seal-again"), &master_key("mine"), item)
        .await;
    assert!(again.is_err(), "it seals until it runs out of something");
}

#[tokio::test]
async fn a_seal_is_not_lent_another_tenants_key() {
    let bench = Bench::open();
    bench.load(World::Seal, "hostile-seal").await;
    let item = ToSeal {
        context: context(1),
        plain: Bytes::from_static(b"secret"),
    };
    let answer = bench
        .host
        .seal(&binding("other-key:theirs"), &master_key("mine"), item.clone())
        .await;
    assert!(matches!(answer, Err(GuestFault::Said(_))), "{answer:?}");

    let theirs = crate::bench::binding_of(crate::bench::OTHER, "");
    let sealed = bench
        .host
        .seal(&theirs, &master_key("theirs"), item)
        .await
        .expect("it is its own key");
    let item = ToOpen {
        context: context(1),
        header: sealed.header,
        ciphertext: sealed.ciphertext,
    };
    assert_eq!(
        bench.host.open_sealed(&theirs, item.clone()).await,
        Ok(Bytes::from_static(b"secret"))
    );
    let answer = bench.host.open_sealed(&binding(""), item).await;
    assert!(matches!(answer, Err(GuestFault::Said(_))), "{answer:?}");
}

#[tokio::test]
async fn an_instance_that_keeps_handles_serves_no_second_call() {
    let bench = Bench::open();
    bench.load(World::Seal, "hostile-seal").await;
    let item = ToSeal {
        context: context(1),
        plain: Bytes::from_static(b"secret"),
    };
    for _ in 0..3 {
        bench
            .host
            .seal(&binding("keep"), &master_key("mine"), item.clone())
            .await
            .expect("keeping is no fault");
        let (_, usage) = bench.host.usage()[0];
        assert_eq!(usage.instances, 0);
    }
    bench
        .host
        .seal(&binding(""), &master_key("mine"), item)
        .await
        .expect("it seals");
    assert_eq!(bench.host.usage()[0].1.instances, 1);
}
