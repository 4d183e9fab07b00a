//! What is asked for, from the types of the http crate.

use super::builder::Connect;

/// The URL and the headers of a request. What the handshake sets itself is left out, and
/// subprotocols and origin are [offered](Connect::subprotocol) and [sent](Connect::origin) as if
/// they had been asked for one by one. What is no text there is an error when it is opened.
impl<B> From<http::Request<B>> for Connect {
    fn from(request: http::Request<B>) -> Self {
        Self::to(request.uri().to_string()).headers(request.headers())
    }
}

impl Connect {
    /// Adds these headers to the request, as [`From<http::Request>`](#impl-From<Request<B>>-for-Connect)
    /// does.
    pub fn headers(mut self, headers: &http::HeaderMap) -> Self {
        for (name, value) in headers {
            let text = value.to_str().unwrap_or_default();
            self = match name.as_str() {
                "host"
                | "upgrade"
                | "connection"
                | "sec-websocket-key"
                | "sec-websocket-version"
                | "sec-websocket-extensions" => self,
                "sec-websocket-protocol" => text
                    .split(',')
                    .fold(self, |connect, name| connect.subprotocol(name.trim())),
                "origin" => self.origin(text),
                name => self.header(name, value),
            };
        }
        self
    }
}
