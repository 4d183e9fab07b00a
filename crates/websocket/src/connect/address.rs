//! From a host to an open TCP connection: happy eyeballs (RFC 8305) over all its addresses.
//!
//! RFC 6455 §4.1 allows a client one connection attempt at a time per address. Each address is
//! tried once, however often and in whichever form it is listed, and the opening handshake starts
//! only on the one connection that succeeded. This holds within one call; concurrent calls do not
//! coordinate.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::deadline::Deadline;
use super::url::Host;
use crate::error::{Error, Phase};

/// RFC 8305 §5: the next attempt starts when the previous ones have failed or have run this long.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// More addresses than a legitimate name has; at 250 ms each they nearly fill the default connect
/// timeout.
const MOST_ADDRESSES: usize = 32;

/// How TCP connections are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialer {
    /// The local address to bind to.
    pub(super) bind: Option<IpAddr>,
}

impl Dialer {
    /// Connects to a host, resolving its name if it has one.
    pub(super) async fn connect(
        &self,
        host: &Host,
        port: u16,
        deadline: Deadline,
    ) -> Result<TcpStream, Error> {
        let to = format!("{host}:{port}");
        let addresses = resolve(host, port, &to, deadline).await?;
        self.connect_to(&to, &addresses, deadline).await
    }

    /// Connects to the first of these addresses that answers. `to` names them in errors.
    pub(super) async fn connect_to(
        &self,
        to: &str,
        addresses: &[SocketAddr],
        deadline: Deadline,
    ) -> Result<TcpStream, Error> {
        let failed = |source| Error::Connect {
            to: to.into(),
            source,
        };
        let addresses = self.usable(addresses).map_err(failed)?;
        let tried = described(to, &addresses);
        let bind = self.bind;
        let race = async {
            let connected = race(addresses, |address| connect_one(address, bind)).await;
            connected.map_err(failed)
        };
        deadline.within(Phase::Connect, &tried, race).await
    }

    /// The addresses in the order in which they are tried.
    fn usable(&self, addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
        let fits = |address: &SocketAddr| match self.bind {
            Some(local) => local.is_ipv4() == address.is_ipv4(),
            None => true,
        };
        let usable: Vec<_> = addresses.iter().map(plain).filter(fits).collect();
        match (usable.is_empty(), self.bind) {
            (false, _) => Ok(interleaved(usable)),
            (true, None) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )),
            (true, Some(local)) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "none of its addresses can be reached from {local}, the local address to bind to"
                ),
            )),
        }
    }
}

/// Starts one attempt after another (RFC 8305 §5). The first success wins; the others are dropped,
/// which closes them.
async fn race<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut running = Vec::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            running.push((address, Box::pin(connect(address))));
        }
        if running.is_empty() {
            return Err(unreachable(failures));
        }
        let ended = if waiting.len() == 0 {
            first_ended(&mut running).await
        } else {
            match timeout(ATTEMPT_DELAY, first_ended(&mut running)).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            (_, Ok(connected)) => return Ok(connected),
            (address, Err(error)) => failures.push(Failure { address, error }),
        }
    }
}

/// Waits for the attempt that ends first and removes it. The others continue.
async fn first_ended<F: Future>(
    running: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, F::Output) {
    poll_fn(|cx| {
        for index in 0..running.len() {
            let (address, attempt) = &mut running[index];
            if let Poll::Ready(ended) = attempt.as_mut().poll(cx) {
                let address = *address;
                drop(running.swap_remove(index));
                return Poll::Ready((address, ended));
            }
        }
        Poll::Pending
    })
    .await
}

/// The addresses of a host, in the system's order (RFC 6724).
///
/// The system's resolver cannot be cancelled: after a timeout it continues in its thread, and its
/// result is dropped.
pub(super) async fn resolve(
    host: &Host,
    port: u16,
    to: &str,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>, Error> {
    let name = match host {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    let look_up = async {
        let found = lookup_host((name.as_ref(), port)).await;
        let found = found.map_err(|source| Error::Connect {
            to: to.into(),
            source,
        })?;
        Ok(found.take(MOST_ADDRESSES).collect())
    };
    deadline.within(Phase::Resolve, name, look_up).await
}

/// RFC 8305 §4: address families alternate, starting with the one the system prefers. Each address
/// occurs once.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let mut ordered: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    let (preferred, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
}

/// RFC 6455 §4.1: "even if the remote host is known by another name". `::ffff:192.0.2.1` is
/// 192.0.2.1 (RFC 4291 §2.5.5.2), and can be reached that way without IPv6 too.
fn plain(address: &SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => *address,
    }
}

async fn connect_one(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match bind {
        None => TcpStream::connect(address).await?,
        Some(local) => {
            let socket = match local {
                IpAddr::V4(_) => TcpSocket::new_v4()?,
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind(SocketAddr::new(local, 0))?;
            socket.connect(address).await?
        }
    };
    // This library collects output itself and never delays it: Nagle's algorithm would only add a
    // round trip to every small message.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An address that could not be connected to.
#[derive(Debug)]
struct Failure {
    address: SocketAddr,
    error: io::Error,
}

/// All attempts, in the order in which they failed.
#[derive(Debug)]
struct Unreachable(Vec<Failure>);

fn unreachable(failures: Vec<Failure>) -> io::Error {
    let kind = failures
        .first()
        .map_or(io::ErrorKind::NotFound, |failure| failure.error.kind());
    io::Error::new(kind, Unreachable(failures))
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Failure { address, error }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{address}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unreachable {}

/// `example.com:80 (192.0.2.1, 2001:db8::1)`; just the address if that is all there is.
fn described(to: &str, addresses: &[SocketAddr]) -> String {
    if let [only] = addresses
        && only.to_string() == to
    {
        return to.to_owned();
    }
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    format!("{to} ({})", addresses.join(", "))
}
