//! Upgrades as a tower service, in servers of hyper's and axum's own.

use std::net::SocketAddr;

use axum::{Extension, Router};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use offhook::hyper::Upgrade;
use offhook::tower::Upgrades;
use offhook::{Acceptor, Connect, Error, HttpVersion, OriginPolicy, Refusal};
use tokio::net::TcpListener;

use crate::http2_peer::{assert_echoes, echo};
use crate::scripted::to;

type Response = hyper::Response<Full<Bytes>>;

/// Echoes in one room and refuses the others.
async fn answer(upgrade: Upgrade) -> Response {
    if upgrade.request().path() != "/room" {
        return upgrade.reject(Refusal::new(404).unwrap().body("no such room"));
    }
    let upgrade = upgrade.protocols(["chat.v2", "chat.v1"]);
    let upgrade = upgrade.header("Set-Cookie", "seen=1").unwrap();
    upgrade.on_upgrade(echo)
}

async fn serve(acceptor: Option<Acceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut upgrades = Upgrades::new(answer);
    if let Some(acceptor) = acceptor {
        upgrades = upgrades.acceptor(acceptor);
    }
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(upgrades.clone());
            tokio::spawn(async move {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http2().enable_connect_protocol();
                let io = TokioIo::new(stream);
                builder
                    .serve_connection_with_upgrades(io, service)
                    .await
                    .ok();
            });
        }
    });
    address
}

fn connect(address: SocketAddr, path: &str, version: HttpVersion) -> Connect {
    to(format!("ws://{address}{path}")).version(version)
}

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

#[tokio::test]
async fn a_tower_service_works_over_both_versions_of_http() {
    let address = serve(None).await;
    for version in VERSIONS {
        let connect = connect(address, "/room", version).subprotocol("chat.v1");
        let (mut socket, headers) = connect.open_with_headers().await.unwrap();
        assert_eq!(socket.protocol(), Some("chat.v1"));
        assert_eq!(headers.get_str("set-cookie"), Some("seen=1"));
        assert_echoes(&mut socket, "hello").await;
        let closed = socket.close(1000.into(), "").await.unwrap();
        assert!(closed.clean, "{closed:?}");
    }
}

#[tokio::test]
async fn a_tower_service_refuses_with_the_handlers_response() {
    let address = serve(None).await;
    for version in VERSIONS {
        let error = connect(address, "/cellar", version)
            .open()
            .await
            .unwrap_err();
        let Error::Refused(refused) = error else {
            panic!("{error:?}");
        };
        assert_eq!(refused.status(), 404);
        assert_eq!(refused.body(), b"no such room");
    }
}

#[tokio::test]
async fn a_tower_service_uses_its_own_acceptor() {
    let strict = serve(None).await;
    let open = serve(Some(Acceptor::default().origin(OriginPolicy::Any))).await;
    for version in VERSIONS {
        let foreign = |address| connect(address, "/room", version).origin("https://else.example");
        let error = foreign(strict).open().await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(no) if no.status() == 403),
            "{error:?}"
        );
        foreign(open).open().await.unwrap();
    }
}

#[tokio::test]
async fn a_tower_service_as_a_route_of_axum_uses_the_acceptor_in_the_extensions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upgrades = Upgrades::new(|upgrade: Upgrade| async move {
        upgrade.on_upgrade::<axum::body::Body, _, _>(echo)
    });
    let app = Router::new()
        .route_service("/room", upgrades)
        .layer(Extension(Acceptor::default().origin(OriginPolicy::Any)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    for version in VERSIONS {
        let foreign = connect(address, "/room", version).origin("https://else.example");
        let mut socket = foreign.open().await.unwrap();
        assert_echoes(&mut socket, "hello").await;
    }
}
