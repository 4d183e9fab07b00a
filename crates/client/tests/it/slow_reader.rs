//! Subscribers that do not read: memory is limited, and nobody else waits for them.

use offhook_client::{Event, Since};

use crate::test_server::{TestServer, builder, next, numbers, text, texts, within};

/// Small enough to be full at once, large enough for a few.
const INBOX: usize = 4 * 1024;

#[tokio::test]
async fn a_reader_that_hangs_delays_nobody_and_gets_everything_later() {
    let server = TestServer::open().await;
    let publisher = server.client().await;
    let client = builder(server.address())
        .inbox(INBOX)
        .connect()
        .await
        .unwrap();
    let mut slow = client.subscribe("slow").await.unwrap();
    let mut fast = client.subscribe("fast").await.unwrap();
    for n in 0..500 {
        publisher
            .publish("slow", n.to_string())
            .unordered()
            .queue()
            .unwrap();
    }
    publisher.flush().await.unwrap();
    for n in 0..50 {
        publisher.publish("fast", n.to_string()).await.unwrap();
    }
    assert_eq!(texts(&mut fast, 50).await, numbers(0..50));
    let mut got = texts(&mut slow, 500).await;
    got.sort_by_key(|text| text.parse::<usize>().unwrap());
    assert_eq!(got, numbers(0..500));
    assert_eq!(client.repeats(), 0);
}

#[tokio::test]
async fn a_reader_that_publishes_and_requests_in_its_own_loop_never_blocks() {
    let server = TestServer::open().await;
    let publisher = server.client().await;
    for n in 0..300 {
        publisher.publish("questions", n.to_string()).await.unwrap();
    }
    let client = builder(server.address())
        .inbox(INBOX)
        .connect()
        .await
        .unwrap();
    let mut questions = client
        .subscribe("questions")
        .since(Since::Start)
        .await
        .unwrap();
    let mut answered = 0;
    while answered < 300 {
        if let Event::Publication(publication) = next(&mut questions).await {
            assert_eq!(text(&publication), answered.to_string());
            let answer = client.publish("answers", text(&publication));
            within(answer.into_future()).await.unwrap();
            answered += 1;
        }
    }
    assert_eq!(client.repeats(), 0);
}

#[tokio::test]
async fn a_long_history_is_delivered_at_the_readers_pace() {
    let server = TestServer::open().await;
    let publisher = server.client().await;
    let filler = "x".repeat(1_000);
    for n in 0..2_000 {
        let data = format!("{n} {filler}");
        publisher
            .publish("room", data)
            .unordered()
            .queue()
            .map_or_else(|error| assert!(error.is_retryable(), "{error}"), drop);
        if n % 200 == 199 {
            publisher.flush().await.unwrap();
        }
    }
    let all = publisher
        .history("room")
        .limit(1)
        .await
        .unwrap()
        .head
        .offset;
    let client = builder(server.address())
        .inbox(INBOX)
        .connect()
        .await
        .unwrap();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    for expected in 1..=all {
        match next(&mut room).await {
            Event::Publication(publication) => assert_eq!(publication.position.offset, expected),
            other => panic!("{other:?}"),
        }
        if expected % 100 == 0 {
            // Lets other tasks run.
            tokio::task::yield_now().await;
        }
    }
}
