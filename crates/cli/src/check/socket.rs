//! A connection to the server at the level of bytes: the request, the answer's head, then frames.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, InvalidMessage};

use super::Check;
use super::target::Target;
use crate::explain::{Broken, Conversation, Frame, Piece, Side};
use crate::failure::Failure;

/// How connections are opened.
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) address: SocketAddr,
    pub(super) limit: Duration,
    pub(super) subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    tls: Option<ClientConfig>,
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(super) struct Unopened {
    why: String,
    /// The server did not answer the TLS handshake with TLS.
    pub(super) is_no_tls: bool,
    /// The server answered an unencrypted request with TLS.
    pub(super) is_tls: bool,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|error| error.downcast_ref());
        let is_no_tls = matches!(
            inner,
            Some(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                    | InvalidMessage::UnknownProtocolVersion
                    | InvalidMessage::MessageTooLarge
            ))
        );
        let why = if is_no_tls {
            "the server does not answer in TLS".to_owned()
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            "the server closed the connection".to_owned()
        } else {
            error.to_string()
        };
        Self {
            why,
            is_no_tls,
            is_tls: false,
        }
    }
}

impl Unopened {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_no_tls: false,
            is_tls: false,
        }
    }

    fn late(limit: Duration) -> Self {
        Self::new(format!("no answer in {limit:?}"))
    }
}

/// TCP, or TLS over TCP.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// The server's answer, and the connection.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// The first line of a refusal's body.
    pub(super) body: String,
    /// Violations of the protocol in the head.
    pub(super) broken: Vec<Broken>,
    pub(super) socket: Socket,
}

/// The longest head accepted. 64 KiB: servers send far less.
const LONGEST_HEAD: usize = 64 << 10;

/// The most bytes of one read: about ten segments.
const READ: usize = 16 << 10;

/// How much of a refusal's body is read, and for how long.
const BODY: usize = 4 << 10;
const BODY_TIME: Duration = Duration::from_secs(1);

impl Route {
    pub(super) fn new(check: &Check, target: Target, address: SocketAddr) -> Result<Self, Failure> {
        let breaks = |text: &str| text.chars().any(|c| c.is_control());
        let all = check.header.iter().flat_map(|(name, value)| [name, value]);
        if all.chain(&check.subprotocol).any(|text| breaks(text)) {
            return Err(Failure::usage("a header has a control character in it"));
        }
        Ok(Self {
            target,
            address,
            limit: check.timeout,
            subprotocols: check.subprotocol.clone(),
            headers: check.header.clone(),
            tls: None,
        })
    }

    pub(super) fn set_tls(&mut self, config: ClientConfig) {
        self.tls = Some(config);
    }

    /// Connects with TLS and offers these ALPN protocols.
    pub(super) async fn connect_tls(
        &self,
        protocols: &[&[u8]],
    ) -> Result<TlsStream<TcpStream>, Unopened> {
        let mut config = self.tls.clone().ok_or_else(|| Unopened::new("no TLS"))?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| Unopened::new("the host is not a valid name for TLS"))?;
        let connecting = async {
            let stream = TcpStream::connect(self.address).await?;
            TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
        };
        match timeout(self.limit, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Unopened::late(self.limit)),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Transport>, Unopened> {
        if self.target.is_tls {
            return Ok(Box::new(self.connect_tls(&[b"http/1.1"]).await?));
        }
        match timeout(self.limit, TcpStream::connect(self.address)).await {
            Ok(connected) => Ok(Box::new(connected?)),
            Err(_) => Err(Unopened::late(self.limit)),
        }
    }

    /// Sends an opening handshake with these additional fields, and reads the answer.
    pub(super) async fn open(&self, more: &[(&str, &str)]) -> Result<Answer, Unopened> {
        let transport = self.connect().await?;
        let request = self.request(more);
        match timeout(self.limit, answer(transport, &request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unopened::late(self.limit)),
        }
    }

    fn request(&self, more: &[(&str, &str)]) -> String {
        let Target { path, .. } = &self.target;
        let host = self.target.authority();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: offhook-check\r\n"
        );
        if !self.subprotocols.is_empty() {
            let names = self.subprotocols.join(", ");
            request.push_str(&format!("Sec-WebSocket-Protocol: {names}\r\n"));
        }
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(more.iter().copied()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }
}

/// The key of the example in RFC 6455 §1.3: nothing here depends on a fresh key.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

