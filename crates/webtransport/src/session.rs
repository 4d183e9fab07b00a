//! An open session.
//!
//! ```text
//! control stream ──▶ ┐
//! stream n ────────▶ ├─▶ a bounded queue ─▶ recv
//! datagrams ───────▶ ┘
//! capsules ────────▶ how the server ends the session
//! ```

use std::{io, time::Duration};

use offhook_http3::{
    frame::{self, Frame, Frames},
    webtransport::{self, Capsules},
};
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    connect::{integer, next_frame},
    framing,
};

/// Messages that may wait to be received. 64: further ones wait in the windows of their streams, which
/// limits the server.
const QUEUE: usize = 64;

/// How long the server may take to end its half of a session that the client closes. 2 s: several round trips
/// on a slow link.
const LINGER: Duration = Duration::from_secs(2);

/// `H3_NO_ERROR`.
const NO_ERROR: u32 = 0x100;

/// What arrives in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message on the control stream.
    Control(String),
    /// A message on the stream of a subscription: the one whose `subscribed` has this number. It may arrive
    /// before that `subscribed`.
    Stream(u32, String),
    /// A message in a datagram, which may be lost, repeated or out of order.
    Datagram(String),
}

/// How the server has ended a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The code, as in a WebSocket's Close frame.
    pub code: u16,
    /// The reason.
    pub reason: String,
}

/// The parts of a session that has just been opened.
pub(crate) struct Parts {
    pub(crate) endpoint: Endpoint,
    pub(crate) quic: Connection,
    pub(crate) control: SendStream,
    pub(crate) of_server: RecvStream,
    pub(crate) id: u64,
    pub(crate) connect: SendStream,
    pub(crate) capsules: (RecvStream, Frames),
    pub(crate) up: SendStream,
    pub(crate) down: RecvStream,
}

/// An open session. Dropping it loses the connection, after which the server keeps the session for a while;
/// [`close`](Self::close) ends it for good.
#[derive(Debug)]
pub struct Session {
    up: SendStream,
    down: Down,
    connect: SendStream,
    ended: watch::Receiver<Option<Closed>>,
    quic: Connection,
    /// Ends with the session.
    _tasks: JoinSet<()>,
    /// HTTP/3 ends a connection without its control streams.
    _control: SendStream,
    _endpoint: Endpoint,
}

impl Session {
    pub(crate) fn new(parts: Parts) -> Self {
        let (queue, events) = mpsc::channel(QUEUE);
        let (end, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let (receive, frames) = parts.capsules;
        tasks.spawn(read_capsules(receive, frames, end));
        tasks.spawn(drain(parts.of_server));
        tasks.spawn(read_control(parts.down, queue.clone(), ended.clone()));
        tasks.spawn(read_datagrams(parts.quic.clone(), parts.id, queue.clone()));
        tasks.spawn(accept_streams(parts.quic.clone(), parts.id, queue));
        Self {
            up: parts.up,
            down: Down {
                events,
                is_over: false,
            },
            connect: parts.connect,
            ended,
            quic: parts.quic,
            _tasks: tasks,
            _control: parts.control,
            _endpoint: parts.endpoint,
        }
    }

    /// Sends a message on the control stream; waits while the server takes nothing. If this future is dropped
    /// before it is ready, a part of the message may have been sent, and the session cannot be used further.
    ///
    /// # Errors
    /// The session has ended, or the message is longer than 16 MiB.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        send(&mut self.up, text).await
    }

    /// The next message; none if the server has ended the session, see [`closed`](Self::closed). Messages of
    /// one stream come in order; streams are independent. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection is lost, or the server has violated the protocol.
    pub async fn recv(&mut self) -> io::Result<Option<Event>> {
        self.down.recv().await
    }

    /// Both directions, to be used at the same time.
    pub(crate) fn halves(&mut self) -> (&mut SendStream, &mut Down) {
        (&mut self.up, &mut self.down)
    }

    /// How the server has ended the session, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.ended.borrow().clone()
    }

    /// How long the last round trips have taken.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.quic.rtt()
    }

    /// Leaves for good, and waits until the server knows, but not for long.
    pub async fn close(mut self) {
        let mut bytes = Vec::new();
        frame::write(frame::DATA, &webtransport::close(0, ""), &mut bytes);
        let leaving = async {
            if self.connect.write_all(&bytes).await.is_ok() && self.connect.finish().is_ok() {
                let _ended = self.ended.wait_for(Option::is_some).await;
            }
        };
        // The server notices a lost connection as well, but keeps its session then.
        let _late = timeout(LINGER, leaving).await;
    }
}

impl Drop for Session {
    /// Closes the connection before its streams are dropped: that would finish the stream of the CONNECT, and
    /// so end the session for good (draft-ietf-webtrans-http3 §5).
    fn drop(&mut self) {
        self.quic.close(VarInt::from_u32(NO_ERROR), b"");
    }
}

