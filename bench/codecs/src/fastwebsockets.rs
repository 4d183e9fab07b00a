//! fastwebsockets, with the collector of fragments that its examples use.

use std::sync::Arc;

use fastwebsockets::{FragmentCollector, Frame, Payload, Role, WebSocket};

use crate::memory::{Memory, run};
use crate::race::Work;
use crate::traffic::Traffic;

pub const NAME: &str = "fastwebsockets";

fn socket(wire: &Arc<[u8]>, server: bool) -> WebSocket<Memory> {
    let role = if server { Role::Server } else { Role::Client };
    WebSocket::after_handshake(Memory::new(wire), role)
}

pub fn read(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = FragmentCollector::new(socket(wire, traffic.masked));
    Box::new(move |count| {
        run(async {
            for _ in 0..count {
                let frame = socket.read_frame().await.expect("valid");
                assert_eq!(frame.payload.len(), traffic.size);
            }
        });
        count
    })
}

pub fn echo(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = FragmentCollector::new(socket(wire, true));
    Box::new(move |count| {
        run(async {
            for _ in 0..count {
                let frame = socket.read_frame().await.expect("valid");
                assert_eq!(frame.payload.len(), traffic.size);
                socket.write_frame(frame).await.expect("open");
            }
        });
        count
    })
}

pub fn write(traffic: Traffic, server: bool) -> Work {
    let mut socket = socket(&[].into(), server);
    let payload = traffic.content.payload(traffic.size);
    Box::new(move |count| {
        run(async {
            for _ in 0..count {
                let frame = Frame::binary(Payload::Borrowed(&payload));
                socket.write_frame(frame).await.expect("open");
            }
        });
        count
    })
}
