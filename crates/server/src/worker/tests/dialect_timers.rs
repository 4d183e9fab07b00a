//! A dialect is called when the time comes that it asked for, and not before.

use std::{rc::Rc, time::Duration};

use offhook_dialects::Incoming;
use offhook_engine::Now;

use super::{
    super::{
        Guest, Speaker, Worker,
        connecting::{Connected, Connecting},
        connection::Connection,
        now,
    },
    toy_dialect::{Lines, SILENCE},
    toy_outlet::List,
    worker,
};

fn connect(worker: &Rc<Worker>, list: &Rc<List>) -> Connection {
    let speaker = Speaker::Other(Box::new(Box::new(Lines::default())));
    let guest = Guest {
        speaker,
        identity: None,
        approach: None,
        peer: None,
        upgrades: None,
    };
    let mut connecting = Connecting::new(list.outlet(), guest);
    match connecting.receive(worker, Incoming::Text("+chat")) {
        Ok(Connected::Yes(connection, _)) => connection,
        other => panic!("{other:?}"),
    }
}

fn after(start: Now, time: Duration) -> Now {
    Now {
        instant: start.instant + time,
        unix_ms: start.unix_ms,
    }
}

#[test]
fn a_dialect_pings_a_silent_client_and_closes_it_if_it_stays_silent() {
    let (worker, _phase) = worker();
    let list = Rc::new(List::default());
    let before = now();
    let mut connection = connect(&worker, &list);
    let since = now();
    drop(list.take());

    worker.keep_dialects_time(after(before, SILENCE - Duration::from_millis(1)));
    assert_eq!(list.take(), Vec::<String>::new(), "it is not time yet");
    worker.keep_dialects_time(after(since, SILENCE));
    assert_eq!(list.take(), ["."]);
    worker.keep_dialects_time(after(since, SILENCE));
    assert_eq!(list.take(), Vec::<String>::new(), "once is enough");

    // An answer begins the silence anew.
    connection.receive(Incoming::Text("nothing"));
    let since = now();
    drop(list.take());
    worker.keep_dialects_time(after(since, SILENCE));
    assert_eq!(list.take(), ["."]);
    worker.keep_dialects_time(after(since, 2 * SILENCE));
    let (code, reason) = list.closed().expect("it was silent twice as long");
    assert_eq!((code.get(), reason.as_str()), (1008, "silent for too long"));
}

#[test]
fn an_ended_connection_is_not_called_again() {
    let (worker, _phase) = worker();
    let gone = Rc::new(List::default());
    drop(connect(&worker, &gone));
    drop(gone.take());
    // Its place is another's now.
    let list = Rc::new(List::default());
    let connection = connect(&worker, &list);
    drop(list.take());
    worker.keep_dialects_time(after(now(), SILENCE));
    assert_eq!(gone.take(), Vec::<String>::new());
    assert_eq!(list.take(), ["."]);
    drop(connection);
}
