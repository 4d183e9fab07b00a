use super::*;

#[test]
fn without_any_source_the_defaults_apply() {
    let loaded = file("").good();
    assert_eq!(loaded.config.listen, [([127, 0, 0, 1], 8000).into()]);
    assert_eq!(loaded.place("listen"), Place::Default);
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let text = "workers = 1\ndrain = \"1s\"\ntalk = false";
    let loaded = file(text)
        .variable("OFFHOOK_WORKERS", "2")
        .variable("OFFHOOK_DRAIN", "2s")
        .flag("workers", "3")
        .good();
    assert_eq!(loaded.config.workers.get(), 3);
    assert_eq!(loaded.place("workers").to_string(), "--workers");
    assert_eq!(loaded.config.drain.as_secs(), 2);
    assert_eq!(loaded.place("drain").to_string(), "OFFHOOK_DRAIN");
    assert!(!loaded.config.talk);
    assert!(
        loaded
            .place("talk")
            .to_string()
            .ends_with("offhook.toml:3:8")
    );
}

#[test]
fn every_setting_can_be_given_its_default_in_all_three_ways() {
    for setting in settings().into_iter().filter(|setting| !setting.is_rules) {
        let default = setting.default.clone().expect("a default");
        let bare = default.trim_matches('"');
        let (table, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        let header = if table.is_empty() {
            String::new()
        } else {
            format!("[{table}]\n")
        };
        let loaded = file(&format!("{header}{name} = {default}"))
            .variable(&setting.variable(), bare)
            .flag(&setting.key, bare)
            .good();
        let again = loaded.effective();
        let flag = format!("# --{}\n", setting.flag());
        assert_eq!(
            again.matches(&flag).count(),
            1,
            "{} in\n{again}",
            setting.key
        );
    }
}

#[test]
fn every_setting_has_a_variable_and_a_flag_of_its_own() {
    let mut variables: Vec<String> = settings().iter().map(Setting::variable).collect();
    let mut flags: Vec<String> = settings().iter().map(Setting::flag).collect();
    let count = variables.len();
    variables.sort();
    variables.dedup();
    flags.sort();
    flags.dedup();
    assert_eq!((variables.len(), flags.len()), (count, count));
}

#[test]
fn the_file_may_be_named_by_a_variable_or_the_caller() {
    let given = file("");
    let (first, second) = (
        given.directory.path().join("1"),
        given.directory.path().join("2"),
    );
    fs::write(&first, "talk = false").expect("written");
    fs::write(&second, "in_memory = true").expect("written");
    let mut given = given.variable("OFFHOOK_CONFIG", first.to_str().expect("UTF-8"));
    let loaded = load(&given.sources).expect("good");
    assert_eq!(
        (loaded.config.talk, loaded.config.in_memory),
        (false, false)
    );
    given.sources.file = Some(second);
    let loaded = given.good();
    assert_eq!((loaded.config.talk, loaded.config.in_memory), (true, true));
}

#[test]
fn a_path_in_the_file_is_relative_to_the_file_and_others_to_the_working_directory() {
    let given = file("data = \"here\"\n[tls]\ncert = \"/etc/cert.pem\"\nkey = \"key.pem\"");
    let directory = given.directory.path().to_owned();
    let loaded = given.good();
    let tls = loaded.config.tls.expect("given");
    assert_eq!(loaded.config.data, directory.join("here"));
    assert_eq!(tls.cert, PathBuf::from("/etc/cert.pem"));
    assert_eq!(tls.key, directory.join("key.pem"));
    assert_eq!(
        file("").flag("data", "here").good().config.data,
        PathBuf::from("here")
    );
}

#[test]
fn addresses_are_read_in_every_spelling() {
    let loaded = file("listen = [\"8000\", \":9000\", \"localhost:1\", \"[::1]:2\", 3]").good();
    let written: Vec<String> = loaded
        .config
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "127.0.0.1:8000",
        "0.0.0.0:9000",
        "127.0.0.1:1",
        "[::1]:2",
        "127.0.0.1:3",
    ];
    assert_eq!(written, expected);
    let one = file("listen = \":9000\"").good();
    assert_eq!(one.config.listen, [([0, 0, 0, 0], 9000).into()]);
}

#[test]
fn a_listener_has_settings_of_its_own_in_the_words_after_its_place() {
    let given = file(
        "listen = [\":8000 plain\", \"unix:run/a.sock  trusted mode=0600\", \
         \"systemd:web proxy-protocol\"]\n[admin]\nlisten = \"unix:/run/admin.sock\"",
    );
    let directory = given.directory.path().display().to_string();
    let loaded = given.good();
    let written: Vec<String> = loaded
        .config
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let relative = format!("unix:{directory}/run/a.sock trusted mode=600");
    let expected = [
        "0.0.0.0:8000 plain",
        &relative,
        "systemd:web proxy-protocol",
    ];
    assert_eq!(written, expected);
    let proxied = &loaded.config.listen[2];
    assert!(proxied.trusted && proxied.proxy_protocol);
    let admin = loaded.config.admin.listen[0].to_string();
    assert_eq!(admin, "unix:/run/admin.sock");
    // A flag is relative to the working directory.
    let loaded = file("").flag("listen", "unix:a.sock").good();
    assert_eq!(loaded.config.listen[0].to_string(), "unix:a.sock");
}

