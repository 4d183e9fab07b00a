//! The host names under which browsers may use this server.

use std::net::IpAddr;

use offhook::{OriginPolicy, protocol::handshake::Request};

use crate::config::Config;

/// Whether a page may use the server under the requested host name. A site can make its own host
/// name resolve to this server's address (DNS rebinding). To a browser, its pages and the server
/// are then the same origin; only the name distinguishes them. If a list contains the page's
/// origin, the list decides. Programs other than browsers are not restricted by host names.
pub(super) fn is_ours(request: &Request, config: &Config) -> bool {
    let Some(origin) = request.origin() else {
        return true;
    };
    config.origins.allows_everywhere(origin) || is_known(request.authority(), &config.hosts)
}

/// The same for an ordinary request. Browsers send no `Origin` with a page's requests to its own
/// origin, so a page with DNS rebinding cannot be distinguished from a program. Such a page has no
/// token, however: a request without a token has to use one of the server's names.
pub(super) fn is_ours_for_request(request: &Request, has_token: bool, config: &Config) -> bool {
    if request.origin().is_some() {
        return is_ours(request, config);
    }
    has_token
        || matches!(config.origins, OriginPolicy::Any)
        || is_known(request.authority(), &config.hosts)
}

/// Whether a name is the server's: loopback names and IP addresses cannot belong to another site;
/// other names must be configured.
pub(crate) fn is_known(authority: &str, hosts: &[String]) -> bool {
    if authority.starts_with('[') {
        return true;
    }
    let name = authority
        .rsplit_once(':')
        .map_or(authority, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || hosts.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_addresses_and_configured_names_are_ours() {
        let hosts = ["chat.example".to_owned()];
        for ours in [
            "localhost",
            "localhost:8000",
            "LOCALHOST.:8000",
            "app.localhost:8000",
            "127.0.0.1:8000",
            "192.168.1.7",
            "[::1]:8000",
            "chat.example",
            "Chat.Example:443",
        ] {
            assert!(is_known(ours, &hosts), "{ours}");
        }
    }

    #[test]
    fn every_other_name_is_refused() {
        for theirs in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "chat.example.evil.example",
            "",
        ] {
            assert!(!is_known(theirs, &["chat.example".to_owned()]), "{theirs}");
        }
    }
}
