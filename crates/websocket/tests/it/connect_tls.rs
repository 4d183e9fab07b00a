//! TLS: trusting servers, presenting client certificates, and the errors.

use std::error::Error as _;
use std::sync::Arc;

use offhook::{Connect, Error, InvalidTls, Tls};
use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

use crate::authority::{Authority, Identity, cryptography, serve, server_config};
use crate::scripted::{Reply, converse, to};

fn localhost(port: u16) -> Connect {
    to(format!("wss://localhost:{port}/"))
}

/// Checks that the error concerns trust, and returns the reason.
fn distrust(error: &Error) -> String {
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert!(!error.is_retryable());
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn a_private_root_is_trusted_and_http_1_1_negotiated() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let hello = Reply::open_with("", b"\x81\x05Hello");
    let (port, mut seen) = serve(acceptor, vec![hello]).await;
    let connect = localhost(port).tls(authority.tls());
    let mut socket = connect.open().await.unwrap();
    let message = socket.recv().await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("Hello"));
    let seen = seen.recv().await.unwrap();
    assert_eq!(seen.name.as_deref(), Some("localhost"));
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(seen.client, None);
}

#[tokio::test]
async fn a_certificate_for_an_address_is_valid_for_that_address() {
    let authority = Authority::new();
    let acceptor = authority.server("127.0.0.1").acceptor(None);
    let (port, mut seen) = serve(acceptor, vec![Reply::open()]).await;
    let connect = to(format!("https://127.0.0.1:{port}/")).tls(authority.tls());
    connect.open().await.unwrap();
    // RFC 6066 §3: no address is sent as a name.
    assert_eq!(seen.recv().await.unwrap().name, None);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let (port, _seen) = serve(acceptor, vec![Reply::open(), Reply::open()]).await;
    let strangers = Authority::named("a stranger").tls();
    let error = localhost(port).tls(strangers).open().await.unwrap_err();
    assert!(distrust(&error).contains("UnknownIssuer"), "{error:?}");
    assert!(error.to_string().contains("localhost"), "{error}");
    // The system does not know the authority either, or has no roots at all.
    let error = localhost(port).open().await.unwrap_err();
    distrust(&error);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let authority = Authority::new();
    let acceptor = authority.server("example.com").acceptor(None);
    let (port, _seen) = serve(acceptor, vec![Reply::open()]).await;
    let error = localhost(port)
        .tls(authority.tls())
        .open()
        .await
        .unwrap_err();
    assert!(distrust(&error).contains("not valid for name"), "{error:?}");
}

