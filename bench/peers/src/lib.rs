//! What all echo servers share: their arguments, one thread, a listener, TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A WebSocket echo server for benchmarks, on one thread.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Address to listen on, such as 127.0.0.1:9001.
    address: SocketAddr,
    /// The largest message in bytes.
    #[arg(long, default_value_t = 16 * 1024 * 1024)]
    pub max_message: usize,
    /// Decline permessage-deflate.
    #[arg(long)]
    pub no_deflate: bool,
    /// Answer all available messages with one flush, where the library can.
    #[arg(long)]
    pub batched: bool,
    /// Serve TLS with this certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// A stream that a connection runs over.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// One library's way to serve a connection.
pub trait Echo: 'static {
    /// Serves one connection, from its first byte to its last.
    fn serve(stream: impl Io, options: Arc<Options>) -> impl Future<Output = Result<()>> + Send;
}

/// Serves connections until killed.
pub fn run<E: Echo>() -> Result<()> {
    let options = Arc::new(Options::parse());
    let tls = tls_acceptor(&options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.address).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // The load generator judges how a connection ends.
            match &tls {
                None => drop(tokio::spawn(E::serve(stream, options.clone()))),
                Some(tls) => drop(tokio::spawn(serve_tls::<E>(
                    stream,
                    tls.clone(),
                    options.clone(),
                ))),
            }
        }
    })
}

async fn serve_tls<E: Echo>(
    stream: TcpStream,
    tls: TlsAcceptor,
    options: Arc<Options>,
) -> Result<()> {
    E::serve(tls.accept(stream).await?, options).await
}

fn tls_acceptor(options: &Options) -> Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else {
        return Ok(None);
    };
    let cert = CertificateDer::from_pem_file(cert).context("--cert")?;
    let key = PrivateKeyDer::from_pem_file(key).context("--key")?;
    // Set explicitly, since the peers' dependencies may bring a second provider.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Serves a connection with hyper, for the libraries that leave the upgrade to it.
pub async fn serve_hyper<B, F>(stream: impl Io, upgrade: F) -> Result<()>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(Request<Incoming>) -> Result<Response<B>> + Send,
{
    hyper::server::conn::http1::Builder::new()
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| upgrade(request)),
        )
        .with_upgrades()
        .await?;
    Ok(())
}

/// Echoes each of `messages`. With `batched`, all available messages are answered with one flush.
pub async fn echo<S, M>(socket: S, batched: bool, is_data: fn(&M) -> bool) -> Result<()>
where
    S: Stream<Item = Result<M, S::Error>> + Sink<M> + Unpin,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    if batched {
        echo_batched(socket, is_data).await
    } else {
        echo_singly(socket, is_data).await
    }
}

async fn echo_singly<S, M>(mut socket: S, is_data: fn(&M) -> bool) -> Result<()>
where
    S: Stream<Item = Result<M, S::Error>> + Sink<M> + Unpin,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    while let Some(message) = socket.next().await {
        let message = message?;
        if is_data(&message) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn echo_batched<S, M>(mut socket: S, is_data: fn(&M) -> bool) -> Result<()>
where
    S: Stream<Item = Result<M, S::Error>> + Sink<M> + Unpin,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    while let Some(message) = socket.next().await {
        let mut at_hand = Some(message);
        while let Some(message) = at_hand {
            let message = message?;
            if is_data(&message) {
                socket.feed(message).await?;
            }
            at_hand = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}
