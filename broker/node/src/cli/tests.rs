//! Commands parse, and what they print and exit with, against a node that is made up.

use clap::CommandFactory;
use tokio::io::AsyncReadExt;

use super::*;
use crate::admin::fake;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn commands_are_understood() {
    for line in [
        "serve --dev",
        "serve --dev --data d --listen 127.0.0.1:0",
        "serve --config posthouse.toml",
        "compile-plugin",
        "completion bash",
        "status --json",
        "explain 7274496000",
        "queue create orders --visibility 60 --dead-letter dead --dead-after-receives 5",
        "queue list --search ord --url http://[::1]:7070",
        "queue set orders --no-dead-letter",
        "queue seal orders --key main",
        "queue seal orders --off",
        "queue send orders one two --delay 5",
        "queue send orders --file -",
        "queue receive orders --max 16 --wait 30 --visibility 10 --delete",
        "queue remove orders 1 2 3",
        "queue rewind orders --ago 3600",
        "queue copy orders --into scratch",
        "queue copy orders --into scratch --ago 3600",
        "topic create news --filter binding-keys --retention 3600",
        "topic publish news hello --tag a --tag b --routing-key x.y",
        "sub create news mail --endpoint https://example.com/in --format simplified --filter-tag a",
        "sub create news store --queue orders --binding-key *.error.#",
        "sub set news mail --no-tags",
        "sub delete news mail",
        "tenant create shop --queues 5",
        "tenant quota shop --calls-per-second 100",
        "tenant set shop --plugin-host-calls 1000 --plugin-output 1000000 --http-requests 5 --http-host *.example.com:443",
        "tenant set shop --any-http-host",
        "tenant key add shop --id AKIDshop --root",
        "tenant key disable shop AKIDshop",
        "key schedule-deletion main --after 3600",
        "key generate-data-key main --tenant shop",
        "key decrypt AAAA",
        "key signing create hooks",
        "key signing rotate hooks --algorithm ed25519 --tenant shop",
        "key signing retire hooks",
        "key signing list --json",
        "key signing remove hooks",
        "plugin new no-tests --lang js --world filter --dir here",
        "plugin build",
        "plugin test no-tests --case tagged --json",
        "plugin bench no-tests",
        "plugin push json-filter filter.wasm --world filter --platform",
        "plugin push json-filter filter.wasm --digest sha256:00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF",
        "plugin bind json-filter --topic news --subscription mail --on-failure park --config x",
        "plugin unbind --whole-tenant --world seal",
        "plugin activate json-filter 7",
        "plugin rollback json-filter",
        "plugin remove json-filter 7",
        "plugin quarantine --queue orders --world filter --reason slow",
        "plugin quarantine --queue orders --world filter --release",
        "plugin record --queue orders --world filter --seconds 60 --max 5",
        "plugin record --queue orders --world filter --into cases",
        "plugin record --queue orders --world filter --end",
        "plugin redrive json-filter --plugin-version 7 --topic news --subscription mail --rate 5 --max 9",
        "plugin logs json-filter --lines 5",
        "plugin logs json-filter --follow --json",
    ] {
        let parsed = Cli::try_parse_from(format!("posthouse {line}").split(' '));
        assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("an error"));
    }
}

#[test]
fn commands_that_make_no_sense_are_refused_before_anything_is_asked() {
    for line in [
        "",
        "queue",
        "queue create 1a",
        "queue create orders --dead-letter dead",
        "queue create orders --dead-after 300",
        "queue create orders --dead-letter d --dead-after 300 --dead-after-receives 5",
        "queue seal orders",
        "queue send orders",
        "queue send orders body --file x",
        "queue remove orders",
        "queue rewind orders",
        "queue rewind orders --to 1 --ago 1",
        "queue copy orders",
        "queue copy orders --into scratch --since 1 --ago 1",
        "sub create news mail",
        "sub create news mail --endpoint http://a --queue b",
        "plugin bind p --queue a --topic b",
        "plugin remove p",
        "plugin push p p.wasm --digest sha256:00112233",
        "plugin push p p.wasm --digest md5:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "plugin record --queue a --world filter --end --into cases",
        "plugin record --queue a --world filter --seconds 86401",
        "plugin redrive p --queue a --topic b",
        "plugin redrive p --subscription c",
        "plugin redrive p --rate 0",
        "plugin bind p --queue a --subscription c",
        "plugin quarantine --queue a --world filter",
        "explain x",
        "status --url nowhere",
    ] {
        let parsed = Cli::try_parse_from(format!("posthouse {line}").trim_end().split(' '));
        assert!(parsed.is_err(), "{line}");
    }
}

