//! Two programs over Engine.IO, for the test suites of the protocols: an echo of Engine.IO's messages,
//! and the program that the suite of Socket.IO expects.
//!
//! `cargo run -p offhook-server --example over_engine_io -- engine.io 127.0.0.1:3000`
//!
//! `conformance/dialects/protocols PATH` runs the suites with them.

#![expect(clippy::print_stdout, reason = "an example tells where it is")]

mod messages;
mod packets;

use std::time::Duration;

use offhook_dialects::{
    Connect, Encoding, Intent, Shared,
    socketio::{EngineIo, EngineSettings},
};
use offhook_engine::{CommandId, PresenceChange, Publication};
use offhook_server::{Config, OverEngineIo, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (path, dialect): (_, OverEngineIo) = match arguments.next().as_deref() {
        Some("engine.io") => ("/engine.io/", messages::new),
        Some("socket.io") => ("/socket.io/", packets::new),
        _ => return Err("expected engine.io or socket.io, and an address".into()),
    };
    let address = arguments.next().unwrap_or("127.0.0.1:3000".to_owned());
    let mut config = Config {
        listen: vec![address.parse()?],
        in_memory: true,
        ..Config::default()
    };
    // What the suites expect.
    config.socketio.path = path.to_owned();
    config.socketio.ping_interval = Duration::from_millis(300);
    config.socketio.ping_timeout = Duration::from_millis(200);
    config.messages.max_bytes = 1_000_000;
    config.limits.data_bytes = 500_000;
    let server = Server::start_over_engine_io(config, dialect).await?;
    for address in server.addresses() {
        println!("http://{address}{path}");
    }
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}

/// Engine.IO with the server's settings.
fn engine_io(config: &Config, can_upgrade: bool) -> EngineIo {
    EngineIo::new(EngineSettings {
        ping_interval: config.socketio.ping_interval,
        ping_timeout: config.socketio.ping_timeout,
        max_payload: config.messages.max_bytes,
        can_upgrade,
    })
}

/// Begins a session, without waiting for the client.
fn begin() -> Intent {
    Intent::Connect(Connect {
        id: CommandId(0),
        token: None,
        resume: None,
        info: "".into(),
        positions: Vec::new(),
        lineage: true,
        named: None,
    })
}

/// The programs have no channels.
#[derive(Debug)]
struct NoPublications;

impl Encoding for NoPublications {
    fn name(&self) -> &'static str {
        "none"
    }

    fn publication(&self, _publication: &Publication) -> Shared {
        Shared::whole(String::new())
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}
