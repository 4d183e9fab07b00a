//! Messages of a Socket.IO client: whatever they are, no more is held than came, and every packet is
//! written and read again as it was.

use offhook_dialects::{
    Payload,
    socketio::packet::{Decoder, Engine, Invalid, Packet, Record, records, write_record},
};

/// The largest packet.
const LIMIT: usize = 1 << 16;

/// A polling payload, whose records are the client's messages.
pub fn socketio_packets(data: &[u8]) {
    let payload = String::from_utf8_lossy(data);
    let mut decoder = Decoder::new(LIMIT);
    let mut again = String::new();
    let mut packets = Vec::new();
    for record in records(&payload) {
        let Ok(record) = record else {
            break;
        };
        write_record(&record, &mut again);
        match message(&mut decoder, &record) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => {}
            Err(_) => break,
        }
        assert!(
            decoder.held() <= LIMIT.max(payload.len()),
            "too much is held"
        );
        assert!(decoder.held() <= payload.len(), "more is held than came");
    }
    let read: Vec<_> = records(&again).collect();
    assert!(read.iter().all(Result::is_ok), "{again:?}");
    for packet in packets {
        assert_eq!(round_trip(&packet), Ok(Some(packet)));
    }
}

fn message(decoder: &mut Decoder, record: &Record<'_>) -> Result<Option<Packet>, Invalid> {
    match record {
        Record::Binary(bytes) => decoder.binary(bytes),
        Record::Text(text) => {
            let engine = Engine::read(text)?;
            assert_eq!(engine.write(), *text);
            match engine {
                Engine::Message(text) => decoder.text(text),
                _ => Ok(None),
            }
        }
    }
}

fn round_trip(packet: &Packet) -> Result<Option<Packet>, Invalid> {
    let mut messages = Vec::new();
    packet.clone().write(&mut messages);
    let mut decoder = Decoder::new(usize::MAX);
    let mut last = Ok(None);
    for message in messages {
        last = match message {
            Payload::Text(text) => match Engine::read(&text)? {
                Engine::Message(text) => decoder.text(text),
                _ => Err(Invalid("a packet is a message")),
            },
            Payload::Binary(bytes) => decoder.binary(&bytes),
        };
    }
    last
}
