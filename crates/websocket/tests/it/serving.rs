//! The server: limits, deadlines, origins, and how it stops.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{
    Acceptor, Config, Connect, Connections, Error, HandlerResult, Limits, OriginPolicy, Pair,
    Refusal, Scheme, Server, Settings, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Running {
    address: SocketAddr,
    connections: Connections,
    serving: JoinHandle<std::io::Result<()>>,
}

/// An echo that panics, or never ends, on command.
async fn echo(mut socket: WebSocket) -> HandlerResult {
    while let Some(message) = socket.recv().await? {
        match message.as_text() {
            Some("panic") => panic!("as was asked for"),
            Some("hang") => std::future::pending().await,
            _ => socket.send(message).await?,
        }
    }
    Ok(())
}

async fn running(set: impl FnOnce(Server) -> Server) -> Running {
    let server = set(Server::bind("127.0.0.1:0").await.unwrap());
    Running {
        address: server.local_addr().unwrap(),
        connections: server.connections(),
        serving: tokio::spawn(server.serve(echo)),
    }
}

impl Running {
    async fn connect(&self) -> Result<WebSocket, Error> {
        let url = format!("ws://{}/", self.address);
        Connect::to(url).no_proxy().open().await
    }
}

async fn echoes(socket: &mut WebSocket) {
    socket.send("hello").await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some("hello".into()));
}

#[tokio::test]
async fn a_connection_above_the_limit_is_refused_and_can_be_retried() {
    let server = running(|server| server.max_connections(2)).await;
    let mut first = server.connect().await.unwrap();
    let mut second = server.connect().await.unwrap();
    let over = server.connect().await.unwrap_err();
    assert!(over.is_retryable(), "{over:?}");
    echoes(&mut first).await;
    echoes(&mut second).await;

    first.close(CloseCode::NORMAL, "").await.unwrap();
    // The place is free when the handler has ended, which the test cannot observe.
    let mut third = loop {
        if let Ok(third) = server.connect().await {
            break third;
        }
    };
    echoes(&mut third).await;
}

