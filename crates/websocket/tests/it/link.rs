//! The pair in memory and what its link can do.

use std::io::ErrorKind;
use std::time::Duration;

use offhook::protocol::deflate::DeflateConfig;
use offhook::{Error, Message, Pair, Settings, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

#[tokio::test]
async fn a_pair_sends_in_both_directions() {
    let (mut client, mut server) = pair();
    client.send("to the server").await.unwrap();
    server.send(&b"to the client"[..]).await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("to the server".into()));
    let expected = Message::from(&b"to the client"[..]);
    assert_eq!(client.recv().await.unwrap(), Some(expected));
}

#[tokio::test]
async fn a_pair_negotiates_a_subprotocol_and_compression() {
    let deflating = Settings::default().deflate(DeflateConfig::default());
    let (client, server, _link) = Pair::new().protocol("chat").settings(&deflating).open();
    assert_eq!(client.protocol(), Some("chat"));
    assert_eq!(server.protocol(), Some("chat"));
    assert!(client.deflate().is_some());
    assert_eq!(client.extensions(), server.extensions());

    let (client, server, _link) = Pair::new().client(&deflating).open();
    assert_eq!((client.deflate(), server.deflate()), (None, None));
}

#[tokio::test]
async fn a_pair_transfers_a_compressed_message() {
    let deflating = Settings::default().deflate(DeflateConfig::default());
    let (client, mut server, _link) = Pair::new().settings(&deflating).open();
    let long = "so it goes ".repeat(1_000);
    client.send(long.as_str()).await.unwrap();
    assert!(client.buffered_amount() < long.len() / 10);
    assert_eq!(server.recv().await.unwrap(), Some(long.into()));
}

#[tokio::test(start_paused = true)]
async fn a_delay_applies_to_each_byte() {
    let delay = Duration::from_millis(70);
    let (client, mut server, link) = Pair::new().delay(delay).open();
    let begun = Instant::now();
    client.send("a").await.unwrap();
    server.recv().await.unwrap();
    assert_eq!(begun.elapsed(), delay);

    link.set_delay(Duration::ZERO);
    client.send("b").await.unwrap();
    server.recv().await.unwrap();
    assert_eq!(begun.elapsed(), delay);
}

#[tokio::test(start_paused = true)]
async fn a_bandwidth_makes_a_long_message_take_its_time() {
    let (mut near, mut far, link) = Pair::new().bandwidth(10_000).link();
    let begun = Instant::now();
    let mut read = vec![0; 50_000];
    tokio::spawn(async move { near.write_all(&[7; 50_000]).await });
    far.read_exact(&mut read).await.unwrap();
    let taken = begun.elapsed().as_millis();
    assert!((5_000..5_010).contains(&taken), "{taken} ms");
    link.set_bandwidth(None);
}

#[tokio::test]
async fn a_link_holds_at_most_its_capacity() {
    let (mut near, mut far, link) = Pair::new().capacity(1_000).link();
    assert_eq!(near.write(&[1; 4_000]).await.unwrap(), 1_000);
    let more = tokio::spawn(async move { near.write(&[2; 4_000]).await });
    tokio::task::yield_now().await;
    assert!(!more.is_finished());
    link.set_capacity(1_500);
    assert_eq!(more.await.unwrap().unwrap(), 500);
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_arrived_bytes_can_be_read_and_bytes_in_flight_are_lost() {
    let (mut near, mut far, link) = Pair::new().link();
    near.write_all(b"arrived").await.unwrap();
    link.set_delay(Duration::from_secs(1));
    near.write_all(b"lost").await.unwrap();
    link.cut();
    let mut read = String::new();
    far.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "arrived");
    let error = near.write(b"too late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_reset_is_an_error_at_both_ends_even_for_waiters() {
    let (mut client, mut server, link) = Pair::new().open();
    let waiting = tokio::spawn(async move { server.recv().await });
    tokio::task::yield_now().await;
    link.fail(ErrorKind::ConnectionReset);
    for ended in [client.recv().await, waiting.await.unwrap()] {
        match ended {
            Err(Error::Lost(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_held_back_by_a_stall_arrive_after_it() {
    let (client, mut server, link) = Pair::new().open();
    link.stall();
    client.send("held").await.unwrap();
    client.flush().await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(5), server.recv());
    assert!(waiting.await.is_err(), "nothing arrives");
    link.resume();
    assert_eq!(server.recv().await.unwrap(), Some("held".into()));
}

#[tokio::test(start_paused = true)]
async fn over_a_stalled_link_the_end_of_the_other_side_is_not_noticed() {
    let (near, mut far, link) = Pair::new().link();
    link.stall();
    drop(near);
    far.write_all(b"to nobody").await.unwrap();
    let mut byte = [0];
    let waiting = tokio::time::timeout(Duration::from_secs(5), far.read(&mut byte));
    assert!(waiting.await.is_err());
    link.resume();
    assert_eq!(far.read(&mut byte).await.unwrap(), 0);
    assert!(far.write(b"to nobody").await.is_err());
}
