//! HTTP proxies: the requests they get, their possible answers, and a real proxy.

use offhook::{Error, ProxyError};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::program::Program;
use crate::scripted::{Reply, Server, field, read_head, to};

/// A proxy that always tunnels to the same address.
async fn tunnel_to(
    place: std::net::SocketAddr,
    answer: &'static str,
) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heads) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Some(head) = read_head(&mut client).await else {
                continue;
            };
            told.send(head).await.ok();
            client.write_all(answer.as_bytes()).await.ok();
            let mut server = TcpStream::connect(place).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (address, heads)
}

/// The error caused by a proxy with this answer.
async fn refused(proxy_user: &str, answer: impl AsRef<[u8]>) -> Error {
    let proxy = Server::with([Reply::say(answer).and_close()]).await;
    let url = format!("http://{proxy_user}{}", proxy.address);
    let connect = to("ws://example.com/").proxy(url);
    connect.open().await.unwrap_err()
}

fn why(error: &Error) -> &ProxyError {
    match error {
        Error::Proxy { source, .. } => source,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_tunnel_through_the_proxy_is_invisible_to_the_server() {
    let mut server = Server::with([Reply::open()]).await;
    let answer = "HTTP/1.0 200 Connection established\r\nVia: a\r\n\r\n";
    let (proxy, mut asked) = tunnel_to(server.address, answer).await;
    let connect = to("ws://example.com/chat").proxy(format!("http://ada:s%3Acret@{proxy}"));
    let _socket = connect.header("X-Key", "42").open().await.unwrap();
    let head = asked.recv().await.unwrap();
    let expected = "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n";
    assert!(head.starts_with(expected), "{head}");
    // base64 of ada:s:cret
    assert_eq!(
        field(&head, "Proxy-Authorization"),
        Some("Basic YWRhOnM6Y3JldA==")
    );
    assert_eq!(field(&head, "X-Key"), None);
    let head = server.request().await;
    assert_eq!(field(&head, "Proxy-Authorization"), None);
    assert_eq!(field(&head, "Host"), Some("example.com"));
}

#[tokio::test]
async fn an_ipv6_address_is_requested_in_brackets() {
    let server = Server::with([Reply::open()]).await;
    let (proxy, mut asked) = tunnel_to(server.address, "HTTP/1.1 299 Fine\r\n\r\n").await;
    to("ws://[2001:db8::1]:81/")
        .proxy(proxy)
        .open()
        .await
        .unwrap();
    let head = asked.recv().await.unwrap();
    assert!(
        head.starts_with("CONNECT [2001:db8::1]:81 HTTP/1.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_proxy_that_requires_a_password_gets_it_or_the_error_says_so() {
    let answer = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let error = refused("", answer).await;
    assert!(matches!(
        why(&error),
        ProxyError::HttpAuthentication { sent: false }
    ));
    assert!(error.to_string().contains("user:password@"), "{error}");
    let error = refused("ada:secret@", answer).await;
    assert!(matches!(
        why(&error),
        ProxyError::HttpAuthentication { sent: true }
    ));
    assert!(!error.is_retryable());
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_refusal_of_the_proxy_has_its_status() {
    let error = refused("", "HTTP/1.1 403 Forbidden\r\n\r\nno").await;
    assert!(matches!(why(&error), ProxyError::Status(403)), "{error:?}");
    assert!(!error.is_retryable());
    let error = refused("", "HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    assert!(error.is_retryable());
    assert!(error.to_string().contains("502"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_malformed() {
    let long = format!("HTTP/1.1 200 Yes\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    let many = format!("HTTP/1.1 200 Yes\r\n{}\r\n", "X: y\r\n".repeat(65));
    let answers: [&[u8]; 5] = [
        b"220 mail.example ESMTP\r\n",
        b"\x05\x00\x00\x01",
        long.as_bytes(),
        many.as_bytes(),
        // No data was sent through the tunnel yet.
        b"HTTP/1.1 200 Yes\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n",
    ];
    for answer in answers {
        let error = refused("", answer).await;
        assert!(matches!(why(&error), ProxyError::Malformed(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_by_the_proxy_is_lost() {
    for answer in ["", "HTTP/1.1 200 Conn", "HTTP/1.1 200 Yes\r\n"] {
        let error = refused("", answer).await;
        assert!(matches!(why(&error), ProxyError::Lost(_)), "{error:?}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn a_password_that_http_cannot_transfer_is_an_error_of_the_caller() {
    let error = refused("a%3Ab:c@", "").await;
    assert!(
        matches!(why(&error), ProxyError::NotRepresentable(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_error_for_a_missing_proxy_names_the_proxy() {
    let connect = to("ws://example.com/").proxy("http://127.0.0.1:1");
    let error = connect.open().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to 127.0.0.1:1");
}

#[tokio::test]
async fn tinyproxy_tunnels_with_and_without_a_password() {
    for password in [false, true] {
        let auth = if password {
            "BasicAuth ada s3cret\n"
        } else {
            ""
        };
        let Some(proxy) = Program::start("tinyproxy", "tinyproxy-bin", |port, folder| {
            let config = folder.join("tinyproxy.conf");
            let text = format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 10\n{auth}");
            std::fs::write(&config, text).unwrap();
            vec!["-d".into(), "-c".into(), config.into()]
        })
        .await
        else {
            return;
        };
        let server = Server::with([Reply::open_with("", b"\x81\x05Hello")]).await;
        let url = |user: &str| format!("http://{user}127.0.0.1:{}", proxy.port);
        let user = if password { "ada:s3cret@" } else { "" };
        let mut socket = server.connect().proxy(url(user)).open().await.unwrap();
        let message = socket.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("Hello"));
        if password {
            for wrong in ["", "ada:wrong@"] {
                let error = server.connect().proxy(url(wrong)).open().await.unwrap_err();
                // tinyproxy reports a wrong password with 401 instead of 407.
                let fits = match why(&error) {
                    ProxyError::HttpAuthentication { sent: false } => wrong.is_empty(),
                    ProxyError::Status(401) => !wrong.is_empty(),
                    _ => false,
                };
                assert!(fits, "{error:?}");
            }
        }
        // A port on which nothing listens.
        let nobody = to("ws://127.0.0.1:1/")
            .proxy(url(user))
            .open()
            .await
            .unwrap_err();
        assert!(
            matches!(why(&nobody), ProxyError::Status(500..)),
            "{nobody:?}"
        );
    }
}
