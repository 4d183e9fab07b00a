//! The proxy configured in the environment, interpreted as curl does.
//!
//! - `ws://` uses `http_proxy`, `wss://` uses `https_proxy`; if that is missing or empty,
//!   `all_proxy`. Each is read in lower case first, then in upper case.
//! - `HTTP_PROXY` is ignored in a CGI program (one with a `REQUEST_METHOD`), where it would be the
//!   request's `Proxy` header (<https://httpoxy.org>).
//! - `no_proxy` lists hosts to reach directly, separated by commas or spaces: `*` for all, a name
//!   for itself and its subdomains (a leading dot or `*.` changes nothing), an address, a network
//!   such as `10.0.0.0/8`, each with `:port` if only that port is meant.
//! - There are no other exceptions, not even for loopback addresses.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::connect::url::{Host, Url};

/// The URL of the proxy that the environment configures for this URL, if any.
pub(super) fn proxy_for(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let either = |name: &str| {
        let filled = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let upper = name.to_ascii_uppercase();
        let is_cgi = || upper == "HTTP_PROXY" && variable("REQUEST_METHOD").is_some();
        filled(name).or_else(|| if is_cgi() { None } else { filled(&upper) })
    };
    let of_scheme = if url.secure {
        "https_proxy"
    } else {
        "http_proxy"
    };
    let proxy = either(of_scheme).or_else(|| either("all_proxy"))?;
    let exempt = either("no_proxy").is_some_and(|list| is_listed(url, &list));
    (!exempt).then(|| proxy.trim().to_owned())
}

fn is_listed(url: &Url, list: &str) -> bool {
    list.split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty())
        .any(|entry| matches(url, entry))
}

fn matches(url: &Url, entry: &str) -> bool {
    if entry == "*" {
        return true;
    }
    // An IPv6 address without brackets contains colons itself.
    if let Ok(address) = entry.parse::<IpAddr>() {
        return url.host == Host::Ip(address);
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !port.contains([']', '/']) => match port.parse::<u16>() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != url.port) {
        return false;
    }
    match &url.host {
        Host::Name(name) => is_below(name, host),
        Host::Ip(address) => is_address_or_network(*address, host),
    }
}

/// Whether a name is this domain or one of its subdomains.
fn is_below(name: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').unwrap_or(domain);
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(before) = name.strip_suffix(domain.as_str()) else {
        return false;
    };
    !domain.is_empty() && (before.is_empty() || before.ends_with('.'))
}

fn is_address_or_network(address: IpAddr, entry: &str) -> bool {
    let entry = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'))
        .unwrap_or(entry);
    match entry.split_once('/') {
        Some((network, bits)) => match (network.parse(), bits.parse()) {
            (Ok(network), Ok(bits)) => is_in_network(address, network, bits),
            _ => false,
        },
        None => entry.parse() == Ok(address),
    }
}

fn is_in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= u32::BITS => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(u32::BITS - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= u128::BITS => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(u128::BITS - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
