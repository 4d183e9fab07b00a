//! What the server is told to do: every setting with its default and the reason for it.
//!
//! Each setting is defined once, as a field of a group: [`Config`] and what is in it. From that
//! one definition come its key in the TOML file, its environment variable, its flag, what is said
//! when it is wrong, `offhook config`, the example file and docs/configuration.md.
//!
//! [`load`] reads all sources and gives a [`Loaded`] or all [`Problems`]; the server reads the
//! plain [`Config`] in it.
//!
//! ```
//! use offhook_config::{Sources, load};
//!
//! let environment = [("OFFHOOK_LISTEN".into(), "localhost:9000".into())];
//! let sources = Sources { environment: environment.into(), ..Sources::default() };
//! let loaded = load(&sources)?;
//! assert_eq!(loaded.config.listen[0].port(), 9000);
//! assert_eq!(loaded.place("listen").to_string(), "OFFHOOK_LISTEN");
//! # Ok::<(), offhook_config::Problems>(())
//! ```

mod auth;
mod catalogue;
mod channels;
mod check;
mod connections;
mod given;
mod group;
mod kind;
mod limits;
mod load;
mod page;
mod problem;
mod reader;
mod running;
mod spelling;
mod toml_text;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use offhook::OriginPolicy;
use offhook::protocol::Keepalive;
use offhook::protocol::handshake::Scheme;
use offhook_brokers::Durability;
use offhook_engine::{ChannelName, ChannelRules, History, Limits, RuleBook, SlowPolicy};

pub use self::auth::{Api, Auth, JwksUrl, TokenSecret};
pub use self::catalogue::{Setting, settings};
pub use self::channels::ChannelRule;
pub use self::connections::{Connections, Messages};
pub use self::given::{Place, SourceFile};
pub use self::kind::{parse_bytes, parse_time};
pub use self::load::{Loaded, Sources, load};
pub use self::page::{example, reference};
pub use self::problem::{Problem, Problems};
pub use self::running::{LogFormat, Logging, Resume, ResumeKey, Storage, TlsFiles};

use self::group::group;
use self::kind::{Addresses, Choice, Cores, File, HostName, Many, Origins, Switch, UrlPath, time};

/// What an acknowledged publish promises.
const DURABILITY: &[(&str, Durability)] = &[("disk", Durability::Fsync), ("fast", Durability::Os)];

