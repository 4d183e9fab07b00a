//! The opening handshake, over any stream.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(feature = "tls")]
use offhook_protocol::handshake::Scheme;
use offhook_protocol::handshake::{
    Accepted, Carrier, InvalidSubprotocol, OriginPolicy, Refusal, Rejection, Request, ServerConfig,
    ServerDecision, ServerHandshake, ServerStep, Subprotocols,
};
use tokio::io::ReadBuf;

use crate::error::{Error, Phase};
use crate::line::buffers;
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::transport::Transport;

/// Makes connections of streams; what a [`Server`](super::Server) does with each it accepts.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use offhook::Acceptor;
///
/// let acceptor = Acceptor::default().subprotocols(["chat.v2", "chat.v1"])?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let (stream, _) = listener.accept().await?;
///
/// let incoming = acceptor.request(stream).await?;
/// if incoming.request().path() != "/chat" {
///     incoming.reject(offhook::Refusal::new(404)?).await?;
///     return Ok(());
/// }
/// let mut socket = incoming.accept().await?;
/// while let Some(message) = socket.recv().await? {
///     socket.send(message).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    settings: Settings,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// How long a client may take for its request, TLS included. 10 s: three retransmissions on a bad
/// line; longer only helps those who hold connections open to exhaust them.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Acceptor {
    /// Same-origin pages and programs that are no browsers, no subprotocol, no compression, 10 s
    /// for the handshake.
    fn default() -> Self {
        Self {
            config: Arc::default(),
            settings: Settings::default(),
            timeout: TIMEOUT,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Acceptor {
    /// With these limits, times, buffers and compression.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        Arc::make_mut(&mut self.config).deflate = settings.deflate.as_deref().cloned();
        self.settings = settings;
        self
    }

    /// Which web pages may connect. By default those of the same origin.
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy) -> Self {
        Arc::make_mut(&mut self.config).origin = origin;
        self
    }

    /// The subprotocols spoken; of those the client offers, the first in its own order is chosen.
    ///
    /// # Errors
    /// A name that is no token, or stands there twice.
    pub fn subprotocols<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidSubprotocol> {
        Arc::make_mut(&mut self.config).subprotocols = Subprotocols::new(names)?;
        Ok(self)
    }

    /// With everything of the handshake as it is here, but the compression, which is the
    /// settings'.
    #[must_use]
    pub fn handshake(mut self, config: ServerConfig) -> Self {
        let deflate = self.settings.deflate.as_deref().cloned();
        self.config = Arc::new(ServerConfig { deflate, ..config });
        self
    }

    /// How long a client may take for its request, TLS included.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Arc<tokio_rustls::rustls::ServerConfig>) -> Self {
        Arc::make_mut(&mut self.config).scheme = Scheme::Https;
        self.tls = Some(tls);
        self
    }

    /// Accepts whoever asks in order.
    ///
    /// # Errors
    /// The client's request is no valid handshake (it was told), did not come in time, or the
    /// connection was lost.
    pub async fn accept(&self, stream: impl Into<Transport>) -> Result<WebSocket, Error> {
        self.request(stream).await?.accept().await
    }

    /// Reads the request, for a look at it before it is accepted.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn request(&self, stream: impl Into<Transport>) -> Result<Incoming, Error> {
        let request = self.read_request(stream.into());
        match tokio::time::timeout(self.timeout, request).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                phase: Phase::Handshake,
                to: "the client".into(),
            }),
        }
    }

    async fn read_request(&self, mut transport: Transport) -> Result<Incoming, Error> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(tls));
            let accepted = Box::pin(acceptor.accept(transport.into_stream())).await;
            let tls_error = |source| Error::Tls {
                host: "the client".into(),
                source,
            };
            transport = Transport::boxed(accepted.map_err(tls_error)?);
        }
        let mut handshake = Some(ServerHandshake::new(Arc::clone(&self.config)));
        let read = poll_fn(|cx| poll_request(&mut transport, &mut handshake, cx)).await;
        match read.map_err(Error::Lost)? {
            Ok((decision, unread)) => Ok(Incoming {
                decision,
                transport,
                unread,
                settings: self.settings.clone(),
            }),
            Err(rejection) => {
                let response = rejection.response(Carrier::Upgrade).into_bytes();
                write_all(&mut transport, &response)
                    .await
                    .map_err(Error::Lost)?;
                shut(&mut transport).await;
                Err(Error::Rejected(rejection))
            }
        }
    }
}

/// A client that asks for a connection, and waits for the answer.
#[derive(Debug)]
#[must_use = "accept or reject it, the client waits"]
pub struct Incoming {
    decision: ServerDecision,
    transport: Transport,
    unread: Vec<u8>,
    settings: Settings,
}

impl Incoming {
    /// What the client asks for.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.decision.request()
    }

    /// The answer as it stands, to choose the subprotocol or to add headers.
    pub fn decision(&mut self) -> &mut ServerDecision {
        &mut self.decision
    }

    /// Says yes.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        let Self {
            decision,
            mut transport,
            unread,
            settings,
        } = self;
        let Accepted {
            response,
            negotiated,
            ..
        } = decision.accept();
        write_all(&mut transport, &response.into_bytes())
            .await
            .map_err(Error::Lost)?;
        Ok(WebSocket::server(transport, negotiated, &unread, &settings))
    }

    /// Says no.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn reject(mut self, refusal: Refusal) -> Result<(), Error> {
        let response = self.decision.reject(refusal).into_bytes();
        write_all(&mut self.transport, &response)
            .await
            .map_err(Error::Lost)?;
        shut(&mut self.transport).await;
        Ok(())
    }
}

type Heard = Result<(ServerDecision, Vec<u8>), Rejection>;

/// Reads until the request is whole. Holds no buffer while it waits: a thousand slow heads cost
/// what they have sent.
fn poll_request(
    transport: &mut Transport,
    handshake: &mut Option<ServerHandshake>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Heard>> {
    loop {
        let mut buffer = buffers::take_read();
        let mut read = ReadBuf::new(&mut buffer);
        let result = transport.poll_read(cx, &mut read);
        let len = read.filled().len();
        let step = match (&result, handshake.take()) {
            (Poll::Ready(Ok(())), Some(waiting)) if len > 0 => {
                waiting.receive(buffer.get(..len).unwrap_or_default())
            }
            (_, waiting) => {
                *handshake = waiting;
                buffers::give_read(buffer);
                ready!(result)?;
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        };
        let heard = step.map(|step| match step {
            ServerStep::Incomplete(waiting) => {
                *handshake = Some(waiting);
                None
            }
            ServerStep::Request { decision, consumed } => {
                let unread = buffer.get(consumed..len).unwrap_or_default().to_vec();
                Some((decision, unread))
            }
        });
        buffers::give_read(buffer);
        if let Some(heard) = heard.transpose() {
            return Poll::Ready(Ok(heard));
        }
    }
}

async fn write_all(transport: &mut Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let slices = [io::IoSlice::new(bytes)];
        let written = poll_fn(|cx| transport.poll_write(cx, &slices)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    poll_fn(|cx| transport.poll_flush(cx)).await
}

/// Ends our side; that the peer is gone already is no matter.
async fn shut(transport: &mut Transport) {
    let _ended = poll_fn(|cx| transport.poll_shutdown(cx)).await;
}
