//! Channel servers: their units are separated and interpreted correctly, and a missing, late or
//! repeated publication is detected.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;

use anyhow::Result;
use load::connection::Heard;
use load::crowd::Crowd;
use load::dialects::{Dialect, Framing, Part, Word};
use load::ring::{Ring, Shape};
use load::transport::Dialer;

const SHAPE: Shape = Shape {
    size: 128,
    json: false,
};

fn units(framing: Framing, mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut units = Vec::new();
    while let Some(unit) = framing.next(bytes).unwrap() {
        units.push((unit.head.to_vec(), unit.body.to_vec()));
        bytes = &bytes[unit.length..];
    }
    assert!(bytes.is_empty(), "{} bytes are no unit", bytes.len());
    units
}

fn part(dialect: Dialect, subscribes: bool) -> Part {
    Part {
        dialect,
        subscribes,
        channel: "bench.0".into(),
        number: 7,
    }
}

/// How `part` interprets all units in `bytes`.
fn words(part: &Part, bytes: &[u8]) -> Vec<Word> {
    let framing = part.dialect.framing();
    let mut words = Vec::new();
    let mut rest = bytes;
    while let Some(unit) = framing.next(rest).unwrap() {
        words.push(part.hear(&unit).unwrap());
        rest = &rest[unit.length..];
    }
    words
}

fn text_frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 126][..], &length, text.as_bytes()].concat()
}

#[test]
fn a_unit_is_complete_only_with_all_its_bytes() {
    let long = "x".repeat(70_000);
    let mut huge = vec![0x82, 127];
    huge.extend((long.len() as u64).to_be_bytes());
    huge.extend(long.as_bytes());
    let nats = format!("MSG bench.0 1 {}\r\n{long}\r\n", long.len());
    // 70,000 is 0b100_0100010_1110000.
    let mqtt = [&[0x30, 0xF0, 0xA2, 0x04][..], long.as_bytes()].concat();
    for (framing, whole) in [
        (Framing::WebSocket, vec![0x81, 2, b'h', b'i']),
        (Framing::WebSocket, text_frame("hello")),
        (Framing::WebSocket, huge),
        (Framing::Nats, b"PING\r\n".to_vec()),
        (Framing::Nats, nats.into_bytes()),
        (Framing::Mqtt, vec![0xD0, 0]),
        (Framing::Mqtt, mqtt),
    ] {
        for cut in (0..whole.len()).step_by(whole.len() / 100 + 1) {
            let unit = framing.next(&whole[..cut]).unwrap();
            assert_eq!(unit, None, "{framing:?}, {cut} of {} bytes", whole.len());
        }
        let twice = [&whole[..], &whole[..]].concat();
        assert_eq!(units(framing, &twice).len(), 2);
    }
}

#[test]
fn frames_that_no_server_may_send_are_refused() {
    for (framing, bytes) in [
        (Framing::WebSocket, &[0x81, 0x80][..]),
        (Framing::WebSocket, &[0xC1, 0]),
        (Framing::Nats, b"PING\n"),
        (Framing::Nats, b"MSG bench.0 1 many\r\n"),
        (Framing::Nats, &[b'x'; 5000]),
        (Framing::Mqtt, &[0x30, 0x80, 0x80, 0x80, 0x80, 0x80]),
    ] {
        assert!(framing.next(bytes).is_err(), "{framing:?} {bytes:?}");
    }
}

