//! One connection: its streams, each with a task, and its end.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use offhook_http3::{Code, Error, frame, settings::Settings, stream::CONTROL, varint};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{Notify, mpsc},
    task::spawn_local,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{endpoint::FAREWELL, stream, unidirectional};
use crate::{
    door::Place,
    refused::Client,
    worker::{Lease, Worker},
};

/// The time over which cancelled requests are counted.
const WINDOW: Duration = Duration::from_secs(30);

/// The first stream of a session that a client opens, with the bytes that were read behind its beginning.
pub(super) type Opened = (SendStream, RecvStream, Vec<u8>);

/// A connection, shared by the tasks of its streams.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) quic: quinn::Connection,
    /// The place of the connection itself; each request gets another one.
    pub(super) place: Place,
    /// Sessions by the id of their stream, and who awaits their control stream.
    pub(super) sessions: RefCell<HashMap<u64, mpsc::Sender<Opened>>>,
    /// Requests, WebSockets and sessions that are open.
    open: Cell<u32>,
    /// Notified when `open` falls to 0.
    emptied: Notify,
    /// When the last of them has ended, or the connection began.
    idle_since: Cell<Instant>,
    /// The lowest id of streams that are not accepted any more.
    end: Cell<Option<u64>>,
    /// The lowest id that no stream of the client has had.
    next: Cell<u64>,
    /// Whether the client has opened its control stream, and the two of QPACK.
    pub(super) has: [Cell<bool>; 3],
    /// Cancelled requests, and since when they are counted.
    cancelled: Cell<(u32, Instant)>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// Held by each request, WebSocket and session of a connection.
#[derive(Debug)]
pub(super) struct InUse(Rc<Connection>);

impl Drop for InUse {
    fn drop(&mut self) {
        let connection = &self.0;
        connection.open.update(|open| open.saturating_sub(1));
        if connection.open.get() == 0 {
            connection.idle_since.set(Instant::now());
            connection.emptied.notify_one();
        }
    }
}

/// Ends a connection with a code of HTTP/3.
pub(super) fn close(quic: &quinn::Connection, code: Code, reason: &str) {
    quic.close(number(code), reason.as_bytes());
}

/// The code in the form that QUIC transports.
pub(super) fn number(code: Code) -> VarInt {
    VarInt::from_u64(code.0).unwrap_or(VarInt::MAX)
}

/// Serves one connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, quic: quinn::Connection, place: Place) {
    let lease = Lease::new(&worker);
    let now = Instant::now();
    let connection = Rc::new(Connection {
        worker,
        quic,
        place,
        sessions: RefCell::default(),
        open: Cell::new(0),
        emptied: Notify::new(),
        idle_since: Cell::new(now),
        end: Cell::new(None),
        next: Cell::new(0),
        has: Default::default(),
        cancelled: Cell::new((0, now)),
    });
    let within = connection
        .worker
        .shared
        .config
        .connections
        .handshake_timeout;
    let mut stopping = connection.worker.stopping();
    let begun = tokio::select! {
        // First, so that a client that gives credit at once is told GOAWAY when the server stops.
        biased;
        begun = timeout(within, begin(&connection)) => begun,
        () = stopping.begun() => {
            close(&connection.quic, Code::NO_ERROR, "the server goes away");
            close_sent(&connection.quic).await;
            return drop(lease);
        }
    };
    match begun {
        Ok(Ok(control)) => run(&connection, control).await,
        Ok(Err(error)) => tracing::debug!(%error, "lost before HTTP/3 began"),
        Err(_elapsed) => {
            // RFC 9114 §6.2: clients have to allow a control stream, and should give credit for it.
            let why = "the client does not accept the control stream";
            let client = Client::at(connection.place.peer());
            connection
                .worker
                .note_refusal("handshake_timeout", why, client);
            close(&connection.quic, Code::EXCESSIVE_LOAD, why);
        }
    }
    close_sent(&connection.quic).await;
    drop(lease);
}

/// How often to look whether the packet that ends a connection was sent.
const LOOK: Duration = Duration::from_millis(1);

/// Waits until the packet that ends the connection was sent. If the worker ended before, the client would learn of the
/// end only by a reset, without the code. quinn's pacing and congestion control may delay this packet, by about a round
/// trip; nothing else is sent on a closed connection.
async fn close_sent(quic: &quinn::Connection) {
    if !matches!(quic.close_reason(), Some(ConnectionError::LocallyClosed)) {
        return;
    }
    let datagrams = || quic.stats().udp_tx.datagrams;
    let before = datagrams();
    let sent = async {
        while datagrams() == before {
            sleep(LOOK).await;
        }
    };
    // It may also have been sent already.
    let within = (quic.rtt() * 3).clamp(LOOK * 10, FAREWELL);
    let _late = timeout(within, sent).await;
}