#[tokio::test]
async fn a_shutdown_closes_every_connection_with_its_code_before_serve_returns() {
    let server = running(|server| server).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await.unwrap();
        echoes(&mut client).await;
        clients.push(tokio::spawn(async move {
            assert_eq!(client.recv().await.unwrap(), None);
            client.closed().unwrap()
        }));
    }
    let code = CloseCode::SERVICE_RESTART;
    server
        .connections
        .shutdown(code, Duration::from_secs(60))
        .await;
    for client in clients {
        let closed = client.await.unwrap();
        assert_eq!(closed.code, code);
        assert!(closed.clean);
    }
    server.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn connections_that_do_not_close_by_the_deadline_are_cut_off() {
    let server = running(|server| server).await;
    // One does not answer the Close, one never completed a handshake, and one's handler hangs.
    let mut deaf = server.connect().await.unwrap();
    echoes(&mut deaf).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let hanging = server.connect().await.unwrap();
    hanging.send("hang").await.unwrap();
    let mut last = server.connect().await.unwrap();
    echoes(&mut last).await;

    let deadline = Duration::from_millis(50);
    server
        .connections
        .shutdown(CloseCode::GOING_AWAY, deadline)
        .await;
    server.serving.await.unwrap().unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(deaf.recv().await.unwrap(), None);
    assert_eq!(deaf.closed().unwrap().code, CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn a_shutdown_without_connections_returns_immediately() {
    let server = running(|server| server).await;
    let hour = Duration::from_secs(3_600);
    let shutdown = server.connections.shutdown(CloseCode::GOING_AWAY, hour);
    let shutdown = poll_once(shutdown).await;
    assert!(shutdown.is_ready(), "it waits for something");
    server.serving.await.unwrap().unwrap();
}

async fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_own_connection_only() {
    let server = running(|server| server).await;
    let mut bystander = server.connect().await.unwrap();
    let mut client = server.connect().await.unwrap();
    client.send("panic").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.closed().unwrap().code, CloseCode::INTERNAL_ERROR);
    echoes(&mut bystander).await;
    echoes(&mut server.connect().await.unwrap()).await;
}

#[tokio::test]
async fn a_panic_within_each_ends_the_connection_and_frees_its_senders() {
    let (client, mut server) = offhook::pair();
    let sender = server.sender();
    let serving = tokio::spawn(async move { server.each(|_, _| panic!("as was asked for")).await });
    client.send("boom").await.unwrap();
    assert!(serving.await.unwrap_err().is_panic());
    assert!(matches!(sender.send("late").await, Err(Error::Closed(_))));
}

const HEAD: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_received_byte_by_byte_must_be_complete_by_the_deadline() {
    let (mut client, server, _link) = Pair::new().link();
    let begun = Instant::now();
    tokio::spawn(async move {
        for byte in HEAD.bytes() {
            client.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, std::io::Error>(())
    });
    let transport = offhook::Transport::boxed(server);
    let ended = Acceptor::default().accept(transport).await;
    assert!(matches!(ended, Err(Error::Timeout { .. })), "{ended:?}");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// The status that a page of this origin gets.
async fn status_for(acceptor: Acceptor, origin: &str) -> String {
    let (mut client, server, _link) = Pair::new().link();
    let transport = offhook::Transport::boxed(server);
    let accepting = tokio::spawn(async move { acceptor.accept(transport).await });
    let origin = if origin.is_empty() {
        String::new()
    } else {
        format!("Origin: {origin}\r\n")
    };
    let request = format!("{HEAD}{origin}\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    let status = String::from_utf8_lossy(&status[9..]).into_owned();
    assert_eq!(accepting.await.unwrap().is_ok(), status == "101");
    status
}

#[tokio::test]
async fn a_page_of_another_origin_gets_403_unless_it_is_allowed() {
    let ours = Acceptor::default;
    assert_eq!(status_for(ours(), "").await, "101");
    assert_eq!(status_for(ours(), "http://example.com").await, "101");
    assert_eq!(status_for(ours(), "http://evil.example").await, "403");
    assert_eq!(status_for(ours(), "null").await, "403");
    let open = Acceptor::default().origin(OriginPolicy::Any);
    assert_eq!(status_for(open, "http://evil.example").await, "101");
}

/// What a handler sent and did not flush arrives, however long it is, and the end is in order.
#[tokio::test]
async fn when_a_handler_returns_everything_sent_is_delivered_and_the_connection_closed() {
    let long = vec![7; 8 << 20];
    let serve = |handled: fn() -> HandlerResult| async move {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", server.local_addr().unwrap());
        tokio::spawn(server.serve(move |socket| async move {
            socket.send(vec![7; 8 << 20]).await?;
            socket.send("last").await?;
            handled()
        }));
        let limits = Limits {
            message_size: 16 << 20,
            ..Limits::default()
        };
        let connect = Connect::to(url).no_proxy().limits(limits);
        connect.open().await.unwrap()
    };
    let cases: [(fn() -> HandlerResult, CloseCode); 2] = [
        (|| Ok(()), CloseCode::NORMAL),
        (|| Err("as was asked for".into()), CloseCode::INTERNAL_ERROR),
    ];
    for (handled, code) in cases {
        let mut client = serve(handled).await;
        let message = client.recv().await.unwrap().unwrap();
        assert!(message.as_bytes() == long);
        assert_eq!(client.recv().await.unwrap(), Some("last".into()));
        assert_eq!(client.recv().await.unwrap(), None);
        let closed = client.closed().unwrap();
        assert_eq!((closed.code, closed.clean), (code, true));
    }
}

/// A peer that does not read what a handler sent is waited for until the close timeout at most.
#[tokio::test]
async fn a_peer_that_does_not_read_is_abandoned_after_the_handler_returned() {
    let settings = Settings::default().config(Config {
        close_timeout: Duration::from_millis(100),
        ..Config::default()
    });
    let server = Server::bind("127.0.0.1:0")
        .await
        .unwrap()
        .settings(settings);
    let (address, connections) = (server.local_addr().unwrap(), server.connections());
    let (told, mut returned) = tokio::sync::mpsc::channel(1);
    tokio::spawn(server.serve(move |socket| {
        let told = told.clone();
        async move {
            socket.put(vec![7; 64 << 20])?;
            told.send(()).await?;
            Ok(())
        }
    }));
    let connect = Connect::to(format!("ws://{address}/")).no_proxy();
    let _client = connect.open().await.unwrap();
    returned.recv().await.unwrap();
    // It ends by itself: otherwise this would wait an hour before cutting anything off.
    let deadline = Duration::from_secs(3_600);
    connections.shutdown(CloseCode::GOING_AWAY, deadline).await;
}

#[tokio::test]
async fn a_socket_moved_out_of_a_handler_stays_open() {
    let (give, mut given) = tokio::sync::mpsc::channel(1);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", server.local_addr().unwrap());
    tokio::spawn(server.serve(move |socket| {
        let give = give.clone();
        async move {
            give.send(socket).await?;
            Ok(())
        }
    }));
    let mut client = Connect::to(url).no_proxy().open().await.unwrap();
    let mut server = given.recv().await.unwrap();
    for _ in 0..3 {
        client.send("ping").await.unwrap();
        assert_eq!(server.recv().await.unwrap(), Some("ping".into()));
        server.send("pong").await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some("pong".into()));
    }
    drop(server);
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.closed().unwrap().code, CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn a_handler_gets_the_request_and_accepts_or_refuses_it() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/room?id=7", server.local_addr().unwrap());
    tokio::spawn(server.serve_requests(|incoming| async move {
        assert!(incoming.peer_addr().is_some());
        assert_eq!(incoming.request().path(), "/room");
        assert_eq!(incoming.request().query(), Some("id=7"));
        let Some(user) = incoming.request().cookie("user").map(str::to_owned) else {
            let refusal = Refusal::new(401)?.body("who are you?");
            incoming.reject(refusal).await?;
            return Ok(());
        };
        let accepted = incoming.header("Set-Cookie", "seen=1")?.accept();
        let socket = accepted.await?;
        socket.send(user).await?;
        Ok(())
    }));
    let refused = Connect::to(&url).no_proxy().open().await.unwrap_err();
    match refused {
        Error::Refused(refused) => {
            assert_eq!(refused.status(), 401);
            assert!(refused.body().starts_with(b"who are you?"));
        }
        other => panic!("{other:?}"),
    }
    let connect = Connect::to(&url)
        .no_proxy()
        .header("Cookie", "a=b; user=ada");
    let mut client = connect.open().await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("ada".into()));
    assert_eq!(client.recv().await.unwrap(), None);
}

#[tokio::test]
async fn connections_of_an_address_are_limited() {
    let server = running(|server| server.max_connections_per_address(1)).await;
    let mut first = server.connect().await.unwrap();
    echoes(&mut first).await;
    assert!(server.connect().await.unwrap_err().is_retryable());
    first.close(CloseCode::NORMAL, "").await.unwrap();
    while server.connect().await.is_err() {}
}

#[tokio::test]
async fn a_server_reports_failed_upgrades_and_errors_of_handlers() {
    let (told, mut failures) = tokio::sync::mpsc::channel(8);
    let also = told.clone();
    let server = Server::bind("127.0.0.1:0")
        .await
        .unwrap()
        .on_failed_upgrade(move |peer, error| {
            told.try_send(format!("{} {error}", peer.is_some()))
                .unwrap();
        })
        .on_error(move |peer, error| {
            also.try_send(format!("{} {error}", peer.is_some()))
                .unwrap();
        });
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(|_| async { Err("no room".into()) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let said = failures.recv().await.unwrap();
    let said = said.to_lowercase();
    assert!(said.starts_with("true ") && said.contains("host"), "{said}");
    let _client = Connect::to(format!("ws://{address}/"))
        .no_proxy()
        .open()
        .await
        .unwrap();
    assert_eq!(failures.recv().await.unwrap(), "true no room");
}

/// The last entry is the proxy's own; what comes before it may be the client's.
#[tokio::test]
async fn only_a_trusted_proxy_determines_the_scheme_of_a_page() {
    for (proxies, field, value, origin, accepted) in [
        ("127.0.0.1", "X-Forwarded-Proto", "https", "https", true),
        ("127.0.0.1", "X-Forwarded-Proto", "https", "http", false),
        (
            "127.0.0.1",
            "X-Forwarded-Proto",
            "http, HTTPS",
            "https",
            true,
        ),
        (
            "127.0.0.1",
            "X-Forwarded-Proto",
            "https, http",
            "https",
            false,
        ),
        (
            "127.0.0.0/8",
            "Forwarded",
            "for=1.2.3.4;Proto=https",
            "https",
            true,
        ),
        (
            "127.0.0.0/8",
            "Forwarded",
            "proto=\"https\"; for=\"[::1]\"",
            "https",
            true,
        ),
        (
            "127.0.0.1",
            "Forwarded",
            "proto=https, for=_x;proto=http",
            "https",
            false,
        ),
        (
            "127.0.0.1",
            "Forwarded",
            "for=\"x, proto=https",
            "http",
            false,
        ),
        ("127.0.0.1", "Forwarded", "for=1.2.3.4", "http", true),
        ("127.0.0.1", "X-Forwarded-Proto", "gopher", "http", true),
        ("127.0.0.2", "X-Forwarded-Proto", "https", "https", false),
        ("unix", "X-Forwarded-Proto", "https", "https", false),
    ] {
        // The names have the same effect in whatever order the acceptor is configured.
        let acceptor = Acceptor::default().trust_proxies([proxies]).unwrap();
        let acceptor = acceptor.subprotocols(["chat"]).unwrap();
        let server = running(|server| server.acceptor(acceptor)).await;
        let connect = Connect::to(format!("ws://{}/", server.address))
            .no_proxy()
            .header(field, value)
            .origin(format!("{origin}://{}", server.address));
        let opened = connect.open().await.is_ok();
        assert_eq!(opened, accepted, "{proxies} {field}: {value} {origin}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn connections_over_a_unix_socket_can_be_trusted_as_a_proxy() {
    for (proxies, accepted) in [("unix", true), ("127.0.0.1", false)] {
        let acceptor = Acceptor::default().trust_proxies([proxies]).unwrap();
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let accepting = tokio::spawn(async move { acceptor.accept(far).await.is_ok() });
        let connect = Connect::to("ws://a.example/")
            .header("X-Forwarded-Proto", "https")
            .origin("https://a.example");
        let opened = connect.over(near).open().await;
        assert_eq!(opened.is_ok(), accepted);
        assert_eq!(accepting.await.unwrap(), accepted);
    }
}

/// Behind a proxy that ends TLS, a page of one's own has the scheme https.
#[tokio::test]
async fn a_page_behind_a_tls_proxy_has_the_same_origin_if_the_scheme_is_set() {
    for (scheme, origin, accepted) in [
        (Scheme::Https, "https", true),
        (Scheme::Https, "http", false),
        (Scheme::Http, "http", true),
        (Scheme::Http, "https", false),
    ] {
        let acceptor = Acceptor::default().scheme(scheme);
        let server = running(|server| server.acceptor(acceptor)).await;
        let url = format!("ws://{}/", server.address);
        let connect = Connect::to(url)
            .no_proxy()
            .origin(format!("{origin}://{}", server.address));
        assert_eq!(
            connect.open().await.is_ok(),
            accepted,
            "{scheme:?} {origin}"
        );
    }
}
