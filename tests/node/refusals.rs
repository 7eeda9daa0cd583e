//! Components that are refused when they are pushed: each for one thing that is wrong with it, and told what to change.
//!
//! What is wrong is added to the built-in router, whose own parts stay as they are.

use std::path::Path;

use posthouse_tests::Node;

use crate::plugins::refused;
use crate::sealing::run;
use crate::{node, node_with};

/// The sections of a component that are added to.
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const INSTANCE: u8 = 5;
const EXPORT: u8 = 11;
/// The sections of a core module that are replaced.
const TABLE: u8 = 4;
const MEMORY: u8 = 5;
/// A page of a guest's memory, in bytes, and the most that an instance of either pool gets.
const PAGE_BYTES: u32 = 65_536;
const SMALL_BYTES: u32 = 16 * 1_048_576;
const INTERPRETER_BYTES: u32 = 128 * 1_048_576;
const INTERPRETER_ELEMENTS: u32 = 100_000;

/// Pushes a component as whatever it is; returns what is answered.
fn pushed(node: &Node, component: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.wasm");
    std::fs::write(&file, component).unwrap();
    refused(node, &[], &["plugin", "push", "bad", file.to_str().unwrap()])
}

fn router() -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/topic-router/component.wasm");
    std::fs::read(file).unwrap()
}

/// Returns the router with a core module that is instantiated with it, and so is bounded and started with it.
fn router_with(module: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in module {
        section(&mut bytes, *id, content);
    }
    let mut component = router();
    let modules = sections(&component).filter(|(id, _)| *id == CORE_MODULE).count();
    section(&mut component, CORE_MODULE, &bytes);
    // One instance, of the module, given nothing.
    let instance = [&[1, 0][..], &leb(u32::try_from(modules).unwrap()), &[0]].concat();
    section(&mut component, CORE_INSTANCE, &instance);
    component
}

/// Returns the router with another section in the place of its core module's own.
fn router_with_own((id, content): (u8, Vec<u8>)) -> Vec<u8> {
    let replaced = |(own, old): (u8, &[u8])| match own == id {
        true => (own, content.clone()),
        false => (own, old.to_vec()),
    };
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    let mut found = 0;
    for (outer, bytes) in sections(&router()) {
        let has_one = outer == CORE_MODULE && sections(bytes).any(|(own, _)| own == MEMORY);
        if !has_one {
            section(&mut component, outer, bytes);
            continue;
        }
        found += 1;
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for (own, content) in sections(bytes).map(replaced) {
            section(&mut module, own, &content);
        }
        section(&mut component, outer, &module);
    }
    assert_eq!(found, 1, "one module of the router has a memory and a table");
    component
}

/// Returns a memory of at least so many bytes.
fn memory(bytes: u32) -> (u8, Vec<u8>) {
    (MEMORY, [&[1, 0][..], &leb(bytes / PAGE_BYTES)].concat())
}

/// Returns a table of at least so many elements.
fn table(elements: u32) -> (u8, Vec<u8>) {
    (TABLE, [&[1, 0x70, 0][..], &leb(elements)].concat())
}

/// Returns a function that is run at the start, of this code.
fn start(code: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let body = [&[0][..], code, &[0x0b]].concat();
    let code = [&[1][..], &leb(u32::try_from(body.len()).unwrap()), &body].concat();
    // () -> ()
    vec![
        (1, vec![1, 0x60, 0, 0]),
        (3, vec![1, 0]),
        (8, vec![0]),
        (10, code),
    ]
}

/// Returns an export of an instance under the name of one of the contract's interfaces.
fn export(interface: &str, instance: u8) -> Vec<u8> {
    let name = format!("posthouse:plugin/{interface}@0.1.0");
    let length = u8::try_from(name.len()).unwrap();
    [&[1, 0, length][..], name.as_bytes(), &[5, instance, 0]].concat()
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    to.extend(leb(u32::try_from(content.len()).unwrap()));
    to.extend_from_slice(content);
}

/// Returns the outermost sections of a component or a module: their ids, and what is in them.
fn sections(of: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = &of[8..];
    std::iter::from_fn(move || {
        let (id, after) = rest.split_first()?;
        let (mut length, mut bytes) = (0_usize, 0);
        for byte in after {
            length |= usize::from(byte & 0x7f) << (7 * bytes);
            bytes += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let content = &after[bytes..bytes + length];
        rest = &after[bytes + length..];
        Some((*id, content))
    })
}

/// Returns a number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
fn a_component_of_two_worlds_or_of_none_is_refused() {
    let node = node();
    let mut two = router();
    section(&mut two, EXPORT, &export("filtering", 0));
    let told = pushed(&node, &two);
    assert!(
        told.contains("of one world") && told.contains("filtering"),
        "{told}"
    );
    let told = pushed(&node, b"\0asm\x0d\0\x01\0");
    assert!(told.contains("exports nothing"), "{told}");
}

#[test]
fn a_component_with_other_types_behind_the_contracts_names_is_refused() {
    let node = node();
    let mut hollow = b"\0asm\x0d\0\x01\0".to_vec();
    // An instance with nothing in it.
    section(&mut hollow, INSTANCE, &[1, 1, 0]);
    section(&mut hollow, EXPORT, &export("router", 0));
    let told = pushed(&node, &hollow);
    assert!(told.contains("does not fit the contract"), "{told}");
    assert!(told.contains("posthouse plugin new"), "{told}");
}

#[test]
fn a_component_that_does_not_compile_is_refused() {
    let node = node();
    // A function that returns a number, and has none to return.
    let broken = [
        (1, vec![1, 0x60, 0, 1, 0x7f]),
        (3, vec![1, 0]),
        (10, vec![1, 2, 0, 0x0b]),
    ];
    let told = pushed(&node, &router_with(&broken));
    assert!(told.contains("does not compile"), "{told}");
}

#[test]
fn a_component_that_fails_when_it_is_started_is_refused() {
    let node = node();
    const UNREACHABLE: &[u8] = &[0];
    let told = pushed(&node, &router_with(&start(UNREACHABLE)));
    assert!(
        told.contains("fails when it is started") && told.contains("trapped"),
        "{told}"
    );
    // loop, branch to its beginning, end
    const FOR_EVER: &[u8] = &[0x03, 0x40, 0x0c, 0, 0x0b];
    let told = pushed(&node, &router_with(&start(FOR_EVER)));
    assert!(
        told.contains("fails when it is started") && told.contains("used up its time"),
        "{told}"
    );
    assert!(told.contains("before its first call"), "{told}");
}

#[test]
fn a_component_gets_what_interpreters_need_and_no_more() {
    let node = node();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.wasm");
    std::fs::write(&file, router_with_own(memory(4 * SMALL_BYTES))).unwrap();
    run(&node, &["plugin", "push", "large", file.to_str().unwrap()]);
    for too_much in [
        memory(INTERPRETER_BYTES + PAGE_BYTES),
        table(INTERPRETER_ELEMENTS + 1),
    ] {
        let told = pushed(&node, &router_with_own(too_much));
        assert!(told.contains("needs more than an instance gets"), "{told}");
        assert!(told.contains("less memory"), "{told}");
    }
}

#[test]
fn a_component_over_the_limit_is_refused() {
    let node = node_with("[plugins]\ncomponent_bytes_max = 1048576\n");
    let told = pushed(&node, &vec![0; 1_048_577]);
    assert!(told.contains("over 1048576 bytes"), "{told}");
}
