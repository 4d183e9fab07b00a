//! The way between clients and server: a link that loses packets, or a relay that only counts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use offhook::Tls;

use super::link::{Counts, Direction};
use super::relay::Relay;
use super::server::Server;
#[cfg(target_os = "linux")]
use super::tun::{self, Tun};

/// The way to servers, which are started one after another.
#[derive(Debug)]
pub(super) enum Path {
    #[cfg(target_os = "linux")]
    Tun(Tun),
    /// The relay to the server that runs, if one does.
    Relay(Option<Relay>),
}

/// How clients reach a server.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) udp: SocketAddr,
    pub(super) trust: Tls,
}

impl Path {
    /// Whether packets can be lost.
    pub(super) const fn loses(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(_) => true,
            Self::Relay(_) => false,
        }
    }

    /// The address at which the server has to listen.
    pub(super) const fn listen_at(&self) -> Ipv4Addr {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(_) => tun::OURS,
            Self::Relay(_) => Ipv4Addr::LOCALHOST,
        }
    }

    /// Leads to this server from now on.
    pub(super) async fn lead_to(&mut self, server: &Server) -> io::Result<Reach> {
        let trust = server.trust.clone();
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(tun) => {
                tun.set_ports(vec![server.plain.port(), server.tls.port()]);
                let through = |port| SocketAddr::from((tun::THEIRS, port));
                Ok(Reach {
                    plain: through(server.plain.port()),
                    tls: through(server.tls.port()),
                    udp: through(server.tls.port()),
                    trust,
                })
            }
            Self::Relay(current) => {
                let relay = Relay::open(server.plain, server.tls).await?;
                let reach = Reach {
                    plain: relay.plain,
                    tls: relay.tls,
                    udp: relay.udp,
                    trust,
                };
                *current = Some(relay);
                Ok(reach)
            }
        }
    }

    /// The share of packets that are lost from now on. A relay loses none.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "only a link loses packets")
    )]
    pub(super) fn set_loss(&self, share: f64) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(tun) => tun.set_loss(share),
            Self::Relay(_) => {}
        }
    }

    /// Loses the next packet to the client with at least this many bytes. A relay loses none.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "only a link loses packets")
    )]
    pub(super) fn lose_next(&self, bytes: usize) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(tun) => tun.lose_next(Direction::Down, bytes),
            Self::Relay(_) => {}
        }
    }

    /// What has passed, to the server and to the client.
    pub(super) fn counts(&self) -> [Counts; 2] {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tun(tun) => tun.counts(),
            Self::Relay(relay) => relay.as_ref().map(Relay::counts).unwrap_or_default(),
        }
    }
}
