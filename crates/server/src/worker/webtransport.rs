//! A WebTransport session as a transport: a control stream in both directions, streams of subscriptions, and
//! datagrams. The dialect says where each message goes; see
//! [`Placed`](offhook_dialects::webtransport::Placed).
//!
//! ```text
//!                    ┌─▶ control ─▶ a task that writes the control stream
//! outboxes ─▶ put ───┼─▶ stream n ─▶ a task that writes its stream
//!                    └─▶ newest of each subject ─▶ a task that sends datagrams
//! ```
//!
//! One limit holds for everything that is unsent, as for any other connection.

mod sending;

use std::{future::poll_fn, io::Cursor, rc::Rc};

use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use quinn::{RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    Guest, Worker,
    byte_stream::{introduction, poll_bytes},
    connecting::Ended as NotConnected,
    connection::{Connection, Taken},
    outlet::{Outlet, Transport},
    stopping::Lease,
};
use crate::{door::Place, refused::Client};
use sending::{State, Streams, send_datagrams, write_control};

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The connection that it shares with others.
    pub(crate) quic: quinn::Connection,
    /// The id of the stream that opened it.
    pub(crate) id: u64,
    /// The control stream.
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    /// Bytes of the control stream that were received already.
    pub(crate) unread: Vec<u8>,
    /// How the client has ended the session, once it has.
    pub(crate) ended: watch::Receiver<Option<Ended>>,
}

/// How a client has ended its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// It said that it leaves; otherwise it was lost.
    pub(crate) left: bool,
}

/// How the server ends a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl Farewell {
    pub(crate) fn new(code: CloseCode, reason: &str) -> Self {
        Self {
            code: code.get(),
            reason: reason.to_owned(),
        }
    }
}

impl Default for Farewell {
    /// The client has ended it.
    fn default() -> Self {
        Self {
            code: 0,
            reason: String::new(),
        }
    }
}

impl Worker {
    /// Serves a session until it ends. Returns how the server ends it.
    pub(crate) async fn serve_session(
        self: &Rc<Self>,
        session: Session,
        guest: Guest,
        place: Place,
    ) -> Farewell {
        let lease = Lease::new(self);
        let streams = Streams::new(self, &session);
        let Session {
            send,
            receive,
            unread,
            ended,
            ..
        } = session;
        let within = self.shared.config.connections.close_timeout;
        spawn_local(write_control(Rc::clone(&streams), send, within));
        spawn_local(send_datagrams(Rc::clone(&streams)));
        let reader = Cursor::new(unread).chain(receive);
        let left = Box::pin(serve(self, reader, &streams, guest, ended)).await;
        // Without a reason of the server, the client has ended it.
        streams.reach(State::Closing);
        if left.is_some() {
            streams.reach(State::Ended);
        }
        streams.reached(State::Ended).await;
        drop((place, lease));
        streams.farewell().unwrap_or_default()
    }
}

/// Reads until the session ends. Returns how the client has ended it, if it has.
async fn serve(
    worker: &Rc<Worker>,
    mut reader: impl AsyncRead + Unpin,
    streams: &Rc<Streams>,
    guest: Guest,
    mut ended: watch::Receiver<Option<Ended>>,
) -> Option<Ended> {
    let outlet = Outlet::Other(Rc::<Streams>::clone(streams));
    let config = &worker.shared.config;
    let client = guest.peer.map(Client::at).unwrap_or_default();
    let mut stopping = worker.stopping();
    let connected = tokio::select! {
        connected = introduction(worker, &mut reader, outlet, guest) => connected,
        () = sleep(config.connections.connect_timeout) => {
            Err(NotConnected::Close(CloseCode::POLICY_VIOLATION, "no connect was received in time"))
        }
        () = stopping.begun() => {
            Err(NotConnected::Close(CloseCode::SERVICE_RESTART, "the server goes away"))
        }
        ended = until(&mut ended) => return Some(ended),
        () = streams.reached(State::Closing) => Err(NotConnected::Lost),
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(NotConnected::Lost) => return None,
        Err(NotConnected::Close(code, reason)) => {
            worker.note_refusal("connect", reason, client);
            streams.close(code, reason);
            return None;
        }
    };
    let by_client = {
        let reading = Box::pin(read(&mut connection, &mut reader, streams));
        tokio::select! {
            () = reading => {
                // The end of its control stream is that of the session. A reset comes with one that says
                // how it ends.
                let known = timeout(config.connections.close_timeout, until(&mut ended));
                Some(known.await.unwrap_or(Ended { left: false }))
            }
            ended = until(&mut ended) => Some(ended),
            () = streams.reached(State::Closing) => None,
        }
    };
    let by_server = streams.farewell();
    match (by_server, by_client) {
        (Some(farewell), _) => connection.ended(farewell.code, &farewell.reason),
        (None, Some(Ended { left: true })) => {
            connection.leave_by_transport();
            connection.ended(CloseCode::NORMAL.get(), "");
        }
        // As a WebSocket that ends without a Close (RFC 6455 §7.1.5).
        (None, _) => connection.ended(1006, ""),
    }
    connection.until_it_may_end().await;
    by_client
}

/// Waits until the client has ended the session, or its connection is lost.
async fn until(ended: &mut watch::Receiver<Option<Ended>>) -> Ended {
    let lost = Ended { left: false };
    let ended = ended.wait_for(Option::is_some).await;
    ended.map_or(lost, |ended| ended.unwrap_or(lost))
}

/// Reads the control stream until the client ends it, and passes on its messages as fast as the client takes
/// the answers.
async fn read(
    connection: &mut Connection,
    reader: &mut (impl AsyncRead + Unpin),
    streams: &Streams,
) {
    // The message that connected it may have been followed by others, or have asked for something large.
    let mut taken = Taken::HasMore;
    loop {
        if taken != Taken::Done || streams.is_full() {
            connection.settle(taken, async || room(streams).await).await;
        }
        let read = poll_fn(|cx| {
            poll_bytes(reader, cx, |bytes| {
                connection.receive(Incoming::Binary(bytes))
            })
        });
        match read.await {
            Some(now) => taken = now,
            None => return,
        }
    }
}

async fn room(streams: &Streams) {
    if streams.is_full() {
        // An error means that the session is closing, which ends reading as well.
        let _closing = poll_fn(|cx| streams.poll_room(cx)).await;
    }
}
