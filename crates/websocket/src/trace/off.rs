//! The feature `tracing` is off: nothing is logged or stored for it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use offhook_protocol::Closed;
use offhook_protocol::handshake::Request;

use crate::error::Error;
use crate::metrics::Traffic;
use crate::server::BoxError;

/// The span of one connection: none.
#[derive(Clone, Debug)]
pub(crate) struct Span;

impl Span {
    pub(crate) fn request(_peer: impl FnOnce() -> Option<SocketAddr>, _request: &Request) -> Self {
        Self
    }

    pub(crate) const fn client(_server: &str, _target: &str) -> Self {
        Self
    }

    pub(crate) const fn opened_elsewhere(_is_server: bool) -> Self {
        Self
    }

    pub(crate) const fn is_heard(&self) -> bool {
        false
    }

    pub(crate) const fn instrument<F: Future>(&self, future: F) -> F {
        future
    }

    pub(crate) const fn opened(&self) {}

    pub(crate) const fn failed(&self, _error: &Error) {}

    pub(crate) const fn refused(&self, _status: u16) {}

    pub(crate) const fn closed(&self, _closed: &Closed, _total: &Traffic, _open_for: Duration) {}

    pub(crate) const fn handler_failed(&self, _error: &BoxError) {}
}

pub(crate) const fn failed_request(_peer: Option<SocketAddr>, _error: &Error) {}

pub(crate) const fn hears_failed_requests() -> bool {
    false
}
