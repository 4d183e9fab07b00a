//! The client: a thread that writes frames and reads the answers, without a library.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// The traffic of a client.
#[derive(Clone, Copy)]
pub struct Traffic {
    /// Bytes of payload in a message.
    pub size: usize,
    /// Messages in one write, all answered before the next write.
    pub in_flight: usize,
    /// The number of such writes in a short run.
    pub turns: usize,
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Sends `turns` turns of the traffic, reads the echoes, and closes the TCP connection.
pub fn run(mut stream: TcpStream, traffic: Traffic, turns: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let payload: Vec<u8> = (0..traffic.size).map(|index| index as u8).collect();
    let asked = frame(&payload, true).repeat(traffic.in_flight);
    let expected = frame(&payload, false).repeat(traffic.in_flight);
    let mut answer = vec![0; expected.len()];
    for _ in 0..turns {
        stream.write_all(&asked)?;
        stream.read_exact(&mut answer)?;
        assert!(answer == expected, "the echo differs");
    }
    stream.shutdown(Shutdown::Both)
}

/// One binary message (RFC 6455 §5.2).
fn frame(payload: &[u8], masked: bool) -> Vec<u8> {
    let mut frame = vec![0x82];
    let mask_bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => frame.push(mask_bit | len as u8),
        len @ 126..=0xffff => {
            frame.push(mask_bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(mask_bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend(KEY);
        frame.extend(
            payload
                .iter()
                .zip(KEY.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
    } else {
        frame.extend(payload);
    }
    frame
}
