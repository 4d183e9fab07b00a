//! Data of HTTP/2 that was received and that nobody has read yet, such as messages to a WebSocket
//! whose client does not read its answers. It counts towards the budget for memory, as incomplete
//! messages do.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use h2::{FlowControl, RecvStream};

/// The connections of HTTP/2 of one worker.
#[derive(Debug, Default)]
pub(crate) struct AllUnread(RefCell<Vec<Weak<Unread>>>);

/// What one connection holds. It is forgotten when it is dropped.
///
/// Only the worker's thread uses it; but it is referred to by the transport of a WebSocket, which
/// could be sent to another thread.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// By the numbers of the streams. h2 knows how much of each was received and not read.
    streams: Mutex<BTreeMap<u32, FlowControl>>,
    is_cut: AtomicBool,
    /// The task of the connection.
    task: Mutex<Option<Waker>>,
}

/// A stream that is counted until this is dropped, which must be together with the stream: it keeps
/// h2 from resetting a stream that nobody uses any more.
#[derive(Debug)]
pub(crate) struct CountedStream {
    connection: Arc<Unread>,
    stream: u32,
}

/// Each change is whole before anything that could panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unread {
    /// Counts what this stream receives.
    pub(crate) fn hold(self: &Arc<Self>, receive: &mut RecvStream) -> CountedStream {
        let stream = receive.stream_id().as_u32();
        let flow = receive.flow_control().clone();
        locked(&self.streams).insert(stream, flow);
        CountedStream {
            connection: Arc::clone(self),
            stream,
        }
    }

    fn bytes(&self) -> usize {
        let streams = locked(&self.streams);
        streams.values().map(FlowControl::used_capacity).sum()
    }

    /// Ready once the connection must end, because memory is short.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut task = locked(&self.task);
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        let task = locked(&self.task).take();
        task.into_iter().for_each(Waker::wake);
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        // Dropped when the lock is free: h2 may end the stream then.
        let flow = locked(&self.connection.streams).remove(&self.stream);
        drop(flow);
    }
}

impl AllUnread {
    /// A new connection.
    pub(crate) fn enter(&self) -> Arc<Unread> {
        let connection = Arc::<Unread>::default();
        let mut all = self.0.borrow_mut();
        // Those that have ended are removed before the list would grow.
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Arc::downgrade(&connection));
        connection
    }

    /// The bytes that all hold.
    pub(super) fn count(&self) -> usize {
        let mut bytes = 0;
        self.0.borrow_mut().retain(|one| {
            let known = one.upgrade();
            bytes += known.as_ref().map_or(0, |connection| connection.bytes());
            known.is_some()
        });
        bytes
    }

    /// Ends the connections that hold most, until this many bytes are free. Returns how many bytes, and
    /// how many connections.
    pub(super) fn shed(&self, bytes: usize) -> (usize, usize) {
        if bytes == 0 {
            return (0, 0);
        }
        let all = self.0.borrow();
        let known = all.iter().filter_map(Weak::upgrade);
        let mut largest: Vec<_> = known.map(|one| (one.bytes(), one)).collect();
        largest.retain(|(held, one)| *held > 0 && !one.is_cut.load(Ordering::Relaxed));
        largest.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        let (mut freed, mut count) = (0, 0);
        for (held, connection) in largest {
            if freed >= bytes {
                break;
            }
            freed += held;
            count += 1;
            connection.cut();
        }
        (freed, count)
    }
}
