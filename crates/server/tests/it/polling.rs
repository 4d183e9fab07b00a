//! `GET /poll`: what was published after a position, with one request.

use serde_json::{Value, json};

use crate::hall::{Hall, config};

async fn poll(hall: &Hall, query: &str) -> Value {
    let (status, head, body) = hall.get(&format!("/poll?{query}")).await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// The query that continues after an answer.
fn after(answer: &Value) -> String {
    format!("since={}:{}", answer["epoch"], answer["offset"])
}

fn data(answer: &Value) -> Vec<Value> {
    let publications = answer["publications"].as_array().unwrap();
    publications.iter().map(|p| p["data"].clone()).collect()
}

#[tokio::test]
async fn without_a_position_a_poll_returns_the_current_one() {
    let hall = Hall::open(config()).await;
    let position = hall.caller().await.publish("chat", json!(1)).await;
    let answer = poll(&hall, "channel=chat").await;
    assert_eq!(
        format!("{}.{}", answer["epoch"], answer["offset"]),
        position
    );
    assert_eq!(answer["publications"], json!([]));
}

#[tokio::test]
async fn consecutive_polls_neither_lose_nor_repeat_publications() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let mut answer = poll(&hall, "channel=chat").await;
    let mut seen = Vec::new();
    for n in 0..10 {
        for part in 0..n {
            publisher.publish("chat", json!([n, part])).await;
        }
        answer = poll(&hall, &format!("channel=chat&{}", after(&answer))).await;
        assert_eq!(answer["publications"].as_array().unwrap().len(), n);
        assert!(answer.get("gap").is_none());
        seen.extend(data(&answer));
    }
    assert_eq!(seen.len(), 45);
    let all = poll(&hall, "channel=chat&since=start").await;
    assert_eq!(data(&all), seen);
    let newest = poll(&hall, "channel=chat&since=last:2").await;
    assert_eq!(data(&newest), seen[43..]);
    assert_eq!(all["publications"][0]["channel"], "chat");
    assert_eq!(all["publications"][0]["offset"], 1);
}

#[tokio::test]
async fn a_waiting_poll_is_answered_as_soon_as_something_is_published() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let answer = poll(&hall, "channel=chat").await;
    let query = format!("channel=chat&wait=60&{}", after(&answer));
    let publish = async {
        // It is published once the poll has subscribed.
        while hall.health().await.1["connections"] != 2 {}
        publisher.publish("chat", json!("now")).await;
    };
    let (answer, ()) = tokio::join!(poll(&hall, &query), publish);
    assert_eq!(data(&answer), [json!("now")]);
    // A poll with `since=now` waits, too.
    let publish = async {
        while hall.health().await.1["connections"] != 2 {}
        publisher.publish("chat", json!("again")).await;
    };
    let (answer, ()) = tokio::join!(poll(&hall, "channel=chat&since=now&wait=60"), publish);
    assert_eq!(data(&answer), [json!("again")]);
}

#[tokio::test]
async fn a_wait_without_publications_ends_at_the_same_position() {
    let hall = Hall::open(config()).await;
    hall.caller().await.publish("chat", json!(1)).await;
    let first = poll(&hall, "channel=chat").await;
    let query = format!("channel=chat&wait=1&{}", after(&first));
    assert_eq!(poll(&hall, &query).await, first);
}

#[tokio::test]
async fn an_invalid_position_is_a_gap_with_its_reason() {
    let hall = Hall::open(config()).await;
    hall.caller().await.publish("chat", json!(1)).await;
    let here = poll(&hall, "channel=chat").await;
    let answer = poll(&hall, "channel=chat&since=17:5").await;
    assert_eq!(answer["gap"]["reason"], "epoch_changed");
    assert_eq!(answer["gap"]["from"], "17.5");
    assert_eq!(data(&answer), [json!(1)]);
    assert_eq!(answer["offset"], here["offset"]);
    let ahead = format!("channel=chat&since={}:99", here["epoch"]);
    let answer = poll(&hall, &ahead).await;
    assert_eq!(answer["gap"]["reason"], "unknown_position");
    assert_eq!(
        (&answer["epoch"], &answer["offset"]),
        (&here["epoch"], &here["offset"])
    );
    // The next request continues after the gap.
    let next = poll(&hall, &format!("channel=chat&{}", after(&answer))).await;
    assert!(next.get("gap").is_none());
}

