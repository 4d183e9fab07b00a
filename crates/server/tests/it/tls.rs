//! TLS from two files.

use std::{fs, path::Path, time::Duration};

use offhook::{Connect, Tls};
use offhook_server::{Config, Server, StartError, config::TlsFiles};
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config},
};

fn with_files(directory: &Path, cert: &str, key: &str) -> Config {
    let files = TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    Config {
        tls: Some(files),
        ..config()
    }
}

#[tokio::test]
async fn over_tls_connections_are_served_and_https_pages_have_the_same_origin() {
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let hall = Hall::open(with_files(directory.path(), &cert, &key)).await;
    let port = hall.address().port();
    let tls = Tls::builder().pinned_pem(&cert).unwrap().build().unwrap();
    let connect = Connect::to(format!("wss://localhost:{port}/ws"))
        .subprotocol("offhook.v1.json")
        .origin(format!("https://localhost:{port}"))
        .no_proxy()
        .tls(tls);
    let mut caller = Caller::new(connect.open().await.unwrap());
    caller.connect().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;

    // A client that uses plain HTTP gets no answer in plain HTTP.
    let plain = hall.number().open().await;
    assert!(plain.is_err());
}

/// TLS costs more than everything after it, so such a connection gets no answer.
#[tokio::test]
async fn handshakes_above_the_rate_are_closed_before_tls() {
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let mut config = with_files(directory.path(), &cert, &key);
    config.connections.handshakes_per_second = 1;
    config.connections.handshake_burst = 2;
    // Meanwhile, no connection is closed because it is silent.
    config.connections.handshake_timeout = Duration::from_secs(600);
    let hall = Hall::open(config).await;
    let mut silent = JoinSet::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(hall.address()).await.unwrap();
        silent.spawn(async move { stream.read(&mut [0]).await });
    }
    let first = timeout(NEVER, silent.join_next()).await.unwrap();
    // The server sent nothing and closed the connection.
    assert!(!matches!(first, Some(Ok(Ok(1..)))), "{first:?}");
}

/// Each connection has two descriptors in this process.
const CONNECTIONS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_closing_one_of_a_thousand_connections() {
    let directory = tempfile::tempdir().unwrap();
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (old, new) = (made(), made());
    let mut many = with_files(
        directory.path(),
        &old.cert.pem(),
        &old.signing_key.serialize_pem(),
    );
    many.connections.handshakes_per_second = 1_000_000;
    many.connections.handshake_burst = 1_000_000;
    let hall = Hall::open(many).await;
    let with = |cert: &rcgen::Certificate| {
        let tls = Tls::builder()
            .pinned_pem(cert.pem())
            .unwrap()
            .build()
            .unwrap();
        let port = hall.address().port();
        Connect::to(format!("wss://localhost:{port}/ws"))
            .subprotocol("offhook.v1.json")
            .no_proxy()
            .tls(tls)
    };
    let mut opening = JoinSet::new();
    let connect = with(&old.cert);
    for _ in 0..CONNECTIONS {
        let connect = connect.clone();
        opening.spawn(async move {
            let mut caller = Caller::new(connect.open().await.unwrap());
            caller.connect().await;
            caller
        });
    }
    let mut callers = opening.join_all().await;
    let files = [
        ("cert.pem", new.cert.pem()),
        ("key.pem", new.signing_key.serialize_pem()),
    ];
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    // The files are read again within a second.
    let connect = with(&new.cert);
    let mut newest = loop {
        if let Ok(socket) = connect.clone().open().await {
            break Caller::new(socket);
        }
    };
    newest.connect().await;
    assert!(
        with(&old.cert).open().await.is_err(),
        "the old certificate is not used any more"
    );
    for caller in &mut callers {
        assert_eq!(caller.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    assert_eq!(callers.len(), CONNECTIONS);
}

#[tokio::test]
async fn the_error_for_invalid_certificate_files_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let broken = with_files(directory.path(), "no certificate", "no key");
    let error = Server::start(broken).await.unwrap_err();
    assert!(matches!(error, StartError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("key.pem") || error.to_string().contains("cert.pem"));
    let missing = Config {
        tls: Some(TlsFiles {
            cert: directory.path().join("nowhere.pem"),
            key: directory.path().join("key.pem"),
            ..TlsFiles::default()
        }),
        ..config()
    };
    let error = Server::start(missing).await.unwrap_err();
    assert!(error.to_string().contains("nowhere.pem"), "{error}");
}
