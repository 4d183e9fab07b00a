//! Conversions from the types of the http crate.

use super::builder::Connect;

/// Takes the URL and header fields of a request. Fields that the handshake sets itself are ignored.
/// Subprotocols and the origin are treated as if passed to [`subprotocol`](Connect::subprotocol)
/// and [`origin`](Connect::origin); if they are not text, opening fails.
impl<B> From<http::Request<B>> for Connect {
    fn from(request: http::Request<B>) -> Self {
        Self::to(request.uri().to_string()).headers(request.headers())
    }
}

impl Connect {
    /// Adds these header fields to the request, as
    /// [`From<http::Request>`](#impl-From<Request<B>>-for-Connect) does.
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
