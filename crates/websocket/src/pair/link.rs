//! An in-memory link, its two ends, and the handle that injects faults.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::lane::{Found, Lane};

/// The link between the two ends of a [`Pair`](super::Pair). It simulates what networks do. Clones
/// control the same link.
///
/// ```
/// use std::time::Duration;
/// use offhook::{Error, Pair};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let (mut client, mut server, link) = Pair::new().delay(Duration::from_millis(80)).open();
/// tokio::spawn(async move { server.recv().await });
///
/// // The far end is there, and then it is not, and nobody says so.
/// assert!(client.ping().await.unwrap() > Duration::from_millis(159));
/// link.stall();
/// assert!(matches!(client.recv().await, Err(Error::Peer(_))));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    /// `lanes[n]` is written by end `n` and read by the other.
    lanes: [Lane; 2],
    delay: Duration,
    bandwidth: Option<u64>,
    /// Since when the link is stalled.
    stalled: Option<Instant>,
    failed: Option<io::ErrorKind>,
}

/// One end of a [`Link`], as a stream of bytes.
#[derive(Debug)]
pub struct LinkEnd {
    link: Link,
    /// The index of the lane it writes to.
    lane: usize,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Link {
    pub(super) fn new(capacity: usize) -> (LinkEnd, LinkEnd, Self) {
        let link = Self {
            shared: Arc::new(Mutex::new(Shared {
                lanes: [Lane::new(capacity), Lane::new(capacity)],
                delay: Duration::ZERO,
                bandwidth: None,
                stalled: None,
                failed: None,
            })),
        };
        let end = |lane| LinkEnd {
            link: link.clone(),
            lane,
            alarm: None,
        };
        (end(0), end(1), link)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delays each byte written from now on by this duration.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Limits the bytes per second in each direction from now on; `None` for no limit.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.lock().bandwidth = bytes_per_second;
    }

    /// Lets each direction hold this many unread bytes from now on.
    pub fn set_capacity(&self, bytes: usize) {
        self.change(|shared| {
            for lane in &mut shared.lanes {
                lane.capacity = bytes.max(1);
            }
        });
    }

    /// Ends the stream in both directions, as when the other side's process ends: what has arrived
    /// can still be read, what is in flight is lost, and writing is an error.
    pub fn cut(&self) {
        self.change(|shared| {
            let last = shared.stalled.take().unwrap_or_else(Instant::now);
            for lane in &mut shared.lanes {
                lane.cut(last);
            }
        });
    }

    /// Fails every read and write on both ends with this error from now on, as a reset does.
    pub fn fail(&self, error: io::ErrorKind) {
        self.change(|shared| shared.failed = Some(error));
    }

    /// Stops all delivery without any notice, like a pulled cable. Writes succeed until the link is
    /// full.
    pub fn stall(&self) {
        self.lock().stalled.get_or_insert_with(Instant::now);
    }

    /// Ends a [`stall`](Self::stall): what was held back arrives, as TCP would have retransmitted
    /// it.
    pub fn resume(&self) {
        self.change(|shared| shared.stalled = None);
    }

    /// Changes the link's state, and wakes the tasks concerned.
    fn change(&self, change: impl FnOnce(&mut Shared)) {
        let mut shared = self.lock();
        change(&mut shared);
        let wakers: Vec<Waker> = shared.lanes.iter_mut().flat_map(Lane::wakers).collect();
        drop(shared);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn write(&mut self, lane: usize, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.check()?;
        let (delay, bandwidth, stalled) = (self.delay, self.bandwidth, self.stalled.is_some());
        let lane = &mut self.lanes[lane];
        lane.check_writable(stalled)?;
        Ok(lane.put(bytes, delay, bandwidth))
    }
}

impl AsyncRead for LinkEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match ready!(self.poll_found(cx, buffer))? {
                Found::Later(at) => ready!(self.poll_alarm(cx, at)),
                Found::Bytes | Found::End | Found::Nothing => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl LinkEnd {
    fn poll_found(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Found>> {
        let mut shared = self.link.lock();
        shared.check()?;
        let stalled = shared.stalled.is_some();
        let lane = &mut shared.lanes[1 - self.lane];
        lane.reader = Some(cx.waker().clone());
        let found = if stalled {
            Found::Nothing
        } else {
            lane.take(buffer)
        };
        let writer = if found == Found::Bytes {
            lane.writer.take()
        } else {
            None
        };
        drop(shared);
        if let Some(writer) = writer {
            writer.wake();
        }
        if found == Found::Nothing {
            return Poll::Pending;
        }
        Poll::Ready(Ok(found))
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        alarm.as_mut().poll(cx)
    }

    fn wake_reader(&self) {
        let reader = self.link.lock().lanes[self.lane].reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl AsyncWrite for LinkEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.link.lock();
        let mut written = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match shared.write(self.lane, slice)? {
                Some(len) => written += len,
                None if written == 0 => {
                    shared.lanes[self.lane].writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                None => break,
            }
        }
        drop(shared);
        self.wake_reader();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.link.lock().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.link.lock();
        shared.check()?;
        let delay = shared.delay;
        shared.lanes[self.lane].end(delay);
        drop(shared);
        self.wake_reader();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LinkEnd {
    /// The other end reads what is in flight, then the end of the stream; it can no longer write.
    fn drop(&mut self) {
        let lane = self.lane;
        self.link.change(|shared| {
            let delay = shared.delay;
            shared.lanes[lane].end(delay);
            shared.lanes[1 - lane].deserted = true;
        });
    }
}
