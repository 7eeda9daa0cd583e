//! Calls of a plugin that failed, recorded where it runs and repeated elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::Node;

use crate::metrics::figure;
use crate::plugins::{publish, publish_tag, push, refused, topic_to_queue};
use crate::push::endpoint;
use crate::sealing::run;
use crate::steps::Steps;
use crate::{node, program, until};

/// Makes a project of a plugin that was built elsewhere, with no cases.
pub(crate) fn project(folder: &Path, world: &str, plugin: &str) -> PathBuf {
    let project = folder.join("project");
    let new = [
        "plugin", "new", "repeated", "--lang", "rust", "--world", world, "--dir",
    ];
    let made = Command::new(program()).args(new).arg(&project).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::remove_dir_all(project.join("cases")).unwrap();
    replace(&project, plugin);
    project
}

/// Puts another component in the place of a project's own.
fn replace(project: &Path, plugin: &str) {
    let component = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(plugin)
        .join("component.wasm");
    std::fs::copy(component, project.join("component.wasm")).unwrap();
}

/// Runs a project's cases; returns whether all hold, and what is said.
pub(crate) fn test(project: &Path, cache: &Path) -> (bool, String) {
    let output = Command::new(program())
        .args(["plugin", "test"])
        .arg(project)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.success(), told)
}

/// Runs so many recorded cases with the plugin that failed on them.
fn fails_alike(project: &Path, cache: &Path, cases: usize) {
    let (hold, told) = test(project, cache);
    assert!(
        !hold && told.contains(&format!("0 of {cases} cases hold")),
        "{told}"
    );
    let alike = told.matches("as it did where this was recorded").count();
    assert_eq!(alike, cases, "{told}");
}

/// Returns a project's cases, by name.
fn cases(project: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(project.join("cases")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Has a recording written into a project; returns what the command says.
fn fetch(node: &Node, binding: &[&str], project: &Path) -> String {
    let cases = project.join("cases");
    run(
        node,
        &[
            &["plugin", "record"],
            binding,
            &["--into", cases.to_str().unwrap()],
        ]
        .concat(),
    )
}

#[test]
fn a_filter_s_failing_calls_are_recorded_while_it_is_asked_for_and_fail_alike_elsewhere() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    push(&node, "guard", "tests/plugins/hostile-filter");
    run(
        &node,
        &["plugin", "bind", "guard", "--queue", "q", "--config", "trap"],
    );
    let binding = ["--queue", "q", "--world", "filter"];
    let mut send = |body: &str| {
        client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", body)])
            .unwrap()
    };
    assert_ne!(send("guilty before").code(), 0);
    run(
        &node,
        &[&["plugin", "record"], &binding[..], &["--max", "2"]].concat(),
    );
    send("harmless").success().unwrap();
    for body in ["guilty one", "guilty two", "guilty three"] {
        assert_ne!(send(body).code(), 0, "{body}");
    }
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "filter", "tests/plugins/hostile-filter");
    let told = fetch(&node, &binding, &project);
    assert!(told.starts_with("2 of 2 recorded calls are new"), "{told}");
    let told = fetch(&node, &binding, &project);
    assert!(told.starts_with("0 of 2 recorded calls are new"), "{told}");
    fails_alike(&project, folder.path(), 2);
    // Mended, it passes: another plugin that can do with the configuration.
    let whole = std::fs::read_to_string(&cases(&project)[0]).unwrap();
    assert!(whole.contains("\"body\": \"guilty one\""), "{whole}");
    replace(&project, "tests/plugins/keeps");
    let (tested, told) = test(&project, folder.path());
    assert!(tested && told.contains("2 of 2 cases hold"), "{told}");
    run(&node, &[&["plugin", "record"], &binding[..], &["--end"]].concat());
    let told = fetch(&node, &binding, &project);
    assert!(told.starts_with("0 of 0 recorded calls"), "{told}");
}

#[test]
fn a_router_s_failing_call_is_recorded_with_the_table_that_it_had() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "ways", "tests/plugins/traps");
    run(&node, &["plugin", "bind", "ways", "--topic", "t"]);
    let binding = ["--topic", "t", "--world", "route"];
    run(&node, &[&["plugin", "record"], &binding[..]].concat());
    publish_tag(&mut client, "t", "trap");
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "route", "tests/plugins/traps");
    let told = fetch(&node, &binding, &project);
    assert!(told.starts_with("1 of 1 recorded calls"), "{told}");
    fails_alike(&project, folder.path(), 1);
}

#[test]
fn a_delivery_that_fails_after_an_answer_is_recorded_with_the_answer() {
    let node = node();
    let (url, _pushes) = endpoint(vec![200; 8]);
    let mut client = node.client();
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    push(&node, "hands", "tests/plugins/hostile-deliver");
    let bind = [
        "plugin",
        "bind",
        "hands",
        "--topic",
        "t",
        "--config",
        "resume-trap",
    ];
    run(&node, &bind);
    let binding = ["--topic", "t", "--world", "deliver"];
    run(
        &node,
        &[&["plugin", "record"], &binding[..], &["--max", "1"]].concat(),
    );
    run(&node, &["sub", "create", "t", "s", "--endpoint", &url]);
    publish(&mut client, "t", "x").success().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "deliver", "tests/plugins/hostile-deliver");
    until(|| {
        fetch(&node, &binding, &project)
            .starts_with("1 of 1")
            .then_some(())
    });
    fails_alike(&project, folder.path(), 1);
    let case = std::fs::read_to_string(&cases(&project)[0]).unwrap();
    assert!(case.contains("\"status\": 200"), "{case}");
}

