//! Writes packets and capture files.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::explain::Side;

pub(super) const CLIENT: SocketAddr = address(1, 40_000);
pub(super) const SERVER: SocketAddr = address(2, 8_000);

const fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port))
}

/// A TCP connection, packet by packet: IP packets without a link layer.
pub(super) struct Connection {
    packets: Vec<Vec<u8>>,
    first: [u32; 2],
    sent: [u32; 2],
}

impl Connection {
    pub(super) fn open() -> Self {
        Self::open_at(1_000)
    }

    /// Uses this as the client's first sequence number.
    pub(super) fn open_at(first: u32) -> Self {
        let mut connection = Self {
            packets: Vec::new(),
            first: [first, 5_000],
            sent: [0, 0],
        };
        connection.packet(Side::Client, first, 0x02, b"");
        connection.packet(Side::Server, 5_000, 0x12, b"");
        connection.packet(Side::Client, first.wrapping_add(1), 0x10, b"");
        connection
    }

    /// Sends bytes, the first of which is at this position.
    pub(super) fn send_at(&mut self, side: Side, at: u32, bytes: &[u8]) {
        let first = self.first[usize::from(side == Side::Server)];
        let sequence = first.wrapping_add(1).wrapping_add(at);
        self.packet(side, sequence, 0x18, bytes);
    }

    /// Sends bytes after those sent before, in segments.
    pub(super) fn send(&mut self, side: Side, bytes: &[u8]) {
        for segment in bytes.chunks(1_000) {
            let sent = self.sent[usize::from(side == Side::Server)];
            self.send_at(side, sent, segment);
            self.sent[usize::from(side == Side::Server)] +=
                u32::try_from(segment.len()).expect("short");
        }
    }

    pub(super) fn packets(&self) -> Vec<Vec<u8>> {
        self.packets.clone()
    }

    fn packet(&mut self, side: Side, sequence: u32, flags: u8, payload: &[u8]) {
        let (from, to) = match side {
            Side::Client => (CLIENT, SERVER),
            Side::Server => (SERVER, CLIENT),
        };
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
            panic!("IPv4");
        };
        let total = u16::try_from(40 + payload.len()).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        self.packets.push(packet);
    }
}

/// A packet preceded by the header of a link layer.
fn framed(link: u32, packet: &[u8]) -> Vec<u8> {
    let header: &[u8] = match link {
        0 | 108 => &[2, 0, 0, 0],
        // With a VLAN tag.
        1 => &[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x81, 0, 0, 5, 0x08, 0],
        113 => &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0],
        276 => &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => &[],
    };
    // Ethernet pads short frames.
    let padding = if link == 1 {
        vec![0; 60_usize.saturating_sub(packet.len())]
    } else {
        Vec::new()
    };
    [header, packet, &padding].concat()
}

pub(super) fn pcap(link: u32, packets: Vec<Vec<u8>>) -> Vec<u8> {
    pcap_of(link, packets, false, false)
}

/// Packet n is captured n + 1 seconds and n milliseconds after 1970.
pub(super) fn pcap_of(
    link: u32,
    packets: Vec<Vec<u8>>,
    is_big: bool,
    is_nanoseconds: bool,
) -> Vec<u8> {
    let number = |number: u32| {
        if is_big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    let magic: u32 = if is_nanoseconds {
        0xa1b2_3c4d
    } else {
        0xa1b2_c3d4
    };
    let mut file = number(magic).to_vec();
    file.extend(number(0x0002_0004));
    file.extend([0; 8]);
    file.extend(number(65_535));
    file.extend(number(link));
    for (index, packet) in (0_u32..).zip(packets) {
        let packet = framed(link, &packet);
        let length = u32::try_from(packet.len()).expect("short");
        let unit = if is_nanoseconds { 1_000_000 } else { 1_000 };
        for field in [index + 1, index * unit, length, length] {
            file.extend(number(field));
        }
        file.extend(packet);
    }
    file
}

/// With times in milliseconds, on the second interface, which captures raw IP.
pub(super) fn pcapng(packets: Vec<Vec<u8>>, secrets: &[u8]) -> Vec<u8> {
    let mut file = block(
        0x0a0d_0d0a,
        &[
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat(),
    );
    file.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
    file.extend(block(
        1,
        &[101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0],
    ));
    let kind = 0x544c_534b_u32.to_le_bytes();
    let length = u32::try_from(secrets.len()).expect("short").to_le_bytes();
    file.extend(block(10, &[&kind[..], &length, secrets].concat()));
    for (index, packet) in (0_u32..).zip(packets) {
        let length = u32::try_from(packet.len()).expect("short");
        let fields = [1, 0, (index + 1) * 1_000 + index, length, length];
        let fields: Vec<u8> = fields
            .iter()
            .flat_map(|field: &u32| field.to_le_bytes())
            .collect();
        file.extend(block(6, &[&fields[..], &packet].concat()));
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = u32::try_from(12 + body.len() + padding.len())
        .expect("short")
        .to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &padding, &length].concat()
}