#[test]
fn the_native_dialect_is_parsed() {
    let subscriber = part(Dialect::Native, true);
    let frames: Vec<u8> = [
        r#"{"type":"subscribed","id":2,"channel":"bench.0","position":"1.0","live":true}"#,
        r#"{"type":"message","channel":"bench.0","position":"1.1","data":"x","time":1}"#,
        r#"{"type":"published","id":12,"position":"1.1"}"#,
        r#"{"type":"catching_up","channel":"bench.0","position":"1.1"}"#,
        r#"{"type":"history","id":4,"channel":"c","head":"1.2","messages":[{"position":"1.1","data":1},{"position":"1.2","data":2}]}"#,
        r#"{"type":"pong","id":3}"#,
    ]
    .iter()
    .flat_map(|text| text_frame(text))
    .collect();
    let expected = [
        Word::Ready,
        Word::Publication,
        Word::Taken(12),
        Word::CatchingUp,
        Word::Page(2, true),
        Word::Pong,
    ];
    assert_eq!(words(&subscriber, &frames), expected);
    for refusal in [
        r#"{"type":"error","id":4,"code":"busy"}"#,
        r#"{"type":"gap","channel":"bench.0","from":"1.1","to":"1.4","reason":"dropped"}"#,
    ] {
        let words = words(&subscriber, &text_frame(refusal));
        assert!(matches!(&words[..], [Word::Refused(_)]), "{words:?}");
    }
}

#[test]
fn acknowledgements_of_jetstream_have_the_publications_number() {
    let publisher = part(Dialect::JetStream, false);
    let publication = String::from_utf8(publisher.publication(5, b"hello")).unwrap();
    let inbox = publication.split(' ').nth(2).unwrap();
    let ack = format!("MSG {inbox} 1 2\r\n{{}}\r\n");
    assert_eq!(words(&publisher, ack.as_bytes()), [Word::Taken(5)]);
    let no = r#"{"error":{"code":503}}"#;
    let no = format!("MSG {inbox} 1 {}\r\n{no}\r\n", no.len());
    let words = words(&publisher, no.as_bytes());
    assert!(matches!(&words[..], [Word::Refused(_)]), "{words:?}");
}

