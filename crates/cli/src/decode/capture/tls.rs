//! TLS, decrypted with the secrets of a key log (`SSLKEYLOGFILE`).
//!
//! ```text
//!                 ServerHello           ChangeCipherSpec (1.2), Finished (1.3)
//!   plain records ───────────▶ handshake ─────────────────────────────────────▶ data
//! ```
//!
//! TLS 1.2 and 1.3 with AES-GCM and ChaCha20-Poly1305, which today's clients and servers negotiate.
//! Early data (0-RTT) and renegotiation are not supported.

mod hello;
mod key_log;
mod protection;

use std::fmt;

use self::hello::Hello;
pub(in crate::decode) use self::key_log::KeyLog;
use self::key_log::Secret;
use self::protection::{Protection, Suite};
use super::bytes::Reader;
use crate::explain::Side;

/// Whether these bytes start a TLS connection: a handshake record.
pub(in crate::decode) fn is_it(bytes: &[u8]) -> bool {
    bytes.starts_with(&[HANDSHAKE, 3])
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A record's header.
const HEADER: usize = 5;

/// RFC 8446 §5.2 and RFC 5246 §6.2.3: the longest record, with its expansion.
const LONGEST_RECORD: usize = (1 << 14) + 2048;

/// The longest handshake message processed. 256 KiB: certificate chains are far shorter.
const LONGEST_MESSAGE: usize = 256 << 10;

/// Why a connection cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Sealed {
    /// The key log has no secrets for it.
    NoSecret,
    /// The cipher suite is not supported.
    Suite(u16),
    /// The start was not captured.
    NoHello,
    /// A record is invalid, or the secrets do not decrypt it.
    Record,
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => f.write_str(
                "TLS, and no key for it: run the client or the server with SSLKEYLOGFILE=FILE, and \
                 give --key-log FILE",
            ),
            Self::Suite(suite) => write!(
                f,
                "TLS with cipher suite {suite:#06x}; those with AES-GCM or ChaCha20-Poly1305 can be \
                 decrypted"
            ),
            Self::NoHello => f.write_str("TLS whose handshake was not captured"),
            Self::Record => {
                f.write_str("TLS with a record that the key log's secrets do not decrypt")
            }
        }
    }
}

/// A connection that is being decrypted.
#[derive(Debug)]
pub(in crate::decode) struct Session<'k> {
    keys: &'k KeyLog,
    client_random: Option<[u8; 32]>,
    /// The negotiated parameters.
    agreed: Option<Agreed>,
    /// The client's direction and the server's.
    halves: [Half; 2],
}

#[derive(Clone, Copy, Debug)]
struct Agreed {
    suite: Suite,
    is_1_3: bool,
    server_random: [u8; 32],
}

#[derive(Debug, Default)]
struct Half {
    buffer: Vec<u8>,
    /// Incomplete handshake messages.
    messages: Vec<u8>,
    protection: Option<Protection>,
    /// TLS 1.3: whether records now carry data instead of the handshake.
    is_after_finished: bool,
}

impl<'k> Session<'k> {
    pub(in crate::decode) fn new(keys: &'k KeyLog) -> Self {
        Self {
            keys,
            client_random: None,
            agreed: None,
            halves: Default::default(),
        }
    }

    /// Processes bytes sent by one side, and returns the data in them.
    pub(in crate::decode) fn take(&mut self, side: Side, bytes: &[u8]) -> Result<Vec<u8>, Sealed> {
        self.halves[index(side)].buffer.extend_from_slice(bytes);
        let mut data = Vec::new();
        let mut at = 0;
        loop {
            let rest = self.halves[index(side)].buffer.get(at..).unwrap_or(&[]);
            let Some((kind, length)) = header(rest)? else {
                break;
            };
            let Some(record) = rest.get(..HEADER + length).map(<[u8]>::to_vec) else {
                break;
            };
            at += record.len();
            self.record(side, kind, &record, &mut data)?;
        }
        self.halves[index(side)].buffer.drain(..at);
        Ok(data)
    }

    fn record(
        &mut self,
        side: Side,
        kind: u8,
        record: &[u8],
        data: &mut Vec<u8>,
    ) -> Result<(), Sealed> {
        let content = &record[HEADER..];
        if self.halves[index(side)].protection.is_none() {
            return match kind {
                HANDSHAKE => self.handshake(side, content),
                CHANGE_CIPHER_SPEC => self.change_cipher(side),
                DATA => Err(Sealed::NoHello),
                _ => Ok(()),
            };
        }
        // RFC 8446 §5: change_cipher_spec in TLS 1.3 exists for middleboxes and is not encrypted.
        if kind == CHANGE_CIPHER_SPEC {
            return Ok(());
        }
        let is_1_3 = self.agreed.is_some_and(|agreed| agreed.is_1_3);
        let Some((kind, plain)) = self.open(side, is_1_3, record)? else {
            return Ok(());
        };
        match kind {
            DATA => data.extend_from_slice(&plain),
            HANDSHAKE if is_1_3 => self.handshake(side, &plain)?,
            _ => {}
        }
        Ok(())
    }

