//! The PROXY protocol, versions 1 and 2: a header that a proxy sends before the client's bytes.
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first 12 bytes of version 2, section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1 with its end, section 2.1.
const LINE: usize = 107;

/// The maximum length of addresses and extensions in version 2. 2 KiB: the longest extensions are
/// fields of a client's certificate.
const LONGEST: u16 = 2048;

/// Reads the header, and returns the client's address; none if the proxy connects on its own
/// behalf, for example for health checks.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 6];
    stream.read_exact(&mut start).await?;
    if &start == b"PROXY " {
        return line(stream).await;
    }
    if SIGNATURE.starts_with(&start) {
        return binary(stream).await;
    }
    Err(wrong(
        "the connection of a trusted proxy does not begin with the PROXY protocol",
    ))
}

/// Version 1: `TCP4 203.0.113.7 10.0.0.1 4711 8000`.
async fn line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut line = Vec::new();
    // Read byte by byte, since everything after the line belongs to the client.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE {
            return Err(wrong(
                "the line of the PROXY protocol is longer than 107 bytes",
            ));
        }
        line.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&line);
    let mut words = line.trim_end().split(' ');
    match (words.next(), words.next()) {
        (Some("UNKNOWN"), _) => Ok(None),
        (Some("TCP4" | "TCP6"), Some(address)) => {
            let address = address.parse();
            address
                .map(Some)
                .map_err(|_| wrong("the address in the PROXY protocol is invalid"))
        }
        _ => Err(wrong("the line of the PROXY protocol is malformed")),
    }
}

/// Version 2.
async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut rest = [0; 10];
    stream.read_exact(&mut rest).await?;
    let [s0, s1, s2, s3, s4, s5, command, family, high, low] = rest;
    if [s0, s1, s2, s3, s4, s5] != SIGNATURE[6..] || command >> 4 != 2 {
        return Err(wrong("the header of the PROXY protocol is malformed"));
    }
    let length = u16::from_be_bytes([high, low]);
    if length > LONGEST {
        return Err(wrong(
            "the header of the PROXY protocol is longer than 2 KiB",
        ));
    }
    let mut addresses = vec![0; usize::from(length)];
    stream.read_exact(&mut addresses).await?;
    // Command 0 is LOCAL: the proxy connects on its own behalf.
    if command & 0xf == 0 {
        return Ok(None);
    }
    let address = match family >> 4 {
        1 => addresses
            .first_chunk::<4>()
            .map(|octets| Ipv4Addr::from(*octets).into()),
        2 => addresses
            .first_chunk::<16>()
            .map(|octets| Ipv6Addr::from(*octets).into()),
        // Unknown, or a Unix socket: section 2.2 says to use the connection's own address.
        _ => return Ok(None),
    };
    address
        .map(Some)
        .ok_or_else(|| wrong("the header of the PROXY protocol is too short for its addresses"))
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address, and how many bytes are left for the client.
    async fn found(bytes: &[u8]) -> io::Result<(Option<String>, usize)> {
        let mut stream = bytes;
        let address = read(&mut stream).await?;
        Ok((address.map(|address| address.to_string()), stream.len()))
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [
            SIGNATURE,
            &[0x20 | command, family][..],
            &length,
            addresses,
            b"GET",
        ]
        .concat()
    }

    #[tokio::test]
    async fn both_versions_yield_the_clients_address_and_leave_its_bytes() {
        let line = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 8000\r\nGET";
        assert_eq!(found(line).await.unwrap(), (Some("203.0.113.7".into()), 3));
        let line = b"PROXY TCP6 2001:db8::1 ::1 4711 8000\r\nGET";
        assert_eq!(found(line).await.unwrap(), (Some("2001:db8::1".into()), 3));
        assert_eq!(found(b"PROXY UNKNOWN\r\nGET").await.unwrap(), (None, 3));
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1f, 0x40];
        let four = version_2(1, 0x11, &addresses);
        assert_eq!(found(&four).await.unwrap(), (Some("203.0.113.7".into()), 3));
        let local = version_2(0, 0, &[]);
        assert_eq!(found(&local).await.unwrap(), (None, 3));
        let mut addresses = [0; 40];
        addresses[15] = 1;
        let six = version_2(1, 0x21, &addresses);
        assert_eq!(found(&six).await.unwrap(), (Some("::1".into()), 3));
    }

    #[tokio::test]
    async fn anything_else_is_an_error_with_bounded_reading() {
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 1000]].concat();
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff][..]].concat();
        let short = version_2(1, 0x11, &[1, 2]);
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n",
            b"PROXY \r\n",
            &endless,
            &long,
            &short,
            b"",
        ] {
            assert!(found(bytes).await.is_err(), "{bytes:?}");
        }
    }
}
