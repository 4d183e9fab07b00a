//! SOCKS5 proxies: the requests they get, their possible answers, and a real proxy.

use std::net::SocketAddr;

use offhook::{Error, ProxyError, SocksReply};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::program::Program;
use crate::scripted::{Reply, Server, to};

const BOUND_V4: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80];

/// One step of the script: read this many bytes, then send these.
type Turn = (usize, Vec<u8>);

/// A proxy that plays one script for each client in turn, and tunnels to the address at the end.
async fn scripted(
    scripts: Vec<Vec<Turn>>,
    place: Option<SocketAddr>,
) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = mpsc::channel(64);
    tokio::spawn(async move {
        for script in scripts {
            let (mut client, _) = listener.accept().await.unwrap();
            for (length, answer) in script {
                let mut bytes = vec![0; length];
                if client.read_exact(&mut bytes).await.is_err() {
                    break;
                }
                told.send(bytes).await.ok();
                client.write_all(&answer).await.ok();
            }
            let Some(place) = place else { continue };
            let mut server = TcpStream::connect(place).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (address, heard)
}

/// The error caused by a proxy with this script.
async fn refused(user: &str, script: Vec<Turn>) -> Error {
    let (proxy, _heard) = scripted(vec![script], None).await;
    let connect = to("ws://example.com/").proxy(format!("socks5h://{user}{proxy}"));
    connect.open().await.unwrap_err()
}

fn why(error: &Error) -> &ProxyError {
    match error {
        Error::Proxy { source, .. } => source,
        error => panic!("{error:?}"),
    }
}

/// CONNECT to example.com:80, by name.
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bexample.com\x00\x50";

#[tokio::test]
async fn socks5h_lets_the_proxy_resolve_the_name() {
    let server = Server::with([Reply::open()]).await;
    let script = vec![(3, vec![5, 0]), (REQUEST.len(), BOUND_V4.to_vec())];
    let (proxy, mut heard) = scripted(vec![script], Some(server.address)).await;
    let connect = to("ws://example.com/").proxy(format!("socks5h://{proxy}"));
    connect.open().await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), [5, 1, 0]);
    assert_eq!(heard.recv().await.unwrap(), REQUEST);
}

#[tokio::test]
async fn socks5_resolves_the_name_first() {
    let found = tokio::net::lookup_host(("localhost", 80)).await.unwrap();
    let first = found.into_iter().next().unwrap().ip();
    let (kind, length) = if first.is_ipv4() { (1, 10) } else { (4, 22) };
    let server = Server::with([Reply::open()]).await;
    let script = vec![(3, vec![5, 0]), (length, BOUND_V4.to_vec())];
    let (proxy, mut heard) = scripted(vec![script], Some(server.address)).await;
    let connect = to("ws://localhost/").proxy(format!("socks5://{proxy}"));
    connect.open().await.unwrap();
    heard.recv().await.unwrap();
    assert_eq!(heard.recv().await.unwrap()[..4], [5, 1, 0, kind]);
}

#[tokio::test]
async fn addresses_are_sent_to_the_proxy_as_addresses() {
    for (url, request) in [
        ("ws://10.0.0.1/", vec![5, 1, 0, 1, 10, 0, 0, 1, 0, 80]),
        (
            "ws://[2001:db8::1]:258/",
            vec![
                5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2,
            ],
        ),
    ] {
        for scheme in ["socks5", "socks5h"] {
            let server = Server::with([Reply::open()]).await;
            let script = vec![(3, vec![5, 0]), (request.len(), BOUND_V4.to_vec())];
            let (proxy, mut heard) = scripted(vec![script], Some(server.address)).await;
            to(url)
                .proxy(format!("{scheme}://{proxy}"))
                .open()
                .await
                .unwrap();
            heard.recv().await.unwrap();
            assert_eq!(heard.recv().await.unwrap(), request);
        }
    }
}

#[tokio::test]
async fn the_tunnel_starts_after_the_bound_address_of_any_kind() {
    let mut by_name = vec![5, 0, 0, 3, 255];
    by_name.extend([b'a'; 255 + 2]);
    let replies = [
        BOUND_V4.to_vec(),
        [&[5, 0, 0, 4][..], &[0; 18]].concat(),
        by_name,
        vec![5, 0, 0, 3, 0, 0, 0],
    ];
    for reply in replies {
        let server = Server::with([Reply::open_with("", b"\x81\x05Hello")]).await;
        let script = vec![(3, vec![5, 0]), (REQUEST.len(), reply)];
        let (proxy, _heard) = scripted(vec![script], Some(server.address)).await;
        let connect = to("ws://example.com/").proxy(format!("socks5h://{proxy}"));
        let mut socket = connect.open().await.unwrap();
        let message = socket.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("Hello"));
    }
}

#[tokio::test]
async fn user_name_and_password_are_sent_to_a_proxy_that_requires_them() {
    let server = Server::with([Reply::open()]).await;
    let script = vec![
        (4, vec![5, 2]),
        // RFC 1929: its version, then both with their lengths.
        (12, vec![1, 0]),
        (REQUEST.len(), BOUND_V4.to_vec()),
    ];
    let (proxy, mut heard) = scripted(vec![script], Some(server.address)).await;
    let connect = to("ws://example.com/").proxy(format!("socks5h://ada:s%3Acret@{proxy}"));
    connect.open().await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), [5, 2, 0, 2]);
    assert_eq!(heard.recv().await.unwrap(), b"\x01\x03ada\x06s:cret");
}

