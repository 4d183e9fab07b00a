//! The loss proof in its short form, and a check that it can fail.

use crate::program::{Ended, offhook};

/// A few seconds in which every fault happens at least once.
const SHORT: &[&str] = &[
    "prove",
    "--seconds=8",
    "--subscribers=24",
    "--publishers=4",
    "--processes=2",
    "--rate=20",
];

/// The number before or after these words in the report.
fn number(ended: &Ended, before: &str, behind: &str) -> u64 {
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    let text = words.join(" ");
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before:?} in {text}"));
    let (number, _) = rest
        .split_once(behind)
        .unwrap_or_else(|| panic!("{behind:?} in {rest}"));
    let number = number.rsplit([' ', '(']).next().unwrap_or_default();
    let number = number.replace(',', "").parse();
    number.unwrap_or_else(|_| panic!("a number between {before:?} and {behind:?} in {text}"))
}

#[test]
fn nothing_is_lost_repeated_or_reordered_over_any_transport_and_changes_between_them() {
    for transport in ["sse", "poll", "webtransport", "mixed"] {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().to_str().expect("UTF-8");
        let args = ["--place", path, "--transport", transport];
        let ended = offhook(SHORT).args(&args).run();
        let said = format!("{transport}: {}{}", ended.stderr, ended.stdout);
        assert_eq!(ended.code, Some(0), "{said}");
        assert!(number(&ended, "", " published") > 0, "{said}");
        assert!(number(&ended, "recovered ", " connections by token") > 0);
    }
}

#[test]
fn nothing_is_lost_repeated_or_reordered_under_any_fault() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().to_str().expect("UTF-8");
    let ended = offhook(SHORT).args(&["--place", path]).run();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, ended.stdout);
    for name in [
        " lost",
        " duplicated",
        " reordered",
        " missing",
        " diverged",
    ] {
        assert_eq!(number(&ended, "", name), 0);
    }
    assert!(number(&ended, "", " published") > 0);
    assert!(number(&ended, "recognised by their keys ", " delivered") > 0);
    assert_eq!(
        number(
            &ended,
            "by restored backups, and announced by a gap ",
            " channels with wrong members"
        ),
        0
    );
    assert_eq!(number(&ended, "memory ", " bytes held"), 0);
    // Everything was broken, and both ways back were needed.
    for (before, behind) in [
        ("the server killed ", " times"),
        ("times (", " with its key deleted"),
        ("times, frozen ", " times"),
        ("restored ", " times"),
        ("times from ", " backups"),
        ("stopped ", " times"),
        ("backups; ", " connections cut"),
        ("connections cut, ", " frozen"),
        ("processes frozen ", " times"),
        ("the clock stepped ", " times"),
        ("times, ", " fsyncs failed"),
        ("recovered ", " connections by token"),
        ("by token, ", " by position"),
    ] {
        assert!(
            number(&ended, before, behind) > 0,
            "{before}{behind}: {}",
            ended.stdout
        );
    }
    assert_eq!(
        place.path().read_dir().expect("readable").count(),
        0,
        "something is left"
    );
}

#[test]
fn nothing_is_lost_repeated_or_reordered_by_clients_of_other_dialects() {
    for dialect in [
        &["socketio"][..],
        &["mqtt", "--qos=1"],
        &["mqtt", "--qos=2"],
    ] {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().to_str().expect("UTF-8");
        let ended = offhook(SHORT)
            .args(&["--place", path, "--dialect"])
            .args(dialect)
            .run();
        let said = format!("{dialect:?}: {}{}", ended.stderr, ended.stdout);
        assert_eq!(ended.code, Some(0), "{said}");
        assert!(number(&ended, "", " published") > 0, "{said}");
        for (before, behind) in [
            ("the server killed ", " times"),
            ("stopped ", " times"),
            ("connections cut, ", " frozen"),
            ("recovered ", " connections by token"),
        ] {
            assert!(number(&ended, before, behind) > 0, "{said}");
        }
    }
}

#[test]
fn a_server_that_loses_messages_is_detected() {
    let program = offhook(SHORT).file("forgetful.toml", "in_memory = true\n");
    let program = program.args(&["--config", "forgetful.toml", "--place", "."]);
    let ended = program.run();
    assert_eq!(ended.code, Some(1), "{}{}", ended.stderr, ended.stdout);
    assert!(
        ended.stderr.contains("the guarantee was violated"),
        "{}",
        ended.stderr
    );
    assert!(number(&ended, "", " lost") + number(&ended, "", " missing") > 0);
}

#[test]
fn invalid_arguments_are_reported_before_anything_starts() {
    let ended = offhook(&["prove", "--subscribers=0"]).run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("subscribers: at least one"),
        "{}",
        ended.stderr
    );
    let ended = offhook(&["prove", "--dialect=mqtt", "--qos=0"]).run();
    assert_eq!(ended.code, Some(2));
    let why = "qos: 0; only QoS 1 and 2 lose nothing";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}
