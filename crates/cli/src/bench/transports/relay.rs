//! A relay that counts bytes, for systems where packets can't be lost: it forwards what TCP and UDP carry, on
//! this machine, and sees no headers.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::link::Counts;

/// Forwards connections to one server; everything ends when it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    counts: Arc<Totals>,
    _tasks: JoinSet<()>,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) udp: SocketAddr,
}

/// Bytes and reads, to the server and to the client.
#[derive(Debug, Default)]
struct Totals {
    up: Total,
    down: Total,
}

#[derive(Debug, Default)]
struct Total {
    pieces: AtomicU64,
    bytes: AtomicU64,
}

impl Total {
    fn add(&self, bytes: usize) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            packets: self.pieces.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            lost: 0,
        }
    }
}

impl Relay {
    /// Forwards to a server that listens at these addresses, TLS and UDP at the second one.
    pub(super) async fn open(plain: SocketAddr, tls: SocketAddr) -> io::Result<Self> {
        let counts = Arc::new(Totals::default());
        let mut tasks = JoinSet::new();
        let here = (Ipv4Addr::LOCALHOST, 0);
        let mut addresses = Vec::new();
        for to in [plain, tls] {
            let listener = TcpListener::bind(here).await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(accept(listener, to, Arc::clone(&counts)));
        }
        let socket = UdpSocket::bind(here).await?;
        let udp = socket.local_addr()?;
        tasks.spawn(forward_packets(socket, tls, Arc::clone(&counts)));
        let missing = || io::Error::other("no address");
        Ok(Self {
            counts,
            _tasks: tasks,
            plain: addresses.first().copied().ok_or_else(missing)?,
            tls: addresses.last().copied().ok_or_else(missing)?,
            udp,
        })
    }

    pub(super) fn counts(&self) -> [Counts; 2] {
        [self.counts.up.counts(), self.counts.down.counts()]
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, counts: Arc<Totals>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { return };
                connections.spawn(forward(near, to, Arc::clone(&counts)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(near: TcpStream, to: SocketAddr, counts: Arc<Totals>) {
    let Ok(far) = TcpStream::connect(to).await else {
        return;
    };
    // Small writes are forwarded at once, as without a relay.
    let _best_effort = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = copy(near_in, far_out, &counts.up) => {}
        () = copy(far_in, near_out, &counts.down) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, total: &Total) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        total.add(len);
        let Some(bytes) = buffer.get(..len) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn forward_packets(near: UdpSocket, to: SocketAddr, counts: Arc<Totals>) {
    let near = Arc::new(near);
    let mut known: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((len, client)) = near.recv_from(&mut buffer).await else {
            continue;
        };
        let packet = buffer.get(..len).unwrap_or_default();
        let far = match known.get(&client) {
            Some(far) => Arc::clone(far),
            None => {
                let Ok(far) = to_server(to).await else {
                    continue;
                };
                let far = Arc::new(far);
                known.insert(client, Arc::clone(&far));
                let (near, counts) = (Arc::clone(&near), Arc::clone(&counts));
                answers.spawn(answer(near, Arc::clone(&far), client, counts));
                far
            }
        };
        counts.up.add(len);
        let _lost = far.send(packet).await;
    }
}

async fn to_server(to: SocketAddr) -> io::Result<UdpSocket> {
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    far.connect(to).await?;
    Ok(far)
}

async fn answer(
    near: Arc<UdpSocket>,
    far: Arc<UdpSocket>,
    client: SocketAddr,
    counts: Arc<Totals>,
) {
    let mut buffer = vec![0; 65_536];
    // An error says that the server is gone.
    while let Ok(len) = far.recv(&mut buffer).await {
        counts.down.add(len);
        let _lost = near
            .send_to(buffer.get(..len).unwrap_or_default(), client)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn bytes_of_tcp_and_udp_pass_in_order_and_are_counted_by_direction() {
        runtime().block_on(async {
            let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let tls = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let addresses = (plain.local_addr(), tls.local_addr());
            let (Ok(to_plain), Ok(to_tls)) = addresses else {
                panic!("they are bound")
            };
            let relay = Relay::open(to_plain, to_tls).await.expect("it opens");

            let mut client = TcpStream::connect(relay.plain).await.expect("it listens");
            let (mut server, _) = plain.accept().await.expect("it forwards");
            let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            let sending = sent.clone();
            let (mut received, mut back) = (vec![0; 100_000], [0; 4]);
            let (wrote, read) =
                tokio::join!(client.write_all(&sending), server.read_exact(&mut received));
            assert!(wrote.is_ok() && read.is_ok());
            assert_eq!(received, sent);
            server.write_all(b"back").await.expect("open");
            client.read_exact(&mut back).await.expect("open");
            assert_eq!(&back, b"back");

            let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            client.connect(relay.udp).await.expect("an address");
            let mut buffer = [0; 16];
            for text in ["one", "two"] {
                client.send(text.as_bytes()).await.expect("sent");
                let (len, from) = tls.recv_from(&mut buffer).await.expect("received");
                assert_eq!(&buffer[..len], text.as_bytes());
                tls.send_to(b"ack!", from).await.expect("sent");
                let len = client.recv(&mut buffer).await.expect("received");
                assert_eq!(&buffer[..len], b"ack!");
            }
            let [up, down] = relay.counts();
            assert_eq!((up.bytes, down.bytes), (100_006, 12));
        });
    }
}
