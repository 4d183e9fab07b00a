//! Which dialect is used where: by path, then by subprotocol. The one table to which a dialect is
//! added.

use offhook::protocol::handshake::ServerDecision;
use offhook_dialects::{
    jsonrpc::Rpc,
    mqtt::{self, Mqtt},
    native,
};

use crate::{config::Config, worker::Speaker};

/// The paths of the server's WebSockets, and the dialects at each.
#[derive(Debug)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    path: String,
    dialects: Vec<Spoken>,
}

/// A dialect available at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken {
    /// The subprotocol that a client must offer (RFC 6455 §1.9); none if the path suffices.
    pub(crate) subprotocol: Option<&'static str>,
    /// Creates the state of a new connection.
    pub(crate) begin: fn(&Config) -> Speaker,
}

/// Why a handshake has no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing is served at this path; these are the paths.
    Path(String),
    /// The client offers none of these subprotocols.
    Subprotocol(String),
}

/// The state of a new connection that speaks MQTT, over any transport.
pub(super) fn speak_mqtt(config: &Config) -> Speaker {
    Speaker::Other(Box::new(Box::new(Mqtt::new(config.messages.max_bytes))))
}

impl Routes {
    /// The routes of the configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let native = Spoken {
            subprotocol: Some(native::SUBPROTOCOL),
            begin: |_| Speaker::Native(native::Native::default()),
        };
        // Clients of JSON-RPC offer no subprotocol.
        let rpc = Spoken {
            subprotocol: None,
            begin: |_| Speaker::Other(Box::new(Box::<Rpc>::default())),
        };
        let mqtt = Spoken {
            subprotocol: Some(mqtt::SUBPROTOCOL),
            begin: speak_mqtt,
        };
        Self(Vec::new())
            .with(&config.ws_path, native)
            .with(&config.rpc_path, rpc)
            .with(&config.mqtt.path, mqtt)
    }

    /// Adds a dialect at a path.
    pub(crate) fn with(mut self, path: &str, spoken: Spoken) -> Self {
        match self.0.iter_mut().find(|route| route.path == path) {
            Some(route) => route.dialects.push(spoken),
            None => self.0.push(Route {
                path: path.to_owned(),
                dialects: vec![spoken],
            }),
        }
        self
    }

    /// Whether WebSockets are served at a path.
    pub(crate) fn is_websocket(&self, path: &str) -> bool {
        self.0.iter().any(|route| route.path == path)
    }

    /// Chooses the dialect of a handshake and selects its subprotocol: the first dialect at the
    /// path that the client offers.
    pub(super) fn choose(&self, decision: &mut ServerDecision) -> Result<Spoken, NoRoute> {
        let path = decision.request().path();
        let Some(route) = self.0.iter().find(|route| route.path == path) else {
            let paths: Vec<_> = self.0.iter().map(|route| &*route.path).collect();
            return Err(NoRoute::Path(paths.join(", ")));
        };
        for spoken in &route.dialects {
            // Selecting a subprotocol that the client did not offer is an error and changes
            // nothing.
            if decision.select_subprotocol(spoken.subprotocol).is_ok() {
                return Ok(*spoken);
            }
        }
        let known = route
            .dialects
            .iter()
            .filter_map(|spoken| spoken.subprotocol);
        Err(NoRoute::Subprotocol(known.collect::<Vec<_>>().join(", ")))
    }
}
