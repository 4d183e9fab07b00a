//! Real packets of TCP and UDP over a [`Link`]: a TUN device whose packets return to this machine.
//!
//! ```text
//!   client ─▶ 10.77.0.2:port ─▶ TUN ─▶ link ─▶ TUN ─▶ 10.77.0.1:port, where the server listens
//! ```
//!
//! Client and server are on the same machine, with the address 10.77.0.1. A packet to 10.77.0.2 leaves through
//! the device. The two addresses in it are exchanged, and it returns: for the server it comes from 10.77.0.2,
//! and so the answer takes the same way. The checksums stay correct, because they are sums over both addresses.
//! The loss is below TCP and QUIC, which recover from it as on any network.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tokio_tun::Tun as Device;

use super::link::{Counts, Direction, Link, Packet};

/// The address of this machine on the device, where the server listens.
pub(super) const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address to which clients connect.
pub(super) const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

const NAME: &str = "offhook0";

/// The network of both addresses.
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);

/// The largest packet, as on Ethernet.
const MTU: i32 = 1_500;

/// A device with a link behind it. It exists until the process ends.
#[derive(Clone, Debug)]
pub(super) struct Tun(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a packet was put on the link.
    arrived: Condvar,
}

#[derive(Debug)]
struct State {
    link: Link,
    /// The ports of the server, which tell directions apart.
    ports: Vec<u16>,
}

impl Tun {
    /// Creates the device in this process's network namespace, which has to be a new one. This needs the right to
    /// configure it (`CAP_NET_ADMIN`), `/dev/net/tun` and the program `ip`.
    pub(super) fn open(link: Link) -> io::Result<Self> {
        let ports = Vec::new();
        let shared = Arc::new(Shared {
            state: Mutex::new(State { link, ports }),
            arrived: Condvar::new(),
        });
        loopback()?;
        let (tell, told) = sync_channel(1);
        let (reading, writing) = (Arc::clone(&shared), Arc::clone(&shared));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        // They end with the process.
        named("tun-reader").spawn(move || read(&tell, &reading))?;
        let device = told.recv().map_err(io::Error::other)??;
        named("tun-writer").spawn(move || write(&device, &writing))?;
        Ok(Self(shared))
    }

    /// The server listens on these ports from now on.
    pub(super) fn set_ports(&self, ports: Vec<u16>) {
        self.0.lock().ports = ports;
    }

    pub(super) fn set_loss(&self, share: f64) {
        self.0.lock().link.set_loss(share);
    }

    pub(super) fn lose_next(&self, direction: Direction, counted: usize) {
        self.0.lock().link.lose_next(direction, counted);
    }

    pub(super) fn counts(&self) -> [Counts; 2] {
        self.0.lock().link.counts()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters and queues remain valid after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new namespace has a loopback device that is down. The publisher uses it.
fn loopback() -> io::Result<()> {
    const LINE: [&str; 4] = ["link", "set", "lo", "up"];
    let ran = Command::new("ip").args(LINE).output();
    let ran = ran.map_err(|error| io::Error::new(error.kind(), format!("ip: {error}")))?;
    if ran.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&ran.stderr);
    Err(io::Error::other(format!(
        "ip {}: {}",
        LINE.join(" "),
        why.trim()
    )))
}

fn create() -> io::Result<Arc<Device>> {
    let device = Device::builder()
        .name(NAME)
        .address(OURS)
        .netmask(MASK)
        .mtu(MTU)
        .up()
        .build();
    let failed = |error| format!("a TUN device can't be created (/dev/net/tun): {error}");
    let device = device.map_err(|error| io::Error::other(failed(error)))?;
    let device = device.into_iter().next();
    device
        .map(Arc::new)
        .ok_or_else(|| io::Error::other("no TUN device was created"))
}

/// Creates the device, tells whether that succeeded, and puts its packets on the link.
fn read(tell: &SyncSender<io::Result<Arc<Device>>>, shared: &Shared) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error))),
    };
    runtime.block_on(async {
        let device = match create() {
            Ok(device) => device,
            Err(error) => return drop(tell.send(Err(error))),
        };
        if tell.send(Ok(Arc::clone(&device))).is_err() {
            return;
        }
        let mut buffer = vec![0; 65_536];
        // An error means that the device is gone, and with it the network.
        while let Ok(len) = device.recv(&mut buffer).await {
            let mut bytes = buffer.get(..len).unwrap_or_default().to_vec();
            let mut state = shared.lock();
            let Some((direction, counted)) = seen(&bytes, &state.ports) else {
                continue;
            };
            mirror(&mut bytes);
            let packet = Packet { bytes, counted };
            state.link.put(direction, packet, Instant::now());
            drop(state);
            shared.arrived.notify_one();
        }
    });
}

