//! A ticker that survives restarts: publishes a price every second, follows it, and prints the
//! events of the connection. Stop the server while it runs, and start it again: no tick is lost or
//! repeated.
//!
//! ```sh
//! cargo run --release -- serve
//! cargo run --release -p offhook-client --example ticker -- ws://127.0.0.1:8000/ws
//! ```
#![expect(clippy::print_stdout, reason = "an example that tells what it does")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "newer versions may tell more"
)]

use std::env;
use std::time::Duration;

use offhook_client::{Client, ConnectionEvent, ConnectionEvents, Error, Event, Since};
use serde_json::json;
use tokio::time::interval;

const CHANNEL: &str = "ticker/tulips";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = env::args().nth(1);
    let url = url.unwrap_or_else(|| "ws://127.0.0.1:8000/ws".to_owned());
    let client = Client::to(&url).start();
    tokio::select! {
        told = tell(client.events()) => told,
        followed = follow(&client) => followed,
        published = publish(&client) => published,
    }
}

/// A tick every second, with or without a connection: ticks that cannot be sent wait.
async fn publish(client: &Client) -> Result<(), Error> {
    let mut clock = interval(Duration::from_secs(1));
    for number in 0_u64.. {
        clock.tick().await;
        let price = 1_000 + number * 7919 % 101;
        let tick = json!({"number": number, "price": price});
        // Who waits for an hour has a full queue, and may skip a tick or two.
        if let Err(error) = client.publish(CHANNEL, tick).queue() {
            println!("   tick {number} is skipped: {error}");
        }
    }
    Ok(())
}

async fn follow(client: &Client) -> Result<(), Error> {
    let mut ticks = client.subscribe(CHANNEL).since(Since::Last(3)).await?;
    while let Some(event) = ticks.next().await? {
        match event {
            Event::Publication(tick) => {
                println!("   {:?} at {}", tick.data, tick.position);
            }
            Event::Gap(gap) => println!("-- missed {:?}: {}", gap.count(), gap.reason),
            Event::Live { .. } => println!("-- live"),
            other => println!("-- {other:?}"),
        }
    }
    Ok(())
}

async fn tell(mut connection: ConnectionEvents) -> Result<(), Error> {
    while let Some(event) = connection.next().await {
        match event {
            ConnectionEvent::Connecting { attempt } => println!("== connecting, attempt {attempt}"),
            ConnectionEvent::Open { recovery, .. } => println!("== open: {recovery:?}"),
            ConnectionEvent::Lost { cause, pause } => {
                println!("== lost: {cause}; again in {pause:?}")
            }
            ConnectionEvent::Moving { after } => {
                println!("== the server goes away; moving in {after:?}")
            }
            ConnectionEvent::Held { cause, pause } => {
                println!("== held: {cause}; again in {pause:?}")
            }
            ConnectionEvent::GivenUp { cause } => return Err(cause),
            other => println!("== {other:?}"),
        }
    }
    Ok(())
}
