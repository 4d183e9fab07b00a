//! Clients of the native dialect with JSON, with CBOR for bytes, and with CBOR alone, in one channel.

use offhook::{Message, WebSocket};
use offhook_dialects::native::{
    Connect, Request,
    client::{
        Command, CommandId, Format, Payload, Position, Said, Since, Subscribe, SubscriptionId,
        SubscriptionKey, Tags, encode_request, encode_request_binary, read, read_binary,
    },
};
use serde_json::json;
use tokio::time::timeout;

use crate::hall::{Hall, NEVER, config, on_disk};

/// The form of what a client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Cbor,
}

struct Caller {
    socket: WebSocket,
    form: Form,
    last: u64,
    resume: String,
}

impl Caller {
    /// A client with the subprotocol for CBOR, before its `connect`.
    async fn dial(hall: &Hall, form: Form) -> Self {
        let connect = hall.number_at("/ws").subprotocol("offhook.v1.cbor");
        Self {
            socket: connect.open().await.unwrap(),
            form,
            last: 0,
            resume: String::new(),
        }
    }

    async fn open(hall: &Hall, form: Form) -> Self {
        let mut caller = Self::dial(hall, form).await;
        caller.connect(None).await;
        caller
    }

    async fn connect(&mut self, resume: Option<String>) {
        let connect = Connect {
            id: CommandId(0),
            token: None,
            resume,
            info: Default::default(),
            positions: Vec::new(),
            lineage: false,
            named: None,
        };
        self.send(&Request::Connect(connect)).await;
        let message = self.hear().await;
        let Said::Welcome { resume, .. } = said(&message) else {
            panic!("{message:?}")
        };
        self.resume = resume.into_owned();
    }

    async fn send(&self, request: &Request) {
        match self.form {
            Form::Json => self.socket.send(encode_request(request)).await.unwrap(),
            Form::Cbor => {
                let bytes = encode_request_binary(request);
                self.socket.send(bytes).await.unwrap();
            }
        }
    }

    async fn ask(&mut self, command: Command) -> Message {
        self.last += 1;
        let id = CommandId(self.last);
        self.send(&Request::Command { id, command }).await;
        self.hear().await
    }

    /// The next message that is not a token, which is kept.
    async fn hear(&mut self) -> Message {
        loop {
            let received = timeout(NEVER, self.socket.recv()).await;
            let message = received.expect("something comes").unwrap();
            let message = message.expect("the connection goes on");
            if let Said::Token { resume } = said(&message) {
                self.resume = resume.into_owned();
            } else if said(&message) != Said::Restored {
                return message;
            }
        }
    }

    /// The next publication: its position, its content, and how the message came.
    async fn publication(&mut self) -> (Position, Vec<u8>, bool) {
        let message = self.hear().await;
        let Said::Message { message: read, .. } = said(&message) else {
            panic!("{message:?}")
        };
        let data = match read.payload {
            Payload::Json(json) => json.as_bytes().to_vec(),
            Payload::Bytes(bytes) => bytes,
        };
        (read.position, data, matches!(message, Message::Binary(_)))
    }

    async fn publish(&mut self, data: &'static [u8], format: Format) -> Position {
        let answer = self.ask(Command::Publish {
            channel: room(),
            data: data.into(),
            format,
            tags: Tags::default(),
            key: None,
        });
        let answer = answer.await;
        let Said::Published { position, .. } = said(&answer) else {
            panic!("{answer:?}")
        };
        position
    }

    async fn subscribe(&mut self, wish: Subscribe) {
        let answer = self.ask(Command::Subscribe(wish)).await;
        assert!(
            matches!(said(&answer), Said::Subscribed { .. }),
            "{answer:?}"
        );
        assert_eq!(
            matches!(answer, Message::Binary(_)),
            self.form == Form::Cbor
        );
    }
}

fn said(message: &Message) -> Said<'_> {
    let said = match message {
        Message::Text(text) => read(text),
        Message::Binary(bytes) => read_binary(bytes),
    };
    said.unwrap_or_else(|error| panic!("{error}: {message:?}"))
}

fn room() -> offhook_engine::ChannelName {
    offhook_engine::ChannelName::new("chat").unwrap()
}

