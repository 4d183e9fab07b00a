//! Performs the operations, and records what they promise.

use std::time::Duration;

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory, DeflatePool};
use offhook_protocol::{Config, Keepalive, Prepared, ReadyState, ReceiveMode, SendError};
use offhook_testkit::{End, Pair, Segments, deflates};

use super::ops::{Deflating, Op, Setup, Side};

/// The payload of a pong that answers nothing.
pub(super) const UNASKED: &[u8] = b"nobody asked";

/// Longer than the slowest link needs.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2000);

/// A message that was accepted for sending.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) payload: Vec<u8>,
    pub(super) text: bool,
    pub(super) urgent: bool,
}

pub(super) struct Run {
    pub(super) pair: Pair,
    pub(super) sent: [Vec<Sent>; 2],
    pub(super) pings: [Vec<Vec<u8>>; 2],
    /// The code of the `close` that each end called while it was open.
    pub(super) closes: [Option<u16>; 2],
    pub(super) lost: bool,
    /// What was written of the current message so far.
    streams: [Option<Sent>; 2],
    /// Messages sent while another one was being written piece by piece: they follow it.
    behind: [Vec<Sent>; 2],
    deflate: Option<(DeflateConfig, DeflatePool)>,
    /// Makes every payload different.
    count: usize,
}

impl Run {
    pub(super) fn new(setup: &Setup) -> Self {
        let config = Config {
            fragment_size: setup.fragment_size,
            lone_frame_size: 0,
            // Patient enough for the slowest link; a lost one still ends within the run.
            keepalive: Keepalive {
                interval: Some(Duration::from_secs(30)),
                pong_timeout: Duration::from_secs(600),
            },
            close_timeout: CLOSE_TIMEOUT,
            ..Config::default()
        };
        let mut pair = Pair::new(config.clone(), config);
        for (end, link) in [&mut pair.client, &mut pair.server]
            .into_iter()
            .zip(&setup.links)
        {
            end.link.delay = Duration::from_millis(link.delay_ms);
            end.link.capacity = link.capacity;
            if !link.segments.is_empty() {
                end.link.segments = Segments::Sizes(link.segments.clone());
            }
        }
        let mut deflate = None;
        if let Some(deflating) = &setup.deflate {
            let (deflated, of_server) = agree(pair, deflating);
            pair = deflated;
            deflate = Some((of_server, DeflatePool::default()));
        }
        Self {
            pair,
            sent: Default::default(),
            pings: Default::default(),
            closes: [None; 2],
            lost: false,
            streams: [None, None],
            behind: Default::default(),
            deflate,
            count: 0,
        }
    }

