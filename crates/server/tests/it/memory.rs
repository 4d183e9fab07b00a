//! The memory that strangers can make the server hold: bounded, visible, and given back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::hall::{Hall, NEVER, config};

const CONNECT: &[u8] = br#"{"type":"connect","id":1}"#;

/// The end of a message that has begun.
const END: &[u8] = &[0x80, 0x80, 0, 0, 0, 0];

/// A masked text frame of up to 125 bytes; the mask is 0.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(text);
    bytes
}

/// A text message of this many bytes without its end.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x01];
    match u16::try_from(bytes) {
        Ok(bytes) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&bytes.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.resize(frame.len() + bytes, b'x');
    frame
}

/// Reads the next frame that is no ping: its opcode and payload. Pings are answered.
async fn next_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.unwrap();
        let length = match head[1] {
            126 => usize::from(stream.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        let opcode = head[0] & 0x0F;
        if opcode != 0x9 {
            return (opcode, payload);
        }
        let mut pong = vec![0x8A, 0x80 | length as u8, 0, 0, 0, 0];
        pong.extend_from_slice(&payload);
        stream.write_all(&pong).await.unwrap();
    }
}

/// Reads frames until a Close, and returns its code.
async fn until_closed(stream: &mut TcpStream) -> u16 {
    timeout(NEVER, async {
        loop {
            if let (0x8, payload) = next_frame(stream).await {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    })
    .await
    .unwrap()
}

/// The next message, as text.
async fn next_text(stream: &mut TcpStream) -> String {
    let frame = timeout(NEVER, next_frame(stream)).await.unwrap();
    assert_eq!(frame.0, 0x1, "{frame:?}");
    String::from_utf8(frame.1).unwrap()
}

/// Asks how the server is until it is so.
async fn until_health(hall: &Hall, is_so: impl Fn(&Value) -> bool) -> Value {
    timeout(NEVER, async {
        loop {
            let (_, health) = hall.health().await;
            if is_so(&health) {
                return health;
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_incomplete_message_closes_its_connection_in_time_even_if_pings_are_answered() {
    let mut config = config();
    config.messages.receive_within = Duration::from_secs(1);
    config.keepalive.interval = Some(Duration::from_millis(100));
    let hall = Hall::open(config).await;
    let mut stream = hall.upgraded_by_hand().await;
    stream.write_all(&frame(CONNECT)).await.unwrap();
    stream.write_all(&unfinished(200_000)).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, 1008);
    until_health(&hall, |health| health["unfinished_bytes"] == 0).await;
    hall.close().await;
}

#[tokio::test]
async fn the_deadline_for_an_incomplete_message_starts_anew_with_each_message() {
    let mut config = config();
    config.messages.receive_within = Duration::from_secs(2);
    config.limits.flood = 1_000_000;
    let hall = Hall::open(config).await;
    let mut stream = connected(&hall).await;
    let mut other = connected(&hall).await;
    other.write_all(&unfinished(1_000)).await.unwrap();
    // The end of one message and the beginning of the next, repeatedly, until the unfinished
    // message has timed out. Each is answered with an error, which paces this.
    let mut closed = Box::pin(until_closed(&mut other));
    stream.write_all(&unfinished(1_000)).await.unwrap();
    let end_and_beginning = [END.to_vec(), unfinished(1_000)].concat();
    loop {
        stream.write_all(&end_and_beginning).await.unwrap();
        let answer = next_text(&mut stream).await;
        assert!(answer.contains("bad_request"), "{answer}");
        tokio::select! {
            biased;
            code = &mut closed => {
                assert_eq!(code, 1008);
                break;
            }
            () = std::future::ready(()) => {}
        }
    }
    drop(closed);
    // The connection is open: its unfinished message is completed and answered.
    stream.write_all(END).await.unwrap();
    let answer = next_text(&mut stream).await;
    assert!(answer.contains("bad_request"), "{answer}");
    hall.close().await;
}

async fn connected(hall: &Hall) -> TcpStream {
    let mut stream = hall.upgraded_by_hand().await;
    stream.write_all(&frame(CONNECT)).await.unwrap();
    let welcome = next_text(&mut stream).await;
    assert!(welcome.contains("welcome"), "{welcome}");
    stream
}

#[tokio::test]
async fn above_the_memory_budget_the_largest_incomplete_messages_are_dropped() {
    let mut config = config();
    config.memory.bytes = 1 << 20;
    let hall = Hall::open(config).await;
    let mut small = connected(&hall).await;
    small.write_all(&unfinished(10_000)).await.unwrap();
    let mut large = Vec::new();
    for _ in 0..7 {
        large.push(connected(&hall).await);
    }
    for stream in &mut large {
        stream.write_all(&unfinished(250_000)).await.unwrap();
    }
    // Enough of them are closed.
    let within = until_health(&hall, |health| {
        let unfinished = health["unfinished_bytes"].as_u64().unwrap();
        unfinished > 0 && unfinished <= 1 << 20 && health["connections"].as_u64() < Some(8)
    })
    .await;
    assert_eq!(within["memory_limit"], 1 << 20);
    assert!(
        within["connections"].as_u64() > Some(2),
        "no more than needed: {within}"
    );
    drop(large);
    small.write_all(END).await.unwrap();
    let answer = next_text(&mut small).await;
    assert!(answer.contains("bad_request"), "it is open: {answer}");
    until_health(&hall, |health| health["memory"] == "low").await;
    hall.close().await;
}

#[tokio::test]
async fn channels_in_memory_are_limited_to_half_of_the_memory_budget() {
    let mut config = config();
    config.memory.bytes = 256 << 10;
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    // Names that hold nothing: a few hundred fill 128 KiB.
    let mut n = 0;
    let refused = loop {
        let channel = format!("fleeting/{n}");
        let request =
            json!({"type": "publish", "id": n + 10, "channel": channel, "data": "x", "key": "k"});
        let answer = caller.ask(request).await;
        if answer["type"] == "error" {
            break answer;
        }
        n += 1;
        assert!(n < 10_000, "nothing was refused");
    };
    assert_eq!(refused["code"], "busy");
    let text = refused["message"].as_str().unwrap();
    assert!(text.contains("its limit of channels"), "{text}");
    let (_, health) = hall.health().await;
    assert!(
        health["channel_bytes"].as_u64().unwrap() >= 128 << 10,
        "{health}"
    );
    // The existing connections continue.
    let again = json!({"type": "publish", "id": 9, "channel": "fleeting/0", "data": "x"});
    assert_eq!(caller.ask(again).await["type"], "published");
    hall.close().await;
}

/// The beginning of a CONNECT of MQTT that announces 250,000 bytes, with this many of them.
fn unfinished_connect(bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x10, 0x90, 0xa1, 0x0f];
    packet.resize(packet.len() + bytes, 0);
    packet
}

#[tokio::test]
async fn the_first_packets_of_strangers_count_towards_the_memory_and_the_largest_are_ended() {
    let mut config = config();
    config.mqtt.listen = vec![([127, 0, 0, 1], 0).into()];
    config.memory.bytes = 4 << 20;
    // Otherwise, strangers would be ended because they take too long.
    config.connections.connect_timeout = 10 * NEVER;
    let hall = Hall::open(config).await;
    let mut first = TcpStream::connect(hall.mqtt_address()).await.unwrap();
    first.write_all(&unfinished_connect(200_000)).await.unwrap();
    until_health(&hall, |health| health["unfinished_bytes"] == 200_004).await;
    let mut strangers = JoinSet::new();
    for _ in 0..40 {
        let address = hall.mqtt_address();
        strangers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // A stranger that has been ended takes no more, or resets the connection.
            let _sent = stream.write_all(&unfinished_connect(220_000)).await;
            let _end = stream.read_to_end(&mut Vec::new()).await;
        });
    }
    timeout(NEVER, strangers.join_next())
        .await
        .expect("somebody is ended")
        .unwrap()
        .unwrap();
    hall.close().await;
}
