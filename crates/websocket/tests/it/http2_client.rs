//! The client's end of HTTP/2, against servers built directly on h2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use offhook::protocol::CloseCode;
use offhook::{Acceptor, Error, Http2, OriginPolicy, Phase, Refusal, Transport};
use tokio::net::TcpListener;

use crate::http2_peer::{Echo, assert_echoes, prior_knowledge};
use crate::scripted::to;

/// A server that passes each request to `answer`.
async fn raw_server<A>(connect_protocol: bool, mut answer: A) -> SocketAddr
where
    A: FnMut(Request<RecvStream>, SendResponse<Bytes>) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        if connect_protocol {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake(stream).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            answer(request, respond);
        }
    });
    address
}

#[tokio::test]
async fn the_request_is_an_extended_connect() {
    let (told, mut heads) = tokio::sync::mpsc::channel(1);
    let address = raw_server(true, move |request, mut respond| {
        let (head, _) = request.into_parts();
        told.try_send(head).unwrap();
        let mut yes = Response::new(());
        yes.headers_mut()
            .insert("sec-websocket-protocol", "chat".parse().unwrap());
        respond.send_response(yes, false).unwrap();
    })
    .await;
    let connect = to(format!("ws://ada:secret@{address}/"))
        .subprotocol("chat")
        .origin("http://a.example")
        .header("X-Extra", "1");
    let connection = connect.http2().await.unwrap();
    let socket = connection.open("/room?id=7").await.unwrap();
    assert_eq!(socket.protocol(), Some("chat"));
    let head = heads.recv().await.unwrap();
    assert_eq!(head.method, Method::CONNECT);
    let protocol = head.extensions.get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(head.uri, format!("http://{address}/room?id=7").as_str());
    let field = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("sec-websocket-version"), Some("13"));
    assert_eq!(field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(field("origin"), Some("http://a.example"));
    assert_eq!(field("authorization"), Some("Basic YWRhOnNlY3JldA=="));
    assert_eq!(field("x-extra"), Some("1"));
    // RFC 8441 §5, RFC 9113 §8.2.2.
    for gone in ["sec-websocket-key", "upgrade", "connection", "host"] {
        assert_eq!(field(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_hundred_sockets_share_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Accepts one connection and no other.
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let acceptor = Acceptor::default();
        let mut requests = acceptor.requests(stream).await.unwrap();
        while let Some(request) = requests.next().await {
            let incoming = request.unwrap();
            tokio::spawn(
                async move { crate::http2_peer::echo(incoming.accept().await.unwrap()).await },
            );
        }
    });
    let connection = prior_knowledge(address).http2().await.unwrap();
    let mut sockets = Vec::new();
    for number in 0..100 {
        sockets.push(connection.open(&format!("/{number}")).await.unwrap());
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_echoes(socket, &number.to_string()).await;
    }
    let mut first = sockets.swap_remove(0);
    let closed = first.close(CloseCode::NORMAL, "done").await.unwrap();
    assert!(closed.clean, "{closed:?}");
    // There is room for another.
    let mut another = connection.open("/another").await.unwrap();
    assert_echoes(&mut another, "another").await;
}

#[tokio::test]
async fn the_connection_lives_as_long_as_its_sockets_and_ends_with_them() {
    let (told, mut ended) = tokio::sync::mpsc::channel(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut requests = Acceptor::default().requests(stream).await.unwrap();
        while let Some(request) = requests.next().await {
            let incoming = request.unwrap();
            tokio::spawn(
                async move { crate::http2_peer::echo(incoming.accept().await.unwrap()).await },
            );
        }
        told.send(()).await.unwrap();
    });
    let mut socket = prior_knowledge(address).open().await.unwrap();
    assert_echoes(&mut socket, "still there").await;
    drop(socket);
    ended.recv().await.unwrap();
}

#[tokio::test]
async fn a_refusal_has_status_and_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut requests = Acceptor::default().requests(stream).await.unwrap();
        while let Some(request) = requests.next().await {
            let refusal = Refusal::new(401).unwrap().body("who are you?");
            request.unwrap().reject(refusal).await.unwrap();
        }
    });
    let error = prior_knowledge(address).open().await.unwrap_err();
    let Error::Refused(refused) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (refused.status(), refused.body()),
        (401, &b"who are you?"[..])
    );
}

#[tokio::test]
async fn origins_are_checked_as_over_http_1_1() {
    let server = Echo::with(Acceptor::default()).await;
    let own = format!("http://{}", server.address);
    let mut socket = server.connect().origin(own).open().await.unwrap();
    assert_echoes(&mut socket, "hello").await;
    let foreign = server.connect().origin("https://elsewhere.example");
    let error = foreign.open().await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refused) if refused.status() == 403),
        "{error:?}"
    );
    let policy = Acceptor::default().origin(OriginPolicy::Any);
    let open_to_all = Echo::with(policy).await;
    let foreign = open_to_all.connect().origin("https://elsewhere.example");
    foreign.open().await.unwrap();
}

