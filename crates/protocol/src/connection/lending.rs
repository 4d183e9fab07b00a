//! Lending a connection the buffer that it corks its output in.
//!
//! Functions, and not methods: a [`Connection`](crate::Connection) is used by whoever speaks the
//! protocol, and this is only for a driver of many connections.

use super::Outbound;

/// Lends a connection a buffer to cork its output in, so that one buffer a thread serves every
/// connection. Gives the buffer back if the connection has one already, or if something is in it.
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
