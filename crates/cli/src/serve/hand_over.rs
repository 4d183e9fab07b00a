//! The hand-over of a running server to a new process, such as a newer version of the program.
//!
//! ```text
//! old process                                   new process
//!     │ starts it, with one end of a socket        │
//!     ├──── the listening sockets ────────────────▶│ checks its configuration, reads
//!     │                                            │ certificates and keys
//!     │◀─────────────────────────── prepared ──────┤
//!     │ accepts nothing more, tells its clients    │
//!     │ when to reconnect, closes the log          │
//!     ├──── go ───────────────────────────────────▶│ opens the log, accepts
//!     │◀─────────────────────────── serving ───────┤
//!     │ ends                                       │
//! ```
//!
//! Both processes have the same sockets open, so no connection is refused: between `go` and `serving`,
//! new ones wait in the queue of their socket. Only one process has the log open at any time. If the
//! new process fails, the old one continues; after `go`, it opens the log again.

use std::{
    env, io,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use offhook_server::{ListeningSocket, Sockets};
use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    time::{ClockId, clock_gettime},
};
use tokio::task::spawn_blocking;

use crate::failure::Failure;

/// The flag with which the new process is started.
const FLAG: &str = "--take-over";

/// How long each process waits for the other. 60 s: opening a large log after a crash takes seconds.
const WITHIN: Duration = Duration::from_secs(60);

/// How long a new process that failed has to end by itself. 2 s: it only has to print an error.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often it is checked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// The first message: both processes understand the same hand-over.
const HELLO: &str = "hand-over 1";
/// Before the name of a socket, which comes with it.
const SOCKET: &str = "socket ";
/// After the last socket.
const ALL: &str = "all";
const PREPARED: &str = "prepared";
/// Before the time at which the old process stopped accepting.
const GO: &str = "go ";
const SERVING: &str = "serving";

/// The time that all processes of this machine share, in milliseconds.
pub(super) fn common_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000 + nanoseconds / 1_000_000
}

/// The new process, seen from the old one. Killed on drop unless it serves.
#[derive(Debug)]
pub(super) struct Successor {
    child: Option<Child>,
    channel: Channel,
}

impl Successor {
    /// Starts this program again, with the same arguments, and passes it the sockets. The file of
    /// the program may have been replaced.
    pub(super) fn start(program: &Path, sockets: &Sockets) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let arguments = env::args_os().skip(1).filter(|argument| argument != FLAG);
        let child = Command::new(program)
            .args(arguments)
            .arg(FLAG)
            // Its sockets come from this process.
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let successor = Self {
            child: Some(child),
            channel: Channel::new(ours)?,
        };
        let channel = &successor.channel;
        channel.send(HELLO, None)?;
        for (name, socket) in sockets.iter() {
            channel.send(&format!("{SOCKET}{name}"), Some(socket.as_fd()))?;
        }
        channel.send(ALL, None)?;
        Ok(successor)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it could serve.
    pub(super) async fn prepared(&self) -> io::Result<()> {
        self.channel.expect(PREPARED).await
    }

    /// Lets it open the log, and waits until it serves. `since` is when this process stopped
    /// accepting connections.
    pub(super) async fn serve(&mut self, since: u64) -> io::Result<()> {
        self.channel.send(&format!("{GO}{since}"), None)?;
        self.channel.expect(SERVING).await?;
        // From now on, it does not depend on this process.
        self.child = None;
        Ok(())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        // It ends when nobody is at the other end. One that fails still has to say why.
        let _closed = self.channel.0.shutdown(Shutdown::Both);
        let end = Instant::now() + FAREWELL;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(LOOK);
        }
        // Both fail only if it has ended already. Afterwards, the log is free.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The old process, seen from the new one.
#[derive(Debug)]
pub(super) struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// The process that has started this one, and the sockets that it passes.
    pub(super) fn meet() -> Result<(Self, Sockets), Failure> {
        let met = Self::channel().and_then(|channel| Ok((channel.sockets()?, channel)));
        let (sockets, channel) = met.map_err(|error| {
            Failure::usage(format!(
                "{FLAG} is for processes that `offhook upgrade` starts: {error}"
            ))
        })?;
        Ok((Self { channel }, sockets))
    }

    fn channel() -> io::Result<Channel> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        // The channel has no other descriptor, so that its end is noticed.
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        Channel::new(UnixStream::from(stdin))
    }

    /// Tells it that this process could serve, and waits until the log is free. Returns when the
    /// other process stopped accepting connections.
    pub(super) async fn wait(&self) -> Result<u64, Failure> {
        let ended = |error: io::Error| {
            Failure::Failed(format!("the earlier process hands nothing over: {error}"))
        };
        self.channel.send(PREPARED, None).map_err(ended)?;
        let told = self.channel.next().await.map_err(ended)?;
        let since = told.strip_prefix(GO).and_then(|since| since.parse().ok());
        since.ok_or_else(|| ended(unexpected(&told)))
    }

    /// Tells it that this process serves.
    pub(super) fn end(self) {
        if let Err(error) = self.channel.send(SERVING, None) {
            tracing::warn!(%error, "the earlier process has ended before it was told to");
        }
    }
}

