//! A server for one connection that does what its script says, on a thread.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use offhook::protocol::handshake::accept_for_key;
use offhook_testkit::Frame;

/// A connection whose opening handshake is done.
pub(crate) struct Peer {
    stream: TcpStream,
    /// The request's head.
    pub(crate) head: String,
}

/// Listens, opens one WebSocket with these additional header lines, and runs the script. The thread
/// returns what the script returned.
pub(crate) fn peer<T: Send + 'static>(
    lines: &'static str,
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    answering(
        move |head| {
            let accept = accept_for_key(field(head, "Sec-WebSocket-Key").as_bytes());
            let accept = String::from_utf8_lossy(&accept).into_owned();
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
            )
        },
        script,
    )
}

/// Listens, answers one request like this, and runs the script.
pub(crate) fn answering<T: Send + 'static>(
    answer: impl FnOnce(&str) -> String + Send + 'static,
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let playing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("a head");
        stream
            .write_all(answer(&head).as_bytes())
            .expect("it reads");
        script(&mut Peer { stream, head })
    });
    (url, playing)
}

/// A field of a head; empty where it is absent.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(field, _)| *field == name)
        .map_or("", |(_, value)| value)
}

impl Peer {
    pub(crate) fn say(&mut self, frame: &Frame) {
        self.stream
            .write_all(&frame.encode(false))
            .expect("it reads");
    }

    /// The next frame that is not a ping or pong; `None` at the end.
    pub(crate) fn hear(&mut self) -> Option<Frame> {
        let mut wire = vec![0; 2];
        self.stream.read_exact(&mut wire).ok()?;
        let more = match wire[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        self.read(&mut wire, more + 4)?;
        let (header, _) = offhook::protocol::FrameHeader::parse(&wire).ok()??;
        self.read(&mut wire, usize::try_from(header.payload_len).ok()?)?;
        let (frame, _) = Frame::decode_all(&wire).pop()?;
        if matches!(frame.opcode(), 9 | 10) {
            self.hear()
        } else {
            Some(frame)
        }
    }

    fn read(&mut self, wire: &mut Vec<u8>, count: usize) -> Option<()> {
        let before = wire.len();
        wire.resize(before + count, 0);
        self.stream.read_exact(&mut wire[before..]).ok()
    }
}
