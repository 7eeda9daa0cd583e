//! The beginnings of plugins that `posthouse plugin new` writes: each builds, its cases hold, and a node runs it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use posthouse_tests::{Client, Node, Setting};
use tempfile::TempDir;

use crate::plugins::{decisions, explain, publish, publish_tag, receive, topic_to_queue};
use crate::program;
use crate::push::endpoint;
use crate::sealing::{assert_silent, run};

/// The environment's variable that names a folder where the tools of JavaScript and Python are installed, as
/// `node_modules` and `venv`. Without it, the first project of a language installs its own, and the others use those.
const TOOLS_VARIABLE: &str = "POSTHOUSE_PLUGIN_TOOLS";
/// Worlds that have templates in every language.
const WORLDS: [&str; 3] = ["route", "filter", "deliver"];
/// The one that has a template in Rust alone.
const SEAL: &str = "seal";

/// A filter in each language that numbers messages, by a count in its store.
const COUNTS_IN_RUST: &str = r#"
use bindings::exports::posthouse::plugin::filtering::{Body, Envelope, Guest, Replacement, Verdict};
use bindings::posthouse::plugin::kv;

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "filter-with-kv" });
    export!(Plugin);
    use super::Plugin;
}

struct Plugin;

impl Guest for Plugin {
    fn filter(envelope: Envelope, _: &Body) -> Result<Verdict, String> {
        let held = kv::get("count").map_err(|refusal| format!("{refusal:?}"))?;
        let count: u64 = held.map_or(0, |held| String::from_utf8_lossy(&held.value).parse().unwrap());
        let body = (count + 1).to_string().into_bytes();
        kv::put("count", &body, None).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(Verdict::Replace(Replacement { body, attributes: envelope.attributes }))
    }
}
"#;
const COUNTS_IN_JAVASCRIPT: &str = r#"
import { get, put } from 'posthouse:plugin/kv@0.1.0';

export const filtering = {
  filter(envelope, _) {
    const held = get('count');
    const count = held === undefined ? 0 : Number(new TextDecoder().decode(held.value));
    const body = new TextEncoder().encode(String(count + 1));
    put('count', body, undefined);
    return { tag: 'replace', val: { body, attributes: envelope.attributes } };
  },
};
"#;
const COUNTS_IN_PYTHON: &str = r#"
from wit_world.exports import Filtering as World
from wit_world.exports.filtering import Replacement, Verdict_Replace
from wit_world.imports import kv


class Filtering(World):
    def filter(self, envelope, body):
        held = kv.get("count")
        body = str((0 if held is None else int(held.value)) + 1).encode()
        kv.put("count", body, None)
        return Verdict_Replace(Replacement(body, envelope.attributes))
"#;
/// What holds of it.
const COUNTS_CASE: &str = r#"{
    "kv": { "count": "41" }, "body": "x",
    "expect": { "replace": { "body": "42" } }, "expect_kv": { "count": { "value": "42" } }
}"#;

/// Projects in one language, one for each world, and a folder where compiled plugins are kept.
struct Projects {
    language: &'static str,
    folder: TempDir,
}

#[test]
fn a_project_in_rust_builds_and_runs_in_each_world() {
    let projects = Projects::written("rust");
    projects.build_and_test();
    projects.run_in_a_node();
    projects.run_seal();
    projects.count("src/lib.rs", COUNTS_IN_RUST);
}

#[test]
fn a_project_in_javascript_builds_and_runs_in_each_world() {
    let projects = Projects::written("js");
    projects.build_and_test();
    projects.run_in_a_node();
    projects.count("plugin.js", COUNTS_IN_JAVASCRIPT);
}

#[test]
fn a_project_in_python_builds_and_runs_in_each_world() {
    let projects = Projects::written("python");
    projects.build_and_test();
    projects.run_in_a_node();
    projects.count("plugin.py", COUNTS_IN_PYTHON);
}

