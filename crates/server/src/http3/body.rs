//! The body of a request, which a handler reads as it arrives.

use std::{
    error::Error,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::Frame as BodyFrame;
use offhook_http3::{
    Code,
    frame::{Frame, Frames, HEADERS},
};
use quinn::RecvStream;

use super::connection::number;

/// The size of one read. 8 KiB: several packets.
const READ: usize = 8 * 1024;

type AnyError = Box<dyn Error + Send + Sync>;

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    receive: RecvStream,
    frames: Frames,
    /// The announced length.
    length: Option<u64>,
    received: u64,
    /// The fields after the body have been read, so that nothing may follow.
    has_trailers: bool,
    is_over: bool,
}

impl Body {
    pub(super) const fn new(receive: RecvStream, frames: Frames, length: Option<u64>) -> Self {
        Self {
            receive,
            frames,
            length,
            received: 0,
            has_trailers: false,
            is_over: false,
        }
    }

    /// The announced length.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether everything was read.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next piece.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, AnyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_next(cx));
        self.is_over = !matches!(next, Ok(Some(_)));
        Poll::Ready(next.map(|data| data.map(BodyFrame::data)).transpose())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, AnyError>> {
        loop {
            match self.frames.next()? {
                Some(Frame::Data(_)) if self.has_trailers => {
                    return Poll::Ready(Err(self.malformed("content follows the trailers")));
                }
                Some(Frame::Data(data)) => {
                    self.received = self.received.saturating_add(data.len() as u64);
                    // RFC 9114 §4.1.2: content of another length than the announced one.
                    if self.length.is_some_and(|length| self.received > length) {
                        return Poll::Ready(Err(
                            self.malformed("the body is longer than announced")
                        ));
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Frame::Whole { kind: HEADERS, .. }) if !self.has_trailers => {
                    self.has_trailers = true;
                    continue;
                }
                Some(Frame::Whole { .. }) => {
                    return Poll::Ready(Err(self.malformed("a frame that belongs to no request")));
                }
                None => {}
            }
            let mut space = [0; READ];
            let count = ready!(self.receive.poll_read(cx, &mut space))?;
            if count == 0 {
                let is_short = self.length.is_some_and(|length| self.received < length);
                if is_short || self.frames.is_within_frame() {
                    return Poll::Ready(Err(self.malformed("the body ends too soon")));
                }
                return Poll::Ready(Ok(None));
            }
            self.frames.receive(space.get(..count).unwrap_or_default());
        }
    }

    fn malformed(&mut self, words: &'static str) -> AnyError {
        // An error means that the stream has ended already.
        let _ended = self.receive.stop(number(Code::MESSAGE_ERROR));
        words.into()
    }
}
