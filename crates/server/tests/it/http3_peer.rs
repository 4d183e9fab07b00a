//! A client of HTTP/3 and WebTransport, which can also misbehave.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use offhook_http3::{
    ALPN,
    frame::{self, Frame, Frames},
    qpack,
    settings::Settings,
    stream, varint,
    webtransport::{self, Capsules, Closed},
};
use offhook_server::{Config, config::TlsFiles};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig,
    VarInt, crypto::rustls::QuicClientConfig,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_rustls::rustls::{
    self, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::hall::{NEVER, config};

/// A configuration with HTTP/3, whose certificate is in this directory.
pub(crate) fn with_http3(directory: &Path) -> (Config, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.cert, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let mut config = Config {
        tls: Some(files),
        ..config()
    };
    config.http3.enabled = true;
    (config, own.cert.der().clone())
}

/// A client's end of a connection.
pub(crate) struct Peer {
    pub(crate) quic: Connection,
    /// Kept open: a connection without it is ended.
    pub(crate) control: SendStream,
    /// The server's control stream.
    _of_server: RecvStream,
    _endpoint: Endpoint,
    authority: String,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(other, _)| other == name);
        field.map(|(_, value)| value.as_str())
    }
}

/// How to connect: the certificate to trust, and the settings of QUIC.
pub(crate) fn client_config(
    trusted: &CertificateDer<'static>,
    transport: TransportConfig,
) -> ClientConfig {
    client_config_as(trusted, transport, None)
}

/// The same for a client with a certificate of its own: the certificate and its key in PEM.
fn client_config_as(
    trusted: &CertificateDer<'static>,
    transport: TransportConfig,
    client: Option<&(String, String)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let own = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![own], key).unwrap()
        }
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = true;
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport));
    client
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> Self {
        Self::connect_with(address, trusted, TransportConfig::default()).await
    }

    pub(crate) async fn connect_with(
        address: SocketAddr,
        trusted: &CertificateDer<'static>,
        transport: TransportConfig,
    ) -> Self {
        Self::connect_by(address, client_config(trusted, transport)).await
    }

    /// Connects with a certificate of the client and its key, in PEM.
    pub(crate) async fn connect_as(
        address: SocketAddr,
        trusted: &CertificateDer<'static>,
        client: Option<&(String, String)>,
    ) -> Self {
        let config = client_config_as(trusted, TransportConfig::default(), client);
        Self::connect_by(address, config).await
    }

    async fn connect_by(address: SocketAddr, client: ClientConfig) -> Self {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let connecting = endpoint.connect_with(client, address, "localhost").unwrap();
        let quic = timeout(NEVER, connecting).await.unwrap().unwrap();
        let settings = Settings {
            connect_protocol: false,
            datagrams: true,
            webtransport_sessions: 1,
            field_section: None,
        };
        let mut bytes = Vec::new();
        varint::write(stream::CONTROL, &mut bytes);
        frame::write(frame::SETTINGS, &settings.encode(), &mut bytes);
        let mut control = quic.open_uni().await.unwrap();
        control.write_all(&bytes).await.unwrap();
        // The server opens it at once, and no other before a session asks for it.
        let of_server = timeout(NEVER, quic.accept_uni()).await.unwrap().unwrap();
        Self {
            quic,
            control,
            _of_server: of_server,
            _endpoint: endpoint,
            authority: format!("localhost:{}", address.port()),
        }
    }

    /// Sends the head of a request.
    pub(crate) async fn begin(&self, fields: &[(&str, &str)]) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.quic.open_bi().await.unwrap();
        let mut bytes = Vec::new();
        frame::write(
            frame::HEADERS,
            &qpack::encode(fields.iter().copied()),
            &mut bytes,
        );
        send.write_all(&bytes).await.unwrap();
        (send, receive)
    }

    /// The fields of a request.
    pub(crate) fn head<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            (":method", method),
            (":scheme", "https"),
            (":authority", &self.authority),
            (":path", path),
        ]
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let head = [self.head(method, path), fields.to_vec()].concat();
        let (mut send, receive) = self.begin(&head).await;
        if !body.is_empty() {
            let mut bytes = Vec::new();
            frame::write(frame::DATA, body, &mut bytes);
            send.write_all(&bytes).await.unwrap();
        }
        send.finish().unwrap();
        let mut reading = Reading::new(receive);
        let mut answer = reading.head().await;
        while let Some(data) = reading.data().await {
            answer.body.extend(data);
        }
        answer
    }

    /// Whether a request is accepted, and not rejected because the server stops.
    pub(crate) async fn is_served(&self) -> bool {
        let Ok((mut send, receive)) = self.quic.open_bi().await else {
            return false;
        };
        let fields = self.head("GET", "/healthz");
        let mut bytes = Vec::new();
        frame::write(frame::HEADERS, &qpack::encode(fields), &mut bytes);
        let _rejected = (send.write_all(&bytes).await, send.finish());
        let mut frames = receive;
        frames.read_to_end(1 << 20).await.is_ok()
    }

    /// Requests an extended CONNECT; returns the answer's head with both halves.
    pub(crate) async fn extended(
        &self,
        protocol: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (Answer, SendStream, Reading) {
        let own = [
            self.head("CONNECT", path),
            vec![(":protocol", protocol)],
            fields.to_vec(),
        ]
        .concat();
        let (send, receive) = self.begin(&own).await;
        let mut reading = Reading::new(receive);
        let answer = reading.head().await;
        (answer, send, reading)
    }

    /// Opens a session of the native dialect, up to its control stream.
    pub(crate) async fn session(&self) -> Session<'_> {
        let (answer, connect, capsules) = self.extended(webtransport::PROTOCOL, "/ws", &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = u64::from(VarInt::from(connect.id()));
        let (mut send, receive) = self.quic.open_bi().await.unwrap();
        send.write_all(&webtransport::bidirectional(id))
            .await
            .unwrap();
        Session {
            peer: self,
            id,
            connect,
            capsules,
            send,
            control: Messages::new(receive),
            next: 1,
        }
    }

    /// Waits until the server ends the connection, and returns its code.
    pub(crate) async fn ended(&self) -> u64 {
        let reason = timeout(NEVER, self.quic.closed()).await.unwrap();
        let ConnectionError::ApplicationClosed(closed) = reason else {
            panic!("{reason}")
        };
        closed.error_code.into_inner()
    }
}

