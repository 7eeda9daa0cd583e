//! A filter that lets a message pass if its JSON body satisfies the condition in the binding's configuration.

mod condition;
mod pick;
mod rule;

use std::cell::OnceCell;

use bindings::exports::posthouse::plugin::filtering::{Body, Envelope, Guest, Verdict};
use bindings::posthouse::plugin::{config, log};
use rule::{Decision, Rule};

/// What `wit-bindgen` makes of the contract. `export!` is last: it needs to see the type below.
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "filter" });

    export!(JsonFilter);
    use super::JsonFilter;
}

struct JsonFilter;

thread_local! {
    /// The configuration never changes under a running instance, so it is parsed once.
    static RULE: OnceCell<Result<Rule, String>> = const { OnceCell::new() };
}

impl Guest for JsonFilter {
    fn filter(_envelope: Envelope, body: &Body) -> Result<Verdict, String> {
        RULE.with(|rule| match rule.get_or_init(configured) {
            Ok(rule) => match rule.decide(&body.read(0, body.len())) {
                Decision::Pass => Ok(Verdict::Pass),
                Decision::Drop => Ok(Verdict::Drop),
                Decision::Fail(reason) => Err(reason),
            },
            Err(reason) => Err(reason.clone()),
        })
    }
}

fn configured() -> Result<Rule, String> {
    let rule = Rule::parse(&config::get());
    if let Err(reason) = &rule {
        log::write(log::Level::Error, reason);
    }
    rule
}
