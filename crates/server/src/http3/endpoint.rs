//! The UDP sockets, and the thread that receives their packets.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, atomic::AtomicUsize},
    thread::JoinHandle,
    time::Duration,
};

use aws_lc_rs::hmac;
use hyper::header::HeaderValue;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt, crypto::rustls::QuicServerConfig,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_rustls::rustls;

use crate::{
    config::{ClientCerts, Config, ResumeKey},
    door::Certificates,
    listeners::{Listening, Served},
    start_error::StartError,
    worker::Phase,
};

/// How many streams may have a full window at once. 16, as over HTTP/2.
const FULL_WINDOWS: u64 = 16;

/// How many unidirectional streams a client may have open. 16: HTTP/3 needs three, and browsers open a few
/// of unknown types to exercise that these are ignored.
const UNIDIRECTIONAL: u32 = 16;

/// How many bytes of one handshake that was not accepted yet are held. 16 KiB: a client hello with a
/// post-quantum key and some more.
const HELD: u64 = 16 * 1024;

/// The buffer of the kernel for received packets. 2 MiB, or the system's limit: at 1 Gbit/s, 16 ms of the
/// processor may pass before packets are lost.
const RECEIVE_BUFFER: usize = 2 << 20;

/// How often an idle connection is kept alive, at the latest. 10 s: a third of the idle timeout of common clients
/// (30 s), the smaller of both sides being the one in effect (RFC 9000 §10.1).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The shortest interval between stateless resets. 1 ms: after a crash, a thousand clients a second learn that
/// their connections are gone. A reset is shorter than the packet that it answers.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// How long the end of connections may take after the workers have ended. 1 s: their last packets are lost
/// otherwise, but clients notice their absence.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// What the workers need to accept connections.
#[derive(Debug)]
pub(crate) struct Quic {
    /// One for each address.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Handshakes under way.
    pub(super) unfinished: Arc<AtomicUsize>,
    /// Announces HTTP/3 in answers over other versions (RFC 7838 §3).
    pub(crate) alt_svc: HeaderValue,
}

/// The thread that receives packets. It ends once this is dropped or ended.
#[derive(Debug)]
pub(crate) struct QuicThread {
    runs: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl QuicThread {
    /// Ends it; the workers have to be ended before.
    pub(crate) fn end(&mut self) {
        self.runs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of QUIC has panicked");
        }
    }
}

/// Binds the UDP port that belongs to a TCP listener. The port may be shared, because a process that takes
/// over (`offhook upgrade`) binds it while the other one still serves; that no other server uses it was checked
/// with the TCP listener.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    // Without it, bursts of packets are lost while the processor is busy. The system may allow less.
    let _best_effort = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Starts HTTP/3 at the UDP ports with the same numbers as those of the TLS listeners for HTTP, if it is
/// enabled.
pub(crate) fn start(
    config: &Config,
    certificates: Option<&Arc<Certificates>>,
    listening: &[Listening],
    key: &ResumeKey,
    phase: &watch::Receiver<Phase>,
) -> Result<Option<(Quic, QuicThread)>, StartError> {
    if !config.http3.enabled {
        return Ok(None);
    }
    let setting = "http3.enabled";
    let certificates = certificates.ok_or(StartError::NoCertificate { setting })?;
    let ours = listening.iter();
    let ours = ours.filter(|one| one.served == Served::Http && one.tls);
    let sockets = ours
        .filter_map(Listening::address)
        .map(|address| bind(address).map_err(|source| StartError::Listen { address, source }));
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    let tls = certificates.quic(client_certs(config))?;
    let started = run(config, tls, sockets, key, phase.clone());
    started.map(Some).map_err(StartError::System)
}

/// Whether clients need a certificate: if they do at one of the listeners, nobody may evade that over UDP.
fn client_certs(config: &Config) -> ClientCerts {
    let usual = config.tls.as_ref().map(|files| files.client_certs);
    let usual = usual.unwrap_or(ClientCerts::None);
    let listeners = config.listen.iter();
    let all = listeners.map(|listener| listener.client_certs.unwrap_or(usual));
    all.max().unwrap_or_default()
}

