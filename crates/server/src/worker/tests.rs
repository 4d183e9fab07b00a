//! Shows how a dialect and a transport are added, with ones that only these tests use.

mod dialect_timers;
mod endings;
mod queues;
mod requests;
mod routing;
mod toy_dialect;
mod toy_outlet;
mod walks;

use std::{rc::Rc, sync::Arc};

use offhook::WebSocket;
use offhook_brokers::Memory;
use offhook_dialects::{Incoming, native::Native};
use offhook_engine::{Limits, RuleBook};
use tokio::sync::{Notify, watch};

use super::{
    Guest, Phase, Shared, Speaker, Worker,
    connecting::{Connected, Connecting},
    connection::Connection,
    now,
    outlet::Outlet,
};
use crate::{
    Config,
    auth::Authenticator,
    backend::Links,
    door::Routes,
    tokens::{Sealer, fresh_key},
};

/// A worker without a thread: the test runs it.
fn worker() -> (Rc<Worker>, watch::Sender<Phase>) {
    let config = Config {
        in_memory: true,
        limits: Limits {
            publish_burst: 1_000,
            command_burst: 10_000,
            subscriptions: 1_000,
            ..Limits::default()
        },
        ..Config::default()
    };
    let rules: Arc<RuleBook> = Arc::new(config.rule_book());
    let broker = Arc::new(Memory::new(Arc::clone(&rules), now()));
    let keys = [fresh_key().unwrap()];
    let sealer = Arc::new(Sealer::new(&keys, config.resume.expiry));
    let routes = Routes::new(&config);
    let auth = Arc::new(Authenticator::open(&config).unwrap());
    let orders = Arc::new(super::Orders::new(config.workers.get()));
    let links = Links::default();
    let shared = Shared::new(config, broker, sealer, auth, orders, links, None, routes);
    let shared = Arc::new(shared);
    let (phase, serving) = watch::channel(Phase::Open);
    let mail = Arc::new(Notify::new());
    (Worker::new(0, shared, rules, serving, &mail), phase)
}

/// A connection with the native dialect over this outlet.
fn connect(worker: &Rc<Worker>, outlet: Outlet) -> Connection {
    let guest = Guest {
        speaker: Speaker::Native(Native::default()),
        identity: None,
        approach: None,
        peer: None,
        upgrades: None,
    };
    let mut connecting = Connecting::new(outlet, guest);
    let connect = Incoming::Text(r#"{"type":"connect","id":1,"lineage":true}"#);
    match connecting.receive(worker, connect) {
        Ok(Connected::Yes(connection, _)) => connection,
        other => panic!("{other:?}"),
    }
}

/// The next message of a client.
async fn next(socket: &mut WebSocket) -> String {
    let message = socket
        .recv()
        .await
        .unwrap()
        .expect("the connection is open");
    message
        .as_text()
        .expect("everything here is text")
        .to_owned()
}