/// Reads an answer.
pub(crate) struct Reading {
    pub(crate) receive: RecvStream,
    frames: Frames,
}

impl Reading {
    pub(crate) fn new(receive: RecvStream) -> Self {
        Self {
            receive,
            frames: Frames::new(1 << 20),
        }
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next().unwrap() {
                return Some(frame);
            }
            let chunk = timeout(NEVER, self.receive.read_chunk(4096, true))
                .await
                .unwrap();
            self.frames.receive(&chunk.unwrap()?.bytes);
        }
    }

    pub(crate) async fn head(&mut self) -> Answer {
        let Some(Frame::Whole {
            kind: frame::HEADERS,
            payload,
        }) = self.frame().await
        else {
            panic!("an answer begins with its head")
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let fields = qpack::decode(&payload, 1 << 20).unwrap().into_iter();
        let fields: Vec<_> = fields
            .map(|field| (text(field.name), text(field.value)))
            .collect();
        let status = fields.iter().find(|(name, _)| name == ":status").unwrap();
        Answer {
            status: status.1.parse().unwrap(),
            fields,
            body: Vec::new(),
        }
    }

    pub(crate) async fn data(&mut self) -> Option<Vec<u8>> {
        match self.frame().await? {
            Frame::Data(data) => Some(data.to_vec()),
            Frame::Whole { kind, .. } => panic!("a frame of type {kind}"),
        }
    }
}

/// A session as its client sees it.
pub(crate) struct Session<'p> {
    peer: &'p Peer,
    pub(crate) id: u64,
    pub(crate) connect: SendStream,
    pub(crate) capsules: Reading,
    pub(crate) send: SendStream,
    pub(crate) control: Messages,
    next: u64,
}

