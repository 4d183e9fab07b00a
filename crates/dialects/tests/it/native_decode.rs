//! Requests as clients send them.

use offhook_dialects::{
    Dialect, Incoming, Intent,
    native::{MAX_CHANNELS, MAX_INFO, MAX_METHOD, MAX_POSITIONS, Native, Request, decode},
};
use offhook_engine::*;

use crate::native_encode::sometime;

fn command(text: &str) -> Command {
    let request = decode(text).unwrap();
    let Request::Command { id, command } = request else {
        panic!("{request:?}");
    };
    assert_eq!(id, CommandId(1));
    command
}

fn since(json: &str) -> Since {
    let text = format!(r#"{{"type":"subscribe","id":1,"channel":"a","since":{json}}}"#);
    let Command::Subscribe(Subscribe { since, .. }) = command(&text) else {
        panic!()
    };
    since
}

#[test]
fn a_subscription_starts_at_since() {
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
fn bytes_are_sent_as_base64() {
    let text = r#"{"type":"publish","id":1,"channel":"a","base64":"AP8="}"#;
    let Command::Publish { data, format, .. } = command(text) else {
        panic!()
    };
    assert_eq!((&*data, format), (&[0, 255][..], Format::Binary));
}

#[test]
fn escapes_in_names_keys_and_tags_are_decoded() {
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
fn history_without_parameters_returns_the_newest_hundred() {
    let Command::History { since, limit, .. } =
        command(r#"{"type":"history","id":1,"channel":"a"}"#)
    else {
        panic!()
    };
    assert_eq!((since, limit), (Since::Last(100), 100));
}

#[test]
fn history_goes_backward_from_a_position() {
    let text = r#"{"type":"history","id":1,"channel":"a","before":"1.2"}"#;
    let Command::HistoryBefore { before, limit, .. } = command(text) else {
        panic!()
    };
    assert_eq!((before, limit), (Position::new(1, 2), 100));
    let both = r#"{"type":"history","id":1,"channel":"a","before":"1.2","since":"1.1"}"#;
    let refusal = decode(both).unwrap_err().refusal;
    assert_eq!(
        refusal.detail,
        "since and before: only one of them is allowed"
    );
    let wrong = r#"{"type":"history","id":1,"channel":"a","before":"now"}"#;
    let refusal = decode(wrong).unwrap_err().refusal;
    assert!(refusal.detail.starts_with("before: "), "{refusal}");
}

#[test]
fn a_state_is_read_from_the_start_or_after_a_position() {
    let state = |since: &str| {
        decode(&format!(
            r#"{{"type":"state","id":1,"channel":"a"{since}}}"#
        ))
    };
    for (since, position) in [("", None), (r#","since":"1.2""#, Some(Position::new(1, 2)))] {
        let Ok(Request::Command {
            command: Command::State { after, limit, .. },
            ..
        }) = state(since)
        else {
            panic!("{since}")
        };
        assert_eq!((after, limit), (position, 100));
    }
    for since in ["\"now\"", "\"start\"", "\"state\"", "{\"last\":2}", "7"] {
        let refusal = state(&format!(",\"since\":{since}")).unwrap_err().refusal;
        assert!(refusal.detail.starts_with("since: "), "{refusal}");
    }
}

#[test]
fn a_subscription_may_start_with_the_state() {
    let text = r#"{"type":"subscribe","id":1,"channel":"a","since":"state"}"#;
    let Command::Subscribe(Subscribe { since, .. }) = command(text) else {
        panic!()
    };
    assert_eq!(since, Since::State);
}

#[test]
fn connect_has_tokens_and_positions() {
    let text = r#"{"type":"connect","id":1,"token":"t","resume":"r","positions":{"a":"1.2"}}"#;
    let Ok(Request::Connect(connect)) = decode(text) else {
        panic!()
    };
    assert_eq!(
        (connect.token.as_deref(), connect.resume.as_deref()),
        (Some("t"), Some("r"))
    );
    let position = (ChannelName::new("a").unwrap().into(), Position::new(1, 2));
    assert_eq!(connect.positions, [position]);
    assert!(connect.info.is_empty());
}

#[test]
fn connect_has_positions_of_numbered_subscriptions() {
    let text = r#"{"type":"connect","id":1,"resume":"r","subscription_positions":{"7":"1.2"}}"#;
    let Ok(Request::Connect(connect)) = decode(text) else {
        panic!()
    };
    let key = SubscriptionKey::Id(SubscriptionId(7));
    assert_eq!(connect.positions, [(key, Position::new(1, 2))]);
    let wrong = r#"{"type":"connect","id":1,"subscription_positions":{"chat":"1.2"}}"#;
    let rejection = decode(wrong).unwrap_err();
    assert!(rejection.refusal.detail.contains("subscription_positions"));
}

#[test]
fn the_positions_of_a_connect_are_limited_together() {
    let connect = |named: usize, numbered: usize| {
        let named: Vec<_> = (0..named).map(|n| format!("\"{n}\":\"1.2\"")).collect();
        let numbered: Vec<_> = (0..numbered).map(|n| format!("\"{n}\":\"1.2\"")).collect();
        let (named, numbered) = (named.join(","), numbered.join(","));
        decode(&format!(
            r#"{{"type":"connect","id":1,"positions":{{{named}}},"subscription_positions":{{{numbered}}}}}"#
        ))
    };
    assert!(connect(MAX_POSITIONS - 9, 9).is_ok());
    let rejection = connect(MAX_POSITIONS - 9, 10).unwrap_err();
    assert_eq!(rejection.refusal.detail, "positions: more than 16384");
}

#[test]
fn the_method_of_a_call_has_a_limited_name() {
    let call = |method: &str| decode(&format!(r#"{{"type":"call","id":1,"method":"{method}"}}"#));
    for len in [1, MAX_METHOD - 1, MAX_METHOD] {
        assert!(call(&"m".repeat(len)).is_ok(), "{len}");
    }
    for (len, detail) in [
        (0, "method: is 0 bytes; allowed are 1 to 200"),
        (MAX_METHOD + 1, "method: is 201 bytes; allowed are 1 to 200"),
    ] {
        let rejection = call(&"m".repeat(len)).unwrap_err();
        assert_eq!(rejection.refusal.detail, detail);
    }
}

#[test]
fn connect_has_info_for_members_within_limits() {
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
fn unknown_fields_are_ignored() {
    assert_eq!(
        command(r#"{"type":"ping","id":1,"colour":["red"]}"#),
        Command::Ping
    );
}

#[test]
fn echo_false_applies_to_each_of_several_channels() {
    let text = r#"{"type":"subscribe","id":7,"channels":["a","b"],"echo":false}"#;
    let Request::SubscribeAll(all) = decode(text).unwrap() else {
        panic!()
    };
    for (_, command) in all.commands() {
        assert!(matches!(command, Ok(Command::Subscribe(wish)) if !wish.echo));
    }
}

#[test]
fn a_subscribe_with_several_channels_may_not_have_fields_for_a_single_one() {
    for field in [r#""filter":"a/+""#, r#""subscription":1"#, r#""window":2"#] {
        let text = format!(r#"{{"type":"subscribe","id":7,"channels":["a","b"],{field}}}"#);
        let refusal = decode(&text).unwrap_err().refusal;
        assert!(refusal.detail.contains("only one of them"), "{refusal:?}");
    }
}

#[test]
fn a_subscribe_with_several_channels_becomes_a_command_for_each_with_consecutive_numbers() {
    let text = r#"{"type":"subscribe","id":7,"channels":["a","b"],"since":"start","positions":{"b":"17.4"}}"#;
    let Request::SubscribeAll(all) = decode(text).unwrap() else {
        panic!()
    };
    let command = |channel, since| {
        let channel = ChannelName::new(channel).unwrap();
        Command::Subscribe(Subscribe::new(channel, since))
    };
    let position = Since::Position(Position::new(17, 4));
    let commands: Vec<_> = all.commands().collect();
    assert_eq!(
        commands,
        [
            (CommandId(7), Ok(command("a", Since::Start))),
            (CommandId(8), Ok(command("b", position))),
        ]
    );
}

/// One bad name refused all of them under the first number, and the others were never answered.
#[test]
fn each_channel_of_a_list_has_its_own_answer_also_if_others_are_refused() {
    let text = r#"{"type":"subscribe","id":7,"channels":["a","b*","c","d"],"positions":{"c":"x"}}"#;
    let Request::SubscribeAll(all) = decode(text).unwrap() else {
        panic!()
    };
    let answers: Vec<_> = all
        .commands()
        .map(|(id, command)| (id.0, command.map(drop).map_err(|refusal| refusal.code)))
        .collect();
    assert_eq!(
        answers,
        [
            (7, Ok(())),
            (8, Err(ErrorCode::BadChannelName)),
            (9, Err(ErrorCode::BadRequest)),
            (10, Ok(())),
        ]
    );
}

/// The intents of these messages on one connection.
fn intents(texts: &[&str]) -> Vec<Intent> {
    let (mut native, mut intents) = (Native::default(), Vec::new());
    for text in texts {
        native.receive(Incoming::Text(text), sometime(), &mut intents);
    }
    intents
}

/// They got messages of a new epoch without the gap that such a client expects.
#[test]
fn a_client_without_lineage_can_have_no_numbered_subscriptions() {
    let connect = r#"{"type":"connect","id":1}"#;
    let with_lineage = r#"{"type":"connect","id":1,"lineage":true}"#;
    for (subscribe, field) in [
        (
            r#"{"type":"subscribe","id":2,"channel":"a","subscription":1}"#,
            "subscription",
        ),
        (
            r#"{"type":"subscribe","id":2,"filter":"a/#","subscription":1}"#,
            "subscription",
        ),
        (
            r#"{"type":"subscribe","id":2,"channel":"a","echo":false}"#,
            "echo",
        ),
        (
            r#"{"type":"subscribe","id":2,"channel":"a","echo":false,"token":"x"}"#,
            "echo",
        ),
        (
            r#"{"type":"subscribe","id":2,"channels":["a"],"echo":false}"#,
            "echo",
        ),
    ] {
        let Some(Intent::Refuse { id, refusal }) = intents(&[connect, subscribe]).pop() else {
            panic!("{subscribe}")
        };
        assert_eq!(
            (id, refusal.code),
            (Some(CommandId(2)), ErrorCode::BadRequest)
        );
        assert!(refusal.detail.starts_with(field), "{refusal}");
        let accepted = intents(&[with_lineage, subscribe]).pop();
        assert!(
            !matches!(accepted, Some(Intent::Refuse { .. })),
            "{subscribe}"
        );
    }
    let plain = r#"{"type":"subscribe","id":2,"channels":["a","b"]}"#;
    let all = intents(&[connect, plain]);
    let accepted = all
        .iter()
        .filter(|intent| matches!(intent, Intent::Command { .. }));
    assert_eq!(accepted.count(), 2);
}

#[test]
fn a_position_has_numbers_that_every_client_can_read() {
    for (position, is_valid) in [
        ("1.9007199254740991", true),
        ("1.9007199254740992", false),
        ("9007199254740992.1", false),
    ] {
        let text = format!(r#"{{"type":"subscribe","id":7,"channel":"a","since":"{position}"}}"#);
        assert_eq!(decode(&text).is_ok(), is_valid, "{position}");
    }
}

#[test]
fn a_list_of_channels_is_limited_so_that_each_has_a_number() {
    let of = |id: u64, count: usize| {
        let channels = vec!["\"a\""; count].join(",");
        decode(&format!(
            r#"{{"type":"subscribe","id":{id},"channels":[{channels}]}}"#
        ))
    };
    assert!(of(1, MAX_CHANNELS).is_ok());
    assert!(of((1 << 53) - 2, 1).is_ok());
    for (id, count, what) in [
        (1, 0, "channels"),
        (1, MAX_CHANNELS + 1, "257"),
        ((1 << 53) - 1, 1, "id"),
    ] {
        let rejection = of(id, count).unwrap_err();
        assert_eq!(rejection.id, Some(CommandId(id)));
        assert!(rejection.refusal.detail.contains(what), "{rejection:?}");
    }
    let both = r#"{"type":"subscribe","id":1,"channel":"a","channels":["b"]}"#;
    assert!(
        decode(both)
            .unwrap_err()
            .refusal
            .detail
            .contains("only one")
    );
}

#[test]
fn a_subscription_has_a_number_a_filter_and_a_window_if_given() {
    let text = r#"{"type":"subscribe","id":1,"filter":"a/+/#","subscription":7,"echo":false,"window":100,"since":"17.4"}"#;
    let filter = Filter::new("a/+/#").unwrap();
    let wish = Subscribe::new(filter, Since::Position(Position::new(17, 4)));
    let wish = wish.numbered(7).without_echo().acknowledged(100);
    assert_eq!(command(text), Command::Subscribe(wish));
    let done = r#"{"type":"done","id":1,"subscription":7,"position":"17.5","cumulative":true}"#;
    let expected = Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(7)),
        position: Position::new(17, 5),
        cumulative: true,
    };
    assert_eq!(command(done), expected);
    let end = r#"{"type":"unsubscribe","id":1,"subscription":7}"#;
    let subscription = SubscriptionKey::Id(SubscriptionId(7));
    assert_eq!(command(end), Command::Unsubscribe { subscription });
}

#[test]
fn a_subscribe_may_have_a_token_for_its_only_channel() {
    let text = r#"{"type":"subscribe","id":1,"channel":"a","token":"t"}"#;
    let Request::Granted { token, command, .. } = decode(text).unwrap() else {
        panic!()
    };
    assert_eq!(token, "t");
    assert!(matches!(command, Command::Subscribe(_)));
    let several = r#"{"type":"subscribe","id":1,"channels":["a","b"],"token":"t"}"#;
    let refusal = decode(several).unwrap_err().refusal;
    assert!(refusal.detail.contains("one channel"), "{refusal}");
    let none = decode(r#"{"type":"refresh","id":1}"#).unwrap_err().refusal;
    assert!(none.detail.contains("token"), "{none}");
}

#[test]
fn contradicting_fields_of_a_subscribe_are_refused() {
    for (fields, what) in [
        (r#""filter":"a/+""#, "subscription"),
        (r#""channel":"a","window":10"#, "subscription"),
        (
            r#""channel":"a","filter":"a/+","subscription":7"#,
            "only one",
        ),
        (r#""channel":"a","subscription":7,"window":0"#, "window"),
        (r#""channel":"a","subscription":7,"window":10001"#, "window"),
        (r#""channel":"a","subscription":4294967295"#, "2^32 - 2"),
        (r#""filter":"a/#/b","subscription":7"#, "filter"),
    ] {
        let rejection = decode(&format!(r#"{{"type":"subscribe","id":1,{fields}}}"#)).unwrap_err();
        assert!(rejection.refusal.detail.contains(what), "{rejection:?}");
    }
}
