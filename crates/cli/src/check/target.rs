//! The URL of the server to check.

use std::fmt;

/// A parsed WebSocket URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path, with the query.
    pub(super) path: String,
}

impl Target {
    /// Parses a URL.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} is not a WebSocket URL: {why}");
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("expected ws:// or wss:// at the start"))?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(wrong("expected ws://, wss://, http:// or https://")),
        };
        if url.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
            return Err(wrong("it has a space, a backslash or a control character"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong(
                "it contains a user name; give credentials with --header",
            ));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(address) => {
                let (host, port) = address.split_once(']').ok_or_else(|| wrong("no ]"))?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("expected a host"));
        }
        let default = if is_tls { 443 } else { 80 };
        let port = port.map_or(Some(default), |port| port.parse().ok());
        let port = port.filter(|port| *port > 0);
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: port.ok_or_else(|| wrong("expected a port from 1 to 65535"))?,
            path: match path {
                "" => "/".to_owned(),
                path if path.starts_with('?') => format!("/{path}"),
                path => path.to_owned(),
            },
        })
    }

    /// The target of a `Location` sent by this target's server.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, String> {
        if location.contains("://") {
            return Self::read(location);
        }
        let scheme = if self.is_tls { "wss" } else { "ws" };
        let authority = self.authority();
        match location {
            _ if location.starts_with("//") => Self::read(&format!("{scheme}:{location}")),
            _ if location.starts_with('/') => {
                Self::read(&format!("{scheme}://{authority}{location}"))
            }
            _ => Self::read(&format!("{scheme}://{authority}/{location}")),
        }
    }

    /// The value of the `Host` field: with the port, unless it is the scheme's default.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let default = if self.is_tls { 443 } else { 80 };
        if self.port == default {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The origin of pages that the same server would serve.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// The same URL with TLS instead of without, or the other way round.
    pub(super) fn other_scheme(&self) -> String {
        let scheme = if self.is_tls { "ws" } else { "wss" };
        let host = self.authority();
        let host = if host.ends_with(']') || !host.contains(':') {
            format!("{host}:{}", self.port)
        } else {
            host
        };
        format!("{scheme}://{host}{}", self.path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (bool, String, u16, String) {
        let target = Target::read(url).expect("a URL");
        (target.is_tls, target.host, target.port, target.path)
    }

    #[test]
    fn a_url_is_parsed() {
        let of = |is_tls, host: &str, port, path: &str| (is_tls, host.into(), port, path.into());
        assert_eq!(read("ws://a.example"), of(false, "a.example", 80, "/"));
        assert_eq!(read("WSS://a:8443/b?c#d"), of(true, "a", 8443, "/b?c"));
        assert_eq!(read("https://[::1]:1?x"), of(true, "::1", 1, "/?x"));
        assert_eq!(
            Target::read("ws://[::1]/").expect("a URL").authority(),
            "[::1]"
        );
    }

    #[test]
    fn other_urls_than_those_of_websockets_are_refused() {
        for url in [
            "a.example",
            "ftp://a",
            "ws://",
            "ws://a:0",
            "ws://a:b",
            "ws://u@a",
            "ws://a b",
        ] {
            assert!(Target::read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_location_may_be_relative() {
        let target = Target::read("wss://a:1/b").expect("a URL");
        let to = |location| target.redirected(location).expect("a URL").to_string();
        assert_eq!(to("/c"), "wss://a:1/c");
        assert_eq!(to("//b/c"), "wss://b/c");
        assert_eq!(to("http://b/c"), "ws://b/c");
    }
}