#[tokio::test]
async fn a_pinned_certificate_is_trusted_for_any_name_and_no_other_is() {
    let authority = Authority::new();
    let identity = authority.server("somewhere.else");
    let acceptor = identity.acceptor(None);
    let replies = vec![Reply::open(), Reply::open(), Reply::open(), Reply::open()];
    let (port, _seen) = serve(acceptor, replies).await;
    let other = authority.server("localhost");
    let pem = |identity: &Identity| {
        Tls::builder()
            .pinned_pem(identity.certificate.pem())
            .unwrap()
    };
    let sha256 = |identity: &Identity| Tls::builder().pinned_sha256(identity.sha256());
    for pinned in [pem(&identity), sha256(&identity)] {
        let connect = localhost(port).tls(pinned.build().unwrap());
        connect.open().await.unwrap();
    }
    for pinned in [pem(&other), sha256(&other)] {
        let connect = localhost(port).tls(pinned.build().unwrap());
        let error = connect.open().await.unwrap_err();
        assert!(distrust(&error).contains("pinned"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_without_the_pinned_certificates_key_is_not_trusted() {
    let authority = Authority::new();
    let honest = authority.server("localhost");
    let thief = Identity {
        certificate: honest.certificate.clone(),
        key: KeyPair::generate().unwrap(),
    };
    // rustls would reject a key that does not match, so its check is bypassed.
    let key = cryptography().key_provider.load_private_key(thief.key());
    let certified = tokio_rustls::rustls::sign::CertifiedKey::new(thief.chain(), key.unwrap());
    let resolver = tokio_rustls::rustls::sign::SingleCertAndKey::from(certified);
    let config = server_config()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (port, _seen) = serve(acceptor, vec![Reply::open()]).await;
    let pinned = Tls::builder()
        .pinned_sha256(honest.sha256())
        .build()
        .unwrap();
    let error = localhost(port).tls(pinned).open().await.unwrap_err();
    assert!(distrust(&error).contains("BadSignature"), "{error:?}");
}

#[tokio::test]
async fn a_client_certificate_is_presented_on_request() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(Some(&authority));
    let (port, mut seen) = serve(acceptor, vec![Reply::open(), Reply::open()]).await;
    let client = authority.client("ada");
    let tls = Tls::builder()
        .root_der(authority.der())
        .unwrap()
        .client_certificate_pem(client.certificate.pem(), client.key.serialize_pem())
        .unwrap();
    localhost(port)
        .tls(tls.build().unwrap())
        .open()
        .await
        .unwrap();
    let seen = seen.recv().await.unwrap();
    assert_eq!(seen.client.as_ref(), Some(client.certificate.der()));
    // Without one the server closes the connection: with TLS 1.3 the client learns that on its
    // first read.
    let error = localhost(port)
        .tls(authority.tls())
        .open()
        .await
        .unwrap_err();
    let said = format!("{:?}", error.source().unwrap());
    assert!(said.contains("CertificateRequired"), "{error:?}");
}

#[tokio::test]
async fn a_rustls_configuration_can_be_given() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let (port, mut seen) = serve(acceptor, vec![Reply::open()]).await;
    let mut config = ClientConfig::builder_with_provider(cryptography())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    // The configuration does not decide this.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connect = localhost(port).tls(Tls::from_config(config));
    connect.open().await.unwrap();
    let seen = seen.recv().await.unwrap();
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_second_connection_resumes_the_first_ones_session() {
    let authority = Authority::new();
    let identity = authority.server("localhost");
    let acceptor = identity.acceptor(None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = localhost(listener.local_addr().unwrap().port()).tls(authority.tls());
    let (told, mut kinds) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            told.send(stream.get_ref().1.handshake_kind()).await.ok();
            let (heads, _all) = mpsc::channel(1);
            let hello = Reply::open_with("", b"\x81\x05Hello");
            tokio::spawn(async move { converse(stream, hello, &heads).await });
        }
    });
    for _ in 0..2 {
        let mut socket = connect.clone().open().await.unwrap();
        // The tickets arrive before the message.
        socket.recv().await.unwrap().unwrap();
    }
    assert_eq!(kinds.recv().await.unwrap(), Some(HandshakeKind::Full));
    assert_eq!(kinds.recv().await.unwrap(), Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_server_without_tls_has_another_error_than_an_untrusted_one() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut first, _) = plain.accept().await.unwrap();
        first
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        // Closes in the middle of the handshake.
        let (mut second, _) = plain.accept().await.unwrap();
        second.read_u8().await.unwrap();
    });
    let tls = Authority::new().tls();
    let error = localhost(port).tls(tls.clone()).open().await.unwrap_err();
    assert!(matches!(error, Error::WrongScheme { .. }), "{error:?}");
    assert!(!error.is_retryable());
    let error = localhost(port).tls(tls).open().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_redirect_from_wss_to_ws_is_not_followed() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let replies = vec![Reply::redirect(302, "ws://127.0.0.1:1/")];
    let (port, _seen) = serve(acceptor, replies).await;
    let error = localhost(port)
        .tls(authority.tls())
        .open()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[tokio::test]
async fn tls_is_used_over_a_given_stream_if_the_url_requires_it() {
    let authority = Authority::new();
    let acceptor = authority.server("example.com").acceptor(None);
    let (port, _seen) = serve(acceptor, vec![Reply::open()]).await;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connect = to("wss://example.com/").tls(authority.tls());
    connect.over(stream).open().await.unwrap();
}

