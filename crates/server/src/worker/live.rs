//! The settings that change while a worker runs: rules, origins, host names and limits.

use std::{rc::Rc, sync::Arc};

use offhook::protocol::{deflate::DeflateConfig, handshake::ServerConfig};
use offhook_engine::{Limits, RuleBook};

use super::Worker;
use crate::{config::Config, door::rooms};

/// Settings that can be replaced while the server runs, and values derived from them.
#[derive(Debug)]
pub(crate) struct Live {
    /// The configuration. Only settings that can be replaced are used; for all others, use
    /// [`Shared`](super::Shared).
    pub(crate) config: Config,
    pub(crate) rules: Arc<RuleBook>,
    /// The acceptor of handshakes.
    pub(crate) handshake: Arc<ServerConfig>,
    /// The acceptor of handshakes from trusted proxies.
    pub(crate) behind_proxy: Arc<ServerConfig>,
}

impl Live {
    pub(crate) fn new(config: Config, rules: Arc<RuleBook>) -> Arc<Self> {
        let handshake = handshake(&config);
        Arc::new(Self {
            behind_proxy: Arc::new(ServerConfig {
                trust_forwarded: true,
                ..handshake.clone()
            }),
            handshake: Arc::new(handshake),
            rules,
            config,
        })
    }

    /// The acceptor of handshakes from a trusted proxy, or from anybody else.
    pub(crate) const fn handshake(&self, from_proxy: bool) -> &Arc<ServerConfig> {
        if from_proxy {
            &self.behind_proxy
        } else {
            &self.handshake
        }
    }

    /// The engine's limits.
    pub(super) fn limits(&self) -> Limits {
        let config = &self.config;
        Limits {
            connections: config.connections.max,
            // Half, so that live publications have room while a connection catches up.
            outbox_bytes: config.messages.outbox_bytes / 2,
            ..config.limits.clone()
        }
    }
}

/// The configuration of handshakes. The subprotocol is chosen after the path.
fn handshake(config: &Config) -> ServerConfig {
    ServerConfig {
        origin: config.origins.clone(),
        scheme: config.scheme(),
        deflate: config.messages.deflate.then(DeflateConfig::default),
        ..ServerConfig::default()
    }
}

impl Worker {
    /// The current settings.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.borrow())
    }

    /// Applies other settings. Open connections stay open; the new rules and limits apply to their
    /// next commands.
    pub(super) fn renew(self: &Rc<Self>, live: Arc<Live>) {
        let (rules, limits) = (Arc::clone(&live.rules), live.limits());
        self.shared.set_rooms(rooms(&live.config));
        self.live.replace(live);
        self.turn(|engine, now| {
            engine.set_limits(limits);
            engine.set_rules(rules, now);
        });
    }
}
