//! Chooses the dialect of a connection: by path, then by subprotocol. A new dialect is added to the
//! table here.

use offhook::protocol::handshake::{Request, ServerDecision};
use offhook_dialects::{
    Dialect,
    graphql::{self, GraphQl},
    jsonrpc::Rpc,
    mqtt::{self, Mqtt},
    native,
    socketio::{self, SocketIo},
    stomp::{self, Stomp},
};

use super::{echo, pusher};
use crate::{
    config::Config,
    worker::{CarriedId, Shared, Speaker},
};

/// Creates the dialect of a new connection over Engine.IO. It is told whether the connection can be
/// upgraded to a WebSocket, which its greeting has to say.
pub type OverEngineIo = fn(&Config, bool) -> Box<dyn Dialect>;

/// The paths of the server's WebSockets, and the dialects at each.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// The dialect over Engine.IO; none if it is Socket.IO.
    engine_io: Option<OverEngineIo>,
}

#[derive(Debug)]
struct Route {
    path: String,
    /// Whether it is also served at every path with one more segment.
    has_keys: bool,
    dialects: Vec<Spoken>,
}

impl Route {
    fn is_at(&self, path: &str) -> bool {
        if !self.has_keys {
            return self.path == path;
        }
        let key = path.strip_prefix(&self.path);
        key.is_some_and(|key| !key.is_empty() && !key.contains('/'))
    }
}

/// A dialect available at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken {
    /// The subprotocol that a client must offer (RFC 6455 §1.9); none if the path suffices.
    pub(crate) subprotocol: Option<&'static str>,
    /// Checks the rest of the request; the error says what is wrong with it.
    pub(crate) check: fn(&Request) -> Result<(), &'static str>,
    /// The polled connection that the handshake requests to upgrade, if the dialect has upgrades.
    pub(crate) upgrades: fn(&Request) -> Option<CarriedId>,
    /// Whether a client needs no token, because its path says that it may connect.
    pub(crate) admits: bool,
    /// Creates the state of a new connection.
    pub(crate) begin: fn(&Shared, &Request) -> Speaker,
}

/// Why a handshake has no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing is served at this path; these are the paths.
    Path(String),
    /// The client offers none of these subprotocols.
    Subprotocol(String),
    /// Something else is wrong with the request.
    Request(&'static str),
}

/// The state of a new connection that speaks MQTT, over any transport.
pub(super) fn speak_mqtt(config: &Config) -> Speaker {
    let mqtt = Mqtt::new(config.messages.max_bytes);
    let reference = config.mqtt.server_reference.as_deref();
    Speaker::Other(Box::new(Box::new(mqtt.with_server_reference(reference))))
}

/// Whether STOMP's heart-beats are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beats {
    /// A silent client is disconnected.
    Enforced,
    /// The transport's own pings check whether the client is there. A page in the background, whose
    /// timers are throttled, answers them.
    LeftToPings,
}

/// The state of a new connection that speaks STOMP.
pub(super) fn speak_stomp(config: &Config, beats: Beats) -> Speaker {
    let settings = stomp::Settings {
        body_bytes: config.messages.max_bytes,
        subscriptions: config.limits.subscriptions,
        heart_beat: config.stomp.heart_beat,
        enforces_heart_beats: beats == Beats::Enforced,
    };
    Speaker::Other(Box::new(Box::new(Stomp::new(settings))))
}

/// STOMP over WebSocket.
fn stomp_socket(subprotocol: Option<&'static str>) -> Spoken {
    Spoken {
        subprotocol,
        check: |_| Ok(()),
        upgrades: |_| None,
        admits: false,
        begin: |shared, _| {
            let config = &shared.config;
            let beats = match config.keepalive.interval {
                Some(_) => Beats::LeftToPings,
                None => Beats::Enforced,
            };
            speak_stomp(config, beats)
        },
    }
}

/// The state of a new connection over Engine.IO, which may be upgraded to a WebSocket.
pub(crate) fn speak_over_engine_io(shared: &Shared, can_upgrade: bool) -> Speaker {
    let dialect = match shared.routes.engine_io {
        Some(other) => other(&shared.config, can_upgrade),
        None => socketio(shared, can_upgrade),
    };
    Speaker::Other(Box::new(dialect))
}

/// The state of a new connection that speaks Socket.IO.
fn socketio(shared: &Shared, can_upgrade: bool) -> Box<dyn Dialect> {
    let config = &shared.config;
    let settings = socketio::Settings {
        ping_interval: config.socketio.ping_interval,
        ping_timeout: config.socketio.ping_timeout,
        max_payload: config.messages.max_bytes,
        recovery: config.socketio.recovery,
        calls_backend: config.socketio.calls_backend,
        rooms: shared.rooms(),
        can_upgrade,
    };
    Box::new(SocketIo::new(settings))
}

/// Whether a handshake is one of Engine.IO v4.
fn check_engine_io(request: &Request) -> Result<(), &'static str> {
    let query = || {
        request
            .query()
            .into_iter()
            .flat_map(|query| query.split('&'))
    };
    if !query().any(|pair| pair == "EIO=4") {
        return Err("this server speaks Engine.IO v4 (EIO=4), which is Socket.IO 3 or newer");
    }
    if !query().any(|pair| pair == "transport=websocket") {
        return Err("expected transport=websocket in the query");
    }
    if session_of(request).is_some_and(|id| id.is_none()) {
        return Err("sid: this server has no such session");
    }
    Ok(())
}