#[tokio::test]
async fn clients_of_all_three_forms_meet_in_one_channel() {
    let hall = Hall::open(config()).await;
    let mut json = hall.caller().await;
    let mut mixed = Caller::open(&hall, Form::Json).await;
    let mut cbor = Caller::open(&hall, Form::Cbor).await;
    json.subscribe("chat", json!("now")).await;
    mixed.subscribe(Subscribe::new(room(), Since::Now)).await;
    cbor.subscribe(Subscribe::new(room(), Since::Now)).await;
    let mut sender = Caller::open(&hall, Form::Cbor).await;
    let first = sender.publish(b"\x00\xff", Format::Binary).await;
    let second = sender.publish(br#"{"a":1}"#, Format::Json).await;
    assert_eq!(json.hear().await["base64"], "AP8=");
    assert_eq!(json.hear().await["data"], json!({"a": 1}));
    let [bytes, object] = [b"\x00\xff".to_vec(), br#"{"a":1}"#.to_vec()];
    assert_eq!(mixed.publication().await, (first, bytes.clone(), true));
    assert_eq!(mixed.publication().await, (second, object.clone(), false));
    assert_eq!(cbor.publication().await, (first, bytes, true));
    assert_eq!(cbor.publication().await, (second, object, true));
    hall.close().await;
}

#[tokio::test]
async fn history_is_binary_only_if_it_contains_bytes() {
    let hall = Hall::open(config()).await;
    let mut mixed = Caller::open(&hall, Form::Json).await;
    let history = |limit| Command::History {
        channel: room(),
        since: Since::Last(limit),
        limit,
    };
    mixed.publish(b"\x01", Format::Binary).await;
    mixed.publish(b"2", Format::Json).await;
    for (limit, expected) in [(1, false), (2, true)] {
        let answer = mixed.ask(history(limit)).await;
        assert_eq!(matches!(answer, Message::Binary(_)), expected);
        let Said::History { messages, .. } = said(&answer) else {
            panic!("{answer:?}")
        };
        assert_eq!(messages.last().unwrap().payload, Payload::Json("2"));
        if limit == 2 {
            assert_eq!(messages[0].payload, Payload::Bytes(vec![1]));
        }
    }
    hall.close().await;
}

#[tokio::test]
async fn a_client_with_cbor_alone_resumes_without_a_gap_after_the_server_was_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let config = on_disk(directory.path());
    let hall = Hall::open(config.clone()).await;
    let mut cbor = Caller::open(&hall, Form::Cbor).await;
    let mut wish = Subscribe::new(room(), Since::Now);
    wish.id = Some(SubscriptionId(7));
    cbor.subscribe(wish).await;
    let first = cbor.ask(Command::Ping).await;
    assert!(matches!(said(&first), Said::Pong { .. }));
    let resume = loop {
        // The token with the subscription comes unasked.
        let received = timeout(NEVER, cbor.socket.recv()).await.unwrap().unwrap();
        let message = received.unwrap();
        if let Said::Token { resume } = said(&message) {
            break resume.into_owned();
        }
    };
    drop(cbor);
    let mut sender = Caller::open(&hall, Form::Cbor).await;
    let before = sender.publish(b"\x01", Format::Binary).await;
    hall.close().await;
    let hall = Hall::open(config).await;
    let mut again = Caller::dial(&hall, Form::Cbor).await;
    again.connect(Some(resume)).await;
    let restored = again.hear().await;
    let Said::Subscribed {
        id: None,
        about,
        live: false,
        ..
    } = said(&restored)
    else {
        panic!("{restored:?}")
    };
    assert_eq!(about.number, Some(7));
    assert_eq!(again.publication().await, (before, vec![1], true));
    let live = again.hear().await;
    assert!(matches!(said(&live), Said::Live { .. }), "{live:?}");
    let left = again.ask(Command::Unsubscribe {
        subscription: SubscriptionKey::Id(SubscriptionId(7)),
    });
    let left = left.await;
    assert!(matches!(said(&left), Said::Unsubscribed { .. }), "{left:?}");
    hall.close().await;
}

#[tokio::test]
async fn a_client_that_offers_both_subprotocols_gets_the_one_with_cbor() {
    let hall = Hall::open(config()).await;
    for (offered, selected) in [
        (
            &["offhook.v1.json", "offhook.v1.cbor"][..],
            "offhook.v1.cbor",
        ),
        (&["offhook.v1.cbor"], "offhook.v1.cbor"),
        (&["offhook.v1.json"], "offhook.v1.json"),
    ] {
        let connect = hall.number_at("/ws");
        let connect = offered
            .iter()
            .fold(connect, |connect, name| connect.subprotocol(name));
        let socket = connect.open().await.unwrap();
        assert_eq!(socket.protocol(), Some(selected), "{offered:?}");
    }
    hall.close().await;
}

#[tokio::test]
async fn what_is_not_a_message_in_cbor_is_answered_in_cbor_and_the_connection_stays() {
    let hall = Hall::open(config()).await;
    let mut cbor = Caller::open(&hall, Form::Cbor).await;
    for bytes in [
        &b""[..],
        b"\x80",
        b"\xbf",
        b"\xa1\x62id\x05",
        &[0x9f; 10_000],
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        cbor.socket.send(bytes).await.unwrap();
        let answer = cbor.hear().await;
        assert!(matches!(answer, Message::Binary(_)), "{answer:?}");
        let Said::Error { refused, .. } = said(&answer) else {
            panic!("{answer:?}")
        };
        assert_eq!(refused.code, "bad_request", "{refused:?}");
    }
    let pong = cbor.ask(Command::Ping).await;
    assert!(matches!(said(&pong), Said::Pong { .. }), "{pong:?}");
    hall.close().await;
}