#[tokio::test]
async fn the_error_for_a_server_without_extended_connect_names_it() {
    let address = raw_server(false, |_, _| {}).await;
    let error = prior_knowledge(address).http2().await.unwrap_err();
    assert!(matches!(error, Error::Http2 { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_answer_with_unoffered_fields_fails_the_handshake_and_resets_the_stream() {
    let (told, mut reset) = tokio::sync::mpsc::channel(1);
    let address = raw_server(true, move |_request, mut respond| {
        let mut yes = Response::new(());
        yes.headers_mut()
            .insert("sec-websocket-protocol", "other".parse().unwrap());
        let mut send = respond.send_response(yes, false).unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
            told.send(reason.unwrap()).await.unwrap();
        });
    })
    .await;
    let connection = prior_knowledge(address).http2().await.unwrap();
    let error = connection.open("/").await.unwrap_err();
    assert!(matches!(error, Error::Handshake(_)), "{error:?}");
    assert_eq!(reset.recv().await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_stream_that_the_server_resets_is_lost() {
    let address = raw_server(true, |request, mut respond| {
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move {
            request.into_body().data().await.unwrap().unwrap();
            send.send_reset(Reason::CANCEL);
        });
    })
    .await;
    let mut socket = prior_knowledge(address).open().await.unwrap();
    socket.send("reset me").await.unwrap();
    let error = socket.recv().await.unwrap_err();
    assert!(
        matches!(&error, Error::Lost(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
        "{error:?}"
    );
    assert!(!socket.closed().unwrap().clean);
    assert!(socket.send("anybody?").await.is_err());
}

#[tokio::test]
async fn a_stream_that_ends_without_a_close_is_lost() {
    let address = raw_server(true, |_request, mut respond| {
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let mut socket = prior_knowledge(address).open().await.unwrap();
    let error = socket.recv().await.unwrap_err();
    assert!(
        matches!(&error, Error::Lost(error) if error.kind() == std::io::ErrorKind::UnexpectedEof),
        "{error:?}"
    );
}

#[tokio::test]
async fn all_sockets_are_lost_with_their_connection() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(async move {
        let transport = Transport::boxed(far);
        let mut requests = Acceptor::default().requests(transport).await.unwrap();
        let mut sockets = Vec::new();
        while let Some(request) = requests.next().await {
            sockets.push(request.unwrap().accept().await.unwrap());
        }
    });
    let connect = to("ws://a.example/").version(offhook::HttpVersion::Http2);
    let mut socket = connect.over(near).open().await.unwrap();
    served.abort();
    let error = socket.recv().await.unwrap_err();
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_times_out() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connect = to("ws://a.example/")
        .version(offhook::HttpVersion::Http2)
        .handshake_timeout(Duration::from_secs(3));
    let error = connect.over(near).open().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                phase: Phase::Handshake,
                ..
            }
        ),
        "{error:?}"
    );
    drop(far);
}

#[tokio::test]
async fn a_path_that_cannot_be_sent_is_an_error_of_the_caller() {
    let server = Echo::start().await;
    let connection: Http2 = server.connect().http2().await.unwrap();
    for target in ["chat", "/a b", "/#part", "/\u{e9}"] {
        let error = connection.open(target).await.unwrap_err();
        assert!(matches!(error, Error::Request(_)), "{target}: {error:?}");
    }
    let other = to("ws://nowhere.example/").subprotocol("chat");
    let mut socket = connection.open_as(&other, "/?a=b%20c").await.unwrap();
    assert_echoes(&mut socket, "fine").await;
}

/// Sends each WebSocket more than its window allows.
async fn fill_sockets(stream: tokio::net::TcpStream) {
    let limits = offhook::Http2Limits {
        streams: 1_000,
        ..offhook::Http2Limits::default()
    };
    let acceptor = Acceptor::default().http2_limits(limits);
    let mut requests = acceptor.requests(stream).await.unwrap();
    while let Some(Ok(incoming)) = requests.next().await {
        tokio::spawn(async move {
            let socket = incoming.accept().await.unwrap();
            socket.put(vec![7; 100_000]).unwrap();
            socket.send("last").await.unwrap();
            socket.ended().await
        });
    }
}

/// Each unread WebSocket uses its window of the connection: beyond the allowed number, another one
/// would get nothing.
#[tokio::test]
async fn more_sockets_than_a_connection_has_room_for_open_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(fill_sockets(stream));
        }
    });
    let limits = offhook::Http2Limits {
        streams: 3,
        ..offhook::Http2Limits::default()
    };
    let connect = prior_knowledge(address).http2_limits(limits);
    let connection = connect.http2().await.unwrap();
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.push(connection.open("/").await.unwrap());
    }
    let mut next = connection.open("/").await.unwrap();
    assert_eq!(next.recv().await.unwrap().unwrap().len(), 100_000);
    assert_eq!(next.recv().await.unwrap(), Some("last".into()));
    // Those left unread are complete, too.
    for socket in &mut unread {
        assert_eq!(socket.recv().await.unwrap().unwrap().len(), 100_000);
    }
}
