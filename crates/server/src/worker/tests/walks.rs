//! A large audience is served in parts, so that other work is done in between.

use std::{rc::Rc, sync::Arc};

use offhook_dialects::Incoming;

use super::{
    super::{Worker, ticks::SEALS, turn::DELIVERIES},
    Connection, connect,
    toy_outlet::List,
    worker,
};

/// Takes all events of the broker, and leaves broadcasts where they are.
fn take_all(worker: &Rc<Worker>) {
    let mailbox = Arc::clone(&worker.state.borrow().mailbox);
    loop {
        let mut events = mailbox.take().into_iter().peekable();
        if events.peek().is_none() {
            return;
        }
        while events.peek().is_some() {
            worker.take_events(&mut events);
        }
    }
}

#[test]
fn a_broadcast_in_parts_reaches_each_connection_in_order() {
    const AUDIENCE: usize = 600;
    let (worker, _phase) = worker();
    let lists: Vec<_> = (0..AUDIENCE).map(|_| Rc::new(List::default())).collect();
    let mut connections: Vec<_> = lists
        .iter()
        .map(|list| connect(&worker, list.outlet()))
        .collect();
    for connection in &mut connections {
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat"}"#,
        ));
    }
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));
    let told = |list: &Rc<List>| {
        let all = list.take();
        all.iter()
            .map(|text| text.split(r#"","#).next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    let publisher = Rc::new(List::default());
    let mut publisher = connect(&worker, publisher.outlet());
    for n in 0..3 {
        let publish = format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":{n}}}"#);
        publisher.receive(Incoming::Text(&publish));
    }
    take_all(&worker);
    assert!(worker.walk(), "one part is not all");
    let has_some: Vec<bool> = lists.iter().map(|list| !list.is_empty()).collect();
    let some = has_some.iter().filter(|has| **has).count();
    assert_eq!(some, DELIVERIES, "a part is so many deliveries");

    // A connection whose turn has not come makes a request: what is held for it comes first.
    let waiting = has_some.iter().position(|has| !has).unwrap();
    connections[waiting].receive(Incoming::Text(r#"{"type":"ping","id":3}"#));
    let message = r#"{"type":"message"#;
    assert_eq!(
        told(&lists[waiting]),
        [message, message, message, r#"{"type":"pong"#]
    );
    // A connection that ends while it waits is skipped, and another may take its index.
    let gone = has_some.iter().rposition(|has| !has).unwrap();
    drop(connections.swap_remove(gone));
    let newcomer = Rc::new(List::default());
    let _newcomer = connect(&worker, newcomer.outlet());

    while worker.walk() {}
    for (n, list) in lists.iter().enumerate() {
        if n != waiting && n != gone {
            assert_eq!(told(list), [message, message, message], "connection {n}");
        }
    }
    assert!(
        told(&lists[waiting]).is_empty(),
        "it has had everything once"
    );
    assert_eq!(told(&newcomer), [r#"{"type":"welcome"#]);
}

#[test]
fn a_turn_takes_no_more_events_than_it_can_deliver() {
    const AUDIENCE: usize = 600;
    const PUBLICATIONS: usize = 200;
    let (worker, _phase) = worker();
    let lists: Vec<_> = (0..AUDIENCE).map(|_| Rc::new(List::default())).collect();
    let mut connections: Vec<_> = lists
        .iter()
        .map(|list| connect(&worker, list.outlet()))
        .collect();
    // Each has a number of its own, so that nothing is shared between two publications.
    for connection in &mut connections {
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat","subscription":7}"#,
        ));
    }
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));
    let publisher = Rc::new(List::default());
    let mut publisher = connect(&worker, publisher.outlet());
    for n in 0..PUBLICATIONS {
        let publish = format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":{n}}}"#);
        publisher.receive(Incoming::Text(&publish));
    }
    let mailbox = Arc::clone(&worker.state.borrow().mailbox);
    let mut events = mailbox.take().into_iter().peekable();
    let put = || lists.iter().map(|list| list.count()).sum::<usize>();
    let (mut turns, mut before) = (0, 0);
    loop {
        worker.take_events(&mut events);
        loop {
            let more = worker.walk();
            let now = put();
            assert!(now - before <= DELIVERIES, "{} in one turn", now - before);
            (turns, before) = (turns + 1, now);
            if !more {
                break;
            }
        }
        if events.peek().is_none() {
            break;
        }
    }
    assert_eq!(before, AUDIENCE * PUBLICATIONS, "nobody is forgotten");
    assert!(turns >= AUDIENCE * PUBLICATIONS / DELIVERIES);
}

#[test]
fn a_token_is_sent_after_every_publication_that_it_counts_as_delivered() {
    const AUDIENCE: usize = 600;
    let (worker, _phase) = worker();
    let lists: Vec<_> = (0..AUDIENCE).map(|_| Rc::new(List::default())).collect();
    let mut connections: Vec<_> = lists
        .iter()
        .map(|list| connect(&worker, list.outlet()))
        .collect();
    for connection in &mut connections {
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat"}"#,
        ));
    }
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));

    let publisher = Rc::new(List::default());
    let mut publisher = connect(&worker, publisher.outlet());
    publisher.receive(Incoming::Text(
        r#"{"type":"publish","id":1,"channel":"chat","data":1}"#,
    ));
    take_all(&worker);
    // Subscribing made every token stale; the publication is held for all of them.
    let stale = worker.state.borrow_mut().outboxes.take_stale();
    let mut left = &stale[..];
    while !left.is_empty() {
        let before = left.len();
        left = worker.seal_stale(left);
        let sealed = before - left.len();
        assert!(
            sealed <= SEALS.div_ceil(3),
            "{sealed} connections in one turn, each with a broadcast before its token"
        );
    }
    while worker.walk() {}
    for (n, list) in lists.iter().enumerate() {
        let all = list.take();
        let kinds: Vec<_> = all
            .iter()
            .map(|text| text.split(r#"","#).next().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [r#"{"type":"message"#, r#"{"type":"token"#],
            "connection {n}"
        );
    }
}

