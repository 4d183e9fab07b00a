//! How many clients may connect, and how fast.

use offhook::Error;

use crate::hall::{Hall, with_connections};

/// Status and `Retry-After` of a handshake that was refused.
async fn refused(hall: &Hall) -> (u16, Option<u64>) {
    match hall.number().open().await {
        Err(Error::Refused(refused)) => {
            let after = refused.headers().get_str("retry-after");
            (refused.status(), after.map(|after| after.parse().unwrap()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_above_the_limit_is_told_when_to_retry() {
    let hall = Hall::open(with_connections(|c| c.max = 2)).await;
    let (first, _second) = (hall.caller().await, hall.caller().await);
    let (status, after) = refused(&hall).await;
    assert_eq!(status, 503);
    assert!(after.is_some_and(|after| (2..10).contains(&after)));
    assert_eq!(
        hall.health().await.0,
        200,
        "the health report still answers"
    );

    let mut first = first;
    first
        .socket
        .close(offhook::protocol::CloseCode::NORMAL, "")
        .await
        .unwrap();
    // Its place is free as soon as the server has noticed.
    let mut next = loop {
        match hall.number().open().await {
            Ok(socket) => break crate::caller::Caller::new(socket),
            Err(Error::Refused(refused)) => assert_eq!(refused.status(), 503),
            Err(other) => panic!("{other}"),
        }
    };
    next.connect().await;
}

#[tokio::test]
async fn connections_of_one_address_are_limited() {
    let hall = Hall::open(with_connections(|c| c.max_per_address = Some(1))).await;
    let _first = hall.caller().await;
    assert_eq!(refused(&hall).await.0, 503);
}

#[tokio::test]
async fn handshakes_above_the_rate_are_told_when_to_retry() {
    let hall = Hall::open(with_connections(|c| {
        c.handshakes_per_second = 1;
        c.handshake_burst = 2;
    }))
    .await;
    let _two = (hall.caller().await, hall.caller().await);
    let (status, after) = refused(&hall).await;
    assert_eq!((status, after.is_some()), (503, true));
}

#[tokio::test]
async fn an_incomplete_request_head_times_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let short = std::time::Duration::from_millis(50);
    let hall = Hall::open(with_connections(|c| c.handshake_timeout = short)).await;
    let mut stream = tokio::net::TcpStream::connect(hall.address())
        .await
        .unwrap();
    stream.write_all(b"GET /ws HTTP/1.1\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
}
