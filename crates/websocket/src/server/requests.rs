//! The requests of one connection.

#[cfg(feature = "http2")]
use super::connections::Connections;
use super::incoming::Incoming;
#[cfg(feature = "http2")]
use super::incoming::Way;
use crate::error::Error;
#[cfg(feature = "http2")]
use crate::http2::Streams;

/// The requests on one connection: one over HTTP/1.1, any number over HTTP/2.
///
/// Over HTTP/2, all WebSockets of the connection depend on this value: they make progress only
/// while [`next`](Self::next) is awaited, and dropping it ends them. Await `next` until it returns
/// `None`, and handle each request in a task of its own.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use offhook::{Acceptor, Error};
///
/// let acceptor = Acceptor::default();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let (stream, _) = listener.accept().await?;
///
/// let mut requests = acceptor.requests(stream).await?;
/// while let Some(request) = requests.next().await {
///     let Ok(incoming) = request else {
///         continue; // not a valid handshake; a rejection was sent
///     };
///     tokio::spawn(async move {
///         let mut socket = incoming.accept().await?;
///         while let Some(message) = socket.recv().await? {
///             socket.send(message).await?;
///         }
///         Ok::<_, Error>(())
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Requests(Kind);

#[derive(Debug)]
enum Kind {
    One(Option<Box<Incoming>>),
    #[cfg(feature = "http2")]
    Many(Box<Streams>, Option<Connections>),
}

impl Requests {
    pub(super) fn one(incoming: Incoming) -> Self {
        Self(Kind::One(Some(Box::new(incoming))))
    }

    #[cfg(feature = "http2")]
    pub(super) fn many(streams: Streams, connections: Option<Connections>) -> Self {
        Self(Kind::Many(Box::new(streams), connections))
    }

    /// The next request; `None` when no more will arrive and, over HTTP/2, all its WebSockets have
    /// ended. Cancel-safe.
    ///
    /// # Errors
    /// A request is not a valid handshake (a rejection was sent), or the connection was lost. More
    /// may follow.
    #[cfg_attr(
        not(feature = "http2"),
        expect(
            clippy::unused_async,
            reason = "the same signature with and without HTTP/2"
        )
    )]
    pub async fn next(&mut self) -> Option<Result<Incoming, Error>> {
        match &mut self.0 {
            Kind::One(incoming) => Some(Ok(*incoming.take()?)),
            #[cfg(feature = "http2")]
            Kind::Many(streams, connections) => {
                let request = streams.next().await?;
                if let Err(error) = &request {
                    streams
                        .settings()
                        .failed_request(streams.peer_addr(), error);
                }
                Some(request.map(|(decision, answer)| {
                    let settings = streams.settings().clone();
                    let way = Way::Stream(answer);
                    Incoming::new(decision, way, settings, connections.clone())
                }))
            }
        }
    }

    /// Accepts no more requests; [`next`](Self::next) returns `None` when the open WebSockets have
    /// ended.
    pub fn stop(&mut self) {
        match &mut self.0 {
            Kind::One(_) => {}
            #[cfg(feature = "http2")]
            Kind::Many(streams, _) => streams.stop(),
        }
    }

    /// The only request, over HTTP/1.1.
    pub(super) fn into_one(self) -> Result<Option<Box<Incoming>>, Self> {
        match self.0 {
            Kind::One(incoming) => Ok(incoming),
            #[cfg(feature = "http2")]
            Kind::Many(..) => Err(self),
        }
    }
}
