//! The packets of MQTT and Socket.IO in the messages of a connection.
//!
//! The handshake says which dialect is spoken: the subprotocol `mqtt`, or Engine.IO's version in the
//! query. Without a handshake, messages are not interpreted.

mod mqtt;
mod socketio;

use super::conversation::Side;
use super::direction::Frame;
use super::{Content, Head, Part};
use mqtt::Mqtt;

/// How many bytes of a fragmented text message are collected. 1 MiB: longer packets are not
/// interpreted.
const COLLECTED: usize = 1 << 20;

/// The dialect of a connection.
#[derive(Debug, Default)]
pub(super) enum Dialect {
    /// Not known, or another one.
    #[default]
    Unknown,
    Mqtt(Box<Mqtt>),
    /// Socket.IO over Engine.IO, with the fragments of each side's text message.
    SocketIo(Fragments),
}

/// The fragments of a text message, by side; none while a message is too long.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    client: Option<String>,
    server: Option<String>,
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
        match offered.any(|name| name == "mqtt") {
            true => Self::Mqtt(Box::default()),
            false => Self::Unknown,
        }
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
                Some(text) => vec![socketio::explain(&text)],
                None => return,
            },
        };
        frame.packets.extend(packets);
    }
}

impl Fragments {
    /// The text of a message that this part completes.
    fn take(&mut self, side: Side, part: Part, plain: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(plain);
        let begun = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if matches!(part, Part::Whole | Part::First) {
            *begun = Some(String::new());
        }
        let collected = begun.as_mut()?;
        if collected.len() + text.len() > COLLECTED {
            *begun = None;
            return None;
        }
        collected.push_str(&text);
        match part {
            Part::Whole | Part::Last => begun.take(),
            Part::First | Part::Middle => None,
        }
    }
}
