//! The channel servers, and how each is started.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::building::{self, Places};
use crate::running::free_port;
use crate::words;

/// A server that delivers publications to subscribers.
#[derive(Clone, Debug)]
pub(crate) struct ChannelServer {
    /// The name it is selected by.
    pub(crate) name: String,
    /// Its version, if it reports one.
    pub(crate) version: String,
    /// The protocol that the load generator uses.
    pub(crate) dialect: &'static str,
    launch: Launch,
}

#[derive(Clone, Debug)]
enum Launch {
    /// `offhook serve` with this configuration in addition to the benchmark's own.
    /// The port is `--listen`, or with `mqtt` the setting `mqtt.listen`.
    Offhook {
        program: PathBuf,
        settings: String,
        mqtt: bool,
    },
    /// A program that takes a port.
    Port(Vec<OsString>),
    /// nats-server, with this configuration.
    Nats { program: PathBuf, settings: String },
    /// mosquitto, with this configuration.
    Mosquitto { program: PathBuf, settings: String },
    /// rabbitmq-server with its plugin for STOMP over WebSocket.
    Rabbit(PathBuf),
}

/// No limit on what one connection may do: the one publisher here stands for a backend.
const WITHOUT_LIMITS: &str = "\
workers = 1
talk = false
connections.handshakes_per_second = 1000000
connections.handshake_burst = 1000000
limits.commands_per_second = 100000000
limits.command_burst = 100000000
limits.publishes_per_second = 100000000
limits.publish_burst = 100000000
";

/// The rules of a ticker: no history, no presence.
const EPHEMERAL: &str = "[[channels]]\npattern = \"*\"\npresence = false\nhistory.count = 0\n";
/// The same with a history of the default size.
const HISTORY: &str = "[[channels]]\npattern = \"*\"\npresence = false\n";
/// More than any measurement publishes.
const LONG_HISTORY: &str = "[[channels]]\npattern = \"*\"\npresence = false\n\
                            history = { count = 10000000, bytes = \"4GiB\" }\n";
/// By default the kernel would buffer megabytes for a connection that does not read; here the
/// server has to deal with it.
const SMALL_SOCKETS: &str = "connections.send_buffer = \"64KiB\"\n";
/// One session subscribes to thousands of channels.
const MANY_SUBSCRIPTIONS: &str = "limits.subscriptions = 5000\n";
/// Longer than any measurement.
const PATIENT: &str = "keepalive.interval = \"20m\"\nkeepalive.pong_timeout = \"20m\"\n";
const IN_MEMORY: &str = "in_memory = true\n";

/// The queue of a subscriber drops nothing, so that everything counted was delivered. Nothing is
/// written to disk, and small messages leave immediately, as in all servers.
const MOSQUITTO: &str = "allow_anonymous true\nmax_queued_messages 0\n\
                         max_queued_bytes 0\nset_tcp_nodelay true\nlog_type error\n";
/// mosquitto writes its database when it ends and every half hour, never before an acknowledgement.
const DISK: &str = "persistence true\n";
const IN_MOSQUITTO: &str = "persistence false\n";

impl ChannelServer {
    /// The same server with another build of `offhook`, if it is one of ours.
    pub(crate) fn with_program(&self, name: &str, program: &Path) -> Option<Self> {
        let Launch::Offhook { settings, mqtt, .. } = &self.launch else {
            return None;
        };
        Some(Self {
            name: self.name.replacen("offhook", name, 1),
            launch: Launch::Offhook {
                program: program.into(),
                settings: settings.clone(),
                mqtt: *mqtt,
            },
            ..self.clone()
        })
    }

    /// The program, if it is one of ours.
    pub(crate) fn program(&self) -> Option<&Path> {
        match &self.launch {
            Launch::Offhook { program, .. } => Some(program),
            Launch::Port(_)
            | Launch::Nats { .. }
            | Launch::Mosquitto { .. }
            | Launch::Rabbit(_) => None,
        }
    }

