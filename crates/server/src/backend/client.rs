//! Requests to the backend: a signed `POST`, and an answer of limited size.

use std::{
    fmt, fs, io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri,
    header::{CONTENT_TYPE, USER_AGENT},
    rt::ReadBufCursor,
};
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tower_service::Service;

use super::signing::Signing;
use crate::{
    auth::tls_client,
    config::{Backend, HttpUrl},
    start_error::StartError,
    worker::now,
};

/// How long an unused connection is kept. 60 s: less than the idle timeout of most servers, which
/// could otherwise close it just as a request is sent.
const IDLE: Duration = Duration::from_secs(60);

/// Why a request has no usable answer.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The backend cannot be reached, or the connection was lost.
    Http(String),
    /// The answer has another status than 200.
    Status(StatusCode),
    TooLarge(usize),
    TimedOut,
    /// The answer has status 200, but its body is invalid.
    Useless(String),
}

impl RequestError {
    /// Whether a retry may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Status(status) => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::TooLarge(_) | Self::TimedOut | Self::Useless(_) => false,
        }
    }
}

impl RequestError {
    /// Whether the backend can be reached, but its answer is not usable.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Http(_) | Self::TimedOut => false,
            Self::Status(_) => !self.is_temporary(),
            Self::TooLarge(_) | Self::Useless(_) => true,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(f, "the request failed: {error}"),
            Self::Status(status) if status.is_redirection() => write!(
                f,
                "the answer is {status}; redirects are not followed, set the final URL"
            ),
            Self::Status(status) => write!(f, "the answer is {status}; expected 200"),
            Self::TooLarge(limit) => {
                write!(
                    f,
                    "the answer has more than {limit} bytes (backend.max_answer)"
                )
            }
            Self::TimedOut => {
                f.write_str("no complete answer was received in time (backend.timeout)")
            }
            Self::Useless(reason) => f.write_str(reason),
        }
    }
}

/// Requests over reused connections.
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    uri: Uri,
    signing: Signing,
    max_answer: usize,
}

impl Client {
    pub(super) fn new(
        url: &HttpUrl,
        settings: &Backend,
        signing: Signing,
    ) -> Result<Self, StartError> {
        let roots = settings.ca_file.as_deref().map(roots).transpose()?;
        let tls = url.tls.then(|| tls(url, roots.unwrap_or_default()));
        let tls = tls.transpose().map_err(StartError::System)?;
        let connector = Connector {
            url: Arc::new(url.clone()),
            tls,
        };
        let scheme = if url.tls { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(url.authority())
            .path_and_query(url.target.as_str())
            .build()
            .map_err(|error| StartError::System(io::Error::other(error)))?;
        Ok(Self {
            pool: Pool::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(settings.concurrency)
                .build(connector),
            uri,
            signing,
            max_answer: settings.max_answer,
        })
    }

    /// Sends a request and returns the body of the answer.
    pub(super) async fn request(&self, id: &str, body: Bytes) -> Result<Bytes, RequestError> {
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.signing.headers(id, now().unix_ms / 1_000, &body) {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| RequestError::Http(error.to_string()))?;
        let answer = self.pool.request(request).await;
        let answer = answer.map_err(|error| RequestError::Http(with_causes(&error)))?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status != StatusCode::OK {
            return Err(RequestError::Status(status));
        }
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| RequestError::Http(with_causes(&error)))?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > self.max_answer {
                    return Err(RequestError::TooLarge(self.max_answer));
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(whole.into())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The certificates in a PEM file.
fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let pem = fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(StartError::File {
            path: path.to_owned(),
            source: io::Error::other("backend.ca_file: it contains no certificates in PEM"),
        }),
    }
}

fn tls(
    url: &HttpUrl,
    roots: Vec<CertificateDer<'static>>,
) -> io::Result<(TlsConnector, ServerName<'static>)> {
    let mut config: ClientConfig = tls_client(roots).map_err(io::Error::other)?;
    // RFC 9113 §3.2.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// Connects to the backend, and nowhere else.
#[derive(Clone)]
struct Connector {
    url: Arc<HttpUrl>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Self { url, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((&*url.host, url.port)).await?;
            // Requests are small and wait for their answers: Nagle's algorithm would delay them.
            stream.set_nodelay(true)?;
            Ok(match tls {
                None => Stream::Plain(TokioIo::new(stream)),
                Some((tls, name)) => {
                    let stream = tls.connect(name, stream).await?;
                    Stream::Tls(Box::new(TokioIo::new(stream)))
                }
            })
        })
    }
}

/// A connection to the backend.
enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Tls(stream) => {
                let (_, session) = stream.inner().get_ref();
                if session.alpn_protocol() == Some(b"h2") {
                    return Connected::new().negotiated_h2();
                }
                Connected::new()
            }
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
