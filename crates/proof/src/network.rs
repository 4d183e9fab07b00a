//! The network between clients and server: a TCP proxy whose connections are cut and frozen.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chance::Chance;

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Nothing gets through, and nobody is told.
    Frozen,
    /// Over.
    Cut,
}

/// Clients connect to its address, and get to wherever the server is.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    connections: Arc<Connections>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the server is; nowhere while it is dead.
    server: Option<SocketAddr>,
    open: BTreeMap<u64, watch::Sender<Weather>>,
    last: u64,
}

impl Network {
    pub(crate) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Connections::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&connections)));
        Ok(Self {
            address,
            connections,
            accepting,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// The server is here from now on, or dead.
    pub(crate) fn lead_to(&self, server: Option<SocketAddr>) {
        self.connections.lock().server = server;
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().open.len()
    }

    /// Cuts so many of a hundred connections, with whatever is on them. How many that were.
    pub(crate) fn cut(&self, percent: usize, chance: &mut Chance) -> usize {
        self.change(percent, chance, Weather::Cut)
    }

    /// Freezes so many of a hundred connections. How many that were.
    pub(crate) fn freeze(&self, percent: usize, chance: &mut Chance) -> usize {
        self.change(percent, chance, Weather::Frozen)
    }

    /// What was frozen moves on, as TCP would have sent it again.
    pub(crate) fn thaw(&self) {
        for connection in self.connections.lock().open.values() {
            connection.send_if_modified(|weather| {
                let frozen = *weather == Weather::Frozen;
                if frozen {
                    *weather = Weather::Fine;
                }
                frozen
            });
        }
    }

    fn change(&self, percent: usize, chance: &mut Chance, weather: Weather) -> usize {
        let state = self.connections.lock();
        let mut changed = 0;
        for connection in state.open.values().filter(|_| chance.percent(percent)) {
            connection.send_replace(weather);
            changed += 1;
        }
        changed
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; where it leads, and its weather.
    fn begin(&self) -> Option<(SocketAddr, u64, watch::Receiver<Weather>)> {
        let mut state = self.lock();
        let server = state.server?;
        state.last += 1;
        let id = state.last;
        let (weather, forecast) = watch::channel(Weather::Fine);
        state.open.insert(id, weather);
        Some((server, id, forecast))
    }

    fn end(&self, id: u64) {
        self.lock().open.remove(&id);
    }
}

async fn accept(listener: TcpListener, connections: Arc<Connections>) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // Too many descriptors, for a moment.
            tokio::task::yield_now().await;
            continue;
        };
        // Without a server it is closed right away.
        let Some((server, id, weather)) = connections.begin() else {
            continue;
        };
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(server).await {
                carry(near, far, weather).await;
            }
            connections.end(id);
        });
    }
}

/// Carries both ways until one end is done, or the connection is cut.
async fn carry(near: TcpStream, far: TcpStream, mut weather: watch::Receiver<Weather>) {
    // What is small is on its way at once, as without us in between.
    let _best_effort = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let up = pump(near_in, far_out, weather.clone());
    let down = pump(far_in, near_out, weather.clone());
    tokio::select! {
        () = up => {}
        () = down => {}
        _cut_or_over = weather.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let moving = weather.wait_for(|weather| *weather != Weather::Frozen);
        let moving = moving.await.is_ok();
        let Some(bytes) = buffer.get(..len) else {
            return;
        };
        if !moving || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