    /// Decrypts a protected record; returns its actual type and content.
    fn open(
        &mut self,
        side: Side,
        is_1_3: bool,
        record: &[u8],
    ) -> Result<Option<(u8, Vec<u8>)>, Sealed> {
        let half = &mut self.halves[index(side)];
        let Some(protection) = &mut half.protection else {
            return Ok(None);
        };
        if !is_1_3 {
            let plain = protection.open_1_2(record).ok_or(Sealed::Record)?;
            return Ok(Some((record[0], plain)));
        }
        if let Some(opened) = protection.open_1_3(record) {
            return Ok(Some(opened));
        }
        if half.is_after_finished {
            return Err(Sealed::Record);
        }
        // Early data, or a handshake whose secret is not in the log: wait for the first record that
        // the traffic secret decrypts.
        let mut data = self.traffic(Secret::Traffic(side))?;
        let Some(opened) = data.open_1_3(record) else {
            return Ok(None);
        };
        let half = &mut self.halves[index(side)];
        half.protection = Some(data);
        half.is_after_finished = true;
        Ok(Some(opened))
    }

    fn change_cipher(&mut self, side: Side) -> Result<(), Sealed> {
        let (Some(agreed), Some(random)) = (self.agreed, self.client_random) else {
            return Err(Sealed::NoHello);
        };
        if agreed.is_1_3 {
            return Ok(());
        }
        let master = self.keys.secret(&random, Secret::Master);
        let master = master.ok_or(Sealed::NoSecret)?;
        let protection =
            Protection::of_1_2(agreed.suite, master, &random, &agreed.server_random, side);
        self.halves[index(side)].protection = Some(protection.ok_or(Sealed::Record)?);
        Ok(())
    }

    /// Processes a part of the handshake.
    fn handshake(&mut self, side: Side, bytes: &[u8]) -> Result<(), Sealed> {
        self.halves[index(side)].messages.extend_from_slice(bytes);
        loop {
            let messages = &mut self.halves[index(side)].messages;
            let mut reader = Reader::network(messages);
            let (Some(kind), Some(length)) = (reader.u8(), reader.u24()) else {
                return Ok(());
            };
            if length > LONGEST_MESSAGE {
                return Err(Sealed::Record);
            }
            let Some(body) = reader.take(length).map(<[u8]>::to_vec) else {
                return Ok(());
            };
            messages.drain(..4 + length);
            self.message(side, kind, &body)?;
        }
    }

    fn message(&mut self, side: Side, kind: u8, body: &[u8]) -> Result<(), Sealed> {
        const CLIENT_HELLO: u8 = 1;
        const SERVER_HELLO: u8 = 2;
        const FINISHED: u8 = 20;
        const KEY_UPDATE: u8 = 24;
        let is_1_3 = self.agreed.is_some_and(|agreed| agreed.is_1_3);
        match (kind, side) {
            (CLIENT_HELLO, Side::Client) => {
                let hello = hello::client(body).ok_or(Sealed::Record)?;
                self.client_random = Some(hello);
            }
            (SERVER_HELLO, Side::Server) => {
                let hello = hello::server(body).ok_or(Sealed::Record)?;
                self.server_hello(&hello)?;
            }
            (FINISHED, _) if is_1_3 => {
                let protection = self.traffic(Secret::Traffic(side))?;
                let half = &mut self.halves[index(side)];
                half.protection = Some(protection);
                half.is_after_finished = true;
            }
            (KEY_UPDATE, _) if is_1_3 => {
                let half = &mut self.halves[index(side)];
                let next = half.protection.as_ref().and_then(Protection::next);
                half.protection = Some(next.ok_or(Sealed::Record)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn server_hello(&mut self, hello: &Hello) -> Result<(), Sealed> {
        if hello.is_retry {
            // RFC 8446 §4.1.4: the client starts again, with the same random.
            return Ok(());
        }
        let suite = Suite::new(hello.suite).ok_or(Sealed::Suite(hello.suite))?;
        self.agreed = Some(Agreed {
            suite,
            is_1_3: hello.is_1_3,
            server_random: hello.random,
        });
        let random = self.client_random.ok_or(Sealed::NoHello)?;
        if !hello.is_1_3 {
            let known = self.keys.secret(&random, Secret::Master);
            return known.map(drop).ok_or(Sealed::NoSecret);
        }
        for side in [Side::Client, Side::Server] {
            // Some logs contain only the traffic secrets; see `open`.
            let protection = self
                .traffic(Secret::Handshake(side))
                .or_else(|_| self.traffic(Secret::Traffic(side)))?;
            self.halves[index(side)].protection = Some(protection);
        }
        Ok(())
    }

    /// The keys derived from a TLS 1.3 secret.
    fn traffic(&self, secret: Secret) -> Result<Protection, Sealed> {
        let agreed = self.agreed.ok_or(Sealed::NoHello)?;
        let random = self.client_random.ok_or(Sealed::NoHello)?;
        let secret = self.keys.secret(&random, secret).ok_or(Sealed::NoSecret)?;
        Protection::of_1_3(agreed.suite, secret).ok_or(Sealed::Record)
    }
}

/// The type and length of the record that starts here; `None` until its header is complete.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, Sealed> {
    let Some([kind, major, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let is_record = (20..=24).contains(kind) && *major == 3 && length <= LONGEST_RECORD;
    if is_record {
        Ok(Some((*kind, length)))
    } else {
        Err(Sealed::Record)
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Server)
}
