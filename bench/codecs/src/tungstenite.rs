//! tungstenite, over a blocking stream.

use std::sync::Arc;

use bytes::Bytes;
use tungstenite::protocol::Role;
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::memory::Memory;
use crate::race::Work;
use crate::traffic::{Content, Traffic};

pub const NAME: &str = "tungstenite";

fn socket(wire: &Arc<[u8]>, server: bool) -> WebSocket<Memory> {
    let role = if server { Role::Server } else { Role::Client };
    WebSocket::from_raw_socket(Memory::new(wire), role, None)
}

pub fn read(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = socket(wire, traffic.masked);
    Box::new(move |count| {
        for _ in 0..count {
            let message = socket.read().expect("valid");
            assert_eq!(message.len(), traffic.size);
        }
        count
    })
}

pub fn echo(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = socket(wire, true);
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            for _ in 0..traffic.batch() {
                let message = socket.read().expect("valid");
                assert_eq!(message.len(), traffic.size);
                socket.write(message).expect("open");
                done += 1;
            }
            socket.flush().expect("memory takes all");
        }
        done
    })
}

pub fn write(traffic: Traffic, server: bool) -> Work {
    let mut socket = socket(&[].into(), server);
    let payload: Bytes = traffic.content.payload(traffic.size);
    let message = match traffic.content {
        Content::Binary => Message::Binary(payload),
        Content::Ascii | Content::Mixed => {
            Message::Text(Utf8Bytes::try_from(payload).expect("text"))
        }
    };
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            for _ in 0..traffic.batch() {
                socket.write(message.clone()).expect("open");
                done += 1;
            }
            socket.flush().expect("memory takes all");
        }
        done
    })
}
