//! Roots given by the caller, and self-signed certificates.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::InvalidTls;

/// The roots given by the caller.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn empty() -> Self {
        Self {
            store: RootCertStore::empty(),
            certificates: Vec::new(),
        }
    }
}

/// Trusts certificates signed by these roots, and a server that presents one of them itself for its
/// name: an ordinary self-signed certificate is its own authority, which the rules for the public
/// web do not allow.
#[derive(Debug)]
pub(super) struct RootsVerifier {
    signed: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl RootsVerifier {
    pub(super) fn new(roots: Roots, provider: Arc<CryptoProvider>) -> Result<Self, InvalidTls> {
        let store = Arc::new(roots.store);
        let signed = WebPkiServerVerifier::builder_with_provider(store, provider).build();
        let invalid = |error: tokio_rustls::rustls::client::VerifierBuilderError| {
            InvalidTls::Certificate(Error::General(error.to_string()))
        };
        Ok(Self {
            signed: signed.map_err(invalid)?,
            certificates: roots.certificates,
        })
    }
}

impl ServerCertVerifier for RootsVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|known| known == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.signed
            .verify_server_cert(certificate, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