/// The polled connection that a handshake of Engine.IO requests to upgrade. The inner value is none
/// if its id is not valid on this server.
fn session_of(request: &Request) -> Option<Option<CarriedId>> {
    let pairs = request.query()?.split('&');
    let mut sids = pairs.filter_map(|pair| pair.strip_prefix("sid="));
    sids.next().map(|sid| sid.parse().ok())
}

/// The limits of GraphQL documents.
pub(crate) fn graphql_settings(config: &Config) -> graphql::Settings {
    let config = &config.graphql;
    graphql::Settings {
        introspection: config.introspection,
        depth: config.depth,
        fields: config.fields,
        aliases: config.aliases,
        batch: config.batch,
    }
}

impl Routes {
    /// The routes of the configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let native = Spoken {
            subprotocol: Some(native::SUBPROTOCOL),
            check: |_| Ok(()),
            upgrades: |_| None,
            admits: false,
            begin: |_, _| Speaker::Native(native::Native::default()),
        };
        let native_cbor = Spoken {
            subprotocol: Some(native::SUBPROTOCOL_CBOR),
            begin: |_, _| Speaker::Native(native::Native::with_cbor()),
            ..native
        };
        // Clients of JSON-RPC offer no subprotocol.
        let rpc = Spoken {
            subprotocol: None,
            check: |_| Ok(()),
            upgrades: |_| None,
            admits: false,
            begin: |_, _| Speaker::Other(Box::new(Box::<Rpc>::default())),
        };
        let mqtt = Spoken {
            subprotocol: Some(mqtt::SUBPROTOCOL),
            check: |_| Ok(()),
            upgrades: |_| None,
            admits: false,
            begin: |shared, _| speak_mqtt(&shared.config),
        };
        let over_engine_io = Spoken {
            subprotocol: None,
            check: check_engine_io,
            upgrades: |request| session_of(request).flatten(),
            admits: false,
            begin: |shared, _| speak_over_engine_io(shared, false),
        };
        // The newest version first. The CONNECT decides, so that a client may offer none.
        let stomp = stomp::SUBPROTOCOLS.into_iter().map(Some).chain([None]);
        let bare = config.socketio.path.trim_end_matches('/');
        let pusher = Spoken {
            subprotocol: None,
            check: |_| Ok(()),
            upgrades: |_| None,
            admits: true,
            begin: pusher::speak,
        };
        let routes = match config.pusher.apps.is_empty() {
            true => Self::none(),
            false => Self::none().with_keys(pusher::CLIENTS, pusher),
        };
        let routes = match &config.echo_path {
            Some(path) => routes.with(path, echo::route()),
            None => routes,
        };
        let routes = routes
            // Clients that offer both get the one in which bytes need no base64.
            .with(&config.ws_path, native_cbor)
            .with(&config.ws_path, native)
            .with(&config.rpc_path, rpc)
            .with(&config.mqtt.path, mqtt)
            .with(bare, over_engine_io)
            .with(&format!("{bare}/"), over_engine_io);
        let graphql = Spoken {
            subprotocol: Some(graphql::SUBPROTOCOL),
            check: |_| Ok(()),
            upgrades: |_| None,
            admits: false,
            begin: |shared, _| {
                let settings = graphql_settings(&shared.config);
                Speaker::Other(Box::new(Box::new(GraphQl::new(settings))))
            },
        };
        let routes = match config.graphql.enabled {
            true => routes.with(&config.graphql.path, graphql),
            false => routes,
        };
        stomp.fold(routes, |routes, subprotocol| {
            routes.with(&config.stomp.path, stomp_socket(subprotocol))
        })
    }

    const fn none() -> Self {
        Self {
            routes: Vec::new(),
            engine_io: None,
        }
    }

    /// Replaces the dialect over Engine.IO.
    pub(crate) fn with_engine_io(self, engine_io: OverEngineIo) -> Self {
        let engine_io = Some(engine_io);
        Self { engine_io, ..self }
    }

    /// Adds a dialect at a path.
    pub(crate) fn with(mut self, path: &str, spoken: Spoken) -> Self {
        match self.routes.iter_mut().find(|route| route.path == path) {
            Some(route) => route.dialects.push(spoken),
            None => self.routes.push(Route {
                path: path.to_owned(),
                has_keys: false,
                dialects: vec![spoken],
            }),
        }
        self
    }

    /// Adds a dialect at all paths that consist of this one and a key.
    fn with_keys(mut self, path: &str, spoken: Spoken) -> Self {
        self.routes.push(Route {
            path: path.to_owned(),
            has_keys: true,
            dialects: vec![spoken],
        });
        self
    }

    /// Whether WebSockets are served at a path.
    pub(crate) fn is_websocket(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.is_at(path))
    }

    /// Chooses the dialect of a handshake and selects its subprotocol: the first dialect at the
    /// path that the client offers.
    pub(super) fn choose(&self, decision: &mut ServerDecision) -> Result<Spoken, NoRoute> {
        let path = decision.request().path();
        let Some(route) = self.routes.iter().find(|route| route.is_at(path)) else {
            let paths: Vec<_> = self.routes.iter().map(|route| &*route.path).collect();
            return Err(NoRoute::Path(paths.join(", ")));
        };
        for spoken in &route.dialects {
            // Selecting a subprotocol that the client did not offer is an error and changes
            // nothing.
            if decision.select_subprotocol(spoken.subprotocol).is_ok() {
                (spoken.check)(decision.request()).map_err(NoRoute::Request)?;
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
