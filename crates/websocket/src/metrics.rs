//! Counting what connections do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::Closed;

use crate::error::Error;

/// Receives numbers about connections: the bridge to a program's metrics.
///
/// Give it to [`Server::metrics`](crate::Server::metrics),
/// [`Acceptor::metrics`](crate::Acceptor::metrics), [`Connect::metrics`](crate::Connect::metrics)
/// or [`Settings::metrics`](crate::Settings::metrics). One value may serve any number of
/// connections; to distinguish a server's connections from a client's, give each its own. Every
/// method does nothing unless it is implemented, and without a `Metrics` nothing is counted.
///
/// The methods are called from the task that does the work, but never under a lock of the
/// library's. They should be fast: increment a counter, for example. Calls for one connection may
/// come from several threads at the same time, so [`transferred`](Self::transferred) may be called
/// after [`closed`](Self::closed).
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
/// use std::time::Duration;
///
/// use offhook::{Closed, Connect, Metrics, Traffic};
///
/// #[derive(Default)]
/// struct Counters {
///     open: AtomicI64,
///     received: AtomicU64,
/// }
///
/// impl Metrics for Counters {
///     fn opened(&self) {
///         self.open.fetch_add(1, Relaxed);
///     }
///     fn transferred(&self, traffic: &Traffic) {
///         self.received.fetch_add(traffic.messages_received, Relaxed);
///     }
///     fn closed(&self, _closed: &Closed, _open_for: Duration) {
///         self.open.fetch_sub(1, Relaxed);
///     }
/// }
///
/// let counters = Arc::new(Counters::default());
/// let connect = Connect::to("wss://example.com/chat").metrics(counters.clone());
/// # let _ = connect;
/// ```
pub trait Metrics: Send + Sync + 'static {
    /// A connection is open: the opening handshake is done.
    fn opened(&self) {}

    /// A connection did not open: [`Connect::open`](crate::Connect::open) or the accepting side's
    /// handshake failed with this error. A request that a handler refuses is not a failure.
    fn failed(&self, error: &Error) {
        let _ = error;
    }

    /// A connection has transferred this much since the last call: the result of one turn, so that
    /// it is not called for each message.
    fn transferred(&self, traffic: &Traffic) {
        let _ = traffic;
    }

    /// A ping was answered after this time: one of the keepalive's, or of
    /// [`ping`](crate::Sender::ping).
    fn round_trip(&self, time: Duration) {
        let _ = time;
    }

    /// A connection has ended, once for each that was [opened](Self::opened).
    /// [`Closed::code`] is the close code, [`Closed::by`] and [`Closed::error`] say whose doing it
    /// was.
    fn closed(&self, closed: &Closed, open_for: Duration) {
        let _ = (closed, open_for);
    }
}

/// What a connection has transferred; see [`Metrics::transferred`]. Bytes are those of the
/// WebSocket's frames, above TLS, without the opening handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Received bytes.
    pub bytes_received: u64,
    /// Bytes that left.
    pub bytes_sent: u64,
    /// Completely received messages.
    pub messages_received: u64,
    /// Messages that were queued to be sent.
    pub messages_sent: u64,
}

/// Who counts, if anybody does.
#[derive(Clone, Default)]
pub(crate) struct Counter(pub(crate) Option<Arc<dyn Metrics>>);

impl Counter {
    /// Reports a connection that did not open.
    pub(crate) fn failed(&self, error: &Error) {
        if let Some(metrics) = &self.0 {
            metrics.failed(error);
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "counting"
        } else {
            "nobody"
        })
    }
}