/// Sends a message on the control stream.
pub(crate) async fn send(up: &mut SendStream, text: &str) -> io::Result<()> {
    let framed = framing::framed(text)?;
    up.write_all(&framed).await.map_err(io::Error::other)
}

/// What arrives, in one queue.
#[derive(Debug)]
pub(crate) struct Down {
    events: mpsc::Receiver<io::Result<Option<Event>>>,
    is_over: bool,
}

impl Down {
    /// The next message; none once the server has ended the session.
    pub(crate) async fn recv(&mut self) -> io::Result<Option<Event>> {
        if self.is_over {
            return Ok(None);
        }
        let next = self.events.recv().await.unwrap_or(Ok(None));
        self.is_over = matches!(next, Ok(None));
        next
    }
}

/// None is the end of the session.
type Queue = mpsc::Sender<io::Result<Option<Event>>>;

/// Reads the control stream. Its end, and that of the session, is the end of the queue.
async fn read_control(
    mut down: RecvStream,
    queue: Queue,
    mut ended: watch::Receiver<Option<Closed>>,
) {
    loop {
        let next = match framing::next(&mut down).await {
            Ok(Some(text)) => Ok(Some(Event::Control(text))),
            // The capsule with the reason may arrive after the end of the stream, or its reset.
            Ok(None) | Err(_) => {
                let said = timeout(LINGER, ended.wait_for(Option::is_some)).await;
                match said.is_ok_and(|said| said.is_ok()) {
                    true => Ok(None),
                    false => Err(io::ErrorKind::ConnectionReset.into()),
                }
            }
        };
        let is_over = !matches!(next, Ok(Some(_)));
        if queue.send(next).await.is_err() || is_over {
            return;
        }
    }
}

async fn accept_streams(quic: Connection, session: u64, queue: Queue) {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = quic.accept_uni() => match accepted {
                Ok(receive) => drop(readers.spawn(read_stream(receive, session, queue.clone()))),
                Err(error) => {
                    let _ended = queue.send(Err(error.into())).await;
                    return;
                }
            },
            Some(_) = readers.join_next() => {}
        }
    }
}

/// Reads the stream of a subscription to its end.
async fn read_stream(mut receive: RecvStream, session: u64, queue: Queue) {
    let begun = begin_stream(&mut receive, session).await;
    let number = match begun {
        Ok(Some(number)) => number,
        // A stream of another kind, which RFC 9114 §6.2 lets a server open.
        Ok(None) => return,
        Err(error) => return drop(queue.send(Err(error)).await),
    };
    loop {
        let next = match framing::next(&mut receive).await {
            Ok(Some(text)) => Ok(Some(Event::Stream(number, text))),
            // The subscription has ended.
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_over = next.is_err();
        if queue.send(next).await.is_err() || is_over {
            return;
        }
    }
}

/// The number of the stream's subscription; none if it belongs to something else.
async fn begin_stream(receive: &mut RecvStream, session: u64) -> io::Result<Option<u32>> {
    if integer(receive).await? != webtransport::UNIDIRECTIONAL || integer(receive).await? != session
    {
        return Ok(None);
    }
    let mut number = [0; 4];
    receive
        .read_exact(&mut number)
        .await
        .map_err(io::Error::other)?;
    Ok(Some(u32::from_be_bytes(number)))
}

async fn read_datagrams(quic: Connection, session: u64, queue: Queue) {
    // Its end is noticed by the tasks that read streams.
    while let Ok(datagram) = quic.read_datagram().await {
        let Ok((of, message)) = webtransport::read_datagram(&datagram) else {
            continue;
        };
        if of != session {
            continue;
        }
        let Ok(text) = String::from_utf8(message.to_vec()) else {
            continue;
        };
        if queue.send(Ok(Some(Event::Datagram(text)))).await.is_err() {
            return;
        }
    }
}

/// Reads the capsules until the session ends, and says how.
async fn read_capsules(
    mut receive: RecvStream,
    mut frames: Frames,
    end: watch::Sender<Option<Closed>>,
) {
    let mut capsules = Capsules::default();
    loop {
        match next_frame(&mut receive, &mut frames).await {
            Ok(Some(Frame::Data(data))) => match capsules.receive(&data) {
                Ok(None) => {}
                Ok(Some(closed)) => {
                    let code = u16::try_from(closed.code).unwrap_or(u16::MAX);
                    let reason = closed.reason;
                    return drop(end.send_replace(Some(Closed { code, reason })));
                }
                Err(_invalid) => return,
            },
            Ok(Some(Frame::Whole { .. })) => {}
            // draft-ietf-webtrans-http3 §5: the same as a close with code 0 and no reason.
            Ok(None) => return drop(end.send_replace(Some(Closed::default()))),
            Err(_lost) => return,
        }
    }
}

/// The server's control stream says nothing that a session needs: the messages of the dialect announce the
/// end of the server. It is read so that the server's window stays open.
async fn drain(mut of_server: RecvStream) {
    while let Ok(Some(_)) = of_server.read_chunk(4096, true).await {}
}
