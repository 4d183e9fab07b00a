//! A server that sends what its script says, byte for byte, and records the requests.

use std::net::SocketAddr;

use offhook::Connect;
use offhook::protocol::handshake::accept_for_key;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// From a request's head to the bytes of the answer.
type Answer = Box<dyn FnOnce(&str) -> Vec<u8> + Send>;

/// What to answer to one request.
pub(crate) struct Reply {
    bytes: Answer,
    closes: bool,
}

impl Reply {
    /// Opens the WebSocket.
    pub(crate) fn open() -> Self {
        Self::open_with("", b"")
    }

    /// Opens the WebSocket, with more header lines, and bytes behind the head.
    pub(crate) fn open_with(lines: &'static str, behind: &'static [u8]) -> Self {
        Self::made(move |head| {
            let key = field(head, "Sec-WebSocket-Key").unwrap_or_default();
            let accept = accept_for_key(key.as_bytes());
            let mut answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{lines}\r\n",
                std::str::from_utf8(&accept).unwrap(),
            )
            .into_bytes();
            answer.extend(behind);
            answer
        })
    }

    /// Sends this, and waits.
    pub(crate) fn say(text: impl AsRef<[u8]>) -> Self {
        let bytes = text.as_ref().to_vec();
        Self::made(move |_| bytes)
    }

    /// Redirects.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::say(format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// Closes the connection after it.
    pub(crate) fn and_close(mut self) -> Self {
        self.closes = true;
        self
    }

    fn made(bytes: impl FnOnce(&str) -> Vec<u8> + Send + 'static) -> Self {
        Self {
            bytes: Box::new(bytes),
            closes: false,
        }
    }
}

/// A server on its own port. Each connection gets the next reply; when there are no more, it stops
/// listening.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: mpsc::Receiver<String>,
}

impl Server {
    pub(crate) async fn with(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::at("127.0.0.1:0", replies).await.unwrap()
    }

    pub(crate) async fn at(
        address: &str,
        replies: impl IntoIterator<Item = Reply>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let replies: Vec<_> = replies.into_iter().collect();
        let (told, heads) = mpsc::channel(64);
        tokio::spawn(async move {
            for reply in replies {
                let (stream, _) = listener.accept().await.unwrap();
                let told = told.clone();
                tokio::spawn(async move { converse(stream, reply, &told).await });
            }
        });
        Ok(Self { address, heads })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    pub(crate) fn connect(&self) -> Connect {
        to(self.url())
    }

    /// The head of the next request.
    pub(crate) async fn request(&mut self) -> String {
        self.heads.recv().await.expect("there is a request")
    }
}

/// Connects regardless of proxies in the test's environment.
pub(crate) fn to(url: impl AsRef<str>) -> Connect {
    Connect::to(url).no_proxy()
}

/// One request, one reply, then silence until the client closes.
pub(crate) async fn converse<S>(mut stream: S, reply: Reply, told: &mpsc::Sender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let answer = (reply.bytes)(&head);
    told.send(head).await.ok();
    if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() || reply.closes {
        return;
    }
    stream.read_to_end(&mut Vec::new()).await.ok();
}

/// Up to the empty line; `None` if it never comes.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// The value of a field of a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
