//! What guests return, of every world: checked by the host's own code, which is compiled in here alone.
//!
//! That code is private to the host and pure. Taken in by its path it needs neither the engine nor a component, and
//! the fuzzer sees into it.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the host uses more of these files than is fuzzed"
)]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use posthouse_model::{FilterType, Incarnation, Name, SubscriptionId};

#[path = "../../../broker/host/src/call.rs"]
mod call;
#[path = "../../../broker/host/src/config.rs"]
mod config;
#[path = "../../../broker/host/src/contract.rs"]
mod contract;
#[path = "../../../broker/host/src/copied.rs"]
mod copied;
#[path = "../../../broker/host/src/fault.rs"]
mod fault;
#[path = "../../../broker/host/src/returned.rs"]
mod returned;
#[path = "../../../broker/host/src/text.rs"]
mod text;

use call::{Action, Filtered, RouteSubscription, RouteTable};
use contract::{delivering, filtering, types};

/// What the host lends to guests; nothing is lent here.
mod lent {
    pub struct LentBody;
    pub struct LentDataKey;
}

/// What a decision sees of a store; none is lent here.
mod kv {
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct KvSession;
}

/// The most elements of a list, above the contract's own bounds.
const LIST_MAX: usize = 80;

fuzz_target!(|input: &[u8]| {
    // An input that ends too early is one that was not built.
    let _ = answer(&mut Unstructured::new(input));
});

fn answer(input: &mut Unstructured<'_>) -> Result<()> {
    match input.int_in_range(0..=3)? {
        0 => routed(input),
        1 => filtered(input),
        2 => stepped(input),
        _ => sealed(input),
    }
}

fn routed(input: &mut Unstructured<'_>) -> Result<()> {
    let subscriptions = (0..input.int_in_range(0..=5)?).map(|id| RouteSubscription {
        id: SubscriptionId(id),
        name: String::new(),
        filter_tags: Vec::new(),
        binding_keys: Vec::new(),
    });
    let table = RouteTable {
        key: (Incarnation(1), 1),
        filter_type: FilterType::Tags,
        subscriptions: subscriptions.collect(),
    };
    let asked = input.int_in_range(0..=4)?;
    let answer = list(input, |input| list(input, |input| input.arbitrary::<u32>()))?;
    if let Ok(matched) = returned::routed(&table, asked, answer) {
        assert_eq!(matched.len(), asked);
        for ids in matched {
            assert!(
                ids.windows(2).all(|pair| pair[0] < pair[1]),
                "each subscription once"
            );
            assert!(
                ids.iter()
                    .all(|id| table.subscriptions.iter().any(|known| known.id == *id))
            );
        }
    }
    Ok(())
}

fn filtered(input: &mut Unstructured<'_>) -> Result<()> {
    let verdict = match input.int_in_range(0..=2)? {
        0 => filtering::Verdict::Pass,
        1 => filtering::Verdict::Drop,
        _ => filtering::Verdict::Replace(filtering::Replacement {
            body: input.arbitrary()?,
            attributes: list(input, |input| Ok((input.arbitrary()?, attribute(input)?)))?,
        }),
    };
    if let Ok(Filtered::Replace { body, attributes }) = returned::filtered(verdict) {
        assert!(!body.is_empty());
        assert!(attributes.keys().all(|name| !name.is_empty()));
    }
    Ok(())
}

fn attribute(input: &mut Unstructured<'_>) -> Result<types::Attribute> {
    Ok(match input.int_in_range(0..=2)? {
        0 => types::Attribute::Text(input.arbitrary()?),
        1 => types::Attribute::Number(input.arbitrary()?),
        _ => types::Attribute::Binary(input.arbitrary()?),
    })
}

fn stepped(input: &mut Unstructured<'_>) -> Result<()> {
    let action = match input.int_in_range(0..=2)? {
        0 => delivering::Action::Http(delivering::HttpRequest {
            method: if input.arbitrary()? {
                "POST".to_owned()
            } else {
                input.arbitrary()?
            },
            url: input.arbitrary()?,
            headers: list(input, |input| Ok((input.arbitrary()?, input.arbitrary()?)))?,
            body: if input.arbitrary()? {
                delivering::Payload::Message
            } else {
                delivering::Payload::Bytes(input.arbitrary()?)
            },
            timeout_ms: input.arbitrary()?,
        }),
        1 => delivering::Action::Enqueue(delivering::EnqueueRequest {
            queue: input.arbitrary()?,
        }),
        _ => delivering::Action::Done(match input.int_in_range(0..=2)? {
            0 => delivering::Outcome::Acknowledged,
            1 => delivering::Outcome::RetryAfter(input.arbitrary()?),
            _ => delivering::Outcome::Drop(input.arbitrary()?),
        }),
    };
    let state = input.arbitrary()?;
    let Ok(step) = returned::step(delivering::Step { action, state }) else {
        return Ok(());
    };
    match step.action {
        Action::Http(request) => {
            let is_safe = |text: &str| !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            assert!(request.url.starts_with("http://") || request.url.starts_with("https://"));
            assert!(is_safe(&request.url) && is_safe(&request.method));
            for (name, value) in &request.headers {
                assert!(
                    !name.is_empty() && is_safe(name) && is_safe(value),
                    "no header ends another"
                );
                assert_ne!(name, "host");
                assert_ne!(name, "content-length");
            }
        }
        Action::Enqueue(queue) => assert_eq!(Name::parse(queue.as_str()), Ok(queue)),
        Action::Done(_) => {}
    }
    Ok(())
}

fn sealed(input: &mut Unstructured<'_>) -> Result<()> {
    let sealed_bytes = input.int_in_range(0..=1_048_576)?;
    let body: Vec<u8> = input.arbitrary()?;
    let header: Vec<u8> = input.arbitrary()?;
    let plain: Vec<u8> = input.arbitrary()?;
    if let Ok(sealed) = returned::sealed(&plain, &[], header.clone(), body.clone().into()) {
        assert_eq!(sealed.header, header);
        assert!(plain.len() < 8 || !header.windows(plain.len()).any(|part| part == plain));
    }
    if let Ok(opened) = returned::opened(sealed_bytes, body.into()) {
        assert!(opened.len() <= sealed_bytes);
    }
    Ok(())
}

/// Reads a list of at most [`LIST_MAX`] elements.
fn list<T>(
    input: &mut Unstructured<'_>,
    mut element: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut list = Vec::new();
    while list.len() < LIST_MAX && !input.is_empty() && input.arbitrary()? {
        list.push(element(input)?);
    }
    Ok(list)
}
