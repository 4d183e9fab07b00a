//! Which certificates are trusted over TLS, and which client certificate is presented.

use std::{fs, path::Path, path::PathBuf, sync::Arc};

use clap::Args;
use offhook::Tls;
use offhook_auth::Certificate;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::failure::Failure;

/// TLS as configured by flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Trust {
    /// Trust any certificate: anyone between us and the server can read and change everything
    #[arg(short = 'k', long, conflicts_with_all = ["ca", "cert"])]
    pub(crate) insecure: bool,
    /// Trust the certificates in this PEM file instead of the system's: authorities, or the
    /// server's own self-signed certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Present this certificate (PEM) to a server that requests one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key (PEM) of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

impl Trust {
    /// `None` if the library's default applies: the system's authorities.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        let wrong = |error| Failure::failed(&error);
        if let Some(verifier) = self.verifier()? {
            let config = self.config(verifier)?;
            return Ok(Some(Tls::from_config(config)));
        }
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let builder = Tls::builder();
        let builder = builder
            .client_certificate_pem(read(cert)?, read(key)?)
            .map_err(wrong)?;
        builder.build().map(Some).map_err(wrong)
    }

    /// The certificate verifier; `None`: the system's.
    pub(crate) fn verifier(&self) -> Result<Option<Arc<dyn ServerCertVerifier>>, Failure> {
        if self.insecure {
            return Ok(Some(Arc::new(AnyCertificate::new())));
        }
        let Some(ca) = &self.ca else { return Ok(None) };
        Ok(Some(Arc::new(Trusted::read(ca)?)))
    }

    /// A configuration with this verifier, and with our client certificate if there is one.
    pub(crate) fn config(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<ClientConfig, Failure> {
        let wrong = |error: Error| Failure::failed(&error);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (Some(cert), Some(key_file)) = (&self.cert, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|_| {
            let file = key_file.display();
            Failure::Failed(format!("{file}: expected a private key in PEM"))
        })?;
        builder.with_client_auth_cert(chain, key).map_err(wrong)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let path = path.display();
        Failure::Failed(format!("{path} cannot be read: {error}"))
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => {
            let path = path.display();
            let why = format!("{path}: expected certificates in PEM (-----BEGIN CERTIFICATE-----)");
            Err(Failure::Failed(why))
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Trusts the certificates of a file, both as authorities and as server certificates.
///
/// `openssl req -x509` makes an authority's certificate, and web PKI rules do not allow that to be
/// a server's own. Here the user trusts the file, so a server that presents exactly this
/// certificate is trusted if its name and validity period are correct.
#[derive(Debug)]
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl Trusted {
    fn read(path: &Path) -> Result<Self, Failure> {
        let certificates = certificates(path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| {
                let path = path.display();
                Failure::Failed(format!("{path}: a certificate cannot be used: {error}"))
            })?;
        }
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let authorities = authorities.map_err(|error| Failure::failed(&error))?;
        Ok(Self {
            certificates,
            authorities,
        })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.certificates.iter().any(|own| own == certificate) {
            return self.authorities.verify_server_cert(
                certificate,
                intermediates,
                name,
                ocsp,
                now,
            );
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let fields = Certificate::read(certificate)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if time < fields.not_before {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if !fields.is_valid_at(time) {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Accepts any certificate.
#[derive(Debug)]
pub(crate) struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    pub(crate) fn new() -> Self {
        Self(provider())
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
