//! Settings of proxies in front of the server.

use std::{fmt, net::IpAddr, str::FromStr};

use super::group::group;
use super::kind::{Many, Parsed, Switch};

group! {
    /// Proxies in front of the server that are trusted to report the addresses of clients.
    pub struct Proxies {
        /// Addresses and networks of proxies. For requests from these, the client's address is
        /// taken from `X-Forwarded-For` or `Forwarded`, and is used for logs, limits and the
        /// backend; the scheme is taken from `X-Forwarded-Proto` or `Forwarded`.
        ///
        /// Otherwise clients could forge their address by sending these fields themselves.
        trusted: Vec<Network> = Vec::new() => Many(Parsed::new("an address or a network like \"10.0.0.7\" or \"10.0.0.0/8\"", "NETWORK"));

        /// Whether connections from `trusted` begin with the PROXY protocol, version 1 or 2, which
        /// contains the client's address and precedes TLS. Connections from other addresses do not
        /// use it.
        ///
        /// Most proxies send it only if they are configured to.
        protocol: bool = false => Switch;
    }
}

impl Proxies {
    /// Whether a proxy is at this address.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.has(address))
    }
}

/// All addresses that begin with the first `bits` of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a network; expected an address like 10.0.0.7, or a network like 10.0.0.0/8"
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == most {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.bits)
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
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
        ] {
            let trusted = vec![network.parse().unwrap()];
            let proxies = Proxies {
                trusted,
                ..Proxies::default()
            };
            let address = address.parse().unwrap();
            assert_eq!(proxies.trusts(address), expected, "{network} {address}");
        }
    }

    #[test]
    fn the_error_for_an_invalid_network_names_it() {
        for text in ["", "proxy.example", "10.0.0.0/33", "::/129", "10.0.0.0/"] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(
                error.starts_with(&format!("{text:?} is not a network")),
                "{error}"
            );
        }
        for text in ["10.0.0.0/8", "10.0.0.7", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