/// Starts the thread. Connections are accepted once workers ask for them.
fn run(
    config: &Config,
    tls: rustls::ServerConfig,
    sockets: Vec<UdpSocket>,
    key: &ResumeKey,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<(Quic, QuicThread)> {
    let server = server_config(config, tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let port = sockets.first().map(UdpSocket::local_addr).transpose()?;
    let port = port.map_or(0, |address| address.port());
    let endpoints = {
        let _entered = runtime.enter();
        let open = |socket| {
            let settings = endpoint_config(key);
            Endpoint::new(
                settings,
                Some(server.clone()),
                socket,
                Arc::new(TokioRuntime),
            )
        };
        sockets
            .into_iter()
            .map(open)
            .collect::<io::Result<Vec<_>>>()?
    };
    let (runs, ends) = oneshot::channel::<()>();
    let ours = endpoints.clone();
    let run = move || {
        runtime.block_on(async move {
            let endpoints = &ours;
            let stopping = async move {
                // Not the result itself, which locks the phase.
                let _is_said = phase.wait_for(|phase| *phase != Phase::Open).await.is_ok();
                // Stopping waits until only workers that are still busy have a receiver.
                drop(phase);
                // Further handshakes are refused, so that clients try another server at once.
                for endpoint in endpoints {
                    endpoint.set_server_config(None);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _dropped = ends => {}
                () = stopping => {}
            }
            for endpoint in &ours {
                endpoint.close(VarInt::from_u32(0x100), b"");
                let _late = timeout(FAREWELL, endpoint.wait_idle()).await;
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name("offhook-quic".to_owned())
        .spawn(run)?;
    let alt_svc = HeaderValue::from_str(&format!("h3=\":{port}\"; ma=86400"));
    let quic = Quic {
        endpoints,
        unfinished: Arc::default(),
        alt_svc: alt_svc.map_err(io::Error::other)?,
    };
    let thread = QuicThread {
        runs: Some(runs),
        thread: Some(thread),
    };
    Ok((quic, thread))
}

/// Random ids of connections. quinn's own carry a checksum with a key of the process, and packets with those of
/// an earlier process would be dropped instead of answered with a reset.
#[derive(Debug)]
struct RandomIds;

/// The length of an id in bytes. 8: collisions are rare, and quinn tries again.
const ID: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID];
        getrandom::fill(&mut id).expect("the system has given random numbers when it started");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// With a reset key that the next process on the same data has as well. After a crash, it tells clients at once
/// that their connections are gone (RFC 9000 §10.3); otherwise they would notice it after their idle timeout.
fn endpoint_config(key: &ResumeKey) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
    let reset = hmac::sign(&key, b"quic stateless reset");
    let reset = hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref());
    let mut settings = EndpointConfig::new(Arc::new(reset));
    settings
        .cid_generator(|| Box::new(RandomIds))
        .min_reset_interval(RESET_INTERVAL);
    settings
}

fn server_config(config: &Config, tls: rustls::ServerConfig) -> io::Result<ServerConfig> {
    // RFC 9001 §9.2: early data can be replayed. rustls accepts none, because its limit is 0 by default.
    debug_assert_eq!(tls.max_early_data_size, 0);
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    let limits = &config.http3;
    server
        .transport_config(Arc::new(transport(config)?))
        .max_incoming(limits.handshakes.max(1))
        .incoming_buffer_size(HELD)
        .incoming_buffer_size_total(HELD.saturating_mul(limits.handshakes.max(1) as u64));
    Ok(server)
}

/// How long a client may send no packet, and how often a quiet one is made to acknowledge one.
fn quiet(config: &Config) -> (Duration, Duration) {
    let keepalive = &config.keepalive;
    let silent = match keepalive.interval {
        Some(interval) => interval + keepalive.pong_timeout,
        None => config
            .http3
            .idle_timeout
            .max(KEEP_ALIVE + keepalive.pong_timeout),
    };
    let keep_alive = keepalive.interval.unwrap_or(KEEP_ALIVE).min(KEEP_ALIVE);
    (silent, keep_alive)
}

fn transport(config: &Config) -> io::Result<TransportConfig> {
    let limits = &config.http3;
    let (silent, keep_alive) = quiet(config);
    let window = VarInt::from_u32(limits.window);
    let all = u64::from(limits.window).saturating_mul(FULL_WINDOWS);
    // Each session's control stream is in addition to its request.
    let streams = limits.streams.saturating_add(limits.sessions);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL))
        .stream_receive_window(window)
        .receive_window(VarInt::from_u64(all).unwrap_or(VarInt::MAX))
        .send_window(u64::from(limits.send_window))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(silent).map_err(io::Error::other)?,
        ))
        .keep_alive_interval(Some(keep_alive))
        .datagram_receive_buffer_size(Some(limits.datagram_bytes))
        .datagram_send_buffer_size(limits.datagram_bytes);
    Ok(transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_kept_alive_within_the_idle_timeout_of_common_clients() {
        let mut config = Config::default();
        let common = Duration::from_secs(30);
        for interval in [
            None,
            Some(Duration::from_secs(30)),
            Some(Duration::from_secs(3600)),
        ] {
            config.keepalive.interval = interval;
            assert!(quiet(&config).1 <= common / 3, "{interval:?}");
        }
        config.keepalive.interval = Some(Duration::from_secs(2));
        assert_eq!(quiet(&config).1, Duration::from_secs(2));
    }

    #[test]
    fn without_keepalive_a_quiet_client_is_kept_although_the_pong_timeout_is_short() {
        let mut config = Config::default();
        config.keepalive.interval = None;
        config.keepalive.pong_timeout = Duration::from_secs(5);
        let (silent, keep_alive) = quiet(&config);
        assert!(silent > 2 * keep_alive, "{silent:?}");
    }
}
