//! Every key is read and explained, and all errors come at once.

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

fn root(variable: &str) -> Option<String> {
    match variable {
        ROOT_ID_VARIABLE => Some("AKIDroot".to_owned()),
        ROOT_KEY_VARIABLE => Some("0123456789abcdef".to_owned()),
        _ => None,
    }
}

fn dev() -> Flags {
    Flags {
        dev: true,
        ..Flags::default()
    }
}

/// Returns what is wrong, a line each.
fn errors(text: &str, flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    match Config::parse(text, flags, environment) {
        Ok(_) => Vec::new(),
        Err(ConfigErrors(errors)) => errors.iter().map(ConfigError::to_string).collect(),
    }
}

/// Returns whether some error names the key.
fn names(errors: &[String], key: &str) -> bool {
    errors.iter().any(|error| error.starts_with(&format!("{key}:")))
}

const EXAMPLE: &str = include_str!("../../posthouse.example.toml");

#[test]
fn the_example_can_be_used_and_names_every_key() {
    Config::parse(EXAMPLE, &Flags::default(), &root).expect("the example is good");
    let mut section = String::new();
    let mut named = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        }
        if let Some((key, _)) = line.split_once(" = ") {
            named.push(format!("{section}.{key}"));
        }
    }
    for key in KEYS {
        assert!(
            named.iter().any(|name| name == key),
            "{key} is not in the example"
        );
    }
}

#[test]
fn the_examples_numbers_are_what_holds_without_them() {
    let flags = Flags {
        data: Some("/var/lib/posthouse".into()),
        ..Flags::default()
    };
    let without = Config::parse("", &flags, &root).expect("good");
    let with = Config::parse(EXAMPLE, &Flags::default(), &root).expect("good");
    assert_eq!(with.node, without.node);
    assert_eq!(with.limits, without.limits);
    assert_eq!(with.storage, without.storage);
    assert_eq!(with.admin, without.admin);
    assert_eq!(with.logs, without.logs);
    assert_eq!(
        with.cmq,
        CmqConfig {
            accepted_hosts: with.cmq.accepted_hosts.clone(),
            ..without.cmq
        }
    );
    let allow_networks = with.push.allow_networks.clone();
    assert_eq!(
        with.push,
        PushConfig {
            allow_networks,
            ..without.push
        }
    );
    let (builtin_dir, cache_dir) = (with.plugins.builtin_dir.clone(), with.plugins.cache_dir.clone());
    assert_eq!(
        with.plugins,
        PluginsConfig {
            builtin_dir,
            cache_dir,
            ..without.plugins
        }
    );
}

#[test]
fn every_key_that_is_listed_is_read() {
    for key in KEYS {
        let (section, name) = key.split_once('.').expect("a section and a name");
        // No key takes a date, so each must be read for this to be noticed, and be refused by name.
        let text = format!("[{section}]\n{name} = 1979-05-27");
        let errors = errors(&text, &dev(), &nothing);
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with(&format!("{key}: is of type"))),
            "{errors:?}"
        );
    }
}

#[test]
fn all_errors_are_told_at_once_each_with_its_key_and_a_remedy() {
    let text = r#"
        typo = 1
        [node]
        sets = 129
        listen = "localhost"
        dta = "/tmp"
        [tls]
        certificate = "a.pem"
        [limits]
        idle_seconds = 599
        body_bytes_max = "3 MB"
        [storage]
        memtable_bytes_max = 16_777_216
        [push]
        allow_networks = ["10.0.0.0/33", 5]
        in_flight_max = 10
        [cmq]
        authentication = false
        [logs]
        format = "xml"
        level = "a=b=c"
    "#;
    let errors = errors(text, &Flags::default(), &nothing);
    for key in [
        "typo",
        "node.sets",
        "node.listen",
        "node.dta",
        "node.data",
        "tls.key",
        "limits.idle_seconds",
        "limits.body_bytes_max",
        "storage.cut_bytes",
        "push.allow_networks",
        "push.per_endpoint_in_flight_max",
        "cmq.anonymous_tenant",
        "logs.format",
        "logs.level",
    ] {
        assert!(names(&errors, key), "{key} is not in {errors:#?}");
    }
    assert_eq!(errors.len(), 15, "{errors:#?}");
    assert!(errors.contains(&"node.sets: is 129; give 1 to 128".to_owned()));
    assert!(errors.contains(&"node.dta: is no key; write node.data, or leave it out".to_owned()));
    assert!(errors.iter().all(|error| error.contains("; ")), "{errors:#?}");
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    let errors = errors("[node]\nwal_file_bytes = 67_108_864", &dev(), &nothing);
    let wanted = "node.wal_file_bytes: is no key; write storage.wal_file_bytes, or leave it out";
    assert_eq!(errors, [wanted]);
}

#[test]
fn development_needs_nothing_and_listens_on_loopback_only() {
    let config = Config::parse("", &dev(), &nothing).expect("good");
    assert_eq!(config.node.listen.to_string(), LISTEN_USUAL);
    let root = config.root.expect("a root account");
    assert_eq!((root.id.as_str(), root.secret.as_str()), (DEV_ID, DEV_SECRET));
    assert!(
        config
            .push
            .allow_networks
            .iter()
            .any(|network| network.contains([127, 0, 0, 1].into()))
    );

    let flags = Flags {
        listen: Some("[::1]:0".to_owned()),
        ..dev()
    };
    Config::parse("", &flags, &nothing).expect("the other loopback address is one too");
    let flags = Flags {
        listen: Some("0.0.0.0:7070".to_owned()),
        ..dev()
    };
    let errors = errors("", &flags, &nothing);
    assert!(
        errors[0].contains("not a loopback address") && names(&errors, "node.listen"),
        "{errors:?}"
    );
}

