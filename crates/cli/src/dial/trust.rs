//! Whom to trust over TLS, and who we are.

use std::{fs, path::Path, path::PathBuf, sync::Arc};

use clap::Args;
use offhook::Tls;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::failure::Failure;

/// TLS, as flags say it.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Trust any certificate: whoever is in between can read and change everything
    #[arg(short = 'k', long, conflicts_with_all = ["ca", "cert"])]
    insecure: bool,
    /// Trust the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show this certificate (PEM) to a server that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Trust {
    /// None where the library's own trust will do.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        if self.insecure {
            return insecure().map(Some);
        }
        if self.ca.is_none() && self.cert.is_none() {
            return Ok(None);
        }
        let wrong = |error| Failure::failed(&error);
        let mut builder = Tls::builder();
        if let Some(ca) = &self.ca {
            builder = builder.root_pem(read(ca)?).map_err(wrong)?;
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let identity = builder.client_certificate_pem(read(cert)?, read(key)?);
            builder = identity.map_err(wrong)?;
        }
        builder.build().map(Some).map_err(wrong)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let path = path.display();
        Failure::Failed(format!("{path} can't be read: {error}"))
    })
}

fn insecure() -> Result<Tls, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Tls::from_config(config))
}

/// Takes whatever is shown.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

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
