use crate::program::offhook;

#[test]
fn the_effective_settings_are_printed_as_toml_with_their_source() {
    let ended = offhook(&["config", "--workers", "3"])
        .file("offhook.toml", "[keepalive]\ninterval = \"45s\"\n")
        .env("OFFHOOK_LISTEN", "9000")
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<String> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        "# The effective configuration; read from offhook.toml.",
        "listen = [\"127.0.0.1:9000\"] # OFFHOOK_LISTEN",
        "workers = 3 # --workers",
        "interval = \"45s\" # offhook.toml:2",
        "talk = true # default",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}\n{}",
            ended.stdout
        );
    }
    assert_eq!(ended.stderr, "");
}

#[test]
fn all_invalid_settings_are_reported_together_and_exit_with_2() {
    let ended = offhook(&["config", "--drain", "soon"])
        .file("offhook.toml", "worker = 3\n")
        .env("OFFHOOK_LISTN", "1")
        .run();
    let expected = "\
error: 3 mistakes in the configuration
offhook.toml:1:1: there is no setting worker; did you mean workers?
  1 | worker = 3
    | ^^^^^^
OFFHOOK_LISTN: there is no such variable; did you mean OFFHOOK_LISTEN?
--drain: drain: expected a time like \"500ms\", \"30s\", \"5m\", \"1h 30m\" or \"7d\", found \"soon\"
";
    assert_eq!(ended.stderr, expected);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
}

#[test]
fn serve_reports_the_same_errors_and_does_not_start() {
    let ended = offhook(&["serve"])
        .file("offhook.toml", "worker = 3\n")
        .run();
    assert!(
        ended.stderr.contains("did you mean workers?"),
        "{}",
        ended.stderr
    );
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
}

#[test]
fn the_example_file_parses_to_the_defaults() {
    let example = offhook(&["config", "--example"]).run().stdout;
    let values = |stdout: &str| -> Vec<String> {
        let lines = stdout
            .lines()
            .skip(1)
            .filter_map(|line| line.split("  # ").next());
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    let read = offhook(&["config"]).file("offhook.toml", example).run();
    assert_eq!(read.code, Some(0), "{}", read.stderr);
    assert_eq!(
        values(&read.stdout),
        values(&offhook(&["config"]).run().stdout)
    );
}

#[test]
fn a_file_elsewhere_is_read_if_named() {
    let named = |program: crate::program::Program| program.file("other.toml", "talk = false").run();
    let by_flag = named(offhook(&["config", "--config", "other.toml"]));
    let by_variable = named(offhook(&["config"]).env("OFFHOOK_CONFIG", "other.toml"));
    assert!(
        by_flag.stdout.contains("# other.toml:1\n"),
        "{}",
        by_flag.stdout
    );
    assert_eq!(by_flag.stdout, by_variable.stdout);
}

#[test]
fn a_switch_is_a_flag_without_a_value_or_with_one() {
    let value = |flag: &str| {
        let stdout = offhook(&["config", flag]).run().stdout;
        let line = stdout.lines().find(|line| line.starts_with("in_memory"));
        line.map(|line| {
            line.split_whitespace()
                .nth(2)
                .unwrap_or_default()
                .to_owned()
        })
    };
    assert_eq!(value("--in-memory").as_deref(), Some("true"));
    assert_eq!(value("--in-memory=false").as_deref(), Some("false"));
}

#[test]
fn the_reference_matches_the_page_in_the_documentation() {
    let page = include_str!("../../../../docs/configuration.md");
    assert!(offhook(&["config", "--reference"]).run().stdout == page);
}
