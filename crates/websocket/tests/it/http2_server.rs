//! A server's end of HTTP/2, against h2's own client and against curl.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use offhook::protocol::CloseCode;
use offhook::protocol::handshake::{ConnectRequest, ServerConfig, ServerDecision};
use offhook::{
    Acceptor, Error, Http2Limits, OriginPolicy, Phase, Refusal, Server, Settings, Transport,
    WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::http2_peer::{Echo, assert_echoes, echo, extended_connect, prior_knowledge, raw_client};
use crate::scripted::to;

async fn ask(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> (Response<RecvStream>, h2::SendStream<Bytes>) {
    let (response, send) = requests.send_request(request, false).unwrap();
    (response.await.unwrap(), send)
}

/// Asserts that the stream ends in order, with no further data.
async fn assert_ends(receive: &mut RecvStream) {
    while let Some(data) = receive.data().await {
        assert_eq!(data.unwrap(), "");
    }
    assert!(receive.is_end_stream());
}

async fn body(response: Response<RecvStream>) -> String {
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        body.extend(data.unwrap());
    }
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn settings_permit_extended_connect_and_the_stream_carries_frames() {
    let server = Echo::start().await;
    let mut requests = server.raw().await;
    assert!(requests.is_extended_connect_protocol_enabled());
    let (response, mut send) = ask(&mut requests, extended_connect(server.address)).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut receive = response.into_body();
    // RFC 6455 §5.7: a masked "Hello", and its echo, which is not masked.
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    send.send_data(Bytes::from_static(hello), false).unwrap();
    assert_eq!(
        receive.data().await.unwrap().unwrap(),
        &b"\x81\x05Hello"[..]
    );
    // A masked Close of 1000 is answered by one, and then the stream ends in order.
    let close = b"\x88\x82\x00\x00\x00\x00\x03\xe8";
    send.send_data(Bytes::from_static(close), false).unwrap();
    assert_eq!(
        receive.data().await.unwrap().unwrap(),
        &b"\x88\x02\x03\xe8"[..]
    );
    assert_ends(&mut receive).await;
    send.send_data(Bytes::new(), true).unwrap();
}

#[tokio::test]
async fn other_requests_are_answered_with_a_status() {
    let server = Echo::with(Acceptor::default()).await;
    let mut requests = server.raw().await;
    let address = server.address;
    let plain = |method: Method| {
        let uri = format!("http://{address}/");
        Request::builder().method(method).uri(uri).body(()).unwrap()
    };
    let with = |change: fn(&mut Request<()>)| {
        let mut request = extended_connect(address);
        change(&mut request);
        request
    };
    let other = |request: &mut Request<()>| {
        let protocol = Protocol::from_static("connect-udp");
        request.extensions_mut().insert(protocol);
    };
    let version = |request: &mut Request<()>| {
        let eight = "8".parse().unwrap();
        request.headers_mut().insert("sec-websocket-version", eight);
    };
    let origin = |request: &mut Request<()>| {
        let foreign = "https://elsewhere.example".parse().unwrap();
        request.headers_mut().insert("origin", foreign);
    };
    for (request, status, says) in [
        (plain(Method::GET), 405, "CONNECT"),
        (plain(Method::POST), 405, "CONNECT"),
        (with(other), 501, "websocket"),
        (with(version), 400, "13"),
        (with(origin), 403, "may not connect"),
    ] {
        let shown = format!("{request:?}");
        let (response, _send) = ask(&mut requests, request).await;
        assert_eq!(response.status(), status, "{shown}");
        let body = body(response).await;
        assert!(body.contains(says), "{shown}: {body}");
    }
    let (response, _send) = ask(&mut requests, plain(Method::HEAD)).await;
    assert_eq!(response.status(), 405);
    assert_eq!(body(response).await, "");
    // The connection still works.
    let (response, _send) = ask(&mut requests, extended_connect(address)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn an_ordinary_connect_is_refused() {
    let server = Echo::start().await;
    let mut requests = server.raw().await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(server.address.to_string())
        .body(())
        .unwrap();
    let (response, _send) = ask(&mut requests, request).await;
    assert_eq!(response.status(), 501);
}

#[tokio::test]
async fn http_1_1_and_http_2_are_served_on_one_port() {
    let server = Echo::start().await;
    let mut two = server.connect().open().await.unwrap();
    let url = format!("ws://{}/", server.address);
    let mut one = to(url).open().await.unwrap();
    assert_echoes(&mut one, "by HTTP/1.1").await;
    assert_echoes(&mut two, "by HTTP/2").await;
}

#[tokio::test]
async fn the_preface_is_recognised_regardless_of_where_it_is_split() {
    let server = Echo::start().await;
    let (near, mut far) = duplex(64);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // Nagle's algorithm is off, and each write is read before the next: the preface arrives byte by
    // byte.
    let relay = tokio::spawn(async move {
        for _ in 0..24 {
            let byte = far.read_u8().await.unwrap();
            stream.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        tokio::io::copy_bidirectional(&mut far, &mut stream).await
    });
    let mut requests = raw_client(near).await;
    let (response, _send) = ask(&mut requests, extended_connect(server.address)).await;
    assert_eq!(response.status(), 200);
    relay.abort();
}

#[tokio::test]
async fn an_http_1_1_request_that_starts_like_the_preface_is_parsed_completely() {
    let server = Echo::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PRI").await.unwrap();
    stream
        .write_all(b"VET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn split_cookie_fields_are_joined() {
    let (near, far) = duplex(4096);
    let client = tokio::spawn(async move {
        let mut requests = raw_client(near).await;
        let mut request = extended_connect(([127, 0, 0, 1], 80).into());
        request
            .headers_mut()
            .append("cookie", "a=1".parse().unwrap());
        request
            .headers_mut()
            .append("cookie", "b=2".parse().unwrap());
        let (response, _send) = ask(&mut requests, request).await;
        assert_eq!(response.status(), 403);
        assert_eq!(body(response).await, "not you");
    });
    let acceptor = Acceptor::default();
    let mut requests = acceptor.requests(Transport::boxed(far)).await.unwrap();
    let incoming = requests.next().await.unwrap().unwrap();
    let headers = incoming.request().headers();
    assert_eq!(headers.get_str("cookie"), Some("a=1; b=2"));
    assert_eq!(headers.get_all("cookie").count(), 1);
    incoming
        .reject(Refusal::new(403).unwrap().body("not you"))
        .await
        .unwrap();
    tokio::spawn(async move { while requests.next().await.is_some() {} });
    client.await.unwrap();
}

#[tokio::test]
async fn a_reset_stream_is_lost_and_the_others_continue() {
    let (told, mut ended) = tokio::sync::mpsc::channel(1);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(move |mut socket| {
        let told = told.clone();
        async move {
            loop {
                match socket.recv().await {
                    Ok(Some(message)) => socket.send(message).await?,
                    ended => {
                        told.send((ended, socket.closed())).await.unwrap();
                        return Ok(());
                    }
                }
            }
        }
    }));
    let mut requests = raw_client(TcpStream::connect(address).await.unwrap()).await;
    let (first, mut send) = ask(&mut requests, extended_connect(address)).await;
    let (second, mut other) = ask(&mut requests, extended_connect(address)).await;
    assert_eq!(
        (first.status(), second.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    send.send_reset(Reason::CANCEL);
    let (end, closed) = ended.recv().await.unwrap();
    assert!(
        matches!(&end, Err(Error::Lost(error)) if error.kind() == std::io::ErrorKind::ConnectionReset),
        "{end:?}"
    );
    let closed = closed.unwrap();
    assert_eq!((closed.code, closed.clean), (CloseCode::ABNORMAL, false));
    let mut receive = second.into_body();
    let empty = b"\x81\x80\x00\x00\x00\x00";
    other.send_data(Bytes::from_static(empty), false).unwrap();
    assert_eq!(receive.data().await.unwrap().unwrap(), &b"\x81\x00"[..]);
}

#[tokio::test]
async fn a_handler_that_returns_closes_with_1000_and_ends_the_stream_in_order() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(|socket| async move {
        drop(socket);
        Ok(())
    }));
    let mut requests = raw_client(TcpStream::connect(address).await.unwrap()).await;
    let (response, mut send) = ask(&mut requests, extended_connect(address)).await;
    let mut receive = response.into_body();
    assert_eq!(
        receive.data().await.unwrap().unwrap(),
        &b"\x88\x02\x03\xe8"[..]
    );
    let close = Bytes::from_static(b"\x88\x80\x00\x00\x00\x00");
    send.send_data(close, false).unwrap();
    assert_ends(&mut receive).await;
}

#[tokio::test]
async fn the_number_of_open_streams_is_limited() {
    let limits = Http2Limits {
        streams: 2,
        ..Http2Limits::default()
    };
    let acceptor = Acceptor::default()
        .origin(OriginPolicy::Any)
        .http2_limits(limits);
    let server = Echo::with(acceptor).await;
    let requests = server.raw().await;
    assert_eq!(requests.current_max_send_streams(), 2);
    let connection = server.connect().http2().await.unwrap();
    let first = connection.open("/1").await.unwrap();
    let _second = connection.open("/2").await.unwrap();
    let third = tokio::spawn(async move { connection.open("/3").await });
    // The third request waits until there is room for it.
    let mut first = first;
    first.close(CloseCode::NORMAL, "").await.unwrap();
    let mut third = third.await.unwrap().unwrap();
    assert_echoes(&mut third, "now").await;
}

#[tokio::test]
async fn a_websocket_above_the_servers_limit_is_refused_with_retry_after() {
    let server = Server::bind("127.0.0.1:0")
        .await
        .unwrap()
        .max_connections(2);
    let server = Echo::of(server);
    let connection = server.connect().http2().await.unwrap();
    // The connection and this WebSocket count as two.
    let _socket = connection.open("/").await.unwrap();
    let error = connection.open("/").await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refused) if refused.status() == 503),
        "{error:?}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn shutdown_closes_every_websocket_of_a_connection() {
    let server = Echo::start().await;
    let connection = server.connect().http2().await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(connection.open("/").await.unwrap());
    }
    let connections = server.connections.clone();
    let shutdown = tokio::spawn(async move {
        connections
            .shutdown(CloseCode::SERVICE_RESTART, Duration::from_secs(60))
            .await;
    });
    for mut socket in sockets {
        assert_eq!(socket.recv().await.unwrap(), None);
        let closed = socket.closed().unwrap();
        assert_eq!(
            (closed.code, closed.clean),
            (CloseCode::SERVICE_RESTART, true)
        );
    }
    shutdown.await.unwrap();
    server.served.await.unwrap().unwrap();
    assert!(connection.open("/").await.is_err());
}

#[tokio::test]
async fn shutdown_cuts_off_a_connection_that_does_not_answer() {
    let server = Echo::start().await;
    let mut requests = server.raw().await;
    // It never answers the Close, and stays open.
    let (response, _send) = ask(&mut requests, extended_connect(server.address)).await;
    server
        .connections
        .shutdown(CloseCode::GOING_AWAY, Duration::ZERO)
        .await;
    server.served.await.unwrap().unwrap();
    let mut receive = response.into_body();
    while let Some(Ok(_close)) = receive.data().await {}
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_preface_times_out() {
    let (mut near, far) = duplex(4096);
    near.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let error = Acceptor::default()
        .requests(Transport::boxed(far))
        .await
        .unwrap_err();
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
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed() {
    let (near, far) = duplex(4096);
    let client = tokio::spawn(async move {
        let (_requests, connection) = h2::client::handshake(near).await.unwrap();
        connection.await
    });
    let acceptor = Acceptor::default();
    let mut requests = acceptor.requests(Transport::boxed(far)).await.unwrap();
    let end = requests.next().await;
    assert!(end.is_none(), "{end:?}");
    client.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_lost_within_the_keepalive() {
    let (near, far) = duplex(4096);
    let silent = tokio::spawn(async move {
        let (mut requests, mut connection) = h2::client::handshake::<_>(near).await.unwrap();
        let request = extended_connect(([127, 0, 0, 1], 80).into());
        // The server's SETTINGS come first: then an extended CONNECT may be sent.
        let mut pings = connection.ping_pong().unwrap();
        tokio::select! {
            _ = &mut connection => unreachable!("the connection goes on"),
            pong = pings.ping(h2::Ping::opaque()) => pong.map(|_| ()).unwrap(),
        }
        let (response, _send) = requests.send_request(request, false).unwrap();
        tokio::select! {
            _ = &mut connection => unreachable!("the connection goes on"),
            response = response => assert_eq!(response.unwrap().status(), 200),
        }
        // The connection is no longer polled, and stays open.
        std::future::pending::<()>().await;
    });
    let acceptor = Acceptor::default();
    let mut requests = acceptor.requests(Transport::boxed(far)).await.unwrap();
    let mut socket = requests
        .next()
        .await
        .unwrap()
        .unwrap()
        .accept()
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let error = requests.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Lost(error) if error.kind() == std::io::ErrorKind::TimedOut),
        "{error:?}"
    );
    // 30 s to the ping, 20 s for its answer.
    assert_eq!(began.elapsed().as_secs(), 50);
    assert!(requests.next().await.is_none());
    drop(requests);
    assert!(socket.recv().await.is_err());
    silent.abort();
}

#[tokio::test]
async fn curl_gets_an_explanation() {
    let server = Echo::start().await;
    let url = format!("http://{}/", server.address);
    let format = "%{http_version} %{response_code} %header{allow}";
    let ran = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", "--noproxy", "*"])
        .args(["--write-out", format, &url])
        .output()
        .await;
    let output = match ran {
        Ok(output) => output,
        Err(error) => {
            let missing = format!("curl can't be run ({error}): apt-get install curl");
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            println!("not run: {missing}");
            return;
        }
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "the WebSocket handshake needs the method CONNECT\n2 405 CONNECT"
    );
}

#[tokio::test]
async fn a_server_that_drives_h2_itself_opens_a_websocket_on_a_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let mut connection = builder.handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let uri = request.uri();
            let connect = ConnectRequest {
                method: request.method().as_str(),
                protocol: request.extensions().get().map(Protocol::as_str),
                scheme: uri.scheme_str().unwrap(),
                authority: uri.authority().unwrap().as_str(),
                path: uri.path(),
            };
            let fields = request.headers().iter();
            let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
            let config = ServerConfig::default();
            let decided = ServerDecision::from_extended_connect(&config, connect, fields);
            let negotiated = decided.unwrap().accept().negotiated;
            let send = respond.send_response(Response::new(()), false).unwrap();
            let transport = Transport::http2(send, request.into_body());
            let socket = WebSocket::server(transport, negotiated, &[], &Settings::default());
            tokio::spawn(echo(socket));
        }
    });
    let connection = prior_knowledge(address).http2().await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(connection.open("/").await.unwrap());
    }
    for socket in &mut sockets {
        assert_echoes(socket, "hello").await;
        let closed = socket.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(closed.code, CloseCode::NORMAL);
    }
}
