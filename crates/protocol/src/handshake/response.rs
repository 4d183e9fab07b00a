//! The server's answer: a status, header fields and a short body.

use super::headers::{Headers, name};

/// A response, as bytes for HTTP/1.1 or as parts for an HTTP library.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    /// The text starts with the status line, so it is the complete head except for the empty line
    /// at the end.
    headers: Headers,
    body: Vec<u8>,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body; empty when the handshake is accepted.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The bytes to write to an HTTP/1.1 connection.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.headers.push_text(b"\r\n");
        self.headers.push_text(&self.body);
        self.headers.into_text()
    }

    /// 101, with memory reserved for the fields that follow.
    pub(crate) fn switching_protocols() -> Self {
        let mut headers = Headers::new();
        headers.reserve(256, 6);
        headers.push_text(b"HTTP/1.1 101 Switching Protocols\r\n");
        headers.push(name::UPGRADE, b"websocket");
        headers.push(name::CONNECTION, b"Upgrade");
        Self {
            status: 101,
            headers,
            body: Vec::new(),
        }
    }

    pub(crate) fn with_status(status: u16) -> Self {
        let line = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        let mut headers = Headers::new();
        headers.push_text(line.as_bytes());
        Self {
            status,
            headers,
            body: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.headers.push(name, value);
    }

    pub(crate) fn extend(&mut self, headers: &Headers) {
        self.headers.extend(headers);
    }

    pub(crate) fn lower_case_names(&mut self) {
        self.headers.lower_case_names();
    }

    /// Sets the body and its length.
    pub(crate) fn set_body(&mut self, body: Vec<u8>) {
        // RFC 9110 §8.6: a 204 has no Content-Length, a 304 no body.
        if self.status != 204 && self.status != 304 {
            self.push(name::CONTENT_LENGTH, body.len().to_string().as_bytes());
            self.body = body;
        }
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // RFC 9112 §4: the phrase may be empty, and clients should ignore it.
        _ => "",
    }
}