#[tokio::test]
async fn the_error_for_refused_authentication_says_whether_a_password_is_required() {
    let error = refused("", vec![(3, vec![5, 0xff])]).await;
    assert!(matches!(
        why(&error),
        ProxyError::SocksAuthentication { sent: false }
    ));
    assert!(error.to_string().contains("user:password@"), "{error}");
    for script in [
        vec![(4, vec![5, 0xff])],
        vec![(4, vec![5, 2]), (12, vec![1, 1])],
    ] {
        let error = refused("ada:secret@", script).await;
        assert!(matches!(
            why(&error),
            ProxyError::SocksAuthentication { sent: true }
        ));
        assert!(!error.is_retryable());
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    // A method that was not offered.
    let error = refused("", vec![(3, vec![5, 2])]).await;
    assert!(matches!(
        why(&error),
        ProxyError::SocksAuthentication { sent: false }
    ));
}

#[tokio::test]
async fn every_failure_of_the_proxy_has_its_own_text() {
    let mut words = Vec::new();
    for code in 1..=9 {
        // Only two bytes: some proxies send no more.
        let script = vec![(3, vec![5, 0]), (REQUEST.len(), vec![5, code])];
        let error = refused("", script).await;
        assert!(matches!(why(&error), ProxyError::Socks(SocksReply(told)) if *told == code));
        assert_eq!(error.is_retryable(), matches!(code, 1 | 3..=6), "{code}");
        words.push(error.to_string().split(": ").last().unwrap().to_owned());
    }
    words.sort();
    words.dedup();
    assert_eq!(words.len(), 9);
}

#[tokio::test]
async fn an_answer_that_is_not_socks5_is_malformed() {
    for script in [
        vec![(3, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
        vec![(3, vec![4, 0])],
        vec![(3, vec![5, 0]), (REQUEST.len(), vec![4, 0, 0, 1])],
        vec![(3, vec![5, 0]), (REQUEST.len(), vec![5, 0, 0, 2, 0, 0])],
    ] {
        let error = refused("", script).await;
        assert!(matches!(why(&error), ProxyError::Malformed(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_by_the_proxy_is_lost() {
    for script in [
        vec![(3, vec![])],
        vec![(3, vec![5])],
        vec![(3, vec![5, 0]), (REQUEST.len(), vec![])],
        vec![(3, vec![5, 0]), (REQUEST.len(), vec![5, 0, 0])],
        vec![(3, vec![5, 0]), (REQUEST.len(), vec![5, 0, 0, 3, 9, b'a'])],
    ] {
        let error = refused("", script).await;
        assert!(matches!(why(&error), ProxyError::Lost(_)), "{error:?}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn names_and_passwords_above_255_bytes_are_errors_of_the_caller() {
    let long = "a".repeat(256);
    for user in [format!("{long}:b@"), format!("b:{long}@")] {
        let error = refused(&user, vec![(4, vec![5, 2])]).await;
        assert!(
            matches!(why(&error), ProxyError::NotRepresentable(_)),
            "{error:?}"
        );
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn microsocks_tunnels_with_and_without_a_password() {
    for user in ["", "ada:s3cret@"] {
        let Some(proxy) = Program::start("microsocks", "microsocks", |port, _| {
            let mut arguments = vec!["-i", "127.0.0.1", "-p"];
            let port = port.to_string();
            arguments.push(&port);
            if !user.is_empty() {
                arguments.extend(["-u", "ada", "-P", "s3cret"]);
            }
            arguments.into_iter().map(Into::into).collect()
        })
        .await
        else {
            return;
        };
        let server = Server::with([(); 2].map(|()| Reply::open_with("", b"\x81\x05Hello"))).await;
        for scheme in ["socks5", "socks5h"] {
            let url = format!("{scheme}://{user}127.0.0.1:{}", proxy.port);
            // By name, to be resolved by the proxy or by us.
            let place = format!("ws://localhost:{}/", server.port());
            let mut socket = to(place).proxy(url).open().await.unwrap();
            let message = socket.recv().await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some("Hello"));
        }
        let url = |user| format!("socks5h://{user}127.0.0.1:{}", proxy.port);
        let nobody = to("ws://127.0.0.1:1/")
            .proxy(url(user))
            .open()
            .await
            .unwrap_err();
        assert!(
            matches!(why(&nobody), ProxyError::Socks(SocksReply(5))),
            "{nobody:?}"
        );
        if !user.is_empty() {
            for wrong in ["", "ada:wrong@"] {
                let error = server.connect().proxy(url(wrong)).open().await.unwrap_err();
                let sent = !wrong.is_empty();
                let told = why(&error);
                let fits =
                    matches!(told, ProxyError::SocksAuthentication { sent: s } if *s == sent);
                assert!(fits, "{error:?}");
            }
        }
    }
}
