use super::*;

#[test]
fn the_error_for_a_wrong_type_has_file_line_column_and_the_expected_type() {
    let text = "talk = true\n[limits]\n  subscriptions = \"lots\"\n";
    let expected = "offhook.toml:3:19: limits.subscriptions: expected a whole number, at least 1, \
                    found \"lots\"\n  3 |   subscriptions = \"lots\"\n    |                   ^^^^^^";
    assert_eq!(file(text).wrong(), expected);
}

#[test]
fn the_error_for_an_unknown_key_suggests_the_right_one() {
    let cases = [
        (
            "worker = 2",
            "there is no setting worker; did you mean workers?",
        ),
        (
            "inMemory = true",
            "there is no setting inMemory; did you mean in_memory?",
        ),
        (
            "[keepalives]",
            "there is no setting keepalives; did you mean keepalive?",
        ),
        (
            "[keepalive]\nintervall = \"3s\"",
            "keepalive.intervall; did you mean keepalive.interval?",
        ),
        (
            "[keepalive]\nmax_bytes = 3",
            "keepalive.max_bytes; did you mean messages.max_bytes?",
        ),
        (
            "max_bytes = 3",
            "there is no setting max_bytes; did you mean messages.max_bytes?",
        ),
        (
            "keepalive-interval = 3",
            "keepalive-interval; did you mean keepalive.interval?",
        ),
        (
            "colour = 3",
            "there is no setting colour; `offhook config --example` shows all",
        ),
        (
            "[log]\ncolour = 3",
            "there is no setting log.colour; log has level, format",
        ),
    ];
    for (text, expected) in cases {
        let wrong = file(text).wrong();
        assert!(wrong.contains(expected), "{wrong}");
    }
}

#[test]
fn all_errors_are_reported_together_in_the_order_of_the_text() {
    let wrong = file("drain = 10\nlisten = [\":x\", \"8000\", true]\n[tls]\ncert = \"a.pem\"")
        .variable("OFFHOOK_WORKERS", "none")
        .variable("OFFHOOK_LISTN", "1")
        .flag("talk", "maybe")
        .wrong();
    let starts: Vec<&str> = wrong
        .lines()
        .filter(|line| !line.starts_with(' '))
        .collect();
    let expected = [
        "offhook.toml:1:9: drain: a time needs a unit: \"10s\" for seconds",
        "offhook.toml:2:11: listen: expected an address",
        "offhook.toml:2:25: listen: expected an address",
        "offhook.toml:4:8: tls.key is missing beside tls.cert: TLS needs both files",
        "OFFHOOK_LISTN: there is no such variable; did you mean OFFHOOK_LISTEN?",
        "OFFHOOK_WORKERS: workers: expected a whole number, at least 1, or \"auto\"",
        "--talk: talk: expected true or false, found \"maybe\"",
    ];
    assert_eq!(starts.len(), expected.len(), "{wrong}");
    for (start, expected) in starts.iter().zip(expected) {
        assert!(start.starts_with(expected), "{start}");
    }
}

#[test]
fn a_value_is_checked_even_if_another_source_overrides_it() {
    let wrong = file("workers = 0").flag("workers", "2").wrong();
    assert!(
        wrong.starts_with("offhook.toml:1:11: workers: expected a whole number"),
        "{wrong}"
    );
}

#[test]
fn invalid_toml_is_reported_with_every_position() {
    let wrong = file("workers = \ntalk = tru\nlisten = \"8000\"\n").wrong();
    let places: Vec<&str> = wrong
        .lines()
        .filter_map(|line| line.split(": not TOML").next())
        .collect();
    assert!(
        places
            .iter()
            .any(|place| place.starts_with("offhook.toml:1:")),
        "{wrong}"
    );
    assert!(
        places
            .iter()
            .any(|place| place.starts_with("offhook.toml:2:")),
        "{wrong}"
    );
}

#[test]
fn rules_without_effect_are_reported_by_number() {
    let cases = [
        (
            "channels = 3",
            "channels: expected a list: write [[channels]] above each rule",
        ),
        (
            "channels = [3]",
            "channels[0]: expected a table, found the number 3",
        ),
        (
            "[[channels]]\npresence = true",
            "channels[0]: pattern is missing",
        ),
        (
            "[[channels]]\npattern = \"a\"\npresense = true",
            "did you mean channels[0].presence?",
        ),
        (
            "[[channels]]\npattern = \"a\"\npublish = \"me\"",
            "expected \"everyone\", \"users\",",
        ),
        (
            "[[channels]]\npattern = \"a\"\nhistory.cont = 3",
            "did you mean channels[0].history.count?",
        ),
        (
            "[[channels]]\npattern = \"*\"\n[[channels]]\npattern = \"a\"",
            "channels[1].pattern: \"a\" is never reached",
        ),
        (
            "[[channels]]\npattern = \"room/*\"\nrooms.everyone = true",
            "channels[0].rooms.everyone: every client can only be in a room of a pattern without",
        ),
        (
            "[[channels]]\npattern = \"*/room/*\"\nrooms.join = \"join\"",
            "channels[0].rooms: the name of a room stands in the place of one \"*\"",
        ),
        (
            "[[channels]]\npattern = \"room/*\"\nrooms.events = [\"\"]",
            "expected an event's name of at most 200 bytes",
        ),
    ];
    for (text, expected) in cases {
        let wrong = file(text).wrong();
        assert!(wrong.contains(expected), "{wrong}");
    }
}

#[test]
fn contradicting_settings_are_reported() {
    let wrong = file("limits.data_bytes = \"1 MiB\"").wrong();
    assert!(wrong.contains("messages.max_bytes is too small"), "{wrong}");
    assert!(
        wrong.contains("messages.outbox_bytes has to hold"),
        "{wrong}"
    );
}

