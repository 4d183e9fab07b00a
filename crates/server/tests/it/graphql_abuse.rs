//! Bad and absurd documents over real connections: the answer is an error, and the connection lives.

use std::{fmt::Write, fs, path::Path};

use offhook::WebSocket;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    graphql::{JSON, ask, dial, next, open, request, send, subscribe},
    hall::{Hall, NEVER, config},
};

/// Documents that are refused, each with what its error says.
fn documents() -> Vec<(String, &'static str)> {
    let nested = |depth| {
        let (open, close) = ("ofType {".repeat(depth), "}".repeat(depth));
        format!("{{ __schema {{ types {{ {open} name {close} }} }} }}")
    };
    let each =
        |count: usize, part: &dyn Fn(usize) -> String| (0..count).map(part).collect::<String>();
    let aliases = each(1_000, &|n| format!("a{n}: __typename "));
    let asking = each(17, &|n| {
        format!("a{n}: presence(channel: \"a\") {{ total }} ")
    });
    let fragments = each(500, &|n| {
        format!(" fragment F{n} on Query {{ ...F{} }}", n + 1)
    });
    let mut doubling = String::from("{ __schema { types { ...F0 } } }");
    for n in 0..30 {
        let next = n + 1;
        write!(
            doubling,
            " fragment F{n} on __Type {{ ofType {{ ...F{next} }} ofType {{ ...F{next} }} }}"
        )
        .unwrap();
    }
    doubling.push_str(" fragment F30 on __Type { name }");
    vec![
        (nested(40), "nest deeper than 20"),
        (nested(5_000), "nests deeper than 64"),
        (
            format!(
                "query($a: {}Int{}) {{ __typename }}",
                "[".repeat(5_000),
                "]".repeat(5_000)
            ),
            "",
        ),
        (
            format!(
                "{{ history(channel: {}1{}) {{ more }} }}",
                "[".repeat(5_000),
                "]".repeat(5_000)
            ),
            "",
        ),
        (
            format!("{{ __schema {{ {} }} }}", "description ".repeat(501)),
            "more than 500 fields",
        ),
        (
            format!("{{ {} }}", "a ".repeat(30_000)),
            "more than 8000 tokens",
        ),
        (" ".repeat(65_537), "the limit is 65536"),
        (format!("{{ {aliases} }}"), "more than 32 aliases"),
        (format!("{{ {asking} }}"), "the limit is 16"),
        (format!("{{ ...F0 }}{fragments}"), ""),
        (doubling, ""),
        ("{ ...F } fragment F on Query { ...F }".to_owned(), ""),
        ("{".repeat(60_000), ""),
        ("\"".repeat(60_000), ""),
        ("{ a\u{0} }".to_owned(), ""),
        (String::new(), ""),
        (
            "subscription { a: channel(name: \"a\") { data } b: channel(name: \"b\") { data } }"
                .to_owned(),
            "",
        ),
    ]
}