group! {
    /// Everything that can be configured.
    pub struct Config {
        /// Where to listen.
        ///
        /// Reached from this machine only, until someone decides otherwise.
        listen: Vec<SocketAddr> = vec![([127, 0, 0, 1], 8000).into()] => Addresses;

        /// Listen also where other processes of this server listen; the system spreads
        /// connections among them.
        ///
        /// Two servers that were not meant to share a port would each get half of the clients,
        /// without a word.
        share_port: bool = false => Switch;

        /// The directory of the log.
        ///
        /// Beside what is being tried out: found without looking.
        data: PathBuf = "./offhook-data".into() => File;

        /// Keep everything in memory, and nothing when the process ends.
        ///
        /// A message survives unless someone decides otherwise.
        in_memory: bool = false => Switch;

        /// Event loops, each with its own listener and connections.
        ///
        /// One a core: they share nothing that a second one a core would make use of.
        workers: NonZeroUsize = Cores::all() => Cores;

        /// What an acknowledged publish promises: `disk`, it survives a power cut; `fast`, it
        /// survives the death of this process, not that of the machine.
        ///
        /// What was acknowledged should be there whatever happens.
        durability: Durability = Durability::Fsync => Choice(DURABILITY);

        /// Which web pages may connect: the server's own (`same`), those of a list of origins, or
        /// `any`.
        ///
        /// Otherwise every site could act with its visitors' cookies. Programs are not held by
        /// this: only browsers tell an origin.
        origins: OriginPolicy = OriginPolicy::SameOrigin => Origins;

        /// Names that browsers reach this server by, beside `localhost` and bare addresses. With
        /// `origins = "same"` a page is turned away whose `Host` is none of them.
        ///
        /// Otherwise a page of any site could have its own name lead to this server (DNS rebinding)
        /// and pass for a page of the server.
        hosts: Vec<String> = Vec::new() => Many(HostName);

        /// A proxy in front ends TLS, so that pages are at `https://` though the server hears
        /// plain HTTP.
        ///
        /// Without a proxy it would turn the server's own pages away.
        behind_tls_proxy: bool = false => Switch;

        /// The path of the native dialect's WebSocket.
        ///
        /// Short, and not the site's root, where a proxy has other things.
        ws_path: String = "/ws".to_owned() => UrlPath;

        /// Serve the chat at `/talk/` and the examples at `/examples/`; who is writing in the chat is said
        /// in `talk-typing:*`, and what moves in the examples in `examples-live:*`, which then keep
        /// nothing.
        ///
        /// It shows that everything works, from any browser.
        talk: bool = true => Switch;

        /// How long a stop lets clients go by themselves, each at its own moment.
        ///
        /// A herd spread over that does not knock the next node down, and supervisors wait longer.
        drain: Duration = Duration::from_secs(10) => time().or_none();
    }
    groups {
        /// TLS; none: plain HTTP.
        tls: Option<TlsFiles>;
        /// How many connections, how fast they come, how long they may take.
        connections: Connections;
        /// What travels on a connection, and what may wait for it.
        messages: Messages;
        /// How a dead connection is noticed.
        keepalive: Keepalive;
        /// Who connects: tokens, and the keys that they are verified with.
        auth: Auth;
        /// The HTTP API, with which a backend publishes.
        api: Api;
        /// Coming back without asking the backend again.
        resume: Resume;
        /// What one session may do, and what the engine may hold. Its `connections` and `outbox_bytes`
        /// are no settings: the server takes them from `connections` and `messages`.
        limits: Limits;
        /// The queues and memory of the log.
        storage: Storage;
        /// What is logged, and how.
        log: Logging;
    }
    rules {
        /// What holds for channels, by pattern. The first pattern that fits counts; a channel that
        /// none fits does not exist.
        ///
        /// Every channel exists and keeps its history, so that a first try works.
        channels;
    }
}

impl Config {
    /// The rules for the engine and the broker.
    #[must_use]
    pub fn rule_book(&self) -> RuleBook {
        let add = |book: RuleBook, rule: &ChannelRule| book.with(&rule.pattern, rule.rules.clone());
        let book = self.channels.iter().fold(RuleBook::new(), add);
        if !self.talk {
            return book;
        }
        let pages = [typing_rule(&book), examples_rule(&book)];
        let rules = pages.iter().flatten().chain(&self.channels);
        rules.fold(RuleBook::new(), add)
    }

    /// How browsers reach this server: what [`OriginPolicy::SameOrigin`] compares with.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() || self.behind_tls_proxy {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }
}

/// Who is writing in the chat is for now only: the configured rule, without history. Where the
/// configuration allows no such channels, there are none.
fn typing_rule(configured: &RuleBook) -> Option<ChannelRule> {
    let lobby = ChannelName::new("talk-typing:lobby").expect("a name without a star");
    let rules = configured.rules(&lobby)?;
    Some(ChannelRule {
        pattern: "talk-typing:*".to_owned(),
        rules: ChannelRules {
            history: History::NONE,
            presence: false,
            ..ChannelRules::clone(rules)
        },
    })
}

/// What moves in the examples is for now only, and of each value of the tag `key` the newest counts.
/// Where the configuration allows no such channels, there are none.
fn examples_rule(configured: &RuleBook) -> Option<ChannelRule> {
    let ticker = ChannelName::new("examples-live:ticker").expect("a name without a star");
    let rules = configured.rules(&ticker)?;
    Some(ChannelRule {
        pattern: "examples-live:*".to_owned(),
        rules: ChannelRules {
            history: History::NONE,
            slow: SlowPolicy::LatestByKey,
            ..ChannelRules::clone(rules)
        },
    })
}

#[cfg(test)]
mod tests;
