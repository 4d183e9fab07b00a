//! The certificate of `--dev-tls`: signed by itself, for this machine, and of the kind whose hash browsers
//! accept instead of an authority when a page opens a WebTransport session.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use offhook_auth::Certificate;
use offhook_server::config::{Config, TlsFiles};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::failure::Failure;

/// The subdirectory of the data directory, so that the hash stays the same over restarts.
const DIRECTORY: &str = "dev-tls";

/// The names of this machine for its own browsers.
const NAMES: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a certificate is valid. 13 days: browsers compare hashes only with certificates that are
/// valid for at most 14 days (W3C WebTransport §6.9), and clocks differ.
const VALIDITY: Duration = Duration::from_secs(13 * 24 * 3600);

/// A certificate that ends sooner is replaced at the start. One day: a server that is started in the
/// morning works until the evening.
const LEAST_LEFT: Duration = DAY;

/// A certificate and its key in files.
#[derive(Debug)]
pub(super) struct DevTls {
    files: TlsFiles,
    /// SHA-256 of the certificate.
    hash: String,
    /// Removed at the end, if the server keeps nothing on disk.
    temporary: Option<PathBuf>,
}

impl DevTls {
    /// Reads the certificate of an earlier start, or creates another one.
    pub(super) fn prepare(config: &Config) -> Result<Self, Failure> {
        if config.tls.is_some() {
            let both =
                "--dev-tls: the server already has a certificate, in tls.cert; use one of them";
            return Err(Failure::usage(both));
        }
        let temporary = config
            .in_memory
            .then(|| std::env::temp_dir().join(format!("offhook-{DIRECTORY}-{}", process::id())));
        let directory = temporary.clone();
        let directory = directory.unwrap_or_else(|| config.data.join(DIRECTORY));
        let prepared = Self::in_directory(&directory, SystemTime::now());
        let (files, hash) = prepared.map_err(|error| {
            let at = directory.display();
            Failure::usage(format!(
                "--dev-tls: no certificate can be written to {at}: {error}"
            ))
        })?;
        Ok(Self {
            files,
            hash,
            temporary,
        })
    }

    fn in_directory(directory: &Path, now: SystemTime) -> io::Result<(TlsFiles, String)> {
        let files = TlsFiles {
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            ..TlsFiles::default()
        };
        let der = match usable(&files, now) {
            Some(der) => der,
            None => {
                fs::create_dir_all(directory)?;
                create(&files, now)?
            }
        };
        Ok((files, BASE64.encode(digest(&SHA256, &der).as_ref())))
    }

    pub(super) fn apply(&self, config: &mut Config) {
        config.tls = Some(self.files.clone());
        // WebTransport is what the hash is for.
        config.http3.enabled = true;
    }

    /// SHA-256 of the certificate in base64.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

impl Drop for DevTls {
    fn drop(&mut self) {
        if let Some(directory) = &self.temporary
            && let Err(error) = fs::remove_dir_all(directory)
        {
            tracing::warn!(%error, directory = %directory.display(), "the certificate of --dev-tls was not removed");
        }
    }
}

/// The certificate in these files, unless it is missing, damaged or about to end.
fn usable(files: &TlsFiles, now: SystemTime) -> Option<Vec<u8>> {
    let der = CertificateDer::from_pem_file(&files.cert).ok()?;
    PrivateKeyDer::from_pem_file(&files.key).ok()?;
    let seconds =
        |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok();
    let read = Certificate::read(&der)?;
    let lasts = read.is_valid_at(seconds(now)?) && read.is_valid_at(seconds(now + LEAST_LEFT)?);
    lasts.then(|| der.to_vec())
}

/// Browsers accept the hash of a certificate only if its key is an ECDSA key on P-256.
fn create(files: &TlsFiles, now: SystemTime) -> io::Result<Vec<u8>> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let names = NAMES.map(str::to_owned).to_vec();
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    // An hour ago: the clock of the device under test may be behind.
    let begin = now - Duration::from_secs(3600);
    params.not_before = begin.into();
    params.not_after = (begin + VALIDITY).into();
    params
        .distinguished_name
        .push(DnType::CommonName, "offhook --dev-tls");
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    // The umask of this process makes them private to their owner.
    fs::write(&files.key, key.serialize_pem())?;
    fs::write(&files.cert, certificate.pem())?;
    Ok(certificate.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_for_less_than_14_days_and_reused_until_its_last_day() {
        let directory = tempfile::tempdir().expect("a directory");
        let now = SystemTime::now();
        let (files, hash) = DevTls::in_directory(directory.path(), now).expect("created");
        let der = CertificateDer::from_pem_file(&files.cert).expect("readable");
        let read = Certificate::read(&der).expect("a certificate");
        assert!(read.not_after - read.not_before <= 14 * 86_400);
        assert_eq!(read.names, ["localhost", "*.localhost", "127.0.0.1", "::1"]);
        let later = now + 11 * DAY;
        let (_, again) = DevTls::in_directory(directory.path(), later).expect("read");
        assert_eq!(again, hash);
        let on_the_last_day = now + 12 * DAY;
        let (_, newer) = DevTls::in_directory(directory.path(), on_the_last_day).expect("created");
        assert_ne!(newer, hash);
    }

    #[test]
    fn a_damaged_certificate_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let now = SystemTime::now();
        let (files, hash) = DevTls::in_directory(directory.path(), now).expect("created");
        fs::write(&files.key, "no key").expect("writable");
        let (_, newer) = DevTls::in_directory(directory.path(), now).expect("created");
        assert_ne!(newer, hash);
    }
}
