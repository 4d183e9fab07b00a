//! Where to connect, and the handshake: QUIC, the settings of HTTP/3, and the CONNECT that opens a session.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use offhook::Tls;
use offhook_http3::{
    ALPN,
    frame::{self, Frame, Frames},
    qpack,
    settings::Settings,
    stream, varint, webtransport,
};
use quinn::{
    ClientConfig, Connection, Endpoint, IdleTimeout, RecvStream, SendStream, TransportConfig,
    VarInt, crypto::rustls::QuicClientConfig,
};
use tokio::{net::lookup_host, time::timeout};

use crate::session::{Parts, Session};

/// How long opening a session may take. 10 s: as for a WebSocket's handshake.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// How many unidirectional streams the server may have open: its control stream, and those of subscriptions.
/// 256: four times as many as a server opens for one session unless told otherwise.
const STREAMS: u32 = 256;

/// When a connection on which nothing arrives is lost. 30 s: the channel client notices a silent server
/// earlier.
const IDLE: Duration = Duration::from_secs(30);

/// How often a silent connection is kept open. 10 s: NATs forget a flow of UDP after 30 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The longest head of an answer in bytes. 64 KiB: several times what proxies allow.
const HEAD: usize = 64 * 1024;

/// Where to open WebTransport sessions, and which server to trust.
///
/// It is a transport for the channel client: `Client::over(WebTransport::to("https://example.com/ws")?)`.
#[derive(Clone, Debug)]
pub struct WebTransport {
    authority: String,
    host: String,
    port: u16,
    path: String,
    tls: Option<Tls>,
    address: Option<SocketAddr>,
    within: Duration,
}

/// A URL that cannot be used for WebTransport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl {
    url: String,
    reason: &'static str,
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.url, self.reason)
    }
}

impl std::error::Error for InvalidUrl {}

impl WebTransport {
    /// Sessions at this URL, such as `https://example.com/ws`.
    ///
    /// # Errors
    /// It does not begin with `https://`, has no host, or an invalid port.
    pub fn to(url: impl AsRef<str>) -> Result<Self, InvalidUrl> {
        let url = url.as_ref();
        let invalid = |reason| InvalidUrl {
            url: url.to_owned(),
            reason,
        };
        let rest = url.strip_prefix("https://");
        let rest =
            rest.ok_or_else(|| invalid("WebTransport needs a URL that begins with https://"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = host_and_port(authority).map_err(invalid)?;
        let path = match path.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Self {
            authority: authority.to_owned(),
            host,
            port,
            path,
            tls: None,
            address: None,
            within: OPEN_WITHIN,
        })
    }

    /// Which server to trust, and which certificate to present; the system's authorities without it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects to this address instead of those of the URL's host.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// How long opening a session may take; 10 s without it, as for a WebSocket's handshake.
    #[must_use]
    pub fn open_within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Opens a session, on a connection of its own.
    ///
    /// # Errors
    /// The server cannot be reached in time, is not trusted, does not serve WebTransport, or refuses the
    /// session.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn session(&self) -> io::Result<Session> {
        let opened = timeout(self.within, self.open_now()).await;
        opened.unwrap_or_else(|_| {
            let text = format!(
                "no session with {} within {:?}",
                self.authority, self.within
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    async fn open_now(&self) -> io::Result<Session> {
        let (endpoint, quic) = self.connect().await?;
        let control = hello(&quic).await?;
        let of_server = settings(&quic).await?;
        let (send, receive, frames) = self.request(&quic).await?;
        let id = u64::from(VarInt::from(send.id()));
        let (mut up, down) = quic.open_bi().await?;
        let signal = webtransport::bidirectional(id);
        up.write_all(&signal).await.map_err(io::Error::other)?;
        Ok(Session::new(Parts {
            endpoint,
            quic,
            control,
            of_server,
            id,
            connect: send,
            capsules: (receive, frames),
            up,
            down,
        }))
    }

    async fn connect(&self) -> io::Result<(Endpoint, Connection)> {
        let config = self.config()?;
        let mut last = io::Error::other(format!("{} has no address", self.host));
        for address in self.addresses().await? {
            let local: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let endpoint = Endpoint::client(local)?;
            let connecting = endpoint.connect_with(config.clone(), address, &self.host);
            match connecting.map_err(io::Error::other)?.await {
                Ok(quic) => return Ok((endpoint, quic)),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.address {
            return Ok(vec![address]);
        }
        Ok(lookup_host((self.host.as_str(), self.port))
            .await?
            .collect())
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => Tls::builder().build().map_err(io::Error::other)?,
        };
        let tls = tls.config_for(&[ALPN]);
        let crypto = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
        let mut transport = TransportConfig::default();
        transport
            // The server opens no other bidirectional streams than those that the client asks for.
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).map_err(io::Error::other)?))
            .keep_alive_interval(Some(KEEP_ALIVE));
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }

    /// Requests the session, and reads the answer.
    async fn request(&self, quic: &Connection) -> io::Result<(SendStream, RecvStream, Frames)> {
        let (mut send, mut receive) = quic.open_bi().await?;
        let fields = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", &self.authority),
            (":path", &self.path),
            (":protocol", webtransport::PROTOCOL),
            // draft-ietf-webtrans-http3-02 §3.1, as browsers do.
            ("sec-webtransport-http3-draft02", "1"),
        ];
        let mut head = Vec::new();
        frame::write(frame::HEADERS, &qpack::encode(fields), &mut head);
        send.write_all(&head).await.map_err(io::Error::other)?;
        let mut frames = Frames::new(HEAD);
        let answer = next_frame(&mut receive, &mut frames).await?;
        let Some(Frame::Whole {
            kind: frame::HEADERS,
            payload,
        }) = answer
        else {
            return Err(io::Error::other("the answer does not begin with its head"));
        };
        let fields = qpack::decode(&payload, HEAD).map_err(io::Error::other)?;
        let status = fields.iter().find(|field| field.name == b":status");
        let status = status.map_or_else(String::new, |field| {
            String::from_utf8_lossy(&field.value).into_owned()
        });
        if status == "200" {
            return Ok((send, receive, frames));
        }
        let why = sentence(&mut receive, &mut frames).await;
        Err(io::Error::other(format!(
            "the session was refused: HTTP {status}: {why}"
        )))
    }
}

fn host_and_port(authority: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the address lacks a ]")?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.contains('@') {
        return Err("a host is missing, or not allowed");
    }
    let port = port.map_or(Ok(443), str::parse);
    Ok((
        host.to_owned(),
        port.map_err(|_| "the port is not a number up to 65535")?,
    ))
}

