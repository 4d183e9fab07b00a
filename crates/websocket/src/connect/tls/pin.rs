//! Trusting one certificate, without an authority.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::hash::{Hash, HashAlgorithm};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use super::InvalidTls;

/// The pinned certificate.
#[derive(Debug)]
pub(super) enum Pin {
    Sha256([u8; 32]),
    Certificate(CertificateDer<'static>),
}

#[derive(Debug)]
pub(super) struct PinnedVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    pub(super) fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Result<Self, InvalidTls> {
        let missing = || InvalidTls::Cryptography(Error::General("it has no SHA-256".to_owned()));
        match (&pin, sha256(&provider)) {
            (Pin::Sha256(_), None) => Err(missing()),
            (Pin::Sha256(_), Some(_)) | (Pin::Certificate(_), _) => Ok(Self { pin, provider }),
        }
    }
}

/// Uses the hash function of a cipher suite, so that no other SHA-256 implementation is needed.
fn sha256(provider: &CryptoProvider) -> Option<&'static dyn Hash> {
    let suites = provider.cipher_suites.iter();
    let mut tls13 = suites.filter(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let hash = tls13.next()?.tls13()?.common.hash_provider;
    (hash.algorithm() == HashAlgorithm::SHA256).then_some(hash)
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_it = match &self.pin {
            Pin::Sha256(fingerprint) => sha256(&self.provider)
                .is_some_and(|sha256| sha256.hash(certificate).as_ref() == fingerprint),
            Pin::Certificate(pinned) => pinned == certificate,
        };
        if is_it {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(NotPinned))).into())
        }
    }

    // The certificate is public; only the owner of its key can sign.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

struct NotPinned;

impl fmt::Debug for NotPinned {
    /// Readable, because rustls shows it in its own `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's certificate is not the pinned one")
    }
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for NotPinned {}
