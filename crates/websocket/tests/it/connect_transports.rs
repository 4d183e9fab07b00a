//! Reaching a server other than by name: addresses, IPv6, a local address, Unix sockets, streams.

use std::error::Error as _;
use std::net::{Ipv4Addr, SocketAddr};

use offhook::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::scripted::{Reply, Server, converse, field, to};

#[tokio::test]
async fn the_first_address_that_answers_is_taken() {
    let mut server = Server::with([Reply::open()]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let connect = to("ws://example.com/").addresses([closed, server.address]);
    let socket = connect.open().await.unwrap();
    assert_eq!(socket.peer_addr(), Some(server.address));
    let head = server.request().await;
    assert_eq!(field(&head, "Host"), Some("example.com"));
}

#[tokio::test]
async fn when_no_address_answers_the_error_lists_each_of_them() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = nobody.local_addr().unwrap();
    let second = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), first.port());
    drop(nobody);
    let connect = to("ws://example.com/").addresses([first, second]);
    let error = connect.open().await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "cannot connect to example.com:80");
    let source = error.source().unwrap().to_string();
    for address in [first, second] {
        assert!(
            source.contains(&format!("{address}: Connection refused")),
            "{source}"
        );
    }
}

#[tokio::test]
async fn a_name_is_looked_up_and_all_its_addresses_are_tried() {
    // Whatever address localhost resolves to first, the server is only here.
    let mut server = Server::with([Reply::open()]).await;
    let url = format!("ws://LocalHost:{}/", server.port());
    to(url).open().await.unwrap();
    let head = server.request().await;
    let host = format!("localhost:{}", server.port());
    assert_eq!(field(&head, "Host"), Some(host.as_str()));
}

#[tokio::test]
async fn an_ipv6_address_is_written_in_brackets() {
    let Ok(mut server) = Server::at("[::1]:0", [Reply::open()]).await else {
        println!("not run: this machine has no IPv6 loopback");
        return;
    };
    let socket = server.connect().open().await.unwrap();
    assert_eq!(socket.peer_addr(), Some(server.address));
    let head = server.request().await;
    let host = format!("[::1]:{}", server.port());
    assert_eq!(field(&head, "Host"), Some(host.as_str()));
}

#[tokio::test]
async fn the_connection_comes_from_the_address_bound_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = to(format!("ws://{}/", listener.local_addr().unwrap()));
    let local = Ipv4Addr::new(127, 0, 0, 2);
    let opening = tokio::spawn(async move { connect.bind(local).open().await });
    let (_stream, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip(), local);
    opening.abort();
}

#[tokio::test]
async fn a_connected_stream_can_be_given() {
    let (ours, theirs) = tokio::io::duplex(1024);
    let (told, mut heads) = mpsc::channel(1);
    tokio::spawn(async move { converse(theirs, Reply::open(), &told).await });
    let connect = to("ws://example.com/chat").header("X-Key", "42");
    connect.over(ours).open().await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(
        head.starts_with("GET /chat HTTP/1.1\r\nHost: example.com\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "X-Key"), Some("42"));
}

#[tokio::test]
async fn over_a_given_stream_a_redirect_is_a_refusal() {
    let (ours, theirs) = tokio::io::duplex(1024);
    let (told, _heads) = mpsc::channel(1);
    let redirect = Reply::redirect(302, "/there");
    tokio::spawn(async move { converse(theirs, redirect, &told).await });
    let error = to("ws://example.com/").over(ours).open().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[cfg(unix)]
mod unix {
    use std::path::PathBuf;

    use offhook::Error;
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use crate::scripted::{Reply, converse, field, to};

    /// A path for one test, removed at its end.
    struct Path(PathBuf);

    impl Path {
        fn new(name: &str) -> Self {
            let name = format!("offhook-{}-{name}.sock", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn serve(path: &Path, replies: Vec<Reply>) -> mpsc::Receiver<String> {
        let listener = UnixListener::bind(&path.0).unwrap();
        let (told, heads) = mpsc::channel(8);
        tokio::spawn(async move {
            for reply in replies {
                let (stream, _) = listener.accept().await.unwrap();
                converse(stream, reply, &told).await;
            }
        });
        heads
    }

    #[tokio::test]
    async fn a_unix_socket_gets_the_request_of_the_url_and_redirects_stay_on_it() {
        let path = Path::new("open");
        let mut heads = serve(&path, vec![Reply::redirect(302, "/there"), Reply::open()]);
        let connect = to("ws://example.com/chat").unix(&path.0);
        connect.open().await.unwrap();
        let first = heads.recv().await.unwrap();
        assert!(first.starts_with("GET /chat "), "{first}");
        assert_eq!(field(&first, "Host"), Some("example.com"));
        let second = heads.recv().await.unwrap();
        assert!(second.starts_with("GET /there "), "{second}");
    }

    #[tokio::test]
    async fn a_redirect_away_from_a_unix_socket_is_not_followed() {
        let path = Path::new("away");
        let _heads = serve(&path, vec![Reply::redirect(302, "ws://127.0.0.1:1/")]);
        let error = to("ws://example.com/").unix(&path.0).open().await;
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_error_for_a_missing_unix_socket_names_it() {
        let path = Path::new("missing");
        let error = to("ws://example.com/").unix(&path.0).open().await;
        let expected = format!("cannot connect to {}", path.0.display());
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
