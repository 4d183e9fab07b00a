//! Parsing a captured packet from the link layer to its TCP segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Packet;
use super::bytes::{Order, Reader};

/// The content of a packet.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Tcp(Segment<'a>),
    /// A part of an IP packet.
    Fragment,
    UnknownLink,
    /// Not TCP, or damaged.
    Other,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) is_syn: bool,
    pub(super) is_ack: bool,
    pub(super) payload: &'a [u8],
    /// The number of payload bytes missing from the capture.
    pub(super) left_out: usize,
}

/// Link types: <https://www.tcpdump.org/linktypes.html>.
mod link {
    pub(super) const NULL: u32 = 0;
    pub(super) const ETHERNET: u32 = 1;
    pub(super) const RAW_BSD: [u32; 2] = [12, 14];
    pub(super) const RAW: u32 = 101;
    pub(super) const LOOP: u32 = 108;
    pub(super) const LINUX_SLL: u32 = 113;
    pub(super) const IPV4: u32 = 228;
    pub(super) const IPV6: u32 = 229;
    pub(super) const LINUX_SLL2: u32 = 276;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;

/// The TCP segment in a packet.
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Content<'a> {
    match network_layer(packet) {
        Ok(Some(bytes)) => ip(bytes).unwrap_or(Content::Other),
        Ok(None) => Content::Other,
        Err(UnknownLink) => Content::UnknownLink,
    }
}

struct UnknownLink;

/// The IP packet in a captured packet.
fn network_layer<'a>(packet: &Packet<'a>) -> Result<Option<&'a [u8]>, UnknownLink> {
    let mut reader = Reader::network(packet.bytes);
    Ok(match packet.link {
        link::ETHERNET => ethernet(reader),
        link::RAW | link::IPV4 | link::IPV6 => Some(packet.bytes),
        link if link::RAW_BSD.contains(&link) => Some(packet.bytes),
        // Four bytes that name the address family.
        link::NULL | link::LOOP => reader.take(4).map(|_| reader.rest()),
        link::LINUX_SLL => reader.take(14).and_then(|_| of_ethertype(reader)),
        link::LINUX_SLL2 => {
            let kind = reader.u16();
            let header = reader.take(18);
            let is_ip = matches!(kind, Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6));
            header.filter(|_| is_ip).map(|_| reader.rest())
        }
        _ => return Err(UnknownLink),
    })
}

fn ethernet(mut reader: Reader<'_>) -> Option<&[u8]> {
    reader.take(12)?;
    of_ethertype(reader)
}

/// The content after an Ethernet type, skipping VLAN tags.
fn of_ethertype(mut reader: Reader<'_>) -> Option<&[u8]> {
    loop {
        match reader.u16()? {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Some(reader.rest()),
            0x8100 | 0x88a8 | 0x9100 => reader.take(2).map(drop)?,
            _ => return None,
        }
    }
}

fn ip(bytes: &[u8]) -> Option<Content<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

/// RFC 791.
fn ipv4(bytes: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(bytes, Order::Big);
    let header = usize::from(reader.u8()? & 0x0f) * 4;
    reader.take(1)?;
    let total = usize::from(reader.u16()?);
    reader.take(2)?;
    let fragment = reader.u16()?;
    reader.take(1)?;
    let protocol = reader.u8()?;
    reader.take(2)?;
    let from = IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?));
    let to = IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?));
    if protocol != TCP || header < 20 {
        return None;
    }
    // "More fragments", or an offset.
    if fragment & 0x3fff != 0 {
        return Some(Content::Fragment);
    }
    // 0 stands for a length that the network card fills in.
    let total = if total == 0 { bytes.len() } else { total };
    tcp(bytes.get(header..)?, total.checked_sub(header)?, from, to)
}

/// RFC 8200.
fn ipv6(bytes: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::network(bytes);
    reader.take(4)?;
    let length = usize::from(reader.u16()?);
    let mut next = reader.u8()?;
    reader.take(1)?;
    let from = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
    let to = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
    let payload = reader.rest();
    let length = if length == 0 { payload.len() } else { length };
    loop {
        match next {
            TCP => {
                let before = payload.len() - reader.rest().len();
                return tcp(reader.rest(), length.checked_sub(before)?, from, to);
            }
            // Hop-by-hop, routing and destination options, each with its length in 8 bytes.
            0 | 43 | 60 => {
                next = reader.u8()?;
                let more = usize::from(reader.u8()?);
                reader.take(more * 8 + 6)?;
            }
            44 => return Some(Content::Fragment),
            _ => return None,
        }
    }
}

/// RFC 9293 §3.1. `length` comes from the IP header; a capture may contain less, and Ethernet pads
/// to more.
fn tcp(bytes: &[u8], length: usize, from: IpAddr, to: IpAddr) -> Option<Content<'_>> {
    let mut reader = Reader::network(bytes);
    let (from_port, to_port) = (reader.u16()?, reader.u16()?);
    let sequence = reader.u32()?;
    reader.take(4)?;
    let header = usize::from(reader.u8()? >> 4) * 4;
    let flags = reader.u8()?;
    let captured = bytes.get(..length).unwrap_or(bytes);
    let payload = captured.get(header..)?;
    let left_out = length.checked_sub(header)?.saturating_sub(payload.len());
    (header >= 20).then_some(Content::Tcp(Segment {
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, to_port),
        sequence,
        is_syn: flags & 0x02 != 0,
        is_ack: flags & 0x10 != 0,
        payload,
        left_out,
    }))
}
