//! Any file must be read or rejected, without panics.

use std::sync::LazyLock;

use proptest::prelude::*;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::version;

use super::packets::{Connection, pcap, pcapng};
use super::tls::captured;
use crate::decode::capture::read;
use crate::decode::capture::tls::KeyLog;
use crate::decode::connections::{Carried, carried};
use crate::explain::{Conversation, Side};

/// Processes a file like the command does.
fn decode(file: &[u8], keys: &KeyLog) {
    let Ok(capture) = read(file) else { return };
    let mut log = KeyLog::default();
    for secrets in &capture.secrets {
        log.read(secrets);
    }
    let found = capture.streams();
    let payload: usize = capture
        .packets
        .iter()
        .map(|packet| packet.bytes.len())
        .sum();
    for stream in &found.streams {
        let read: usize = stream.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        assert!(read <= payload, "no byte is read twice");
        for keys in [keys, &log] {
            if let Carried::WebSocket { data, .. } = carried(stream, keys) {
                let mut conversation = Conversation::new();
                for part in data {
                    conversation.take(part.side, &part.bytes);
                }
                conversation.finish();
            }
        }
    }
}

static SEALED: LazyLock<(Vec<u8>, KeyLog)> = LazyLock::new(|| {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let (file, log) = captured(suite, &version::TLS13, b"\x89\x80aaaa", &[0x8a, 0]);
    let mut keys = KeyLog::default();
    keys.read(log.as_bytes());
    (file, keys)
});

fn plain(as_pcapng: bool) -> Vec<u8> {
    let mut connection = Connection::open();
    connection.send(
        Side::Client,
        b"GET / HTTP/1.1\r\nSec-WebSocket-Key: a\r\n\r\n\x89\x80aaaa",
    );
    connection.send(Side::Server, b"HTTP/1.1 101 ok\r\n\r\n\x8a\x00");
    if as_pcapng {
        pcapng(connection.packets(), b"CLIENT_RANDOM 00 11\n")
    } else {
        pcap(1, connection.packets())
    }
}

fn damaged(mut file: Vec<u8>, changes: &[(usize, u8)], cut: usize) -> Vec<u8> {
    let length = file.len();
    for (at, byte) in changes {
        file[at % length] = *byte;
    }
    file.truncate(cut % (length + 1));
    file
}

proptest! {
    #[test]
    fn any_bytes_after_a_magic_number_are_parsed_without_a_panic(
        magic in prop::sample::select(vec![&b"\xd4\xc3\xb2\xa1"[..], b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a", b""]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        decode(&[magic, &bytes].concat(), &KeyLog::default());
    }

    #[test]
    fn a_damaged_capture_is_parsed_without_a_panic(as_pcapng: bool, changes in prop::collection::vec(any::<(usize, u8)>(), 0..6), cut: usize) {
        decode(&damaged(plain(as_pcapng), &changes, cut), &KeyLog::default());
    }

    #[test]
    fn a_damaged_capture_of_tls_is_parsed_without_a_panic(changes in prop::collection::vec(any::<(usize, u8)>(), 0..4), cut: usize) {
        let (file, keys) = &*SEALED;
        decode(&damaged(file.clone(), &changes, cut), keys);
    }

    #[test]
    fn any_packet_of_any_link_layer_is_parsed_without_a_panic(link in 0_u32..300, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut file = pcap(link, Vec::new());
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        file.extend([&[0; 8][..], &length, &length, &bytes].concat());
        decode(&file, &KeyLog::default());
    }

    #[test]
    fn any_key_log_is_parsed_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        KeyLog::default().read(&text);
    }
}
