//! Bytes of an MQTT client: however they are cut, the same packets come out and the same error after
//! them, and every packet is written and read again as it was.

use offhook_dialects::mqtt::packet::{Decoder, Invalid, Packet, Version};

/// The first byte says how: the version that is known already, if any, and where the bytes are cut.
pub fn mqtt_packets(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let version = match how & 3 {
        0 => Some(Version::V3),
        1 => Some(Version::V5),
        _ => None,
    };
    let whole = decode(version, &[bytes]);
    let step = usize::from(how >> 2).max(1);
    let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
    assert_eq!(decode(version, &pieces), whole, "cut, whole");
    let (packets, version, _) = whole;
    for packet in packets {
        // An empty list of reasons, an empty set of properties: what says nothing is left out.
        let version = version.unwrap_or(Version::V3);
        let wire = packet.encode(version);
        let (again, ..) = decode(Some(version), &[&wire]);
        assert_eq!(again, [packet]);
    }
}

type Decoded = (Vec<Packet>, Option<Version>, Result<(), Invalid>);

fn decode(version: Option<Version>, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(1 << 16);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let mut packets = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(invalid) => return (packets, decoder.version(), Err(invalid)),
            }
        }
    }
    let held = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    assert!(decoder.buffered() <= held, "more is held than came");
    (packets, decoder.version(), Ok(()))
}
