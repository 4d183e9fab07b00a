//! The parts by themselves: masking and header parsing.

use std::hint::black_box;
use std::io::Cursor;

use offhook_protocol::{FrameHeader, OpCode, mask};

use crate::race::{Field, Work};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn unmask(size: usize) -> Field {
    let over = |apply: fn(&mut [u8])| -> Work {
        let mut payload = vec![0x5a; size];
        Box::new(move |count| {
            for _ in 0..count {
                apply(black_box(&mut payload));
            }
            count
        })
    };
    vec![
        ("offhook", over(|payload| mask(payload, KEY, 0))),
        (
            "fastwebsockets",
            over(|payload| fastwebsockets::unmask(payload, KEY)),
        ),
        (
            "byte by byte",
            over(|payload| {
                for (byte, key) in payload.iter_mut().zip(KEY.into_iter().cycle()) {
                    *byte ^= key;
                }
            }),
        ),
    ]
}

pub fn parse_header(payload_len: u64) -> Field {
    let header = FrameHeader {
        fin: true,
        rsv1: false,
        rsv23: false,
        opcode: OpCode::Text,
        mask: Some(KEY),
        payload_len,
    };
    let wire = header.encode().as_slice().to_vec();
    let same = wire.clone();
    vec![
        (
            "offhook",
            Box::new(move |count| {
                for _ in 0..count {
                    let _ = black_box(FrameHeader::parse(black_box(&wire)));
                }
                count
            }),
        ),
        (
            "tungstenite",
            Box::new(move |count| {
                use tungstenite::protocol::frame::FrameHeader;
                for _ in 0..count {
                    let _ = black_box(FrameHeader::parse(&mut Cursor::new(black_box(&same))));
                }
                count
            }),
        ),
    ]
}