    /// The command line that serves `port` on loopback; files that it needs are written to
    /// `scratch`.
    pub(crate) fn command(&self, port: u16, scratch: &Path) -> Result<Vec<OsString>> {
        let data = scratch.join(format!("{}-data", self.name));
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let file = scratch.join(format!("{}.conf", self.name));
        Ok(match &self.launch {
            Launch::Offhook {
                program,
                settings,
                mqtt,
            } => {
                let mut listen = format!("127.0.0.1:{port}");
                let mut doors = String::new();
                if *mqtt {
                    doors = format!("mqtt.listen = [\"{listen}\"]\n");
                    listen = "127.0.0.1:0".into();
                }
                let (before, rules) = settings.split_once("[[").unwrap_or((settings, ""));
                let rules = if rules.is_empty() { "" } else { "[[" }.to_owned() + rules;
                fs::write(&file, format!("{before}{doors}{WITHOUT_LIMITS}{rules}"))?;
                words![
                    program, "serve", "--config", &file, "--listen", listen, "--data", &data
                ]
            }
            Launch::Port(line) => {
                let mut line = line.clone();
                line.push(port.to_string().into());
                line
            }
            Launch::Nats { program, settings } => {
                let data = data.display();
                let settings = settings.replace("DATA", &format!("\"{data}\""));
                fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{settings}"))?;
                words![program, "-c", &file]
            }
            Launch::Mosquitto { program, settings } => {
                let listener = format!("listener {port} 127.0.0.1\n");
                fs::write(&file, format!("{listener}{MOSQUITTO}{settings}"))?;
                words![program, "-c", &file]
            }
            Launch::Rabbit(program) => rabbit(program, port, &data)?,
        })
    }
}

/// The protocol of sessions that are polled, which are held by a command of their own.
pub(crate) const POLLED: &str = "polls";

/// The kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Fan-out, with the default channels of each server.
    FanOut,
    /// Fan-out and idle connections in each dialect, beside servers that were made for it.
    Dialects,
    /// Idle connections in each dialect and over requests.
    IdleDialects,
    /// Publications that are acknowledged once stored.
    Publishing,
    /// The same over MQTT.
    PublishingMqtt,
    /// Reading the history of what was published.
    Reading,
    /// Idle connections.
    Connections,
    /// A subscriber that does not read and catches up later.
    SlowConnection,
    /// How long one connection's actions delay the others.
    Stalls,
    /// What a backend gets from the server.
    Backend,
}

/// The servers that can be measured on this machine, ours first; and a line for each that cannot.
pub(crate) fn all(
    places: &Places,
    build: bool,
    purpose: For,
) -> Result<(Vec<ChannelServer>, Vec<String>)> {
    if build {
        building::cargo_build(places, &["load"])?;
    }
    let program = building::offhook_command(places, build)?;
    let ours_with = |name: &str, dialect, settings: &[&str]| ChannelServer {
        name: name.into(),
        version: String::new(),
        dialect,
        launch: Launch::Offhook {
            program: program.clone(),
            settings: settings.concat(),
            mqtt: dialect.starts_with("mqtt"),
        },
    };
    let ours = |name: &str, settings: &[&str]| ours_with(name, "native", settings);
    let live = |name: &str, dialect| ours_with(name, dialect, &[IN_MEMORY, EPHEMERAL]);
    let dialects = || {
        vec![
            live("offhook", "native"),
            live("offhook-sse", "events"),
            live("offhook-socketio", "socket-io-channels"),
            live("offhook-socketio-polling", "socket-io-channels-polling"),
            live("offhook-mqtt", "mqtt"),
            live("offhook-stomp", "stomp"),
            live("offhook-rpc", "json-rpc"),
            live("offhook-graphql", "graph-ql"),
        ]
    };
    // Without history, there is no QoS 1.
    let acknowledged = |settings: &[&str]| {
        let settings = [settings, &[HISTORY]].concat();
        ours_with("offhook-mqtt-qos1", "mqtt-acknowledged", &settings)
    };
    let mut servers = match purpose {
        For::FanOut => vec![
            ours("offhook", &[IN_MEMORY, EPHEMERAL]),
            ours("offhook-history", &[IN_MEMORY, HISTORY]),
            ours("offhook-log", &[HISTORY]),
        ],
        For::Dialects => dialects()
            .into_iter()
            .chain([acknowledged(&[IN_MEMORY])])
            .collect(),
        For::IdleDialects => {
            // Sessions that are never polled again do not end during the measurement.
            let polls = ours_with("offhook-polls", POLLED, &[IN_MEMORY, PATIENT, EPHEMERAL]);
            dialects().into_iter().chain([polls]).collect()
        }
        For::PublishingMqtt => vec![ours("offhook-log", &[HISTORY]), acknowledged(&[])],
        For::Publishing => vec![
            ours("offhook-log", &[HISTORY]),
            ours("offhook-log-fast", &["durability = \"fast\"\n", HISTORY]),
        ],
        For::Reading => vec![ours("offhook-log", &[HISTORY])],
        For::Connections => vec![
            ours("offhook", &[IN_MEMORY, EPHEMERAL]),
            ours("offhook-presence", &[IN_MEMORY]),
        ],
        For::SlowConnection => vec![
            ours("offhook-history", &[IN_MEMORY, SMALL_SOCKETS, LONG_HISTORY]),
            ours("offhook-log", &[SMALL_SOCKETS, LONG_HISTORY]),
        ],
        For::Stalls => vec![ours("offhook-log", &[MANY_SUBSCRIPTIONS, HISTORY])],
        For::Backend => vec![ours("offhook-log", &[HISTORY])],
    };
    let mut skipped = Vec::new();
    for (name, peers) in peers(places, build, purpose) {
        match peers {
            Ok(peers) => servers.extend(peers),
            Err(reason) => skipped.push(format!("{name} is skipped: {reason:#}")),
        }
    }
    Ok((servers, skipped))
}

