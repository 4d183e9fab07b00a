//! HTTP/3 (RFC 9114) above any implementation of QUIC: frames, settings, field sections, and what
//! WebTransport adds to them. It has no I/O and no connection: a driver reads the streams of QUIC, and
//! asks here what their bytes mean.
//!
//! | module | specifies it |
//! |---|---|
//! | [`varint`] | RFC 9000 §16 |
//! | [`frame`] | RFC 9114 §7 |
//! | [`settings`] | RFC 9114 §7.2.4, RFC 9220, RFC 9297, draft-ietf-webtrans-http3 |
//! | [`qpack`] | RFC 9204, without a dynamic table: neither side has to keep state or to wait |
//! | [`webtransport`] | draft-ietf-webtrans-http3-02 and -07, as browsers implement them |
//!
//! ```
//! use offhook_http3::{frame::{Frame, Frames, HEADERS}, qpack};
//!
//! let section = qpack::encode([(":status", "200"), ("content-type", "text/plain")]);
//! let mut bytes = Vec::new();
//! offhook_http3::frame::write(HEADERS, &section, &mut bytes);
//!
//! let mut frames = Frames::new(16 * 1024);
//! frames.receive(&bytes);
//! let Some(Frame::Whole { kind: HEADERS, payload }) = frames.next()? else { panic!() };
//! assert_eq!(qpack::decode(&payload, 16 * 1024)?[0].value, b"200");
//! # Ok::<(), offhook_http3::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::panic
    )
)]

mod error;
pub mod frame;
pub mod qpack;
pub mod settings;
pub mod varint;
pub mod webtransport;

pub use error::{Code, Error};

/// The ALPN name of HTTP/3 (RFC 9114 §3.1).
pub const ALPN: &[u8] = b"h3";

/// Types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
pub mod stream {
    /// The control stream: each side opens one, which begins with its settings.
    pub const CONTROL: u64 = 0x00;
    /// A push stream, which only servers open.
    pub const PUSH: u64 = 0x01;
    /// Instructions of a QPACK encoder.
    pub const QPACK_ENCODER: u64 = 0x02;
    /// Instructions of a QPACK decoder.
    pub const QPACK_DECODER: u64 = 0x03;
}
