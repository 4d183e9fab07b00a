//! Fetches keys from the issuer's URL, in a thread of its own.

use std::{fmt, io, sync::Arc, thread::JoinHandle, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::Verifier;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::Authenticator;
use crate::{config::HttpUrl, worker::Phase};

/// The longest key set. 256 KiB: a hundred keys with their certificates.
const MAX_BODY: usize = 256 * 1024;

/// Why keys could not be fetched.
#[derive(Debug)]
enum FetchError {
    Io(io::Error),
    Http(hyper::Error),
    Tls(String),
    Status(StatusCode),
    TooLarge,
    TimedOut,
    NoKeys(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Http(error) => write!(f, "the answer is not HTTP: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Status(status) if status.is_redirection() => {
                write!(
                    f,
                    "the answer is {status}; redirects are not followed; configure the final URL"
                )
            }
            Self::Status(status) => write!(f, "the answer is {status}"),
            Self::TooLarge => write!(f, "the answer is longer than {MAX_BODY} bytes"),
            Self::TimedOut => f.write_str("the answer was not complete in time"),
            Self::NoKeys(reason) => f.write_str(reason),
        }
    }
}

/// Fetches once, before connections are accepted. If it fails, the server starts all the same, and
/// tries again.
pub(crate) fn first_fetch(auth: &Authenticator) -> io::Result<()> {
    if auth.settings.jwks_url.is_some() {
        runtime()?.block_on(fetch(auth));
    }
    Ok(())
}

/// Fetches whenever it is due, until the server stops.
pub(crate) fn keep_fetching(
    auth: Arc<Authenticator>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<Option<JoinHandle<()>>> {
    if auth.settings.jwks_url.is_none() {
        return Ok(None);
    }
    let runtime = runtime()?;
    let run = move || {
        runtime.block_on(async move {
            tokio::select! {
                () = forever(&auth) => {}
                _said_or_gone = phase.wait_for(|phase| *phase != Phase::Open) => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("offhook-keys".to_owned());
    thread.spawn(run).map(Some)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn forever(auth: &Authenticator) {
    loop {
        let due = auth.fetched().and_then(|fetched| fetched.due_ms());
        let wait = due.map_or(0, |due| due.saturating_sub(auth.fetch_clock_ms()));
        tokio::select! {
            () = sleep(Duration::from_millis(wait)) => fetch(auth).await,
            // It may now be due sooner.
            () = auth.wanted.notified() => {}
        }
    }
}

async fn fetch(auth: &Authenticator) {
    let Some(url) = &auth.settings.jwks_url else {
        return;
    };
    if let Some(mut fetched) = auth.fetched() {
        fetched.begin(auth.fetch_clock_ms());
    }
    let got = timeout(auth.settings.jwks_timeout, get(&url.0)).await;
    let got = got.unwrap_or(Err(FetchError::TimedOut));
    let now_ms = auth.fetch_clock_ms();
    let result = auth.fetched().map(|mut fetched| match got {
        Ok(body) => {
            let keys = fetched.fetched(&body, now_ms);
            keys.map_err(|error| FetchError::NoKeys(error.to_string()))
        }
        Err(error) => {
            fetched.failed(now_ms);
            Err(error)
        }
    });
    auth.build_verifier();
    match result {
        Some(Err(error)) => {
            let has_keys = auth.fetched().is_some_and(|fetched| fetched.has_keys());
            let then = if has_keys {
                "the present keys stay in use"
            } else {
                "tokens signed with them are refused until they are fetched"
            };
            tracing::warn!(%url, %error, "keys for tokens cannot be fetched; {then}");
        }
        Some(Ok(())) | None => tracing::debug!(%url, "keys for tokens fetched"),
    }
}

async fn get(url: &HttpUrl) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect((&*url.host, url.port)).await;
    let stream = stream.map_err(FetchError::Io)?;
    if !url.tls {
        return request(TokioIo::new(stream), url).await;
    }
    let name = ServerName::try_from(url.host.clone());
    let name = name.map_err(|error| FetchError::Tls(error.to_string()))?;
    let stream = connector()?.connect(name, stream).await;
    request(TokioIo::new(stream.map_err(FetchError::Io)?), url).await
}

fn connector() -> Result<TlsConnector, FetchError> {
    let config = tls_client(Vec::new()).map_err(|error| FetchError::Tls(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS as a client that trusts whom the system trusts.
pub(crate) fn tls_client(
    roots: Vec<CertificateDer<'static>>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // "Dangerous" is any verifier other than a fixed list of roots; this one is the system's.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(config.with_no_client_auth())
}

async fn request<S>(stream: TokioIo<S>, url: &HttpUrl) -> Result<Bytes, FetchError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(FetchError::Http)?;
    let request = Request::get(&url.target)
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::NoKeys(error.to_string()))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(FetchError::Http)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let (mut body, mut whole) = (answer.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(FetchError::Http)?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > MAX_BODY {
                    return Err(FetchError::TooLarge);
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(whole.into())
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The last part of the answer may still be unread when the connection has ended.
        ended = &mut connection => {
            ended.map_err(FetchError::Http)?;
            answer.await
        }
    }
}
