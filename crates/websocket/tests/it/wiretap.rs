//! Observing the bytes of a connection.

use std::sync::{Arc, Mutex};

use offhook::Wiretap;
use offhook::protocol::{FrameHeader, OpCode, mask};

use crate::scripted::{Reply, Server};

#[derive(Default)]
struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    connected: usize,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Wiretap for Heard {
    fn connected(&self) {
        self.0.lock().unwrap().connected += 1;
    }

    fn sent(&self, bytes: &[u8]) {
        self.0.lock().unwrap().sent.extend(bytes);
    }

    fn received(&self, bytes: &[u8]) {
        self.0.lock().unwrap().received.extend(bytes);
    }
}

/// The bytes after the last head.
fn frames(bytes: &[u8]) -> Vec<u8> {
    let at = bytes.windows(4).rposition(|four| four == b"\r\n\r\n");
    bytes[at.unwrap() + 4..].to_vec()
}

#[tokio::test]
async fn the_wiretap_gets_every_byte_of_handshake_and_frames() {
    let server = Server::with([Reply::open_with("", b"\x81\x05Hello")]).await;
    let heard = Arc::new(Heard::default());
    let connect = server.connect().wiretap(heard.clone());
    let mut socket = connect.open().await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some("Hello".into()));
    socket.send("hi").await.unwrap();
    socket.sender().flush().await.unwrap();
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard.connected, 1);
    assert!(heard.sent.starts_with(b"GET / HTTP/1.1\r\n"));
    assert!(heard.received.starts_with(b"HTTP/1.1 101"));
    assert_eq!(frames(&heard.received), b"\x81\x05Hello");
    let mut sent = frames(&heard.sent);
    let (header, len) = FrameHeader::parse(&sent).unwrap().unwrap();
    assert_eq!((header.opcode, header.payload_len), (OpCode::Text, 2));
    mask(&mut sent[len..], header.mask.unwrap(), 0);
    assert_eq!(&sent[len..], b"hi");
}

#[tokio::test]
async fn the_wiretap_reports_a_redirect_as_a_separate_connection() {
    let server = Server::with([Reply::redirect(302, "/there"), Reply::open()]).await;
    let heard = Arc::new(Heard::default());
    let connect = server.connect().wiretap(heard.clone());
    let _socket = connect.open().await.unwrap();
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard.connected, 2);
    let sent = String::from_utf8_lossy(&heard.sent);
    assert!(sent.contains("GET /there HTTP/1.1"), "{sent}");
}

#[cfg(any(feature = "aws-lc", feature = "ring"))]
#[tokio::test]
async fn the_wiretap_gets_plaintext_over_tls() {
    use crate::authority::{Authority, serve};
    use crate::scripted::to;

    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let (port, _seen) = serve(acceptor, vec![Reply::open_with("", b"\x81\x05Hello")]).await;
    let heard = Arc::new(Heard::default());
    let connect = to(format!("wss://localhost:{port}/")).tls(authority.tls());
    let mut socket = connect.wiretap(heard.clone()).open().await.unwrap();
    socket.recv().await.unwrap();
    let heard = heard.0.lock().unwrap();
    assert!(heard.sent.starts_with(b"GET / HTTP/1.1\r\n"));
    assert_eq!(frames(&heard.received), b"\x81\x05Hello");
}
