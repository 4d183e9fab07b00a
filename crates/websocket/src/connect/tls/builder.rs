//! The common ways to authenticate servers and clients, as a rustls configuration.

use std::fmt;
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder};

use super::Tls;
use super::pin::{Pin, PinnedVerifier};
use super::roots::{Roots, RootsVerifier};

/// Builds a [`Tls`].
#[derive(Debug, Default)]
#[must_use = "nothing is trusted before `build`"]
pub struct TlsBuilder {
    trusted: Trusted,
    identity: Option<Identity>,
}

#[derive(Debug, Default)]
enum Trusted {
    /// The system's roots, verified by the system.
    #[default]
    System,
    /// Only these authorities.
    Roots(Roots),
    /// Only this certificate.
    Pinned(Pin),
}

#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl TlsBuilder {
    /// Trusts the authorities in this PEM text instead of the system's. Call it once for each text.
    /// A server that presents one of these certificates itself is also trusted, for the names in it
    /// (a self-signed certificate is its own authority); its validity period is then not checked.
    ///
    /// # Errors
    ///
    /// The text contains no certificate, or an invalid one.
    pub fn root_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, InvalidTls> {
        for certificate in certificates(pem.as_ref())? {
            self = self.root_der(certificate)?;
        }
        Ok(self)
    }

    /// As [`root_pem`](Self::root_pem), for one certificate in DER.
    ///
    /// # Errors
    ///
    /// The certificate is invalid.
    pub fn root_der(mut self, der: impl AsRef<[u8]>) -> Result<Self, InvalidTls> {
        let mut roots = match self.trusted {
            Trusted::Roots(roots) => roots,
            Trusted::System | Trusted::Pinned(_) => Roots::empty(),
        };
        let certificate = CertificateDer::from(der.as_ref().to_vec());
        roots
            .store
            .add(certificate.clone())
            .map_err(InvalidTls::Certificate)?;
        roots.certificates.push(certificate);
        self.trusted = Trusted::Roots(roots);
        Ok(self)
    }

    /// Trusts only the server that presents the certificate with this SHA-256 fingerprint and
    /// proves to have its key. Neither the name nor the validity period is checked: for tests, and
    /// for devices with a self-signed certificate.
    pub fn pinned_sha256(mut self, fingerprint: [u8; 32]) -> Self {
        self.trusted = Trusted::Pinned(Pin::Sha256(fingerprint));
        self
    }

    /// As [`pinned_sha256`](Self::pinned_sha256), given the certificate itself in PEM.
    ///
    /// # Errors
    ///
    /// The text contains no certificate.
    pub fn pinned_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, InvalidTls> {
        // The first certificate is the server's, the others are its authorities'.
        let certificate = certificates(pem.as_ref())?.swap_remove(0);
        self.trusted = Trusted::Pinned(Pin::Certificate(certificate));
        Ok(self)
    }

    /// Presents this certificate to servers that request one: the chain in PEM, with the client's
    /// certificate first, and its private key in PEM (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// One of the texts does not contain what it should.
    pub fn client_certificate_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, InvalidTls> {
        let chain = certificates(chain.as_ref())?;
        let key = private_key(key.as_ref())?;
        self.identity = Some(Identity { chain, key });
        Ok(self)
    }

    /// Builds the configuration.
    ///
    /// # Errors
    ///
    /// There is no cryptography provider, the system has no roots, or the key does not match the
    /// client certificate.
    pub fn build(self) -> Result<Tls, InvalidTls> {
        let provider = provider()?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(InvalidTls::Cryptography)?;
        let builder: ConfigBuilder<ClientConfig, WantsClientCert> = match self.trusted {
            Trusted::System => builder
                .with_platform_verifier()
                .map_err(InvalidTls::SystemRoots)?,
            Trusted::Roots(roots) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(RootsVerifier::new(roots, provider)?)),
            Trusted::Pinned(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PinnedVerifier::new(pin, provider)?)),
        };
        let config = match self.identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(InvalidTls::Identity)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Tls::from_config(config))
    }
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(InvalidTls::Pem("certificate")),
    }
}

pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, InvalidTls> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| InvalidTls::Pem("private key"))
}

/// The provider installed by the program, otherwise the one selected by features.
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, InvalidTls> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(Arc::clone(provider));
    }
    #[cfg(feature = "aws-lc")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "aws-lc", feature = "ring")))]
    Err(InvalidTls::NoCryptography)
}

/// Why a TLS configuration cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum InvalidTls {
    /// Neither a feature nor the program selected a cryptography provider.
    NoCryptography,
    /// The cryptography provider lacks something required.
    Cryptography(rustls::Error),
    /// The text contains no such PEM section.
    Pem(&'static str),
    /// A certificate is invalid.
    Certificate(rustls::Error),
    /// The client certificate and its key cannot be used, or do not match.
    Identity(rustls::Error),
    /// The system's roots cannot be loaded.
    SystemRoots(rustls::Error),
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCryptography => {
                "no cryptography for TLS: turn on the feature aws-lc or ring, or install a \
                 rustls CryptoProvider"
            }
            Self::Cryptography(_) => "the rustls CryptoProvider lacks something that TLS requires",
            Self::Pem(what) => return write!(f, "expected a {what} in PEM (-----BEGIN …)"),
            Self::Certificate(_) => "the certificate of the authority is invalid",
            Self::Identity(_) => "the client certificate and its key cannot be used",
            Self::SystemRoots(_) => {
                "the system's root certificates can't be had: install ca-certificates, or give \
                 roots of your own"
            }
        })
    }
}

impl std::error::Error for InvalidTls {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoCryptography | Self::Pem(_) => None,
            Self::Cryptography(source)
            | Self::Certificate(source)
            | Self::Identity(source)
            | Self::SystemRoots(source) => Some(source),
        }
    }
}
