//! One direction of a link.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

/// A longer write is split into pieces of this size, so that a slow link delivers gradually.
const PIECE: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Lane {
    /// Bytes in flight and when they arrive; times ascend.
    pieces: VecDeque<Piece>,
    /// The number of bytes in `pieces`.
    held: usize,
    pub(super) capacity: usize,
    /// When the last byte has been put on the link.
    free_at: Instant,
    /// When the end of the stream arrives, after the last piece, if the writer has ended it.
    ended: Option<Instant>,
    /// Whether the reader is gone.
    pub(super) deserted: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    bytes: VecDeque<u8>,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes,
    /// Nothing arrives before this time.
    Later(Instant),
    /// Nothing has arrived, and nothing is in flight.
    Nothing,
    End,
}

impl Lane {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            held: 0,
            capacity,
            free_at: Instant::now(),
            ended: None,
            deserted: false,
            reader: None,
            writer: None,
        }
    }

    /// Accepts as many of `bytes` as there is room for.
    pub(super) fn put(
        &mut self,
        bytes: &[u8],
        delay: Duration,
        bandwidth: Option<u64>,
    ) -> Option<usize> {
        let room = self.capacity.saturating_sub(self.held);
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        if taken.is_empty() && !bytes.is_empty() {
            return None;
        }
        for piece in taken.chunks(PIECE) {
            self.free_at = self.free_at.max(Instant::now()) + time_for(piece.len(), bandwidth);
            let earliest = self.pieces.back().map(|last| last.at);
            let at = self.free_at + delay;
            self.pieces.push_back(Piece {
                // Reducing the delay does not let bytes overtake others.
                at: earliest.map_or(at, |earliest| earliest.max(at)),
                bytes: piece.iter().copied().collect(),
            });
        }
        self.held += taken.len();
        Some(taken.len())
    }

    /// Moves bytes that have arrived into `buffer`.
    pub(super) fn take(&mut self, buffer: &mut ReadBuf<'_>) -> Found {
        let now = Instant::now();
        let before = buffer.filled().len();
        while let Some(piece) = self.pieces.front_mut()
            && piece.at <= now
            && buffer.remaining() > 0
        {
            let bytes = piece.bytes.make_contiguous();
            let len = bytes.len().min(buffer.remaining());
            buffer.put_slice(bytes.get(..len).unwrap_or_default());
            piece.bytes.drain(..len);
            self.held -= len;
            if piece.bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
        let next = self.pieces.front().map(|piece| piece.at).or(self.ended);
        match next {
            _ if buffer.filled().len() > before => Found::Bytes,
            Some(at) if at > now => Found::Later(at),
            Some(_) => Found::End,
            None => Found::Nothing,
        }
    }

    /// Ends the stream from the writer's side.
    pub(super) fn end(&mut self, delay: Duration) {
        let at = self.free_at.max(Instant::now()) + delay;
        let behind = self.pieces.back().map_or(at, |last| last.at.max(at));
        self.ended.get_or_insert(behind);
    }

    /// Ends the stream at once; what had not arrived by then is lost.
    pub(super) fn cut(&mut self, then: Instant) {
        self.pieces.retain(|piece| piece.at <= then);
        self.held = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
        self.ended = Some(then);
    }

    /// The wakers of tasks that may be able to continue.
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.reader.take().into_iter().chain(self.writer.take())
    }

    pub(super) fn check_writable(&self, stalled: bool) -> io::Result<()> {
        // Over a stalled link, the writer does not learn that the reader is gone.
        if self.ended.is_some() || self.deserted && !stalled {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }
}

fn time_for(bytes: usize, bandwidth: Option<u64>) -> Duration {
    match bandwidth {
        Some(rate) => {
            let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        }
        None => Duration::ZERO,
    }
}
