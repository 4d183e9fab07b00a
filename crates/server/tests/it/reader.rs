//! A client of server-sent events that is independent of Offhook and follows the standard.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::hall::{Hall, NEVER};

/// An event as a page receives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// `message` if it has no name.
    pub(crate) name: String,
    pub(crate) data: Value,
    /// The id of the last event that had one, including this one.
    pub(crate) id: String,
}

/// One stream.
pub(crate) struct Reader {
    stream: TcpStream,
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    /// Bytes of the body that are not decoded yet.
    coded: Vec<u8>,
    is_chunked: bool,
    text: Vec<u8>,
    events: VecDeque<Event>,
    pub(crate) comments: usize,
    /// In milliseconds.
    pub(crate) retry: Option<u64>,
    id: String,
}

impl Reader {
    pub(crate) async fn get(hall: &Hall, path: &str) -> Self {
        Self::ask(hall, path, "").await
    }

    /// With further fields, each ended by CRLF.
    pub(crate) async fn ask(hall: &Hall, path: &str, fields: &str) -> Self {
        let stream = TcpStream::connect(hall.address()).await.unwrap();
        Self::over(stream, hall, path, fields).await
    }

    /// With a small receive buffer, so that what it does not read soon waits at the server.
    pub(crate) async fn narrow(hall: &Hall, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(hall.address()).await.unwrap();
        Self::over(stream, hall, path, "").await
    }

    async fn over(mut stream: TcpStream, hall: &Hall, path: &str, fields: &str) -> Self {
        let host = hall.address();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(NEVER, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            is_chunked: head.contains("transfer-encoding: chunked"),
            stream,
            head,
            coded: Vec::new(),
            text: Vec::new(),
            events: VecDeque::new(),
            comments: 0,
            retry: None,
            id: String::new(),
        }
    }

    /// The next event; none at the end.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next event, which must have this name.
    pub(crate) async fn a(&mut self, name: &str) -> Event {
        let event = self.event().await.expect("the stream is open");
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The id with which an `EventSource` would reconnect.
    pub(crate) fn last_id(&self) -> String {
        assert!(self.events.is_empty());
        self.id.clone()
    }

    /// Waits until this many comments were received in total.
    pub(crate) async fn until_comments(&mut self, count: usize) {
        while self.comments < count {
            assert!(self.read().await);
        }
    }

    /// Reads once; false at the end.
    async fn read(&mut self) -> bool {
        let read = timeout(NEVER, self.stream.read_buf(&mut self.coded)).await;
        // A connection that was reset has ended, too.
        if read.expect("something comes").unwrap_or(0) == 0 {
            return false;
        }
        if self.is_chunked {
            self.decode();
        } else {
            self.text.append(&mut self.coded);
        }
        while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
            let rest = self.text.split_off(end + 2);
            let block = std::mem::replace(&mut self.text, rest);
            self.take(&String::from_utf8(block).unwrap());
        }
        true
    }

    /// RFC 9112 §7.1.
    fn decode(&mut self) {
        loop {
            let Some(line) = self.coded.windows(2).position(|two| two == b"\r\n") else {
                return;
            };
            let size = std::str::from_utf8(&self.coded[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.coded.len() < line + 2 + size + 2 {
                return;
            }
            let rest = self.coded.split_off(line + 2 + size + 2);
            let chunk = std::mem::replace(&mut self.coded, rest);
            self.text.extend(&chunk[line + 2..line + 2 + size]);
        }
    }

    fn take(&mut self, block: &str) {
        let (mut name, mut data) = (String::from("message"), Vec::new());
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => name = value.to_owned(),
                ("data", value) => data.push(value),
                ("id", value) => self.id = value.to_owned(),
                ("retry", value) => self.retry = Some(value.parse().unwrap()),
                (other, _) => {
                    assert!(other.is_empty() || other.starts_with(':'), "{line:?}");
                    self.comments += usize::from(other.starts_with(':'));
                }
            }
        }
        if !data.is_empty() {
            self.events.push_back(Event {
                name,
                data: serde_json::from_str(&data.join("\n")).unwrap(),
                id: self.id.clone(),
            });
        }
    }
}