impl Session<'_> {
    /// Sends a message with the next id, which this returns.
    pub(crate) async fn send(&mut self, mut message: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        message["id"] = id.into();
        let text = message.to_string();
        let framed = [
            &u32::try_from(text.len()).unwrap().to_be_bytes()[..],
            text.as_bytes(),
        ]
        .concat();
        self.send.write_all(&framed).await.unwrap();
        id
    }

    /// Connects, and returns the welcome.
    pub(crate) async fn connect(&mut self, fields: Value) -> Value {
        let mut message = json!({"type": "connect", "lineage": true});
        for (name, value) in fields.as_object().unwrap() {
            message[name] = value.clone();
        }
        self.send(message).await;
        self.control.hear_a("welcome").await
    }

    /// Subscribes, and returns the answer.
    pub(crate) async fn subscribe(&mut self, channel: &str, since: Value) -> Value {
        self.send(json!({"type": "subscribe", "channel": channel, "since": since}))
            .await;
        self.control.hear_a("subscribed").await
    }

    /// The next stream of a subscription that the server opens, and its number.
    pub(crate) async fn stream(&self) -> (u32, Messages) {
        let accepted = timeout(NEVER, self.peer.quic.accept_uni()).await;
        let mut receive = accepted.unwrap().unwrap();
        assert_eq!(integer(&mut receive).await, webtransport::UNIDIRECTIONAL);
        assert_eq!(integer(&mut receive).await, self.id);
        let mut number = [0; 4];
        receive.read_exact(&mut number).await.unwrap();
        (u32::from_be_bytes(number), Messages::new(receive))
    }

    /// The message in the next datagram.
    pub(crate) async fn datagram(&self) -> Value {
        let datagram = timeout(NEVER, self.peer.quic.read_datagram())
            .await
            .unwrap()
            .unwrap();
        let (session, message) = webtransport::read_datagram(&datagram).unwrap();
        assert_eq!(session, self.id);
        serde_json::from_slice(message).unwrap()
    }

    /// Waits until the server ends the session, and returns how.
    pub(crate) async fn closed(&mut self) -> Closed {
        let mut capsules = Capsules::default();
        while let Some(data) = self.capsules.data().await {
            if let Some(closed) = capsules.receive(&data).unwrap() {
                return closed;
            }
        }
        panic!("the session ended without a reason")
    }

    /// Ends the session as a client that leaves.
    pub(crate) async fn leave(mut self) {
        let mut bytes = Vec::new();
        frame::write(frame::DATA, &webtransport::close(0, ""), &mut bytes);
        self.connect.write_all(&bytes).await.unwrap();
        self.connect.finish().unwrap();
        let told = self.capsules.data().await;
        assert!(told.is_none(), "the client has ended the session: {told:?}");
    }
}

pub(crate) async fn integer(receive: &mut RecvStream) -> u64 {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        receive.read_exact(&mut byte).await.unwrap();
        head.push(byte[0]);
        if let Some(value) = varint::read(&mut head.as_slice()) {
            return value;
        }
    }
}

/// Reads messages, each preceded by its length.
pub(crate) struct Messages(RecvStream);

impl Messages {
    fn new(receive: RecvStream) -> Self {
        Self(receive)
    }

    /// The next message, or none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        timeout(NEVER, self.0.read_exact(&mut length))
            .await
            .unwrap()
            .ok()?;
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        timeout(NEVER, self.0.read_exact(&mut text))
            .await
            .unwrap()
            .unwrap();
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// The code with which the server resets the stream, or none if it finishes it. Reads nothing.
    pub(crate) async fn reset(&mut self) -> Option<u64> {
        let reset = timeout(NEVER, self.0.received_reset()).await.unwrap();
        reset.unwrap().map(VarInt::into_inner)
    }

    /// The next message of this type; others are skipped.
    pub(crate) async fn hear_a(&mut self, kind: &str) -> Value {
        loop {
            let message = self
                .next()
                .await
                .unwrap_or_else(|| panic!("no {kind} arrived"));
            if message["type"] == kind {
                return message;
            }
        }
    }
}