type Found = (&'static str, Result<Vec<ChannelServer>>);

fn peers(places: &Places, build: bool, purpose: For) -> Vec<Found> {
    match purpose {
        For::FanOut | For::Connections => vec![
            ("uwebsockets", uwebsockets()),
            ("nats-server", nats()),
            ("mosquitto", mosquitto("mosquitto", "mqtt", IN_MOSQUITTO)),
            ("socket.io", node(places, build, "socket.io", "socket-io")),
        ],
        For::Dialects | For::IdleDialects => {
            let mut peers = vec![
                ("socket.io", socketio(places, build)),
                ("mosquitto", mosquitto("mosquitto", "mqtt", IN_MOSQUITTO)),
                ("rabbitmq", rabbitmq()),
                (
                    "rpc-websockets",
                    node(places, build, "rpc-websockets", "json-rpc"),
                ),
                ("graphql-ws", node(places, build, "graphql-ws", "graph-ql")),
            ];
            if purpose == For::Dialects {
                let name = "mosquitto-qos1";
                peers.push((name, mosquitto(name, "mqtt-acknowledged", IN_MOSQUITTO)));
            }
            peers
        }
        For::PublishingMqtt => vec![(
            "mosquitto",
            mosquitto("mosquitto", "mqtt-acknowledged", DISK),
        )],
        For::Publishing => vec![("jetstream", jetstream())],
        // For reading history, it does not matter how it was written.
        For::Reading => vec![(
            "jetstream",
            jetstream().map(|all| all.into_iter().skip(2).collect()),
        )],
        For::SlowConnection | For::Stalls | For::Backend => Vec::new(),
    }
}

fn peer(name: &str, version: &str, dialect: &'static str, launch: Launch) -> Vec<ChannelServer> {
    vec![ChannelServer {
        name: name.into(),
        version: version.into(),
        dialect,
        launch,
    }]
}

fn uwebsockets() -> Result<Vec<ChannelServer>> {
    let program = env::var_os("UWEBSOCKETS_FANOUT").context(
        "set UWEBSOCKETS_FANOUT to a program that takes a port; a connection to /publish \
         publishes to all others",
    )?;
    Ok(peer(
        "uwebsockets",
        "",
        "plain",
        Launch::Port(vec![program]),
    ))
}

/// A package on Node.js, with its script of the same name.
fn node(
    places: &Places,
    build: bool,
    package: &str,
    dialect: &'static str,
) -> Result<Vec<ChannelServer>> {
    let version = building::node_package(places, build, package)?;
    let script = places.node().join(format!("{package}.js"));
    let launch = Launch::Port(words!["node", script]);
    Ok(peer(package, &version, dialect, launch))
}

/// With subscribers over WebSocket, and with ones that poll.
fn socketio(places: &Places, build: bool) -> Result<Vec<ChannelServer>> {
    let mut both = node(places, build, "socket.io", "socket-io")?;
    let polling = ChannelServer {
        name: "socket.io-polling".into(),
        dialect: "socket-io-polling",
        ..both[0].clone()
    };
    both.push(polling);
    Ok(both)
}

fn rabbitmq() -> Result<Vec<ChannelServer>> {
    // The one in the path changes the user, and with it the process.
    let program = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    let missing = "not installed; run bench/peers/install";
    ensure!(program.exists(), missing);
    Ok(peer(
        "rabbitmq",
        "",
        "rabbit-stomp",
        Launch::Rabbit(program),
    ))
}

/// All files of `RabbitMQ` are below `data`, and it stays in the process that was started.
fn rabbit(program: &Path, port: u16, data: &Path) -> Result<Vec<OsString>> {
    fs::create_dir_all(data)?;
    let configuration = data.join("rabbitmq.conf");
    let listeners = format!(
        "listeners.tcp = none\nweb_stomp.tcp.ip = 127.0.0.1\nweb_stomp.tcp.port = {port}\n\
         stomp.listeners.tcp = none\n"
    );
    fs::write(&configuration, listeners)?;
    let plugins = data.join("plugins");
    fs::write(&plugins, "[rabbitmq_web_stomp].")?;
    let setting = |name: &str, value: &Path| format!("RABBITMQ_{name}={}", value.display());
    Ok(words![
        "env",
        // Otherwise a shell would wait for it.
        "RABBITMQ_ALLOW_INPUT=true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput",
        format!("RABBITMQ_NODENAME=bench{port}@localhost"),
        setting("MNESIA_BASE", data),
        setting("LOG_BASE", data),
        setting("CONFIG_FILE", &configuration),
        setting("ENABLED_PLUGINS_FILE", &plugins),
        format!("RABBITMQ_DIST_PORT={}", free_port()?),
        program
    ])
}

fn mosquitto(name: &str, dialect: &'static str, settings: &str) -> Result<Vec<ChannelServer>> {
    let program = installed("mosquitto")?;
    // It prints its version with its help, and exits with a failure.
    let help = Command::new(&program).arg("-h").output()?;
    let help = String::from_utf8_lossy(&help.stdout);
    let version = help.lines().next().unwrap_or_default();
    let version = version.rsplit(' ').next().unwrap_or_default();
    let settings = settings.into();
    let launch = Launch::Mosquitto { program, settings };
    Ok(peer(name, version, dialect, launch))
}

fn nats() -> Result<Vec<ChannelServer>> {
    let (program, version) = nats_program()?;
    let settings = String::new();
    let launch = Launch::Nats { program, settings };
    Ok(peer("nats-server", &version, "nats", launch))
}

/// With an fsync before each acknowledgement, and with its defaults.
fn jetstream() -> Result<Vec<ChannelServer>> {
    let (program, version) = nats_program()?;
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    ensure!(
        minor.is_some_and(|minor: u32| version.starts_with("2.") && minor >= 11),
        "{} is {version}; `sync_interval: always` came with 2.10, reading in batches with 2.11; \
         set NATS_SERVER to a newer one",
        program.display()
    );
    let server = |name: &str, dialect, sync: &str| {
        let settings = format!("jetstream {{ store_dir: DATA{sync} }}\n");
        let program = program.clone();
        peer(name, &version, dialect, Launch::Nats { program, settings })
    };
    let always = ", sync_interval: always";
    let servers = [
        server("jetstream-always", "jet-stream", always),
        server("jetstreams-always", "jet-streams", always),
        server("jetstream-default", "jet-stream", ""),
    ];
    Ok(servers.concat())
}

fn nats_program() -> Result<(PathBuf, String)> {
    let program = match env::var_os("NATS_SERVER") {
        Some(program) => program.into(),
        None => installed("nats-server")?,
    };
    let said = Command::new(&program)
        .arg("--version")
        .output()
        .with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&said.stdout);
    let version = said.trim().rsplit('v').next().unwrap_or_default();
    Ok((program, version.into()))
}

/// Searches the path, and where Debian installs servers.
fn installed(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = folders
        .map(|folder| folder.join(name))
        .find(|it| it.exists());
    program.with_context(|| format!("not installed; run `apt-get install {name}`"))
}
