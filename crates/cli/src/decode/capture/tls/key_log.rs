//! Key logs: lines with a label, the client's random and a secret, as browsers, curl, OpenSSL and
//! rustls write them to `SSLKEYLOGFILE`.

use std::collections::HashMap;

use crate::explain::Side;

/// The kind of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Secret {
    /// TLS 1.2's master secret.
    Master,
    /// TLS 1.3's handshake secret of one side.
    Handshake(Side),
    /// TLS 1.3's traffic secret of one side.
    Traffic(Side),
}

/// The secrets of connections, by the client's random.
#[derive(Debug, Default)]
pub(in crate::decode) struct KeyLog {
    secrets: HashMap<([u8; 32], Secret), Vec<u8>>,
}

/// The longest secret: SHA-384's 48 bytes, and room for more.
const LONGEST: usize = 64;

impl KeyLog {
    /// Adds the secrets of a log; other lines are ignored. Returns how many secrets there are.
    pub(in crate::decode) fn read(&mut self, text: &[u8]) -> usize {
        for line in text.split(|byte| *byte == b'\n') {
            if let Some((random, secret, bytes)) = line_of(line) {
                self.secrets.insert((random, secret), bytes);
            }
        }
        self.secrets.len()
    }

    pub(super) fn secret(&self, random: &[u8; 32], secret: Secret) -> Option<&[u8]> {
        self.secrets.get(&(*random, secret)).map(Vec::as_slice)
    }
}

fn line_of(line: &[u8]) -> Option<([u8; 32], Secret, Vec<u8>)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let secret = match words.next()? {
        "CLIENT_RANDOM" => Secret::Master,
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Secret::Handshake(Side::Client),
        "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Secret::Handshake(Side::Server),
        "CLIENT_TRAFFIC_SECRET_0" => Secret::Traffic(Side::Client),
        "SERVER_TRAFFIC_SECRET_0" => Secret::Traffic(Side::Server),
        _ => return None,
    };
    let random = digits(words.next()?)?.try_into().ok()?;
    let bytes = digits(words.next()?)?;
    (!bytes.is_empty() && bytes.len() <= LONGEST).then_some((random, secret, bytes))
}

fn digits(word: &str) -> Option<Vec<u8>> {
    crate::digits::parse(word).ok()
}