/// Waits for the end of an operation, and returns its errors.
async fn refused(socket: &mut WebSocket, id: &str) -> String {
    let message = next(socket).await;
    assert_eq!(
        (&message["type"], &message["id"]),
        (&json!("error"), &json!(id)),
        "{message}"
    );
    message["payload"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_documents_are_answered_with_errors_and_the_connection_lives() {
    let hall = Hall::open(config()).await;
    let mut socket = open(&hall, Value::Null).await;
    for (index, (document, says)) in documents().into_iter().enumerate() {
        let id = index.to_string();
        subscribe(&mut socket, &id, &document, Value::Null).await;
        let errors = refused(&mut socket, &id).await;
        let shown: String = document.chars().take(60).collect();
        assert!(errors.contains(says), "{shown}: {errors}");
        assert!(
            errors.len() < 4_096,
            "{shown}: the error has {} bytes",
            errors.len()
        );
        let body = json!({ "query": document }).to_string();
        let (status, _, answer) = request(&hall, "POST", "/graphql", JSON, &body).await;
        assert!(matches!(status, 200 | 400), "{shown}: {status}");
        let errors = answer["errors"].to_string();
        assert!(
            answer["errors"].is_array() && errors.contains(says),
            "{shown}: {answer}"
        );
        assert!(
            answer.get("data").is_none_or(Value::is_null),
            "{shown}: {answer}"
        );
    }
    let answer = ask(&mut socket, "{ __typename }").await;
    assert_eq!(answer, json!({"data": {"__typename": "Query"}}));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_requests_are_refused_as_a_whole_and_the_next_one_is_answered() {
    let hall = Hall::open(config()).await;
    let query = json!({"query": "{ __typename }"});
    let nested = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let deep = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    let publish = "mutation($d: JSON!) { publish(channel: \\\"chat\\\", data: $d) { offset } }";
    let variables = format!("{{\"query\":\"{publish}\",\"variables\":{{\"d\":{deep}}}}}");
    for (what, body) in [
        (
            "a batch of 8,000",
            Value::from(vec![query.clone(); 8_000]).to_string(),
        ),
        (
            "a batch of one too many",
            Value::from(vec![query.clone(); 17]).to_string(),
        ),
        ("an empty batch", "[]".to_owned()),
        ("arrays in arrays", nested),
        ("objects in objects", variables),
        ("a number", "7".to_owned()),
        ("half an object", "{\"query\":".to_owned()),
    ] {
        let (status, _, answer) = request(&hall, "POST", "/graphql", JSON, &body).await;
        assert!(matches!(status, 200 | 400), "{what}: {status} {answer}");
        let first = answer.get(0).unwrap_or(&answer);
        assert!(first["errors"].is_array(), "{what}: {answer}");
        assert!(
            first.get("data").is_none_or(Value::is_null),
            "{what}: {answer}"
        );
        let (status, _, answer) =
            request(&hall, "POST", "/graphql", JSON, &query.to_string()).await;
        let data = &answer["data"]["__typename"];
        assert_eq!((status, data), (200, &json!("Query")), "after {what}");
    }
    hall.close().await;
}

/// Sends a ping and waits for its pong. Returns `false` if the connection was closed instead, which has to be
/// with a code of the protocol.
async fn is_alive(socket: &mut WebSocket) -> bool {
    if socket
        .send(json!({"type": "ping"}).to_string())
        .await
        .is_ok()
    {
        while let Ok(Some(message)) = timeout(NEVER, socket.recv()).await.unwrap() {
            let message: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
            if message == json!({"type": "pong"}) {
                return true;
            }
        }
    }
    let code = socket.closed().unwrap().code.get();
    assert!((4400..4500).contains(&code), "closed with {code}");
    false
}

/// The lines of the corpus of the fuzz target `graphql_connection`, which says what their first characters
/// mean.
#[tokio::test(flavor = "multi_thread")]
async fn the_corpus_of_the_fuzz_target_does_not_end_the_server_or_connections_without_a_reason() {
    let hall = Hall::open(config()).await;
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/graphql_connection");
    let (mut documents, mut messages) = (0, 0);
    for file in fs::read_dir(corpus).unwrap() {
        let text = fs::read(file.unwrap().path()).unwrap();
        let mut socket = open(&hall, Value::Null).await;
        for line in String::from_utf8_lossy(&text).lines() {
            let mut chars = line.chars();
            match chars.next() {
                Some('q') => {
                    documents += 1;
                    let id = documents.to_string();
                    subscribe(&mut socket, &id, chars.as_str(), Value::Null).await;
                    send(&mut socket, json!({"type": "complete", "id": id})).await;
                    assert!(is_alive(&mut socket).await, "{line}");
                    let body = json!({"query": chars.as_str()}).to_string();
                    let (status, _, answer) = request(&hall, "POST", "/graphql", JSON, &body).await;
                    assert!(
                        matches!(status, 200 | 400 | 405),
                        "{line}: {status} {answer}"
                    );
                }
                Some('b') => {
                    let (status, _, _) =
                        request(&hall, "POST", "/graphql", JSON, chars.as_str()).await;
                    assert!(matches!(status, 200 | 400), "{line}: {status}");
                }
                Some(' ') => {
                    messages += 1;
                    socket.send(chars.as_str()).await.unwrap();
                    if !is_alive(&mut socket).await {
                        socket = open(&hall, Value::Null).await;
                    }
                }
                // What the engine answers, which the real one decides here.
                _ => {}
            }
        }
    }
    assert!(documents > 5 && messages > 3, "the corpus is there");
    let mut socket = dial(&hall).await;
    assert!(is_alive(&mut socket).await);
    hall.close().await;
}
