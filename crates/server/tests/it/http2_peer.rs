//! HTTP/2 clients for tests: one is based on h2, the other sends frames that the test writes
//! itself.

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, SendRequest},
    ext::Protocol,
};
use hyper::{HeaderMap, Method, Request, Response};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::hall::{Hall, NEVER};

/// A connection of the client based on h2.
pub(crate) struct Peer {
    requests: SendRequest<Bytes>,
    host: String,
    /// How the connection ended.
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

/// A complete response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {text:?}"))
    }
}

impl Peer {
    pub(crate) async fn new(hall: &Hall) -> Self {
        Self::with(hall, |_| {}).await
    }

    /// Connects with other settings.
    pub(crate) async fn with(hall: &Hall, change: impl FnOnce(&mut Builder)) -> Self {
        let stream = TcpStream::connect(hall.address()).await.unwrap();
        let mut builder = Builder::new();
        change(&mut builder);
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        Self {
            requests,
            host: hall.address().to_string(),
            ended: tokio::spawn(connection),
        }
    }

    /// Begins to build a request.
    pub(crate) fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let uri = format!("http://{}{path}", self.host);
        Request::builder().method(method).uri(uri)
    }

    /// Sends a request without a body. Returns the head of the response, and its body.
    pub(crate) async fn head(&self, request: Request<()>) -> Response<RecvStream> {
        self.answered(request, None).await.unwrap()
    }

    /// Sends a request with a body. Fails with the error of the stream.
    pub(crate) async fn answered(
        &self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<Response<RecvStream>, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut send) = requests.send_request(request, body.is_none())?;
        if let Some(body) = body {
            send_all(&mut send, body).await;
        }
        timeout(NEVER, answer).await.unwrap()
    }

    pub(crate) async fn ask(&self, request: Request<()>, body: Option<Bytes>) -> Answer {
        let answer = self.answered(request, body).await.unwrap();
        let (head, mut body) = answer.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: whole(&mut body).await,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).body(()).unwrap();
        self.ask(request, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: String) -> Answer {
        let request = self.request(Method::POST, path).body(()).unwrap();
        self.ask(request, Some(body.into())).await
    }

    /// Opens a WebSocket whose frames the test writes itself.
    pub(crate) async fn websocket(&self) -> (SendStream<Bytes>, RecvStream) {
        let mut request = self
            .request(Method::CONNECT, "/ws")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "offhook.v1.json")
            .body(())
            .unwrap();
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        // SETTINGS arrive before the answer to any request.
        self.get("/readyz").await;
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (answer, send) = requests.send_request(request, false).unwrap();
        let answer = timeout(NEVER, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        (send, answer.into_body())
    }
}

/// Sends a body as the server's windows allow.
async fn send_all(send: &mut SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx));
        // The server has answered, and needs no more of the body.
        let Some(Ok(room)) = timeout(NEVER, room).await.unwrap() else {
            return;
        };
        let piece = body.split_to(room.min(body.len()));
        if send.send_data(piece, false).is_err() {
            return;
        }
    }
    let _answered = send.send_data(Bytes::new(), true);
}

/// Returns the next data of a body, and opens the window for as much again.
pub(crate) async fn data(body: &mut RecvStream) -> Option<Bytes> {
    let data = match timeout(NEVER, body.data()).await.unwrap()? {
        // RFC 9113 §8.1: the answer is complete, and the server needs no more of the request.
        Err(error) if error.reason() == Some(Reason::NO_ERROR) => return None,
        data => data.unwrap(),
    };
    body.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

pub(crate) async fn whole(body: &mut RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(data) = data(body).await {
        whole.extend_from_slice(&data);
    }
    whole
}

/// A stream of events.
pub(crate) struct Events {
    pub(crate) body: RecvStream,
    text: String,
}

impl Events {
    pub(crate) fn of(body: RecvStream) -> Self {
        let text = String::new();
        Self { body, text }
    }

    /// Returns the lines of the next event that is not a comment; none at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                return Some(event);
            }
            let data = data(&mut self.body).await?;
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The data of the next message.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream is open");
            let is_message = event.lines().all(|line| !line.starts_with("event:"));
            let mut data = event.lines().filter_map(|line| line.strip_prefix("data: "));
            if is_message && let Some(data) = data.next() {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

// RFC 9113 §6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
// RFC 9113 §7.
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it was received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection whose frames the test writes itself.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn new(hall: &Hall) -> Self {
        let mut stream = TcpStream::connect(hall.address()).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut raw = Self(stream);
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// Sends frames. The server may end the connection meanwhile.
    pub(crate) async fn send(&mut self, frames: &[u8]) {
        let _ended = timeout(NEVER, self.0.write_all(frames)).await.unwrap();
    }

    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = timeout(NEVER, self.0.read_exact(&mut head)).await.unwrap();
        read.ok()?;
        let [a, b, c, kind, _flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        let read = timeout(NEVER, self.0.read_exact(&mut payload)).await;
        read.unwrap().ok()?;
        Some(Frame {
            kind,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The next frame of this type, with those in between passed over.
    pub(crate) async fn a(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection is open");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads until the end. Returns the reason in the last GOAWAY.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                reason = Some(number(&frame.payload[4..8]));
            }
        }
        reason
    }
}

/// Four bytes as a number.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[..], &[kind, flags], &stream, payload].concat()
}

/// The fields of a GET in HPACK, without compression (RFC 7541 §6.1, §6.2.2).
pub(crate) fn get(path: &str) -> Vec<u8> {
    fields(0x82, path)
}

/// The fields of a POST, encoded in the same way.
pub(crate) fn post(path: &str) -> Vec<u8> {
    fields(0x83, path)
}

/// The fields of a request whose method is in the static table.
fn fields(method: u8, path: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let host = "localhost";
    let mut block = vec![method, 0x86, 0x04, length(path)];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(&[0x01, length(host)]);
    block.extend_from_slice(host.as_bytes());
    block
}

/// A complete GET on a stream.
pub(crate) fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

/// A masked text frame of WebSocket; the mask is 0.
pub(crate) fn text(text: &str) -> Bytes {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    let mut bytes = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}
