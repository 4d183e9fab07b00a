//! Packets of UDP. Those from one address are a connection, as for a NAT.
//!
//! Nobody is told when such a connection is cut: all its packets are lost from then on. While it is frozen, they
//! are lost as well, as if a queue on their way were full; QUIC sends them again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Condition, Connections};

/// Packets of one connection that wait. 256: more are lost, as in any queue of a network.
const WAITING: usize = 256;

/// How long a connection may be silent before it is forgotten. 15 s: clients send something every 10 s.
const FORGET: Duration = Duration::from_secs(15);

/// The longest packet of UDP.
const LONGEST: usize = 65_535;

pub(super) async fn accept(socket: UdpSocket, connections: Arc<Connections>) {
    let socket = Arc::new(socket);
    let mut known: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            // A client is gone: the system reports its answers that could not be delivered.
            tokio::task::yield_now().await;
            continue;
        };
        let mut packet = buffer.get(..len).unwrap_or_default().to_vec();
        if let Some(queue) = known.get(&from) {
            match queue.try_send(packet) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => continue,
                // It was forgotten.
                Err(mpsc::error::TrySendError::Closed(unsent)) => packet = unsent,
            }
        }
        known.retain(|_, queue| !queue.is_closed());
        // Without a server it is lost.
        let Some((server, id, condition)) = connections.begin(|server| server.udp) else {
            continue;
        };
        let (queue, packets) = mpsc::channel(WAITING);
        let _has_room = queue.try_send(packet);
        known.insert(from, queue);
        let (socket, connections) = (Arc::clone(&socket), Arc::clone(&connections));
        tokio::spawn(async move {
            let mut packets = packets;
            let ended = forward(&socket, from, server, &mut packets, condition).await;
            connections.end(id);
            if let Ok(Ended::Cut) = ended {
                // Its packets must not begin another connection.
                while let Ok(Some(_)) = timeout(FORGET, packets.recv()).await {}
            }
        });
    }
}

/// Why a connection is no longer forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Cut,
    Silent,
}

async fn cut(condition: &mut watch::Receiver<Condition>) {
    let cut = condition.wait_for(|condition| *condition == Condition::Cut);
    // An error means that the network is gone.
    drop(cut.await.map(drop));
}

/// Forwards packets both ways until the connection is cut, or its client is silent.
async fn forward(
    near: &UdpSocket,
    client: SocketAddr,
    server: SocketAddr,
    packets: &mut mpsc::Receiver<Vec<u8>>,
    mut condition: watch::Receiver<Condition>,
) -> io::Result<Ended> {
    let now = condition.clone();
    let far = UdpSocket::bind("127.0.0.1:0").await?;
    far.connect(server).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        tokio::select! {
            () = cut(&mut condition) => return Ok(Ended::Cut),
            packet = timeout(FORGET, packets.recv()) => {
                let Ok(Some(packet)) = packet else {
                    return Ok(Ended::Silent);
                };
                if *now.borrow() == Condition::Open {
                    // The server may be down.
                    let _lost = far.send(&packet).await;
                }
            }
            received = far.recv(&mut buffer) => match received {
                Ok(len) => {
                    let packet = buffer.get(..len).unwrap_or_default();
                    if *now.borrow() == Condition::Open {
                        let _lost = near.send_to(packet, client).await;
                    }
                }
                // The server is down, as the system reports once for each packet.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}