#[test]
fn errors_about_a_secret_or_its_neighbours_do_not_show_it() {
    let secret = "0707070707070707070707070707070707070707070707";
    let cases = [
        format!("resume = {{ key = \"{secret}\", expiri = \"1d\" }}"),
        format!("resume.key = \"{secret}"),
    ];
    for text in cases {
        let wrong = file(&text).variable("OFFHOOK_RESUME_KEY", secret).wrong();
        assert!(!wrong.contains("0707"), "{wrong}");
        assert!(
            wrong.contains("OFFHOOK_RESUME_KEY: resume.key: expected 32 random bytes"),
            "{wrong}"
        );
    }
}

#[test]
fn a_path_that_is_in_use_is_refused() {
    for path in [
        "/",
        "/talk/",
        "/dashboard/",
        "/docs/",
        "/healthz",
        "ws",
        "/a b",
        "/a?b",
    ] {
        let wrong = file(&format!("ws_path = \"{path}\"")).wrong();
        assert!(wrong.contains("ws_path"), "{path}: {wrong}");
    }
}

#[test]
fn a_named_file_that_does_not_exist_is_an_error() {
    let mut given = file("");
    given.sources.file = Some(given.directory.path().join("other.toml"));
    let wrong = given.wrong();
    assert!(
        wrong.starts_with("other.toml: the configuration file cannot be read:"),
        "{wrong}"
    );
}

#[test]
fn special_words_are_not_allowed_in_a_list_of_origins() {
    let wrong = file("origins = [\"any\", \"https://a.example/path\", \"*\"]").wrong();
    assert!(
        wrong.contains("this word must not be in a list of origins"),
        "{wrong}"
    );
    assert!(
        wrong.contains("\"https://a.example/path\" is not an origin"),
        "{wrong}"
    );
    assert!(wrong.contains("\"*\" is not an origin"), "{wrong}");
}

#[test]
fn a_backend_requires_a_secret_and_https_and_rules_that_ask_it_require_a_backend() {
    let secret = "secrets = [\"a secret of at least twenty-four bytes\"]";
    let cases = [
        (
            "[backend]\nurl = \"https://app.example.com/hook\"".to_owned(),
            "backend.secrets is missing beside backend.url",
        ),
        (
            format!("[backend]\nurl = \"http://app.example.com/hook\"\n{secret}"),
            "set backend.plain_http if the network is yours",
        ),
        (
            "[backend]\nsecrets = [\"too short\"]".to_owned(),
            "the secret has 9 bytes; at least 24 are needed",
        ),
        (
            "[backend]\nurl = \"https://user:pass@app.example.com/\"".to_owned(),
            "without a user",
        ),
        (
            "[backend]\ncalls = \"users\"".to_owned(),
            "backend.calls: backend.url is missing",
        ),
        (
            "[backend]\nconnect = true".to_owned(),
            "backend.connect: backend.url is missing",
        ),
        (
            "[[channels]]\npattern = \"*\"\npublish = \"backend\"".to_owned(),
            "channels[0].publish: backend.url is missing",
        ),
        (
            "[[channels]]\npattern = \"*\"\nnotify = true".to_owned(),
            "channels[0].notify: backend.url is missing",
        ),
    ];
    for (text, expected) in cases {
        let wrong = file(&text).wrong();
        assert!(wrong.contains(expected), "{wrong}");
    }
    let good = format!("[backend]\nurl = \"http://127.0.0.1:3000/hook\"\n{secret}");
    assert!(file(&good).good().config.backend.url.is_some());
}

#[test]
fn windows_that_http_2_cannot_have_are_refused() {
    let together = file("[http2]\nstreams = 100000").wrong();
    assert!(together.contains("6553500000 bytes"), "{together}");
    assert!(together.contains("2147483647 (RFC 9113)"), "{together}");
    let none = file("[http2]\nwindow = 0").wrong();
    assert!(none.contains("http2.window is 0"), "{none}");
}

#[test]
fn errors_about_a_listener_name_the_word_that_is_wrong() {
    for (listener, expected) in [
        (
            ":1 fast",
            "there is no word \"fast\"; the words are tls, plain",
        ),
        (":1 mode=660", "mode= is for Unix sockets"),
        ("unix:/a mode=999", "expected permissions in octal"),
        ("unix:/a mode=7777", "expected permissions in octal"),
        ("unix:/a tls", "TLS is not offered on Unix sockets"),
        (
            ":1 client-certs=maybe",
            "expected none, optional or required",
        ),
        ("unix:", "expected an address"),
        ("systemd:", "expected an address"),
        ("", "expected an address"),
        (
            ":1 tls",
            "there is no certificate; set tls.cert and tls.key",
        ),
        (
            ":1 client-certs=required",
            "client-certs= needs TLS at this listener",
        ),
    ] {
        let wrong = file(&format!("listen = \"{listener}\"")).wrong();
        assert!(wrong.contains(expected), "{listener}: {wrong}");
    }
    let tls = "[tls]\ncert = \"a\"\nkey = \"b\"\n";
    for (text, expected) in [
        ("client_certs = \"required\"", "set tls.client_ca"),
        (
            "client_ca = \"ca.pem\"",
            "no listener asks for certificates",
        ),
        (
            "[mqtt]\ntls_listen = \":1 plain\"",
            "this setting is for TLS; use the one without tls_",
        ),
    ] {
        let wrong = file(&format!("{tls}{text}")).wrong();
        assert!(wrong.contains(expected), "{text}: {wrong}");
    }
}
