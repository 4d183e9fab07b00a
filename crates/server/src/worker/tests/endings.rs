//! Connections with many subscriptions end without delaying others.

use std::{cell::Cell, rc::Rc};

use offhook_dialects::Incoming;
use offhook_engine::Identity;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::{super::Worker, Connection, connect, toy_outlet::List, worker};
use crate::worker::explaining::leaver;

/// A connection with so many subscriptions that they are ended in parts.
async fn large(worker: &Rc<Worker>, name: &str) -> Connection {
    let connection = subscribed(worker, name, 1_000).await;
    assert!(worker.state.borrow().engine.ends_in_parts(connection.id()));
    connection
}

async fn subscribed(worker: &Rc<Worker>, name: &str, channels: usize) -> Connection {
    let mut connection = connect(worker, Rc::new(List::default()).outlet());
    for n in 0..channels {
        let channel = format!("{name}/{n}");
        let subscribe = format!(r#"{{"type":"subscribe","id":{n},"channel":"{channel}"}}"#);
        connection.receive(Incoming::Text(&subscribe));
    }
    while worker.state.borrow().engine.unanswered(connection.id()) > 0 {
        yield_now().await;
    }
    connection
}

#[tokio::test(flavor = "current_thread")]
async fn the_recorder_knows_whether_an_ended_connection_had_more_subscriptions_than_it_remembers() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        for (channels, has_more) in [(64, false), (65, true)] {
            let connection = subscribed(&worker, "left", channels).await;
            let leaver = {
                let state = &mut *worker.state.borrow_mut();
                leaver(&state.engine, &mut state.outboxes, connection.id()).unwrap()
            };
            assert_eq!(leaver.progress.len(), 64);
            assert_eq!(leaver.has_more, has_more, "{channels}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_does_not_wait_until_all_subscriptions_of_a_lost_connection_have_ended() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let leaving = large(&worker, "left").await;
        let list = Rc::new(List::default());
        let mut other = connect(&worker, list.outlet());
        drop(leaving);
        // The first part has ended.
        yield_now().await;
        other.receive(Incoming::Text(
            r#"{"type":"publish","id":2,"channel":"chat","data":1}"#,
        ));
        list.until(r#""type":"published""#).await;
        assert!(worker.state.borrow().engine.is_leaving());
        while worker.state.borrow().engine.is_leaving() {
            yield_now().await;
        }
        assert_eq!(worker.state.borrow().engine.subscriptions(), 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn large_connections_that_are_lost_at_once_are_ended_one_after_another() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        const CROWD: usize = 5;
        let ended = Rc::new(Cell::new(0));
        let mut connections = Vec::new();
        for n in 0..CROWD {
            connections.push(large(&worker, &format!("left/{n}")).await);
        }
        for connection in connections {
            let ended = Rc::clone(&ended);
            spawn_local(async move {
                connection.until_it_may_end().await;
                drop(connection);
                ended.set(ended.get() + 1);
            });
        }
        while ended.get() < CROWD {
            let before = ended.get();
            yield_now().await;
            assert!(ended.get() - before <= 1, "{before} and {}", ended.get());
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn tokens_that_expire_at_the_same_moment_are_ended_some_at_a_time() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        const CROWD: usize = 200;
        const END: u64 = 1_000_000;
        let mut connections = Vec::new();
        for _ in 0..CROWD {
            let connection = connect(&worker, Rc::new(List::default()).outlet());
            let identity = Identity {
                ends_ms: Some(END),
                ..Identity::user("ann")
            };
            worker.exchange_identity(connection.id(), identity, "a test");
            connections.push(connection);
        }
        let left = || worker.state.borrow().engine.connections();
        let (mut before, mut most) = (left(), 0);
        assert_eq!(before, CROWD);
        while worker.end_some_expired(END) {
            most = most.max(before - left());
            before = left();
        }
        assert_eq!(left(), 0);
        assert!(most > 0 && most <= CROWD / 2, "{most} at once");
    };
    LocalSet::new().run_until(test).await;
}
