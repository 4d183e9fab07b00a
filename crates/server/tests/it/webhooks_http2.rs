//! A backend that is reached by HTTPS and HTTP/2.

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, Version, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer},
};

use crate::{
    asked::{Does, TestBackend, asking},
    hall::Hall,
};

/// A backend with a certificate for `localhost` of an authority whose certificate is in this file.
struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    async fn new(ca_file: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(ca_file, issuer.pem()).unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // A client that does not trust the certificate ends here.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let serving = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service_fn(answer));
                    // It ends when the server closes the connection.
                    let _ended = serving.await;
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/hooks", self.address.port())
    }
}

/// Doubles the number in a call.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert!(request.headers().contains_key("webhook-signature"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let answer = json!({ "data": asked["data"].as_i64().unwrap_or_default() * 2 });
    Ok(Response::new(answer.to_string().into()))
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection_of_http2() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let backend = Backend::new(&ca_file).await;
    let other = TestBackend::new(|_| Does::Hangs).await;
    let mut config = asking(&other);
    config.channels.retain(|rule| !rule.rules.notify);
    config.backend.url = Some(backend.url().parse().unwrap());
    config.backend.ca_file = Some(ca_file);
    let hall = Hall::open(config).await;
    let mut first = hall.caller().await;
    let call = |n: i64| json!({ "type": "call", "method": "double", "data": n });
    assert_eq!(first.ask(call(1)).await["data"], 2);
    let mut callers = JoinSet::new();
    for n in 0..20 {
        let mut caller = hall.caller().await;
        callers.spawn(async move {
            for _ in 0..5 {
                assert_eq!(caller.ask(call(n)).await["data"], n * 2);
            }
        });
    }
    callers.join_all().await;
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_backend_with_a_certificate_of_an_unknown_authority_is_not_asked() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::new(&directory.path().join("ca.pem")).await;
    let other = TestBackend::new(|_| Does::Hangs).await;
    let mut config = asking(&other);
    config.backend.url = Some(backend.url().parse().unwrap());
    config.backend.retries = 0;
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    let call = json!({ "type": "call", "method": "double", "data": 1 });
    assert_eq!(caller.refused(call).await["code"], "backend_away");
    assert_eq!(backend.connections.load(Ordering::SeqCst), 0);
}