#[test]
fn mqtt_subscribes_when_it_opens() {
    let subscriber = part(Dialect::Mqtt, true);
    let said = words(&subscriber, &[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
    assert!(matches!(&said[..], [Word::Say(_), Word::Ready]), "{said:?}");
    let refused = words(&subscriber, &[0x90, 3, 0, 1, 0x80]);
    assert!(matches!(&refused[..], [Word::Refused(_)]), "{refused:?}");
}

#[test]
fn events_are_separated_and_their_response_must_succeed() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = b"2d\r\nretry: 2210\nevent: subscribed\ndata: {}\nid: 1.7\n\n\r\n\
                 10\r\ndata: {\"data\":1}\nid: 1.8\n\n\r\n3\r\n:\n\n\r\n";
    let reader = part(Dialect::Events, true);
    let said = words(&reader, &[&head[..], body].concat());
    let expected = [Word::Nothing, Word::Ready, Word::Publication, Word::Nothing];
    assert_eq!(said, expected);
    for refusal in [
        &b"HTTP/1.1 429 Too Many Requests\r\n\r\n"[..],
        b"\r\n0\r\n\r\n",
    ] {
        let said = words(&reader, refusal);
        assert!(matches!(&said[..], [Word::Refused(_)]), "{said:?}");
    }
}

#[test]
fn subscribers_of_each_dialect_subscribe_once_they_are_connected() {
    let cases = [
        (
            Dialect::SocketIoChannels,
            "40{\"sid\":\"a\"}",
            "431[{\"offset\":0}]",
            "42[\"publication\",{}]",
        ),
        (
            Dialect::Stomp,
            "CONNECTED\nversion:1.2\n\n\0",
            "RECEIPT\nreceipt-id:1\n\n\0",
            "MESSAGE\n\nx\0",
        ),
        (
            Dialect::GraphQl,
            "{\"type\":\"connection_ack\"}",
            "{\"type\":\"pong\"}",
            "{\"id\":\"1\",\"type\":\"next\"}",
        ),
    ];
    for (dialect, connected, subscribed, publication) in cases {
        let subscriber = part(dialect, true);
        let all = [connected, subscribed, publication]
            .map(text_frame)
            .concat();
        let said = words(&subscriber, &all);
        assert!(
            matches!(&said[..], [Word::Say(_), Word::Ready, Word::Publication]),
            "{said:?}"
        );
    }
    let subscriber = part(Dialect::JsonRpc, true);
    assert!(matches!(subscriber.upgraded(), Word::Say(_)));
    let answers = [
        "{\"jsonrpc\":\"2.0\",\"result\":{\"bench.0\":\"ok\"},\"id\":1}",
        "{\"notification\":\"bench.0\",\"params\":{}}",
    ];
    let said = words(&subscriber, &answers.map(text_frame).concat());
    assert_eq!(said, [Word::Ready, Word::Publication]);
}

#[test]
fn an_acknowledged_publication_over_mqtt_has_the_number_of_its_acknowledgement() {
    let publisher = part(Dialect::MqttAcknowledged, false);
    let sent = publisher.publication(6, b"x");
    assert_eq!(sent, b"\x32\x0c\0\x07bench.0\0\x07x");
    assert_eq!(words(&publisher, &[0x40, 2, 0, 7]), [Word::Taken(6)]);
}

#[test]
fn a_subscriber_with_qos_1_acknowledges_each_publication_and_accepts_no_lower_qos() {
    let subscriber = part(Dialect::MqttAcknowledged, true);
    let said = words(&subscriber, &[0x20, 2, 0, 0, 0x90, 3, 0, 1, 1]);
    let Word::Say(subscribe) = &said[0] else {
        panic!("{said:?}");
    };
    assert_eq!(subscribe, b"\x82\x0c\0\x01\0\x07bench.0\x01");
    assert_eq!(said[1], Word::Ready);
    let lower = words(&subscriber, &[0x90, 3, 0, 1, 0]);
    assert!(matches!(&lower[..], [Word::Refused(_)]), "{lower:?}");
    let publish = b"\x32\x0c\0\x07bench.0\x01\x02x";
    let unit = Framing::Mqtt.next(publish).unwrap().unwrap();
    let acknowledgement = subscriber.acknowledgement(&unit);
    assert_eq!(acknowledgement.as_deref(), Some(&[0x40, 2, 1, 2][..]));
    let at_most_once = b"\x30\x0a\0\x07bench.0x";
    let unit = Framing::Mqtt.next(at_most_once).unwrap().unwrap();
    assert_eq!(subscriber.acknowledgement(&unit), None);
}

fn response(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[test]
fn responses_end_where_their_head_says_and_must_succeed() {
    let two = [response("ok"), response("2")].concat();
    let status = b"HTTP/1.1 200 OK".to_vec();
    let expected = [(status.clone(), b"ok".to_vec()), (status, b"2".to_vec())];
    assert_eq!(units(Framing::Responses, &two), expected);
    for end in 0..two.len() / 2 {
        assert!(Framing::Responses.next(&two[..end]).unwrap().is_none());
    }
    let endless = b"HTTP/1.1 200 OK\r\n\r\n";
    assert!(Framing::Responses.next(endless).is_err());
    let reader = part(Dialect::SocketIoPolling, true);
    let said = words(
        &reader,
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nok",
    );
    assert!(matches!(&said[..], [Word::Refused(_)]), "{said:?}");
}

/// A server of Engine.IO that answers the requests of one connection in turn with these bodies, and returns the
/// requests.
fn answering(bodies: &'static [&'static str]) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut requests = Vec::new();
        let mut reader = BufReader::new(socket);
        for body in bodies {
            requests.push(request(&mut reader));
            reader.get_mut().write_all(&response(body)).unwrap();
        }
        requests.push(request(&mut reader));
        requests
    });
    (address, server)
}

/// The method, the transport's session, and the body.
fn request(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split([' ', '&']);
    let method = words.next().unwrap().to_owned();
    let session = words
        .find(|word| word.starts_with("sid="))
        .unwrap_or("-")
        .to_owned();
    let mut body = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(length) = header.strip_prefix("Content-Length: ") {
            body.resize(length.trim().parse().unwrap(), 0);
        }
        if header == "\r\n" {
            break;
        }
    }
    reader.read_exact(&mut body).unwrap();
    format!("{method} {session} {}", String::from_utf8(body).unwrap())
}

