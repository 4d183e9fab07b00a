//! Heads to send to either side, valid until a test changes a field.
#![expect(
    clippy::panic_in_result_fn,
    reason = "the result is what is tested, the assertions are the test's"
)]

use std::sync::Arc;

use offhook_protocol::handshake::{
    Carrier, ClientHandshake, ClientRequest, ClientStep, HandshakeFailure, Opened, Refused,
    Rejection, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
};

/// The key of RFC 6455 §1.3 is the base64 of these bytes.
pub(crate) const NONCE: [u8; 16] = *b"the sample nonce";
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[derive(Debug, Clone)]
pub(crate) struct Head {
    start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The handshake of RFC 6455 §1.2, as sent by a browser's page of the same site.
    pub(crate) fn request() -> Self {
        Self::new("GET /chat HTTP/1.1")
            .add("Host", "server.example.com")
            .add("Upgrade", "websocket")
            .add("Connection", "Upgrade")
            .add("Sec-WebSocket-Key", KEY)
            .add("Sec-WebSocket-Version", "13")
    }

    /// The answer to it.
    pub(crate) fn response() -> Self {
        Self::new("HTTP/1.1 101 Switching Protocols")
            .add("Upgrade", "websocket")
            .add("Connection", "Upgrade")
            .add("Sec-WebSocket-Accept", ACCEPT)
    }

    pub(crate) fn new(start: &str) -> Self {
        Self {
            start: start.to_owned(),
            fields: Vec::new(),
        }
    }

    pub(crate) fn start(mut self, line: &str) -> Self {
        line.clone_into(&mut self.start);
        self
    }

    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        let before = self.fields.len();
        self.fields
            .retain(|(there, _)| !there.eq_ignore_ascii_case(name));
        assert_ne!(self.fields.len(), before, "there was no {name} to remove");
        self
    }

    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// The fields, as an HTTP library would hand them over.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}

/// How a server handles a complete head.
pub(crate) fn decide(config: ServerConfig, bytes: &[u8]) -> Result<ServerDecision, Rejection> {
    match ServerHandshake::new(Arc::new(config)).receive(bytes)? {
        ServerStep::Request { decision, consumed } => {
            assert_eq!(consumed, bytes.len());
            Ok(decision)
        }
        ServerStep::Incomplete(_) => panic!("the head is whole"),
    }
}

/// How a server with the default configuration handles a head.
pub(crate) fn decision(head: &Head) -> ServerDecision {
    decide(ServerConfig::default(), &head.bytes()).expect("a valid request")
}

/// A server with the default configuration accepts this head as a handshake.
pub(crate) fn assert_accepted(head: &Head) {
    assert_eq!(decision(head).accept().response.status(), 101, "{head:?}");
}

/// The error with which a server with the default configuration rejects a head.
pub(crate) fn rejection(head: &Head) -> Rejection {
    decide(ServerConfig::default(), &head.bytes()).expect_err("a request to reject")
}

/// The answer of a server with the default configuration.
pub(crate) fn answer(head: &Head) -> String {
    let response = match decide(ServerConfig::default(), &head.bytes()) {
        Ok(decision) => decision.accept().response,
        Err(rejection) => rejection.response(Carrier::Upgrade),
    };
    String::from_utf8(response.into_bytes()).expect("ASCII")
}

/// A client's request to `/chat` of `server.example.com`.
pub(crate) fn client_request() -> ClientRequest {
    ClientRequest::new("server.example.com", "/chat").expect("a valid request")
}

/// A client that has sent its request and waits.
pub(crate) fn client() -> ClientHandshake {
    client_request().start(NONCE).1
}

pub(crate) fn open(client: ClientHandshake, head: &Head) -> Result<Opened, HandshakeFailure> {
    let ClientStep::Open { opened, .. } = client.receive(&head.bytes())? else {
        panic!("expected an open connection")
    };
    Ok(opened)
}

pub(crate) fn failure(head: &Head) -> HandshakeFailure {
    open(client(), head).expect_err("an answer to fail")
}

pub(crate) fn refused(bytes: &[u8]) -> Refused {
    let Ok(ClientStep::Refused(refused)) = client().receive(bytes) else {
        panic!("expected a refusal")
    };
    refused
}
