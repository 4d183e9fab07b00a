//! The opening handshake (RFC 6455 §4.1), with the key of the RFC's example, so that the accept
//! value is known without hashing.

use anyhow::{Context as _, Result, ensure};

use crate::deflate::{self, Agreement};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that opens a connection.
#[must_use]
pub fn request(path: &str, subprotocol: Option<&str>, offer_deflate: bool) -> Vec<u8> {
    let subprotocol = subprotocol.map_or(String::new(), |name| {
        format!("Sec-WebSocket-Protocol: {name}\r\n")
    });
    let extensions = match offer_deflate {
        true => format!("Sec-WebSocket-Extensions: {}\r\n", deflate::OFFER),
        false => String::new(),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}{extensions}\r\n"
    )
    .into_bytes()
}

/// The end of the response's head in `bytes`, if it is complete.
#[must_use]
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Checks a response's head and returns the compression that the server agreed to.
pub fn response(head: &[u8]) -> Result<Option<Agreement>> {
    let head = std::str::from_utf8(head).context("the upgrade's response is not text")?;
    let status = head.lines().next().unwrap_or("");
    ensure!(
        status.starts_with("HTTP/1.1 101"),
        "the upgrade was refused: {status}"
    );
    let header = |name: &str| {
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
    };
    ensure!(
        header("sec-websocket-accept") == Some(ACCEPT),
        "wrong Sec-WebSocket-Accept"
    );
    header("sec-websocket-extensions")
        .map(Agreement::parse)
        .transpose()
}
