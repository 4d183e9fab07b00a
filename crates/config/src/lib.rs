//! The server's configuration: every setting, with its default and the reason for it.
//!
//! Each setting is defined once, as a field of a group in [`Config`]. Its key in the TOML file, its
//! environment variable, its flag, its error messages, `offhook config`, the example file and
//! docs/configuration.md are all generated from that definition.
//!
//! [`load`] reads all sources and returns a [`Loaded`] or all [`Problems`]; the server reads the
//! plain [`Config`] in it.
//!
//! ```
//! use offhook_config::{Sources, load};
//!
//! let environment = [("OFFHOOK_LISTEN".into(), "localhost:9000".into())];
//! let sources = Sources { environment: environment.into(), ..Sources::default() };
//! let loaded = load(&sources)?;
//! assert_eq!(loaded.config.listen[0].to_string(), "127.0.0.1:9000");
//! assert_eq!(loaded.place("listen").to_string(), "OFFHOOK_LISTEN");
//! # Ok::<(), offhook_config::Problems>(())
//! ```

mod admin;
mod auth;
mod backend;
mod catalogue;
mod changes;
mod channels;
mod check;
mod connections;
mod given;
mod graphql;
mod group;
mod http2;
mod http3;
mod kind;
mod limits;
mod limits_page;
mod listen;
mod load;
mod mqtt;
mod page;
mod problem;
mod proxies;
mod pusher;
mod reader;
mod recorder;
mod rooms;
mod running;
mod socketio;
mod spelling;
mod stomp;
mod toml_text;
mod url;

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use offhook::OriginPolicy;
use offhook::protocol::Keepalive;
use offhook::protocol::handshake::Scheme;
use offhook_auth::AppKey;
use offhook_brokers::Durability;
use offhook_engine::{
    Access, AskRule, ChannelName, ChannelRules, History, Limits, RuleBook, SlowPolicy, State,
};

pub use self::admin::Admin;
pub use self::auth::{Api, Auth, JwksUrl, TokenSecret};
pub use self::backend::{Backend, SigningSecret};
pub use self::catalogue::{Setting, settings};
pub use self::changes::{Change, applied, changes};
pub use self::channels::ChannelRule;
pub use self::connections::{Connections, Messages};
pub use self::given::{Place, SourceFile};
pub use self::graphql::GraphQl;
pub use self::http2::Http2;
pub use self::http3::Http3;
pub use self::kind::{parse_bytes, parse_time};
pub use self::limits::Memory;
pub use self::limits_page::limits;
pub use self::listen::{ClientCerts, Listen, ListenAt};
pub use self::load::{Loaded, Sources, load};
pub use self::mqtt::Mqtt;
pub use self::page::{example, reference};
pub use self::problem::{Problem, Problems};
pub use self::proxies::{Network, Proxies};
pub use self::pusher::{Pusher, PusherEvent, PusherWebhook};
pub use self::recorder::Recorder;
pub use self::rooms::{RoomNamedBy, Rooms};
pub use self::running::{LogFormat, Logging, Resume, ResumeKey, Storage, TlsFiles};
pub use self::socketio::SocketIo;
pub use self::stomp::Stomp;
pub use self::url::HttpUrl;

use self::group::group;
use self::kind::{
    Addresses, Choice, Cores, File, HostName, Many, Or, Origins, Switch, UrlPath, time,
};

/// What an acknowledged publish guarantees.
const DURABILITY: &[(&str, Durability)] = &[("disk", Durability::Fsync), ("fast", Durability::Os)];

