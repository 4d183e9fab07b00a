//! permessage-deflate (RFC 7692): its negotiation and its codecs.
//!
//! A handshake reads the header with [`parse_extensions`], and a
//! [`DeflateConfig`] offers, accepts or confirms. From the [`DeflateParams`]
//! agreed upon a connection makes a [`Compressor`] for what it sends and a
//! [`Decompressor`] for what it receives, both on a [`DeflatePool`].
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
//! RFC 7692 §8: where a secret and text that an attacker chose are compressed
//! together, the length of the result tells whether they are alike, encryption
//! or not (CRIME). Send what must not be compressed as
//! [`Prepared::new`](crate::Prepared::new): it goes out as it is, and stays
//! out of the context.

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

/// A decoder that knows nothing of zlib, for the tests to measure by.
#[cfg(test)]
mod reference;
