//! Counting connections per address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections by address. An IPv6 network of 64 bits counts as one address: a customer is
/// assigned one and can use any address in it.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection's share of its address; returned on drop.
#[derive(Debug)]
pub(super) struct Share {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(most: usize) -> Self {
        Self {
            counts: Arc::default(),
            most,
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a share, unless the address has reached its limit.
    pub(super) fn take(&self, peer: SocketAddr) -> Option<Share> {
        let address = network(peer.ip());
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            if *count == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(Share {
            addresses: self.clone(),
            address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 9)
    }

    #[test]
    fn an_address_gets_its_share_again_when_one_is_given_back() {
        let addresses = Addresses::new(2);
        let first = addresses.take(at("10.0.0.1"));
        let second = addresses.take(at("10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(addresses.take(at("10.0.0.1")).is_none());
        assert!(addresses.take(at("10.0.0.2")).is_some());
        drop(first);
        assert!(addresses.take(at("::ffff:10.0.0.1")).is_some());
        drop(second);
        assert!(
            addresses.counts().is_empty(),
            "no entry remains for addresses without connections"
        );
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let addresses = Addresses::new(1);
        let share = addresses.take(at("2001:db8::1"));
        assert!(share.is_some());
        assert!(addresses.take(at("2001:db8::2")).is_none());
        assert!(addresses.take(at("2001:db8:0:1::1")).is_some());
    }
}
