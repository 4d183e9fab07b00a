//! A stream of bytes as a transport, such as TCP with or without TLS. Each connection has one task
//! that receives and one that sends.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, split},
    sync::{Notify, watch},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    Guest, Worker,
    connecting::{Connected, Connecting, Ended},
    connection::{Connection, Taken},
    outlet::{Gone, Kind, Medium, Outlet, Transport, wait},
    stopping::Lease,
};
use crate::{
    door::{Place, Stream},
    refused::Client,
};

/// The largest read in bytes. The buffer is on the stack, so that an idle connection holds none. 8
/// KiB: many small packets at once.
const READ: usize = 8 * 1024;

/// How long the server waits for the client to close its end after the server has closed. 2 s:
/// several round trips on a slow link.
const LINGER: Duration = Duration::from_secs(2);

/// The sending half: output is queued here for the task that writes.
#[derive(Debug)]
pub(super) struct Pipe {
    unsent: RefCell<Vec<u8>>,
    /// Bytes that are being written.
    writing: Cell<usize>,
    /// The limit for unsent bytes. Once it was exceeded, there is room again at half of it.
    bound: usize,
    /// Wakes the task that writes.
    filled: Notify,
    /// The tasks that wait for room: the one that reads, and the one that refills the connection.
    waiting: RefCell<Vec<Waker>>,
    state: watch::Sender<State>,
}

/// ```text
///      close, or the client has gone        everything is written, or writing failed
/// Open ──────────────────────────────▶ Closing ──────────────────────────────────────▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// Queued output is still written, and no more is accepted.
    Closing,
    Ended,
}