#[test]
fn what_is_sealed_is_not_recorded() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    run(&node, &["key", "create", "k"]);
    push(&node, "ways", "tests/plugins/traps");
    run(&node, &["plugin", "bind", "ways", "--topic", "t"]);
    let binding = ["--topic", "t", "--world", "route"];
    run(&node, &[&["plugin", "record"], &binding[..]].concat());
    run(&node, &["topic", "seal", "t", "--key", "k"]);
    // Begun before: what comes now is not recorded all the same.
    publish_tag(&mut client, "t", "trap");
    let folder = tempfile::tempdir().unwrap();
    let told = fetch(&node, &binding, folder.path());
    assert!(told.starts_with("0 of 0 recorded calls"), "{told}");
    let told = refused(&node, &[], &[&["plugin", "record"], &binding[..]].concat());
    assert!(told.contains("what is sealed is not recorded"), "{told}");
    let nowhere = ["plugin", "record", "--queue", "q", "--world", "filter"];
    let told = refused(&node, &[], &nowhere);
    assert!(told.contains("nothing of that world is bound there"), "{told}");
}

#[test]
fn what_was_sealed_is_not_recorded_either_where_it_is_delivered_after_the_seal_is_taken_off() {
    let node = node();
    let (url, pushes) = endpoint(vec![200; 64]);
    let mut client = node.client();
    crate::push::subscribe(&mut client, &url, "SIMPLIFIED");
    run(&node, &["key", "create", "k"]);
    push(&node, "hands", "tests/plugins/hostile-deliver");
    let bind = [
        "plugin",
        "bind",
        "hands",
        "--topic",
        "t",
        "--config",
        "resume-trap",
    ];
    run(&node, &bind);
    let binding = ["--topic", "t", "--world", "deliver"];
    run(&node, &[&["plugin", "record"], &binding[..]].concat());
    run(&node, &["topic", "seal", "t", "--key", "k"]);
    client.publish("t", "sealed", &[]);
    run(&node, &["topic", "seal", "t", "--off"]);
    // It fails again and again, of which at least one attempt is made after the seal was taken off.
    for _ in 0..2 {
        pushes.recv_timeout(crate::push::PUSH).unwrap();
    }
    client.publish("t", "clear", &[]);
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("cases");
    until(|| {
        let told = run(
            &node,
            &[
                &["plugin", "record"],
                &binding[..],
                &["--into", written.to_str().unwrap()],
            ]
            .concat(),
        );
        (!told.starts_with("0 of 0")).then_some(())
    });
    for case in cases(folder.path()) {
        let case = std::fs::read_to_string(case).unwrap();
        assert!(case.contains(r#""body": "clear""#), "{case}");
    }
}

#[test]
fn a_filter_is_recorded_with_what_it_found_in_its_store_and_what_its_call_wrote_before() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    run(&node, &["plugin", "bind", "numbers", "--queue", "q"]);
    let binding = ["--queue", "q", "--world", "filter"];
    run(&node, &[&["plugin", "record"], &binding[..]].concat());
    client.send("q", "two alone");
    // The second, and then the third, which it refuses: and so the call, which has counted nothing.
    let batch = [
        ("queueName", "q"),
        ("msgBody.1", "two alone"),
        ("msgBody.2", "two alone"),
    ];
    let refused = client.ask("BatchSendMessage", &batch).unwrap();
    assert!(
        refused.0.to_string().contains("this is number 3"),
        "{}",
        refused.0
    );
    client.send("q", "two alone");
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "filter", "tests/plugins/keeps");
    let told = fetch(&node, &binding, &project);
    assert!(told.starts_with("1 of 1 recorded calls"), "{told}");
    fails_alike(&project, folder.path(), 1);
    // It fails because of what it found: by another store it does not.
    let file = &cases(&project)[0];
    let case = std::fs::read_to_string(file).unwrap();
    assert!(case.contains(r#""count": "2""#), "{case}");
    std::fs::write(file, case.replace(r#""count": "2""#, r#""count": "1""#)).unwrap();
    let (hold, told) = test(&project, folder.path());
    assert!(hold && told.contains("1 of 1 cases hold"), "{told}");
}

#[test]
fn each_step_of_a_delivery_is_recorded_with_what_it_found_in_its_store() {
    let node = node();
    let (url, pushes) = endpoint(vec![200, 200, 410]);
    let mut client = node.client();
    crate::push::subscribe(&mut client, &url, "SIMPLIFIED");
    push(&node, "counts", "tests/plugins/keeps-deliver");
    run(&node, &["plugin", "bind", "counts", "--topic", "t"]);
    let binding = ["--topic", "t", "--world", "deliver"];
    run(
        &node,
        &[&["plugin", "record"], &binding[..], &["--max", "1"]].concat(),
    );
    for published in 1..=3 {
        client.publish("t", "x", &[]);
        pushes.recv_timeout(crate::push::PUSH).unwrap();
        // One after the other: the last is to find what the others have counted.
        let settled = |outcome| figure(&node, "push_attempts_total", &format!("outcome=\"{outcome}\""));
        until(|| (settled("acknowledged") >= f64::from(published.min(2))).then_some(()));
    }
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "deliver", "tests/plugins/keeps-deliver");
    until(|| {
        fetch(&node, &binding, &project)
            .starts_with("1 of 1")
            .then_some(())
    });
    let case = std::fs::read_to_string(&cases(&project)[0]).unwrap();
    assert!(case.contains("gone after 2 were taken"), "{case}");
    fails_alike(&project, folder.path(), 1);
}
