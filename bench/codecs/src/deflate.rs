//! permessage-deflate: ours in its memory modes, and zlib-rs (which ours uses) with one stream that
//! is never reset. The peers do not implement the extension.

use offhook_protocol::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateMemory, DeflatePool, DeflateTerms,
};
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use crate::race::{Field, Work};

/// A window that fits all modes; the default of the pooled one.
const WINDOW_BITS: u8 = 12;

const MODES: [(&str, DeflateMemory); 3] = [
    ("offhook, dedicated", DeflateMemory::Dedicated),
    (
        "offhook, pooled",
        DeflateMemory::Pooled {
            window_bits: WINDOW_BITS,
        },
    ),
    ("offhook, shared", DeflateMemory::Shared),
];

/// Ticker-like JSON, the same fields and new numbers again and again.
fn messages(size: usize) -> Vec<Vec<u8>> {
    let mut price = 10_000_u32;
    let mut message = || {
        let mut json = String::new();
        while json.len() < size {
            price = price.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (id, cents) = (price >> 20, price >> 16 & 0xfff);
            json += &format!("{{\"symbol\":\"S{id}\",\"bid\":{cents},\"venue\":\"XETRA\"}},");
        }
        json.truncate(size);
        json.into_bytes()
    };
    (0..64).map(|_| message()).collect()
}

const fn terms(context_takeover: bool) -> DeflateTerms {
    DeflateTerms {
        window_bits: WINDOW_BITS,
        context_takeover,
    }
}

fn config(memory: DeflateMemory) -> DeflateConfig {
    DeflateConfig::default()
        .memory(memory)
        .threshold(0)
        .max_ratio(None, 0)
}

fn takes_over(memory: DeflateMemory) -> bool {
    memory != DeflateMemory::Shared
}

pub fn compress(size: usize) -> Field {
    let ours = |memory| -> Work {
        let pool = DeflatePool::default();
        let mut compressor = Compressor::new(terms(takes_over(memory)), &config(memory), &pool);
        let messages = messages(size);
        let mut out = Vec::new();
        each(messages, move |message| {
            out.clear();
            assert!(compressor.compress(message, &mut out), "it shrinks");
        })
    };
    let mut field: Field = MODES
        .map(|(name, memory)| (name, ours(memory)))
        .into_iter()
        .collect();
    let mut stream = Deflate::new(6, false, WINDOW_BITS);
    let mut out = vec![0; size * 2 + 1024];
    field.push((
        "zlib-rs",
        each(messages(size), move |message| {
            stream
                .compress(message, &mut out, DeflateFlush::SyncFlush)
                .expect("room");
        }),
    ));
    field
}

pub fn decompress(size: usize) -> Field {
    let ours = |memory| -> Work {
        let (pool, config) = (DeflatePool::default(), config(memory));
        let terms = terms(takes_over(memory));
        let mut decompressor = Decompressor::new(terms, u64::MAX, &config, &pool);
        let mut out = Vec::new();
        each(without_context(size), move |payload| {
            out.clear();
            decompressor
                .decompress(payload, true, &mut out, usize::MAX)
                .expect("valid");
            assert_eq!(out.len(), size);
        })
    };
    let mut field: Field = MODES
        .map(|(name, memory)| (name, ours(memory)))
        .into_iter()
        .collect();
    let mut stream = Inflate::new(false, WINDOW_BITS);
    let mut out = vec![0; size + 1];
    let payloads = without_context(size).into_iter();
    let payloads = payloads.map(|payload| [&payload[..], &[0, 0, 0xff, 0xff]].concat());
    field.push((
        "zlib-rs",
        each(payloads.collect(), move |payload| {
            stream
                .decompress(payload, &mut out, InflateFlush::SyncFlush)
                .expect("valid");
        }),
    ));
    field
}

/// Messages that every mode can read, in any order.
fn without_context(size: usize) -> Vec<Vec<u8>> {
    let config = config(DeflateMemory::Shared);
    let mut compressor = Compressor::new(terms(false), &config, &DeflatePool::default());
    let compress = |message: Vec<u8>| {
        let mut payload = Vec::new();
        assert!(compressor.compress(&message, &mut payload), "it shrinks");
        payload
    };
    messages(size).into_iter().map(compress).collect()
}

fn each(messages: Vec<Vec<u8>>, mut work: impl FnMut(&[u8]) + 'static) -> Work {
    let mut next = 0;
    Box::new(move |count| {
        for _ in 0..count {
            work(&messages[next % messages.len()]);
            next += 1;
        }
        count
    })
}
