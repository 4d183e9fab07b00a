//! Packets of Engine.IO v4, and those of Socket.IO v5 in them.

use offhook_dialects::socketio::packet::{Decoder, Engine, Kind, MAIN, Packet};

use crate::screen::shown;

/// How many characters of a payload are shown.
const LETTERS: usize = 60;

/// The packet in a text message, in one line.
pub(super) fn explain(text: &str) -> String {
    let packet = match Engine::read(text) {
        Ok(packet) => packet,
        Err(invalid) => return format!("Engine.IO: {invalid}"),
    };
    match packet {
        Engine::Open(json) => format!("Engine.IO: open {}", short(json)),
        Engine::Close => "Engine.IO: close".to_owned(),
        Engine::Ping(data) => format!("Engine.IO: ping {}", short(data))
            .trim_end()
            .to_owned(),
        Engine::Pong(data) => format!("Engine.IO: pong {}", short(data))
            .trim_end()
            .to_owned(),
        Engine::Upgrade => "Engine.IO: the client upgrades to this WebSocket".to_owned(),
        Engine::Noop => "Engine.IO: noop".to_owned(),
        Engine::Message(text) => message(text),
    }
}

fn message(text: &str) -> String {
    let mut decoder = Decoder::new(usize::MAX);
    match decoder.text(text) {
        Ok(Some(packet)) => one(&packet, 0),
        // The number of attachments stands behind the type.
        Ok(None) => {
            let count: String = text
                .chars()
                .skip(1)
                .take_while(char::is_ascii_digit)
                .collect();
            let bare = text.replacen(&format!("{count}-"), "0-", 1);
            match Decoder::new(usize::MAX).text(&bare) {
                Ok(Some(packet)) => one(&packet, count.parse().unwrap_or(0)),
                Ok(None) | Err(_) => format!("Socket.IO: a packet with {count} attachments"),
            }
        }
        Err(invalid) => format!("Socket.IO: {invalid}"),
    }
}

fn one(packet: &Packet, attachments: usize) -> String {
    let name = match packet.kind {
        Kind::Connect => "CONNECT",
        Kind::Disconnect => "DISCONNECT",
        Kind::Event => "EVENT",
        Kind::Ack => "ACK",
        Kind::ConnectError => "CONNECT_ERROR",
    };
    let mut text = format!("Socket.IO: {name}");
    if &*packet.namespace != MAIN {
        text += &format!(" in {}", shown(&packet.namespace));
    }
    match (packet.kind, packet.ack) {
        (Kind::Ack, Some(ack)) => text += &format!(" of {ack}"),
        (_, Some(ack)) => text += &format!(", acknowledged as {ack}"),
        (_, None) => {}
    }
    match attachments {
        0 => {}
        1 => text += ", an attachment follows",
        count => text += &format!(", {count} attachments follow"),
    }
    format!("{text} {}", short(&packet.json))
        .trim_end()
        .to_owned()
}

fn short(text: &str) -> String {
    let shown = shown(text);
    match shown.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", &shown[..at]),
        None => shown.to_string(),
    }
}
