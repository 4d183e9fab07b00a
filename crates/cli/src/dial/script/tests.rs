use proptest::prelude::*;

use super::pattern::{contains, matches};
use super::step::{Expected, Step, parse};

#[test]
fn a_script_has_one_step_per_line() {
    let text = "# hello\n\nsend hi there\nexpect-json {\"type\":\"welcome\"}\n  await-match *done*\n\
                expect-close 1000\nclose 4001 bye bye\nsend-hex 01 ff\n";
    let steps: Vec<Step> = parse(text)
        .expect("a script")
        .into_iter()
        .map(|(_, step)| step)
        .collect();
    let expected = [
        Step::Send("hi there".to_owned()),
        Step::Expect(Expected::Json(serde_json::json!({ "type": "welcome" }))),
        Step::Await(Expected::Pattern("*done*".to_owned())),
        Step::ExpectClose(Some(1000)),
        Step::Close(4001, "bye bye".to_owned()),
        Step::SendHex(vec![1, 0xff]),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn an_invalid_step_is_reported_with_its_line() {
    for (text, line) in [
        ("send a\nsned b", 2),
        ("expect-json {", 1),
        ("\nclose soon", 2),
        ("expect-x", 1),
    ] {
        assert_eq!(parse(text).expect_err("no script").0, line, "{text}");
    }
}

#[test]
fn a_star_matches_any_text() {
    for (pattern, text, is_it) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "ac", true),
        ("ab*bc", "abc", false),
        ("*b*", "abc", true),
        ("*b*b*", "abc", false),
        ("", "", true),
        ("**", "x", true),
    ] {
        assert_eq!(matches(pattern, text), is_it, "{pattern} {text}");
    }
}

#[test]
fn objects_match_with_extra_members_and_lists_only_exactly() {
    let value = serde_json::json!({ "a": 1, "b": [{ "c": 2, "d": 3 }] });
    assert!(contains(&value, &serde_json::json!({ "b": [{ "c": 2 }] })));
    assert!(!contains(&value, &serde_json::json!({ "b": [] })));
    assert!(!contains(&value, &serde_json::json!({ "a": 2 })));
}

proptest! {
    #[test]
    fn any_text_is_a_script_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_pattern_matches_text_generated_from_it(parts in prop::collection::vec("[ab]{0,3}", 1..5), fill in "[abc]{0,4}") {
        prop_assert!(matches(&parts.join("*"), &parts.join(&fill)));
    }
}
