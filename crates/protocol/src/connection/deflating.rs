//! permessage-deflate at one end of a connection: a compressor and a decompressor.

use crate::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateParams, DeflatePool, DeflateTerms,
};

/// The compressor and decompressor of an open connection; see
/// [`Connection::with_deflate`](super::Connection::with_deflate).
///
/// Allocates almost nothing until the first compressed message.
#[derive(Debug)]
pub struct Deflate {
    pub(crate) compressor: Compressor,
    pub(crate) decompressor: Decompressor,
}

impl Deflate {
    /// For a server, with the negotiated parameters. Connections of one thread share a pool of
    /// codecs.
    #[must_use]
    pub fn server(params: &DeflateParams, config: &DeflateConfig, pool: &DeflatePool) -> Self {
        Self::new(params.server(), params.client(), config, pool)
    }

    /// For a client.
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
            // The connection limits the length of messages: whole ones while they inflate; chunks
            // are never held in memory.
            decompressor: Decompressor::new(theirs, u64::MAX, config, pool),
        }
    }
}
