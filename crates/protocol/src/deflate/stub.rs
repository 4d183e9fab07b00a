#![allow(missing_docs, clippy::all, reason = "temporary")]
use super::*;
#[derive(Debug)]
pub struct Compressor;
#[derive(Debug)]
pub struct Decompressor;
#[derive(Debug)]
pub struct Deflate {
    pub(crate) compressor: Compressor,
    pub(crate) decompressor: Decompressor,
}
#[derive(Debug)]
pub struct Inflated {
    pub consumed: usize,
    pub finished: bool,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InflateError {
    Corrupt,
    WindowExceeded,
    TooLarge { limit: u64 },
    Ratio { limit: u32 },
}
impl Compressor {
    pub fn compress(&mut self, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }
    pub fn compress_chunk(&mut self, _: &[u8], _: bool, _: &mut Vec<u8>) {}
    pub fn window_bits(&self) -> u8 {
        15
    }
    pub fn note_shared(&mut self, _: &[u8]) {}
}
impl Decompressor {
    pub fn decompress(
        &mut self,
        _: &[u8],
        _: bool,
        _: &mut Vec<u8>,
        _: usize,
    ) -> Result<Inflated, InflateError> {
        Err(InflateError::Corrupt)
    }
}
pub fn compress_once(_: &[u8], _: &DeflateConfig) -> Option<(Vec<u8>, u8)> {
    None
}
