//! Certificates of clients as their identity.

use std::{fs, path::Path};

use offhook::{Connect, Tls, WebSocket};
use offhook_server::{
    Config, Server,
    config::{ClientCerts, Listen, TlsFiles},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    caller::Caller,
    hall::{Hall, config},
    http3_peer::Peer,
};

/// An authority, and the server's own certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for this common name and address, with its key.
    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let email = format!("{name}@example.com").as_str().try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(email));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server with TLS that asks for certificates of this authority; and its own certificate.
fn asking(
    directory: &Path,
    authority: &Authority,
    asked: ClientCerts,
    rules: &[&str],
) -> (Config, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = directory.join("ca.pem");
    let files = TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        client_ca: vec![ca.clone()],
        client_certs: asked,
        ..TlsFiles::default()
    };
    fs::write(&ca, &authority.pem).unwrap();
    fs::write(&files.cert, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let mut asking = Config {
        tls: Some(files),
        ..config()
    };
    asking.auth.certificates = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    asking.auth.grants = vec!["publish+subscribe private/{user}/*".parse().unwrap()];
    (asking, own.cert.pem())
}

/// Connects over TLS to the listener with this number.
async fn open(
    hall: &Hall,
    listener: usize,
    own: &str,
    client: Option<&(String, String)>,
) -> Result<WebSocket, offhook::Error> {
    let mut tls = Tls::builder().pinned_pem(own).unwrap();
    if let Some((certificate, key)) = client {
        tls = tls.client_certificate_pem(certificate, key).unwrap();
    }
    let port = hall.listening()[listener].address().unwrap().port();
    Connect::to(format!("wss://localhost:{port}/ws"))
        .subprotocol("offhook.v1.json")
        .no_proxy()
        .tls(tls.build().unwrap())
        .open()
        .await
}

/// The user of a connection; empty if it is anonymous.
async fn user(socket: WebSocket) -> String {
    let mut caller = Caller::new(socket);
    let welcome = caller.ask(json!({"type": "connect"})).await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    welcome["user"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_client_is_the_user_whom_its_certificate_names() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let rules = ["cn device-* d*", "email *@example.com"];
    let (config, own) = asking(directory.path(), &authority, ClientCerts::Required, &rules);
    let hall = Hall::open(config).await;
    for (name, expected) in [("ann", "ann"), ("device-7", "d7")] {
        let client = authority.issue(name);
        let socket = open(&hall, 0, &own, Some(&client)).await.unwrap();
        assert_eq!(user(socket).await, expected);
    }
}

#[tokio::test]
async fn without_a_valid_certificate_a_listener_that_requires_one_refuses_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (config, own) = asking(
        directory.path(),
        &authority,
        ClientCerts::Required,
        &["cn *"],
    );
    let hall = Hall::open(config).await;
    assert!(open(&hall, 0, &own, None).await.is_err());
    let forged = stranger.issue("ann");
    assert!(open(&hall, 0, &own, Some(&forged)).await.is_err());
    let genuine = authority.issue("ann");
    let socket = open(&hall, 0, &own, Some(&genuine)).await.unwrap();
    assert_eq!(user(socket).await, "ann");
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_client_without_one_needs_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let rules = ["cn user-*"];
    let (mut config, own) = asking(directory.path(), &authority, ClientCerts::Optional, &rules);
    let hall = Hall::open(config.clone()).await;
    let genuine = authority.issue("user-ann");
    let socket = open(&hall, 0, &own, Some(&genuine)).await.unwrap();
    assert_eq!(user(socket).await, "ann");
    // A certificate that stands for nobody counts as none.
    let nobody = authority.issue("device-7");
    for client in [None, Some(&nobody)] {
        let mut caller = Caller::new(open(&hall, 0, &own, client).await.unwrap());
        let refused = caller.ask(json!({"type": "connect"})).await;
        assert_eq!(refused["code"], "unauthenticated", "{refused}");
    }
    // One that is presented has to be valid nevertheless.
    let forged = stranger.issue("user-ann");
    assert!(open(&hall, 0, &own, Some(&forged)).await.is_err());
    hall.close().await;

    config.auth.anonymous = Some(true);
    let hall = Hall::open(config).await;
    let socket = open(&hall, 0, &own, None).await.unwrap();
    assert_eq!(user(socket).await, "");
}

