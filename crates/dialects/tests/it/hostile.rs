//! Whatever arrives, the result is an error that says what is wrong and where, never a panic, and
//! never more memory than the message itself justifies.

use offhook_dialects::{
    json::MAX_NESTING,
    native::{MAX_POSITIONS, decode},
};
use offhook_engine::{CommandId, ErrorCode, Refusal};
use proptest::prelude::*;

fn refused(text: &str) -> Refusal {
    decode(text).unwrap_err().refusal
}

#[test]
fn an_error_names_the_field_or_the_column() {
    for (text, words) in [
        ("", "one JSON object"),
        ("[1,2]", "one JSON object"),
        (r#"{"type":"ping","id":1"#, "column 21"),
        (r#"{"type":"ping"}"#, "id: a whole number"),
        (r#"{"id":1}"#, "missing field `type`"),
        (r#"{"type":7,"id":1}"#, "invalid type: integer `7`"),
        (r#"{"type":"ping","id":-1}"#, "invalid value: integer `-1`"),
        (
            r#"{"type":"ping","id":9007199254740992}"#,
            "id: a whole number",
        ),
        (
            r#"{"type":"shout","id":1}"#,
            "\"shout\" is unknown; there are connect",
        ),
        (r#"{"type":"subscribe","id":1}"#, "channel: is missing"),
        (
            r#"{"type":"subscribe","id":1,"channel":""}"#,
            "channel: a channel's name is empty",
        ),
        (
            r#"{"type":"subscribe","id":1,"channel":"a","since":7}"#,
            "since: \"now\", \"start\"",
        ),
        (
            r#"{"type":"subscribe","id":1,"channel":"a","since":"+1.-2"}"#,
            "since: expected a position",
        ),
        (
            r#"{"type":"publish","id":1,"channel":"a"}"#,
            "data: is missing",
        ),
        (
            r#"{"type":"publish","id":1,"channel":"a","data":1,"base64":""}"#,
            "only one of them",
        ),
        (
            r#"{"type":"publish","id":1,"channel":"a","base64":"?"}"#,
            "base64: invalid",
        ),
        (
            r#"{"type":"publish","id":1,"channel":"a","data":1,"key":""}"#,
            "key: a key has 0 bytes",
        ),
        (
            r#"{"type":"publish","id":1,"channel":"a","data":1,"tags":{"":"x"}}"#,
            "tags: a tag",
        ),
        (
            r#"{"type":"connect","id":1,"positions":{"a":"x"}}"#,
            "positions: expected a position",
        ),
    ] {
        let refusal = refused(text);
        assert!(refusal.detail.contains(words), "{text}: {refusal}");
    }
}

#[test]
fn an_error_has_the_id_of_its_message_if_that_can_be_read() {
    let rejection = decode(r#"{"type":7,"id":5}"#).unwrap_err();
    assert_eq!(rejection.id, Some(CommandId(5)));
    assert_eq!(decode(r#"{"type":"ping","id":5"#).unwrap_err().id, None);
}

#[test]
fn errors_about_names_have_their_own_codes() {
    let text = r#"{"type":"subscribe","id":1,"channel":"a*"}"#;
    assert_eq!(refused(text).code, ErrorCode::BadChannelName);
    let text = r#"{"type":"publish","id":1,"channel":"a","data":1,"key":""}"#;
    assert_eq!(refused(text).code, ErrorCode::BadKey);
}

fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"type":"publish","id":1,"channel":"a","data":{open}{close}}}"#)
}

#[test]
fn the_nesting_of_data_is_limited() {
    assert!(decode(&nested(MAX_NESTING)).is_ok());
    assert!(
        refused(&nested(MAX_NESTING + 1))
            .detail
            .contains("nests deeper than 64")
    );
    // Far deeper than recursion could handle.
    assert!(decode(&nested(500_000)).is_err());
}

#[test]
fn brackets_in_strings_do_not_count_as_nesting() {
    let brackets = format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100));
    let text = format!(r#"{{"type":"publish","id":1,"channel":"a","data":{brackets}}}"#);
    assert!(decode(&text).is_ok());
}

#[test]
fn an_unknown_type_is_not_repeated_at_length() {
    let text = format!(r#"{{"type":"{}","id":1}}"#, "x".repeat(100_000));
    assert!(refused(&text).detail.len() < 200);
}

#[test]
fn the_number_of_positions_is_limited() {
    let many = (0..=MAX_POSITIONS)
        .map(|n| format!("\"{n}\":\"1.1\""))
        .collect::<Vec<_>>();
    let text = format!(
        r#"{{"type":"connect","id":1,"positions":{{{}}}}}"#,
        many.join(",")
    );
    let many = format!("more than {MAX_POSITIONS}");
    assert!(refused(&text).detail.contains(&many));
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in ".{0,200}") {
        let _either = decode(&text);
    }

    #[test]
    fn no_invalid_request_causes_a_panic(cut in 0..120_usize, byte in any::<char>()) {
        let text = r#"{"type":"publish","id":1,"channel":"a","data":{"x":[1,"é"]},"key":"k","tags":{"a":"b"}}"#;
        let kept: String = text.chars().take(cut).collect();
        let rest: String = text.chars().skip(cut + 1).collect();
        let _either = decode(&kept);
        let _either = decode(&format!("{kept}{byte}{rest}"));
    }
}
