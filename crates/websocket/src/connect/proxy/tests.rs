use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Kind, Proxy, ProxyError, SocksReply};
use crate::connect::deadline::Deadline;
use crate::connect::{address::Dialer, tls::Trust};
use crate::error::Error;
use crate::transport::Transport;

fn proxy(text: &str) -> Proxy {
    Proxy::parse(text).unwrap()
}

#[test]
fn a_proxy_is_a_url_or_host_and_port() {
    for (text, kind, port) in [
        ("http://p:3128", Kind::Http, 3128),
        ("http://p/", Kind::Http, 80),
        ("p:3128", Kind::Http, 3128),
        ("ada:secret@p:3128", Kind::Http, 3128),
        ("HTTPS://p", Kind::Https, 443),
        ("socks5://p", Kind::Socks5 { names_there: false }, 1080),
        ("socks5h://p:9050", Kind::Socks5 { names_there: true }, 9050),
    ] {
        let proxy = proxy(text);
        assert_eq!((proxy.kind, proxy.port), (kind, port), "{text}");
        assert_eq!(proxy.host.to_string(), "p", "{text}");
    }
    let credentials = proxy("socks5://a%40b:c%3A@p").credentials.unwrap();
    assert_eq!((&*credentials.user, &*credentials.password), ("a@b", "c:"));
}

#[test]
fn an_invalid_proxy_is_refused_without_showing_the_password() {
    for (text, hint) in [
        ("socks4://ada:secret@p", "socks5h"),
        ("http://ada:secret@p/path", "must not have a path"),
        ("http://ada:secret@", "host is missing"),
        ("ada:secret@p:x", "number"),
    ] {
        let error = Proxy::parse(text).unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
        assert!(matches!(error, Error::Proxy { .. }));
        assert!(!error.is_retryable());
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }
    assert!(!format!("{:?}", proxy("http://ada:secret@p")).contains("secret"));
}

/// Asks a SOCKS5 proxy that gives these replies for 10.0.0.1, 10.0.0.2 and so on. Returns the
/// result, and the last byte of each address requested.
async fn asked(replies: &'static [u8]) -> (Result<Transport, Error>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(&format!("socks5://{}", listener.local_addr().unwrap()));
    let (told, mut wanted) = mpsc::channel(8);
    tokio::spawn(async move {
        for reply in replies {
            let (mut client, _) = listener.accept().await.unwrap();
            client.read_exact(&mut [0; 3]).await.unwrap();
            client.write_all(&[5, 0]).await.unwrap();
            let mut request = [0; 10];
            client.read_exact(&mut request).await.unwrap();
            told.send(request[7]).await.unwrap();
            let reply = [5, *reply, 0, 1, 0, 0, 0, 0, 0, 0];
            client.write_all(&reply).await.unwrap();
        }
    });
    let addresses = [1, 2, 3].map(|last| SocketAddr::from(([10, 0, 0, last], 80)));
    let (dialer, trust) = (Dialer::default(), Trust::default());
    let deadline = Deadline::after(Duration::from_secs(3600));
    let tunnel = proxy.tunnel_to_first("example.com:80", &addresses, &dialer, &trust, deadline);
    let ended = tunnel.await;
    let mut all = Vec::new();
    while let Ok(last) = wanted.try_recv() {
        all.push(last);
    }
    (ended, all)
}

fn reply(ended: Result<Transport, Error>) -> SocksReply {
    match ended {
        Err(Error::Proxy {
            source: ProxyError::Socks(reply),
            ..
        }) => reply,
        ended => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn if_the_proxy_cannot_reach_an_address_the_next_is_tried() {
    let (ended, wanted) = asked(&[4, 0]).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(wanted, [1, 2]);
}

#[tokio::test]
async fn if_the_proxy_can_reach_no_address_the_last_reply_is_the_error() {
    let (ended, wanted) = asked(&[8, 3, 5]).await;
    assert_eq!(reply(ended), SocksReply(5));
    assert_eq!(wanted, [1, 2, 3]);
}

#[tokio::test]
async fn a_connection_forbidden_by_the_proxy_is_not_tried_with_other_addresses() {
    let (ended, wanted) = asked(&[2]).await;
    assert_eq!(reply(ended), SocksReply(2));
    assert_eq!(wanted, [1]);
}
