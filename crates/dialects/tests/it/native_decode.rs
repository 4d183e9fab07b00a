//! Requests as they are meant.

use offhook_dialects::native::{MAX_INFO, Request, decode};
use offhook_engine::*;

fn command(text: &str) -> Command {
    match decode(text).unwrap() {
        Request::Command { id, command } => {
            assert_eq!(id, CommandId(1));
            command
        }
        Request::Connect(connect) => panic!("{connect:?}"),
    }
}

fn since(json: &str) -> Since {
    let text = format!(r#"{{"type":"subscribe","id":1,"channel":"a","since":{json}}}"#);
    let Command::Subscribe(Subscribe { since, .. }) = command(&text) else {
        panic!()
    };
    since
}

#[test]
fn a_subscription_begins_where_since_says() {
    assert_eq!(since("\"now\""), Since::Now);
    assert_eq!(since("\"start\""), Since::Start);
    assert_eq!(since(r#"{"last":50}"#), Since::Last(50));
    assert_eq!(since("\"17.4\""), Since::Position(Position::new(17, 4)));
    let Command::Subscribe(Subscribe {
        since, presence, ..
    }) = command(r#"{"type":"subscribe","id":1,"channel":"a"}"#)
    else {
        panic!()
    };
    assert_eq!((since, presence), (Since::Now, false));
}

#[test]
fn data_arrives_byte_for_byte() {
    for data in [
        r#"{"b":1,"a":[1.0, 1e3]}"#,
        "\"é\\u00e9\"",
        "null",
        "12345678901234567890",
    ] {
        let text = format!(r#"{{"type":"publish","id":1,"channel":"a","data":{data}}}"#);
        let Command::Publish {
            data: arrived,
            format,
            ..
        } = command(&text)
        else {
            panic!()
        };
        assert_eq!((&*arrived, format), (data.as_bytes(), Format::Json));
    }
}

#[test]
fn bytes_come_in_base64() {
    let text = r#"{"type":"publish","id":1,"channel":"a","base64":"AP8="}"#;
    let Command::Publish { data, format, .. } = command(text) else {
        panic!()
    };
    assert_eq!((&*data, format), (&[0, 255][..], Format::Binary));
}

#[test]
fn escapes_in_names_keys_and_tags_are_undone() {
    let text = r#"{"type":"publish","id":1,"channel":"caf\u00e9","data":1,"key":"a\"b","tags":{"k\"":"v\n"}}"#;
    let Command::Publish {
        channel, key, tags, ..
    } = command(text)
    else {
        panic!()
    };
    assert_eq!(channel.as_str(), "café");
    assert_eq!(key.unwrap().as_str(), "a\"b");
    assert_eq!(tags.get("k\""), Some("v\n"));
}

#[test]
fn history_without_more_is_the_newest_hundred() {
    let Command::History { since, limit, .. } =
        command(r#"{"type":"history","id":1,"channel":"a"}"#)
    else {
        panic!()
    };
    assert_eq!((since, limit), (Since::Last(100), 100));
}

#[test]
fn connect_brings_tokens_and_positions() {
    let text = r#"{"type":"connect","id":1,"token":"t","resume":"r","positions":{"a":"1.2"}}"#;
    let Ok(Request::Connect(connect)) = decode(text) else {
        panic!()
    };
    assert_eq!(
        (connect.token.as_deref(), connect.resume.as_deref()),
        (Some("t"), Some("r"))
    );
    let position = (ChannelName::new("a").unwrap(), Position::new(1, 2));
    assert_eq!(connect.positions, [position]);
    assert!(connect.info.is_empty());
}

#[test]
fn connect_brings_what_members_shall_see_within_limits() {
    let info = |info: &str| decode(&format!(r#"{{"type":"connect","id":1,"info":{info}}}"#));
    let Ok(Request::Connect(connect)) = info(r#"{ "name": "Ann" }"#) else {
        panic!()
    };
    assert_eq!(&connect.info[..], br#"{ "name": "Ann" }"#);
    let longest = format!("\"{}\"", "x".repeat(MAX_INFO - 2));
    assert!(info(&longest).is_ok());
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let too_long = format!("\"{}\"", "x".repeat(MAX_INFO - 1));
    for wrong in [too_long, deep] {
        let rejection = info(&wrong).unwrap_err();
        assert!(
            rejection.refusal.detail.starts_with("info: "),
            "{rejection:?}"
        );
    }
}

#[test]
fn fields_from_the_future_are_ignored() {
    assert_eq!(
        command(r#"{"type":"ping","id":1,"colour":["red"]}"#),
        Command::Ping
    );
}
