//! Many clients lose their connections at the same moment, and come back.

use std::{env, num::NonZeroUsize};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    asked::{Does, TestBackend, impatient},
    caller::Caller,
    hall::Hall,
};

/// How many clients there are. 5,000 with `OFFHOOK_LONG=1`: each takes two descriptors of this process,
/// which may have 20,000.
fn clients() -> usize {
    match env::var_os("OFFHOOK_LONG") {
        Some(_) => 5_000,
        None => 200,
    }
}

/// How many connect at the same time. 100: fewer than a socket's backlog.
const TOGETHER: usize = 100;

/// Runs something for each client, so many at once, and returns the results in the same order.
async fn each<T, F>(count: usize, start: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let mut running = JoinSet::new();
    for n in 0..count {
        if running.len() == TOGETHER {
            let (n, result): (usize, T) = running.join_next().await.unwrap().unwrap();
            results[n] = Some(result);
        }
        let one = start(n);
        running.spawn(async move { (n, one.await) });
    }
    while let Some(ended) = running.join_next().await {
        let (n, result) = ended.unwrap();
        results[n] = Some(result);
    }
    results.into_iter().map(Option::unwrap).collect()
}

/// A client of the channel for all, with its resume token.
async fn arrive(number: offhook::Connect) -> Caller {
    let mut caller = Caller::new(number.open().await.unwrap());
    caller.connect().await;
    caller.subscribe("asked/all", json!("now")).await;
    caller.fresh_token().await;
    caller
}

/// The same client again: what it missed.
async fn come_back(number: offhook::Connect, resume: String) -> Vec<Value> {
    let mut caller = Caller::new(number.open().await.unwrap());
    let welcome = caller.resume(&resume, json!({})).await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    caller.hear_a("subscribed").await;
    let mut missed = Vec::new();
    while missed.len() < 3 {
        missed.push(caller.hear_a("message").await["data"].clone());
    }
    missed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_reconnecting_clients_asks_the_backend_nothing_and_loses_nothing() {
    let count = clients();
    let mut backend = TestBackend::new(|_| Does::Says(json!({ "allow": true }))).await;
    let mut config = impatient(&backend);
    config.workers = NonZeroUsize::new(2).unwrap();
    config.backend.connect = true;
    config.backend.timeout = std::time::Duration::from_secs(30);
    config.connections.handshakes_per_second = 1_000_000;
    config.connections.handshake_burst = 1_000_000;
    let hall = Hall::open(config).await;
    let number = hall.number();
    let callers = each(count, |_| arrive(number.clone())).await;
    // A connect and a subscribe of each.
    assert_eq!(backend.heard().len(), 2 * count);
    let tokens: Vec<String> = callers.iter().map(|caller| caller.resume.clone()).collect();
    callers.into_iter().for_each(Caller::cut);
    // While nobody is there.
    let mut publisher = hall.caller().await;
    for n in 0..3 {
        publisher.publish("asked/all", json!(n)).await;
    }
    // The connect of the publisher, and its three publications.
    assert_eq!(backend.heard().len(), 4);
    let missed = each(count, |n| come_back(number.clone(), tokens[n].clone())).await;
    assert!(
        missed
            .iter()
            .all(|missed| *missed == [json!(0), json!(1), json!(2)])
    );
    assert!(backend.heard().is_empty(), "resuming asks nothing");
}
