use super::Closing;
use super::downlink::{Event, Events, Received, polled};
use super::http::Place;

fn place(host: &str, path: &str, query: &str) -> Place {
    Place {
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
    }
}

#[test]
fn the_path_of_connection_is_next_to_that_of_the_websocket() {
    for (url, expected) in [
        ("ws://a/ws", place("a", "/connection", "")),
        (
            "wss://a:8443/app/ws?token=t#x",
            place("a:8443", "/app/connection", "?token=t"),
        ),
        ("ws://a", place("a", "/connection", "")),
        ("ws://user@a?x=/y", place("a", "/connection", "?x=/y")),
        ("ws://[::1]:80/", place("[::1]:80", "/connection", "")),
    ] {
        assert_eq!(Place::of(url), expected, "{url}");
    }
}

#[test]
fn events_may_arrive_in_any_pieces() {
    let text = ":\n\nevent: open\ndata: {\"connection\":\"c1\"}\n\ndata: {\"a\":\"ü\"}\n\nevent: new\ndata: x\n\nevent: close\ndata: {\"code\":4001,\"reason\":\"replaced\"}\n\n";
    for size in [1, 2, 3, 7, text.len()] {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            events.take(piece).unwrap();
            while let Some(event) = events.next().unwrap() {
                all.push(event);
            }
        }
        let closing = Closing {
            code: 4001,
            reason: "replaced".to_owned(),
        };
        let expected = [
            Event::Other,
            Event::Open("c1".to_owned()),
            Event::Message("{\"a\":\"ü\"}".to_owned()),
            Event::Other,
            Event::Close(closing),
        ];
        assert_eq!(all, expected);
    }
}

#[test]
fn an_endless_event_is_not_collected_without_limit() {
    let mut events = Events::default();
    let piece = vec![b'x'; 1024 * 1024];
    let taken = (0..17).try_for_each(|_| events.take(&piece));
    assert!(taken.is_err());
    let mut rubbish = Events::default();
    rubbish.take(b"event: open\ndata: rubbish\n\n").unwrap();
    assert!(rubbish.next().is_err());
    rubbish.take(b"data: \xff\n\n").unwrap();
    assert!(rubbish.next().is_err());
}

#[test]
fn answers_to_polls_are_consecutive() {
    let mut after = 4;
    let body = br#"{"first":5,"messages":[{"a":1},{"a": 2}],"closed":{"code":1012}}"#;
    let received = polled(body, &mut after).unwrap();
    let expected = Received {
        messages: vec!["{\"a\":1}".to_owned(), "{\"a\": 2}".to_owned()],
        closed: Some(Closing {
            code: 1012,
            reason: String::new(),
        }),
    };
    assert_eq!((received, after), (expected, 6));
    for body in ["{\"first\":6,\"messages\":[]}", "{}", "[]", ""] {
        assert!(polled(body.as_bytes(), &mut after).is_err(), "{body}");
    }
}
