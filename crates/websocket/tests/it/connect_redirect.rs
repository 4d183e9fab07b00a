//! Redirects of the opening handshake.

use offhook::Error;

use crate::scripted::{Reply, Server, field, to};

fn reason(error: Error) -> String {
    match error {
        Error::Redirect { .. } => error.to_string(),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn every_redirect_with_a_location_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let mut server =
            Server::with([Reply::redirect(status, "../there?x#y"), Reply::open()]).await;
        to(format!("{}a/b", server.url())).open().await.unwrap();
        assert!(server.request().await.starts_with("GET /a/b HTTP/1.1"));
        let second = server.request().await;
        assert!(second.starts_with("GET /there?x HTTP/1.1"), "{second}");
    }
}

#[tokio::test]
async fn a_redirect_without_a_location_is_a_refusal() {
    let server = Server::with([
        Reply::say("HTTP/1.1 302 Where?\r\nContent-Length: 0\r\n\r\n"),
        Reply::redirect(304, "/"),
    ])
    .await;
    for _ in 0..2 {
        let error = server.connect().open().await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends_at_the_limit() {
    let server = Server::with((0..3).map(|_| Reply::redirect(302, "/again"))).await;
    let error = server.connect().redirects(2).open().await.unwrap_err();
    let reason = reason(error);
    assert!(reason.contains("limit on redirects"), "{reason}");
    assert!(reason.contains("/again"), "{reason}");
}

#[tokio::test]
async fn with_redirects_disabled_the_redirect_is_a_refusal() {
    let server = Server::with([Reply::redirect(307, "/there")]).await;
    let error = server.connect().redirects(0).open().await.unwrap_err();
    let Error::Refused(refused) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refused.status(), 307);
    assert_eq!(refused.headers().get_str("location"), Some("/there"));
}

#[tokio::test]
async fn the_same_server_gets_the_credentials_again() {
    let mut server = Server::with([Reply::redirect(302, "/there"), Reply::open()]).await;
    let url = format!("ws://ada:secret@{}/", server.address);
    to(url).header("X-Key", "42").open().await.unwrap();
    server.request().await;
    let second = server.request().await;
    assert_eq!(field(&second, "X-Key"), Some("42"));
    assert!(field(&second, "Authorization").is_some());
}

#[tokio::test]
async fn another_server_never_gets_the_credentials() {
    let mut second = Server::with([Reply::redirect(302, "/on"), Reply::open()]).await;
    let place = format!("http://{}/there", second.address);
    let mut first = Server::with([Reply::redirect(302, &place)]).await;
    let url = format!("ws://ada:secret@{}/", first.address);
    let connect = to(url)
        .header("X-Key", "42")
        .header("Cookie", "a=b")
        .subprotocol("chat");
    connect.open().await.unwrap();
    let head = first.request().await;
    assert!(field(&head, "X-Key").is_some() && field(&head, "Authorization").is_some());
    for _ in 0..2 {
        let head = second.request().await;
        for name in ["X-Key", "Cookie", "Authorization"] {
            assert_eq!(field(&head, name), None, "{head}");
        }
        assert_eq!(field(&head, "Sec-WebSocket-Protocol"), Some("chat"));
        assert_eq!(
            field(&head, "Host"),
            Some(second.address.to_string().as_str())
        );
    }
}

#[tokio::test]
async fn a_location_that_is_not_a_websocket_url_is_not_followed() {
    for (place, hint) in [
        ("ftp://127.0.0.1/", "scheme"),
        ("ws://user:secret@127.0.0.1:0/", "65535"),
        ("/a b", "percent-encoded"),
    ] {
        let server = Server::with([Reply::redirect(302, place)]).await;
        let reason = reason(server.connect().open().await.unwrap_err());
        assert!(reason.contains(hint), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[tokio::test]
async fn addresses_given_for_one_host_are_not_used_for_another() {
    let second = Server::with([Reply::open()]).await;
    let first = Server::with([Reply::redirect(302, &second.url())]).await;
    let connect = to("ws://nowhere.invalid/").addresses([first.address]);
    connect.open().await.unwrap();
}
