//! Consumers that join and leave a queue.

use std::rc::Rc;

use offhook_dialects::Intent;
use offhook_engine::{ChannelName, CommandId, SubscriptionId};
use tokio::task::{LocalSet, spawn_local};

use super::{connect, toy_outlet::List, worker};

/// A STOMP client that disconnects waits for the answers to all of its requests.
#[tokio::test(flavor = "current_thread")]
async fn a_consumer_that_leaves_while_its_queue_is_opened_gets_an_answer() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let list = Rc::new(List::default());
        let client = connect(&worker, list.outlet());
        let connection = client.id();
        let queue = (0..).find_map(|n| {
            let queue = ChannelName::new(&format!("queue/{n}")).unwrap();
            (worker.host_of(&queue) == 0).then_some(queue)
        });
        let subscription = SubscriptionId(7);
        let join = Intent::Consume {
            id: CommandId(5),
            queue: queue.unwrap(),
            subscription,
            window: 1,
        };
        worker.ask_queue(connection, join);
        worker.ask_queue(connection, Intent::Quit { subscription });
        // The worker takes both orders before the session of the queue can be loaded.
        spawn_local(Rc::clone(&worker).take_orders());
        let answers = list.until(r#""id":5"#).await;
        let answer = answers.last().unwrap();
        assert!(answer.contains("not_subscribed"), "{answer}");
    };
    LocalSet::new().run_until(test).await;
}
