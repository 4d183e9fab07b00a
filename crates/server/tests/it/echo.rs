//! The path for suites of tests that check WebSockets.

use offhook::{Connect, Message};
use offhook_server::Config;
use tokio::time::timeout;

use crate::hall::{Hall, NEVER, config};

fn echoing() -> Config {
    Config {
        echo_path: Some("/echo".to_owned()),
        ..config()
    }
}

#[tokio::test]
async fn at_the_echo_path_every_message_comes_back() {
    let mut with_users = echoing();
    // It needs no token.
    with_users.auth.anonymous = Some(false);
    let hall = Hall::open(with_users).await;
    let url = format!("ws://{}/echo", hall.address());
    let mut socket = Connect::to(url).no_proxy().open().await.unwrap();
    for message in [
        Message::from("text"),
        Message::from(""),
        Message::from(vec![0_u8, 255]),
        Message::from("x".repeat(200_000)),
    ] {
        socket.send(message.clone()).await.unwrap();
        let back = timeout(NEVER, socket.recv()).await.unwrap().unwrap();
        assert_eq!(back, Some(message));
    }
}

#[tokio::test]
async fn without_the_setting_there_is_no_echo() {
    let hall = Hall::open(config()).await;
    let url = format!("ws://{}/echo", hall.address());
    assert!(Connect::to(url).no_proxy().open().await.is_err());
}