/// Messages between the two processes: a length of two bytes, and text.
#[derive(Debug)]
struct Channel(UnixStream);

impl Channel {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        Ok(Self(stream))
    }

    fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let length = u16::try_from(text.len()).map_err(io::Error::other)?;
        let bytes = [&length.to_be_bytes(), text.as_bytes()].concat();
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let parts = [IoSlice::new(&bytes)];
        let sent = sendmsg(&self.0, &parts, &mut control, SendFlags::empty())?;
        (&self.0).write_all(bytes.get(sent..).unwrap_or_default())
    }

    /// The next message, and the descriptor that came with it.
    fn receive(&self) -> io::Result<(String, Option<OwnedFd>)> {
        let mut length = [0; 2];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut length)];
        let read = recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let descriptor = control.drain().find_map(|message| {
            let RecvAncillaryMessage::ScmRights(mut descriptors) = message else {
                return None;
            };
            descriptors.next()
        });
        let mut stream = &self.0;
        stream.read_exact(length.get_mut(read..).unwrap_or_default())?;
        let mut text = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut text)?;
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        Ok((text, descriptor))
    }

    /// The sockets that the old process passes.
    fn sockets(&self) -> io::Result<Sockets> {
        let (hello, _) = self.receive()?;
        if hello != HELLO {
            return Err(unexpected(&hello));
        }
        let mut sockets = Sockets::default();
        loop {
            let (told, descriptor) = self.receive()?;
            match (told.strip_prefix(SOCKET), descriptor) {
                (Some(name), Some(descriptor)) => {
                    sockets.add(name, ListeningSocket::try_from(descriptor)?);
                }
                (None, None) if told == ALL => return Ok(sockets),
                _ => return Err(unexpected(&told)),
            }
        }
    }

    /// Waits for the next message, without keeping the thread from anything else.
    async fn next(&self) -> io::Result<String> {
        let channel = Self(self.0.try_clone()?);
        let received = spawn_blocking(move || channel.receive()).await;
        let (text, _) = received.map_err(io::Error::other)??;
        Ok(text)
    }

    async fn expect(&self, text: &str) -> io::Result<()> {
        let told = self.next().await.map_err(|error| {
            let kind = error.kind();
            if kind == io::ErrorKind::UnexpectedEof {
                return io::Error::other("it has ended, and its error is in the server's log");
            }
            if matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                let seconds = WITHIN.as_secs();
                return io::Error::other(format!("it was not ready within {seconds} s"));
            }
            error
        })?;
        if told == text {
            Ok(())
        } else {
            Err(unexpected(&told))
        }
    }
}

fn unexpected(told: &str) -> io::Error {
    let words = format!("{told:?} is not part of this version's hand-over");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn channels() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (
            Channel::new(one).expect("ours"),
            Channel::new(other).expect("ours"),
        )
    }

    #[test]
    fn sockets_arrive_with_their_names_in_order() {
        let (old, new) = channels();
        let sockets: Vec<_> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        old.send(HELLO, None).expect("sent");
        for (number, socket) in sockets.iter().enumerate() {
            let name = format!("{SOCKET}listen {number}");
            old.send(&name, Some(socket.as_fd())).expect("sent");
        }
        old.send(ALL, None).expect("sent");
        let received = new.sockets().expect("received");
        let addresses = |sockets: &Sockets| -> Vec<String> {
            let one = |(name, socket): (&str, &ListeningSocket)| match socket {
                ListeningSocket::Tcp(socket) => {
                    format!("{name} {}", socket.local_addr().expect("bound"))
                }
                ListeningSocket::Unix(_) => panic!("none was sent"),
            };
            sockets.iter().map(one).collect()
        };
        let expected: Vec<String> = sockets
            .iter()
            .enumerate()
            .map(|(n, socket)| format!("listen {n} {}", socket.local_addr().expect("bound")))
            .collect();
        assert_eq!(addresses(&received), expected);
    }

    #[test]
    fn another_hand_over_is_refused_and_so_is_a_descriptor_that_is_no_listening_socket() {
        let (old, new) = channels();
        old.send("hand-over 2", None).expect("sent");
        let error = new.sockets().expect_err("another version").to_string();
        assert!(error.contains("\"hand-over 2\""), "{error}");

        let (old, new) = channels();
        let file = std::fs::File::open("/dev/null").expect("a file");
        old.send(HELLO, None).expect("sent");
        old.send("socket listen", Some(file.as_fd())).expect("sent");
        assert!(new.sockets().is_err());

        let (old, new) = channels();
        drop(old);
        assert!(new.sockets().is_err());
    }
}
