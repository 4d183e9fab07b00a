//! Requests over HTTP as connections.

use std::rc::Rc;

use offhook_dialects::{jsonrpc::Once, native::Native};
use offhook_engine::CloseReason;
use tokio::{
    sync::oneshot,
    task::{LocalSet, spawn_local, yield_now},
};

use super::{Guest, Speaker, worker};
use crate::worker::{CarriedId, Carry, Messages};

const NOTIFICATION: &str = r#"{"jsonrpc":"2.0","method":"publish","params":["chat",1]}"#;
const PUBLISH: &str = r#"{"jsonrpc":"2.0","id":1,"method":"publish","params":["chat",1]}"#;

fn guest(speaker: Speaker) -> Guest {
    Guest {
        speaker,
        identity: None,
        approach: None,
        peer: None,
        upgrades: None,
    }
}

fn once(message: &str) -> Guest {
    guest(Speaker::Other(Box::new(Box::new(Once::new(
        message.to_owned(),
    )))))
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_whose_connection_the_server_ends_is_not_taken_for_a_notification() {
    let test = async {
        let (worker, _phase) = worker();
        let mail = spawn_local(Rc::clone(&worker).take_mail());
        let stream = worker.stream(once(NOTIFICATION)).await;
        assert_eq!(stream.take().await, None);
        assert!(stream.is_answered());
        // The answer of the broker is not taken any more, so that the request waits.
        mail.abort();
        let stream = worker.stream(once(PUBLISH)).await;
        let connection = stream.connection().unwrap().id();
        worker.close_connection(connection, CloseReason::Disconnected);
        assert_eq!(stream.take().await, None);
        assert!(stream.is_connected() && !stream.is_answered());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn other_tasks_run_while_the_messages_of_a_request_are_handled() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let stream = worker
            .carry_streamed(guest(Speaker::Native(Native::default())))
            .unwrap();
        let first = stream.first().await;
        let id = first
            .split('"')
            .find_map(|part| part.parse::<CarriedId>().ok())
            .unwrap();
        let connect = r#"{"type":"connect","id":1,"lineage":true}"#.to_owned();
        let pings = format!(
            "{connect}\n{}",
            "{\"type\":\"ping\",\"id\":2}\n".repeat(1_000)
        );
        let (done, mut handled) = oneshot::channel();
        let send = Carry::Send {
            number: Some(1),
            messages: Messages::Lines(pings),
            done,
        };
        worker.take_carry(id, send);
        let mut turns = 0;
        while handled.try_recv().is_err() {
            yield_now().await;
            turns += 1;
        }
        assert!(turns >= 10, "{turns}");
    };
    LocalSet::new().run_until(test).await;
}