#[tokio::test]
async fn a_proxy_may_use_tls_with_tls_to_the_server_inside() {
    let authority = Authority::new();
    let acceptor = authority.server("example.com").acceptor(None);
    let (port, mut seen) = serve(acceptor, vec![Reply::open()]).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_port = proxy.local_addr().unwrap().port();
    let outer = authority.server("localhost").acceptor(None);
    tokio::spawn(async move {
        let (client, _) = proxy.accept().await.unwrap();
        let mut client = outer.accept(client).await.unwrap();
        let head = crate::scripted::read_head(&mut client).await.unwrap();
        assert!(head.starts_with("CONNECT example.com:443 "), "{head}");
        client.write_all(b"HTTP/1.1 200 Yes\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut server)
            .await
            .ok();
    });
    let connect = to("wss://example.com/")
        .tls(authority.tls())
        .proxy(format!("https://localhost:{proxy_port}"));
    connect.open().await.unwrap();
    let name = seen.recv().await.unwrap().name;
    assert_eq!(name.as_deref(), Some("example.com"));
}

#[test]
fn an_invalid_certificate_is_an_error_when_it_is_set() {
    let authority = Authority::new();
    let (ada, bob) = (authority.client("ada"), authority.client("bob"));
    let chain = ada.certificate.pem();
    assert!(matches!(
        Tls::builder().root_pem(""),
        Err(InvalidTls::Pem("certificate"))
    ));
    let key_as_root = Tls::builder().root_pem(ada.key.serialize_pem());
    assert!(matches!(key_as_root, Err(InvalidTls::Pem("certificate"))));
    let junk = Tls::builder().root_der(b"junk");
    assert!(matches!(junk, Err(InvalidTls::Certificate(_))));
    let no_key = Tls::builder().client_certificate_pem(&chain, &chain);
    assert!(matches!(no_key, Err(InvalidTls::Pem("private key"))));
    let of_another = Tls::builder()
        .root_pem(authority.pem())
        .and_then(|builder| builder.client_certificate_pem(&chain, bob.key.serialize_pem()))
        .and_then(offhook::TlsBuilder::build);
    assert!(matches!(of_another, Err(InvalidTls::Identity(_))));
}

/// A client certificate is an identity, meant for one host.
#[tokio::test]
async fn a_client_certificate_is_not_offered_to_the_host_of_a_redirect() {
    let authority = Authority::new();
    let asking = || authority.server("localhost").acceptor(Some(&authority));
    let (elsewhere, _) = serve(asking(), vec![Reply::open()]).await;
    let there = format!("wss://localhost:{elsewhere}/");
    let redirect = Reply::redirect(307, &there);
    let (port, mut seen) = serve(asking(), vec![redirect]).await;
    let client = authority.client("ada");
    let tls = Tls::builder()
        .root_der(authority.der())
        .unwrap()
        .client_certificate_pem(client.certificate.pem(), client.key.serialize_pem())
        .unwrap();
    let connect = localhost(port).tls(tls.build().unwrap());
    let error = connect.open().await.unwrap_err();
    assert!(
        seen.recv().await.unwrap().client.is_some(),
        "the first host"
    );
    let said = format!("{:?}", error.source().unwrap());
    assert!(said.contains("CertificateRequired"), "{error:?}");
}

/// The output of `openssl req -x509`: it is its own authority, and the server presents it itself.
#[tokio::test]
async fn a_self_signed_certificate_is_trusted_as_its_own_root_for_its_names() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(cryptography())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(
                made.signing_key.serialize_der(),
            )
            .unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (port, _seen) = serve(acceptor, vec![Reply::open(), Reply::open()]).await;
    let tls = || {
        let builder = Tls::builder().root_pem(made.cert.pem()).unwrap();
        builder.build().unwrap()
    };
    localhost(port).tls(tls()).open().await.unwrap();
    let other_name = to(format!("wss://127.0.0.1:{port}/")).tls(tls());
    let error = other_name.open().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn the_error_for_the_wrong_scheme_names_the_right_one() {
    let authority = Authority::new();
    let acceptor = authority.server("localhost").acceptor(None);
    let (port, _seen) = serve(acceptor, vec![Reply::open()]).await;
    let plain = to(format!("ws://localhost:{port}/")).open().await;
    let said = plain.unwrap_err().to_string();
    assert!(said.contains("use wss://"), "{said}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    // A server without TLS answers a client hello like this before closing.
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 What?\r\n\r\n")
            .await
            .unwrap();
    });
    let secure = localhost(port).tls(authority.tls()).open().await;
    let said = secure.unwrap_err().to_string();
    assert!(said.contains("use ws://"), "{said}");
}
