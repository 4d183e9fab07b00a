//! permessage-deflate at one end of a connection: a codec for each direction.

use crate::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateParams, DeflatePool, DeflateTerms,
};

/// What an open connection compresses and decompresses with; see
/// [`Connection::with_deflate`](super::Connection::with_deflate).
///
/// It takes no memory worth the name until the first compressed message.
#[derive(Debug)]
pub struct Deflate {
    pub(crate) compressor: Compressor,
    pub(crate) decompressor: Decompressor,
}

impl Deflate {
    /// For the server's end, by what the handshake agreed on. Connections of one thread share a
    /// pool of codecs.
    #[must_use]
    pub fn server(params: &DeflateParams, config: &DeflateConfig, pool: &DeflatePool) -> Self {
        Self::new(params.server(), params.client(), config, pool)
    }

    /// For the client's end.
    #[must_use]
    pub fn client(params: &DeflateParams, config: &DeflateConfig, pool: &DeflatePool) -> Self {
        Self::new(params.client(), params.server(), config, pool)
    }

    fn new(
        ours: DeflateTerms,
        theirs: DeflateTerms,
        config: &DeflateConfig,
        pool: &DeflatePool,
    ) -> Self {
        Self {
            compressor: Compressor::new(ours, config, pool),
            // How long a message may be is up to the connection: whole ones are limited while
            // they inflate, chunked ones are never held.
            decompressor: Decompressor::new(theirs, u64::MAX, config, pool),
        }
    }
}
