//! A TCP proxy that does what networks do: it cuts and freezes connections, and becomes
//! unreachable.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Faults {
    /// Connections with an earlier number are cut.
    cuts: u32,
    frozen: bool,
    away: bool,
    target: SocketAddr,
}

/// Connections to its address are forwarded to its target.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Faults {
            cuts: 0,
            frozen: false,
            away: false,
            target,
        };
        let faults = Arc::new(watch::Sender::new(faults));
        tokio::spawn(accept(listener, Arc::clone(&faults)));
        Self { address, faults }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, with whatever is in transit.
    pub(crate) fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Ends all connections, and every new one, until [`come_back`](Self::come_back).
    pub(crate) fn go_away(&self) {
        self.faults.send_modify(|faults| {
            faults.cuts += 1;
            faults.away = true;
        });
    }

    pub(crate) fn come_back(&self) {
        self.faults.send_modify(|faults| faults.away = false);
    }

    /// Nothing gets through any more, and neither side is told.
    pub(crate) fn freeze(&self) {
        self.faults.send_modify(|faults| faults.frozen = true);
    }

    pub(crate) fn thaw(&self) {
        self.faults.send_modify(|faults| faults.frozen = false);
    }

    /// New connections are forwarded to this target.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }
}

async fn accept(listener: TcpListener, faults: Arc<watch::Sender<Faults>>) {
    while let Ok((near, _)) = listener.accept().await {
        let now = *faults.borrow();
        if now.away {
            continue;
        }
        let faults = faults.subscribe();
        tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(now.target).await {
                carry(near, far, faults, now.cuts).await;
            }
        });
    }
}

/// Forwards both ways until one end is done, or the connection is cut.
async fn carry(near: TcpStream, far: TcpStream, mut faults: watch::Receiver<Faults>, cuts: u32) {
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let up = pump(near_in, far_out, faults.clone());
    let down = pump(far_in, near_out, faults.clone());
    tokio::select! {
        () = up => {}
        () = down => {}
        _cut_or_over = faults.wait_for(|faults| faults.cuts != cuts) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let passed = faults.wait_for(|faults| !faults.frozen).await.is_ok();
        if !passed || to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
