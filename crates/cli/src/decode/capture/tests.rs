//! Reading captures that the tests write byte by byte.

mod any_bytes;
mod packets;
mod tls;

use self::packets::{CLIENT, Connection, SERVER, pcap, pcapng};
use super::*;
use crate::explain::Side;

/// The bytes of each direction of the only connection.
fn directions(file: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let capture = read(file).expect("a capture");
    let mut found = capture.streams();
    assert_eq!(found.streams.len(), 1, "{found:?}");
    let stream = found.streams.remove(0);
    let of = |side| -> Vec<u8> {
        let chunks = stream.chunks.iter().filter(|chunk| chunk.side == side);
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    };
    let notes = [found.notes, stream.notes].concat();
    (of(Side::Client), of(Side::Server), notes)
}

#[test]
fn reordered_repeated_and_overlapping_segments_are_reassembled() {
    let mut connection = Connection::open();
    connection.send_at(Side::Client, 4, b"5678");
    connection.send_at(Side::Client, 0, b"1234");
    connection.send_at(Side::Client, 0, b"1234");
    connection.send_at(Side::Server, 0, b"ok");
    connection.send_at(Side::Client, 6, b"789");
    connection.send_at(Side::Client, 7, b"89a");
    let (client, server, notes) = directions(&pcap(1, connection.packets()));
    assert_eq!(client, b"123456789a");
    assert_eq!(server, b"ok");
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn a_missing_segment_is_reported_with_its_offset() {
    let mut connection = Connection::open();
    connection.send_at(Side::Client, 0, b"12");
    connection.send_at(Side::Client, 5, b"678");
    let (client, _, notes) = directions(&pcap(1, connection.packets()));
    assert_eq!(client, b"12");
    let expected = "client → server: 3 bytes are missing from the capture at byte 2; what follows \
                    them in this direction is left out";
    assert_eq!(notes, [expected]);
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut connection = Connection::open_at(u32::MAX - 2);
    connection.send_at(Side::Client, 4, b"56");
    connection.send_at(Side::Client, 0, b"1234");
    let (client, _, _) = directions(&pcap(1, connection.packets()));
    assert_eq!(client, b"123456");
}

#[test]
fn every_link_layer_gives_the_same_bytes() {
    for link in [0, 1, 12, 101, 108, 113, 228, 276] {
        let mut connection = Connection::open();
        connection.send_at(Side::Client, 0, b"hello");
        connection.send_at(Side::Server, 0, b"there");
        let (client, server, _) = directions(&pcap(link, connection.packets()));
        assert_eq!(
            (client, server),
            (b"hello".to_vec(), b"there".to_vec()),
            "{link}"
        );
    }
}

#[test]
fn both_byte_orders_and_both_units_of_time_are_parsed() {
    let mut connection = Connection::open();
    connection.send_at(Side::Client, 0, b"hello");
    for (is_big, is_nanoseconds) in [(true, true), (true, false), (false, true), (false, false)] {
        let file = packets::pcap_of(1, connection.packets(), is_big, is_nanoseconds);
        let capture = read(&file).expect("a capture");
        assert_eq!(
            capture.packets[3].time, 4_003_000_000,
            "{is_big} {is_nanoseconds}"
        );
    }
}

#[test]
fn pcapng_has_times_several_interfaces_and_secrets() {
    let mut connection = Connection::open();
    connection.send_at(Side::Client, 0, b"hello");
    let file = pcapng(connection.packets(), b"CLIENT_RANDOM 00 11\n");
    let capture = read(&file).expect("a capture");
    assert_eq!(capture.secrets, [b"CLIENT_RANDOM 00 11\n"]);
    assert_eq!(capture.packets[3].time, 4_003_000_000);
    assert_eq!(directions(&file).0, b"hello");
}

#[test]
fn two_connections_between_the_same_ports_are_separate() {
    let mut first = Connection::open();
    first.send_at(Side::Client, 0, b"first");
    let mut second = Connection::open_at(77_000);
    second.send_at(Side::Client, 0, b"second");
    let packets = [first.packets(), second.packets()].concat();
    let file = pcap(1, packets);
    let streams = read(&file).expect("a capture").streams().streams;
    let begin: Vec<&[u8]> = streams
        .iter()
        .map(|stream| stream.chunks[0].bytes)
        .collect();
    assert_eq!(begin, [b"first".as_slice(), b"second".as_slice()]);
}

#[test]
fn without_its_beginning_the_direction_of_a_connection_is_found_from_its_content() {
    // The client has the lower port here.
    let mut connection = Connection::open();
    connection.send_at(Side::Server, 0, &[0x89, 0x80, 1, 2, 3, 4]);
    let packets = connection.packets().split_off(3);
    let file = pcap(1, packets);
    let stream = read(&file).expect("a capture").streams().streams.remove(0);
    assert_eq!((stream.client, stream.server), (SERVER, CLIENT));
    assert_eq!(stream.chunks[0].side, Side::Client);
}

#[test]
fn truncated_packets_are_reported() {
    let mut connection = Connection::open();
    connection.send_at(Side::Client, 0, b"hello");
    let mut packets = connection.packets();
    let last = packets.last_mut().expect("a packet");
    last.truncate(last.len() - 2);
    let (client, _, notes) = directions(&pcap(101, packets));
    assert_eq!(client, b"hel");
    assert_eq!(
        notes,
        ["client → server: packets were cut short by 2 bytes; capture with `-s 0`"]
    );
}

#[test]
fn other_files_are_not_treated_as_captures() {
    assert_eq!(read(b"").map(|_| ()), Err(Unreadable::Other));
    assert_eq!(read(b"zz\n").map(|_| ()), Err(Unreadable::Other));
    let gzip = read(&[0x1f, 0x8b, 8, 0]).map(|_| ());
    assert!(matches!(gzip, Err(Unreadable::Fault(why)) if why.contains("gunzip")));
    let cut = read(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]).map(|_| ());
    assert!(matches!(cut, Err(Unreadable::Fault(_))));
}
