//! permessage-deflate (RFC 7692): its negotiation and its codecs.
//!
//! A handshake parses the header with [`parse_extensions`], and a [`DeflateConfig`] offers, accepts
//! or confirms. With the negotiated [`DeflateParams`], a connection creates a [`Compressor`] for
//! what it sends and a [`Decompressor`] for what it receives, both using a [`DeflatePool`].
//!
//! ```
//! use offhook_protocol::deflate::{
//!     Compressor, Decompressor, DeflateConfig, DeflatePool, parse_extensions,
//! };
//!
//! let config = DeflateConfig::default();
//! let offer = config.offer();
//! let params = config.accept(&parse_extensions([offer.as_bytes()])?).ok_or("declined")?;
//!
//! let pool = DeflatePool::default();
//! let mut server = Compressor::new(params.server(), &config, &pool);
//! let mut client = Decompressor::new(params.server(), 1 << 20, &config, &pool);
//!
//! let message = br#"{"price":101.25,"symbol":"ACME"},{"price":101.50,"symbol":"ACME"}"#;
//! let mut payload = Vec::new();
//! assert!(server.compress(message, &mut payload));
//! assert!(payload.len() < message.len());
//!
//! let mut received = Vec::new();
//! let done = client.decompress(&payload, true, &mut received, usize::MAX)?;
//! assert!(done.finished);
//! assert_eq!(received, message);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Secrets
//!
//! RFC 7692 §8: when a secret and text chosen by an attacker are compressed together, the length of
//! the result reveals whether they are alike, even if it is encrypted (CRIME). Send what must not
//! be compressed as [`Prepared::new`](crate::Prepared::new): it is sent uncompressed and does not
//! enter the context.

mod compress;
mod config;
mod decompress;
mod extensions;
mod negotiate;
mod pool;
mod window;

pub use compress::{Compressor, compress_once};
pub use config::{DeflateConfig, DeflateMemory};
pub use decompress::{Decompressor, InflateError, Inflated};
pub use extensions::{
    Extension, ExtensionsError, MAX_EXTENSIONS, MAX_PARAMETERS, Parameter, parse_extensions,
};
pub use negotiate::{DeflateParams, DeflateTerms, NegotiationError, PERMESSAGE_DEFLATE};
pub use pool::DeflatePool;

/// A decoder independent of zlib, which the tests use as a reference.
#[cfg(test)]
mod reference;