/// Does a command against the fake, signed by the root key.
async fn run(line: &str) -> Result<Output, CliError> {
    run_as("root", line).await
}

async fn run_as(id: &'static str, line: &str) -> Result<Output, CliError> {
    let url = fake::serve(wall_seconds).await;
    let line = format!("posthouse {line} --url {url}");
    let cli = Cli::try_parse_from(line.split(' ')).expect("a good command line");
    let Command::Client(command) = cli.command else {
        panic!("{line} speaks to no node")
    };
    command.perform(&|_| Some(id.to_owned())).await
}

fn wall_seconds() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs())
}

/// Returns what the fake says was reached.
async fn reached(line: &str) -> String {
    match run(line).await {
        Err(CliError::Refused(error)) => error.message,
        other => panic!("{line}: {other:?}"),
    }
}

#[tokio::test]
async fn commands_ask_for_what_they_say() {
    for (line, expected) in [
        ("queue show orders", "queue for platform orders"),
        (
            "queue delete orders --tenant shop",
            "delete_queue for shop orders",
        ),
        (
            "queue rewind orders --to 5",
            "rewind_queue for platform orders RewindRequest { to_ms: 5000 }",
        ),
        (
            "topic publish news x --tag a",
            "publish_messages for platform news",
        ),
        ("sub show news mail", "subscription for platform news mail"),
        (
            "tenant key remove shop AKID/x?y",
            "remove_access_key for shop AKID/x?y",
        ),
        ("key enable main", "set_master_key for platform main Enabled"),
        ("plugin rollback p", "roll_back_plugin for platform p"),
        ("plugin remove p 7", "remove_plugin_version for platform p 7"),
        ("plugin unbind --topic t --world seal", "unbind for platform"),
        (
            "plugin logs p --lines 5",
            "plugin_logs for platform p LogQuery { limit: 5 }",
        ),
        (
            "cluster move --set 3 --from 1 --to 4",
            "move_set for platform 3 SetMove { from: 1, to: 4 }",
        ),
        ("cluster drain 2", "drain_node for platform 2"),
        ("cluster remove 2", "remove_node for platform 2"),
        ("explain 42", "explain for platform 42"),
        ("status", "status for platform"),
    ] {
        let message = reached(line).await;
        assert!(message.starts_with(expected), "{line}: {message}");
    }
}

#[tokio::test]
async fn listings_are_fetched_page_by_page() {
    let url = fake::serve(wall_seconds).await;
    let line = [
        "posthouse",
        "queue",
        "list",
        "--search",
        "two pages",
        "--url",
        url.as_str(),
    ];
    let cli = Cli::try_parse_from(line).expect("a good command line");
    let Command::Client(command) = cli.command else {
        panic!("a client command")
    };
    let output = command.perform(&|_| Some("root".to_owned())).await.expect("done");
    let names: Vec<&str> = output
        .text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["NAME", "first", "second"]);
}

#[tokio::test]
async fn answers_are_for_people_or_for_machines() {
    let output = run("queue send orders a b").await.expect("done");
    assert_eq!(output.text, format!("{}\n{}\n", u64::MAX, u64::MAX - 1));
    let output = run("queue send orders a --json").await.expect("done");
    let json: serde_json::Value = serde_json::from_str(&output.text).expect("JSON");
    assert_eq!(json["message_ids"][0], u64::MAX.to_string());
    let output = run("queue receive orders").await.expect("done");
    assert!(output.text.contains("2 bytes, base64 /wA="), "{}", output.text);
}

#[tokio::test]
async fn a_delete_that_failed_in_part_is_printed_and_is_no_success() {
    let output = run("queue remove orders 2").await.expect("done");
    assert!(output.complete);
    let output = run("queue remove orders 2 3").await.expect("answered");
    assert!(!output.complete);
    assert!(output.text.contains("not valid"), "{}", output.text);
}

