//! The proxies whose word counts for how a client reached them.

use std::fmt;
use std::net::IpAddr;

use crate::transport::Transport;

/// Proxies: addresses, networks, or all peers on a Unix socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    networks: Vec<Network>,
    unix: bool,
}

/// All addresses that begin with the first `bits` of this one.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// A text given to [`Acceptor::trust_proxies`](super::Acceptor::trust_proxies) is neither an
/// address, a network nor `unix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxy(String);

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} names no proxy: expected an address such as 10.0.0.7, a network such as 10.0.0.0/8, or unix",
            self.0
        )
    }
}

impl std::error::Error for InvalidProxy {}

impl Proxies {
    pub(super) fn named<'a>(
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidProxy> {
        let mut proxies = Self::default();
        for name in names {
            if name == "unix" {
                proxies.unix = true;
                continue;
            }
            let network = Network::parse(name).ok_or_else(|| InvalidProxy(name.to_owned()))?;
            proxies.networks.push(network);
        }
        Ok(proxies)
    }

    /// Whether one of them is at the other end.
    pub(super) fn sent(&self, transport: &Transport) -> bool {
        #[cfg(unix)]
        if matches!(transport, Transport::Unix(_)) {
            return self.unix;
        }
        let peer = transport.peer_addr().map(|peer| peer.ip().to_canonical());
        peer.is_some_and(|peer| self.networks.iter().any(|network| network.has(peer)))
    }
}

impl Network {
    fn parse(name: &str) -> Option<Self> {
        let (address, bits) = match name.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (name, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let different = network.to_bits() ^ address.to_bits();
                different.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let different = network.to_bits() ^ address.to_bits();
                different.leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        for (network, address, expected) in [
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ] {
            let parsed = Network::parse(network).expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(parsed.has(address), expected, "{network} {address}");
        }
    }

    #[test]
    fn an_invalid_proxy_network_is_refused_by_name() {
        for name in [
            "",
            "proxy.example",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0/8",
        ] {
            let error = Proxies::named(["127.0.0.1", name]).expect_err(name);
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{name:?} names no proxy"))
            );
        }
    }
}
