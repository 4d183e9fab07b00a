//! What a broadcast costs in the engine, and what an idle connection does.
//!
//! `cargo run --release -p offhook-engine --example fan_out`
//!
//! One channel, so many live subscribers; the loop over the connections is the caller's, here a sum
//! over a counter a connection, as a server would find each connection's outbox.
#![expect(clippy::print_stdout, reason = "this is a program that prints a table")]
#![expect(
    clippy::disallowed_methods,
    reason = "this program measures, so it has a clock"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    Arrival, BrokerEvent, BrokerRequest, ChannelName, ChannelRules, Command, CommandId, Delivery,
    Engine, Format, Identity, Limits, Now, Position, Publication, Refusal, RuleBook, SessionId,
    Since, StreamState, Subscribe, Tags, Trimmed,
};

const RUN: Duration = Duration::from_secs(1);

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 1_700_000_000_000,
    }
}

fn engine_with(connections: u64, channel: &ChannelName) -> Result<Engine, Refusal> {
    let book = Arc::new(RuleBook::everything(ChannelRules::default()));
    let mut engine = Engine::new(Limits::default(), book, now());
    let identity = Arc::new(Identity::stranger());
    for n in 0..connections {
        let session = SessionId::from_bytes(u128::from(n).to_be_bytes());
        let connection =
            engine.handle_connection_opened(Arrival::new(session, Arc::clone(&identity)), now())?;
        let since = Since::Now;
        let subscribe = Command::Subscribe(Subscribe::new(channel.clone(), since));
        engine.handle_command(connection, CommandId(1), subscribe, now());
        while engine.poll_delivery().is_some() {}
        while let Some(request) = engine.poll_broker_request() {
            if let BrokerRequest::Follow { id, .. } = request {
                let (head, trimmed) = (Position::new(1, 0), Trimmed::BySize);
                let stream = StreamState {
                    head,
                    first: 1,
                    trimmed,
                };
                engine.handle_broker(BrokerEvent::Followed { id, stream }, now());
            }
        }
        while engine.poll_delivery().is_some() {}
    }
    Ok(engine)
}

fn main() -> Result<(), Refusal> {
    println!("| subscribers | ns a publication | ns a delivery | deliveries/s |");
    println!("|---|---|---|---|");
    let channel = ChannelName::new("chat")?;
    for subscribers in [1, 10, 1_000, 10_000] {
        let mut engine = engine_with(subscribers, &channel)?;
        let mut outboxes = vec![0_u64; engine.connections()];
        let (began, mut offset) = (Instant::now(), 0);
        while began.elapsed() < RUN {
            offset += 1;
            let publication = Arc::new(Publication {
                channel: channel.clone(),
                position: Position::new(1, offset),
                previous: Position::new(1, offset - 1),
                sequence: offset,
                data: bytes::Bytes::from_static(&[b'x'; 128]),
                format: Format::Binary,
                tags: Tags::default(),
                publisher: None,
                key: None,
                time_ms: 0,
            });
            engine.handle_broker(BrokerEvent::Publication(publication), now());
            while let Some(delivery) = engine.poll_delivery() {
                let Delivery::Broadcast {
                    publication,
                    recipients,
                    ..
                } = delivery
                else {
                    continue;
                };
                for connection in recipients.connections() {
                    outboxes[connection.index()] += publication.data.len() as u64;
                }
            }
        }
        let took = began.elapsed();
        std::hint::black_box(outboxes);
        let each = took.as_nanos() as f64 / offset as f64;
        let rate = (offset * subscribers) as f64 / took.as_secs_f64();
        let delivery = each / subscribers as f64;
        println!("| {subscribers} | {each:.0} | {delivery:.2} | {rate:.2e} |");
    }
    Ok(())
}
