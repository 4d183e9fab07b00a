//! rumqttc, unmodified, in both versions of MQTT: with the server stopped and started in between.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use offhook_server::Config;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS, v5};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::hall::{Hall, NEVER, on_disk};

/// How many messages are sent before and after the server is stopped.
const EACH: usize = 20;

/// The pause before rumqttc connects again: its event loop leaves that to the program.
const PAUSE: Duration = Duration::from_millis(20);

fn durable(directory: &std::path::Path, address: SocketAddr) -> Config {
    let mut config = on_disk(directory);
    config.mqtt.listen = vec![address.into()];
    config
}

/// What a client received, in order. Its task runs until the test ends.
struct Heard {
    payloads: mpsc::Receiver<Vec<u8>>,
    known: HashSet<String>,
    task: JoinHandle<()>,
}

impl Heard {
    fn new(payloads: mpsc::Receiver<Vec<u8>>, task: JoinHandle<()>) -> Self {
        let known = HashSet::new();
        Self {
            payloads,
            known,
            task,
        }
    }

    /// The next message that it has not received before. When the server stops, it may not have
    /// received every acknowledgement, and sends those messages again. rumqttc passes them on, also with
    /// QoS 2.
    async fn next(&mut self) -> String {
        loop {
            let payload = timeout(NEVER, self.payloads.recv()).await.unwrap();
            let text = String::from_utf8(payload.unwrap()).unwrap();
            if self.known.insert(text.clone()) {
                return text;
            }
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client of 3.1.1 with a persistent session.
fn v3(name: &str, address: SocketAddr) -> (AsyncClient, Heard) {
    let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
    options.set_clean_session(false);
    let (client, mut events) = AsyncClient::new(options, 100);
    let (heard, payloads) = mpsc::channel(1000);
    let task = tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    heard.send(publish.payload.to_vec()).await.unwrap();
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    (client, Heard::new(payloads, task))
}

/// A client of 5.0 with a persistent session.
fn v5(name: &str, address: SocketAddr) -> (v5::AsyncClient, Heard) {
    let mut options = v5::MqttOptions::new(name, address.ip().to_string(), address.port());
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(1000));
    let (client, mut events) = v5::AsyncClient::new(options, 100);
    let (heard, payloads) = mpsc::channel(1000);
    let task = tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(v5::Event::Incoming(v5::Incoming::Publish(publish))) => {
                    heard.send(publish.payload.to_vec()).await.unwrap();
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    (client, Heard::new(payloads, task))
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_gets_every_message_in_both_versions_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let hall = Hall::open(durable(directory.path(), any)).await;
    let address = hall.mqtt_address();
    let (older, mut heard_by_older) = v3("older", address);
    let (newer, mut heard_by_newer) = v5("newer", address);
    let once = v5::mqttbytes::QoS::ExactlyOnce;
    older.subscribe("chat/r", QoS::ExactlyOnce).await.unwrap();
    newer.subscribe("chat/r", once).await.unwrap();
    // Each hears itself once it is subscribed.
    older
        .publish("chat/r", QoS::ExactlyOnce, false, "older")
        .await
        .unwrap();
    while heard_by_older.next().await != "older" {}
    newer.publish("chat/r", once, false, "newer").await.unwrap();
    while heard_by_newer.next().await != "newer" {}
    while heard_by_older.next().await != "newer" {}

    let numbers: Vec<String> = (0..EACH).map(|n| n.to_string()).collect();
    for number in &numbers {
        older
            .publish("chat/r", QoS::AtLeastOnce, false, number.as_str())
            .await
            .unwrap();
    }
    for heard in [&mut heard_by_older, &mut heard_by_newer] {
        for number in &numbers {
            assert_eq!(heard.next().await, *number);
        }
    }
    hall.close().await;
    // The server is away: the client keeps them.
    let numbers: Vec<String> = (EACH..2 * EACH).map(|n| n.to_string()).collect();
    for number in &numbers {
        newer
            .publish("chat/r", once, false, number.clone())
            .await
            .unwrap();
    }
    let hall = Hall::open(durable(directory.path(), address)).await;
    for heard in [&mut heard_by_older, &mut heard_by_newer] {
        for number in &numbers {
            assert_eq!(heard.next().await, *number);
        }
    }
    drop((heard_by_older, heard_by_newer));
    hall.close().await;
}
