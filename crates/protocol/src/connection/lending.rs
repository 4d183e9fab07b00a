//! Lending a connection the buffer that it corks its output in.
//!
//! These are functions rather than methods, because most users of a
//! [`Connection`](crate::Connection) do not need them: they are for drivers of many connections.

use super::Outbound;

/// Lends a connection a buffer for its output, so that one buffer per thread serves every
/// connection. Returns the buffer if the connection already has one, or if the buffer is not empty.
pub fn lend(outbound: &mut Outbound, buffer: Vec<u8>) -> Option<Vec<u8>> {
    outbound.wire.lend(buffer)
}

/// Lends a buffer if the connection has none to cork output in: for when something is about to be
/// sent, so that a connection that sends nothing borrows nothing.
#[inline]
pub fn lend_with(outbound: &mut Outbound, buffer: impl FnOnce() -> Vec<u8>) {
    if outbound.wire.has_no_buffer() {
        let _taken = outbound.wire.lend(buffer());
    }
}

/// Takes a lent buffer back, if all of it has been transmitted. Until then, and without lending at
/// all, the connection keeps a buffer just as long as something is unsent.
#[inline]
pub fn reclaim(outbound: &mut Outbound) -> Option<Vec<u8>> {
    outbound.wire.reclaim()
}
