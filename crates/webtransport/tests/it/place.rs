//! A server with HTTP/3.

use std::{fs, time::Duration};

use offhook::{Connect, Tls};
use offhook_client::{Builder, Client, SUBPROTOCOL};
use offhook_server::{
    Config, Running, Server,
    config::{ChannelRule, TlsFiles},
};
use offhook_webtransport::WebTransport;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything in a test takes: what has not arrived within it never will.
const NEVER: Duration = Duration::from_secs(60);

/// A server for one test.
pub(crate) struct Place {
    pub(crate) running: Running,
    tls: Tls,
    _directory: TempDir,
}

impl Place {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            cert: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
            ..TlsFiles::default()
        };
        fs::write(&files.cert, own.cert.pem()).unwrap();
        fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
        let mut unreliable = ChannelRule {
            pattern: "cursors".to_owned(),
            ..ChannelRule::default()
        };
        unreliable.rules.unreliable = true;
        let mut config = Config {
            listen: vec![([127, 0, 0, 1], 0).into()],
            in_memory: true,
            tls: Some(files),
            ..Config::default()
        };
        config.channels.insert(0, unreliable);
        config.http3.enabled = true;
        let tls = Tls::builder().pinned_pem(own.cert.pem()).unwrap();
        Self {
            running: Server::start(config).await.unwrap(),
            tls: tls.build().unwrap(),
            _directory: directory,
        }
    }

    fn port(&self) -> u16 {
        self.running.addresses()[0].port()
    }

    pub(crate) fn at(&self, path: &str) -> WebTransport {
        let url = format!("https://127.0.0.1:{}{path}", self.port());
        WebTransport::to(url).unwrap().tls(self.tls.clone())
    }

    /// A channel client over WebTransport.
    pub(crate) fn client(&self) -> Builder {
        Client::over(self.at("/ws"))
    }

    /// How to open a WebSocket.
    pub(crate) fn websocket(&self) -> Connect {
        Connect::to(format!("wss://127.0.0.1:{}/ws", self.port()))
            .subprotocol(SUBPROTOCOL)
            .no_proxy()
            .tls(self.tls.clone())
    }

    /// A channel client over a WebSocket.
    pub(crate) fn over_websocket(&self) -> Builder {
        Client::over(self.websocket())
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(NEVER, future).await.expect("it happens")
}