/// Returns the flags of the first node of three at addresses.
fn peers(address: &str) -> Flags {
    Flags {
        node: Some(1),
        peers: Some(format!("1={address}:7071,2={address}:7072,3={address}:7073")),
        data: Some("/tmp/x".into()),
        ..Flags::default()
    }
}

#[test]
fn peers_without_certificates_are_on_loopback_unless_told_otherwise() {
    for address in ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
        assert_eq!(
            errors("", &peers(address), &root),
            Vec::<String>::new(),
            "{address}"
        );
    }
    for address in ["10.0.0.1", "0.0.0.0", "[2001:db8::1]", "[::]"] {
        let flags = peers(address);
        let errors = errors("", &flags, &root);
        assert!(
            errors.len() == 1 && names(&errors, "cluster.peers") && errors[0].contains("cluster.allow_plain"),
            "{address}: {errors:?}"
        );
        for told in [
            "[cluster]\nallow_plain = true",
            "[cluster]\ncertificate = \"/c\"\nkey = \"/k\"\nca = \"/a\"",
        ] {
            let config = Config::parse(told, &flags, &root).expect(told);
            let cluster = config.cluster.expect("it has peers");
            assert_eq!(cluster.tls.is_some(), told.contains("certificate"));
        }
    }
}

#[test]
fn half_of_what_nodes_know_each_other_by_is_refused() {
    for keys in [
        "certificate",
        "key",
        "ca",
        "certificate key",
        "certificate ca",
        "key ca",
    ] {
        let keys = keys.split(' ').map(|key| format!("{key} = \"/p\"\n"));
        let text = format!("[cluster]\n{}", keys.collect::<String>());
        let errors = errors(&text, &peers("127.0.0.1"), &root);
        assert!(names(&errors, "cluster.certificate"), "{text}: {errors:?}");
    }
}

#[test]
fn the_development_account_is_not_made_elsewhere() {
    let flags = Flags {
        data: Some("/tmp/x".into()),
        ..Flags::default()
    };
    assert_eq!(Config::parse("", &flags, &nothing).expect("good").root, None);
    let config = Config::parse("", &flags, &root).expect("good");
    assert_eq!(config.root.map(|root| root.id), Some("AKIDroot".to_owned()));
}

#[test]
fn half_a_root_account_and_a_weak_one_are_refused() {
    let flags = Flags {
        data: Some("/tmp/x".into()),
        ..Flags::default()
    };
    let half = |variable: &str| (variable == ROOT_ID_VARIABLE).then(|| "AKIDroot".to_owned());
    assert!(names(&errors("", &flags, &half), ROOT_KEY_VARIABLE));
    let weak = |variable: &str| match variable {
        ROOT_ID_VARIABLE => Some("id,with=signs".to_owned()),
        ROOT_KEY_VARIABLE => Some("short".to_owned()),
        _ => None,
    };
    let errors = errors("", &flags, &weak);
    assert!(
        names(&errors, ROOT_ID_VARIABLE) && names(&errors, ROOT_KEY_VARIABLE),
        "{errors:?}"
    );
    assert!(
        !errors.iter().any(|error| error.contains("\"short\"")),
        "{errors:?}"
    );
}

#[test]
fn flags_win_over_the_file() {
    let flags = Flags {
        data: Some("/flag".into()),
        listen: Some("127.0.0.1:1".to_owned()),
        ..Flags::default()
    };
    let text = "[node]\ndata = \"/file\"\nlisten = \"127.0.0.1:2\"\nsets = 9";
    let node = Config::parse(text, &flags, &nothing).expect("good").node;
    assert_eq!(node.data, PathBuf::from("/flag"));
    assert_eq!(node.listen.port(), 1);
    assert_eq!(node.sets, 9);
}

#[test]
fn the_environments_log_filter_wins_and_is_checked() {
    let quiet = |variable: &str| (variable == LOG_VARIABLE).then(|| "warn".to_owned());
    let config = Config::parse("[logs]\nlevel = \"debug\"", &dev(), &quiet).expect("good");
    assert_eq!(config.logs.filter, "warn");
    let bad = |variable: &str| (variable == LOG_VARIABLE).then(|| "a=b=c".to_owned());
    assert!(names(&errors("", &dev(), &bad), LOG_VARIABLE));
}

#[test]
fn a_file_that_is_absent_or_no_toml_is_told_as_such() {
    let flags = Flags {
        config: Some("/nowhere/posthouse.toml".into()),
        ..dev()
    };
    let error = Config::load(&flags, &nothing)
        .expect_err("there is no such file")
        .to_string();
    assert!(
        error.contains("/nowhere/posthouse.toml") && error.contains("--config"),
        "{error}"
    );
    let errors = errors("[node\n", &dev(), &nothing);
    assert!(errors.len() == 1 && errors[0].contains("not TOML"), "{errors:?}");
}

#[test]
fn a_file_is_read_from_where_the_flag_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("posthouse.toml");
    std::fs::write(&path, "[node]\nlabel = \"seven\"").expect("written");
    let flags = Flags {
        config: Some(path),
        ..dev()
    };
    assert_eq!(Config::load(&flags, &nothing).expect("good").node.label, "seven");
}