/// RFC 9114 §3.2: each side opens a control stream, and sends its settings first.
async fn begin(connection: &Connection) -> Result<SendStream, quinn::WriteError> {
    let limits = &connection.worker.shared.config.http3;
    let settings = Settings {
        connect_protocol: true,
        datagrams: true,
        webtransport_sessions: u64::from(limits.sessions),
        field_section: Some(u64::from(limits.header_bytes)),
    };
    let mut bytes = Vec::new();
    varint::write(CONTROL, &mut bytes);
    frame::write(frame::SETTINGS, &settings.encode(), &mut bytes);
    let mut control = connection.quic.open_uni().await?;
    control.write_all(&bytes).await?;
    Ok(control)
}

/// Accepts streams until the connection ends.
async fn run(connection: &Rc<Connection>, mut control: SendStream) {
    let worker = &connection.worker;
    let idle_timeout = worker.shared.config.http3.idle_timeout;
    let (mut stopping, mut cut) = (worker.stopping(), worker.stopping());
    // What is unsent of GOAWAY. A client may give no credit for it, which must not keep this loop from
    // the end of the connection.
    let mut goaway = Vec::new();
    loop {
        let quic = &connection.quic;
        let is_leaving = connection.end.get().is_some();
        let is_idle = connection.open.get() == 0;
        if is_leaving && is_idle {
            return close(quic, Code::NO_ERROR, "");
        }
        let expiry = connection.idle_since.get() + idle_timeout;
        tokio::select! {
            accepted = quic.accept_bi() => match accepted {
                Ok((send, receive)) => connection.accept(send, receive),
                Err(error) => return connection.lost(&error),
            },
            accepted = quic.accept_uni() => match accepted {
                Ok(receive) => {
                    spawn_local(unidirectional::read(Rc::clone(connection), receive));
                }
                Err(error) => return connection.lost(&error),
            },
            datagram = quic.read_datagram() => match datagram {
                // Clients have nothing to say in datagrams.
                Ok(_) => worker.metrics.datagrams_received.add(1),
                Err(error) => return connection.lost(&error),
            },
            () = stopping.begun(), if !is_leaving => {
                goaway = connection.leave();
            }
            written = control.write(&goaway), if !goaway.is_empty() => match written {
                Ok(count) => drop(goaway.drain(..count)),
                // If the connection is lost, accepting notices it.
                Err(_lost) => goaway.clear(),
            },
            () = cut.cut() => return close(quic, Code::NO_ERROR, "the server goes away"),
            () = connection.emptied.notified() => {}
            () = sleep_until(expiry), if is_idle => return close(quic, Code::NO_ERROR, ""),
        }
    }
}

impl Connection {
    fn lost(&self, error: &ConnectionError) {
        tracing::debug!(%error, "connection of HTTP/3 lost");
    }

    fn accept(self: &Rc<Self>, mut send: SendStream, mut receive: RecvStream) {
        let id = u64::from(VarInt::from(receive.id()));
        self.next.set(self.next.get().max(id.saturating_add(4)));
        if self.end.get().is_some_and(|end| id >= end) {
            // RFC 9114 §5.2: it was not processed, so that the client can repeat it elsewhere.
            refuse(&mut send, &mut receive, Code::REQUEST_REJECTED);
            return;
        }
        self.open.update(|open| open.saturating_add(1));
        let in_use = InUse(Rc::clone(self));
        spawn_local(stream::serve(Rc::clone(self), in_use, send, receive));
    }

    /// Accepts no further streams, and returns the GOAWAY that says so (RFC 9114 §5.2). Open ones go on until
    /// they end.
    fn leave(&self) -> Vec<u8> {
        let end = self.next.get();
        self.end.set(Some(end));
        let (mut id, mut goaway) = (Vec::new(), Vec::new());
        varint::write(end, &mut id);
        frame::write(frame::GOAWAY, &id, &mut goaway);
        goaway
    }

    /// Ends the connection because of what the client did.
    pub(super) fn fail(&self, error: &Error) {
        let client = Client::at(self.place.peer());
        self.worker.note_refusal("http3", error, client);
        close(&self.quic, error.code, error.detail);
    }

    /// The client has cancelled a request. A client that opens and cancels streams without end is
    /// disconnected (RFC 9114 §10.5).
    pub(super) fn cancelled(&self) {
        let now = Instant::now();
        let (count, since) = self.cancelled.get();
        let is_over = now.duration_since(since) >= WINDOW;
        let (count, since) = if is_over {
            (1, now)
        } else {
            (count.saturating_add(1), since)
        };
        self.cancelled.set((count, since));
        if count > self.worker.shared.config.http3.resets {
            let client = Client::at(self.place.peer());
            self.worker
                .note_refusal("http3", "too many requests were cancelled", client);
            close(
                &self.quic,
                Code::EXCESSIVE_LOAD,
                "too many requests were cancelled",
            );
        }
    }
}

/// Ends both directions of a stream with a code.
pub(super) fn refuse(send: &mut SendStream, receive: &mut RecvStream, code: Code) {
    // An error means that the direction has ended already.
    let _ended = (send.reset(number(code)), receive.stop(number(code)));
}

/// Whether reading failed because the client has cancelled the stream.
pub(super) fn is_cancelled(error: &ReadError) -> bool {
    matches!(error, ReadError::Reset(_))
}
