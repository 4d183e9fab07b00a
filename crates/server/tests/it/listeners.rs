//! Several listeners with settings of their own: Unix sockets, sockets of systemd, TLS, proxies.

use std::{
    error::Error,
    fs,
    net::TcpListener,
    num::NonZeroUsize,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use offhook_server::{
    Config, ListeningSocket, Server, Sockets, StartError,
    config::{ClientCerts, Listen, ListenAt, TlsFiles},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config, with_connections},
};

fn unix(path: &Path) -> Listen {
    Listen::new(ListenAt::Unix(path.to_owned()))
}

fn with_listeners(listen: impl IntoIterator<Item = Listen>) -> Config {
    Config {
        listen: listen.into_iter().collect(),
        ..config()
    }
}

/// Performs a handshake; returns the status, 0 if the connection was closed without an answer.
async fn handshake(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), fields: &str) -> u16 {
    let request = format!(
        "{fields}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let read = timeout(NEVER, stream.read_exact(&mut start)).await.unwrap();
    read.map_or(0, |_| {
        std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
    })
}

const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: localhost:1\r\n";

/// The error of a server that cannot start, with its cause.
async fn error(config: Config) -> String {
    let error = Server::start(config).await.unwrap_err();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_unix_socket_and_of_a_port_share_channels() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.sock");
    let mut both = with_listeners([([127, 0, 0, 1], 0).into(), unix(&path)]);
    both.workers = NonZeroUsize::new(2).unwrap();
    let hall = Hall::open(both).await;
    assert_eq!(hall.listening()[1].at, ListenAt::Unix(path.clone()));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let mut over_tcp = hall.caller().await;
    over_tcp.subscribe("chat", json!("now")).await;
    // Every worker accepts from the socket; of this many, some are accepted by each.
    for n in 0..20 {
        let stream = UnixStream::connect(&path).await.unwrap();
        let opened = hall.number().over(stream).open().await.unwrap();
        let mut caller = Caller::new(opened);
        caller.connect().await;
        caller.publish("chat", json!(n)).await;
        assert_eq!(over_tcp.hear_a("message").await["data"], n);
    }
    hall.close().await;
    assert!(
        !path.exists(),
        "the socket is removed when the server stops"
    );
}

#[tokio::test]
async fn the_permissions_of_a_unix_socket_are_those_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.sock");
    let listener = Listen {
        mode: Some(0o606),
        ..unix(&path)
    };
    let hall = Hall::open(with_listeners([listener])).await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o606, "{mode:o}");
    hall.close().await;
}

#[tokio::test]
async fn the_socket_of_a_process_that_was_killed_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.sock");
    // The file stays when the listener has gone, as after a crash.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let hall = Hall::open(with_listeners([unix(&path)])).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(handshake(&mut stream, REQUEST).await, 101);
    hall.close().await;
}

#[tokio::test]
async fn errors_about_a_unix_socket_name_it_and_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.sock");
    let hall = Hall::open(with_listeners([unix(&path)])).await;
    let text = error(with_listeners([unix(&path)])).await;
    assert!(
        text.contains("offhook.sock is in use by another program"),
        "{text}"
    );
    // The server that failed has not taken the socket away.
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(handshake(&mut stream, REQUEST).await, 101);
    hall.close().await;

    fs::write(&path, "precious").unwrap();
    let text = error(with_listeners([unix(&path)])).await;
    assert!(
        text.contains("there is a file that is not a socket; move it away"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    let nowhere = directory.path().join("missing/offhook.sock");
    let text = error(with_listeners([unix(&nowhere)])).await;
    assert!(text.contains("its directory does not exist"), "{text}");

    let long = directory.path().join("x".repeat(200));
    let text = error(with_listeners([unix(&long)])).await;
    assert!(text.contains("cannot be listened on"), "{text}");
}

#[tokio::test]
async fn whoever_connects_to_a_trusted_listener_reports_the_addresses_of_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (open, trusted) = (
        directory.path().join("open"),
        directory.path().join("trusted"),
    );
    let one_each = with_connections(|connections| connections.max_per_address = Some(1));
    let _hall = Hall::open(Config {
        listen: vec![
            unix(&open),
            Listen {
                trusted: true,
                ..unix(&trusted)
            },
        ],
        ..one_each
    })
    .await;
    let from = |address: &str| format!("{REQUEST}X-Forwarded-For: {address}\r\n");
    let mut held = Vec::new();
    for (path, address, expected) in [
        (&trusted, "203.0.113.7", 101),
        (&trusted, "203.0.113.8", 101),
        (&trusted, "203.0.113.7", 503),
        // All clients of the other socket count as one address.
        (&open, "203.0.113.9", 101),
        (&open, "203.0.113.10", 503),
    ] {
        let mut stream = UnixStream::connect(path).await.unwrap();
        let status = handshake(&mut stream, &from(address)).await;
        assert_eq!(status, expected, "{address} at {}", path.display());
        held.push(stream);
    }
}