#[test]
fn what_cannot_be_built_is_named_with_what_to_do() {
    let refused = Command::new(program())
        .args([
            "plugin",
            "new",
            "--lang",
            "rust",
            "--world",
            "seal",
            "--with-kv",
            "x",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("keeps nothing"), "{said}");
    for (language, told) in [("js", "apt-get install nodejs npm"), ("python", "python3-venv")] {
        let projects = Projects::written(language);
        let nothing = projects.folder.path().join("nothing");
        fs::create_dir(&nothing).unwrap();
        let output = Command::new(program())
            .args(["plugin", "build"])
            .arg(projects.project("filter"))
            .env("PATH", &nothing)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("was not found") && said.contains(told), "{said}");
    }
}

#[test]
fn a_case_that_does_not_hold_is_shown_beside_the_answer() {
    let projects = Projects::written("rust");
    let project = projects.project("filter");
    let without = projects.posthouse(&["plugin", "test"], "filter");
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(said.contains("posthouse plugin build"), "{said}");
    // Another filter than the project's: one that lets pass what satisfies a condition.
    let other =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins/json-filter/component.wasm");
    fs::copy(other, project.join("component.wasm")).unwrap();
    let cases = project.join("cases");
    fs::remove_dir_all(&cases).unwrap();
    fs::create_dir(&cases).unwrap();
    let config = r#"{\"when\":{\"field\":\"/price\",\"above\":100}}"#;
    for (name, body, expect) in [
        ("dear", r#"{\"price\":150}"#, r#""pass""#),
        ("cheap", r#"{\"price\":50}"#, r#""pass""#),
    ] {
        let case = format!(r#"{{"config":"{config}","body":"{body}","expect":{expect}}}"#);
        fs::write(cases.join(format!("{name}.json")), case).unwrap();
    }
    let case = r#"{"config":"no condition","body":"x","expect":{"fail":"the plugin failed"}}"#;
    fs::write(cases.join("fails.json"), case).unwrap();
    let output = projects.posthouse(&["plugin", "test"], "filter");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in [
        "FAIL  cheap",
        "- \"pass\"",
        "+ \"drop\"",
        "ok    dear",
        "ok    fails",
        "2 of 3 cases hold",
    ] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
    let output = projects.posthouse(&["plugin", "test", "--case", "dear"], "filter");
    assert!(output.status.success());
    let output = projects.posthouse(&["plugin", "bench", "--json", "--case", "dear"], "filter");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for figure in ["calls", "nanos_a_call", "memory_bytes"] {
        assert!(
            figures["cases"][0][figure].as_u64() > Some(0),
            "{figure} in {figures}"
        );
    }
    // On a busy machine the calls before may have taken as long as the first one of an instance.
    assert!(figures["cases"][0]["start_nanos"].is_u64(), "{figures}");
}

#[test]
fn a_case_of_a_deliver_plugin_says_what_is_signed_with() {
    let projects = Projects::written("rust");
    let project = projects.project("deliver");
    // The built-in, which signs in the manner of Standard Webhooks.
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/http-push/component.wasm");
    fs::copy(built_in, project.join("component.wasm")).unwrap();
    let cases = project.join("cases");
    fs::remove_dir_all(&cases).unwrap();
    fs::create_dir(&cases).unwrap();
    let case = |version: &str, signature: &str| {
        format!(
            r#"{{
                "config": "{{\"sign\":\"hooks\"}}",
                "signing_keys": {{ "hooks": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "{version}"] }},
                "delivery": {{
                    "endpoint": {{ "http": "https://shop.example/hook" }},
                    "format": "simplified",
                    "published_ms": 1614265327000,
                    "age_ms": 3900
                }},
                "body": "{{\"test\": 2432232314}}",
                "steps": [{{ "expect": {{ "http": {{ "headers": {{
                    "webhook-id": "1",
                    "webhook-timestamp": "1614265330",
                    "webhook-signature": "{signature}"
                }} }} }} }}]
            }}"#
        )
    };
    let signature =
        "v1,D2gWcjfeXDctBECDcrYJOHxGYHzpMLRGCqsyqVqRqYE= v1,gWs6rnA5v4e5qNfuYZFOY79gvygn7LpogXn31gba7xU=";
    let second = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    fs::write(cases.join("both-sign.json"), case(second, signature)).unwrap();
    let output = projects.posthouse(&["plugin", "test"], "deliver");
    assert_success(&output, "both versions sign");
    fs::write(cases.join("no-secret.json"), case("whpk_AAEC", signature)).unwrap();
    let output = projects.posthouse(&["plugin", "test"], "deliver");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no-secret.json") && said.contains("whsec_"),
        "{said}"
    );
}