fn write(device: &Device, shared: &Shared) {
    let mut state = shared.lock();
    loop {
        let now = Instant::now();
        if let Some(packet) = state.link.take(now) {
            drop(state);
            // A packet that the kernel does not take is lost.
            let _lost = device.try_send(&packet.bytes);
            state = shared.lock();
            continue;
        }
        let next = state.link.next_arrival();
        state = match next {
            None => {
                let waited = shared.arrived.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(at) => {
                let waited = shared.arrived.wait_timeout(state, at - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The direction of a packet of TCP or UDP over IPv4, and its bytes without the header of IP. None for any
/// other packet, such as the router solicitations of IPv6, which gets no answer.
fn seen(packet: &[u8], ports: &[u16]) -> Option<(Direction, usize)> {
    let first = *packet.first()?;
    let protocol = *packet.get(9)?;
    if first >> 4 != 4 || !matches!(protocol, TCP | UDP) {
        return None;
    }
    let header = usize::from(first & 0x0f) * 4;
    let to = packet.get(header + 2..header + 4)?;
    let to = u16::from_be_bytes(to.try_into().ok()?);
    let direction = match ports.contains(&to) {
        true => Direction::Up,
        false => Direction::Down,
    };
    Some((direction, packet.len() - header))
}

/// Exchanges the addresses of a packet of IPv4.
fn mirror(packet: &mut [u8]) {
    if let Some(addresses) = packet.get_mut(12..20) {
        addresses.rotate_left(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of UDP with 5 bytes.
    fn packet(from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 33, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend(OURS.octets());
        packet.extend(THEIRS.octets());
        packet.extend(from.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend([0, 13, 0, 0]);
        packet.extend(b"hello");
        packet
    }

    #[test]
    fn the_servers_port_says_where_a_packet_goes_and_the_header_of_ip_does_not_count() {
        let up = seen(&packet(50_000, 8_443), &[8_000, 8_443]);
        assert_eq!(up, Some((Direction::Up, 13)));
        let down = seen(&packet(8_443, 50_000), &[8_000, 8_443]);
        assert_eq!(down, Some((Direction::Down, 13)));
    }

    #[test]
    fn other_and_incomplete_packets_are_ignored() {
        let whole = packet(1, 2);
        for end in 0..24 {
            assert_eq!(seen(&whole[..end], &[]), None, "{end}");
        }
        let mut icmp = whole.clone();
        icmp[9] = 1;
        assert_eq!(seen(&icmp, &[]), None);
        let mut newer = whole;
        newer[0] = 0x60;
        assert_eq!(seen(&newer, &[]), None);
    }

    /// The sum of all 16-bit words, as checksums of IP are computed.
    fn sum(packet: &[u8]) -> u32 {
        let words = packet.chunks(2);
        let words =
            words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        words.sum()
    }

    #[test]
    fn a_mirrored_packet_has_the_same_checksum() {
        let before = packet(50_000, 8_443);
        let mut after = before.clone();
        mirror(&mut after);
        assert_eq!(after[12..16], THEIRS.octets());
        assert_eq!(after[16..20], OURS.octets());
        assert_eq!(sum(&after), sum(&before));
    }
}
