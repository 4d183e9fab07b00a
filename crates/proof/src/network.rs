//! The network between clients and server: a proxy for TCP and UDP whose connections are cut and frozen.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::random::Random;

mod udp;

/// The condition of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Open,
    /// Nothing gets through, and neither end is notified.
    Frozen,
    Cut,
}

/// Clients connect to its addresses, and are forwarded to the server.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    udp_address: SocketAddr,
    connections: Arc<Connections>,
    /// Accepts connections of TCP, and those of UDP.
    accepting: [JoinHandle<()>; 2],
}

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    pub(crate) tcp: SocketAddr,
    /// HTTP/3, if it is enabled.
    pub(crate) udp: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server's addresses; none while it is down.
    server: Option<Listening>,
    open: BTreeMap<u64, watch::Sender<Condition>>,
    last: u64,
}

impl Network {
    pub(crate) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let udp_address = socket.local_addr()?;
        let connections = Arc::new(Connections::default());
        let accepting = [
            tokio::spawn(accept(listener, Arc::clone(&connections))),
            tokio::spawn(udp::accept(socket, Arc::clone(&connections))),
        ];
        Ok(Self {
            address,
            udp_address,
            connections,
            accepting,
        })
    }

    /// The URL of WebTransport sessions.
    pub(crate) fn webtransport_url(&self) -> String {
        format!("https://{}/ws", self.udp_address)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Forwards new connections to these addresses. Without any, those of TCP are closed at once, and packets
    /// of UDP are lost.
    pub(crate) fn forward_to(&self, server: Option<Listening>) {
        self.connections.lock().server = server;
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().open.len()
    }

    /// Cuts this percentage of the connections, and drops what they carry. Returns how many.
    pub(crate) fn cut(&self, percent: usize, random: &mut Random) -> usize {
        self.change(percent, random, Condition::Cut)
    }

    /// Freezes this percentage of the connections. Returns how many.
    pub(crate) fn freeze(&self, percent: usize, random: &mut Random) -> usize {
        self.change(percent, random, Condition::Frozen)
    }

    /// Lets frozen connections continue, as TCP would by retransmitting.
    pub(crate) fn resume(&self) {
        for connection in self.connections.lock().open.values() {
            connection.send_if_modified(|condition| {
                let frozen = *condition == Condition::Frozen;
                if frozen {
                    *condition = Condition::Open;
                }
                frozen
            });
        }
    }

    fn change(&self, percent: usize, random: &mut Random, condition: Condition) -> usize {
        let state = self.connections.lock();
        let mut changed = 0;
        for connection in state.open.values().filter(|_| random.percent(percent)) {
            connection.send_replace(condition);
            changed += 1;
        }
        changed
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection to one of the server's addresses: that address, its number and its condition.
    fn begin(
        &self,
        which: impl FnOnce(Listening) -> Option<SocketAddr>,
    ) -> Option<(SocketAddr, u64, watch::Receiver<Condition>)> {
        let mut state = self.lock();
        let server = state.server.and_then(which)?;
        state.last += 1;
        let id = state.last;
        let (condition, changes) = watch::channel(Condition::Open);
        state.open.insert(id, condition);
        Some((server, id, changes))
    }

    fn end(&self, id: u64) {
        self.lock().open.remove(&id);
    }
}

async fn accept(listener: TcpListener, connections: Arc<Connections>) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // Temporarily out of descriptors.
            tokio::task::yield_now().await;
            continue;
        };
        // Without a server it is closed right away.
        let Some((server, id, condition)) = connections.begin(|server| Some(server.tcp)) else {
            continue;
        };
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(server).await {
                forward(near, far, condition).await;
            }
            connections.end(id);
        });
    }
}

/// Forwards both ways until one end is done, or the connection is cut.
async fn forward(near: TcpStream, far: TcpStream, mut condition: watch::Receiver<Condition>) {
    // Small writes are forwarded at once, as without a proxy.
    let _best_effort = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let up = copy(near_in, far_out, condition.clone());
    let down = copy(far_in, near_out, condition.clone());
    tokio::select! {
        () = up => {}
        () = down => {}
        _cut_or_closed = condition.wait_for(|condition| *condition == Condition::Cut) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut condition: watch::Receiver<Condition>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let moving = condition.wait_for(|condition| *condition != Condition::Frozen);
        let moving = moving.await.is_ok();
        let Some(bytes) = buffer.get(..len) else {
            return;
        };
        if !moving || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