// === impl Projects ===

impl Projects {
    fn written(language: &'static str) -> Projects {
        let folder = TempDir::new().unwrap();
        let projects = Projects { language, folder };
        for world in worlds(language) {
            projects.write(world, &["--world", world]);
        }
        projects
    }

    fn write(&self, folder: &str, how: &[&str]) {
        let output = Command::new(program())
            .args(["plugin", "new", "--lang", self.language])
            .args(how)
            .arg(self.of(folder))
            .arg("--dir")
            .arg(self.project(folder))
            .output()
            .unwrap();
        assert_success(&output, &format!("a new project: {}", self.of(folder)));
    }

    /// Has a filter that keeps a count in its store built and tried.
    fn count(&self, file: &str, source: &str) {
        self.write("keeps", &["--world", "filter", "--with-kv"]);
        let project = self.project("keeps");
        fs::write(project.join(file), source).unwrap();
        let cases = project.join("cases");
        fs::remove_dir_all(&cases).unwrap();
        fs::create_dir(&cases).unwrap();
        fs::write(cases.join("counts.json"), COUNTS_CASE).unwrap();
        for installed in ["node_modules", ".venv"] {
            let installed = (self.project("filter").join(installed), project.join(installed));
            if installed.0.exists() {
                symlink(installed.0, installed.1).unwrap();
            }
        }
        for what in ["build", "test"] {
            let output = self.posthouse(&["plugin", what], "keeps");
            assert_success(&output, &format!("{what} of {}", self.of("keeps")));
        }
    }

    fn project(&self, world: &str) -> PathBuf {
        self.folder.path().join(world)
    }

    fn caches(&self) -> PathBuf {
        self.folder.path().join("caches")
    }

    fn build_and_test(&self) {
        let tools = std::env::var_os(TOOLS_VARIABLE).map(PathBuf::from);
        let (installed, of_project) = match self.language {
            "js" => ("node_modules", "node_modules"),
            "python" => ("venv", ".venv"),
            _ => ("", ""),
        };
        let mut from = tools.map(|folder| folder.join(installed));
        for world in worlds(self.language) {
            let own = self.project(world).join(of_project);
            if let (Some(from), false) = (&from, of_project.is_empty()) {
                symlink(from, &own).unwrap();
            }
            assert_success(
                &self.posthouse(&["plugin", "build"], world),
                &format!("building {}", self.of(world)),
            );
            from.get_or_insert(own);
            assert_success(
                &self.posthouse(&["plugin", "test"], world),
                &format!("testing {}", self.of(world)),
            );
        }
    }

