//! The scenarios: one definition for the run, the help and the tables.

use serde::Serialize;

/// One scenario, the same for every server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scenario {
    /// The name it is selected by.
    pub(crate) name: &'static str,
    /// A description.
    pub(crate) about: &'static str,
    /// The load.
    #[serde(skip)]
    pub(crate) load: Load,
    /// What the server must support in addition.
    #[serde(skip)]
    pub(crate) needs: Needs,
}

/// The load generator's modes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Messages back and forth.
    Echo {
        /// The number of connections.
        connections: usize,
        /// Bytes of a message.
        size: usize,
        /// Messages in flight on each connection.
        in_flight: usize,
    },
    /// Connection lifecycles.
    Handshakes,
    /// Memory of idle connections.
    Idle,
}

/// What a scenario requires of a server besides echoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Plain,
    /// TLS 1.3.
    Tls,
    /// permessage-deflate.
    Deflate,
}

const fn echo(connections: usize, size: usize, in_flight: usize) -> Load {
    Load::Echo {
        connections,
        size,
        in_flight,
    }
}

const fn scenario(name: &'static str, about: &'static str, load: Load, needs: Needs) -> Scenario {
    Scenario {
        name,
        about,
        load,
        needs,
    }
}

/// All scenarios, in the order of the tables.
pub(crate) const ALL: [Scenario; 11] = [
    scenario(
        "tiny",
        "64 connections, 20 B, 1 in flight",
        echo(64, 20, 1),
        Needs::Plain,
    ),
    scenario(
        "small",
        "64 connections, 1 KiB, 1 in flight",
        echo(64, 1024, 1),
        Needs::Plain,
    ),
    scenario(
        "medium",
        "64 connections, 16 KiB, 1 in flight",
        echo(64, 16384, 1),
        Needs::Plain,
    ),
    scenario(
        "large",
        "4 connections, 1 MiB, 1 in flight",
        echo(4, 1 << 20, 1),
        Needs::Plain,
    ),
    scenario(
        "pipelined",
        "16 connections, 20 B, 64 in flight",
        echo(16, 20, 64),
        Needs::Plain,
    ),
    scenario(
        "crowd",
        "1000 connections, 20 B, 1 in flight",
        echo(1000, 20, 1),
        Needs::Plain,
    ),
    scenario(
        "deflate",
        "64 connections, 256 B of JSON, permessage-deflate, 1 in flight",
        echo(64, 256, 1),
        Needs::Deflate,
    ),
    scenario(
        "tls",
        "64 connections, 1 KiB, TLS 1.3, 1 in flight",
        echo(64, 1024, 1),
        Needs::Tls,
    ),
    scenario(
        "handshakes",
        "connect, upgrade, echo 20 B, close; 64 at a time",
        Load::Handshakes,
        Needs::Plain,
    ),
    scenario(
        "idle",
        "user-space memory of an idle connection",
        Load::Idle,
        Needs::Plain,
    ),
    scenario(
        "idle-deflate",
        "the same with permessage-deflate agreed",
        Load::Idle,
        Needs::Deflate,
    ),
];