group! {
    /// The configuration of a server.
    pub struct Config {
        /// Where to listen: addresses, Unix sockets (`unix:/run/offhook.sock`), and sockets that
        /// systemd passes (`systemd:NAME`). Words after a place apply to this listener: `tls` or
        /// `plain`, `client-certs=none|optional|required`, `trusted` (whoever connects here is a
        /// trusted proxy), `proxy-protocol` (likewise, and connections begin with it), and
        /// `mode=660`, the permissions of a Unix socket. See docs/listeners.md.
        ///
        /// Reachable only from this machine unless you decide otherwise.
        listen: Vec<Listen> = vec![([127, 0, 0, 1], 8000).into()] => Addresses;

        /// Also listen where other processes of this server listen; the system distributes
        /// connections among them.
        ///
        /// Two servers that share a port by mistake would each get half of the clients, without any
        /// error.
        share_port: bool = false => Switch;

        /// The directory of the log.
        ///
        /// In the working directory, where it is easy to find.
        data: PathBuf = "./offhook-data".into() => File;

        /// Keep everything in memory only; it is lost when the process ends.
        ///
        /// Messages survive unless you decide otherwise.
        in_memory: bool = false => Switch;

        /// The number of event loops, each with its own listener and connections.
        ///
        /// One per core, because more would not use the processor better.
        workers: NonZeroUsize = Cores::all() => Cores;

        /// What an acknowledged publish guarantees: with `disk`, it survives a power failure; with
        /// `fast`, it survives a crash of the process, but not of the machine.
        ///
        /// Acknowledged messages should survive whatever happens.
        durability: Durability = Durability::Fsync => Choice(DURABILITY);

        /// Which web pages may connect and read answers, at every path of the server: the server's
        /// own pages (`same`), those of a list of origins, or `any`. In a list,
        /// `https://*.example.com` stands for all names below a domain, `http://localhost:*` for
        /// all ports, and `same` for the server's own pages. See docs/origins.md.
        ///
        /// Otherwise any site could act with its visitors' cookies. Other programs are not
        /// restricted: only browsers send an origin.
        origins: OriginPolicy = OriginPolicy::SameOrigin => Origins;

        /// Host names by which browsers reach this server, in addition to `localhost` and IP
        /// addresses. With `origins = "same"`, pages with any other `Host` are rejected.
        ///
        /// Otherwise any site could make its own host name resolve to this server (DNS rebinding),
        /// and its pages would count as the server's own.
        hosts: Vec<String> = Vec::new() => Many(HostName);

        /// Whether a proxy in front terminates TLS, so that pages are loaded by `https://` although
        /// the server receives plain HTTP.
        ///
        /// Without such a proxy, `true` would make the server reject its own pages.
        behind_tls_proxy: bool = false => Switch;

        /// The path of the native dialect's WebSocket.
        ///
        /// Short, and not the root of the site, where a proxy may serve something else.
        ws_path: String = "/ws".to_owned() => UrlPath;

        /// The path of JSON-RPC 2.0 over WebSocket.
        ///
        /// The path that clients of other servers expect.
        rpc_path: String = "/rpc".to_owned() => UrlPath;

        /// A path whose WebSockets get every message back, without authentication. It is for suites
        /// of tests that check WebSockets, and not for production: clients are disconnected after
        /// `connections.connect_timeout`.
        ///
        /// Nobody else needs it.
        echo_path: Option<String> = None => Or("none", UrlPath);

        /// Serve the chat at `/talk/`, the examples at `/examples/`, the documentation at `/docs/` and, if
        /// the HTTP API has a key, the dashboard at `/dashboard/`. The channels `talk-typing:*` (who is writing in the chat)
        /// and `examples-live:*` (what moves in the examples) then have no history.
        ///
        /// Any browser can then check that the server works.
        talk: bool = true => Switch;

        /// How long stopping may take. Connections are closed at different moments within this
        /// time.
        ///
        /// Clients that reconnect over this time do not overload the next server, and supervisors
        /// wait longer than that before they kill a process.
        drain: Duration = Duration::from_secs(10) => time().or_none();
    }
    groups {
        /// TLS; without it, plain HTTP.
        tls: Option<TlsFiles>;
        /// The number of connections, the rate of handshakes, and timeouts.
        connections: Connections;
        /// HTTP/2, and how much one connection of it may use.
        http2: Http2;
        /// HTTP/3 and WebTransport, and how much one connection of them may use.
        http3: Http3;
        /// Messages on a connection, and how much may be queued.
        messages: Messages;
        /// Proxies in front of the server.
        proxies: Proxies;
        /// How a dead connection is detected.
        keepalive: Keepalive;
        /// Tokens of clients, and the keys that verify them.
        auth: Auth;
        /// The HTTP API for backends.
        api: Api;
        /// The listener for operators.
        admin: Admin;
        /// The backend that answers questions and receives events.
        backend: Backend;
        /// MQTT 3.1.1 and 5.0.
        mqtt: Mqtt;
        /// Socket.IO v5.
        socketio: SocketIo;
        /// STOMP 1.0, 1.1 and 1.2.
        stomp: Stomp;
        /// The Pusher protocol.
        pusher: Pusher;
        /// GraphQL.
        graphql: GraphQl;
        /// Resuming sessions.
        resume: Resume;
        /// What one session may do, and how much the engine may hold. Its `connections` and
        /// `outbox_bytes` are not settings: the server takes them from `connections` and
        /// `messages`.
        limits: Limits;
        /// The budget for the memory that clients can make the process use.
        memory: Memory;
        /// The queues and memory of the log.
        storage: Storage;
        /// What is remembered to explain deliveries.
        recorder: Recorder;
        /// What is logged, and in which format.
        log: Logging;
    }
    rules {
        /// The rules of channels, by pattern. The first rule whose pattern matches applies; a
        /// channel that matches none does not exist.
        ///
        /// Every channel exists and keeps its history, so that the server can be tried immediately.
        channels;
    }
}

