//! What is counted, and that counting happens outside of every lock.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{
    Closed, ClosedBy, Connect, Error, HandlerResult, Kind, Metrics, Pair, Prepared, Sender, Server,
    Settings, Traffic, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Records all calls.
#[derive(Default)]
struct Counts {
    told: Mutex<Told>,
    changed: Notify,
}

#[derive(Clone, Debug, Default)]
struct Told {
    opened: usize,
    failed: Vec<String>,
    traffic: Traffic,
    round_trips: Vec<Duration>,
    closed: Vec<Closed>,
}

impl Counts {
    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap());
        self.changed.notify_one();
    }

    fn now(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    async fn until(&self, is_so: impl Fn(&Told) -> bool) -> Told {
        loop {
            let told = self.now();
            if is_so(&told) {
                return told;
            }
            self.changed.notified().await;
        }
    }
}

impl Metrics for Counts {
    fn opened(&self) {
        self.note(|told| told.opened += 1);
    }

    fn failed(&self, error: &Error) {
        self.note(|told| told.failed.push(error.to_string()));
    }

    fn transferred(&self, traffic: &Traffic) {
        self.note(|told| {
            told.traffic.bytes_received += traffic.bytes_received;
            told.traffic.bytes_sent += traffic.bytes_sent;
            told.traffic.messages_received += traffic.messages_received;
            told.traffic.messages_sent += traffic.messages_sent;
        });
    }

    fn round_trip(&self, time: Duration) {
        self.note(|told| told.round_trips.push(time));
    }

    fn closed(&self, closed: &Closed, _open_for: Duration) {
        self.note(|told| told.closed.push(closed.clone()));
    }
}

async fn echo(mut socket: WebSocket) -> HandlerResult {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Both ends of a pair, and the counters of each.
fn counted_pair() -> (WebSocket, WebSocket, Arc<Counts>, Arc<Counts>) {
    let (near, far) = (Arc::new(Counts::default()), Arc::new(Counts::default()));
    let pair = Pair::new()
        .client(&Settings::default().metrics(near.clone()))
        .server(&Settings::default().metrics(far.clone()));
    let (client, server, _link) = pair.open();
    (client, server, near, far)
}

#[tokio::test]
async fn connections_bytes_messages_round_trips_and_codes_are_counted_at_both_ends() {
    let far = Arc::new(Counts::default());
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", server.local_addr().unwrap());
    let server = server.metrics(far.clone());
    tokio::spawn(server.serve(echo));

    let near = Arc::new(Counts::default());
    let connect = Connect::to(url).no_proxy().metrics(near.clone());
    let mut socket = connect.open().await.unwrap();
    for _ in 0..3 {
        socket.send("hello").await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), Some("hello".into()));
    }
    let round_trip = socket.ping().await.unwrap();
    socket.close(CloseCode::new(4001), "").await.unwrap();

    // Frames of the client are masked: 3 x 11, a ping of 14, a Close of 8. The server's are not:
    // 3 x 7, a pong of 10, a Close of 4.
    let (ours, theirs) = (33 + 14 + 8, 21 + 10 + 4);
    let near = near.until(|told| !told.closed.is_empty()).await;
    assert_eq!(near.opened, 1);
    assert_eq!(near.traffic.bytes_sent, ours);
    assert_eq!(near.traffic.bytes_received, theirs);
    assert_eq!(near.traffic.messages_sent, 3);
    assert_eq!(near.traffic.messages_received, 3);
    assert_eq!(near.round_trips, [round_trip]);
    assert_eq!(near.closed[0].code, CloseCode::new(4001));
    assert_eq!(near.closed[0].by, ClosedBy::Local);

    let far = far.until(|told| !told.closed.is_empty()).await;
    assert_eq!(far.opened, 1);
    assert_eq!(far.traffic.bytes_sent, theirs);
    assert_eq!(far.traffic.bytes_received, ours);
    assert_eq!(far.traffic.messages_sent, 3);
    assert_eq!(far.traffic.messages_received, 3);
    assert_eq!(far.closed.len(), 1);
    assert_eq!(far.closed[0].by, ClosedBy::Remote);
    assert_eq!(far.failed, [""; 0]);
}

