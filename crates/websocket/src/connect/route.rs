//! From a URL to a transport connected to its server.

use std::borrow::Cow;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};

#[cfg(unix)]
use tokio::net::UnixStream;

use super::address::Dialer;
use super::deadline::Deadline;
use super::proxy;
use super::redirect;
use super::tls::Trust;
use super::url::Url;
use crate::Transport;
use crate::error::Error;
#[cfg(unix)]
use crate::error::Phase;

/// How to reach the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    pub(super) dialer: Dialer,
    pub(super) proxy: proxy::Choice,
    /// Used instead of name resolution.
    pub(super) addresses: Vec<SocketAddr>,
    #[cfg(unix)]
    pub(super) unix: Option<PathBuf>,
    /// Whether the host is not the one that the client certificate is meant for.
    elsewhere: bool,
}

impl Route {
    /// Connects the transport, with TLS if the URL asks for it.
    pub(super) async fn reach(
        &self,
        url: &Url,
        trust: &Trust,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        let transport = self.connect(url, trust, deadline).await?;
        if url.secure {
            let trust = self.trust_in_host(trust);
            trust.encrypt(&url.host, transport, deadline).await
        } else {
            Ok(transport)
        }
    }

    /// As `reach`, and also returns whether HTTP/2 was negotiated among these protocols. Without
    /// TLS nothing is negotiated.
    #[cfg(feature = "http2")]
    pub(super) async fn reach_offering(
        &self,
        url: &Url,
        trust: &Trust,
        protocols: &[&[u8]],
        deadline: Deadline,
    ) -> Result<(Transport, bool), Error> {
        let transport = self.connect(url, trust, deadline).await?;
        if url.secure {
            let trust = self.trust_in_host(trust);
            let encrypted = trust.encrypt_offering(&url.host, protocols, transport, deadline);
            encrypted.await
        } else {
            Ok((transport, false))
        }
    }

    fn trust_in_host<'a>(&self, trust: &'a Trust) -> Cow<'a, Trust> {
        if self.elsewhere {
            Cow::Owned(trust.anonymous())
        } else {
            Cow::Borrowed(trust)
        }
    }

    async fn connect(
        &self,
        url: &Url,
        trust: &Trust,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        #[cfg(unix)]
        if let Some(path) = &self.unix {
            return connect_unix(path, deadline).await;
        }
        let stream = if !self.addresses.is_empty() {
            let to = url.host_and_port();
            self.dialer
                .connect_to(&to, &self.addresses, deadline)
                .await?
        } else if let Some(proxy) = self.proxy.for_url(url)? {
            return proxy.tunnel(url, &self.dialer, trust, deadline).await;
        } else {
            self.dialer.connect(&url.host, url.port, deadline).await?
        };
        Ok(Transport::from(stream))
    }

    /// After a redirect to another server, options that concern the location of the first one no
    /// longer apply.
    pub(super) fn elsewhere(&self, to: &Url) -> Result<Self, Error> {
        #[cfg(unix)]
        if self.unix.is_some() {
            let reason = "it leads to another host than the one behind the Unix socket";
            return Err(redirect::refuse(&to.to_string(), reason));
        }
        Ok(Self {
            addresses: Vec::new(),
            elsewhere: true,
            ..self.clone()
        })
    }
}

#[cfg(unix)]
async fn connect_unix(path: &Path, deadline: Deadline) -> Result<Transport, Error> {
    let to = path.display().to_string();
    let connect = async {
        let stream = UnixStream::connect(path).await;
        stream.map_err(|source| Error::Connect {
            to: to.as_str().into(),
            source,
        })
    };
    let stream = deadline.within(Phase::Connect, &to, connect).await?;
    Ok(Transport::from(stream))
}