impl Config {
    /// The rules for the engine and the broker.
    #[must_use]
    pub fn rule_book(&self) -> RuleBook {
        let guarded = |book: RuleBook| self.pusher_guarded(book);
        // Without a backend, every call is answered with an error that says so.
        let calls = match self.backend.url {
            Some(_) => self.backend.calls,
            None => Access::Everyone,
        };
        guarded(self.with_asking(&self.effective_rules()).with_calls(calls))
    }

    /// The rules of channels that apply, in the order in which they are tried: those for channels of
    /// the server's own, and those of the configuration.
    #[must_use]
    pub fn effective_rules(&self) -> Vec<ChannelRule> {
        let configured = self.with_asking(&self.channels);
        let pages = [typing_rule(&configured), examples_rule(&configured)];
        let pages = pages.into_iter().flatten().filter(|_| self.talk);
        let system = system_rule(&self.channels).into_iter();
        let system = system.filter(|_| self.mqtt.sys_interval.is_some());
        let configured = self.channels.iter().cloned();
        system.chain(pages).chain(configured).collect()
    }

    /// A book of these rules. Where a rule does not say how the backend is asked, the setting for all
    /// channels applies.
    fn with_asking(&self, rules: &[ChannelRule]) -> RuleBook {
        rules.iter().fold(RuleBook::new(), |book, rule| {
            let mut rules = rule.rules.clone();
            if rules.ask == AskRule::default() {
                rules.ask = self.backend.ask_rule();
            }
            book.with(&rule.pattern, rules)
        })
    }

    /// Guards the channels that are private in the Pusher protocol from clients of other dialects.
    fn pusher_guarded(&self, book: RuleBook) -> RuleBook {
        let mut prefixes: Vec<&str> = self.pusher.apps.iter().map(AppKey::prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let kinds = ["private-", "presence-", "#server-to-user-"];
        let all = prefixes
            .iter()
            .flat_map(|prefix| kinds.map(|kind| format!("{prefix}{kind}")));
        all.fold(book, |book, start| book.with_guarded(&start))
    }

    /// The scheme under which browsers reach this server: [`OriginPolicy::SameOrigin`] compares it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() || self.behind_tls_proxy {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }
}

/// Who is writing in the chat matters only at the moment, so these channels have the configured
/// rule without its history. If the configuration allows no such channels, they do not exist.
fn typing_rule(configured: &RuleBook) -> Option<ChannelRule> {
    let lobby = ChannelName::new("talk-typing:lobby").expect("a name without a star");
    let rules = configured.rules(&lobby)?;
    Some(ChannelRule {
        pattern: "talk-typing:*".to_owned(),
        rules: ChannelRules {
            history: History::NONE,
            state: State::NONE,
            presence: false,
            ..ChannelRules::clone(rules)
        },
        rooms: Rooms::default(),
    })
}

/// The prefix of the channels in which the server publishes numbers about itself.
pub const SYSTEM_CHANNELS: &str = "$SYS/";

/// The server's own topics have only current values, and nobody else publishes to them. The
/// configuration may have a rule of its own for them.
fn system_rule(configured: &[ChannelRule]) -> Option<ChannelRule> {
    let is_of_them = |rule: &ChannelRule| rule.pattern.starts_with(SYSTEM_CHANNELS);
    if configured.iter().any(is_of_them) {
        return None;
    }
    Some(ChannelRule {
        pattern: format!("{SYSTEM_CHANNELS}*"),
        rules: ChannelRules {
            history: History::NONE,
            state: State::NONE,
            presence: false,
            publish: Access::Nobody,
            subscribe: Access::Granted,
            ..ChannelRules::default()
        },
        rooms: Rooms::default(),
    })
}

/// Movement in the examples matters only at the moment, so these channels have no history and
/// deliver only the newest publication of each value of the tag `key` to slow connections. If the
/// configuration allows no such channels, they do not exist.
fn examples_rule(configured: &RuleBook) -> Option<ChannelRule> {
    let ticker = ChannelName::new("examples-live:ticker").expect("a name without a star");
    let rules = configured.rules(&ticker)?;
    Some(ChannelRule {
        pattern: "examples-live:*".to_owned(),
        rules: ChannelRules {
            history: History::NONE,
            state: State::NONE,
            slow: SlowPolicy::LatestByKey,
            ..ChannelRules::clone(rules)
        },
        rooms: Rooms::default(),
    })
}

#[cfg(test)]
mod tests;