    /// Does a command with a project.
    fn posthouse(&self, arguments: &[&str], world: &str) -> Output {
        Command::new(program())
            .args(arguments)
            .arg(self.project(world))
            .env("XDG_CACHE_HOME", self.caches())
            // What Rust plugins depend on was built there, for the repository's own.
            .env(
                "CARGO_TARGET_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests"),
            )
            .output()
            .unwrap()
    }

    /// Runs all three in one node, which finds them compiled.
    fn run_in_a_node(&self) {
        let compiled = self.caches().join("posthouse/plugins");
        let setting = Setting {
            configuration: format!("[plugins]\ncache_dir = {compiled:?}\n"),
            ..Setting::default()
        };
        let node = Node::start(program(), setting).unwrap();
        let mut client = node.client();
        for world in WORLDS {
            let component = self.project(world).join("component.wasm");
            run(
                &node,
                &["plugin", "push", &self.of(world), component.to_str().unwrap()],
            );
        }
        self.run_route(&node, &mut client);
        self.run_filter(&node, &mut client);
        self.run_deliver(&node, &mut client);
    }

    fn run_route(&self, node: &Node, client: &mut Client) {
        topic_to_queue(client, "routed", &[], "everything", "");
        run(node, &["plugin", "bind", &self.of("route"), "--topic", "routed"]);
        let sent = publish(client, "routed", "x").success().unwrap();
        assert_eq!(receive(client, "everything"), "x");
        let told = decisions(&explain(node, sent.text("msgId")));
        let routed = (
            self.of("route"),
            "routed".to_owned(),
            vec!["everything".to_owned()],
        );
        assert!(told.contains(&routed), "{told:?}");
    }

    fn run_filter(&self, node: &Node, client: &mut Client) {
        topic_to_queue(client, "filtered", &[], "kept", "");
        run(
            node,
            &["plugin", "bind", &self.of("filter"), "--topic", "filtered"],
        );
        publish_tag(client, "filtered", "test").success().unwrap();
        publish(client, "filtered", " y\n").success().unwrap();
        // In order of arrival: had the tagged one passed, it would come first.
        assert_eq!(receive(client, "kept"), "y");
        let log = run(node, &["plugin", "logs", &self.of("filter")]);
        assert!(log.contains("is tagged test"), "{log}");
    }

    fn run_deliver(&self, node: &Node, client: &mut Client) {
        let (url, pushes) = endpoint(vec![200]);
        let topic = [("topicName", "delivered")];
        client.ask("CreateTopic", &topic).unwrap().success().unwrap();
        let hook = [
            ("topicName", "delivered"),
            ("subscriptionName", "hook"),
            ("protocol", "http"),
            ("endpoint", &*url),
        ];
        client.ask("Subscribe", &hook).unwrap().success().unwrap();
        run(
            node,
            &["plugin", "bind", &self.of("deliver"), "--topic", "delivered"],
        );
        let sent = publish(client, "delivered", "z").success().unwrap();
        let push = pushes.recv_timeout(crate::PATIENCE).unwrap();
        let id = format!("x-message-id: {}", sent.text("msgId"));
        assert!(push.headers.contains(&id), "{:?}", push.headers);
        assert_eq!(push.body, b"z");
    }

    /// Seals a queue with it, in a node of its own: a plugin that seals everything is in no other's way there.
    fn run_seal(&self) {
        let compiled = self.caches().join("posthouse/plugins");
        let setting = Setting {
            configuration: format!("[plugins]\ncache_dir = {compiled:?}\n"),
            ..Setting::default()
        };
        let node = Node::start(program(), setting).unwrap();
        let mut client = node.client();
        let component = self.project(SEAL).join("component.wasm");
        let seal = self.of(SEAL);
        run(&node, &["plugin", "push", &seal, component.to_str().unwrap()]);
        for key in ["main", "other"] {
            run(&node, &["key", "create", key]);
        }
        client
            .ask("CreateQueue", &[("queueName", "q")])
            .unwrap()
            .success()
            .unwrap();
        run(&node, &["queue", "seal", "q", "--key", "main"]);
        run(
            &node,
            &["plugin", "bind", &seal, "--queue", "q", "--config", "main spare"],
        );
        let message = [("queueName", "q"), ("msgBody", "the-heron-flies-at-midnight")];
        let sent = client.ask("SendMessage", &message).unwrap().success().unwrap();
        assert_silent(&node.data(), b"the-heron-flies-at-midnight");
        assert_eq!(receive(&mut client, "q"), "the-heron-flies-at-midnight");
        let told = decisions(&explain(&node, sent.text("msgId")));
        assert!(told.iter().any(|(plugin, ..)| *plugin == seal), "{told:?}");
        run(&node, &["queue", "seal", "q", "--key", "other"]);
        let refused = client.ask("SendMessage", &message).unwrap().success();
        assert!(refused.is_err(), "it may seal under configured keys only");
    }

    /// Returns the name of the plugin of a world.
    fn of(&self, world: &str) -> String {
        format!("{}-{world}", self.language)
    }
}

/// Returns the worlds that have a template in a language.
fn worlds(language: &str) -> Vec<&'static str> {
    let in_rust = (language == "rust").then_some(SEAL);
    WORLDS.into_iter().chain(in_rust).collect()
}

fn assert_success(output: &Output, what: &str) {
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