#[test]
fn copies_of_several_messages_are_put_together_in_order() {
    const AUDIENCE: usize = 100;
    let (worker, _phase) = worker();
    let lists: Vec<_> = (0..AUDIENCE).map(|_| Rc::new(List::default())).collect();
    let mut connections: Vec<_> = lists
        .iter()
        .map(|list| connect(&worker, list.outlet()))
        .collect();
    let subscribe = |connection: &mut Connection, number: usize| {
        connection.receive(Incoming::Text(&format!(
            r#"{{"type":"subscribe","id":2,"channel":"chat","subscription":{number}}}"#
        )));
    };
    for connection in &mut connections {
        subscribe(connection, 7);
    }
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));
    let publisher = Rc::new(List::default());
    let mut publisher = connect(&worker, publisher.outlet());
    let mut publish = |n: usize| {
        let publish = format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":{n}}}"#);
        publisher.receive(Incoming::Text(&publish));
    };
    let data = |list: &Rc<List>| {
        let all = list.take();
        let data_of = |text: &String| {
            let message: serde_json::Value = serde_json::from_str(text).unwrap();
            (
                message["subscription"].as_u64().unwrap(),
                message["data"].as_u64().unwrap(),
            )
        };
        all.iter().map(data_of).collect::<Vec<_>>()
    };
    (0..4).for_each(&mut publish);
    take_all(&worker);
    assert!(worker.walk(), "one part is not all");
    let counts: Vec<_> = lists.iter().map(|list| list.count()).collect();
    let complete = counts.iter().filter(|count| **count == 4).count();
    assert_eq!(
        complete,
        DELIVERIES / 4,
        "each gets all at once: {counts:?}"
    );
    assert_eq!(counts.iter().sum::<usize>(), DELIVERIES);
    while worker.walk() {}
    for list in &lists {
        assert_eq!(data(list), [(7, 0), (7, 1), (7, 2), (7, 3)]);
    }

    // A connection with two subscriptions gets a message for both before it gets the next message.
    subscribe(&mut connections[0], 8);
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));
    (4..6).for_each(&mut publish);
    take_all(&worker);
    while worker.walk() {}
    let mut twice = data(&lists[0]);
    twice[..2].sort_unstable();
    twice[2..].sort_unstable();
    assert_eq!(twice, [(7, 4), (8, 4), (7, 5), (8, 5)]);
    assert_eq!(data(&lists[1]), [(7, 4), (7, 5)]);
}

/// A large message is copied for each recipient, which takes longer than a small one.
#[test]
fn a_turn_copies_a_large_message_into_fewer_outboxes() {
    // 60 KB count as 4 outboxes.
    const AT_ONCE: usize = DELIVERIES / 4;
    let (worker, _phase) = worker();
    let lists: Vec<_> = (0..DELIVERIES).map(|_| Rc::new(List::default())).collect();
    let mut connections: Vec<_> = lists
        .iter()
        .map(|list| connect(&worker, list.outlet()))
        .collect();
    for connection in &mut connections {
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat","subscription":7}"#,
        ));
    }
    take_all(&worker);
    lists.iter().for_each(|list| drop(list.take()));
    let publisher = Rc::new(List::default());
    let mut publisher = connect(&worker, publisher.outlet());
    let data = "x".repeat(60_000);
    let publish = format!(r#"{{"type":"publish","id":1,"channel":"chat","data":"{data}"}}"#);
    publisher.receive(Incoming::Text(&publish));
    take_all(&worker);
    let put = || lists.iter().filter(|list| !list.is_empty()).count();
    assert!(worker.walk(), "one part is not all");
    assert_eq!(put(), AT_ONCE);
    while worker.walk() {}
    assert_eq!(put(), DELIVERIES);
}
