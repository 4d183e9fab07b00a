use super::*;

/// The lines without the origins, and without the path that depends on them.
fn values(page: &str) -> Vec<&str> {
    let lines = page.lines().skip(1);
    let values = lines.filter_map(|line| line.split("  # ").next());
    let values = values.filter(|line| !line.starts_with("data = "));
    values.map(str::trim_end).collect()
}

#[test]
fn the_effective_configuration_reads_back_to_itself() {
    let text = "listen = [\"8000\", \":9000\"]\n[keepalive]\ninterval = \"off\"\n\
                [[channels]]\npattern = \"a\\\"b/*\"\nhistory = { age = \"none\" }\n\
                [[channels]]\npattern = \"*\"\nslow = \"disconnect\"";
    let page = file(text).good().effective();
    let again = file(&page).good().effective();
    assert_eq!(values(&page), values(&again));
}

#[test]
fn the_effective_configuration_names_the_source_of_each_value() {
    let given = file("\n[log]\nlevel = \"debug\"").variable("OFFHOOK_TALK", "no");
    let directory = given.directory.path().display().to_string();
    let page = given
        .flag("drain", "3s")
        .good()
        .effective()
        .replace(&directory, "");
    let mut lines = page.lines();
    assert_eq!(
        lines.next(),
        Some("# The effective configuration; read from /offhook.toml.")
    );
    let line = |start: &str| {
        let line = page.lines().find(|line| line.starts_with(start));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(
        line("level").as_deref(),
        Some("level = \"debug\" # /offhook.toml:3")
    );
    assert_eq!(line("talk").as_deref(), Some("talk = false # OFFHOOK_TALK"));
    assert_eq!(line("drain").as_deref(), Some("drain = \"3s\" # --drain"));
    assert_eq!(
        line("workers").map(|line| line.ends_with("# default")),
        Some(true)
    );
}

#[test]
fn secrets_are_not_shown() {
    let key = "07".repeat(32);
    let loaded = file("").variable("OFFHOOK_RESUME_KEY", &key).good();
    let page = loaded.effective();
    assert!(page.contains("# key = (not shown)"), "{page}");
    assert!(!page.contains("0707") && !format!("{loaded:?}").contains("7, 7"));
}

#[test]
fn the_example_and_its_comments_show_the_defaults() {
    let page = |text: &str| file(text).good().effective();
    let example = example();
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(uncommented, example);
    assert_eq!(values(&page(&example)), values(&page("")));
    assert_eq!(values(&page(&uncommented)), values(&page("")));
}

#[test]
fn the_reference_page_is_generated_from_the_definition() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/configuration.md is not up to date; \
         cargo run -- config --reference > docs/configuration.md"
    );
}

#[test]
fn every_setting_has_a_description_and_a_reason_for_its_default() {
    for setting in settings() {
        let Setting {
            key, about, reason, ..
        } = &setting;
        assert!(
            about.ends_with('.') && reason.ends_with('.'),
            "{key}: {about} / {reason}"
        );
    }
}

#[test]
fn every_limit_of_the_engine_is_a_setting_or_follows_from_one() {
    let names = |shown: &str| -> Vec<String> {
        let fields = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(':'));
        let names = fields.map(|(name, _)| name.to_owned());
        names.filter(|name| !name.starts_with(' ')).collect()
    };
    let settings: Vec<String> = settings().into_iter().map(|setting| setting.key).collect();
    for name in names(&format!("{:#?}", Limits::default())) {
        let is_setting = settings.contains(&format!("limits.{name}"));
        assert_eq!(
            is_setting,
            !matches!(
                &*name,
                "connections" | "outbox_bytes" | "leave_at_once" | "rules_at_once"
            ),
            "{name}"
        );
    }
    let rules = format!("{:#?}", ChannelRules::default());
    let example = example();
    // History and state are tables of their own, and backends cannot be configured yet.
    let own = |name: &String| !matches!(&**name, "history" | "state" | "ask");
    for name in names(&rules).into_iter().filter(own) {
        assert!(example.contains(&format!("#{name} = ")), "{name}");
    }
}