#[tokio::test]
async fn a_message_counts_once_however_it_is_sent_and_received() {
    let (mut client, mut server, near, far) = counted_pair();
    let long = vec![7; 300_000];
    let sending = async {
        client.send("a").await.unwrap();
        client.send_urgent("b").await.unwrap();
        client.try_send("c").unwrap();
        client.put("d").unwrap();
        client.send(&Prepared::new("e")).await.unwrap();
        client
            .write_prepared(&[Prepared::new("f"), Prepared::new("g")])
            .unwrap();
        let mut writer = client.send_stream(Kind::Text).await.unwrap();
        writer.write("h").await.unwrap();
        writer.finish("i").await.unwrap();
        client.send(&long[..]).await.unwrap();
        let mut replies = 0;
        while replies < 2 {
            client.recv().await.unwrap();
            replies += 1;
        }
        client.close(CloseCode::NORMAL, "").await.unwrap();
    };
    let receiving = async {
        for _ in 0..4 {
            server.recv().await.unwrap().unwrap();
        }
        // The pieces of one message, read as such.
        let mut reader = server.recv_stream().await.unwrap().unwrap();
        while reader.next().await.unwrap().is_some() {}
        let mut left = 4;
        server
            .each(|message, replies| {
                left -= 1;
                if left < 2 {
                    replies.send(message.as_bytes().len().to_string())?;
                }
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(left, 0);
    };
    tokio::join!(sending, receiving);
    let near = near.until(|told| !told.closed.is_empty()).await;
    assert_eq!(near.traffic.messages_sent, 9);
    assert_eq!(near.traffic.messages_received, 2);
    let far = far.until(|told| !told.closed.is_empty()).await;
    assert_eq!(far.traffic.messages_received, 9);
    assert_eq!(far.traffic.messages_sent, 2);
    assert_eq!(far.traffic.bytes_received, near.traffic.bytes_sent);
    assert_eq!(far.traffic.bytes_sent, near.traffic.bytes_received);
}

#[tokio::test]
async fn failed_handshakes_are_counted_at_both_ends() {
    let far = Arc::new(Counts::default());
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.metrics(far.clone()).serve(echo));

    let near = Arc::new(Counts::default());
    let foreign = Connect::to(format!("ws://{address}/"))
        .no_proxy()
        .origin("https://elsewhere.example")
        .metrics(near.clone());
    foreign.open().await.unwrap_err();
    let told = near.now();
    assert_eq!(told.opened, 0);
    assert!(told.failed[0].contains("403"), "{told:?}");
    let told = far.until(|told| !told.failed.is_empty()).await;
    assert!(told.failed[0].contains("may not connect"), "{told:?}");

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"no HTTP at all\r\n\r\n").await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let told = far.until(|told| told.failed.len() == 2).await;
    assert_eq!((told.opened, told.closed.len()), (0, 0));
}

#[tokio::test]
async fn every_connection_that_opened_is_closed_once_however_it_ends() {
    let counts = Arc::new(Counts::default());
    let settings = Settings::default().metrics(counts.clone());
    let pair = || Pair::new().client(&settings).open();

    let (client, server, _link) = pair();
    drop(client);
    drop(server);
    assert_eq!(counts.now().closed[0].by, ClosedBy::Local);

    let (mut client, _server, link) = pair();
    link.cut();
    client.recv().await.unwrap_err();
    drop(client);
    let lost = &counts.now().closed[1];
    assert_eq!((lost.by, lost.code), (ClosedBy::Lost, CloseCode::ABNORMAL));

    let (client, server, _link) = pair();
    server
        .sender()
        .close(CloseCode::SERVICE_RESTART, "")
        .unwrap();
    client.ended().await;
    drop(client);
    let told = counts.now();
    assert_eq!(told.closed[2].code, CloseCode::SERVICE_RESTART);
    assert_eq!((told.opened, told.closed.len()), (3, 3));
}

/// Uses its connection whenever it is called.
#[derive(Default)]
struct Curious(OnceLock<Sender>);

impl Curious {
    fn ask(&self) {
        if let Some(sender) = self.0.get() {
            let _unsent = sender.put("from within");
            let _state = sender.state();
        }
    }
}

impl Metrics for Curious {
    fn transferred(&self, traffic: &Traffic) {
        if traffic.messages_received > 0 {
            self.ask();
        }
    }

    fn round_trip(&self, _time: Duration) {
        self.ask();
    }

    fn closed(&self, _closed: &Closed, _open_for: Duration) {
        self.ask();
    }
}

#[tokio::test]
async fn metrics_may_use_the_connection_that_they_count() {
    let curious = Arc::new(Curious::default());
    let settings = Settings::default().metrics(curious.clone());
    let (mut client, mut server, _link) = Pair::new().client(&settings).open();
    assert!(curious.0.set(client.sender()).is_ok());
    server.send("hello").await.unwrap();
    client.recv().await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("from within".into()));
    let answering = tokio::spawn(async move { while let Ok(Some(_)) = server.recv().await {} });
    client.ping().await.unwrap();
    client.close(CloseCode::NORMAL, "").await.unwrap();
    answering.await.unwrap();
}
