//! Ordinary HTTP requests on the same port.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::hall::{Hall, config, with_connections};

#[tokio::test]
async fn health_is_reported_as_json() {
    let hall = Hall::open(config()).await;
    let (status, head, body) = hall.get("/healthz").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(health["status"], "good");
    assert_eq!(
        (&health["connections"], &health["workers"]),
        (&0.into(), &1.into())
    );
}

#[tokio::test]
async fn the_chat_and_the_client_are_served_from_the_binary() {
    let hall = Hall::open(config()).await;
    let (status, head, _) = hall.get("/").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /talk/"), "{head}");

    let (status, head, page) = hall.get("/talk/").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/html; charset=utf-8"),
        "{head}"
    );
    assert!(page.contains("<!doctype html>") || page.contains("<!DOCTYPE html>"));
    let tag = head
        .lines()
        .find_map(|connection| connection.strip_prefix("etag: "))
        .unwrap();
    let again = format!("GET /talk/ HTTP/1.1\r\nIf-None-Match: \"other\", {tag}");
    let (status, _, body) = hall.request(&again).await;
    assert_eq!((status, body.as_str()), (304, ""));

    let (status, head, script) = hall.get("/client/index.js").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/javascript"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(script.contains("export"));
    let (status, head, body) = hall.request("HEAD /client/index.js HTTP/1.1").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(
        head.contains(&format!("content-length: {}", script.len())),
        "{head}"
    );
}

#[tokio::test]
async fn the_examples_are_served_from_the_binary() {
    let hall = Hall::open(config()).await;
    let (status, head, _) = hall.get("/examples").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /examples/"), "{head}");
    let (status, head, index) = hall.get("/examples/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    let pages = index.split("href=\"").skip(1);
    let pages = pages.filter_map(|link| link.split('"').next());
    let pages: Vec<_> = pages.filter(|page| page.ends_with(".html")).collect();
    assert_eq!(pages.len(), 8, "{pages:?}");
    for page in pages {
        assert_eq!(
            hall.get(&format!("/examples/{page}")).await.0,
            200,
            "{page}"
        );
    }
}

