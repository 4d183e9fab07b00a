//! The event `pusher_internal:subscription_count`.

use std::time::Instant;

use super::*;

fn counting() -> Config {
    let mut config = two_workers();
    config.pusher.subscription_count = true;
    config
}

impl Client {
    /// The count that the client is told next.
    async fn hear_count(&mut self, channel: &str) -> u64 {
        let told = self.hear_a("pusher_internal:subscription_count").await;
        assert_eq!(told["channel"], channel);
        data(&told)["subscription_count"].as_u64().unwrap()
    }

    /// Hears counts until this one.
    async fn hear_count_of(&mut self, channel: &str, count: u64) {
        while self.hear_count(channel).await != count {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_all_dialects_and_workers_are_counted() {
    let hall = Hall::open(counting()).await;
    let mut one = Client::open(&hall).await;
    one.subscribe("chat").await;
    assert_eq!(one.hear_count("chat").await, 1);
    let mut two = Client::open(&hall).await;
    two.subscribe("chat").await;
    // Another worker may be told an earlier count a moment later.
    two.hear_count_of("chat", 2).await;
    one.hear_count_of("chat", 2).await;
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    one.hear_count_of("chat", 3).await;
    two.send(json!({"event": "pusher:unsubscribe", "data": {"channel": "chat"}}))
        .await;
    one.hear_count_of("chat", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_has_the_name_of_the_channel_in_its_app() {
    let hall = Hall::open(counting()).await;
    let mut client = Client::open_at(&hall, "/app/other-key?protocol=7", OTHER).await;
    client.subscribe("private-a").await;
    assert_eq!(client.hear_count("private-a").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_presence_channels_are_not_counted() {
    let hall = Hall::open(counting()).await;
    let mut client = Client::open(&hall).await;
    client.join("presence-room", "ann").await;
    client.subscribe("chat").await;
    // The count of the other channel would have come first.
    assert_eq!(client.hear_count("chat").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_not_told_unless_it_is_enabled() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    client.subscribe("private-a").await;
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_channel_is_told_a_number_at_most_every_five_seconds() {
    let began = Instant::now();
    let hall = Hall::open(counting()).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    let mut others = Vec::new();
    for _ in 0..110 {
        let mut other = hall.caller().await;
        other.subscribe("chat", json!("now")).await;
        others.push(other);
    }
    let mut told = vec![0];
    while told.last() != Some(&111) {
        told.push(client.hear_count("chat").await);
    }
    let large = told.iter().filter(|count| **count > 100).count();
    let pauses = began.elapsed().as_secs() / 5;
    assert!(large as u64 <= pauses + 1, "{told:?} in {pauses} pauses");
    assert!(told.is_sorted(), "{told:?}");
}