#[tokio::test]
async fn a_long_stream_is_polled_in_pages() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let large = "x".repeat(20_000);
    for n in 0..30 {
        publisher.publish("chat", json!([n, large])).await;
    }
    let (mut query, mut seen, mut pages) = ("since=start".to_owned(), 0, 0);
    loop {
        let answer = poll(&hall, &format!("channel=chat&{query}")).await;
        for publication in data(&answer) {
            assert_eq!(publication[0], seen);
            seen += 1;
        }
        pages += 1;
        query = after(&answer);
        if answer.get("more").is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (30, 5));
}

#[tokio::test]
async fn a_filter_is_polled_by_its_own_position() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let first = poll(&hall, "filter=chat/%2B").await;
    publisher.publish("chat/a", json!(1)).await;
    publisher.publish("chats", json!(2)).await;
    publisher.publish("chat/b", json!(3)).await;
    let answer = poll(&hall, &format!("filter=chat/%2B&{}", after(&first))).await;
    assert_eq!(data(&answer), [json!(1), json!(3)]);
    let next = poll(&hall, &format!("filter=chat/%2B&{}", after(&answer))).await;
    assert_eq!(next["publications"], json!([]));
}

/// Before, only the last gap was answered, as if it were the filter's.
#[tokio::test]
async fn a_poll_by_filter_reports_the_gap_of_each_channel() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let first = poll(&hall, "filter=%23").await;
    for channel in ["fleeting/a", "fleeting/b", "chat"] {
        publisher.publish(channel, json!(1)).await;
    }
    let answer = poll(&hall, &format!("filter=%23&{}", after(&first))).await;
    assert_eq!(data(&answer), [json!(1)]);
    let gaps = answer["gaps"].as_array().unwrap().iter();
    let mut channels: Vec<_> = gaps.map(|gap| gap["channel"].as_str().unwrap()).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["fleeting/a", "fleeting/b"]);
    assert!(answer.get("gap").is_none(), "{answer}");
    let next = poll(&hall, &format!("filter=%23&{}", after(&answer))).await;
    assert!(next.get("gaps").is_none(), "{next}");
}

#[tokio::test]
async fn a_polling_client_is_a_member_only_while_its_request_waits() {
    let hall = Hall::open(config()).await;
    let mut watcher = hall.caller().await;
    let subscribe = json!({"type": "subscribe", "channel": "chat", "presence": true});
    watcher.ask(subscribe).await;
    watcher.hear_a("join").await;
    poll(&hall, "channel=chat").await;
    let join = watcher.hear_a("join").await;
    assert_eq!(watcher.hear_a("leave").await["session"], join["session"]);
}

#[tokio::test]
async fn an_invalid_poll_is_refused_with_a_reason() {
    let hall = Hall::open(config()).await;
    for (query, status, word) in [
        ("", 400, "channel"),
        ("channel=a&channel=b", 400, "/sse"),
        ("channel=a&wait=61", 400, "wait"),
        ("channel=a&wait=soon", 400, "wait"),
        ("channel=a&since=state", 400, "state"),
        ("channel=a&since=1:2:3", 400, "since"),
        ("channel=silent/1", 403, "silent/1"),
    ] {
        let (answered, _, body) = hall.get(&format!("/poll?{query}")).await;
        assert_eq!(answered, status, "{query}: {body}");
        assert!(body.contains(word), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_waiting_poll_does_not_delay_the_stop_of_the_server() {
    let hall = Hall::open(config()).await;
    let answer = poll(&hall, "channel=chat").await;
    let address = hall.address();
    let query = format!("/poll?channel=chat&wait=60&{}", after(&answer));
    let request = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    while hall.health().await.1["connections"] != 1 {}
    // The answer arrives before the server's own deadline, after which the connection is cut off.
    hall.close().await;
    let answer = request.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\"publications\":[]}\n"), "{answer}");
}
