//! What the dialects and transports are to reach, beside the servers that were made for them.

use std::fmt::Write as _;

use self::Bound::{AtLeast, AtMost};

/// A figure of ours, divided by the same figure of another server; or the figure itself.
pub(super) struct Goal {
    ours: &'static str,
    other: Option<&'static str>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const fn beside(ours: &'static str, other: &'static str, bound: Bound) -> Goal {
    let other = Some(other);
    Goal { ours, other, bound }
}

const fn bytes(ours: &'static str, most: f64) -> Goal {
    let (other, bound) = (None, AtMost(most));
    Goal { ours, other, bound }
}

/// Deliveries per second.
pub(super) const DELIVERIES: [Goal; 8] = [
    beside("offhook-sse", "offhook", AtLeast(0.9)),
    beside("offhook-socketio", "socket.io", AtLeast(8.0)),
    beside(
        "offhook-socketio-polling",
        "socket.io-polling",
        AtLeast(8.0),
    ),
    beside("offhook-mqtt", "mosquitto", AtLeast(1.0)),
    beside("offhook-mqtt-qos1", "mosquitto-qos1", AtLeast(1.0)),
    beside("offhook-stomp", "rabbitmq", AtLeast(3.0)),
    beside("offhook-rpc", "rpc-websockets", AtLeast(3.0)),
    beside("offhook-graphql", "graphql-ws", AtLeast(3.0)),
];

/// The server's processor time per delivery. The first three share all bytes of a publication, the others
/// need a head for each recipient.
pub(super) const TIMES: [Goal; 6] = [
    beside("offhook-socketio", "offhook", AtMost(1.3)),
    beside("offhook-mqtt", "offhook", AtMost(1.3)),
    beside("offhook-rpc", "offhook", AtMost(1.3)),
    beside("offhook-mqtt-qos1", "offhook", AtMost(2.0)),
    beside("offhook-stomp", "offhook", AtMost(2.0)),
    beside("offhook-graphql", "offhook", AtMost(2.0)),
];

/// Publications per second that are acknowledged over MQTT.
pub(super) const PUBLICATIONS: [Goal; 1] = [beside("offhook-mqtt-qos1", "mosquitto", AtLeast(1.0))];

/// Bytes of an idle connection.
pub(super) const CONNECTIONS: [Goal; 8] = [
    bytes("offhook-sse", 4096.0),
    bytes("offhook-polls", 2048.0),
    bytes("offhook-mqtt", 3072.0),
    beside("offhook-socketio", "socket.io", AtMost(0.25)),
    beside(
        "offhook-socketio-polling",
        "socket.io-polling",
        AtMost(0.25),
    ),
    beside("offhook-stomp", "rabbitmq", AtMost(1.0 / 3.0)),
    beside("offhook-rpc", "rpc-websockets", AtMost(1.0 / 3.0)),
    beside("offhook-graphql", "graphql-ws", AtMost(1.0 / 3.0)),
];

/// A table of the goals whose servers were measured. `figures` returns those of a server, one for each of
/// `columns`.
pub(super) fn table(
    what: &str,
    columns: &[&str],
    goals: &[Goal],
    figures: impl Fn(&str) -> Option<Vec<f64>>,
) -> String {
    let rows = goals.iter().filter_map(|goal| {
        let ours = figures(goal.ours)?;
        let measured = match goal.other {
            Some(other) => {
                let both = ours.into_iter().zip(figures(other)?);
                both.map(|(ours, other)| ours / other).collect()
            }
            None => ours,
        };
        Some(row(goal, &measured))
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let heads = columns.join(" | ");
    let lines = "--:|".repeat(columns.len());
    format!("\n| {what} | goal | {heads} |\n|---|--:|{lines}\n{rows}")
}

fn row(goal: &Goal, measured: &[f64]) -> String {
    let (unit, places) = match goal.other {
        Some(_) => ("×", 2),
        None => (" B", 0),
    };
    let (name, limit) = match goal.bound {
        AtLeast(limit) => ("at least", limit),
        AtMost(limit) => ("at most", limit),
    };
    let other = goal
        .other
        .map_or(String::new(), |other| format!(" ÷ {other}"));
    let mut row = format!("| {}{other} | {name} {limit:.places$}{unit} |", goal.ours);
    for figure in measured {
        let is_reached = match goal.bound {
            AtLeast(limit) => *figure >= limit,
            AtMost(limit) => *figure <= limit,
        };
        let mark = if is_reached { "" } else { " (missed)" };
        let _ = write!(row, " {figure:.places$}{unit}{mark} |");
    }
    row + "\n"
}
