//! A dialect is added by a line of routing.

use offhook_dialects::native;

use super::{next, toy_dialect::Lines};
use crate::{Config, door::Spoken, server::start_with, worker::Speaker};

#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_is_added_by_a_line_of_routing_and_shares_channels_with_native() {
    let config = Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        in_memory: true,
        ..Config::default()
    };
    let lines = Spoken {
        subprotocol: None,
        check: |_| Ok(()),
        upgrades: |_| None,
        admits: false,
        begin: |_, _| Speaker::Other(Box::new(Box::new(Lines::default()))),
    };
    let server = start_with(config, |routes| routes.with("/lines", lines)).unwrap();
    let address = server.addresses()[0];
    let mut toy = offhook::connect(&format!("ws://{address}/lines"))
        .await
        .unwrap();
    toy.send("+chat").await.unwrap();
    assert_eq!(next(&mut toy).await, "Subscribed");

    let url = format!("ws://{address}/ws");
    let mut ours = offhook::Connect::to(&url)
        .subprotocol(native::SUBPROTOCOL)
        .open()
        .await
        .unwrap();
    ours.send(r#"{"type":"connect","id":1}"#).await.unwrap();
    ours.send(r#"{"type":"subscribe","id":2,"channel":"chat"}"#)
        .await
        .unwrap();
    assert!(next(&mut ours).await.starts_with(r#"{"type":"welcome""#));
    assert!(next(&mut ours).await.starts_with(r#"{"type":"subscribed""#));

    toy.send("chat: hello").await.unwrap();
    let heard = [next(&mut toy).await, next(&mut toy).await];
    assert!(heard.contains(&"chat: hello".to_owned()), "{heard:?}");
    // A fresh resume token may come first.
    let message = loop {
        let message = next(&mut ours).await;
        if message.starts_with(r#"{"type":"message""#) {
            break message;
        }
    };
    assert!(message.contains(r#""channel":"chat""#) && message.contains(r#""data":"hello""#));
    toy.send("rubbish").await.unwrap();
    assert_eq!(next(&mut toy).await, "Refused(Refusal");
}
