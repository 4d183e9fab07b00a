//! Measures the codec and its peers in one run, on the same bytes, from memory to memory.
//!
//! `cargo run --release --manifest-path bench/codecs/Cargo.toml [-- quick] [-- only TITLE]` prints
//! Markdown tables of nanoseconds per message; README.md describes what is compared and how.

mod deflate;
mod fastwebsockets;
mod kernels;
mod memory;
mod ours;
mod race;
mod tokio_websockets;
mod traffic;
mod tungstenite;

use std::sync::Arc;
use std::time::Duration;

use race::{Field, Race, Work, print_table};
use traffic::{Content, Traffic};

const SIZES: [(usize, &str); 7] = [
    (16, "16 B"),
    (20, "20 B"),
    (128, "128 B"),
    (1024, "1 KiB"),
    (16 * 1024, "16 KiB"),
    (64 * 1024, "64 KiB"),
    (1024 * 1024, "1 MiB"),
];

const CONTENTS: [Content; 3] = [Content::Ascii, Content::Mixed, Content::Binary];

type OnWire = fn(Traffic, &Arc<[u8]>) -> Work;
type Cases = Vec<(String, Field)>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    let race = if quick {
        Race {
            rounds: 11,
            turn: Duration::from_micros(500),
        }
    } else {
        Race {
            rounds: 51,
            turn: Duration::from_millis(1),
        }
    };
    let only = arguments.iter().position(|argument| argument == "only");
    let only = only.and_then(|at| arguments.get(at + 1));
    for (title, cases) in tables() {
        if only.is_none_or(|part| title.contains(part.as_str())) {
            print_table(title, race, cases());
        }
    }
}

type Table = (&'static str, fn() -> Cases);

fn tables() -> Vec<Table> {
    vec![
        ("echo: receive, send, transmit", echo),
        ("receive: a client's masked messages", || receive(true)),
        ("receive: a server's messages", || receive(false)),
        ("receive: text in 16 fragments", fragments),
        ("send: server to client", || send(true)),
        ("send: client to server, masked", || send(false)),
        ("unmask", unmask),
        ("parse a header", headers),
        ("compress, 12-bit window", || codec(deflate::compress)),
        ("decompress, 12-bit window", || codec(deflate::decompress)),
    ]
}

fn traffics(masked: bool) -> impl Iterator<Item = (String, Traffic)> {
    CONTENTS.into_iter().flat_map(move |content| {
        SIZES.into_iter().map(move |(size, name)| {
            let traffic = Traffic {
                content,
                size,
                fragments: 1,
                masked,
            };
            (format!("{name} {}", content.name()), traffic)
        })
    })
}

fn on_wire(traffic: Traffic, field: [(&'static str, OnWire); 4]) -> Field {
    let wire = traffic.on_the_wire();
    field
        .into_iter()
        .map(|(name, make)| (name, make(traffic, &wire)))
        .collect()
}

const READERS: [(&str, OnWire); 4] = [
    (ours::NAME, ours::read),
    (tungstenite::NAME, tungstenite::read),
    (fastwebsockets::NAME, fastwebsockets::read),
    (tokio_websockets::NAME, tokio_websockets::read),
];

const ECHOES: [(&str, OnWire); 4] = [
    (ours::NAME, ours::echo),
    (tungstenite::NAME, tungstenite::echo),
    (fastwebsockets::NAME, fastwebsockets::echo),
    (tokio_websockets::NAME, tokio_websockets::echo),
];

fn receive(masked: bool) -> Cases {
    traffics(masked)
        .map(|(name, traffic)| (name, on_wire(traffic, READERS)))
        .collect()
}

fn echo() -> Cases {
    traffics(true)
        .filter(|(_, traffic)| traffic.content != Content::Mixed)
        .map(|(name, traffic)| (name, on_wire(traffic, ECHOES)))
        .collect()
}

fn fragments() -> Cases {
    [Content::Ascii, Content::Mixed]
        .into_iter()
        .flat_map(|content| {
            SIZES.into_iter().map(move |(size, name)| {
                let traffic = Traffic {
                    content,
                    size,
                    fragments: 16,
                    masked: true,
                };
                (
                    format!("{name} {}", content.name()),
                    on_wire(traffic, READERS),
                )
            })
        })
        .filter(|(name, _)| !name.starts_with("20 B"))
        .collect()
}

fn send(server: bool) -> Cases {
    traffics(false)
        .filter(|(_, traffic)| traffic.content == Content::Binary)
        .map(|(name, traffic)| {
            let field: Field = vec![
                ("offhook, slice", ours::write(traffic, server)),
                (tungstenite::NAME, tungstenite::write(traffic, server)),
                (fastwebsockets::NAME, fastwebsockets::write(traffic, server)),
                (
                    tokio_websockets::NAME,
                    tokio_websockets::write(traffic, server),
                ),
                ("offhook, shared", ours::write_shared(traffic, server)),
            ];
            (name, field)
        })
        .collect()
}

fn unmask() -> Cases {
    SIZES
        .into_iter()
        .map(|(size, name)| (name.to_owned(), kernels::unmask(size)))
        .collect()
}

fn headers() -> Cases {
    [
        (20, "7-bit length"),
        (1024, "16-bit length"),
        (1 << 20, "64-bit length"),
    ]
    .into_iter()
    .map(|(len, name)| (name.to_owned(), kernels::parse_header(len)))
    .collect()
}

fn codec(field: fn(usize) -> Field) -> Cases {
    let sizes = [(128, "128 B"), (1024, "1 KiB"), (16 * 1024, "16 KiB")];
    sizes
        .into_iter()
        .map(|(size, name)| (format!("{name} JSON"), field(size)))
        .collect()
}
