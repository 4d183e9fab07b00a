//! The packets of MQTT and Socket.IO in the messages of a connection, and the CBOR of the native dialect.
//!
//! The handshake says which dialect is spoken: the subprotocols `mqtt` and `offhook.v1.cbor`, or Engine.IO's version in the
//! query. Without a handshake, messages are not interpreted.

mod mqtt;
mod socketio;

use super::conversation::Side;
use super::direction::Frame;
use super::{Content, Head, Part};
use crate::screen::shown;
use mqtt::Mqtt;
use offhook_dialects::native::{SUBPROTOCOL_CBOR, diagnostic};

/// How many bytes of a fragmented message are collected. 1 MiB: longer packets are not
/// interpreted.
const COLLECTED: usize = 1 << 20;

/// How many characters of a message in CBOR are shown.
const LETTERS: usize = 400;

/// The dialect of a connection.
#[derive(Debug, Default)]
pub(super) enum Dialect {
    /// Not known, or another one.
    #[default]
    Unknown,
    Mqtt(Box<Mqtt>),
    /// Socket.IO over Engine.IO, with the fragments of each side's text message.
    SocketIo(Fragments),
    /// The native dialect, whose binary messages are CBOR.
    Native(Fragments),
}

/// The fragments of a message, by side; none while a message is too long.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    client: Option<Vec<u8>>,
    server: Option<Vec<u8>>,
}

impl Dialect {
    /// The dialect that a request asks for.
    pub(super) fn asked_for(head: &Head) -> Self {
        let target = head.lines.first().and_then(|line| line.split(' ').nth(1));
        let query = target.and_then(|target| target.split_once('?'));
        let is_engine_io = query.is_some_and(|(_, query)| query.split('&').any(|p| p == "EIO=4"));
        if is_engine_io {
            return Self::SocketIo(Fragments::default());
        }
        let offers = head.lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("sec-websocket-protocol");
            is_it.then_some(value)
        });
        let mut offered = offers.flat_map(|value| value.split(',').map(str::trim));
        let known = offered.find_map(|name| match name {
            "mqtt" => Some(Self::Mqtt(Box::default())),
            SUBPROTOCOL_CBOR => Some(Self::Native(Fragments::default())),
            _ => None,
        });
        known.unwrap_or_default()
    }

    /// Adds the packets in a frame.
    pub(super) fn explain(&mut self, frame: &mut Frame) {
        let Content::Data {
            is_text,
            part,
            inflated,
        } = &frame.content
        else {
            return;
        };
        let plain = inflated.as_deref().unwrap_or(&frame.payload);
        let packets = match self {
            Self::Unknown => return,
            // RFC 6455 §5.4 and MQTT §6: packets are a stream of bytes, however it is framed.
            Self::Mqtt(mqtt) => mqtt.explain(frame.side, plain),
            Self::SocketIo(_) if !is_text => vec!["Socket.IO: an attachment".to_owned()],
            Self::SocketIo(fragments) => match fragments.take(frame.side, *part, plain) {
                Some(text) => vec![socketio::explain(&String::from_utf8_lossy(&text))],
                None => return,
            },
            Self::Native(_) if *is_text => return,
            Self::Native(fragments) => match fragments.take(frame.side, *part, plain) {
                Some(bytes) => vec![match diagnostic(&bytes) {
                    Ok(notation) => format!("CBOR: {}", short(&notation)),
                    Err(wrong) => format!("CBOR: not a message: {wrong}"),
                }],
                None => return,
            },
        };
        frame.packets.extend(packets);
    }
}

fn short(notation: &str) -> String {
    let shown = shown(notation);
    match shown.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", &shown[..at]),
        None => shown.into_owned(),
    }
}

impl Fragments {
    /// The message that this part completes.
    fn take(&mut self, side: Side, part: Part, plain: &[u8]) -> Option<Vec<u8>> {
        let begun = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if matches!(part, Part::Whole | Part::First) {
            *begun = Some(Vec::new());
        }
        let collected = begun.as_mut()?;
        if collected.len() + plain.len() > COLLECTED {
            *begun = None;
            return None;
        }
        collected.extend_from_slice(plain);
        match part {
            Part::Whole | Part::Last => begun.take(),
            Part::First | Part::Middle => None,
        }
    }
}
