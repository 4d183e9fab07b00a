//! The parameters and fields of the HTTP API: which are known, what is said about others, and that
//! docs/api.md names them.

use offhook_auth::ApiKey;
use serde_json::{Value, json};

use crate::api::{KEY, get, hall, post};

#[tokio::test]
async fn parameters_and_fields_that_are_not_specified_are_refused_by_name() {
    let hall = hall().await;
    let session = "0".repeat(32);
    let about = |more: Value| {
        let mut body = json!({ "session": session });
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body.to_string()
    };
    for (request, body, name) in [
        // Misspelt: without the limit, the page would be another one.
        (
            "GET /api/v1/history?channel=chat&limits=5",
            String::new(),
            "\"limits\"",
        ),
        ("GET /api/v1/stats?verbose", String::new(), "\"verbose\""),
        (
            "GET /api/v1/presence?channel=chat&limit=1",
            String::new(),
            "\"limit\"",
        ),
        (
            "POST /api/v1/revoke?user=ann",
            json!({ "user": "ann" }).to_string(),
            "\"user\"",
        ),
        (
            "POST /api/v1/publish?channel=chat",
            json!({ "channel": "chat", "data": 1 }).to_string(),
            "channel",
        ),
        (
            "POST /api/v1/publish",
            json!({ "channel": "chat", "data": 1, "tag": {} }).to_string(),
            "`tag`",
        ),
        (
            "POST /api/v1/send",
            about(json!({ "data": 1, "channel": "chat" })),
            "`channel`",
        ),
        (
            "POST /api/v1/disconnect",
            about(json!({ "codes": 4100 })),
            "`codes`",
        ),
        (
            "POST /api/v1/subscribe",
            about(json!({ "channel": "chat", "after": "1.1" })),
            "`after`",
        ),
        (
            "POST /api/v1/unsubscribe",
            about(json!({ "channel": "chat", "presence": true })),
            "`presence`",
        ),
    ] {
        let (status, _, problem) = hall.api(KEY, request, &body).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &"bad_request".into()),
            "{request} {body}: {problem}"
        );
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(name), "{request} {body}: {detail}");
    }
    // Nothing is wrong with these: null is data, too.
    for (request, body) in [
        ("POST /api/v1/send", about(json!({ "data": null }))),
        (
            "POST /api/v1/subscribe",
            about(json!({ "channel": "chat", "since": "last:5" })),
        ),
        (
            "POST /api/v1/unsubscribe",
            about(json!({ "channel": "chat" })),
        ),
        (
            "POST /api/v1/disconnect",
            about(json!({ "code": 4100, "reason": "bye" })),
        ),
    ] {
        let (status, _, answer) = hall.api(KEY, request, &body).await;
        assert_eq!(status, 200, "{request} {body}: {answer}");
    }
}

#[tokio::test]
async fn a_start_or_a_position_that_cannot_be_read_is_named_with_what_is_possible() {
    let hall = hall().await;
    for number in 0..4 {
        post(
            &hall,
            "publish",
            json!({ "channel": "chat", "data": number }),
        )
        .await;
    }
    for (query, name) in [
        ("history?channel=chat&since=last:", "since: is \"last:\""),
        (
            "history?channel=chat&since=last:%2B3",
            "since: is \"last:+3\"",
        ),
        (
            "history?channel=chat&since=yesterday",
            "since: is \"yesterday\"",
        ),
        (
            "history?channel=chat&before=last:3",
            "before: is \"last:3\"",
        ),
        ("state?channel=chat&after=now", "after: is \"now\""),
        ("receipts?channel=chat&position=x", "position: is \"x\""),
    ] {
        let (status, _, problem) = hall.api(KEY, &format!("GET /api/v1/{query}"), "").await;
        assert_eq!(status, 400, "{query}: {problem}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.starts_with(name), "{query}: {detail}");
        assert!(detail.contains("1700000000000000.42"), "{query}: {detail}");
    }
    let page = get(&hall, "history?channel=chat&since=last:2").await;
    let data: Vec<_> = page["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|message| message["data"].clone())
        .collect();
    assert_eq!(data, [2, 3], "{page}");
}

#[tokio::test]
async fn a_publish_repeated_with_the_next_api_key_is_recognised() {
    let hall = hall().await;
    let body = json!({ "channel": "chat", "data": 1, "key": "order-7" });
    let first = post(&hall, "publish", body.clone()).await;
    assert_eq!(first["duplicate"], false);
    let next = "ohk_ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgf";
    hall.set_api_keys(vec![ApiKey::of_everything(next)]);
    let request = "POST /api/v1/publish";
    let (status, _, again) = hall.api(next, request, &body.to_string()).await;
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["position"], first["position"]);
}

/// The documentation for readers says of each request what the specification says.
#[test]
fn the_page_about_the_api_names_every_request_parameter_and_field() {
    let page = include_str!("../../../../docs/api.md");
    let specification = include_str!("../../src/http/api/openapi.json");
    let specification: Value = serde_json::from_str(specification).expect("JSON");
    let schemas = &specification["components"]["schemas"];
    let mut checked = 0;
    for (path, methods) in specification["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let start = format!("| `{} {}` |", method.to_uppercase(), &path[1..]);
            let row = page.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("docs/api.md has no row {start}"));
            let parameters = operation["parameters"].as_array();
            let mut names: Vec<&str> = parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().expect("text"))
                .collect();
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            fields(body, schemas, &mut names);
            for name in names {
                assert!(
                    row.contains(&format!("`{name}`")),
                    "{start} names no {name}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "only {checked} names were found");
}

/// The names of an object's fields.
fn fields<'a>(schema: &'a Value, schemas: &'a Value, names: &mut Vec<&'a str>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return fields(&schemas[name], schemas, names);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fields(part, schemas, names);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    names.extend(properties.map(|(name, _)| name.as_str()));
}
