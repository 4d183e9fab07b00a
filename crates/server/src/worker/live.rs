//! The settings that change while a worker runs: rules, origins, host names and limits.

use std::{rc::Rc, sync::Arc};

use offhook::protocol::{deflate::DeflateConfig, handshake::ServerConfig};
use offhook_engine::{Limits, RuleBook};
use tokio::{
    sync::oneshot,
    task::{spawn_local, yield_now},
};

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
    /// next commands. What subscriptions there are is adjusted in parts, between which other work is
    /// done, and then it is reported.
    pub(super) fn renew(self: &Rc<Self>, live: Arc<Live>, done: oneshot::Sender<()>) {
        let (rules, limits) = (Arc::clone(&live.rules), live.limits());
        self.shared.set_rooms(rooms(&live.config));
        self.live.replace(live);
        self.turn(|engine, now| {
            engine.set_limits(limits);
            engine.set_rules(rules, now);
        });
        let worker = Rc::clone(self);
        spawn_local(async move {
            while worker.apply_on() {
                yield_now().await;
            }
            // A caller that no longer waits is not told.
            let _gone = done.send(());
        });
    }

    /// Adjusts some more subscriptions to new rules. Returns whether there are more.
    fn apply_on(self: &Rc<Self>) -> bool {
        let is_applying = self.state.borrow().engine.is_applying();
        is_applying && self.turn(|engine, now| engine.apply_on(now))
    }
}
