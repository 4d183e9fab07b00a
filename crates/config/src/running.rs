//! Settings of the running server: TLS, resume tokens, the log's memory, logging.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::group::{Group, Typed, Visitor, group};
use super::kind::{Bytes, Choice, File, Levels, Many, Or, Secret, Switch, some, time};
use super::listen::{CLIENT_CERTS, ClientCerts};

/// PEM files. An empty path means that a file is missing, which is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Further certificates, for other names of the server.
    pub more_certs: Vec<PathBuf>,
    /// Their private keys, in the same order.
    pub more_keys: Vec<PathBuf>,
    /// The authorities that issue the certificates of clients.
    pub client_ca: Vec<PathBuf>,
    /// Whether clients present a certificate, unless their listener says otherwise.
    pub client_certs: ClientCerts,
}

impl TlsFiles {
    /// Every certificate with its private key.
    pub fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let first = [(self.cert.as_path(), self.key.as_path())];
        let more = self.more_certs.iter().zip(&self.more_keys);
        first
            .into_iter()
            .chain(more.map(|(cert, key)| (cert.as_path(), key.as_path())))
    }
}

impl Group for Option<TlsFiles> {
    fn about(&self) -> &'static str {
        "TLS. Without `cert` and `key`, the server uses plain HTTP; one without the other is an error."
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        let cert = "PEM file with the certificate, followed by those that lead to the root. All files \
                    of `tls` are read again when they change.\n\n\
                    Plain HTTP suffices to try the server, and behind a proxy.";
        let key = "PEM file with the certificate's private key.\n\n\
                   Plain HTTP suffices to try the server, and behind a proxy.";
        let more = "PEM files with further certificates. A client that names a host (SNI) gets the \
                    first certificate for that host, or else the certificate in `cert`.\n\n\
                    One name is enough for most servers.";
        let more_keys = "PEM files with the private keys of `more_certs`, in the same order.\n\n\
                         One name is enough for most servers.";
        let ca = "PEM files with the authorities whose certificates clients may present. They are read at \
                  the start only. `auth.certificates` says which user a certificate stands for.\n\n\
                  Most clients identify themselves with tokens.";
        let asked = "Whether clients present a certificate: with `optional`, one that is presented must be \
                     valid; with `required`, TLS fails without one. The word `client-certs=` of a listener \
                     takes precedence.\n\n\
                     Browsers would ask their users for one.";
        let (mut chain, mut private) = (None, None);
        let (mut certs, mut keys, mut client_ca) = (Vec::new(), Vec::new(), Vec::new());
        let mut client_certs = ClientCerts::None;
        if let Some(files) = self.take() {
            (chain, private) = (Some(files.cert), Some(files.key));
            (certs, keys) = (files.more_certs, files.more_keys);
            (client_ca, client_certs) = (files.client_ca, files.client_certs);
        }
        visitor.setting("cert", cert, &mut Typed(Or("none", File), &mut chain));
        visitor.setting("key", key, &mut Typed(Or("none", File), &mut private));
        visitor.setting("more_certs", more, &mut Typed(Many(File), &mut certs));
        visitor.setting("more_keys", more_keys, &mut Typed(Many(File), &mut keys));
        visitor.setting("client_ca", ca, &mut Typed(Many(File), &mut client_ca));
        let choice = Choice(CLIENT_CERTS);
        visitor.setting("client_certs", asked, &mut Typed(choice, &mut client_certs));
        let has_more = !certs.is_empty() || !keys.is_empty();
        let asks_clients = !client_ca.is_empty() || client_certs != ClientCerts::None;
        if chain.is_some() || private.is_some() || has_more || asks_clients {
            *self = Some(TlsFiles {
                cert: chain.unwrap_or_default(),
                key: private.unwrap_or_default(),
                more_certs: certs,
                more_keys: keys,
                client_ca,
                client_certs,
            });
        }
    }
}

group! {
    /// Resuming without authenticating again.
    pub struct Resume {
        /// The secret that seals resume tokens: 32 random bytes in hexadecimal or base64. Nodes
        /// that share it accept each other's tokens.
        ///
        /// One is generated and stored with the data.
        key: Option<ResumeKey> = None => Or("none", Secret);

        /// Earlier keys. They open tokens but do not seal any, so that a key can be replaced
        /// without disconnecting clients: put the new key into `key` and the old one here, and
        /// remove the old one after `expiry`.
        ///
        /// There is no earlier key unless you have replaced one.
        older_keys: Vec<ResumeKey> = Vec::new() => Many(Secret);

        /// How long a token is valid.
        ///
        /// A laptop that is closed in the evening resumes in the morning.
        expiry: Duration = Duration::from_secs(24 * 3600) => time();
    }
}

/// 32 secret bytes, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 32]);

impl fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeKey(..)")
    }
}

group! {
    /// The queues and memory of the log, and of the path from it to a worker.
    pub struct Storage {
        /// Publications queued for the disk.
        ///
        /// What a fast disk writes in half a second.
        queue_count: usize = 65_536 => some();

        /// Bytes of these publications.
        ///
        /// 1 KiB for each of them.
        queue_bytes: usize = 64 << 20 => Bytes::new();

        /// Memory for blocks read from disk.
        ///
        /// Holds the recent history that many clients read after a restart.
        cache_bytes: u64 = 64 << 20 => Bytes::new();

        /// Updates queued for one worker.
        ///
        /// A worker that is busy for a second does not fall behind.
        mailbox_bytes: usize = 64 << 20 => Bytes::new();

        /// The maximum number of channels in the log. A channel that was published to once is kept
        /// forever, so that its positions stay valid; publications to further channels are refused
        /// with `busy`.
        ///
        /// About 200 MB on disk. Without a limit, a client could fill the disk by inventing names.
        channels: u32 = 1_000_000 => some();

        /// How much of the disk the log may use; beyond that, publications are refused with
        /// `storage_full` until it uses less. The newest journal counts as 64 MiB, the size to
        /// which it may grow.
        ///
        /// If the log has its own disk, the disk is the limit.
        disk_bytes: Option<u64> = None => Or("none", Bytes::new());

        /// Start with a log that has lost acknowledged publications, and report a gap to every
        /// subscriber.
        ///
        /// An operator should examine the log first, and set this for a single start.
        accept_loss: bool = false => Switch;
    }
}

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

group! {
    /// What is logged, and in which format. Logs go to stderr.
    pub struct Logging {
        /// A level (off, error, warn, info, debug, trace) for Offhook's own modules, with at most
        /// warnings from others; or levels by module.
        ///
        /// What an operator usually needs.
        level: String = "info".to_owned() => Levels;

        /// `text` for people, `json` for machines: one object per line.
        ///
        /// The first reader is usually a person.
        format: LogFormat = LogFormat::Text => Choice(FORMATS);
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}