#[test]
fn whether_a_listener_uses_tls_depends_on_its_words_its_setting_and_its_kind() {
    let text = "listen = [\":1\", \":2 plain\", \"unix:/a\", \":3 tls client-certs=required\"]\n\
                [tls]\ncert = \"a\"\nkey = \"b\"\nclient_ca = \"c\"";
    let loaded = file(text).good();
    let listeners = loaded.config.listen.iter();
    let with_tls: Vec<bool> = listeners.map(|one| one.uses_tls(true)).collect();
    assert_eq!(with_tls, [true, false, false, true]);
    let asked = loaded.config.listen[3].client_certs;
    assert_eq!(asked, Some(ClientCerts::Required));
}

#[test]
fn a_list_in_a_variable_is_separated_by_commas_or_written_in_toml() {
    for list in ["8000, 9000", "[\"8000\", 9000]"] {
        let loaded = file("").variable("OFFHOOK_LISTEN", list).good();
        assert_eq!(loaded.config.listen.len(), 2, "{list}");
    }
}

#[test]
fn origins_are_a_word_or_a_list() {
    let origins = |value: &str| file(&format!("origins = {value}")).good().config.origins;
    assert!(matches!(origins("\"same\""), OriginPolicy::SameOrigin));
    assert!(matches!(origins("\"any\""), OriginPolicy::Any));
    let list = origins("[\"https://a.example\", \"http://localhost:3000\"]");
    assert!(matches!(list, OriginPolicy::AllowList(list) if list.len() == 2));
    assert!(matches!(
        origins("\"https://a.example\""),
        OriginPolicy::AllowList(_)
    ));
    let list = origins("[\"same\", \"https://*.a.example\", \"http://localhost:*\"]");
    assert!(list.allows_everywhere("https://b.a.example"));
    assert!(list.allows_everywhere("http://localhost:3000"));
    assert!(!list.allows_everywhere("https://a.example"));
}

#[test]
fn a_resume_key_is_32_bytes_in_hexadecimal_or_base64() {
    let spellings = [
        "0707070707070707070707070707070707070707070707070707070707070707",
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
    ];
    for key in spellings {
        let loaded = file("").variable("OFFHOOK_RESUME_KEY", key).good();
        assert_eq!(loaded.config.resume.key, Some(ResumeKey([7; 32])), "{key}");
    }
}

#[test]
fn rules_of_channels_replace_the_default_rule() {
    let text = "[[channels]]\npattern = \"ticker/*\"\npresence = false\nhistory.count = 0\n\
                [[channels]]\npattern = \"chat/*\"\nkey_window = \"2h\"";
    let loaded = file(text).good();
    let [ticker, chat] = loaded.config.channels.as_slice() else {
        panic!("{:?}", loaded.config.channels);
    };
    assert_eq!(
        (ticker.pattern.as_str(), ticker.rules.presence),
        ("ticker/*", false)
    );
    assert!(!ticker.rules.history.is_kept());
    assert!(chat.rules.presence && chat.rules.history.is_kept());
    assert_eq!(
        loaded.config.rule_book().longest_key_window().as_secs(),
        7200
    );
}

#[test]
fn rules_can_be_given_in_a_variable() {
    let rules = "[{ pattern = \"a\", history = { count = 1 } }, { pattern = \"*\" }]";
    let loaded = file("[[channels]]\npattern = \"b\"")
        .variable("OFFHOOK_CHANNELS", rules)
        .good();
    assert_eq!(loaded.config.channels.len(), 2);
    assert_eq!(loaded.config.channels[0].rules.history.count, 1);
    assert_eq!(loaded.place("channels").to_string(), "OFFHOOK_CHANNELS");
}

#[test]
fn empty_variables_and_those_of_kubernetes_and_of_other_commands_are_ignored() {
    let loaded = file("")
        .variable("OFFHOOK_LISTEN", "")
        .variable("OFFHOOK_PORT", "tcp://10.0.0.1:8000")
        .variable("OFFHOOK_SERVICE_HOST", "10.0.0.1")
        .variable("OFFHOOK_ADMIN_KEY", "ohk_1")
        .variable("OFFHOOK_TOKEN_SECRET", "of offhook token")
        .variable("OTHER_LISTEN", "1")
        .good();
    assert_eq!(loaded.place("listen"), Place::Default);
}

#[test]
fn pages_use_https_with_tls_or_behind_a_proxy_that_terminates_it() {
    assert_eq!(file("").good().config.scheme(), Scheme::Http);
    assert_eq!(
        file("behind_tls_proxy = true").good().config.scheme(),
        Scheme::Https
    );
    let tls = "tls = { cert = \"a\", key = \"b\" }";
    assert_eq!(file(tls).good().config.scheme(), Scheme::Https);
}

#[test]
fn a_channel_keeps_a_small_state_by_default_unless_it_has_no_history() {
    let rules = |text: &str| file(text).good().config.channels[0].rules.clone();
    let pattern = "[[channels]]\npattern = \"prices/*\"\n";
    let count = |more: &str| rules(&format!("{pattern}{more}")).state.count;
    assert_eq!(count(""), 100);
    assert_eq!(count("state = { count = 7 }"), 7);
    assert_eq!(count("state = { count = 0 }"), 0);
    assert_eq!(count("history = { count = 0 }"), 0);
    let both = "history = { count = 0 }\nstate = { count = 7 }";
    assert_eq!(count(both), 7);
}
