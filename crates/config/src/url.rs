//! URLs to which the server sends requests.

use std::{fmt, net::IpAddr, str::FromStr};

/// The URL of a request of the server: `http` or `https`, without a user and a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// The host, without brackets around an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub target: String,
    text: String,
}

impl HttpUrl {
    /// Whether the host is this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let address = self.host.parse();
        self.host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Host and port, as in the `Host` of a request.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The URL without its query, which may hold a secret: for logs.
    #[must_use]
    pub fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not a URL to request: {why}");
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['#', '\\']) {
            return Err(wrong(
                "it contains characters that are not allowed in a URL",
            ));
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) | None => return Err(wrong("expected https://host/path")),
        };
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if target.starts_with('?') || authority.contains('@') {
            return Err(wrong("expected https://host/path, without a user"));
        }
        let port = if tls { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("a [ is not closed"))?;
                (host, after.strip_prefix(':').map_or(Ok(port), str::parse))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, port.parse()),
                None => (authority, Ok(port)),
            },
        };
        let port = port.map_err(|_| wrong("its port is not a number"))?;
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            target: target.to_owned(),
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
