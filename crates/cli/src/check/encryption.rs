//! TLS: whether the server supports it, and whether clients trust its certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use offhook_auth::{Certificate, date};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
};

use super::finding::{Finding, Findings, counted};
use super::socket::{Route, Unopened};
use crate::dial::{AnyCertificate, Trust};
use crate::failure::Failure;

/// How many days before its end a certificate causes a warning. 14: certificates of 90 days are
/// renewed 30 days before, so renewal has failed.
const SOON: i64 = 14;

/// Returns whether the following steps can be tried.
pub(super) async fn check(
    route: &mut Route,
    trust: &Trust,
    findings: &mut Findings,
) -> Result<bool, Failure> {
    if !route.target.is_tls {
        if !is_near(route) {
            findings.add(
                Finding::warning("tls", "the connection is not encrypted").advice(
                    "pages served over https can't connect, and proxies on the way may break it: \
                     use wss://",
                ),
            )?;
        }
        return Ok(true);
    }
    let seen = Arc::new(Seen::default());
    route.set_tls(trust.config(seen.clone())?);
    let tls = match route.connect_tls(&[b"http/1.1"]).await {
        Ok(tls) => tls,
        Err(error) => {
            findings.add(not_encrypted(route, &error))?;
            return Ok(false);
        }
    };
    let session = tls.get_ref().1;
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(_) | None => "TLS",
    };
    let suite = session.negotiated_cipher_suite();
    let suite = suite.map_or_else(String::new, |suite| format!(", {:?}", suite.suite()));
    findings.add(Finding::ok("tls", format!("{version}{suite}")))?;
    let chain = seen
        .chain
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for finding in certificate(route, trust, &chain)? {
        findings.add(finding)?;
    }
    Ok(true)
}

/// Whether the connection stays on this machine.
fn is_near(route: &Route) -> bool {
    route.address.ip().is_loopback()
}

fn not_encrypted(route: &Route, error: &Unopened) -> Finding {
    let text = format!("no TLS: {error}");
    if error.is_no_tls {
        let other = route.target.other_scheme();
        let advice = format!(
            "this port does not support TLS: try {other}, or give the server a certificate"
        );
        return Finding::failed("tls", text).advice(advice);
    }
    Finding::failed("tls", text).advice(
        "the server may want TLS below 1.2, a client certificate (--cert, --key), or another name",
    )
}

fn certificate(
    route: &Route,
    trust: &Trust,
    chain: &[CertificateDer<'static>],
) -> Result<Vec<Finding>, Failure> {
    let Some((own, intermediates)) = chain.split_first() else {
        return Ok(vec![Finding::failed(
            "certificate",
            "the server presented none",
        )]);
    };
    let fields = Certificate::read(own).unwrap_or_default();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let verifier = match trust.verifier()? {
        Some(verifier) => verifier,
        None => system()?,
    };
    let name = ServerName::try_from(route.target.host.clone())
        .map_err(|_| Failure::usage("a certificate cannot be issued for this host"))?;
    let time = UnixTime::since_unix_epoch(now);
    let verified = verifier.verify_server_cert(own, intermediates, &name, &[], time);
    let mut findings = Vec::new();
    if let Err(error) = verified {
        findings.push(distrusted(&error, &fields, intermediates, route));
    }
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = (fields.not_after - seconds).div_euclid(86_400);
    let end = date(fields.not_after);
    if (0..SOON).contains(&days) {
        let text = format!("the certificate ends on {end}, in {}", days_left(days));
        findings.push(
            Finding::warning("certificate", text)
                .advice("renew it now, and find out why it was not renewed by itself"),
        );
    } else if findings.is_empty() {
        let issuer = &fields.issuer;
        findings.push(Finding::ok(
            "certificate",
            format!("by {issuer}, until {end} ({days} days)"),
        ));
    }
    Ok(findings)
}

fn days_left(days: i64) -> String {
    counted(usize::try_from(days).unwrap_or_default(), "day")
}

fn system() -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(provider);
    let verifier = verifier.map_err(|error| {
        Failure::failed(&error)
            .hint("install the system's authorities (ca-certificates), or give --ca")
    })?;
    Ok(Arc::new(verifier))
}

/// What to do about a certificate without names.
const NAMELESS: &str = "clients look for the name in subjectAltName, not in the subject: make it with \
                        `openssl req -x509 … -addext subjectAltName=DNS:NAME`";

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls has many reasons and may add more"
)]
fn distrusted(
    error: &Error,
    fields: &Certificate,
    intermediates: &[CertificateDer<'_>],
    route: &Route,
) -> Finding {
    let host = &route.target.host;
    let failed = |text: String| Finding::failed("certificate", text);
    let Error::InvalidCertificate(reason) = error else {
        return failed(format!("it is not trusted: {error}"));
    };
    let expired = matches!(
        reason,
        CertificateError::Expired | CertificateError::ExpiredContext { .. }
    );
    if expired {
        let text = format!("it ended on {}", date(fields.not_after));
        return failed(text).advice("renew it; `certbot renew` does with Let's Encrypt");
    }
    match reason {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let text = format!("it is not valid before {}", date(fields.not_before));
            failed(text).advice("check the clocks, here and on the machine that made it")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            if fields.names.is_empty() {
                return failed(format!("it names no host, so it is not valid for {host}"))
                    .advice(NAMELESS);
            }
            let names = fields.names.join(", ");
            failed(format!("it is valid for {names}, not for {host}"))
                .advice("get a certificate that includes this name, or connect by one of its names")
        }
        _ if fields.is_self_signed => failed("it is self-signed".to_owned()).advice(
            "browsers refuse it: get one from an authority such as Let's Encrypt. For tools of your \
             own, --ca FILE trusts it",
        ),
        CertificateError::UnknownIssuer if intermediates.is_empty() => {
            failed(format!("its issuer is unknown: {}", fields.issuer)).advice(
                "the server sends its own certificate alone: let it send the chain (`fullchain.pem`, \
                 not `cert.pem`). Browsers may hide this, other clients do not",
            )
        }
        CertificateError::UnknownIssuer => {
            failed(format!("its issuer is unknown: {}", fields.issuer)).advice(
                "get a certificate from an authority that clients trust, or give its authority with \
                 --ca",
            )
        }
        reason => failed(format!("it is not trusted: {reason:?}")),
    }
}

/// Accepts and records every certificate, so that the check can continue after a bad one.
#[derive(Debug)]
struct Seen {
    any: AnyCertificate,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            any: AnyCertificate::new(),
            chain: Mutex::default(),
        }
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(own).chain(intermediates);
        let chain = all.map(|one| one.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        self.any
            .verify_server_cert(own, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}
