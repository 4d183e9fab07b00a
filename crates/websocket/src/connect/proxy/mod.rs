//! Connecting through a proxy: HTTP CONNECT (RFC 9110 §9.3.6) or SOCKS5 (RFC 1928, RFC 1929).

mod environment;
mod failure;
mod http_connect;
mod socks5;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;

pub use failure::{ProxyError, SocksReply};

use super::address::{Dialer, resolve};
use super::deadline::Deadline;
use super::tls::Trust;
use super::url::{Credentials, Host, Parts, Url, without_password};
use crate::Transport;
use crate::error::{Error, Phase};

/// Which proxy to use.
#[derive(Clone, Default)]
pub(super) enum Choice {
    /// The one configured in the environment.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one, as a URL.
    This(Box<str>),
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Direct => f.write_str("Direct"),
            Self::This(url) => f.debug_tuple("This").field(&without_password(url)).finish(),
        }
    }
}

impl Choice {
    pub(super) fn for_url(&self, url: &Url) -> Result<Option<Proxy>, Error> {
        match self {
            Self::Direct => Ok(None),
            Self::This(proxy) => Proxy::parse(proxy).map(Some),
            Self::Environment => environment::proxy_for(url, |name| std::env::var(name).ok())
                .map(|proxy| Proxy::parse(&proxy))
                .transpose(),
        }
    }
}

/// A proxy's address and protocol.
#[derive(Debug)]
pub(super) struct Proxy {
    kind: Kind,
    host: Host,
    port: u16,
    credentials: Option<Credentials>,
    /// Its URL without the password, for errors.
    name: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    /// CONNECT over TLS to the proxy.
    Https,
    /// With names resolved here (`socks5`) or by the proxy (`socks5h`).
    Socks5 {
        names_there: bool,
    },
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text).map_err(|reason| Error::Proxy {
            proxy: without_password(text),
            source: ProxyError::Url(reason),
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        // As everywhere else, `proxy.example:3128` alone means HTTP.
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let parts = Parts::parse(&with_scheme)?;
        // Each scheme's own default port; 1080 is registered with IANA for SOCKS.
        let (kind, port) = match parts.scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" => (Kind::Socks5 { names_there: false }, 1080),
            "socks5h" => (Kind::Socks5 { names_there: true }, 1080),
            _ => return Err("expected http, https, socks5 or socks5h"),
        };
        if !matches!(parts.rest, "" | "/") {
            return Err("a proxy URL must not have a path");
        }
        Ok(Self {
            kind,
            host: parts.host,
            port: parts.port.unwrap_or(port),
            credentials: parts.credentials,
            name: without_password(&with_scheme),
        })
    }

    /// Opens a tunnel to the URL's host.
    pub(super) async fn tunnel(
        &self,
        url: &Url,
        dialer: &Dialer,
        trust: &Trust,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        if self.kind != (Kind::Socks5 { names_there: false }) {
            return self
                .tunnel_to(&url.host, url.port, dialer, trust, deadline)
                .await;
        }
        let to = url.host_and_port();
        let addresses = resolve(&url.host, url.port, &to, deadline).await?;
        self.tunnel_to_first(&to, &addresses, dialer, trust, deadline)
            .await
    }

    /// Tries one address after another, since only the proxy knows which of them it can reach.
    async fn tunnel_to_first(
        &self,
        to: &str,
        addresses: &[SocketAddr],
        dialer: &Dialer,
        trust: &Trust,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        let mut refused = Error::Connect {
            to: to.into(),
            source: io::ErrorKind::NotFound.into(),
        };
        for address in addresses {
            let host = Host::Ip(address.ip());
            let tunnel = self.tunnel_to(&host, address.port(), dialer, trust, deadline);
            match tunnel.await {
                Err(error) if is_about_the_address(&error) => refused = error,
                ended => return ended,
            }
        }
        Err(refused)
    }

    async fn tunnel_to(
        &self,
        host: &Host,
        port: u16,
        dialer: &Dialer,
        trust: &Trust,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        let stream = dialer.connect(&self.host, self.port, deadline).await?;
        let mut transport = Transport::from(stream);
        if self.kind == Kind::Https {
            transport = trust.encrypt(&self.host, transport, deadline).await?;
        }
        let credentials = self.credentials.as_ref();
        let ask = async {
            let asked = match self.kind {
                Kind::Http | Kind::Https => {
                    let authority = format!("{host}:{port}");
                    http_connect::ask(&mut transport, &authority, credentials).await
                }
                Kind::Socks5 { .. } => socks5::ask(&mut transport, host, port, credentials).await,
            };
            asked.map_err(|source| Error::Proxy {
                proxy: self.name.clone(),
                source,
            })
        };
        deadline.within(Phase::Proxy, &self.name, ask).await?;
        Ok(transport)
    }
}

/// Whether another address of the same host may work.
fn is_about_the_address(error: &Error) -> bool {
    matches!(error, Error::Proxy { source: ProxyError::Socks(reply), .. } if reply.is_about_the_address())
}
