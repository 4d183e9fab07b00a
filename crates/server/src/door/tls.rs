//! TLS, with certificates from PEM files, which are read again when they change.
//!
//! Each handshake uses the current certificates; open connections are not affected by newer ones.

use std::{
    fmt, fs, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        client::verify_server_name,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        server::{
            ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
            danger::ClientCertVerifier,
        },
        sign::CertifiedKey,
    },
};

use crate::{
    config::{ClientCerts, TlsFiles},
    stamp::Stamp,
    start_error::StartError,
};

/// How often files with certificates are checked for changes.
const CHECK: Duration = Duration::from_secs(1);

/// The ALPN name of HTTP/2 over TLS (RFC 9113 §3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// The server's certificates. Each handshake gets the certificate for the name that the client
/// requests (SNI, RFC 6066 §3).
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    files: Mutex<Files>,
    /// At least one. The first is used for clients that name no host or an unknown one.
    current: RwLock<Arc<[Arc<CertifiedKey>]>>,
}

/// The files, with their stamps when they were last read, successfully or not.
struct Files {
    names: TlsFiles,
    stamps: Vec<Option<Stamp>>,
}

/// Certificates that were read but are not in use yet.
pub(crate) struct ReadCertificates {
    files: Files,
    keys: Arc<[Arc<CertifiedKey>]>,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn open(names: &TlsFiles) -> Result<Arc<Self>, StartError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let ReadCertificates { files, keys } = read(names, &provider)?;
        Ok(Arc::new(Self {
            provider,
            files: Mutex::new(files),
            current: RwLock::new(keys),
        }))
    }

    /// An acceptor that uses these certificates, and those that are read later. It chooses HTTP/2 if
    /// `http2` is set and the client offers it (ALPN, RFC 7301). The authorities of clients are read
    /// once.
    pub(crate) fn acceptor(
        self: &Arc<Self>,
        http2: bool,
        client_certs: ClientCerts,
    ) -> Result<TlsAcceptor, StartError> {
        // In the order of preference.
        let names: [&[u8]; 3] = [HTTP_2, b"http/1.1", b"mqtt"];
        let names = names.into_iter().filter(|name| http2 || *name != HTTP_2);
        Ok(TlsAcceptor::from(Arc::new(
            self.config(names, client_certs)?,
        )))
    }

    /// The same for QUIC.
    pub(crate) fn quic(
        self: &Arc<Self>,
        client_certs: ClientCerts,
    ) -> Result<ServerConfig, StartError> {
        self.config([offhook_http3::ALPN], client_certs)
    }

    /// A configuration with these names of protocols.
    fn config<'n>(
        self: &Arc<Self>,
        protocols: impl IntoIterator<Item = &'n [u8]>,
        client_certs: ClientCerts,
    ) -> Result<ServerConfig, StartError> {
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls {
                cert: self.files().names.cert.clone(),
                reason: error.to_string(),
            })?;
        let resolver = Arc::<Self>::clone(self);
        let config = match self.clients(client_certs)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = protocols.into_iter().map(<[u8]>::to_vec).collect();
        Ok(config)
    }

    /// What verifies the certificates of clients; none if they are not asked for one.
    fn clients(
        &self,
        client_certs: ClientCerts,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, StartError> {
        if client_certs == ClientCerts::None {
            return Ok(None);
        }
        let names = self.files().names.client_ca.clone();
        let mut roots = RootCertStore::empty();
        for path in &names {
            let wrong = |reason: String| StartError::ClientCa {
                path: path.clone(),
                reason,
            };
            let pem = read_file(path)?;
            for authority in CertificateDer::pem_slice_iter(&pem) {
                let authority = authority.map_err(|error| wrong(error.to_string()))?;
                let added = roots.add(authority);
                added.map_err(|error| wrong(error.to_string()))?;
            }
        }
        let provider = Arc::clone(&self.provider);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match client_certs {
            ClientCerts::Optional => builder.allow_unauthenticated(),
            ClientCerts::Required | ClientCerts::None => builder,
        };
        let built = builder.build().map_err(|error| StartError::ClientCa {
            path: names.first().cloned().unwrap_or_default(),
            reason: error.to_string(),
        });
        built.map(Some)
    }

    /// Reads other files, or the same ones again.
    pub(crate) fn read(&self, names: &TlsFiles) -> Result<ReadCertificates, StartError> {
        read(names, &self.provider)
    }

    /// Uses these certificates from now on.
    pub(crate) fn replace(&self, ReadCertificates { files, keys }: ReadCertificates) {
        *self.files() = files;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Checks the files for changes until the sender is dropped. In a thread of its own: their file system
    /// may hang, which must not stop the broker's time.
    pub(crate) fn keep_rereading(self: Arc<Self>) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
        let (runs, ends) = sync_channel(0);
        let check = move || {
            while ends.recv_timeout(CHECK) == Err(RecvTimeoutError::Timeout) {
                self.reread_changed();
            }
        };
        let thread = std::thread::Builder::new()
            .name("offhook-certs".to_owned())
            .spawn(check)?;
        Ok((runs, thread))
    }

    /// Reads the files again if one has changed. If they cannot be used, the earlier certificates
    /// stay in use, and the error is logged once for each change.
    fn reread_changed(&self) {
        let names = {
            let mut files = self.files();
            let stamps = stamps(&files.names);
            if stamps == files.stamps {
                return;
            }
            files.stamps = stamps;
            files.names.clone()
        };
        match self.read(&names) {
            Ok(read) => {
                let certificates = read.keys.len();
                self.replace(read);
                tracing::info!(
                    certificates,
                    "a certificate has changed, and is used from now on"
                );
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    %error,
                    source,
                    "a certificate has changed and cannot be used; the earlier one stays in use"
                );
            }
        }
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate for a host's name, or the first one.
    fn for_name(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fitting = name.and_then(|name| current.iter().find(|key| is_for(key, &name)));
        fitting.or_else(|| current.first()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.for_name(client_hello.server_name())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert();
    let parsed = certificate.and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

fn stamps(names: &TlsFiles) -> Vec<Option<Stamp>> {
    let files = names.pairs().flat_map(|(cert, key)| [cert, key]);
    files.map(Stamp::of).collect()
}

fn read(names: &TlsFiles, provider: &CryptoProvider) -> Result<ReadCertificates, StartError> {
    // Taken before reading, so that the next check notices a change in between.
    let stamps = stamps(names);
    let keys: Result<Vec<_>, _> = names
        .pairs()
        .map(|(cert, key)| certified(cert, key, provider).map(Arc::new))
        .collect();
    Ok(ReadCertificates {
        keys: keys?.into(),
        files: Files {
            names: names.clone(),
            stamps,
        },
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

/// A certificate with its chain, and its key.
fn certified(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, StartError> {
    let wrong = |reason: String| StartError::Tls {
        cert: cert.to_owned(),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_file(cert)?).collect();
    let chain = chain.map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("the file has no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| wrong(format!("{}: {error}", key.display())))?;
    CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| wrong(format!("with the key {}: {error}", key.display())))
}