#[test]
fn a_polled_subscriber_opens_subscribes_answers_pings_and_polls_again() {
    let ring = Ring::always(b"news".to_vec());
    let (address, server) = answering(&[
        "0{\"sid\":\"abc\",\"upgrades\":[]}",
        "ok",
        "40{\"sid\":\"x\"}",
        "ok",
        "431[{\"offset\":0}]",
        "42[\"publication\",{\"data\":\"news\"}]\u{1e}42[\"publication\",{\"data\":\"news\"}]\u{1e}2",
        "ok",
    ]);
    let dialer = Dialer::new(address, None).unwrap();
    let mut crowd = Crowd::new().unwrap();
    let subscriber = Rc::new(part(Dialect::SocketIoChannelsPolling, true));
    crowd
        .open(&dialer, [subscriber].into_iter(), |_| {})
        .unwrap();
    let mut count = 0;
    // The server's end of the connection is the end of the conversation.
    let end = loop {
        let turn = crowd.turn(&ring, None, |_, _, heard| {
            count += u64::from(heard == Heard::Publication);
            Ok(())
        });
        if let Err(error) = turn {
            break format!("{error:#}");
        }
    };
    assert!(end.contains("closed the connection"), "{end}");
    assert_eq!(count, 2);
    let requests = server.join().unwrap();
    let expected = [
        "GET - ",
        "POST sid=abc 40",
        "GET sid=abc ",
        "POST sid=abc 421[\"subscribe\",{\"channel\":\"bench.0\"}]",
        "GET sid=abc ",
        "GET sid=abc ",
        "POST sid=abc 3",
        "GET sid=abc ",
    ];
    assert_eq!(requests, expected);
}

/// A server that speaks NATS to one subscriber and delivers these publications.
fn delivering(ring: &Ring, places: &[usize]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut publications = Vec::new();
    for place in places {
        publications.extend(b"MSG bench.0 1 128\r\n");
        publications.extend(ring.message(*place));
        publications.extend(b"\r\n");
    }
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"INFO {}\r\n").unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap()).lines();
        let mut pings = lines.map_while(Result::ok).filter(|line| line == "PING");
        pings.next().unwrap();
        socket.write_all(b"PONG\r\n").unwrap();
        // The next ping arrives when the subscriber wants the publications.
        pings.next().unwrap();
        socket.write_all(&publications).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
    });
    address
}

/// The number of publications that a subscriber receives until the server closes the connection, or
/// until it reports an error.
fn heard(ring: &Ring, places: &[usize]) -> (u64, String) {
    let dialer = Dialer::new(delivering(ring, places), None).unwrap();
    let mut crowd = Crowd::new().unwrap();
    let subscriber = Rc::new(part(Dialect::Nats, true));
    crowd
        .open(&dialer, [subscriber].into_iter(), |_| {})
        .unwrap();
    crowd.connections[0].say(&Dialect::Nats.ping()).unwrap();
    let mut count = 0;
    loop {
        let turn = crowd.turn(ring, None, |_, _, heard| {
            count += u64::from(heard == Heard::Publication);
            Ok(())
        });
        if let Err(error) = turn {
            return (count, format!("{error:#}"));
        }
    }
}

#[test]
fn publications_in_order_are_accepted() {
    let ring = Ring::new(SHAPE, 1, None).unwrap();
    let lap: Vec<usize> = (0..ring.lap()).chain(0..3).collect();
    let (count, end) = heard(&ring, &lap);
    assert_eq!(count, lap.len() as u64, "{end}");
    assert!(end.contains("closed the connection"), "{end}");
}

#[test]
fn a_missing_early_late_or_repeated_publication_is_detected() {
    let ring = Ring::new(SHAPE, 1, None).unwrap();
    for (places, before) in [
        (&[1, 2][..], 0),
        (&[0, 2], 1),
        (&[0, 0, 1], 1),
        (&[0, 1, 3, 2], 2),
    ] {
        let (count, end) = heard(&ring, places);
        assert_eq!(count, before, "{places:?}: {end}");
        assert!(end.contains("is lost, late or wrong"), "{places:?}: {end}");
    }
}