    pub(super) fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.pair.client,
            Side::Server => &self.pair.server,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.pair.client,
            Side::Server => &mut self.pair.server,
        }
    }

    pub(super) fn apply(&mut self, op: Op) {
        let now = self.pair.clock.now();
        match op {
            Op::Send(side, size) => {
                let message = self.message(size, false);
                let connection = &mut self.end_mut(side).connection;
                let result = match std::str::from_utf8(&message.payload) {
                    Ok(text) if message.text => connection.send(text),
                    _ => connection.send(message.payload.clone()),
                };
                self.note(side, message, result);
            }
            Op::Urgent(side, size) => {
                let message = self.message(size, true);
                let connection = &mut self.end_mut(side).connection;
                let result = match String::from_utf8(message.payload.clone()) {
                    Ok(text) if message.text => connection.send_urgent(text),
                    _ => connection.send_urgent(&*message.payload),
                };
                self.note(side, message, result);
            }
            Op::Prepared(side, size) => {
                let message = Sent {
                    text: false,
                    ..self.message(size, false)
                };
                let prepared = match &self.deflate {
                    Some((config, pool)) => Prepared::with_deflate(&*message.payload, config, pool),
                    None => Prepared::new(&*message.payload),
                };
                let result = self.end_mut(side).connection.send(&prepared);
                self.note(side, message, result);
            }
            Op::Piece(side, size, last) => self.piece(side, size, last),
            Op::Ping(side) => drop(self.end_mut(side).connection.ping(now)),
            Op::PingWith(side) => {
                self.count += 1;
                let payload = format!("ping {}", self.count).into_bytes();
                if self.end_mut(side).connection.ping_with(&payload).is_ok() {
                    self.pings[side as usize].push(payload);
                }
            }
            Op::Pong(side) => {
                let connection = &mut self.end_mut(side).connection;
                connection.pong(UNASKED).unwrap_or_default();
            }
            Op::Close(side, code) => self.close(side, code),
            Op::Chunks(side, chunks) => {
                let mode = if chunks {
                    ReceiveMode::Chunks
                } else {
                    ReceiveMode::Whole
                };
                self.end_mut(side).connection.set_receive_mode(mode);
            }
            Op::Pass(ms) => self.pair.run(Duration::from_millis(ms)),
            Op::Lose => {
                self.pair.lose_link();
                self.lost = true;
            }
        }
    }

    pub(super) fn close(&mut self, side: Side, code: u16) {
        let now = self.pair.clock.now();
        let connection = &mut self.end_mut(side).connection;
        let open = connection.ready_state() == ReadyState::Open;
        assert_eq!(
            connection.close(code.into(), "as the model says", now),
            Ok(())
        );
        if open {
            self.closes[side as usize] = Some(code);
        }
    }

    /// Ends the messages that are being written piece by piece.
    pub(super) fn finish_streams(&mut self) {
        for side in Side::BOTH {
            if self.streams[side as usize].is_some() {
                self.piece(side, 10, true);
            }
        }
    }

    fn piece(&mut self, side: Side, size: usize, last: bool) {
        let piece = self.message(size, false);
        let mut stream = self.streams[side as usize].take().unwrap_or(Sent {
            payload: Vec::new(),
            text: piece.text,
            urgent: false,
        });
        let connection = &mut self.end_mut(side).connection;
        // The first piece determines the type, so a text continues only with text.
        let text = stream
            .text
            .then(|| format!("ü{}", self_describing(&piece.payload)));
        let result = match &text {
            Some(text) => connection.send_piece(text, last),
            None => connection.send_piece(&*piece.payload, last),
        };
        let open = connection.ready_state() == ReadyState::Open;
        assert_eq!(
            result,
            if open {
                Ok(())
            } else {
                Err(SendError::NotOpen)
            }
        );
        if !open {
            return;
        }
        stream
            .payload
            .extend(text.map_or(piece.payload, String::into_bytes));
        if last {
            self.sent[side as usize].push(stream);
            let behind = std::mem::take(&mut self.behind[side as usize]);
            self.sent[side as usize].extend(behind);
        } else {
            self.streams[side as usize] = Some(stream);
        }
    }

    fn note(&mut self, side: Side, message: Sent, result: Result<(), SendError>) {
        let expected = if self.end(side).connection.ready_state() != ReadyState::Open {
            Err(SendError::NotOpen)
        } else {
            Ok(())
        };
        assert_eq!(result, expected);
        if result.is_err() {
            return;
        }
        if self.streams[side as usize].is_some() {
            self.behind[side as usize].push(message);
        } else {
            self.sent[side as usize].push(message);
        }
    }

    /// A unique message; every other one is text, and some parts of it compress well.
    fn message(&mut self, size: usize, urgent: bool) -> Sent {
        self.count += 1;
        let text = self.count.is_multiple_of(2);
        let mut payload = format!("message {} ", self.count).into_bytes();
        let mut noise = self.count as u32;
        while payload.len() < size {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match noise >> 30 {
                0 if !text => payload.extend(noise.to_be_bytes()),
                0 => payload.extend("größer 𝄞".bytes()),
                1 => payload.extend(noise.to_string().bytes()),
                _ => payload.extend(b"the same words again, "),
            }
        }
        Sent {
            payload,
            text,
            urgent,
        }
    }
}

/// Any bytes as text.
fn self_describing(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both ends, with what a handshake would have negotiated.
fn agree(pair: Pair, wanted: &Deflating) -> (Pair, DeflateConfig) {
    let config = |memory: u8| {
        DeflateConfig::default()
            .memory(match memory {
                0..=8 => DeflateMemory::Shared,
                9..=12 => DeflateMemory::Pooled {
                    window_bits: memory,
                },
                _ => DeflateMemory::Dedicated,
            })
            .server_no_context_takeover(wanted.server_no_context)
            .client_no_context_takeover(wanted.client_no_context)
            .threshold(wanted.threshold)
    };
    let [of_client, of_server] = wanted.memory.map(config);
    let (client, server) = deflates(&of_client, &of_server);
    (pair.deflating(client, server), of_server)
}