#[tokio::test]
async fn each_listener_decides_for_itself_whether_clients_need_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (mut config, own) = asking(directory.path(), &authority, ClientCerts::None, &["cn *"]);
    config.auth.anonymous = Some(true);
    let port = || Listen::from(([127, 0, 0, 1], 0));
    let required = Listen {
        client_certs: Some(ClientCerts::Required),
        ..port()
    };
    config.listen = vec![port(), required];
    let hall = Hall::open(config).await;
    let client = authority.issue("ann");
    assert!(open(&hall, 1, &own, None).await.is_err());
    let socket = open(&hall, 1, &own, Some(&client)).await.unwrap();
    assert_eq!(user(socket).await, "ann");
    // The other one does not ask, so that a browser asks nobody for a certificate.
    let socket = open(&hall, 0, &own, Some(&client)).await.unwrap();
    assert_eq!(user(socket).await, "");
}

/// Over HTTP/3, sessions and requests have the identity of the certificate as well.
#[tokio::test(flavor = "multi_thread")]
async fn over_http3_a_client_is_the_user_whom_its_certificate_names() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (mut config, own) = asking(
        directory.path(),
        &authority,
        ClientCerts::Optional,
        &["cn *"],
    );
    config.http3.enabled = true;
    let hall = Hall::open(config).await;
    let trusted = CertificateDer::from_pem_slice(own.as_bytes()).unwrap();
    let client = authority.issue("ann");
    let peer = Peer::connect_as(hall.address(), &trusted, Some(&client)).await;
    let mut session = peer.session().await;
    assert_eq!(session.connect(json!({})).await["user"], "ann");
    // Without one, and without a token, nobody may connect.
    let peer = Peer::connect_as(hall.address(), &trusted, None).await;
    let refused = peer.request("GET", "/poll?channel=chat", &[], &[]).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let peer = Peer::connect_as(hall.address(), &trusted, Some(&client)).await;
    let polled = peer.request("GET", "/poll?channel=chat", &[], &[]).await;
    assert_eq!(polled.status, 200, "{polled:?}");
}

#[tokio::test]
async fn a_user_by_certificate_has_the_grants_of_every_user() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (mut config, own) = asking(
        directory.path(),
        &authority,
        ClientCerts::Required,
        &["cn *"],
    );
    let mut private = config.channels[0].clone();
    private.pattern = "private/*".to_owned();
    private.rules.publish = offhook_engine::Access::Granted;
    private.rules.subscribe = offhook_engine::Access::Granted;
    config.channels.insert(0, private);
    let hall = Hall::open(config).await;
    let client = authority.issue("ann");
    let mut caller = Caller::new(open(&hall, 0, &own, Some(&client)).await.unwrap());
    caller.connect().await;
    let ask = |channel: &str| json!({"type": "subscribe", "channel": channel});
    assert_eq!(
        caller.ask(ask("private/ann/inbox")).await["type"],
        "subscribed"
    );
    let refused = caller.ask(ask("private/ben/inbox")).await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
}

#[tokio::test]
async fn a_session_that_began_with_a_certificate_does_not_resume_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (mut config, own) = asking(
        directory.path(),
        &authority,
        ClientCerts::Optional,
        &["cn *"],
    );
    config.auth.anonymous = Some(true);
    let hall = Hall::open(config).await;
    let client = authority.issue("ann");
    let mut caller = Caller::new(open(&hall, 0, &own, Some(&client)).await.unwrap());
    caller.connect().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    let token = caller.resume.clone();
    drop(caller);
    let mut without = Caller::new(open(&hall, 0, &own, None).await.unwrap());
    let refused = without.resume(&token, json!({})).await;
    assert_eq!(refused["code"], "bad_token", "{refused}");
    let other = authority.issue("ben");
    let mut other = Caller::new(open(&hall, 0, &own, Some(&other)).await.unwrap());
    let refused = other.resume(&token, json!({})).await;
    assert_eq!(refused["code"], "bad_token", "{refused}");
    let mut same = Caller::new(open(&hall, 0, &own, Some(&client)).await.unwrap());
    let welcome = same.resume(&token, json!({})).await;
    assert_eq!(welcome["user"], "ann", "{welcome}");
}

#[tokio::test]
async fn the_error_for_unusable_authorities_names_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (config, _) = asking(directory.path(), &authority, ClientCerts::Required, &[]);
    fs::write(directory.path().join("ca.pem"), "nothing").unwrap();
    let error = Server::start(config).await.unwrap_err().to_string();
    assert!(
        error.contains("tls.client_ca") && error.contains("ca.pem"),
        "{error}"
    );
}
