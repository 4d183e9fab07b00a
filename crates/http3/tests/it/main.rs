//! Tests of HTTP/3's encodings, with examples of the RFCs and with random bytes.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod frames;
mod qpack;
mod settings;
mod varint;
mod webtransport;