async fn answer(mut transport: Box<dyn Transport>, request: &str) -> Result<Answer, Unopened> {
    transport.write_all(request.as_bytes()).await?;
    transport.flush().await?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > LONGEST_HEAD {
            return Err(Unopened::new(format!(
                "a head of more than {LONGEST_HEAD} bytes"
            )));
        }
        let read = transport.read_buf(&mut bytes).await;
        // RFC 8446 §6: an alert in place of a status line.
        if bytes.starts_with(&[0x15, 3]) {
            return Err(Unopened {
                is_tls: true,
                ..Unopened::new("the server answers in TLS")
            });
        }
        if !bytes.is_empty() && !b"HTTP/".starts_with(&bytes[..bytes.len().min(5)]) {
            return Err(Unopened::new("the server does not answer in HTTP/1.1"));
        }
        if read? == 0 {
            let why = if bytes.is_empty() {
                "the server closed the connection without an answer"
            } else {
                "the server closed the connection within the head of its answer"
            };
            return Err(Unopened::new(why));
        }
    };
    let (head, rest) = bytes.split_at(end);
    let mut conversation = Conversation::new();
    conversation.take(Side::Client, request.as_bytes());
    let mut broken = Vec::new();
    for piece in conversation.take(Side::Server, head) {
        if let Piece::Head(_, head) = piece {
            broken.extend(head.broken);
        }
    }
    let (status, headers) = fields(&String::from_utf8_lossy(head))
        .ok_or_else(|| Unopened::new("the answer has no status line of HTTP/1.1"))?;
    let mut socket = Socket {
        transport,
        conversation,
        frames: VecDeque::new(),
        buffer: Vec::with_capacity(READ),
        broken: Vec::new(),
    };
    let body = if status == 101 {
        socket.explain(rest);
        String::new()
    } else {
        socket.body(rest.to_vec()).await
    };
    Ok(Answer {
        status,
        headers,
        body,
        broken,
        socket,
    })
}

fn fields(head: &str) -> Option<(u16, Vec<(String, String)>)> {
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    Some((status.parse().ok()?, fields.collect()))
}

impl Answer {
    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An open WebSocket.
pub(super) struct Socket {
    transport: Box<dyn Transport>,
    conversation: Conversation,
    frames: VecDeque<Frame>,
    /// The buffer for one read.
    buffer: Vec<u8>,
    /// Rules that the server violated.
    pub(super) broken: Vec<Broken>,
}

/// How many violations are kept. 16: more add nothing new.
const MOST_BROKEN: usize = 16;

impl Socket {
    /// Sends a frame masked with zeros: masks protect proxies from scripts, and there is no script
    /// here.
    pub(super) async fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let length = u8::try_from(payload.len()).unwrap_or(125).min(125);
        let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload.get(..usize::from(length)).unwrap_or(payload));
        self.transport.write_all(&frame).await?;
        self.transport.flush().await
    }

    /// Sends the header of a text message of this length, without its payload.
    pub(super) async fn announce(&mut self, length: u64) -> io::Result<()> {
        let mut header = vec![0x81, 0x80 | 127];
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        if let Ok(length) = u16::try_from(length) {
            header = vec![0x81, 0x80 | 126];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
        }
        self.transport.write_all(&header).await?;
        self.transport.flush().await
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            let mut bytes = std::mem::take(&mut self.buffer);
            bytes.clear();
            let count = self.transport.read_buf(&mut bytes).await?;
            self.explain(&bytes);
            self.buffer = bytes;
            if count == 0 {
                return Ok(None);
            }
        }
    }

    fn explain(&mut self, bytes: &[u8]) {
        for piece in self.conversation.take(Side::Server, bytes) {
            let Piece::Frame(frame) = piece else { continue };
            let room = MOST_BROKEN - self.broken.len();
            self.broken.extend(frame.broken.iter().take(room).cloned());
            self.frames.push_back(*frame);
        }
    }

    /// The first line of a body, if it is readable text.
    async fn body(&mut self, mut bytes: Vec<u8>) -> String {
        let reading = async {
            while bytes.len() < BODY && !bytes.contains(&b'\n') {
                match self.transport.read_buf(&mut bytes).await {
                    Ok(count) if count > 0 => {}
                    Ok(_) | Err(_) => return,
                }
            }
        };
        // Some servers keep the connection open after the body.
        let _ = timeout(BODY_TIME, reading).await;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default().trim();
        let is_page = line.starts_with('<');
        let line: String = line.chars().take(200).collect();
        if is_page { String::new() } else { line }
    }
}
