//! Another configuration is applied while the server runs.

use std::{fs, path::Path};

use offhook::{Connect, OriginPolicy, Tls};
use offhook_auth::ApiKey;
use offhook_server::{
    Config,
    config::{Api, ChannelRule, TlsFiles},
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config},
};

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// Replaces a file in the same way as programs that renew certificates.
fn replace(path: &Path, text: &str) {
    let newer = path.with_extension("newer");
    fs::write(&newer, text).unwrap();
    fs::rename(&newer, path).unwrap();
}

fn write(files: &TlsFiles, own: &CertifiedKey<KeyPair>) {
    replace(&files.cert, &own.cert.pem());
    replace(&files.key, &own.signing_key.serialize_pem());
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        ..TlsFiles::default()
    }
}

/// A client that accepts only this certificate, and names this host.
async fn secured(hall: &Hall, name: &str, own: &CertifiedKey<KeyPair>) -> Option<Caller> {
    let tls = Tls::builder().pinned_pem(own.cert.pem()).unwrap().build();
    let stream = TcpStream::connect(hall.address()).await.unwrap();
    let connect = Connect::to(format!("wss://{name}/ws"))
        .subprotocol("offhook.v1.json")
        .no_proxy()
        .tls(tls.unwrap());
    let mut caller = Caller::new(connect.over(stream).open().await.ok()?);
    caller.connect().await;
    Some(caller)
}

fn everything() -> ChannelRule {
    ChannelRule::default()
}

#[tokio::test]
async fn new_rules_origins_keys_and_limits_apply_at_once_and_no_connection_is_lost() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    let to_new = json!({"type": "publish", "channel": "new", "data": 1});
    assert_eq!(
        caller.refused(to_new.clone()).await["code"],
        "unknown_channel"
    );
    let page = || hall.number().origin("https://app.example");
    assert!(page().open().await.is_err());
    assert_eq!(hall.api("ohk_new", "GET /api/v1/channels", "").await.0, 404);

    let mut newer = config();
    newer.channels.push(everything());
    newer.origins = OriginPolicy::allow_list(["https://app.example"]).unwrap();
    newer.limits.data_bytes = 10;
    newer.connections.max = 2;
    newer.api = Api {
        keys: vec![ApiKey::of_everything("ohk_new")],
        ..newer.api
    };
    newer.talk = false;
    let changes = hall.reload(newer).await.unwrap();
    let live: Vec<&str> = changes
        .iter()
        .filter(|change| change.is_live && !change.key.starts_with("channels"))
        .map(|change| change.key.as_str())
        .collect();
    assert_eq!(
        live,
        [
            "api.keys",
            "connections.max",
            "limits.data_bytes",
            "origins"
        ]
    );
    let later = changes.iter().filter(|change| !change.is_live);
    assert_eq!(
        later.map(|change| change.key.as_str()).collect::<Vec<_>>(),
        ["talk"]
    );

    // The same connection, under the new rules.
    let answer = caller.ask(to_new).await;
    assert_eq!(answer["type"], "published", "{answer}");
    let long = json!({"type": "publish", "channel": "new", "data": "longer than ten bytes"});
    assert_eq!(caller.refused(long).await["code"], "too_large");
    assert_eq!(hall.api("ohk_new", "GET /api/v1/channels", "").await.0, 200);
    // The connections of earlier requests may not have ended yet.
    let second = loop {
        if let Ok(second) = page().open().await {
            break second;
        }
    };
    assert!(
        hall.number().open().await.is_err(),
        "two connections are open already"
    );
    drop(second);
}

#[tokio::test]
async fn a_certificate_that_changes_is_used_for_new_connections_and_open_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let (old, new) = (certificate("localhost"), certificate("localhost"));
    write(&files, &old);
    let hall = Hall::open(Config {
        tls: Some(files.clone()),
        ..config()
    })
    .await;
    let mut early = secured(&hall, "localhost", &old)
        .await
        .expect("the old certificate");
    // For a moment, the certificate and the key do not match.
    write(&files, &new);
    let arrives = async {
        loop {
            if let Some(caller) = secured(&hall, "localhost", &new).await {
                return caller;
            }
        }
    };
    let mut late = timeout(NEVER, arrives).await.expect("the new certificate");
    assert!(secured(&hall, "localhost", &old).await.is_none());
    late.subscribe("chat", json!("now")).await;
    early.publish("chat", json!("still here")).await;
    assert_eq!(late.hear_a("message").await["data"], "still here");
}

#[tokio::test]
async fn each_name_gets_its_own_certificate_and_a_reload_reads_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other, third) = (
        certificate("one.example"),
        certificate("*.other.example"),
        certificate("third.example"),
    );
    let mut files = files(directory.path());
    write(&files, &one);
    let second = TlsFiles {
        cert: directory.path().join("other.pem"),
        key: directory.path().join("other.key"),
        ..TlsFiles::default()
    };
    write(&second, &other);
    files.more_certs.push(second.cert.clone());
    files.more_keys.push(second.key.clone());
    let with_tls = |files: &TlsFiles| Config {
        tls: Some(files.clone()),
        ..config()
    };
    let hall = Hall::open(with_tls(&files)).await;
    assert!(secured(&hall, "one.example", &one).await.is_some());
    assert!(secured(&hall, "a.other.example", &other).await.is_some());
    // An unknown name gets the first certificate.
    assert!(secured(&hall, "nobody.example", &one).await.is_some());

    files.cert = directory.path().join("third.pem");
    files.key = directory.path().join("third.key");
    write(&files, &third);
    hall.reload(with_tls(&files)).await.unwrap();
    assert!(secured(&hall, "third.example", &third).await.is_some());
    assert!(secured(&hall, "one.example", &one).await.is_none());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let own = certificate("localhost");
    write(&files, &own);
    let good = Config {
        tls: Some(files.clone()),
        ..config()
    };
    let hall = Hall::open(good.clone()).await;
    let newer = |tls: Option<TlsFiles>| Config {
        tls,
        channels: vec![everything()],
        ..good.clone()
    };
    let missing = TlsFiles {
        cert: directory.path().join("nowhere.pem"),
        ..files.clone()
    };
    let error = hall.reload(newer(Some(missing))).await.unwrap_err();
    assert!(error.to_string().contains("nowhere.pem"), "{error}");
    let error = hall.reload(newer(None)).await.unwrap_err();
    assert!(error.to_string().contains("restart"), "{error}");
    let mut bad_key = newer(Some(files.clone()));
    bad_key.api.key_files = vec![directory.path().join("no.keys")];
    let error = hall.reload(bad_key).await.unwrap_err();
    assert!(error.to_string().contains("no.keys"), "{error}");

    let mut caller = secured(&hall, "localhost", &own).await.unwrap();
    let to_new = json!({"type": "publish", "channel": "new", "data": 1});
    assert_eq!(
        caller.refused(to_new.clone()).await["code"],
        "unknown_channel"
    );
    // The valid configuration is applied after all of these.
    hall.reload(newer(Some(files))).await.unwrap();
    assert_eq!(caller.ask(to_new).await["type"], "published");
}