/// Opens the client's control stream, which must stay open, and says what the client supports.
async fn hello(quic: &Connection) -> io::Result<SendStream> {
    let settings = Settings {
        connect_protocol: false,
        datagrams: true,
        webtransport_sessions: 1,
        field_section: Some(HEAD as u64),
    };
    let mut bytes = Vec::new();
    varint::write(stream::CONTROL, &mut bytes);
    frame::write(frame::SETTINGS, &settings.encode(), &mut bytes);
    let mut control = quic.open_uni().await?;
    control.write_all(&bytes).await.map_err(io::Error::other)?;
    Ok(control)
}

/// Waits for the server's settings: only they say that it serves sessions. Returns its control stream.
async fn settings(quic: &Connection) -> io::Result<RecvStream> {
    let mut receive = quic.accept_uni().await?;
    if integer(&mut receive).await? != stream::CONTROL {
        return Err(io::Error::other(
            "the server's first stream is not its control stream",
        ));
    }
    let mut frames = Frames::new(HEAD);
    let first = next_frame(&mut receive, &mut frames).await?;
    let Some(Frame::Whole {
        kind: frame::SETTINGS,
        payload,
    }) = first
    else {
        return Err(io::Error::other(
            "the server's control stream does not begin with its settings",
        ));
    };
    let settings = Settings::decode(&payload).map_err(io::Error::other)?;
    if settings.webtransport_sessions == 0 || !settings.connect_protocol {
        return Err(io::Error::other(
            "the server speaks HTTP/3 without WebTransport",
        ));
    }
    Ok(receive)
}

/// The text of a refusal.
async fn sentence(receive: &mut RecvStream, frames: &mut Frames) -> String {
    let mut text = Vec::new();
    while text.len() < HEAD
        && let Ok(Some(Frame::Data(data))) = next_frame(receive, frames).await
    {
        text.extend_from_slice(&data);
    }
    let text = String::from_utf8_lossy(&text);
    text.trim().chars().take(300).collect()
}

/// The next frame of a stream; none at its end.
pub(crate) async fn next_frame(
    receive: &mut RecvStream,
    frames: &mut Frames,
) -> io::Result<Option<Frame>> {
    loop {
        if let Some(frame) = frames.next().map_err(io::Error::other)? {
            return Ok(Some(frame));
        }
        match receive
            .read_chunk(4096, true)
            .await
            .map_err(io::Error::other)?
        {
            Some(chunk) => frames.receive(&chunk.bytes),
            None => return Ok(None),
        }
    }
}

/// An integer at the beginning of a stream.
pub(crate) async fn integer(receive: &mut RecvStream) -> io::Result<u64> {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        receive
            .read_exact(&mut byte)
            .await
            .map_err(io::Error::other)?;
        head.extend_from_slice(&byte);
        // At most 8 bytes.
        if let Some(value) = varint::read(&mut head.as_slice()) {
            return Ok(value);
        }
    }
}
