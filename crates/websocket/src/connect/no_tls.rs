//! Replaces `tls` when that feature is off: TLS fails with a clear error.

use std::io;

use super::deadline::Deadline;
use super::url::Host;
use crate::Transport;
use crate::error::Error;

/// No certificates are trusted.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    _nobody: (),
}

impl Trust {
    pub(super) fn anonymous(&self) -> Self {
        self.clone()
    }

    #[expect(
        clippy::unused_async,
        reason = "the same signature with and without TLS"
    )]
    pub(super) async fn encrypt(
        &self,
        host: &Host,
        _: Transport,
        _: Deadline,
    ) -> Result<Transport, Error> {
        Err(Error::Tls {
            host: host.to_string().into(),
            source: io::Error::new(
                io::ErrorKind::Unsupported,
                "offhook was built without its feature tls",
            ),
        })
    }

    #[cfg(feature = "http2")]
    pub(super) async fn encrypt_offering(
        &self,
        host: &Host,
        _: &[&[u8]],
        transport: Transport,
        deadline: Deadline,
    ) -> Result<(Transport, bool), Error> {
        let encrypted = self.encrypt(host, transport, deadline).await?;
        Ok((encrypted, false))
    }
}