#[tokio::test]
async fn the_dashboard_is_served_if_the_api_has_a_key_and_loads_only_from_this_server() {
    let mut keyed = config();
    keyed.api.keys = vec![offhook_auth::ApiKey::of_everything("ohk_dashboard")];
    let hall = Hall::open(keyed).await;
    let (status, head, _) = hall.get("/dashboard").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /dashboard/"), "{head}");
    let (status, head, page) = hall.get("/dashboard/").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'; "),
        "{head}"
    );
    assert!(head.contains("frame-ancestors 'none'"), "{head}");
    assert!(head.contains("referrer-policy: no-referrer"), "{head}");
    let files = page
        .split(['"'])
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    let files: Vec<_> = files.collect();
    assert!(
        files.contains(&"style.css") && files.contains(&"dashboard.js"),
        "{page}"
    );
    for file in files {
        assert_eq!(
            hall.get(&format!("/dashboard/{file}")).await.0,
            200,
            "{file}"
        );
    }
    // Without a key, it could show nothing.
    let hall = Hall::open(config()).await;
    for path in ["/dashboard", "/dashboard/", "/dashboard/dashboard.js"] {
        assert_eq!(hall.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn the_documentation_is_served_from_the_binary() {
    let hall = Hall::open(config()).await;
    let (status, head, _) = hall.get("/docs").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /docs/"), "{head}");
    let (status, head, page) = hall.get("/docs/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: "), "{head}");
    assert!(page.contains("<a href=\"dialects/mqtt.html\">"), "{page}");
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let again = format!("GET /docs/ HTTP/1.1\r\nIf-None-Match: {tag}");
    assert_eq!(hall.request(&again).await.0, 304);
    for path in [
        "dialects/mqtt.html",
        "search.json",
        "style.css",
        "images/chat.png",
    ] {
        assert_eq!(hall.get(&format!("/docs/{path}")).await.0, 200, "{path}");
    }
    for path in [
        "SUMMARY.md",
        "nothing.html",
        "../Cargo.toml",
        "%2e%2e/Cargo.toml",
    ] {
        assert_eq!(hall.get(&format!("/docs/{path}")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn without_the_chat_its_paths_are_404() {
    let mut plain = config();
    plain.talk = false;
    plain.api.keys = vec![offhook_auth::ApiKey::of_everything("ohk_dashboard")];
    let hall = Hall::open(plain).await;
    for path in [
        "/",
        "/talk",
        "/talk/",
        "/examples",
        "/examples/",
        "/dashboard/",
        "/docs/",
    ] {
        assert_eq!(hall.get(path).await.0, 404, "{path}");
    }
    assert_eq!(hall.get("/client/index.js").await.0, 200);
}

#[tokio::test]
async fn unknown_paths_are_answered_with_a_list_of_known_ones() {
    let hall = Hall::open(config()).await;
    for path in [
        "/nothing",
        "/talk/nothing",
        "/client/../Cargo.toml",
        "/client/%2e%2e/x",
    ] {
        let (status, _, body) = hall.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("/talk/"), "{body}");
    }
    let (status, head, _) = hall
        .request("POST /healthz HTTP/1.1\r\nContent-Length: 0")
        .await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    let (status, head, _) = hall.get("/ws").await;
    assert_eq!(status, 426);
    assert!(head.contains("upgrade: websocket"), "{head}");
    let (status, _, _) = hall.request("GET / nonsense HTTP/9").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_handshake_may_follow_other_requests_on_one_connection() {
    let hall = Hall::open(config()).await;
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nHost: server\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    read_until(&mut stream, "}\n").await;
    // A frame arrives together with the handshake: what hyper has read must not be lost.
    let mut bytes = hall.handshake();
    let connect = br#"{"type":"connect","id":1}"#;
    bytes.extend([0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0]);
    bytes.extend(connect);
    stream.write_all(&bytes).await.unwrap();
    let answer = read_until(&mut stream, "welcome").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn a_frame_may_arrive_together_with_the_handshake() {
    let hall = Hall::open(config()).await;
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let mut bytes = hall.handshake();
    let connect = br#"{"type":"connect","id":1}"#;
    bytes.extend([0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0]);
    bytes.extend(connect);
    // Byte by byte, at least the head.
    for byte in &bytes {
        stream.write_all(&[*byte]).await.unwrap();
    }
    read_until(&mut stream, "welcome").await;
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(end) {
            return text;
        }
        let count = stream.read_buf(&mut read).await.unwrap();
        assert_ne!(count, 0, "{text}");
    }
}

#[tokio::test]
async fn a_page_whose_origin_is_refused_is_told_which_setting_to_change() {
    let hall = Hall::open(config()).await;
    let foreign = "GET /ws HTTP/1.1\r\nOrigin: http://localhost:3000";
    let (status, head, body) = hall.request(foreign).await;
    assert_eq!(status, 403);
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(
        body.contains("http://localhost:3000") && body.contains("`origins`"),
        "{body}"
    );
    let own = format!("GET /ws HTTP/1.1\r\nOrigin: http://{}", hall.address());
    for request in ["GET /ws HTTP/1.1", &own] {
        let (status, _, _) = hall.request(request).await;
        assert_eq!(status, 426, "{request}");
    }
}

/// Clients would take it for a proxy that refuses WebSockets, and all fall back at once.
#[tokio::test]
async fn a_request_for_the_reason_is_answered_that_the_server_is_busy() {
    let strict = with_connections(|limits| {
        limits.handshakes_per_second = 1;
        limits.handshake_burst = 3;
    });
    let hall = Hall::open(strict).await;
    let request = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n\r\n", hall.address());
    let last = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (status, _, answers) = hall.raw(&(request.repeat(20) + last)).await;
    assert_eq!(status, 426);
    assert!(answers.contains("HTTP/1.1 503 "), "{answers}");
    assert!(answers.to_lowercase().contains("retry-after: "));
}
