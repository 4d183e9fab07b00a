//! The bodies of the fuzz targets that need more than the test kit: those of the dialects, and the
//! differential one, which compares ours with tungstenite.
//!
//! # The differential target
//!
//! Both receive the same whole frames, as a server or as a client. They must return the same
//! messages, and either both fail or neither. The error and the Close they answer with may differ.
//!
//! Permitted differences, and how the target avoids them:
//! - Ours refuses lengths that are not minimal (RFC 6455 §5.2), tungstenite accepts them: only
//!   minimal ones are generated.
//! - tungstenite reports a Close with a code that must not be sent as one with 1002 and a reason of
//!   its own; ours fails.
//! - Ours accepts a Close with 1014, bad gateway, which is registered at IANA; tungstenite fails.
//! - Ours fails on text at its first invalid byte, tungstenite at the end of the frame: only whole
//!   frames are generated.

pub mod graphql;
pub mod mqtt;
pub mod mqtt_connection;
pub mod native_cbor;
pub mod pusher;
pub mod socketio;
pub mod stomp;

use std::io::{self, Read, Write};

use offhook_protocol::Config;
use offhook_testkit::{Frame, Heard, Talk, frames};
use tungstenite::error::Error;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// The frames given to both.
pub fn differential(data: &[u8]) {
    let Some((&role, script)) = data.split_first() else {
        return;
    };
    let server = role & 1 == 1;
    // Sometimes a mask is missing, or present where it is not allowed.
    let masked = server != (role & 0x1f == 0x1f);
    let bytes: Vec<u8> = script_frames(script)
        .iter()
        .flat_map(|frame| frame.encode(masked))
        .collect();
    let ours = tell_ours(&bytes, server);
    if let Some(Told::Close(1014, _)) = ours.last() {
        return;
    }
    let theirs = tell_theirs(&bytes, server);
    assert_eq!(ours, theirs, "ours, theirs");
}

/// The first byte of the header, the length of the payload in two bytes, and the payload.
fn script_frames(mut script: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, high, low, rest @ ..] = script {
        let len = usize::from(u16::from_be_bytes([*high, *low]) % 2048).min(rest.len());
        let (payload, after) = rest.split_at(len);
        let frame = frames::opcode(first & 0x0f, payload).rsv(first >> 4 & 7);
        frames.push(if first & 0x80 == 0 {
            frame.more()
        } else {
            frame
        });
        script = after;
    }
    frames
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Failed,
}

fn tell_ours(bytes: &[u8], server: bool) -> Vec<Told> {
    let mut talk = if server {
        Talk::with_server_of(Config::default())
    } else {
        Talk::with_client_of(Config::default())
    };
    let heard = talk.hears_bytes(bytes).into_iter();
    heard
        .map(|heard| match heard {
            Heard::Text(text) => Told::Text(text),
            Heard::Binary(bytes) => Told::Binary(bytes),
            Heard::Ping(payload) => Told::Ping(payload),
            Heard::Pong(payload, _) => Told::Pong(payload),
            Heard::Close(frame) => Told::Close(frame.code.get(), frame.reason.into()),
            Heard::Error(_) => Told::Failed,
            Heard::Chunk(..) => unreachable!("whole messages were asked for"),
        })
        .collect()
}

fn tell_theirs(bytes: &[u8], server: bool) -> Vec<Told> {
    let role = if server { Role::Server } else { Role::Client };
    let limit = Some(1024 * 1024);
    let config = WebSocketConfig::default()
        .max_message_size(limit)
        .max_frame_size(limit);
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), role, Some(config));
    let mut told = Vec::new();
    loop {
        told.push(match socket.read() {
            Ok(Message::Text(text)) => Told::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Told::Binary(bytes.into()),
            Ok(Message::Ping(payload)) => Told::Ping(payload.into()),
            Ok(Message::Pong(payload)) => Told::Pong(payload.into()),
            Ok(Message::Close(None)) => Told::Close(1005, String::new()),
            Ok(Message::Close(Some(frame))) if frame.reason.as_str() == "Protocol violation" => {
                Told::Failed
            }
            Ok(Message::Close(Some(frame))) => {
                Told::Close(frame.code.into(), frame.reason.as_str().to_owned())
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives none"),
            // Nothing more has arrived.
            Err(Error::Io(_)) => return told,
            Err(Error::ConnectionClosed) => return told,
            Err(_) => Told::Failed,
        });
        if matches!(told.last(), Some(Told::Failed | Told::Close(..))) {
            return told;
        }
    }
}

/// Reads return the bytes and then nothing; writes always succeed.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    fn replay(corpus: &str, target: fn(&[u8])) {
        let corpus = format!("{}/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).expect("the corpus is committed") {
            let input = std::fs::read(entry.expect("an entry").path()).expect("a readable input");
            target(&input);
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus is empty");
    }

    #[test]
    fn the_corpus_is_told_alike_by_both() {
        replay("differential", super::differential);
    }

    #[test]
    fn a_connection_with_graphql_says_only_its_messages_and_nothing_after_its_end() {
        replay("graphql_connection", super::graphql::graphql_connection);
    }

    #[test]
    fn a_message_in_cbor_means_the_same_in_json() {
        replay("native_cbor", super::native_cbor::native_cbor);
    }

    #[test]
    fn mqtt_packets_are_the_same_however_they_are_cut() {
        replay("mqtt_packets", super::mqtt::mqtt_packets);
    }

    #[test]
    fn a_connection_with_mqtt_says_only_packets_and_nothing_after_its_end() {
        replay("mqtt_connection", super::mqtt_connection::mqtt_connection);
    }

    #[test]
    fn a_connection_with_stomp_says_only_frames_and_nothing_after_its_end() {
        replay("stomp_connection", super::stomp::stomp_connection);
    }

    #[test]
    fn a_connection_with_pusher_says_only_its_messages_and_nothing_after_its_end() {
        replay("pusher_connection", super::pusher::pusher_connection);
    }

    #[test]
    fn socketio_packets_are_read_again_as_they_were() {
        replay("socketio_packets", super::socketio::socketio_packets);
    }
}
