//! Cases in files: what a plugin finds in its store, and what it must write there.

use std::path::Path;

use serde_json::{Value, json};

use crate::recording::{project, test};

const FILTER: &str = "tests/plugins/keeps";

/// Runs one case of a filter that counts; returns whether it holds, and what is said.
fn tried(case: &Value) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "filter", FILTER);
    write(&project, "one", case);
    test(&project, folder.path())
}

fn write(project: &Path, name: &str, case: &Value) {
    let cases = project.join("cases");
    std::fs::create_dir_all(&cases).unwrap();
    std::fs::write(cases.join(name).with_extension("json"), case.to_string()).unwrap();
}

fn replaced(body: &str) -> Value {
    json!({ "replace": { "body": body } })
}

#[test]
fn a_case_says_what_a_store_holds_and_what_must_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "filter", FILTER);
    let full = json!({ "keys": 0, "bytes": 0 });
    let holding = [
        // Without any, the store holds nothing.
        json!({ "body": "x", "expect": replaced("1"), "expect_kv": { "count": { "value": "1" } } }),
        json!({
            "kv": { "count": "41", "other": "stays" }, "body": "x",
            "expect": replaced("42"), "expect_kv": { "count": { "value": "42" } },
        }),
        // What is read is not written, and bytes may be given as such.
        json!({ "kv": { "count": { "base64": "NDE=" } }, "body": "read", "expect": replaced("41"), "expect_kv": {} }),
        json!({ "body": "brief", "expect": replaced("false"), "expect_kv": { "brief": { "value": "", "ttl_ms": 1000 } } }),
        json!({ "kv": { "swapped": "" }, "body": "drop", "expect": "drop", "expect_kv": { "dropped": { "value": "1" } } }),
        // A call that failed has written nothing.
        json!({ "body": "fail", "expect": { "fail": "as it was told to" }, "expect_kv": {} }),
        json!({ "kv_room": full, "body": "x", "expect": { "fail": "\"full\"" } }),
        // What is there already takes no more room.
        json!({ "kv_room": full, "kv": { "count": "1" }, "body": "x", "expect": replaced("2") }),
        // Any answer will do.
        json!({ "body": "x" }),
    ];
    for (number, case) in holding.iter().enumerate() {
        write(&project, &number.to_string(), case);
    }
    let (hold, told) = test(&project, folder.path());
    assert!(hold && told.contains("9 of 9 cases hold"), "{told}");
}

#[test]
fn a_case_does_not_hold_that_writes_something_else_and_both_are_shown() {
    let (hold, told) = tried(&json!({
        "kv": { "count": "41" }, "body": "x", "expect": replaced("42"), "expect_kv": { "count": { "value": "43" } },
    }));
    assert!(!hold && told.contains("what it keeps"), "{told}");
    assert!(
        told.contains("-     \"value\": \"43\"") && told.contains("+     \"value\": \"42\""),
        "{told}"
    );
    let (hold, told) = tried(&json!({ "body": "x", "expect": replaced("1"), "expect_kv": {} }));
    assert!(!hold && told.contains("what it keeps"), "{told}");
    // It finds another number than it is said to.
    let (hold, told) = tried(&json!({ "kv": { "count": "1" }, "body": "x", "expect": replaced("3") }));
    assert!(!hold && told.contains("+     \"body\": \"2\""), "{told}");
    let (hold, told) = tried(&json!({ "body": "fail" }));
    assert!(!hold && told.contains("no failure"), "{told}");
    let (hold, told) = tried(&json!({ "kv_rooms": {}, "body": "x" }));
    assert!(!hold && told.contains("kv_rooms"), "{told}");
}
