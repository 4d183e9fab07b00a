//! Queues, whose consumers share the messages.

use super::*;

#[test]
fn a_queue_is_consumed_with_the_permission_to_subscribe() {
    let mut client = Client::of(Version::V12);
    client.send(&subscribe("/queue/jobs", "client-individual").with("prefetch-count", "3"));
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.target.as_str(), "queue/jobs");
    assert_eq!(wish.flow, Flow::Acknowledged { window: 1 });
    client.answer(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    let Some(Intent::Consume { queue, window, .. }) = client.others.first() else {
        panic!("{:?}", client.others);
    };
    assert_eq!((queue.as_str(), *window), ("queue/jobs", 3));
    // The permission delivers nothing.
    assert_eq!(client.deliver(wish.id.unwrap(), "queue/jobs", 1), None);
}

#[test]
fn messages_of_a_queue_are_processed_or_given_back() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/queue/jobs", "client-individual"));
    let first = client.queued(id, 1, 0).unwrap();
    assert_eq!(first.header("destination"), Some("/queue/jobs"));
    let second = client.queued(id, 2, 3).unwrap();
    assert_eq!(second.header("deliveries"), Some("4"));
    client.send(&ack("NACK", &first));
    client.send(&ack("ACK", &second));
    assert_eq!(client.settled(), [(1, false), (2, true)]);
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert_eq!(client.others, [Intent::Quit { subscription: id }]);
    assert_eq!(client.queued(id, 3, 0), None);
}

#[test]
fn a_queue_without_acknowledgements_settles_the_messages_that_it_sent() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/queue/jobs", "auto"));
    let message = client.queued(id, 1, 0).unwrap();
    assert_eq!(message.header("ack"), None);
    assert_eq!(client.settled(), [(1, true)]);
}