#[tokio::test]
async fn the_proxy_protocol_is_expected_only_where_the_listener_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxied");
    let proxied = Listen {
        trusted: true,
        proxy_protocol: true,
        ..unix(&path)
    };
    let hall = Hall::open(with_listeners([([127, 0, 0, 1], 0).into(), proxied])).await;
    let header = "PROXY TCP4 203.0.113.7 10.0.0.1 4711 8000\r\n";
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(
        handshake(&mut stream, &format!("{header}{REQUEST}")).await,
        101
    );
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(handshake(&mut stream, REQUEST).await, 0);
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    assert_eq!(handshake(&mut stream, REQUEST).await, 101);
}

#[tokio::test]
async fn a_plain_listener_beside_one_with_tls_serves_plain_http() {
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: directory.path().join("cert.pem"),
        key: directory.path().join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.cert, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let port = || Listen::from(([127, 0, 0, 1], 0));
    let plain = Listen {
        tls: Some(false),
        ..port()
    };
    let mut both = with_listeners([port(), plain]);
    both.tls = Some(files);
    both.admin.listen = vec![Listen {
        tls: Some(true),
        ..port()
    }];
    let hall = Hall::open(both).await;
    let kinds: Vec<bool> = hall.listening().iter().map(|one| one.tls).collect();
    assert_eq!(kinds, [true, false, true]);
    let addresses: Vec<_> = hall
        .listening()
        .iter()
        .map(|one| one.address().unwrap())
        .collect();
    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    assert_eq!(handshake(&mut stream, REQUEST).await, 101);
    for secure in [addresses[0], addresses[2]] {
        let mut stream = TcpStream::connect(secure).await.unwrap();
        // The answer of TLS to plain HTTP is an alert, or nothing.
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _end = timeout(NEVER, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_systemd_are_used_by_their_names_and_shared_by_all_workers() {
    let mut sockets = Sockets::default();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    sockets.add("systemd:web", ListeningSocket::Tcp(web));
    let mut of_systemd = with_listeners([Listen::new(ListenAt::Systemd("web".to_owned()))]);
    of_systemd.workers = NonZeroUsize::new(2).unwrap();
    let hall = Hall::open_on(of_systemd, sockets).await;
    assert_eq!(hall.address(), address);
    let mut callers = Vec::new();
    for _ in 0..20 {
        callers.push(hall.caller().await);
    }
    let connections = hall.health().await.1["connections"].as_u64().unwrap();
    assert_eq!(connections, 20);
}

#[tokio::test]
async fn a_socket_that_systemd_does_not_pass_is_named_with_those_that_it_does() {
    let wanted = with_listeners([Listen::new(ListenAt::Systemd("web".to_owned()))]);
    let mut sockets = Sockets::default();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    sockets.add("systemd:other", ListeningSocket::Tcp(other));
    let error = Server::prepare(wanted.clone(), sockets).await.unwrap_err();
    assert!(
        matches!(error, StartError::NoSystemdSocket { .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("\"web\"; it passes other"), "{text}");
    let text = Server::start(wanted).await.unwrap_err().to_string();
    assert!(text.contains("start the socket unit"), "{text}");
}

#[tokio::test]
async fn a_listener_that_asks_for_certificates_needs_tls() {
    let listener = Listen {
        tls: Some(true),
        client_certs: Some(ClientCerts::Required),
        ..([127, 0, 0, 1], 0).into()
    };
    let error = Server::start(with_listeners([listener])).await.unwrap_err();
    assert!(
        matches!(error, StartError::NoCertificate { .. }),
        "{error:?}"
    );
}