impl Pipe {
    fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self {
            unsent: RefCell::default(),
            writing: Cell::new(0),
            bound,
            filled: Notify::new(),
            waiting: RefCell::default(),
            state: watch::Sender::new(State::Open),
        })
    }

    /// Advances to this state; does nothing if a later one was reached.
    fn reach(&self, state: State) {
        self.state.send_if_modified(|now| {
            let moves = *now < state;
            *now = state.max(*now);
            moves
        });
        self.filled.notify_one();
        if state == State::Ended {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until this state is reached.
    async fn reached(&self, state: State) {
        // `self` holds the sender, so this does not fail.
        let mut states = self.state.subscribe();
        let _reached = states.wait_for(|now| *now >= state).await;
    }

    fn take(&self) -> Vec<u8> {
        let bytes = mem::take(&mut *self.unsent.borrow_mut());
        self.writing.set(bytes.len());
        bytes
    }

    fn written(&self) {
        self.writing.set(0);
        if self.unsent() <= self.bound / 2 {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Transport for Pipe {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        if *self.state.borrow() != State::Open {
            return Err(Gone);
        }
        self.unsent.borrow_mut().extend_from_slice(message);
        self.filled.notify_one();
        Ok(self.unsent())
    }

    fn medium(&self) -> Medium {
        Medium::Stream
    }

    fn unsent(&self) -> usize {
        self.unsent.borrow().len() + self.writing.get()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if *self.state.borrow() != State::Open {
            return Poll::Ready(Err(Gone));
        }
        if self.unsent() <= self.bound / 2 {
            return Poll::Ready(Ok(()));
        }
        wait(&mut self.waiting.borrow_mut(), cx);
        Poll::Pending
    }

    fn close(&self, _code: CloseCode, _reason: &str) {
        // The dialect has already sent the reason, if its protocol has a message for it.
        self.reach(State::Closing);
    }
}

/// Serves a stream until it ends.
pub(super) async fn serve(worker: Rc<Worker>, stream: Stream, guest: Guest, place: Place) {
    let lease = Lease::new(&worker);
    let pipe = Pipe::new(worker.shared.config.messages.outbox_bytes);
    let within = worker.shared.config.connections.close_timeout;
    let (mut reader, writer) = split(stream);
    spawn_local(write(Rc::clone(&pipe), writer, within));
    let closed = Box::pin(read(&worker, &mut reader, &pipe, guest));
    tokio::select! {
        () = closed => {}
        () = pipe.reached(State::Closing) => {}
    }
    pipe.reach(State::Closing);
    pipe.reached(State::Ended).await;
    // Closing a socket with unread data sends a reset, which can discard output that the client has
    // not read yet. Therefore the rest is read first.
    let rest = async {
        while poll_fn(|cx| poll_bytes(&mut reader, cx, |_| ()))
            .await
            .is_some()
        {}
    };
    let _gone = timeout(LINGER, rest).await;
    drop((place, lease));
}

async fn write(pipe: Rc<Pipe>, mut writer: impl AsyncWrite + Unpin, within: Duration) {
    let mut ended = pipe.state.subscribe();
    let written = async {
        loop {
            let bytes = pipe.take();
            if !bytes.is_empty() {
                writer.write_all(&bytes).await?;
                writer.flush().await?;
                pipe.written();
            } else if *pipe.state.borrow() == State::Open {
                pipe.filled.notified().await;
            } else {
                return writer.shutdown().await;
            }
        }
    };
    let overdue = async {
        // The result locks the state. If it were held while sleeping, `reach` would block this thread.
        drop(ended.wait_for(|now| *now >= State::Closing).await);
        sleep(within).await;
    };
    let written: io::Result<()> = tokio::select! {
        written = written => written,
        () = overdue => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = written {
        tracing::debug!(%error, "connection lost before all output was written");
    }
    pipe.reach(State::Ended);
}

/// Reads until the end of the stream, or until the client is refused.
async fn read(
    worker: &Rc<Worker>,
    reader: &mut (impl AsyncRead + Unpin),
    pipe: &Rc<Pipe>,
    guest: Guest,
) {
    let outlet = Outlet::Other(Rc::<Pipe>::clone(pipe));
    let within = worker.shared.config.connections.connect_timeout;
    let client = guest.peer.map(Client::at).unwrap_or_default();
    let connected = timeout(within, introduction(worker, reader, outlet, guest)).await;
    let mut connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(Ended::Lost)) => return,
        Ok(Err(Ended::Close(_, reason))) => {
            return worker.note_refusal("connect", reason, client);
        }
        Err(_) => return worker.note_refusal("connect", "no connect was received in time", client),
    };
    let mut taken = Taken::HasMore;
    loop {
        if taken != Taken::Done || pipe.unsent() > pipe.bound {
            connection.settle(taken, async || room(pipe).await).await;
        }
        let read = poll_fn(|cx| {
            poll_bytes(reader, cx, |bytes| {
                connection.receive(Incoming::Binary(bytes))
            })
        });
        match read.await {
            Some(now) => taken = now,
            None => return connection.until_it_may_end().await,
        }
    }
}

async fn room(pipe: &Pipe) {
    if pipe.unsent() > pipe.bound {
        // An error means that the connection is closing, which ends reading as well.
        let _closing = poll_fn(|cx| pipe.poll_room(cx)).await;
    }
}

/// Reads until the client has connected.
pub(super) async fn introduction(
    worker: &Rc<Worker>,
    reader: &mut (impl AsyncRead + Unpin),
    outlet: Outlet,
    guest: Guest,
) -> Result<Connection, Ended> {
    let mut connecting = Connecting::new(outlet, guest);
    let stranger = worker.strangers.enter();
    loop {
        let read = poll_fn(|cx| {
            poll_bytes(reader, cx, |bytes| {
                connecting.receive(worker, Incoming::Binary(bytes))
            })
        });
        let mut connected = tokio::select! {
            read = read => read.unwrap_or(Err(Ended::Lost))?,
            () = stranger.is_cut() => {
                let reason = "memory is short, and its packet is incomplete";
                return Err(Ended::Close(CloseCode::TRY_AGAIN_LATER, reason));
            }
        };
        stranger.holds(connecting.unfinished());
        loop {
            match connected {
                Connected::NotYet => break,
                Connected::Awaits(loading) => {
                    connected = connecting.go_on(worker, loading).await?;
                }
                Connected::Yes(mut connection, intents) => {
                    for intent in intents {
                        connection.carry_out(intent);
                    }
                    return Ok(connection);
                }
            }
        }
    }
}

/// Reads some bytes and passes them to `take`; none at the end of the stream.
pub(super) fn poll_bytes<T>(
    reader: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<Option<T>> {
    let mut space = [0; READ];
    let mut bytes = ReadBuf::new(&mut space);
    let read = ready!(Pin::new(reader).poll_read(cx, &mut bytes));
    if let Err(error) = read {
        tracing::debug!(%error, "connection lost");
        return Poll::Ready(None);
    }
    let bytes = bytes.filled();
    Poll::Ready((!bytes.is_empty()).then(|| take(bytes)))
}