#[tokio::test]
async fn a_component_is_pushed_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("filter.wasm");
    let component = vec![7; 200_000];
    std::fs::write(&path, &component).expect("written");
    let output = run(&format!("plugin push p {} --world filter --json", path.display()))
        .await
        .expect("done");
    let json: serde_json::Value = serde_json::from_str(&output.text).expect("JSON");
    assert_eq!(json["version"], component.len());
    let digest = crate::admin::auth::ContentDigest::of(&component).to_string();
    assert_eq!(json["digest"], digest);
    // It says again what was printed; of another component nothing is pushed.
    let named = |digest: &str| {
        format!(
            "plugin push p {} --world filter --digest {digest}",
            path.display()
        )
    };
    run(&named(&digest)).await.expect("it is the one that is named");
    run(&named(&format!("sha256:{digest}")))
        .await
        .expect("it is the one that is named");
    let other = crate::admin::auth::ContentDigest::of(b"another").to_string();
    let refused = run(&named(&other))
        .await
        .expect_err("it is another one")
        .to_string();
    assert!(refused.contains(&digest) && refused.contains(&other), "{refused}");
}

#[tokio::test]
async fn refusals_and_unreachable_nodes_have_different_statuses() {
    let refused = run("queue show orders").await.expect_err("refused");
    assert_eq!(refused.exit_status(), 1);
    let unknown = run_as("nobody", "queue show orders").await.expect_err("refused");
    assert_eq!(unknown.exit_status(), 1);

    // Bound and let go: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let line = format!("posthouse status --url http://{address}");
    let cli = Cli::try_parse_from(line.split(' ')).expect("a good command line");
    let Command::Client(command) = cli.command else {
        panic!("a client command")
    };
    let error = command
        .perform(&|_| Some("root".to_owned()))
        .await
        .expect_err("nobody is there");
    assert_eq!(error.exit_status(), 2);
    assert!(error.to_string().contains("POSTHOUSE_URL"), "{error}");
}

#[tokio::test]
async fn a_change_that_breaks_off_may_have_been_done_and_a_question_is_only_unanswered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    // It takes what is asked, and goes away.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0]).await;
        }
    });
    let ask = async |line: &str| {
        let line = format!("posthouse {line} --url http://{address}");
        let cli = Cli::try_parse_from(line.split(' ')).expect("a good command line");
        let Command::Client(command) = cli.command else {
            panic!("a client command")
        };
        let asked = command.perform(&|_| Some("root".to_owned())).await;
        asked.expect_err("it goes away")
    };
    for change in [
        "queue send q x",
        "queue create q",
        "queue receive q",
        "queue delete q",
    ] {
        let error = ask(change).await;
        assert!(
            error.exit_status() == 1 && error.to_string().contains("may have been done"),
            "{change}: {error}"
        );
    }
    let error = ask("status").await;
    assert!(
        error.exit_status() == 2 && !error.to_string().contains("may have been done"),
        "{error}"
    );
}

#[tokio::test]
async fn the_development_key_is_for_this_machine_only() {
    let try_with = async |url: &str, environment: &dyn Fn(&str) -> Option<String>| {
        let cli = Cli::try_parse_from(["posthouse", "status", "--url", url]).expect("a good command line");
        let Command::Client(command) = cli.command else {
            panic!("a client command")
        };
        command
            .perform(environment)
            .await
            .expect_err("there is nothing to be told")
    };
    let nothing = |_: &str| None;
    let half = |variable: &str| (variable == client::ID_VARIABLE).then(|| "AKIDx".to_owned());
    let error = try_with("http://broker.example.com", &nothing).await;
    assert!(
        matches!(&error, CliError::Usage(text) if text.contains(client::SECRET_VARIABLE)),
        "{error:?}"
    );
    let error = try_with("http://127.0.0.1:1", &half).await;
    assert!(matches!(error, CliError::Usage(_)), "{error:?}");
    // The fake does not know the development key: that it says so shows that the key was sent.
    let url = fake::serve(wall_seconds).await;
    let error = try_with(url.as_str(), &nothing).await;
    assert!(
        matches!(&error, CliError::Refused(error) if error.message.contains("unknown")),
        "{error:?}"
    );
}
