//! `offhook-protocol`, which borrows the bytes it is given and lends messages out of them.

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use offhook_protocol::halves::{lend, reclaim};
use offhook_protocol::{Config, Connection, Event, Input, Message};

use crate::memory::{Memory, READ};
use crate::race::Work;
use crate::traffic::Traffic;

pub const NAME: &str = "offhook";

fn connection(server: bool) -> Connection {
    let config = Arc::new(Config::default());
    if server {
        Connection::server(config, Instant::now())
    } else {
        // The same generator as tungstenite and fastwebsockets use.
        Connection::client(config, Arc::new(rand::random::<[u8; 4]>), Instant::now())
    }
}

fn transmit(connection: &mut Connection, memory: &mut Memory) {
    while connection.has_output() {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.transmit(&mut slices);
        let taken = memory
            .write_vectored(&slices[..filled])
            .expect("memory takes all");
        connection.transmitted(taken);
    }
}

/// Reads the missing part of a long message directly into its buffer.
fn read_payload(
    connection: &mut Connection,
    memory: &mut Memory,
    now: Instant,
) -> Option<Message<'static>> {
    while let Some(mut room) = connection.payload_room() {
        memory.read_into(&mut room);
        if let Some(Event::Message(message)) = connection.payload_read(now).expect("valid") {
            return Some(message);
        }
    }
    None
}

/// Receives messages, as a driver with one read buffer does.
pub fn read(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut connection = connection(traffic.masked);
    let mut memory = Memory::new(wire);
    let mut buffer = vec![0; READ];
    let now = Instant::now();
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            if let Some(message) = read_payload(&mut connection, &mut memory, now) {
                assert_eq!(message.as_bytes().len(), traffic.size);
                done += 1;
            }
            let len = memory.read(&mut buffer).expect("memory reads");
            let mut input = Input::new(&mut buffer[..len], now);
            while let Some(event) = connection.receive(&mut input).expect("valid") {
                if let Event::Message(message) = event {
                    assert_eq!(message.as_bytes().len(), traffic.size);
                    done += 1;
                }
            }
        }
        done
    })
}

/// Receives messages and echoes each; all answers to one read leave in one write.
pub fn echo(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut connection = connection(true);
    let mut memory = Memory::new(wire);
    let mut buffer = vec![0; READ];
    let mut cork = Vec::with_capacity(READ);
    let now = Instant::now();
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            if let Some(message) = read_payload(&mut connection, &mut memory, now) {
                assert_eq!(message.as_bytes().len(), traffic.size);
                connection.send(message).expect("open");
                done += 1;
            }
            let len = memory.read(&mut buffer).expect("memory reads");
            let mut input = Input::new(&mut buffer[..len], now);
            lend(&mut connection, std::mem::take(&mut cork));
            while let Some(event) = connection.receive(&mut input).expect("valid") {
                if let Event::Message(message) = event {
                    assert_eq!(message.as_bytes().len(), traffic.size);
                    connection.send(message).expect("open");
                    done += 1;
                }
            }
            transmit(&mut connection, &mut memory);
            cork = reclaim(&mut connection).unwrap_or_default();
        }
        done
    })
}

/// Sends a slice, copied once into the frame.
pub fn write(traffic: Traffic, server: bool) -> Work {
    let payload = traffic.content.payload(traffic.size);
    write_with(traffic, server, move |connection| {
        connection.send(&payload[..]).expect("open");
    })
}

/// Sends shared bytes.
pub fn write_shared(traffic: Traffic, server: bool) -> Work {
    let payload: Bytes = traffic.content.payload(traffic.size);
    write_with(traffic, server, move |connection| {
        connection.send(payload.clone()).expect("open");
    })
}

fn write_with(traffic: Traffic, server: bool, send: impl Fn(&mut Connection) + 'static) -> Work {
    let mut connection = connection(server);
    let mut memory = Memory::new(&[].into());
    let mut cork = Vec::with_capacity(READ);
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            lend(&mut connection, std::mem::take(&mut cork));
            for _ in 0..traffic.batch() {
                send(&mut connection);
                done += 1;
            }
            transmit(&mut connection, &mut memory);
            cork = reclaim(&mut connection).unwrap_or_default();
        }
        done
    })
}
