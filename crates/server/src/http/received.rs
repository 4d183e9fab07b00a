//! The body of a request over any version of HTTP.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::{http3, worker::CountedStream};

/// The body of a request that is being received.
#[derive(Debug)]
pub(crate) enum Received {
    /// The method's handlers read no body: received data is discarded.
    Discarded,
    /// Over HTTP/1.1.
    Http1(Incoming),
    /// Over HTTP/2. h2 checks that the length is the announced one, if there is one.
    Http2 {
        stream: RecvStream,
        length: Option<u64>,
        _held: CountedStream,
    },
    /// Over HTTP/3. Boxed, because it is much larger than the others.
    Http3(Box<http3::Body>),
}

impl Body for Received {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Discarded => Poll::Ready(None),
            Self::Http1(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Http2 { stream, .. } => {
                let data = ready!(stream.poll_data(cx));
                Poll::Ready(data.map(|data| Ok(Frame::data(taken(stream, data?)))))
            }
            Self::Http3(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Discarded => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2 { stream, .. } => stream.is_end_stream(),
            Self::Http3(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Discarded => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2 {
                length: Some(length),
                ..
            } => SizeHint::with_exact(*length),
            Self::Http2 { length: None, .. } => SizeHint::default(),
            Self::Http3(body) => body
                .length()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Data that was taken: the client may send as much again.
fn taken(stream: &mut RecvStream, data: Bytes) -> Bytes {
    // An error means that the stream has ended meanwhile, which the next read reports.
    let _ended = stream.flow_control().release_capacity(data.len());
    data
}
