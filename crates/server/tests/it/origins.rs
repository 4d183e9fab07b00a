//! Pages of other origins: one rule for every path of the server, and a refusal that says what to
//! change.

use offhook::{Error, OriginPolicy};
use offhook_auth::ApiKey;
use tokio::time::timeout;

use crate::{
    hall::{Hall, NEVER, config},
    logged::journal,
};

const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// A server with an API key for pages that match this list.
async fn hall(origins: &[&str]) -> Hall {
    let mut listed = config();
    listed.origins = OriginPolicy::allow_list(origins.iter().copied()).unwrap();
    listed.api.keys = vec![ApiKey::of_everything(KEY)];
    Hall::open(listed).await
}

/// Every path by which a page can reach channels, with the status of a request from a page that may
/// connect.
const PATHS: [(&str, &str, u16); 7] = [
    ("GET", "/ws", 426),
    ("GET", "/rpc", 426),
    ("GET", "/mqtt", 426),
    ("GET", "/poll?channel=chat", 200),
    ("GET", "/api/v1/channels", 200),
    ("OPTIONS", "/sse?channel=chat", 204),
    ("OPTIONS", "/api/v1/publish", 204),
];

async fn ask(hall: &Hall, method: &str, path: &str, origin: &str) -> (u16, String, String) {
    // A browser sends no key with a preflight, but names the method.
    let field = match method {
        "OPTIONS" => "Access-Control-Request-Method: POST".to_owned(),
        _ => format!("Authorization: Bearer {KEY}"),
    };
    // The API's key is not a client's token.
    let field = match path.starts_with("/api/") || method == "OPTIONS" {
        true => field,
        false => "Accept: */*".to_owned(),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nOrigin: {origin}\r\n{field}");
    hall.request(&head).await
}

#[tokio::test]
async fn one_list_of_patterns_decides_for_every_path() {
    let hall = hall(&["https://*.app.example", "http://localhost:*"]).await;
    for (method, path, expected) in PATHS {
        for origin in ["https://chat.app.example", "http://localhost:5173"] {
            let (status, head, body) = ask(&hall, method, path, origin).await;
            assert_eq!(status, expected, "{method} {path} {origin}: {body}");
            let reads = format!("access-control-allow-origin: {origin}");
            let reads = head.contains(&reads) || head.contains("access-control-allow-origin: *");
            assert!(reads, "{method} {path}: {head}");
        }
        for origin in ["https://app.example", "https://evil.example", "null"] {
            let (status, _, body) = ask(&hall, method, path, origin).await;
            assert_eq!(status, 403, "{method} {path} {origin}: {body}");
            for part in [origin, "`origins`", "docs/origins.md"] {
                assert!(body.contains(part), "{method} {path}: {body}");
            }
        }
    }
    for path in ["/ws", "/rpc", "/mqtt"] {
        let connect = hall.number_at(path).subprotocol("offhook.v1.json");
        let connect = connect.subprotocol("mqtt");
        let friend = connect.clone().origin("https://chat.app.example");
        friend.open().await.unwrap();
        let refused = connect.origin("https://evil.example").open().await;
        let Err(Error::Refused(refused)) = refused else {
            panic!("{refused:?}");
        };
        let body = String::from_utf8(refused.body().to_vec()).unwrap();
        assert_eq!(refused.status(), 403, "{path}");
        for part in ["https://evil.example", "`origins`", "docs/origins.md"] {
            assert!(body.contains(part), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_says_what_a_page_may_send_to_the_api() {
    let hall = hall(&["https://app.example"]).await;
    let (status, head, body) =
        ask(&hall, "OPTIONS", "/api/v1/publish", "https://app.example").await;
    assert_eq!((status, body.as_str()), (204, ""));
    for field in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: get, post",
        "access-control-allow-headers: authorization, content-type, idempotency-key",
        "access-control-max-age: 7200",
        "vary: origin",
    ] {
        assert!(head.contains(field), "{field}: {head}");
    }
    assert!(!head.contains("allow-credentials"), "{head}");
    // Without a key, nobody learns which paths exist.
    let (status, ..) = ask(&hall, "OPTIONS", "/api/v1/nothing", "https://app.example").await;
    assert_eq!(status, 204);
    // A request without an origin is not a preflight.
    let (status, ..) = hall.request("OPTIONS /api/v1/publish HTTP/1.1").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_page_reads_the_errors_of_the_api_and_the_files_of_the_client() {
    let hall = hall(&["https://app.example"]).await;
    let origin = "Origin: https://app.example";
    let (status, head, _) = hall
        .request(&format!("GET /api/v1/channels HTTP/1.1\r\n{origin}"))
        .await;
    assert_eq!(status, 401);
    assert!(
        head.contains("access-control-allow-origin: https://app.example"),
        "{head}"
    );
    assert!(head.contains("vary: origin"), "{head}");
    for (page, may_read) in [(origin, true), ("Origin: https://evil.example", false)] {
        for path in ["/client/index.js", "/healthz"] {
            let request = format!("GET {path} HTTP/1.1\r\n{page}");
            let (status, head, _) = hall.request(&request).await;
            assert_eq!(status, 200);
            let reads = head.contains("access-control-allow-origin");
            assert_eq!(reads, may_read, "{path} {page}: {head}");
            assert!(head.contains("vary: origin"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_key_in_a_page_of_another_origin_does_nothing_by_default() {
    let mut own = config();
    own.api.keys = vec![ApiKey::of_everything(KEY)];
    let hall = Hall::open(own).await;
    let publish = |origin: &str| {
        format!(
            "POST /api/v1/publish?channel=chat HTTP/1.1\r\nOrigin: {origin}\r\n\
             Authorization: Bearer {KEY}\r\nContent-Length: 0"
        )
    };
    let (status, _, body) = hall.request(&publish("https://evil.example")).await;
    assert_eq!(status, 403, "{body}");
    let (_, _, history) = hall.api(KEY, "GET /api/v1/history?channel=chat", "").await;
    assert_eq!(history["messages"], serde_json::json!([]));
    let own = format!("http://{}", hall.address());
    let (status, _, body) = hall.request(&publish(&own)).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn the_log_names_the_origin_the_setting_and_the_page() {
    let journal = journal();
    let hall = Hall::open(config()).await;
    let origin = "https://logged-by-origins.example";
    let foreign = hall.number().origin(origin);
    assert!(timeout(NEVER, foreign.open()).await.unwrap().is_err());
    hall.close().await;
    let lines = journal.lines();
    let told = lines.iter().find(|line| line.contains(origin));
    let told = told.expect("it is logged");
    for part in ["WARN", "`origins`", "docs/origins.md"] {
        assert!(told.contains(part), "{told}");
    }
}

/// `same` in a list compares the page with the requested host, so the host must be the server's.
#[tokio::test]
async fn the_word_same_in_a_list_does_not_let_a_rebound_name_in() {
    let hall = hall(&["same", "https://app.example"]).await;
    let poll = |host: &str, origin: &str| {
        format!(
            "GET /poll?channel=chat HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Connection: close\r\n\r\n"
        )
    };
    let own = hall.address().to_string();
    for (host, origin, expected) in [
        (&*own, format!("http://{own}"), 200),
        ("evil.example", "http://evil.example".to_owned(), 421),
        ("chat.example", "https://app.example".to_owned(), 200),
        (&*own, "http://evil.example".to_owned(), 403),
    ] {
        let (status, _, body) = hall.raw(&poll(host, &origin)).await;
        assert_eq!(status, expected, "{host} {origin}: {body}");
    }
}
